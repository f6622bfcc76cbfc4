"""Typed configuration: what a strand derives its own from.

A service's configuration is a Struct (msgspec) that derives from
`ServiceConfig`: keys it does not know are refused, and each of its fields is a
key of ``[service.NAME]`` and an option of ``sennit TYPE``. The docstring's
``Attributes:`` section is the help of both::

    class EchoConfig(ServiceConfig, frozen=True, kw_only=True):
        '''Send back whatever comes.

        Attributes:
            idle: Seconds without an octet after which a connection is closed.
        '''

        listen: list[Listen] = listen_on("tcp://127.0.0.1:8007")
        idle: Annotated[float, Meta(gt=0)] = 300.0

Say ``frozen=True, kw_only=True`` each time, since neither is inherited: nobody changes a
configuration once it is read, and a required key may follow an optional one.

Beside the types of msgspec there are:

* `Path`: relative to the folder of the configuration file; absolute when `build`
  sees it. `Directory` and `File` must exist.
* `Secret`: given as ``{env = "NAME"}``, ``{file = "path"}`` or
  ``{credential = "name"}``, never in clear, and never shown.
* `Listen`: a URL, or ``{url = "tls://:8443", tls = "main"}``.
* ``Annotated[str, refers("tls")]``: the name of a table ``[tls.NAME]``.

A rule over several keys goes into ``__post_init__``, as a `ValueError` that
names them. Here msgspec is needed (extra ``cli``; a strand's own ``config.py``
is imported by the runner alone).
"""  # noqa: D214 - the section belongs to the example

from __future__ import annotations

# At run time: msgspec resolves the annotations of Structs.
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from sennit.core.errors import MissingExtraError

try:
    import msgspec
    from msgspec import Meta
except ImportError as error:  # pragma: no cover - tested in a process without it
    raise MissingExtraError(__name__, "sennit-core", "cli") from error

__all__ = [
    "CertificatePair",
    "Directory",
    "File",
    "Listen",
    "Meta",
    "NodeTable",
    "Path",
    "Secret",
    "ServiceConfig",
    "TLSConfig",
    "Table",
    "default_list",
    "listen_on",
    "refers",
]

REFERS: Final = "sennit-refers"
"""Key in `Meta.extra`: the kind of table that a string names."""

EXISTS: Final = "sennit-exists"
"""Key in `Meta.extra`: what must be found at a path, ``file`` or ``directory``."""


def refers(kind: str) -> Meta:
    """Mark a string as the name of a table, as in ``Annotated[str, refers("tls")]``."""  # noqa: D402
    return Meta(extra={REFERS: kind})


File = Annotated[Path, Meta(extra={EXISTS: "file"})]
"""A path at which a readable file must be."""

Directory = Annotated[Path, Meta(extra={EXISTS: "directory"})]
"""A path at which a directory must be."""


class Secret:
    """A password or key that is told to nobody by accident.

    `repr`, `str`, formatting and logs show where it came from; pickling is refused.

    Args:
        value: The secret itself.
        source: Where it came from, such as ``env:SMTP_PASSWORD``.
    """

    __slots__ = ("_source", "_value")

    def __init__(self, value: str, source: str) -> None:
        self._value = value
        self._source = source

    def reveal(self) -> str:
        """The secret, for the one call that needs it."""
        return self._value

    @property
    def source(self) -> str:
        """Where it came from, such as ``env:SMTP_PASSWORD``."""
        return self._source

    def __repr__(self) -> str:
        return f"<Secret from {self._source}>"

    def __eq__(self, other: object) -> bool:
        """By value, in a time that does not depend on it."""
        if not isinstance(other, Secret):
            return NotImplemented
        from hmac import compare_digest

        return compare_digest(self._value.encode(), other._value.encode())

    __hash__ = None  # type: ignore[assignment]  # a hash would tell something of the value

    def __reduce__(self) -> Any:  # Any: it never returns
        raise TypeError("a Secret is not pickled")


class Listen:
    """One place to listen on, as the configuration says it.

    Attributes:
        url: The endpoint, such as ``tcp://127.0.0.1:8080`` or ``unix:/run/web.sock``.
        tls: The name of the table ``[tls.NAME]`` that has the certificate.
    """

    __slots__ = ("tls", "url")

    def __init__(self, url: str, tls: str | None = None) -> None:
        self.url = url
        self.tls = tls

    def __repr__(self) -> str:
        return (
            f"Listen({self.url!r})" if self.tls is None else f"Listen({self.url!r}, {self.tls!r})"
        )

    def __eq__(self, other: object) -> bool:
        """Same endpoint, same certificate."""
        if not isinstance(other, Listen):
            return NotImplemented
        return (self.url, self.tls) == (other.url, other.tls)

    def __hash__(self) -> int:
        return hash((self.url, self.tls))


def listen_on(*urls: str) -> Any:  # Any: msgspec's `field` is typed so, to fit any annotation
    """A default for `ServiceConfig.listen`."""
    return msgspec.field(default_factory=lambda: [Listen(url) for url in urls])


def default_list(*items: str) -> Any:  # Any: as above
    """A default for a field that is a list of strings."""
    return msgspec.field(default_factory=lambda: list(items))


class Table(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, frozen=True):
    """A TOML table; keys it does not know are refused, and nobody changes it once it is read."""


class ServiceConfig(Table, kw_only=True, frozen=True):
    """What every service can be told. A strand derives its own from this.

    Attributes:
        listen: Where to listen: URLs, or {url = "tls://:8443", tls = "main"}.
        max_connections: Connections at one time, in all; one more is shed.
        max_per_address: Connections at one time from one IPv4 address or IPv6 /64.
        count_loopback: Whether max_per_address counts loopback and Unix sockets too.
    """

    listen: list[Listen]
    max_connections: Annotated[int, Meta(ge=1)] = 10_000
    max_per_address: Annotated[int, Meta(ge=1)] = 50
    count_loopback: bool = False


class CertificatePair(Table, kw_only=True, frozen=True):
    """A certificate and its key.

    Attributes:
        certificate: PEM file with the certificate, and the chain after it.
        key: PEM file with the private key; left out where certificate holds it too.
    """

    certificate: File
    key: File | None = None


class TLSConfig(CertificatePair, kw_only=True, frozen=True):
    """A certificate, its key, and whom they are shown to: ``[tls.NAME]``.

    Attributes:
        chain: PEM file with intermediate certificates, where they are not behind it.
        password: Of an encrypted key.
        sni: More certificates, chosen by the name a client asks for.
        strict_sni: Refuse a name that no certificate is for.
        client_ca: PEM file with the authorities of client certificates; asks for one.
        require_client_certificate: Refuse clients that show none.
        min_version: Oldest protocol version.
    """

    chain: File | None = None
    password: Secret | None = None
    sni: list[CertificatePair] = []
    strict_sni: bool = False
    client_ca: File | None = None
    require_client_certificate: bool = False
    min_version: Literal["TLSv1.2", "TLSv1.3"] = "TLSv1.2"

    def __post_init__(self) -> None:
        """Check what belongs together."""
        if self.require_client_certificate and self.client_ca is None:
            raise ValueError(
                "require_client_certificate needs client_ca, to check certificates against"
            )


class NodeTable(Table, kw_only=True, frozen=True):
    """How the process runs: ``[node]``. Options of the command line come before it.

    Attributes:
        workers: Processes that serve, under a supervisor; "cpus" for one per processor.
            Left out, one process serves and there is no supervisor.
        drain: Seconds that what is under way has to finish at the end.
        drain_delay: Seconds at the end during which new connections are still accepted
            while readiness is denied already, so that a load balancer can look away.
        user: Whom to become once everything listens: a name or number.
        group: Its group, where it is not the user's own.
        groups: Further groups, where they are not the user's own.
        capabilities: Powers of root to keep, such as CAP_NET_BIND_SERVICE.
        no_new_privs: Let programs started from here gain nothing by set-user-ID bits.
        pid_file: File that holds the number of the process while it runs.
        start_timeout: Seconds that a worker may take until it serves.
        hang_timeout: Seconds without an answer after which a worker is killed; 0 for never.
        bus: Where services publish and count: "memory:", "unix:PATH", or what a plugin brings.
        resolver: Who looks names up where services connect to others: "system", or what a
            plugin brings, such as "names". Left out, the system does.
        log_level: What the log on standard error begins at.
        log_format: Whether its lines are text for people, or JSON.
        watch: Seconds after which a callback that keeps the loop is named in the log; 0 to
            watch nothing, 0.1 is a good value otherwise.
    """

    workers: Annotated[int, Meta(ge=1, le=1024)] | Literal["cpus"] | None = None
    drain: Annotated[float, Meta(ge=0, le=86_400)] = 30.0
    drain_delay: Annotated[float, Meta(ge=0, le=3600)] = 0.0
    user: str | None = None
    group: str | None = None
    groups: list[str] | None = None
    capabilities: list[str] = []
    no_new_privs: bool = False
    pid_file: Path | None = None
    start_timeout: Annotated[float, Meta(gt=0, le=3600)] = 60.0
    hang_timeout: Annotated[float, Meta(ge=0, le=3600)] = 30.0
    bus: Annotated[str, Meta(pattern="^[a-z][a-z0-9+.-]*:")] | None = None
    resolver: Annotated[str, Meta(min_length=1)] | None = None
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["text", "json"] = "text"
    watch: Annotated[float, Meta(ge=0, le=3600)] = 0.0
