"""The HTTP client: connections and their pool below, what programs use above."""
