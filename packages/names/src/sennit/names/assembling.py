"""Parts of a DNS service out of its configuration: keys, servers that are named, the resolver.

What is wrong is a `ConfigError` with its key. Nothing here opens or asks anything, save that
files which the configuration names are read.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any, TypeVar

from sennit.core.errors import ConfigError, MissingExtraError, SennitError
from sennit.names.client.servers import server_from_text
from sennit.names.errors import DNSUsageError, PresentationError
from sennit.names.limits import ServerLimits
from sennit.names.name import ROOT, Name
from sennit.names.transfer.access import AccessList
from sennit.names.transfer.notify import Target
from sennit.names.transfer.primary import Primary
from sennit.names.tsig import Key, Keyring
from sennit.names.update.policy import Policy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from sennit.core.transport.tls import ClientTLS
    from sennit.names.config import DNSConfig, ResolverTable, SecondaryTable, SignTable
    from sennit.names.dnssec.refreshing import AnchorRefresh
    from sennit.names.dnssec.upkeep import FetchDS, ZoneUpkeep
    from sennit.names.message import Record
    from sennit.names.resolver.localzones import LocalZones
    from sennit.names.resolver.resolver import RecursiveResolver
    from sennit.names.serving.cookies import Cookies
    from sennit.names.update.update import UpdatableZone

__all__ = [
    "access_of",
    "cookies_of",
    "identity_of",
    "keys_of",
    "limits_of",
    "local_zones_of",
    "name_of",
    "policy_of",
    "primaries_of",
    "resolver_of",
    "said_at",
    "targets_of",
    "upkeep_of",
]

T = TypeVar("T")

DAY = 86400


def said_at(key: str, make: Callable[..., T], *args: Any, **named: Any) -> T:
    """What `make` gives; what it does not like is said to stand at `key` of the configuration.

    Raises:
        ConfigError: It raised an error of ours, or could not read a file.
    """
    try:
        return make(*args, **named)
    except (SennitError, ValueError, OSError) as error:
        raise ConfigError(str(error), key=key) from error


def name_of(text: str, key: str) -> Name:
    """A domain name in a configuration."""
    return said_at(key, Name, text)


def limits_of(config: DNSConfig) -> ServerLimits:
    """What clients may do."""
    return ServerLimits(
        payload=config.payload,
        idle=config.idle,
        in_flight=config.in_flight,
        rate=config.rate,
        slip=config.slip,
        connections=config.max_connections,
        per_address=config.max_per_address,
        count_loopback=config.count_loopback,
    )


def keys_of(config: DNSConfig) -> Keyring:
    """The keys of TSIG, by name."""
    return Keyring(
        said_at(f"keys.{name}.secret", Key, name, table.secret.reveal(), table.algorithm)
        for name, table in config.keys.items()
    )


def cookies_of(config: DNSConfig) -> Cookies | bool:
    """Who makes server cookies."""
    if not config.cookies or config.cookie_secret is None:
        return config.cookies
    from sennit.names.serving.cookies import Cookies

    secret = said_at("cookie_secret", bytes.fromhex, config.cookie_secret.reveal().strip())
    return said_at("cookie_secret", Cookies, secret)


def identity_of(config: DNSConfig) -> dict[str, str]:
    """What is told of the server in class CH, by name."""
    for name, text in config.identity.items():
        name_of(name, "identity")
        if len(text.encode()) > 255:
            raise ConfigError("a text has 255 octets at most", key=f"identity.{name}")
    return config.identity


def access_of(rules: Iterable[str], keys: Mapping[Name, Key], at: str) -> AccessList:
    """Who may do something."""
    made = said_at(at, AccessList, rules)
    _check_keys(made.keys, keys, at)
    return made


def policy_of(rules: Iterable[str], keys: Mapping[Name, Key], at: str) -> Policy:
    """Who may change what."""
    made = said_at(at, Policy, rules)
    _check_keys(made.keys, keys, at)
    return made


def _check_keys(named: Iterable[Name], keys: Mapping[Name, Key], at: str) -> None:
    """See that there are the keys that are named."""
    for name in named:
        if name not in keys:
            known = ", ".join(map(str, keys)) or "none"
            raise ConfigError(
                f"there is no key {name}; known are: {known}. A key has a table keys.NAME, "
                "with its secret",
                key=at,
            )


def _with_key(text: str, keys: Mapping[Name, Key], at: str) -> tuple[str, Key | None]:
    """A server, and the key behind it: ``192.0.2.1 key:NAME``."""
    server, *rest = text.split() or [""]
    if not rest:
        return server, None
    if len(rest) > 1 or not rest[0].startswith("key:"):
        raise ConfigError(f"found {text!r}: write a server, and perhaps key:NAME behind it", key=at)
    name = name_of(rest[0][4:], at)
    _check_keys([name], keys, at)
    return server, keys[name]


def targets_of(texts: Iterable[str], keys: Mapping[Name, Key], at: str) -> list[Target]:
    """Servers that are told of changes."""
    found: list[Target] = []
    for text in texts:
        place, key = _with_key(text, keys, at)
        server = said_at(at, server_from_text, place)
        if server.scheme != "udp":
            raise ConfigError(f"found {text!r}: word is sent over UDP, to an address", key=at)
        found.append(Target(server.host, server.port, key))
    return found


def primaries_of(table: SecondaryTable, keys: Mapping[Name, Key], at: str) -> list[Primary]:
    """Servers that a zone is copied from."""
    tls = _tls_of(table.trust, at)
    found: list[Primary] = []
    for text in table.primaries:
        place, key = _with_key(text, keys, f"{at}.primaries")
        found.append(said_at(f"{at}.primaries", Primary, place, key, tls=tls))
    return found


def _tls_of(trust: Path | None, at: str) -> ClientTLS | None:
    """What is believed of servers' certificates; ``None`` for the system's trust."""
    if trust is None:
        return None
    from sennit.core.transport.tls import ClientTLS

    return said_at(f"{at}.trust", ClientTLS, trust=trust)


def upkeep_of(served: UpdatableZone, table: SignTable, fetch_ds: FetchDS) -> ZoneUpkeep:
    """What keeps a zone signed."""
    at = f"zone.{served.zone.origin}.sign"
    try:
        from sennit.names.dnssec.keyfiles import KeyFolder
        from sennit.names.dnssec.numbers import Algorithm
        from sennit.names.dnssec.rollover import RolloverPolicy
        from sennit.names.dnssec.signing import SigningPolicy
        from sennit.names.dnssec.upkeep import ZoneUpkeep
    except MissingExtraError as error:
        raise ConfigError(str(error), key=at) from error
    keys = RolloverPolicy(
        algorithm=int(Algorithm[table.algorithm.upper()]),
        ksk_lifetime=_days(table.ksk_lifetime),
        zsk_lifetime=_days(table.zsk_lifetime),
    )
    validity = int(table.validity * DAY)
    policy = SigningPolicy(
        validity=validity,
        refresh=validity * 2 // 7,
        jitter=validity // 14,
        nsec3=table.nsec3,
        opt_out=table.opt_out,
    )
    folder = KeyFolder(table.keys, served.zone.origin)
    return said_at(at, ZoneUpkeep, served, folder, keys, policy, fetch_ds=fetch_ds)


def _days(count: float | None) -> float | None:
    """So many days in seconds."""
    return None if count is None else count * DAY


def resolver_of(
    table: ResolverTable, payload: int
) -> tuple[RecursiveResolver, AnchorRefresh | None]:
    """The resolver that a table describes, and what keeps its anchors up to date.

    Args:
        table: The table.
        payload: Octets of a datagram at most, as the server has it.
    """
    from sennit.names.resolver.limits import ResolverLimits
    from sennit.names.resolver.resolver import AVOIDED, RecursiveResolver

    options: dict[str, Any] = {}
    if table.roots is not None:
        options["root_hints"] = said_at("resolver.roots", _read_roots, table.roots)
    validator = _validator_of(table)
    made = said_at(
        "resolver",
        RecursiveResolver,
        forward=table.forward,
        stub=table.stub,
        local_zones=local_zones_of(table),
        validator=validator,
        tls=_tls_of(table.trust, "resolver"),
        limits=ResolverLimits(cache_entries=table.entries, stale=table.stale),
        allow=table.allow,
        avoid=AVOIDED if table.avoid is None else table.avoid,
        minimise=table.minimise,
        mix_case=table.mix_case,
        ipv6=table.ipv6,
        prefetch=table.prefetch,
        port=table.port,
        payload=payload,
        **options,
    )
    if table.anchor_state is None:
        return made, None
    if validator is None:
        problem = "nothing is validated, so that there are no keys to keep: see validate"
        raise ConfigError(problem, key="resolver.anchor_state")
    from sennit.names.dnssec.refreshing import AnchorRefresh

    at = "resolver.anchor_state"
    return made, said_at(at, AnchorRefresh, validator, table.anchor_state, made.fetch_anew)


def local_zones_of(table: ResolverTable) -> LocalZones:
    """What a resolver answers by itself; its files are read."""
    from sennit.names.resolver.localzones import (
        Blocklist,
        LocalZone,
        LocalZones,
        default_zones,
        read_record,
    )

    told = [name_of(each, "resolver.forward") for each in table.forward]
    told += [name_of(each, "resolver.stub") for each in table.stub]
    # What servers are named for is known there; the root as a forward is for all else.
    zones = [
        each
        for each in default_zones()
        if not any(name.is_below(each.name) for name in told if not name.is_root)
    ]
    given = {name_of(name, "resolver.local"): kind for name, kind in table.local.items()}
    data = [said_at("resolver.data", read_record, text, ROOT) for text in table.data]
    alone: dict[Name, list[Record]] = {}
    for record in data:
        if not any(record.name.is_below(each) for each in given):
            alone.setdefault(record.name, []).append(record)
    for owner, records in alone.items():
        # What is said of the name is this, and the rest looked up, unless nobody else knows it.
        above = next((each.kind for each in zones if owner.is_below(each.name)), "transparent")
        zones.append(LocalZone(owner, above, records))
    for origin, kind in given.items():
        zones.append(LocalZone(origin, kind, [each for each in data if each.name.is_below(origin)]))
    blocked: list[Name] = []
    for path in table.block:
        blocked += said_at("resolver.block", _read_blocked, path)
    if not blocked:
        return LocalZones(zones)
    lists = said_at("resolver.allow_names", Blocklist, blocked, table.block_with, table.allow_names)
    return LocalZones(zones, [lists])


def _read_blocked(path: Path) -> list[Name]:
    from sennit.names.resolver.localzones import read_blocklist

    with open(path, encoding="utf-8") as lines:
        return read_blocklist(lines, str(path))


def _validator_of(table: ResolverTable) -> Any:  # Any: a Validator, which needs an extra
    if table.validate is False:
        return None
    try:
        from sennit.names.dnssec.anchors import TrustAnchors
        from sennit.names.dnssec.validation import Validator
    except MissingExtraError as error:
        if table.validate is None:
            return None
        raise ConfigError(str(error), key="resolver.validate") from error
    anchors = TrustAnchors.root()
    if table.anchors is not None:
        text = said_at("resolver.anchors", table.anchors.read_text, encoding="utf-8")
        anchors = said_at("resolver.anchors", TrustAnchors.from_text, text, str(table.anchors))
    for each in table.negative_anchors:
        anchors.distrust(name_of(each, "resolver.negative_anchors"), math.inf)
    return Validator(anchors, now=time.time, clock=time.monotonic)


def _read_roots(path: Path) -> dict[str, list[str]]:
    """Addresses of the root's servers, out of a file as IANA's ``named.root``."""
    from sennit.names.rdata.address import AAAA, A
    from sennit.names.resolver.localzones import read_record

    found: dict[str, list[str]] = {}
    with open(path, encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            text = line.partition(";")[0].strip()
            if not text:
                continue
            try:
                record = read_record(text, ROOT)
            except PresentationError as error:
                raise error.at(number, str(path)) from error
            if isinstance(record.rdata, A | AAAA):
                found.setdefault(str(record.name), []).append(record.rdata.address)
    if not found:
        raise DNSUsageError(f"{path} has no address of a server")
    return found
