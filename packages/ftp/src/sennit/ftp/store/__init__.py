"""Where files lie: directories of the system, or memory; and what users may do with them."""
