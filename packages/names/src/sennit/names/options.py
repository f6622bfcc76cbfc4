"""The options of EDNS that have a meaning, as values.

An `Option` on the wire is a code and octets. Each class here reads itself from those octets
(`read`), gives them (`write`, `option`), and says itself in the words that dig uses
(`to_text`). `found` gets one out of a message's EDNS, `option_text` prints any::

    subnet = found(message.edns, ClientSubnet)
    edns = EDNS(options=[ExtendedError(18, "not for you").option()])

Content that is not what its RFC says is a `MessageFormatError` from `read`; a message with
such an option can be read all the same, since nobody has to understand options.

Sources: RFC 5001 (NSID), RFC 6975 (DAU, DHU, N3U), RFC 7314 (EXPIRE), RFC 7828 (keepalive),
RFC 7830 (padding), RFC 7871 (client subnet), RFC 7873 and RFC 9018 (cookies), RFC 7901 (CHAIN),
RFC 8145 (key tags), RFC 8914 (extended errors), RFC 9567 (report channel), RFC 9660 (zone version).
Not here: what a server or client does with them (``serving/``, ``client/``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final, Self, TypeVar

from sennit.names.codes import EDE, OptionCode
from sennit.names.edns import Option
from sennit.names.errors import DNSUsageError, MessageFormatError
from sennit.names.name import Name
from sennit.names.presentation import address_text, packed_address, printable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sennit.names.edns import EDNS

__all__ = [
    "DAU",
    "DHU",
    "N3U",
    "NSID",
    "Chain",
    "ClientSubnet",
    "Cookie",
    "Expire",
    "ExtendedError",
    "KeyTag",
    "KnownOption",
    "Padding",
    "ReportChannel",
    "TCPKeepalive",
    "ZoneVersion",
    "edns_text",
    "found",
    "option_class",
    "option_text",
]

CLIENT_COOKIE: Final = 8
"""Octets of a client's cookie (RFC 7873 §4)."""
T = TypeVar("T", bound="KnownOption")


class KnownOption:
    """An option whose meaning is known.

    Attributes:
        code: Its number in the registry.
        label: How dig calls it.
    """

    __slots__ = ()

    code: ClassVar[int]
    label: ClassVar[str]

    @classmethod
    def read(cls, data: bytes) -> Self:
        """The option whose octets these are.

        Raises:
            MessageFormatError: They are none of this option.
        """
        raise MessageFormatError(f"{cls.__name__} has no content", rule="RFC 6891 §6.1.2")

    def write(self) -> bytes:
        """Its octets, without code and length."""
        return b""

    def option(self) -> Option:
        """It, as it stands in `sennit.names.edns.EDNS.options`."""
        return Option(self.code, self.write())

    def to_text(self) -> str:
        """Its content as dig prints it, behind the label."""
        return ""

    def __str__(self) -> str:
        text = self.to_text()
        return f"{self.label}: {text}" if text else f"{self.label}:"

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.to_text()}>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, KnownOption):
            return NotImplemented
        return self.code == other.code and self.write() == other.write()

    def __hash__(self) -> int:
        return hash((self.code, self.write()))


class NSID(KnownOption):
    """The identity of a server; empty in a query, which asks for it (RFC 5001).

    Args:
        identity: Any octets.
    """

    __slots__ = ("identity",)
    code = int(OptionCode.NSID)
    label = "NSID"

    def __init__(self, identity: bytes = b"") -> None:
        self.identity = identity

    @classmethod
    def read(cls, data: bytes) -> Self:
        return cls(data)

    def write(self) -> bytes:
        return self.identity

    def to_text(self) -> str:
        return _dumped(self.identity)


class ClientSubnet(KnownOption):
    """Whom an answer is for (RFC 7871).

    Args:
        address: In text; bits behind `source` are dropped. ``None``: of no family.
        source: Bits of the address that are told.
        scope: Bits that the answer is good for; 0 in a query.
    """

    __slots__ = ("address", "scope", "source")
    code = int(OptionCode.ECS)
    label = "CLIENT-SUBNET"

    def __init__(self, address: str | None, source: int, scope: int = 0) -> None:
        if address is None:
            if source or scope:
                raise DNSUsageError("without an address there are no bits of it")
            self.address: str | None = None
        else:
            packed = packed_address(address)
            width = len(packed) * 8
            if not 0 <= source <= width or not 0 <= scope <= width:
                raise DNSUsageError(f"an address of this family has 0 to {width} bits")
            rest = width - source
            number = int.from_bytes(packed, "big") >> rest << rest
            self.address = address_text(number.to_bytes(len(packed), "big"))
        self.source = source
        self.scope = scope

    @property
    def family(self) -> int:
        """1 for IPv4, 2 for IPv6, 0 for neither."""
        return 0 if self.address is None else 2 if ":" in self.address else 1

    @classmethod
    def read(cls, data: bytes) -> Self:
        if len(data) < 4:
            raise _bad(cls, data, "RFC 7871 §6")
        family = int.from_bytes(data[:2], "big")
        source, scope, part = data[2], data[3], data[4:]
        size = {0: 0, 1: 4, 2: 16}.get(family)
        if size is None or max(source, scope) > size * 8 or len(part) != (source + 7) // 8:
            raise _bad(cls, data, "RFC 7871 §6")
        if part and source % 8 and part[-1] & (0xFF >> source % 8):
            raise _bad(cls, data, "RFC 7871 §6")
        if family == 0:
            return cls(None, 0)
        return cls(address_text(part + bytes(size - len(part))), source, scope)

    def write(self) -> bytes:
        part = b""
        if self.address is not None:
            part = packed_address(self.address)[: (self.source + 7) // 8]
        return bytes((0, self.family, self.source, self.scope)) + part

    def to_text(self) -> str:
        return f"{self.address or 0}/{self.source}/{self.scope}"


class Cookie(KnownOption):
    """What client and server know each other by (RFC 7873).

    Args:
        client: The client's eight octets.
        server: The server's, 8 to 32; empty for none yet.
    """

    __slots__ = ("client", "server")
    code = int(OptionCode.COOKIE)
    label = "COOKIE"

    def __init__(self, client: bytes, server: bytes = b"") -> None:
        if len(client) != CLIENT_COOKIE or (server and not 8 <= len(server) <= 32):
            raise DNSUsageError("a cookie has 8 octets of the client, and 8 to 32 of the server")
        self.client = client
        self.server = server

    @classmethod
    def read(cls, data: bytes) -> Self:
        if len(data) != CLIENT_COOKIE and not 16 <= len(data) <= 40:
            raise _bad(cls, data, "RFC 7873 §5.2.2")
        return cls(data[:CLIENT_COOKIE], data[CLIENT_COOKIE:])

    def write(self) -> bytes:
        return self.client + self.server

    def to_text(self) -> str:
        return self.write().hex()


class Expire(KnownOption):
    """Seconds after which a secondary stops answering (RFC 7314); ``None`` asks for them."""

    __slots__ = ("seconds",)
    code = int(OptionCode.EXPIRE)
    label = "EXPIRE"

    def __init__(self, seconds: int | None = None) -> None:
        if seconds is not None and not 0 <= seconds <= 0xFFFFFFFF:
            raise DNSUsageError("seconds are 0 to 4294967295")
        self.seconds = seconds

    @classmethod
    def read(cls, data: bytes) -> Self:
        if len(data) not in {0, 4}:
            raise _bad(cls, data, "RFC 7314 §3")
        return cls(int.from_bytes(data, "big") if data else None)

    def write(self) -> bytes:
        return b"" if self.seconds is None else self.seconds.to_bytes(4, "big")

    def to_text(self) -> str:
        if self.seconds is None:
            return ""
        return f"{self.seconds} ({_span(self.seconds)})"


class TCPKeepalive(KnownOption):
    """How long a connection may idle, in tenths of a second (RFC 7828); ``None`` in a query."""

    __slots__ = ("tenths",)
    code = int(OptionCode.KEEPALIVE)
    label = "TCP KEEPALIVE"

    def __init__(self, tenths: int | None = None) -> None:
        if tenths is not None and not 0 <= tenths <= 0xFFFF:
            raise DNSUsageError("tenths of a second are 0 to 65535")
        self.tenths = tenths

    @classmethod
    def read(cls, data: bytes) -> Self:
        if len(data) not in {0, 2}:
            raise _bad(cls, data, "RFC 7828 §3.1")
        return cls(int.from_bytes(data, "big") if data else None)

    def write(self) -> bytes:
        return b"" if self.tenths is None else self.tenths.to_bytes(2, "big")

    def to_text(self) -> str:
        return "" if self.tenths is None else f"{self.tenths // 10}.{self.tenths % 10} secs"


class Padding(KnownOption):
    """Octets without meaning, which hide how long a message is (RFC 7830)."""

    __slots__ = ("octets",)
    code = int(OptionCode.PADDING)
    label = "PAD"

    def __init__(self, octets: bytes = b"") -> None:
        self.octets = octets

    @classmethod
    def read(cls, data: bytes) -> Self:
        return cls(data)

    def write(self) -> bytes:
        return self.octets

    def to_text(self) -> str:
        return f"({len(self.octets)} bytes)"


class _NameOption(KnownOption):
    """A name, in full."""

    __slots__ = ("name",)
    rule: ClassVar[str]

    def __init__(self, name: Name) -> None:
        self.name = name

    @classmethod
    def read(cls, data: bytes) -> Self:
        try:
            return cls(Name.from_wire(data))
        except MessageFormatError:
            raise _bad(cls, data, cls.rule) from None

    def write(self) -> bytes:
        return self.name.wire

    def to_text(self) -> str:
        return str(self.name)


class Chain(_NameOption):
    """The closest name whose proofs a client has, when it asks for a chain (RFC 7901)."""

    __slots__ = ()
    code = int(OptionCode.CHAIN)
    label = "CHAIN"
    rule = "RFC 7901 §4"


class ReportChannel(_NameOption):
    """Where a resolver tells of errors (RFC 9567)."""

    __slots__ = ()
    code = int(OptionCode.REPORT_CHANNEL)
    label = "Report-Channel"
    rule = "RFC 9567 §5"


class KeyTag(KnownOption):
    """Tags of the keys that a validator trusts (RFC 8145)."""

    __slots__ = ("tags",)
    code = int(OptionCode.KEY_TAG)
    label = "KEY-TAG"

    def __init__(self, tags: Iterable[int]) -> None:
        self.tags = tuple(tags)
        if not self.tags or not all(0 <= each <= 0xFFFF for each in self.tags):
            raise DNSUsageError("key tags are numbers from 0 to 65535, one or more")

    @classmethod
    def read(cls, data: bytes) -> Self:
        if not data or len(data) % 2:
            raise _bad(cls, data, "RFC 8145 §4.1")
        return cls(int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2))

    def write(self) -> bytes:
        return b"".join([each.to_bytes(2, "big") for each in self.tags])

    def to_text(self) -> str:
        return ", ".join(map(str, self.tags))


class ExtendedError(KnownOption):
    """Why there is no better answer (RFC 8914).

    Args:
        info_code: The reason, a number of `sennit.names.codes.EDE`.
        text: More about it, for people.
    """

    __slots__ = ("info_code", "text")
    code = int(OptionCode.EDE)
    label = "EDE"

    def __init__(self, info_code: int, text: str = "") -> None:
        if not 0 <= info_code <= 0xFFFF:
            raise DNSUsageError("info codes are 0 to 65535")
        self.info_code = int(info_code)
        self.text = text

    @property
    def reason(self) -> str:
        """``Stale Answer``; empty for a code that has no name."""
        return _REASONS.get(self.info_code, "")

    @classmethod
    def read(cls, data: bytes) -> Self:
        if len(data) < 2:
            raise _bad(cls, data, "RFC 8914 §2")
        try:
            text = data[2:].decode("utf-8")
        except UnicodeDecodeError:
            raise _bad(cls, data, "RFC 8914 §2") from None
        return cls(int.from_bytes(data[:2], "big"), text)

    def write(self) -> bytes:
        return self.info_code.to_bytes(2, "big") + self.text.encode()

    def to_text(self) -> str:
        # A terminal must not take orders from a server, so what is not printable is a dot.
        text = "".join([each if each.isprintable() else "." for each in self.text])
        reason = f" ({self.reason})" if self.reason else ""
        return f"{self.info_code}{reason}" + (f": ({text})" if text else "")


class _Algorithms(KnownOption):
    """Numbers of one octet each (RFC 6975 §3)."""

    __slots__ = ("algorithms",)

    def __init__(self, algorithms: Iterable[int]) -> None:
        self.algorithms = tuple(algorithms)
        if not all(0 <= each <= 0xFF for each in self.algorithms):
            raise DNSUsageError("algorithms are numbers from 0 to 255")

    @classmethod
    def read(cls, data: bytes) -> Self:
        return cls(data)

    def write(self) -> bytes:
        return bytes(self.algorithms)

    def to_text(self) -> str:
        return " ".join(map(str, self.algorithms))


class DAU(_Algorithms):
    """Algorithms of signatures that a validator knows."""

    __slots__ = ()
    code = int(OptionCode.DAU)
    label = "DAU"


class DHU(_Algorithms):
    """Algorithms of DS digests that a validator knows."""

    __slots__ = ()
    code = int(OptionCode.DHU)
    label = "DHU"


class N3U(_Algorithms):
    """Algorithms of NSEC3 that a validator knows."""

    __slots__ = ()
    code = int(OptionCode.N3U)
    label = "N3U"


class ZoneVersion(KnownOption):
    """Which version of a zone an answer is from (RFC 9660); ``None`` asks for it.

    Args:
        labels: Labels of the zone's name.
        kind: 0: `version` is the serial of its SOA.
        version: Octets.
    """

    __slots__ = ("kind", "labels", "version")
    code = int(OptionCode.ZONEVERSION)
    label = "ZONEVERSION"

    def __init__(self, labels: int | None = None, kind: int = 0, version: bytes = b"") -> None:
        if labels is not None and not (0 <= labels <= 127 and 0 <= kind <= 255):
            raise DNSUsageError("a name has 0 to 127 labels, and kinds are 0 to 255")
        self.labels = labels
        self.kind = kind
        self.version = version

    @classmethod
    def read(cls, data: bytes) -> Self:
        if not data:
            return cls()
        if len(data) < 2 or data[0] > 127 or (data[1] == 0 and len(data) != 6):
            raise _bad(cls, data, "RFC 9660 §3")
        return cls(data[0], data[1], data[2:])

    def write(self) -> bytes:
        return b"" if self.labels is None else bytes((self.labels, self.kind)) + self.version

    def to_text(self) -> str:
        if self.labels is None:
            return ""
        if self.kind == 0:
            return f"SOA-SERIAL: {int.from_bytes(self.version, 'big')}, labels: {self.labels}"
        return f"{self.kind}: {self.version.hex(' ')}, labels: {self.labels}"


_REASONS: Final = {int(each): each.name.replace("_", " ").title() for each in EDE} | {
    # What the registry spells in a way of its own.
    int(EDE.OTHER): "Other Error",
    int(EDE.UNSUPPORTED_DNSKEY_ALGORITHM): "Unsupported DNSKEY Algorithm",
    int(EDE.UNSUPPORTED_DS_DIGEST_TYPE): "Unsupported DS Digest Type",
    int(EDE.DNSSEC_INDETERMINATE): "DNSSEC Indeterminate",
    int(EDE.DNSSEC_BOGUS): "DNSSEC Bogus",
    int(EDE.DNSKEY_MISSING): "DNSKEY Missing",
    int(EDE.RRSIGS_MISSING): "RRSIGs Missing",
    int(EDE.NSEC_MISSING): "NSEC Missing",
    int(EDE.STALE_NXDOMAIN_ANSWER): "Stale NXDOMAIN Answer",
    int(EDE.SIGNATURE_EXPIRED_BEFORE_VALID): "Signature Expired before Valid",
    int(EDE.UNSUPPORTED_NSEC3_ITERATIONS): "Unsupported NSEC3 Iterations Value",
    int(EDE.UNABLE_TO_CONFORM_TO_POLICY): "Unable to conform to policy",
}
_CLASSES: Final[dict[int, type[KnownOption]]] = {
    kind.code: kind
    for kind in (
        NSID,
        ClientSubnet,
        Cookie,
        Expire,
        TCPKeepalive,
        Padding,
        Chain,
        ReportChannel,
        KeyTag,
        ExtendedError,
        DAU,
        DHU,
        N3U,
        ZoneVersion,
    )
}


def option_class(code: int) -> type[KnownOption] | None:
    """The class of an option's code; ``None`` for one that has none here."""
    return _CLASSES.get(code)


def found(edns: EDNS | None, kind: type[T]) -> T | None:
    """The first option of this kind; ``None`` where there is none, or no EDNS.

    Raises:
        MessageFormatError: Its content is not what its RFC says.
    """
    option = None if edns is None else edns.option(kind.code)
    return None if option is None else kind.read(option.data)


def option_text(option: Option) -> str:
    """The line that dig prints for an option, without ``; `` before it.

    An unknown option, and one whose content is not what it should be, is printed as octets.
    """
    kind = _CLASSES.get(option.code)
    if kind is not None:
        try:
            return str(kind.read(option.data))
        except MessageFormatError:
            pass
    return f"OPT={option.code}: {_dumped(option.data)}".rstrip()


def edns_text(edns: EDNS) -> str:
    """The lines that dig prints as OPT PSEUDOSECTION."""
    flags = " do" if edns.dnssec_ok else ""
    lines = [
        ";; OPT PSEUDOSECTION:",
        f"; EDNS: version: {edns.version}, flags:{flags}; udp: {edns.payload}",
    ]
    lines += [f"; {option_text(each)}" for each in edns.options]
    return "\n".join(lines)


def _bad(kind: type[KnownOption], data: bytes, rule: str) -> MessageFormatError:
    return MessageFormatError(f"{kind.label} of {data[:40]!r}", rule=rule)


def _dumped(octets: bytes) -> str:
    return f'{octets.hex(" ")} ("{printable(octets)}")' if octets else ""


def _span(seconds: int) -> str:
    """``1 week 2 days``: seconds in words."""
    words: list[str] = []
    for size, unit in ((604800, "week"), (86400, "day"), (3600, "hour"), (60, "minute")):
        count, seconds = divmod(seconds, size)
        if count:
            words.append(f"{count} {unit}{'s' if count != 1 else ''}")
    if seconds or not words:
        words.append(f"{seconds} second{'s' if seconds != 1 else ''}")
    return " ".join(words)
