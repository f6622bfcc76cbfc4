"""What ``[service.NAME]`` with ``type = "dns"`` can say."""

from __future__ import annotations

# At run time: msgspec resolves the annotations of Structs.
from typing import Annotated, Literal

from sennit.core.errors import MissingExtraError

try:
    from sennit.core.service.config import (
        File,
        Listen,
        Meta,
        Path,
        Secret,
        ServiceConfig,
        Table,
        default_list,
        listen_on,
    )
except ImportError as error:  # pragma: no cover - tested in an environment without it
    raise MissingExtraError(__name__, "sennit-names", "service") from error

__all__ = ["DNSConfig", "KeyTable", "ResolverTable", "SecondaryTable", "SignTable", "ZoneTable"]

Count = Annotated[int, Meta(ge=1)]
Seconds = Annotated[float, Meta(gt=0, le=86_400)]
Rate = Annotated[float, Meta(ge=0)]
LocalKind = Literal[
    "static",
    "transparent",
    "typetransparent",
    "redirect",
    "refuse",
    "deny",
    "nxdomain",
    "nodata",
    "null",
]
Access = list[str]
"""Rules: networks, ``key:NAME``, or both with a blank between."""


class KeyTable(Table, kw_only=True, frozen=True):
    """A key of TSIG, which signs messages between servers: ``[service.NAME.keys."KEY"]``.

    Attributes:
        secret: Its octets in base64, such as ``{file = "transfer.secret"}``.
        algorithm: How it signs.
    """

    secret: Secret
    algorithm: Literal["hmac-sha1", "hmac-sha224", "hmac-sha256", "hmac-sha384", "hmac-sha512"] = (
        "hmac-sha256"
    )


class SignTable(Table, kw_only=True, frozen=True):
    """How a zone is signed (DNSSEC).

    Attributes:
        keys: Folder of its keys, which are made where there are none.
        algorithm: Of keys that are made.
        nsec3: Whether names are hashed in proofs of absence (NSEC3), not told (NSEC).
        opt_out: Whether NSEC3 leaves out delegations that are not signed.
        ksk_lifetime: Days after which another key is begun with that the parent vouches for;
            left out, never.
        zsk_lifetime: Days after which another key is begun with that signs the zone; left out,
            one key does both.
        validity: Days that a signature is good for.
    """

    keys: Path
    algorithm: Literal["rsasha256", "ecdsap256sha256", "ecdsap384sha384", "ed25519"] = (
        "ecdsap256sha256"
    )
    nsec3: bool = False
    opt_out: bool = False
    ksk_lifetime: Annotated[float, Meta(gt=0)] | None = None
    zsk_lifetime: Annotated[float, Meta(gt=0)] | None = None
    validity: Annotated[float, Meta(ge=1, le=365)] = 14.0


class ZoneTable(Table, kw_only=True, frozen=True):
    """More about one of the zones: ``[service.NAME.zone."example.org"]``.

    Attributes:
        transfer: Who may have it whole, in place of the service's transfer.
        notify: Servers told of changes beside those of its NS records, in place of notify.
        update: Who may change it by dynamic update: rules such as
            ``grant KEY zonesub ANY``, the first that fits decides.
        sign: Sign it.
    """

    transfer: Access | None = None
    notify: list[str] | None = None
    update: list[str] = []
    sign: SignTable | None = None


class SecondaryTable(Table, kw_only=True, frozen=True):
    """A copy of another server's zone: ``[service.NAME.secondary."example.org"]``.

    Attributes:
        primaries: Servers that have it: ADDRESS, tcp://ADDRESS:PORT or tls://ADDRESS#NAME, each
            perhaps with key:NAME behind it.
        file: File that the copy is kept in; left out, it is fetched anew at each start.
        transfer: Who may have it whole, in place of the service's transfer.
        notify: Servers told of changes beside those of its NS records, in place of notify.
        allow_notify: Who may send word of changes, beside the primaries.
        forward_updates: Who may have updates passed on to the primary.
        trust: Certificates that vouch for primaries over TLS, in place of the system's.
    """

    primaries: Annotated[list[str], Meta(min_length=1)]
    file: Path | None = None
    transfer: Access | None = None
    notify: list[str] | None = None
    allow_notify: Access = []
    forward_updates: Access = []
    trust: File | None = None


class ResolverTable(Table, kw_only=True, frozen=True):
    """Answer for all other names, too: ``[service.NAME.resolver]``.

    Attributes:
        allow: Networks whose questions are answered.
        roots: Zone file with NS and addresses of the root's servers; left out, IANA's.
        forward: Servers that are asked, by zone, in place of the authorities; "." for all:
            ADDRESS, tls://ADDRESS#NAME or https://…
        trust: Certificates that vouch for those over TLS and HTTPS, in place of the system's.
        stub: Authorities of zones, by zone, in place of those that their parents name.
        local: What becomes of names beneath a name: static or transparent (its data, below),
            redirect, refuse, deny, nxdomain, nodata, or null for the address of nowhere.
        data: Records answered here, such as "printer.lan. 300 IN A 192.168.1.9".
        block: Files of names that clients are kept from, one a line, or as hosts files.
        block_with: What is said of them.
        allow_names: Names that are looked up all the same.
        validate: Whether answers are validated (DNSSEC); left out, where the extra dnssec is
            installed.
        anchors: File with DS or DNSKEY records of who is trusted; left out, the root's.
        anchor_state: Folder that keys of who is trusted are kept in as they are rolled
            (RFC 5011), which then go before anchors; left out, they stay as they are.
        negative_anchors: Names beneath which nothing is validated (RFC 7646), such as those that
            only forward or stub know.
        minimise: How little of a name servers on the way are told.
        mix_case: Whether letters of questions have random case.
        ipv6: Whether servers are asked over IPv6.
        prefetch: Whether what is asked for often is fetched again before it ends.
        port: Port of the authorities.
        avoid: Networks that no delegation may send it to; left out, this machine's own.
        entries: RRsets in the cache.
        stale: Seconds that answers are kept past their end, for when nobody answers.
    """

    allow: Access = default_list("loopback", "private", "link-local")
    roots: File | None = None
    forward: dict[str, list[str]] = {}
    trust: File | None = None
    stub: dict[str, list[str]] = {}
    local: dict[str, LocalKind] = {}
    data: list[str] = []
    block: list[File] = []
    block_with: Literal["nxdomain", "nodata", "null", "refuse", "deny"] = "nxdomain"
    allow_names: list[str] = []
    validate: bool | None = None
    anchors: File | None = None
    anchor_state: Path | None = None
    negative_anchors: list[str] = []
    minimise: Literal["relaxed", "strict", "off"] = "relaxed"
    mix_case: bool = False
    ipv6: bool = True
    prefetch: bool = True
    port: Annotated[int, Meta(ge=1, le=65535)] = 53
    avoid: Access | None = None
    entries: Count = 200_000
    stale: Annotated[float, Meta(ge=0, le=604_800)] = 86_400.0


class DNSConfig(ServiceConfig, kw_only=True, frozen=True):
    """Answer DNS: zones of one's own, copies of others', and a resolver.

    Attributes:
        zones: Zone files, or patterns such as zones/*.zone.
        listen: Where to listen; a server has UDP and TCP at the same place.
        sqlite: Database with zones (docs/names-zones.md has its tables).
        zone: More about single zones, each in a table such as [service.NAME.zone."example.org"]
            with transfer, notify, update or sign.
        secondary: Copies of zones of other servers, each in a table such as
            [service.NAME.secondary."example.org"] with primaries, and perhaps file.
        keys: Keys of TSIG, each in a table such as [service.NAME.keys."mover.example"] with
            secret.
        transfer: Who may have zones whole: networks, key:NAME, or both with a blank between.
        notify: Servers told of changes beside those of NS records: ADDRESS or ADDRESS:PORT,
            perhaps with key:NAME behind it.
        notify_nameservers: Whether those of NS records are told.
        resolver: Answer for all other names, too: a table [service.NAME.resolver] with forward,
            local, data, block and more.
        recursion: Whether there is a resolver where the table [service.NAME.resolver] is not.
        any: What ANY is answered with (RFC 8482): an HINFO record, the smallest set there is,
            or everything over TCP and the smallest set over UDP.
        rotate: Whether addresses of a name are given in another order each time.
        payload: Octets of an answer over UDP.
        idle: Seconds that a connection is kept without a question.
        in_flight: Questions worked on at one time on one connection.
        rate: Answers a second of one kind that one network gets over UDP; 0 for any number.
        slip: One in so many answers beyond that says to ask by TCP; the others are left out.
        cookies: Whether clients get cookies, which prove where they are.
        cookie_secret: 16 octets in hexadecimal that servers at one address share.
        nsid: The server's name, for who asks for it.
        identity: What is told in class CH, such as {"id.server" = "ns1"}.
        query_log: Whether each question is logged.
        max_connections: Connections at one time; one more takes the place of the idlest.
        max_per_address: Connections at one time from one IPv4 address or IPv6 /64.
        count_loopback: Whether rate and max_per_address count loopback, too.
    """

    zones: list[Path] = []
    listen: list[Listen] = listen_on("udp://127.0.0.1:5300", "tcp://127.0.0.1:5300")
    sqlite: File | None = None
    zone: dict[str, ZoneTable] = {}
    secondary: dict[str, SecondaryTable] = {}
    keys: dict[str, KeyTable] = {}
    transfer: Access = []
    notify: list[str] = []
    notify_nameservers: bool = True
    resolver: ResolverTable | None = None
    recursion: bool = False
    any: Literal["hinfo", "smallest", "full"] = "hinfo"
    rotate: bool = False
    payload: Annotated[int, Meta(ge=512, le=65_507)] = 1232
    idle: Seconds = 10.0
    in_flight: Count = 32
    rate: Rate = 20.0
    slip: Annotated[int, Meta(ge=0)] = 2
    cookies: bool = True
    cookie_secret: Secret | None = None
    nsid: str = ""
    identity: dict[str, str] = {}
    query_log: bool = False
    max_connections: Count = 150
    max_per_address: Count = 25

    def __post_init__(self) -> None:
        """Check what belongs together."""
        if not (self.zones or self.sqlite or self.secondary or self.resolver or self.recursion):
            raise ValueError(
                "nothing to answer with: give zones, sqlite, a table secondary or resolver, "
                "or recursion = true"
            )
