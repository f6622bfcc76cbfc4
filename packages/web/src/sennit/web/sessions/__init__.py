"""Sessions: what is remembered of a client between requests; each module says its part."""
