"""What each scheme of an endpoint's URL means: one row per scheme.

`parse_endpoint` reads by these rows, `serve` listens and `connect` connects by
them. To add a scheme, add a row; a distribution adds one by an entry point of
the group ``sennit.endpoints`` that names a `Scheme`::

    serial = Scheme(
        "serial",
        form=OPAQUE,
        options={"speed": "number"},
        connect="example.serial:connect_serial",
        no_listen="a serial line has nobody to accept",
    )

The functions are named as ``"module:function"`` and imported when first used::

    def listen(endpoint, factory, *, reactor, limits, paused) -> IListener | Deferred[IListener]
    def connect(endpoint, factory, *, reactor, timeout, local_address) -> Deferred[protocol]

What `listen` gives has, beside what `IListener` says, an attribute ``on_empty``:
called when the last of its connections has gone.

TLS is not theirs: the callers lay it over whatever the row gives when the
row is `secure`, so ``tls`` differs from ``tcp`` in that word alone.

A `Prefix` wraps another endpoint and is written before it, ``haproxy+tcp://…``.
Its functions call `listen_at` or `connect_to` for ``endpoint.inner``; the one that
connects has a further parameter ``more``: what the caller of `connect` said for it.
TLS lies above it.
"""

from __future__ import annotations

from sennit.core.errors import EndpointSyntaxError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, Final, Literal, TypeAlias

    from sennit.core.deferred import Deferred
    from sennit.core.endpoint.parse import Endpoint
    from sennit.core.interfaces import IPeerLimits
    from sennit.core.protocol import ProtocolFactory
    from sennit.core.reactor.base import Reactor

    Form: TypeAlias = Literal["authority", "path", "number", "opaque"]
    OptionKind: TypeAlias = Literal["number", "octal", "flag", "text", "texts"]
    # Any: rows differ in what they make, which their callers hand on.
    Target: TypeAlias = str | Callable[..., Any] | None

__all__ = [
    "AUTHORITY",
    "NUMBER",
    "OPAQUE",
    "PATH",
    "PREFIXES",
    "SCHEMES",
    "TABLE",
    "Prefix",
    "Scheme",
    "connect_to",
    "find_scheme",
    "known_schemes",
    "listen_at",
    "load_endpoint",
]

AUTHORITY: Final = "authority"
"""``SCHEME://HOST:PORT``: `Endpoint.host` and `Endpoint.port`."""
PATH: Final = "path"
"""``SCHEME:PATH`` or ``SCHEME://PATH``: `Endpoint.path`, never empty."""
NUMBER: Final = "number"
"""``SCHEME:3``: `Endpoint.fd`."""
OPAQUE: Final = "opaque"
"""All between colon and question mark, as it is and maybe empty: `Endpoint.path`."""


class Scheme:
    """One scheme.

    Args:
        name: As it is written before the colon.
        form: What follows the colon: `AUTHORITY`, `PATH`, `NUMBER` or `OPAQUE`.
        options: What may follow the question mark, and of which kind it is:
            ``number`` (0 to 65535), ``octal`` (0 to 777), ``flag`` (yes or no), ``text``,
            ``texts`` (given any number of times; joined by a line feed, which no URL holds).
        secure: Whether TLS is laid over it.
        datagrams: Whether it carries datagrams, so that no stream can be had of it.
        listen: The function that listens, ``"module:function"``; ``None`` where one cannot.
        connect: The function that connects, likewise.
        no_listen: Words to say where one cannot listen.
        no_connect: Words to say where one cannot connect.
    """

    __slots__ = (
        "connect",
        "datagrams",
        "form",
        "listen",
        "name",
        "no_connect",
        "no_listen",
        "options",
        "secure",
    )

    def __init__(
        self,
        name: str,
        *,
        form: Form,
        options: Mapping[str, OptionKind] | None = None,
        secure: bool = False,
        datagrams: bool = False,
        listen: Target = None,
        connect: Target = None,
        no_listen: str = "one cannot listen there",
        no_connect: str = "one connects to tcp://, tls://, unix: or tls+unix:",
    ) -> None:
        self.name = name
        self.form: Form = form
        self.options: Mapping[str, OptionKind] = options or {}
        self.secure = secure
        self.datagrams = datagrams
        self.listen = listen
        self.connect = connect
        self.no_listen = no_listen
        self.no_connect = no_connect

    def __repr__(self) -> str:
        return f"<Scheme {self.name}>"


class Prefix:
    """What can be written before a scheme, with a plus sign, to wrap its endpoint.

    Args:
        name: As it is written before the plus sign.
        options: As a scheme's; they may stand among those of the inner endpoint.
        inner: The schemes it can wrap.
        listen: As a scheme's.
        connect: As a scheme's, with a further keyword ``more``.
        no_listen: Words to say where one cannot listen.
        no_connect: Words to say where one cannot connect.
    """

    __slots__ = ("connect", "inner", "listen", "name", "no_connect", "no_listen", "options")

    def __init__(
        self,
        name: str,
        *,
        inner: tuple[str, ...],
        options: Mapping[str, OptionKind] | None = None,
        listen: Target = None,
        connect: Target = None,
        no_listen: str = "one cannot listen there",
        no_connect: str = "one cannot connect there",
    ) -> None:
        self.name = name
        self.options: Mapping[str, OptionKind] = options or {}
        self.inner = inner
        self.listen = listen
        self.connect = connect
        self.no_listen = no_listen
        self.no_connect = no_connect

    def __repr__(self) -> str:
        return f"<Prefix {self.name}>"


_TCP: Final[Mapping[str, OptionKind]] = {"backlog": "number", "reuse_port": "flag"}
_UNIX: Final[Mapping[str, OptionKind]] = {"backlog": "number", "mode": "octal"}

TABLE: Final[dict[str, Scheme]] = {
    each.name: each
    for each in (
        Scheme(
            "tcp",
            form="authority",
            options=_TCP,
            listen="sennit.core.endpoint.listen:listen_tcp_endpoint",
            connect="sennit.core.endpoint.connect:connect_tcp_endpoint",
        ),
        Scheme(
            "tls",
            form="authority",
            options=_TCP,
            secure=True,
            listen="sennit.core.endpoint.listen:listen_tcp_endpoint",
            connect="sennit.core.endpoint.connect:connect_tcp_endpoint",
        ),
        Scheme(
            "unix",
            form="path",
            options=_UNIX,
            listen="sennit.core.endpoint.listen:listen_unix_endpoint",
            connect="sennit.core.endpoint.connect:connect_unix_endpoint",
        ),
        Scheme(
            "tls+unix",
            form="path",
            options=_UNIX,
            secure=True,
            listen="sennit.core.endpoint.listen:listen_unix_endpoint",
            connect="sennit.core.endpoint.connect:connect_unix_endpoint",
        ),
        Scheme(
            "udp",
            form="authority",
            options={
                "broadcast": "flag",
                "dual_stack": "flag",
                "max_size": "number",
                "reuse_port": "flag",
                "ttl": "number",
            },
            datagrams=True,
            listen="sennit.core.endpoint.udp:listen",
            connect="sennit.core.endpoint.udp:connect",
        ),
        Scheme("fd", form="number", listen="sennit.core.endpoint.listen:listen_fd_endpoint"),
        Scheme(
            "tls+fd",
            form="number",
            secure=True,
            listen="sennit.core.endpoint.listen:listen_fd_endpoint",
        ),
        Scheme(
            "stdio",
            form="opaque",
            listen="sennit.core.endpoint.stdio:listen",
            connect="sennit.core.endpoint.stdio:connect",
        ),
        Scheme(
            "process",
            form="path",
            options={"arg": "texts", "cwd": "text"},
            connect="sennit.core.endpoint.process:connect",
            no_listen="a program is started by who connects to it; it does not come by itself",
        ),
        Scheme("systemd", form="opaque", listen="sennit.core.endpoint.systemd:listen_systemd"),
        Scheme(
            "tls+systemd",
            form="opaque",
            secure=True,
            listen="sennit.core.endpoint.systemd:listen_systemd",
        ),
    )
}
"""The schemes that core itself knows, by name."""

PREFIXES: Final[dict[str, Prefix]] = {
    each.name: each
    for each in (
        Prefix(
            "haproxy",
            inner=("tcp", "tls", "unix", "tls+unix", "fd", "tls+fd", "systemd", "tls+systemd"),
            options={"trusted": "text", "version": "text"},
            listen="sennit.core.endpoint.haproxy:listen_haproxy",
            connect="sennit.core.endpoint.haproxy:connect_haproxy",
        ),
        Prefix(
            "socks5",
            inner=("tcp", "tls"),
            options={"proxy": "text", "login": "text"},
            connect="sennit.core.endpoint.tunnel:connect_socks5",
            no_listen="a SOCKS proxy is connected through, one listens elsewhere",
        ),
        Prefix(
            "http-connect",
            inner=("tcp", "tls"),
            options={"proxy": "text", "login": "text"},
            connect="sennit.core.endpoint.tunnel:connect_http",
            no_listen="an HTTP proxy is connected through, one listens elsewhere",
        ),
    )
}
"""The prefixes that core itself knows, by name."""

SCHEMES: Final = tuple(TABLE)
"""Names of the schemes that core itself knows, without those that wrap others."""


def known_schemes() -> list[str]:
    """What may be written before the colon, plugins included: for messages."""
    from sennit.core.plugin import installed

    wrapping = [f"{name}+…" for name in PREFIXES]
    return [*TABLE, *wrapping, *installed("sennit.endpoints")]


def find_scheme(name: str) -> Scheme:
    """The row of a scheme: core's own, or a plugin's, loaded now.

    Raises:
        UnknownPluginError: There is none.
        BrokenPluginError: It cannot be loaded, or is no `Scheme`.
    """
    row = TABLE.get(name)
    if row is None:
        from sennit.core.plugin import BrokenPluginError, find

        found = find("sennit.endpoints", name)
        if not isinstance(found, Scheme):
            raise BrokenPluginError(name, "sennit.endpoints", f"it is no Scheme but {found!r}")
        row = found
    return row


def load_endpoint(url: str) -> Endpoint:
    """Take a URL apart by its scheme's row, which may be a plugin's.

    Raises:
        EndpointSyntaxError: It names no endpoint, or nobody knows its scheme.
        BrokenPluginError: The plugin that does cannot be loaded.
    """
    from sennit.core.endpoint.parse import parse_endpoint

    endpoint = parse_endpoint(url)
    if endpoint.row is None:
        known = known_schemes()
        if endpoint.scheme not in known:
            raise EndpointSyntaxError(
                url, f"there is no endpoint {endpoint.scheme!r}; there are {', '.join(known)}"
            )
        endpoint = parse_endpoint(url, find_scheme(endpoint.scheme))
    return endpoint


def listen_at(
    endpoint: Endpoint,
    factory: ProtocolFactory,
    *,
    reactor: Reactor,
    limits: IPeerLimits | None = None,
    paused: bool = False,
) -> Deferred[Any] | Any:  # Any: a listener, whose methods the row's kind decides
    """Listen below TLS: a listener, or a Deferred of one.

    Raises:
        EndpointSyntaxError: One cannot listen at such an endpoint.
    """
    row = _row(endpoint)
    if row.listen is None:
        raise EndpointSyntaxError(endpoint.url, row.no_listen)
    return _function(row.listen)(endpoint, factory, reactor=reactor, limits=limits, paused=paused)


def connect_to(
    endpoint: Endpoint,
    factory: ProtocolFactory,
    *,
    reactor: Reactor,
    timeout: float,
    local_address: tuple[str, int] | None = None,
    more: object = None,
) -> Deferred[Any]:  # Any: the factory's protocol
    """Connect below TLS; fires with the factory's protocol.

    Raises:
        EndpointSyntaxError: One cannot connect to such an endpoint.
    """
    row = _row(endpoint)
    if row.connect is None:
        raise EndpointSyntaxError(endpoint.url, row.no_connect)
    options: dict[str, object] = {} if endpoint.prefix is None else {"more": more}
    opened: Deferred[Any] = _function(row.connect)(
        endpoint,
        factory,
        reactor=reactor,
        timeout=timeout,
        local_address=local_address,
        **options,
    )
    return opened


def _row(endpoint: Endpoint) -> Scheme | Prefix:
    if endpoint.prefix is not None:
        return endpoint.prefix
    return endpoint.row or find_scheme(endpoint.scheme)


def _function(target: str | Callable[..., Any]) -> Callable[..., Any]:
    if not isinstance(target, str):
        return target
    module, _, name = target.partition(":")
    # `importlib` would have to be imported for this.
    function: Callable[..., Any] = getattr(__import__(module, fromlist=[name]), name)
    return function
