r"""Service bindings: SVCB and HTTPS, where a service is and how it is spoken to (RFC 9460).

`SVCB.params` holds the octets of each parameter by the number of its key, in ascending order,
checked; properties give those that are known as values. They are easiest written as text:
``SVCB.from_text("1 . alpn=h2,h3 port=443")``. A key that has no name here is ``key667``, and
its value any octets.

Sources: RFC 9460 §2 (forms), §7 (keys), §8 (mandatory), appendix A (escapes), RFC 9461 (dohpath),
RFC 9540 (ohttp), RFC 9848 (ech), the registry "DNS SVCB Service Parameter Keys".
"""

from __future__ import annotations

import base64
import binascii
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any, Final

from sennit.names.errors import DNSUsageError, MessageFormatError, PresentationError
from sennit.names.presentation import address_text, packed_address, quoted, unescape
from sennit.names.rdata.base import Rdata, cut_off
from sennit.names.rdata.fields import PlainName, Uint16

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from sennit.names.name import Name
    from sennit.names.presentation import Tokens
    from sennit.names.wire import Writer

__all__ = ["HTTPS", "KEYS", "SVCB", "key_text"]

MANDATORY: Final = 0
ALPN: Final = 1
NO_DEFAULT_ALPN: Final = 2
PORT: Final = 3
IPV4HINT: Final = 4
ECH: Final = 5
IPV6HINT: Final = 6
DOHPATH: Final = 7
OHTTP: Final = 8

KEYS: Final = {
    "mandatory": MANDATORY,
    "alpn": ALPN,
    "no-default-alpn": NO_DEFAULT_ALPN,
    "port": PORT,
    "ipv4hint": IPV4HINT,
    "ech": ECH,
    "ipv6hint": IPV6HINT,
    "dohpath": DOHPATH,
    "ohttp": OHTTP,
    "tls-supported-groups": 9,
    "docpath": 10,
}
"""Numbers of the keys that have a name."""
_NAMES: Final = {number: name for name, number in KEYS.items()}
_INVALID: Final = 65535
"""The key that never is one (RFC 9460 §14.3.2)."""


def key_text(key: int) -> str:
    """``alpn``, or ``key667`` for what has no name."""
    return _NAMES.get(key) or f"key{key}"


def _key(text: str) -> int:
    if text in KEYS:
        return KEYS[text]
    digits = text.removeprefix("key")
    if (
        digits != text
        and digits.isascii()
        and digits.isdigit()
        and len(digits) <= 5
        and (digits == "0" or digits[0] != "0")
        and int(digits) < _INVALID
    ):
        return int(digits)
    raise PresentationError(f"{text!r:.40} is no key: write one of {', '.join(KEYS)}, or key667")


# ── values: lists in text ─────────────────────────────────────────────────────


def _list(octets: bytes) -> list[bytes]:
    r"""The items of a list; ``\,`` and ``\\`` are octets of an item (appendix A.1)."""
    items = [bytearray()]
    escaped = False
    for octet in octets:
        if escaped or octet not in b"\\,":
            items[-1].append(octet)
            escaped = False
        elif octet == 0x5C:
            escaped = True
        else:
            items.append(bytearray())
    if escaped:
        raise PresentationError("a list that ends in a backslash")
    return [bytes(each) for each in items]


def _listed(items: Iterable[bytes]) -> str:
    return quoted(b",".join(each.replace(b"\\", b"\\\\").replace(b",", b"\\,") for each in items))


def _short(items: Iterable[bytes]) -> bytes:
    out = bytearray()
    for each in items:
        if not 0 < len(each) <= 255:
            raise PresentationError(f"an item has 1 to 255 octets, not {len(each)}")
        out.append(len(each))
        out += each
    return bytes(out)


def _items(octets: bytes) -> list[bytes]:
    """Items behind their lengths.

    Raises:
        MessageFormatError: One is cut off, or empty.
    """
    found: list[bytes] = []
    position = 0
    while position < len(octets):
        behind = position + 1 + octets[position]
        if behind == position + 1 or behind > len(octets):
            raise _bad("an item of a list that is empty or cut off")
        found.append(octets[position + 1 : behind])
        position = behind
    return found


def _bad(what: str, rule: str = "RFC 9460 §2.2") -> MessageFormatError:
    return MessageFormatError(what, rule=rule)


def _numbers(octets: bytes) -> list[int]:
    if len(octets) % 2:
        raise _bad("a list of numbers of an odd length")
    return [int.from_bytes(octets[at : at + 2], "big") for at in range(0, len(octets), 2)]


def _packed(numbers: Iterable[int]) -> bytes:
    return b"".join([each.to_bytes(2, "big") for each in numbers])


def _number(octets: bytes) -> int:
    if not (octets.isdigit() and len(octets) <= 5) or int(octets) > 0xFFFF:
        raise PresentationError(f"{octets[:40]!r} is no number from 0 to 65535")
    return int(octets)


# ── values: octets out of text, and text out of octets ────────────────────────


def _read_mandatory(text: bytes) -> bytes:
    keys = [_key(each.decode("ascii", "replace")) for each in _list(text)]
    if len(set(keys)) != len(keys):
        raise PresentationError("a mandatory key twice")
    return _packed(sorted(keys))


def _show_mandatory(octets: bytes) -> str:
    keys = _numbers(octets)
    if not keys or 0 in keys or any(a >= b for a, b in pairwise(keys)):
        raise _bad("mandatory keys that do not ascend", "RFC 9460 §8")
    return ",".join(map(key_text, keys))


def _read_alpn(text: bytes) -> bytes:
    return _short(_list(text))


def _show_alpn(octets: bytes) -> str:
    if not octets:
        raise _bad("alpn without a protocol", "RFC 9460 §7.1.1")
    return _listed(_items(octets))


def _read_nothing(text: bytes) -> bytes:
    if text:
        raise PresentationError("a value where there is none")
    return b""


def _show_nothing(octets: bytes) -> str:
    if octets:
        raise _bad("a value where there is none", "RFC 9460 §7.1.1")
    return ""


def _read_port(text: bytes) -> bytes:
    return _packed((_number(text),))


def _show_port(octets: bytes) -> str:
    if len(octets) != 2:
        raise _bad("a port that is none", "RFC 9460 §7.2")
    return str(int.from_bytes(octets, "big"))


def _read_hints(size: int) -> Callable[[bytes], bytes]:
    def read(text: bytes) -> bytes:
        found = [packed_address(each.decode("ascii", "replace")) for each in _list(text)]
        if any(len(each) != size for each in found):
            raise PresentationError(f"{text[:60]!r} are not all addresses of {size} octets")
        return b"".join(found)

    return read


def _show_hints(size: int) -> Callable[[bytes], str]:
    def show(octets: bytes) -> str:
        if not octets or len(octets) % size:
            raise _bad("hints that are no addresses", "RFC 9460 §7.3")
        return ",".join(
            [address_text(octets[at : at + size]) for at in range(0, len(octets), size)]
        )

    return show


def _read_ech(text: bytes) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise PresentationError(f"{text[:60]!r} is not base64") from None


def _show_ech(octets: bytes) -> str:
    if not octets:
        raise _bad("ech without a configuration", "RFC 9848 §3")
    return base64.b64encode(octets).decode("ascii")


def _read_octets(text: bytes) -> bytes:
    return text


def _show_path(octets: bytes) -> str:
    try:
        octets.decode("utf-8")
    except UnicodeDecodeError:
        raise _bad("a path that is not UTF-8", "RFC 9461 §5") from None
    if not octets:
        raise _bad("an empty path", "RFC 9461 §5")
    return quoted(octets)


def _read_groups(text: bytes) -> bytes:
    return _packed(map(_number, _list(text)))


def _show_groups(octets: bytes) -> str:
    groups = _numbers(octets)
    if not groups or len(set(groups)) != len(groups):
        raise _bad("groups that are none, or twice")
    return ",".join(map(str, groups))


def _read_segments(text: bytes) -> bytes:
    return _short(_list(text)) if text else b""


def _show_segments(octets: bytes) -> str:
    return _listed(_items(octets))


_FORMS: Final[dict[int, tuple[Callable[[bytes], bytes], Callable[[bytes], str]]]] = {
    MANDATORY: (_read_mandatory, _show_mandatory),
    ALPN: (_read_alpn, _show_alpn),
    NO_DEFAULT_ALPN: (_read_nothing, _show_nothing),
    PORT: (_read_port, _show_port),
    IPV4HINT: (_read_hints(4), _show_hints(4)),
    ECH: (_read_ech, _show_ech),
    IPV6HINT: (_read_hints(16), _show_hints(16)),
    DOHPATH: (_read_octets, _show_path),
    OHTTP: (_read_nothing, _show_nothing),
    9: (_read_groups, _show_groups),
    10: (_read_segments, _show_segments),
}
"""By key: octets out of text whose escapes are gone; and text out of octets, which it checks."""


def _settled(params: dict[int, bytes]) -> dict[int, bytes]:
    """Parameters in order, each looked at."""
    ordered = dict(sorted(params.items()))
    try:
        for key, octets in ordered.items():
            if key in _FORMS:
                _FORMS[key][1](octets)
    except MessageFormatError as error:
        raise DNSUsageError(str(error)) from None
    return ordered


class _Params:
    """Parameters to the end of the data."""

    def read(
        self, wire: bytes, position: int, end: int, names: dict[int, Name]
    ) -> tuple[dict[int, bytes], int]:
        found: dict[int, bytes] = {}
        last = -1
        while position < end:
            if position + 4 > end:
                raise cut_off()
            key = int.from_bytes(wire[position : position + 2], "big")
            behind = position + 4 + int.from_bytes(wire[position + 2 : position + 4], "big")
            if key <= last or behind > end or key == _INVALID:
                raise _bad("parameters that do not ascend, are cut off, or have no key")
            octets = found[key] = wire[position + 4 : behind]
            if key in _FORMS:
                _FORMS[key][1](octets)
            last, position = key, behind
        return found, end

    def write(self, value: dict[int, bytes], writer: Writer) -> None:
        for key, octets in value.items():
            writer.out += key.to_bytes(2, "big") + len(octets).to_bytes(2, "big") + octets

    def parse(self, tokens: Tokens) -> dict[int, bytes]:
        found: dict[int, bytes] = {}
        for text in tokens.rest():
            name, _, value = text.partition("=")
            key = _key(name)
            if key in found:
                raise PresentationError(f"{name} twice")
            octets = unescape(value)
            form = None if name.startswith("key") else _FORMS.get(key)
            if form is not None:
                octets = form[0](octets)
            if len(octets) > 0xFFFF:
                raise PresentationError(f"{name} is too long")
            found[key] = octets
        return _settled(found)

    def format(self, value: dict[int, bytes], origin: Name | None) -> str:
        words: list[str] = []
        for key, octets in value.items():
            form = _FORMS.get(key)
            text = form[1](octets) if form is not None else quoted(octets) if octets else ""
            words.append(f"{key_text(key)}={text}" if text else key_text(key))
        return " ".join(words)

    def check(self, value: Any) -> dict[int, bytes]:
        found: dict[int, Any] = dict(value)
        for key, octets in found.items():
            if not 0 <= key < _INVALID or not isinstance(octets, bytes) or len(octets) > 0xFFFF:
                raise DNSUsageError(f"{key!r} is no key, or {octets!r:.60} are no octets for it")
        return _settled(found)


Params = Annotated[dict[int, bytes], _Params()]


class SVCB(Rdata, rdtype=64):
    """A place of a service, and how it is spoken to (RFC 9460 §2).

    Attributes:
        priority: The lowest is tried first; 0 makes it an alias of `target`.
        target: The host; ``.`` is the owner itself, and in an alias says that there is no service.
        params: Octets of each parameter, by its key's number.
    """

    rule = "RFC 9460 §2.2"

    priority: Uint16
    target: PlainName
    params: Params

    def validate(self) -> None:
        """What is mandatory is there; in an alias nothing counts (§2.4.2)."""
        params = self.params
        if not self.priority:
            return
        missing = [key for key in self.mandatory if key not in params]
        if missing:
            raise DNSUsageError(f"{key_text(missing[0])} is mandatory, and missing")
        if NO_DEFAULT_ALPN in params and ALPN not in params:
            raise DNSUsageError("no-default-alpn without alpn")

    @property
    def is_alias(self) -> bool:
        """Whether it is an alias of `target`, whose parameters do not count."""
        return self.priority == 0

    @property
    def mandatory(self) -> tuple[int, ...]:
        """Keys that a client has to understand, or leave the record alone."""
        return tuple(_numbers(self.params.get(MANDATORY, b"")))

    @property
    def alpn(self) -> tuple[bytes, ...]:
        """Protocols that are spoken besides the default one."""
        return tuple(_items(self.params.get(ALPN, b"")))

    @property
    def no_default_alpn(self) -> bool:
        """Whether the default protocol is not spoken."""
        return NO_DEFAULT_ALPN in self.params

    @property
    def port(self) -> int | None:
        """The port; ``None`` for the default one."""
        octets = self.params.get(PORT)
        return None if octets is None else int.from_bytes(octets, "big")

    @property
    def ipv4hint(self) -> tuple[str, ...]:
        """IPv4 addresses, to be used until `target` is looked up."""
        return self._hints(IPV4HINT)

    @property
    def ipv6hint(self) -> tuple[str, ...]:
        """IPv6 addresses, to be used until `target` is looked up."""
        return self._hints(IPV6HINT)

    @property
    def ech(self) -> bytes | None:
        """An ECHConfigList (RFC 9849)."""
        return self.params.get(ECH)

    @property
    def dohpath(self) -> str | None:
        """The URI template of DNS over HTTPS (RFC 9461)."""
        octets = self.params.get(DOHPATH)
        return None if octets is None else octets.decode("utf-8")

    @property
    def ohttp(self) -> bool:
        """Whether it is the target of Oblivious HTTP (RFC 9540)."""
        return OHTTP in self.params

    def _hints(self, key: int) -> tuple[str, ...]:
        octets = self.params.get(key)
        return () if octets is None else tuple(_FORMS[key][1](octets).split(","))


class HTTPS(SVCB, rdtype=65):
    """A service binding of HTTP (RFC 9460 §9)."""
