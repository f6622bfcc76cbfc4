"""Zones that change while they are served: dynamic update, and the journal that keeps changes.

``message.py`` makes an update, ``policy.py`` says who may change what, ``apply.py`` works one
out (RFC 2136), ``update.py`` answers them, ``journal.py`` keeps what was changed on disk and
``history.py`` in memory, for IXFR.
"""
