"""Applications written for other servers' interfaces: ASGI and WSGI, behind a Sennit server."""
