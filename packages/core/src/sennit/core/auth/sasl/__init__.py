"""SASL (RFC 4422), one for all strands: exchanges without I/O, and drivers for both sides."""
