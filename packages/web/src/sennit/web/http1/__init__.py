"""HTTP/1.1 (RFC 9112): the strict gate, parsers behind it, engines, the server's connection."""
