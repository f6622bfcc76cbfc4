"""HTTP in between: proxies in front of servers, proxies for clients, and what both say of it.

``reverse.py`` hands requests on to servers behind it, ``forward.py`` to wherever a
client wants; ``forwarded.py`` reads and writes who a request came from.
"""
