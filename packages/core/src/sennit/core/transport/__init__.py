"""Connections, by what carries them: sockets, memory, and TLS over any of these."""
