"""Where to listen and connect, said as URLs."""
