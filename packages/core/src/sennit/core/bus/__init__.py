"""Messages and counts between services, between workers, and through a broker beyond.

`interfaces` has the contracts, `memory` what serves one process, `unix` what serves the
workers of one node, or several programs of one machine, over a Unix socket. A distribution
brings others by an entry point of the group ``sennit.buses``, named by the scheme of its
URL: ``open_bus(url, reactor) -> (IBus, ICounters)``.
"""
