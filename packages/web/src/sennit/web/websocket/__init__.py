"""WebSocket (RFC 6455): messages both ways over HTTP/1.1 and HTTP/2, server and client."""
