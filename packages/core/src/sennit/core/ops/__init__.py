"""Operation: what an operator sees of a running program, and may tell it.

* ``records.py``: log records as text or JSON, one event per line.
* ``metrics.py``: counters, gauges and histograms; `exposition.py` writes them down.
* ``instruments.py``: what is counted in reactor, transports and thread pools.
* ``watch.py``: names the callback that keeps the loop.
* ``admin.py``: the admin socket and its client; ``commands.py``: its commands.
* ``health.py``: ``/livez``, ``/readyz``, ``/metrics``.
* ``dump.py``: what is open and awaited.
* ``config.py``, ``service.py``: ``[admin]``, and what is run for it.
"""

from __future__ import annotations
