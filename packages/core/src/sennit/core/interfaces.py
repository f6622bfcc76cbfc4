"""The contracts of the house.

Each is written once, with ``self``. To a type checker it is a `typing.Protocol`
(so an object fits by its shape, without inheriting), at run time a zope
interface: `adapt(ITLSTransport, transport)` finds an implementation or raises
`TypeError`, and `zope.interface.verify.verifyObject` checks one in tests.

zope is used at the seams (transports, realms, plugins), never per event; the
classes that implement these say so by name (`sennit.core._implements`), so that
a program which adapts nothing never loads it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import IO, TYPE_CHECKING, Any, TypeVar

import zope.interface
from zope.interface.interface import InterfaceClass

from sennit.core import _implements
from sennit.core.datagram_interfaces import (
    IDatagramListener,
    IDatagramProtocol,
    IDatagramProtocolFactory,
    IDatagramReactor,
    IDatagramTransport,
    IDescriptorTransport,
    IMulticastTransport,
)

if TYPE_CHECKING:
    import asyncio
    import contextvars
    from collections.abc import Iterable, Sequence
    from os import PathLike
    from typing import Protocol as Interface
    from typing import Unpack

    from sennit.core.address import Address
    from sennit.core.deferred import Deferred
    from sennit.core.endpoint.proxy_header import ProxyHeader
    from sennit.core.transport.process import SpawnOptions
    from sennit.core.transport.reaping import ProcessStatus

    Buffer = bytes | bytearray | memoryview
else:
    from sennit.core._contract import Interface

__all__ = [
    "Buffer",
    "IClock",
    "IDatagramListener",
    "IDatagramProtocol",
    "IDatagramProtocolFactory",
    "IDatagramReactor",
    "IDatagramTransport",
    "IDelayedCall",
    "IDescriptorTransport",
    "IDrainable",
    "IListener",
    "IMulticastTransport",
    "IPeerLimits",
    "IProcessProtocol",
    "IProcessTransport",
    "IProtocolFactory",
    "IProxiedTransport",
    "IReactor",
    "IService",
    "IStreamProtocol",
    "IStreamTransport",
    "ITLSTransport",
    "Interface",
    "adapt",
    "implemented_by",
]

T = TypeVar("T")

if not TYPE_CHECKING:
    Buffer = bytes | bytearray | memoryview


class IDelayedCall(Interface):
    """Something that will be called, and need not be."""

    def cancel(self) -> None:
        """Do not call it. Harmless when it was called or cancelled already."""

    def cancelled(self) -> bool:
        """Whether `cancel` came before the call."""
        ...


class IClock(Interface):
    """What a thing that only waits needs of a reactor; `testing.Clock` provides it too."""

    def time(self) -> float:
        """Seconds on a clock that never goes back; its zero means nothing."""
        ...

    def call_later(self, delay: float, fn: Callable[..., object], *args: Any) -> IDelayedCall:
        """Call `fn(*args)` in `delay` seconds (not before)."""
        ...

    def call_at(self, when: float, fn: Callable[..., object], *args: Any) -> IDelayedCall:
        """Call `fn(*args)` when `time()` has come to `when`."""
        ...


class IReactor(IClock, IDatagramReactor, Interface):
    """A loop that waits for descriptors, timers and threads, and calls what waits on them."""

    def call_soon(
        self,
        fn: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> IDelayedCall:
        """Call `fn(*args)` in this turn or the next one, after all that was asked for earlier."""
        ...

    def call_from_thread(self, fn: Callable[..., object], *args: Any) -> IDelayedCall:
        """`call_soon`, from any thread (the only method that may be called from another one)."""
        ...

    def defer_to_thread(self, fn: Callable[..., T], *args: Any, **kwargs: Any) -> Deferred[T]:
        """Run `fn` in the reactor's thread pool; the Deferred fires in the reactor's thread."""
        ...

    def add_reader(self, fd: int, fn: Callable[..., object], *args: Any) -> IDelayedCall:
        """Call `fn(*args)` whenever `fd` can be read; replaces the one before."""
        ...

    def remove_reader(self, fd: int) -> bool:
        """Stop that; False when there was none."""
        ...

    def add_writer(self, fd: int, fn: Callable[..., object], *args: Any) -> IDelayedCall:
        """Call `fn(*args)` whenever `fd` can be written; replaces the one before."""
        ...

    def remove_writer(self, fd: int) -> bool:
        """Stop that; False when there was none."""
        ...

    def add_signal_handler(self, signum: int, fn: Callable[..., object], *args: Any) -> None:
        """Call `fn(*args)` in a turn of the loop when the signal comes (main thread only)."""

    def remove_signal_handler(self, signum: int) -> bool:
        """Back to what the signal did before; False when there was no handler."""
        ...

    def run(self, main: Callable[..., object] | None = None) -> object:
        """Turn until `main` has ended, or until `stop` when there is no `main`."""

    def stop(self) -> None:
        """End `run` in good order: shutdown hooks run, then it returns."""

    def at_shutdown(self, fn: Callable[..., object], *args: Any) -> IDelayedCall:
        """Call `fn(*args)` when the reactor stops; waits for a Deferred or awaitable it returns."""
        ...

    @property
    def running(self) -> bool:
        """Whether it turns now, by itself or inside another loop."""
        ...

    @property
    def event_loop(self) -> asyncio.AbstractEventLoop:
        """This reactor as asyncio's loop, made when first asked for; the host's when embedded."""
        ...

    def listen_tcp(
        self,
        factory: IProtocolFactory | Callable[[], IStreamProtocol],
        port: int,
        host: str = "",
        *,
        backlog: int = 1024,
        reuse_port: bool = False,
    ) -> Deferred[IListener]:
        """Accept TCP connections; an empty `host` means every interface of both families."""
        ...

    def connect_tcp(
        self,
        factory: IProtocolFactory | Callable[[], IStreamProtocol],
        host: str,
        port: int,
        *,
        timeout: float = 30.0,
        local_address: tuple[str, int] | None = None,
    ) -> Deferred[IStreamProtocol]:
        """Connect to the first address of `host` that answers; fires with the protocol."""
        ...

    def listen_unix(
        self,
        factory: IProtocolFactory | Callable[[], IStreamProtocol],
        path: str,
        *,
        backlog: int = 1024,
        mode: int = 0o666,
    ) -> Deferred[IListener]:
        """Accept connections to a Unix socket; replaces a socket file that nobody serves."""
        ...

    def connect_unix(
        self,
        factory: IProtocolFactory | Callable[[], IStreamProtocol],
        path: str,
        *,
        timeout: float = 30.0,
    ) -> Deferred[IStreamProtocol]:
        """Connect to a Unix socket; fires with the protocol."""
        ...

    def spawn_process(
        self,
        protocol: IProcessProtocol,
        command: Sequence[str | bytes | PathLike[str]],
        **options: Unpack[SpawnOptions],
    ) -> Deferred[IProcessTransport]:
        """Start a program; fires when it runs (`sennit.core.transport.process` has the options)."""
        ...


class IStreamProtocol(Interface):
    """What a stream transport calls: asyncio's `Protocol`, under asyncio's names.

    One that lends its buffer has ``get_buffer`` and ``buffer_updated`` in place of `data_received`,
    as asyncio's `BufferedProtocol`. Where ``buffer_updated`` returns ``True`` it expects more to be
    there, or the end, and a socket's transport looks at once; others, and asyncio, need not.
    """

    def connection_made(self, transport: Any) -> object:
        """The connection stands. (`Any`: a protocol may narrow it to its transport.)"""

    def data_received(self, data: Any) -> object:
        """Octets have come."""

    def eof_received(self) -> bool | None:
        """The peer sends no more; true keeps the way out open."""
        ...

    def connection_lost(self, exc: Exception | None) -> object:
        """The connection has gone."""

    def pause_writing(self) -> object:
        """Too much waits to be sent."""

    def resume_writing(self) -> object:
        """There is room again."""


class IDrainable(Interface):
    """A protocol that can be asked to come to an end by itself.

    A server that closes calls `drain` on each connection's protocol that has it;
    one that has not is closed at once (what was written still leaves).
    """

    def drain(self) -> None:
        """Finish what is under way, begin nothing new, then close the transport."""


class IProtocolFactory(Interface):
    """Makes one protocol per connection. A callable without arguments adapts to it."""

    def build_protocol(self, peer: Any) -> IStreamProtocol | None:
        """A protocol for the connection from `peer` (an `Address`); ``None`` refuses it."""
        ...


class IStreamTransport(Interface):
    """One end of a connection: all that `asyncio.Transport` has, and what servers miss in it.

    Close reasons (`close_reason`): ``clean``, ``reset``, ``truncated`` (an end
    without TLS' close_notify), ``aborted``, ``idle``, ``timeout``, ``shed``,
    ``drained``, ``error``, or ``limit:`` and the limit's
    name, such as ``limit:write-buffer``.
    """

    @property
    def local(self) -> Address | None:
        """This end's address; ``None`` where there is none (memory)."""
        ...

    @property
    def peer(self) -> Address | None:
        """The other end's address."""
        ...

    @property
    def close_reason(self) -> str | None:
        """Why the connection ended or is ending; ``None`` while it is open."""
        ...

    def write(self, data: Buffer) -> None:
        """Queue octets; they leave in order, soon. Ignored after the loss, so a loop may go on."""

    def writelines(self, pieces: Iterable[Buffer]) -> None:
        """`write` each piece; they leave together where they can."""

    def writable(self) -> Awaitable[None]:
        """Wait until more may be written; free when there is room.

        Fails with `ConnectionLost` when the connection ends first.
        """
        ...

    def sendfile(self, file: IO[bytes], offset: int = 0, count: int | None = None) -> Deferred[int]:
        """Send a piece of a file, in order with `write`; fires with the octets sent.

        The file must stay open until then. Sent by the kernel where that is possible.
        """
        ...

    def write_eof(self) -> None:
        """Close the way out once all that was written has left (half-close)."""

    def can_write_eof(self) -> bool:
        """Whether `write_eof` is possible (not so over TLS before 1.3)."""
        ...

    def close(self, reason: str = "clean") -> None:
        """Send what is queued, then close. No more is received."""

    def abort(self, reason: str = "aborted") -> None:
        """Close now, throw away what is queued; a TCP peer is reset."""

    def is_closing(self) -> bool:
        """Whether `close` or `abort` was called or the connection has gone."""
        ...

    def pause_reading(self) -> None:
        """Call `data_received` no more until `resume_reading`. Harmless when paused already."""

    def resume_reading(self) -> None:
        """Go on reading."""

    def is_reading(self) -> bool:
        """Whether octets would be delivered now."""
        ...

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Marks in octets at which `pause_writing` and `resume_writing` are called."""

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """The marks, ``(low, high)``."""
        ...

    def get_write_buffer_size(self) -> int:
        """Octets that wait to be sent."""
        ...

    def set_protocol(self, protocol: IStreamProtocol) -> None:
        """Deliver to `protocol` from now on."""

    def get_protocol(self) -> IStreamProtocol:
        """Who is delivered to."""
        ...

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """asyncio's open-ended questions: ``peername``, ``sockname``, ``socket``, ``cipher`` …"""
        ...

    def start_tls(
        self,
        context: Any,
        *,
        server_side: bool = False,
        server_hostname: str | None = None,
        handshake_timeout: float = 10.0,
    ) -> Deferred[IStreamTransport]:
        """Talk TLS from here on; fires with the transport that does, its handshake done.

        `context` is a `sennit.core.transport.tls.ServerTLS` or `ClientTLS`. The
        protocol is the same; it must use the new transport from then on.
        """
        ...


class ITLSTransport(IStreamTransport, Interface):
    """A transport whose octets are protected; `adapt(ITLSTransport, t)` finds out."""

    @property
    def peer_certificate(self) -> bytes | None:
        """The peer's certificate in DER, ``None`` when it showed none."""
        ...

    @property
    def tls_version(self) -> str:
        """``TLSv1.3`` or ``TLSv1.2``."""
        ...

    @property
    def cipher(self) -> str:
        """OpenSSL's name of the cipher suite."""
        ...

    @property
    def alpn_protocol(self) -> str | None:
        """What ALPN agreed on (RFC 7301)."""
        ...

    @property
    def server_name(self) -> str | None:
        """The name asked for by SNI (RFC 6066 §3)."""
        ...

    @property
    def session_reused(self) -> bool:
        """Whether the handshake resumed an earlier session."""
        ...

    def channel_binding(self, kind: str) -> bytes:
        """Octets that only both ends know: ``tls-exporter`` or ``tls-server-end-point``.

        Raises:
            UsageError: This connection has no binding of that kind.
        """
        ...

    def stop_tls(
        self, *, timeout: float = 5.0, answered: bool = True, hold: float = 0.0
    ) -> Deferred[IStreamTransport]:
        """Talk in clear from here on, the mirror of `start_tls`; fires with the transport below.

        What was written leaves, then close_notify. What the peer says in clear behind its own
        is delivered as soon as the Deferred has fired. The protocol is the same; it must use the
        other transport from then on. When the peer does not end TLS in time, says more under
        it, or closes, the connection is aborted, and the Deferred fails with `ConnectionLost`.

        Args:
            timeout: Seconds until the peer must have said close_notify, too.
            answered: Whether it has to. If not, octets that begin no record of TLS are taken
                for clear text in its place.
            hold: Seconds for which the peer may be first to say it: some take one that comes along
                with an answer for the end of the connection. Then `timeout` begins.
        """
        ...


class IProcessProtocol(Interface):
    """What a child process calls (`sennit.core.protocol.ProcessProtocol` is a base)."""

    def connection_made(self, transport: Any) -> object:
        """The program runs."""

    def pipe_data_received(self, fd: int, data: bytes) -> object:
        """The child has written to its descriptor `fd`."""

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> object:
        """The pipe at the child's descriptor `fd` is closed."""

    def pause_writing(self, fd: int) -> object:
        """Too much waits for the child to read it at `fd`."""

    def resume_writing(self, fd: int) -> object:
        """There is room again."""

    def process_exited(self, status: ProcessStatus) -> object:
        """The process is gone; its last words may still come."""

    def process_ended(self, status: ProcessStatus) -> object:
        """The process and all its pipes are gone; the last call."""


class IProcessTransport(Interface):
    """A child process. Descriptors are its own numbers: 0 in, 1 out, 2 errors."""

    @property
    def pid(self) -> int:
        """Its number."""
        ...

    @property
    def status(self) -> ProcessStatus | None:
        """How it ended; ``None`` while it runs."""
        ...

    def pipe(self, fd: int) -> IStreamTransport:
        """Our end of the pipe at its descriptor `fd`, with flow control of its own."""
        ...

    def write(self, data: Buffer, fd: int = 0) -> None:
        """Queue octets for its standard input, or another descriptor."""

    def writable(self, fd: int = 0) -> Awaitable[None]:
        """Wait until more may be written; free when there is room."""
        ...

    def close_pipe(self, fd: int = 0) -> None:
        """Close a pipe once what was written has left; the child sees the end of its input."""

    def pause_reading(self, fd: int | None = None) -> None:
        """Read no more of `fd`, or of all; the child is held up once the pipe is full."""

    def resume_reading(self, fd: int | None = None) -> None:
        """Go on reading."""

    def send_signal(self, number: int) -> bool:
        """Send it a signal; False when it is gone."""
        ...

    def terminate(self, grace: float = 5.0) -> None:
        """Ask it and all its descendants to end (SIGTERM); kill what is left after `grace`."""

    def kill(self) -> None:
        """Kill it and all its descendants (SIGKILL)."""

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Open-ended questions: ``reactor``."""
        ...


class IProxiedTransport(IStreamTransport, Interface):
    """A connection that a trusted proxy passed on: `peer` and `local` are the client's.

    Over TLS ask the transport `get_extra_info("proxy_header")` instead.
    """

    @property
    def proxy_header(self) -> ProxyHeader:
        """What the proxy said: addresses and further facts."""
        ...

    @property
    def proxy_local(self) -> Address | None:
        """This end of the connection with the proxy."""
        ...


class IListener(Interface):
    """A descriptor that accepts connections."""

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Where it listens, with the real port where 0 was asked for."""
        ...

    @property
    def port(self) -> int:
        """The port of the first address (0 for a Unix socket)."""
        ...

    @property
    def connections(self) -> Any:
        """The transports it accepted and that are still there (a set-like view)."""
        ...

    def pause_accepting(self) -> None:
        """Leave new connections in the kernel's queue."""

    def resume_accepting(self) -> None:
        """Go on."""

    def close(self) -> None:
        """Accept no more; connections that stand are not touched."""


class IPeerLimits(Interface):
    """Decides on each new connection, before its protocol is made.

    `peer` is what is cheap to have, the same for both calls: what `accept`
    returned (a tuple that begins with host and port, or a Unix socket's name,
    mostly empty), or an `Address`, which is such a tuple too.
    """

    def admit(self, peer: Any) -> str | None:
        """``None`` to admit a connection from there, else the reason to shed it."""
        ...

    def release(self, peer: Any) -> None:
        """A connection that was admitted has gone."""


class IService(Interface):
    """Something that runs from `start` to `stop`."""

    @property
    def name(self) -> str:
        """Its identity in logs, commands and reload."""
        ...

    async def start(self, reactor: IReactor) -> None:
        """Come up; return when ready. Failing leaves nothing behind."""

    async def stop(self) -> None:
        """Come to an end in good order."""


def adapt(interface: Callable[..., T] | type[T], obj: object) -> T:
    """`obj` as a provider of `interface`, directly or through a registered adapter.

    Raises:
        TypeError: It neither provides it nor can be adapted.
    """
    if not isinstance(interface, InterfaceClass):
        raise TypeError(f"{interface!r} is not an interface")
    found = interface(obj, None)
    if found is None:
        raise TypeError(
            f"{type(obj).__module__}.{type(obj).__qualname__} provides no {interface.__name__}"
        )
    return found  # type: ignore[no-any-return]  # zope is untyped here; T is the interface's


def implemented_by(cls: type) -> list[str]:
    """Names of the house's interfaces that instances of `cls` provide."""
    return [each.__name__ for each in zope.interface.implementedBy(cls)]


def _declare(cls: type, names: tuple[str, ...]) -> None:
    zope.interface.classImplements(cls, *[globals()[name] for name in names])


_implements.attach(_declare)
