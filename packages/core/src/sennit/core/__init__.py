"""Sennit's core: reactor, Deferred, transports, and what every strand stands on.

Everything is loaded when it is first used; importing this package loads nothing.
"""

from __future__ import annotations

from sennit.core._version import __version__
from sennit.core.lazy import lazy_names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sennit.core.client_driver import ClientEngineProtocol
    from sennit.core.commit import commit
    from sennit.core.deferred import (
        Deferred,
        Outcome,
        fail,
        gather,
        maybe_deferred,
        race,
        shield,
        succeed,
    )
    from sennit.core.driver import EngineProtocol, handles
    from sennit.core.endpoint.connect import connect, open_stream
    from sennit.core.endpoint.listen import Server, serve
    from sennit.core.endpoint.stdio import open_stdio
    from sennit.core.errors import (
        ConfigError,
        ConnectionLost,
        ProtocolError,
        SennitError,
        TLSError,
    )
    from sennit.core.interfaces import adapt
    from sennit.core.process import open_process, run_process
    from sennit.core.protocol import DatagramProtocol, ProcessProtocol, Protocol
    from sennit.core.reactor.base import Reactor, current_reactor, run
    from sennit.core.reactor.eventloop import new_event_loop
    from sennit.core.stream import Stream, stream_handler
    from sennit.core.threads import blocking_call_from_thread
    from sennit.core.transport.tls import ClientTLS, ServerTLS

__all__ = [
    "ClientEngineProtocol",
    "ClientTLS",
    "ConfigError",
    "ConnectionLost",
    "DatagramProtocol",
    "Deferred",
    "EngineProtocol",
    "Outcome",
    "ProcessProtocol",
    "Protocol",
    "ProtocolError",
    "Reactor",
    "SennitError",
    "Server",
    "ServerTLS",
    "Stream",
    "TLSError",
    "__version__",
    "adapt",
    "blocking_call_from_thread",
    "commit",
    "connect",
    "current_reactor",
    "fail",
    "gather",
    "handles",
    "maybe_deferred",
    "new_event_loop",
    "open_process",
    "open_stdio",
    "open_stream",
    "race",
    "run",
    "run_process",
    "serve",
    "shield",
    "stream_handler",
    "succeed",
]

_ROOMS = {
    "client_driver": ("ClientEngineProtocol",),
    "commit": ("commit",),
    "deferred": (
        "Deferred",
        "Outcome",
        "fail",
        "gather",
        "maybe_deferred",
        "race",
        "shield",
        "succeed",
    ),
    "driver": ("EngineProtocol", "handles"),
    "endpoint.connect": ("connect", "open_stream"),
    "endpoint.listen": ("Server", "serve"),
    "endpoint.stdio": ("open_stdio",),
    "errors": ("ConfigError", "ConnectionLost", "ProtocolError", "SennitError", "TLSError"),
    "interfaces": ("adapt",),
    "process": ("open_process", "run_process"),
    "protocol": ("DatagramProtocol", "ProcessProtocol", "Protocol"),
    "reactor.base": ("Reactor", "current_reactor", "run"),
    "reactor.eventloop": ("new_event_loop",),
    "stream": ("Stream", "stream_handler"),
    "threads": ("blocking_call_from_thread",),
    "transport.tls": ("ClientTLS", "ServerTLS"),
}

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy_names(__name__, _ROOMS)
