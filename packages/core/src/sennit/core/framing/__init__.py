"""Frames in a stream of octets: lines, netstrings, length prefixes.

Each module has a decoder without I/O (octets in by ``receive_data``, frames out
of ``next_…``), an encoder, and a protocol on top. Limits are checked before
anything of a frame's announced size is kept; time is linear in the octets that
come, however they are cut.
"""
