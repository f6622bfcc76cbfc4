"""Zones on their way between servers: whole, as differences, and word that there is something new.

``serial.py`` compares versions, ``incoming.py`` takes a transfer apart and ``outgoing.py`` gives
one, ``notify.py`` tells secondaries, ``secondary.py`` keeps copies of zones of other servers.
"""
