"""``haproxy+tcp://…``: connections that a proxy passes on with a PROXY header in front.

A server believes the header of trusted peers, by default those on this machine:
loopback addresses and Unix sockets; ``?trusted=10.0.0.0/8,loopback`` says others.
A connection from anywhere else is dropped before anything of it is read, since its
octets would be taken for a claim. The header must come whole within `DEADLINE`
seconds, in 107 octets (version 1) or 536 (version 2), in front of TLS where there is
TLS. From then on the protocol sees the client's addresses as ``peer`` and
``local``, limits count by them, and `sennit.core.interfaces.IProxiedTransport`
(or ``get_extra_info("proxy_header")``, also through TLS) tells the rest.

A client writes the header: what ``connect(…, proxy_header=…)`` was given, else its
own two addresses. ``?version=1`` chooses the text form.
"""

from __future__ import annotations

from sennit.core._implements import implements
from sennit.core.address import InternetAddress, UnixAddress
from sennit.core.endpoint.connect import builder
from sennit.core.endpoint.fronting import ClientFront, Front
from sennit.core.endpoint.networks import Networks, host_of
from sennit.core.endpoint.proxy_header import ProxyFault, ProxyHeader, ProxyHeaderReader
from sennit.core.endpoint.schemes import connect_to, listen_at
from sennit.core.errors import EndpointSyntaxError, UsageError
from sennit.core.policy.wrapper import TransportWrapper
from sennit.core.protocol import adapt_factory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Final

    from sennit.core.address import Address
    from sennit.core.deferred import Deferred
    from sennit.core.endpoint.parse import Endpoint
    from sennit.core.interfaces import IPeerLimits, IStreamProtocol, IStreamTransport
    from sennit.core.protocol import ProtocolFactory
    from sennit.core.reactor.base import Reactor

__all__ = [
    "DEADLINE",
    "MAX_PENDING",
    "ProxiedFactory",
    "ProxiedTransport",
    "connect_haproxy",
    "listen_haproxy",
]

DEADLINE: Final = 5.0
"""Seconds for the whole header."""
MAX_PENDING: Final = 1024
"""Connections of one listener whose header has not come yet."""

UNTRUSTED: Final = "untrusted"
"""Why a connection is dropped: its peer is not among the trusted."""
PENDING: Final = "limit:proxy-headers"
"""Why a connection is shed: too many wait for their header."""


class _Client(InternetAddress):
    """The peer that a header named, and that limits have admitted."""

    __slots__ = ()


class _UnixClient(str):
    """Likewise, on a Unix socket."""

    __slots__ = ()


@implements("IProxiedTransport")
class ProxiedTransport(TransportWrapper):
    """A transport that shows the addresses of the client behind the proxy.

    Args:
        wrapped: The connection with the proxy.
        header: What the proxy said.
    """

    __slots__ = ("_header",)

    def __init__(self, wrapped: IStreamTransport, header: ProxyHeader) -> None:
        super().__init__(wrapped)
        self._header = header

    @property
    def peer(self) -> Address | None:
        """The client; the proxy itself where it speaks for itself."""
        return self._header.source or self.wrapped.peer

    @property
    def local(self) -> Address | None:
        """Where the client connected to."""
        return self._header.destination or self.wrapped.local

    @property
    def proxy_header(self) -> ProxyHeader:
        """All that the proxy said."""
        return self._header

    @property
    def proxy_local(self) -> Address | None:
        """This end of the connection with the proxy."""
        return self.wrapped.local

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """asyncio's questions, and ``proxy_header``; the client's addresses as names."""
        if name == "proxy_header":
            return self._header
        if name in ("peername", "sockname"):
            said = self._header.source if name == "peername" else self._header.destination
            if said is not None:
                # As the socket module has them: no fields of ours.
                return said.path if isinstance(said, UnixAddress) else _name(said)
        return self.wrapped.get_extra_info(name, default)

    def start_tls(self, context: Any, **options: Any) -> Deferred[IStreamTransport]:
        """TLS from here on; it asks this transport, not the one below, for addresses."""
        from sennit.core.transport.tls import upgrade

        return upgrade(self, context, **options)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # the wrapper has the rest by __getattr__


def _name(address: InternetAddress) -> tuple[Any, ...]:
    return tuple(address) if ":" in address.host else tuple(address)[:2]


class _Gate:
    """Limits on connections whose peer is known only after their header."""

    def __init__(self, limits: IPeerLimits | None, trusted: Networks | None) -> None:
        self.limits = limits
        self._trusted = trusted
        self.pending = 0

    def trusts(self, peer: Any) -> bool:
        """Whether a header from there is believed. (``Any``: the `socket` module's.)"""
        host = host_of(peer)
        if host is None:
            return True  # a Unix socket, whose permissions say who may
        return (_LOOPBACK if self._trusted is None else self._trusted).trusts(host)

    def admit(self, peer: Any) -> str | None:
        if not self.trusts(peer):
            _warn_untrusted(host_of(peer))
            return UNTRUSTED
        if self.pending >= MAX_PENDING:
            return PENDING
        self.pending += 1
        return None

    def release(self, peer: Any) -> None:
        if isinstance(peer, (_Client, _UnixClient)):
            if self.limits is not None:
                self.limits.release(peer)
        else:
            self.pending -= 1


_LOOPBACK = Networks("loopback")
_warned: set[str] = set()


def _warn_untrusted(host: str | None) -> None:
    """Say it once per address: it is a mistake in the configuration, or an attempt."""
    if host is None or host in _warned or len(_warned) >= 1000:
        return
    _warned.add(host)
    import logging

    logging.getLogger("sennit").warning(
        "Connection from %s dropped: its PROXY header would not be believed; "
        "if it is your proxy, add it to the endpoint as ?trusted=%s",
        host,
        host,
    )


class ProxiedFactory:
    """A factory whose protocols are made when the PROXY header has come.

    Args:
        factory: Makes them; ``build_protocol`` gets the client's address.
        gate: Counts the connections.
        versions: Versions of the header that are understood.
    """

    def __init__(
        self, factory: ProtocolFactory, gate: Any = None, versions: tuple[int, ...] = (1, 2)
    ) -> None:
        self._factory = factory
        self.build = adapt_factory(factory)
        self.gate: _Gate = _Gate(None, Networks("any")) if gate is None else gate
        self.versions = versions

    def __repr__(self) -> str:
        """The factory inside."""
        return f"<ProxiedFactory of {self._factory!r}>"

    def build_protocol(self, peer: Address | None) -> IStreamProtocol:
        """What reads the header."""
        return _ServerFront(self)


class _ServerFront(Front):
    """Reads the header, then hands over."""

    def __init__(self, factory: ProxiedFactory) -> None:
        self._factory = factory
        self._reader = ProxyHeaderReader(factory.versions)

    def begin(self) -> None:
        self.expect_within(DEADLINE)

    def received(self, data: bytes) -> None:
        self._reader.receive_data(data)
        self._look()

    def ended(self) -> None:
        self._reader.receive_eof()
        self._look()

    def _look(self) -> None:
        event = self._reader.next_event()
        if isinstance(event, ProxyFault):
            import logging

            logging.getLogger("sennit").warning(
                "Connection from %s dropped: %s (%s)", self.transport.peer, event, event.rule
            )
            self.drop("error")
        elif isinstance(event, ProxyHeader):
            self._go_on(event)

    def _go_on(self, header: ProxyHeader) -> None:
        """The header stands: count the client, and make its protocol."""
        factory, transport = self._factory, self.transport
        source = header.source
        client: Any = None
        if isinstance(source, InternetAddress):
            client = _Client(*source)
        elif source is not None:
            client = _UnixClient(source.path)
        elif isinstance(transport.peer, InternetAddress):
            client = _Client(*transport.peer)
        else:
            client = _UnixClient("")
        limits = factory.gate.limits
        if limits is not None:
            reason = limits.admit(client)
            if reason is not None:
                self.drop("shed")
                return
        factory.gate.pending -= 1
        # From here on it is released as what was admitted.
        accepted_for: Callable[[object], None] | None = getattr(transport, "accepted_for", None)
        if accepted_for is not None:
            accepted_for(client)
        shown: Any = ProxiedTransport(transport, header)
        protocol = factory.build(shown.peer)
        if protocol is None:
            self.drop("shed")
        else:
            self.hand_over(protocol, self._reader.release(), shown)


def listen_haproxy(
    endpoint: Endpoint,
    factory: ProtocolFactory,
    *,
    reactor: Reactor,
    limits: IPeerLimits | None,
    paused: bool,
) -> Any:  # Any: what the inner scheme gives
    """The prefix ``haproxy`` where one listens."""
    inner = endpoint.inner
    assert inner is not None
    trusted = endpoint.options.get("trusted")
    try:
        networks = None if trusted is None else Networks(trusted)
    except UsageError as error:
        raise EndpointSyntaxError(endpoint.url, f"option trusted: {error}") from error
    gate = _Gate(limits, networks)
    return listen_at(
        inner,
        ProxiedFactory(factory, gate, _versions(endpoint)),
        reactor=reactor,
        limits=gate,
        paused=paused,
    )


def _versions(endpoint: Endpoint) -> tuple[int, ...]:
    text = endpoint.options.get("version")
    if text not in (None, "1", "2"):
        raise EndpointSyntaxError(endpoint.url, f"option version is 1 or 2, not {text!r}")
    return (1, 2) if text is None else (int(text),)


# ── the other side ────────────────────────────────────────────────────────────


class _Announcing(ClientFront):
    """Writes the header, then hands over."""

    def __init__(
        self,
        make: Callable[[], IStreamProtocol],
        timeout: float,
        header: ProxyHeader | None,
        version: int | None,
    ) -> None:
        super().__init__(make, timeout)
        self._header = header
        self._version = version

    def begin(self) -> None:
        header = self._header
        if header is None:
            header = ProxyHeader(self.transport.local, self.transport.peer)
        if self._version is not None:
            header.version = 1 if self._version == 1 else 2
        try:
            octets = header.encode()
        except UsageError as error:
            self.fail(error)
            return
        self.transport.write(octets)
        self.give(b"")


def connect_haproxy(
    endpoint: Endpoint,
    factory: ProtocolFactory,
    *,
    reactor: Reactor,
    timeout: float,
    local_address: tuple[str, int] | None,
    more: object,
) -> Deferred[Any]:  # Any: the factory's protocol
    """The prefix ``haproxy`` where one connects; `more` is the header to send."""
    inner = endpoint.inner
    assert inner is not None
    text = endpoint.options.get("version")
    version = None if text is None else _versions(endpoint)[0]
    if "trusted" in endpoint.options:
        raise EndpointSyntaxError(endpoint.url, "option trusted is for where one listens")
    if more is not None and not isinstance(more, ProxyHeader):
        raise UsageError(f"proxy_header is a ProxyHeader, not {more!r}")
    front = _Announcing(builder(factory), timeout, more, version)
    return connect_to(
        inner, lambda: front, reactor=reactor, timeout=timeout, local_address=local_address
    ).add_callback(lambda _: front.done)
