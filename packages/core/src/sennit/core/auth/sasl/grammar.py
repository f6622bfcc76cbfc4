"""What SASL mechanisms have in common on the wire: SASLprep, base64, names, attributes.

Stateless; octets of a peer make nothing here raise but `MalformedError`.

Sources: RFC 4013 (SASLprep), RFC 3454 (its tables, in the standard library's
`stringprep`), RFC 4648 §3.3 and §4 (strict base64), RFC 5802 §5.1 and §7
(attributes, ``saslname``), RFC 5801 §4 (GS2 header).

SASLprep rather than the OpaqueString of RFC 8265: the mechanisms here name it, and
keys that other servers have stored were made with it. Both agree on what people
type; code points that Unicode 3.2 did not know are let pass (RFC 4013 §2.5, "query"),
so that a password may have them.
"""

from __future__ import annotations

import binascii
import stringprep
import unicodedata
from typing import Final

from sennit.core.errors import UsageError

__all__ = [
    "MAX_MESSAGE",
    "MAX_NAME",
    "MAX_PASSWORD",
    "MalformedError",
    "attributes",
    "decode_base64",
    "decode_saslname",
    "encode_base64",
    "encode_saslname",
    "gs2_header",
    "parse_gs2_header",
    "prepare",
    "prepare_name",
    "prepare_password",
    "text_of",
]

MAX_MESSAGE: Final = 12_288
"""Octets of one message, base64 not counted (RFC 4954 §4 has this for SMTP, encoded)."""
MAX_NAME: Final = 255
"""Octets of a name in UTF-8."""
MAX_PASSWORD: Final = 1024
"""Octets of a password in UTF-8; more is refused unhashed."""

_MOST_ATTRIBUTES: Final = 16

_PROHIBITED: Final = (
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
)


class MalformedError(UsageError):
    """What the grammar does not allow; the text says which rule, and quotes nothing.

    Of a peer's message it stays inside the engines and becomes an event; a caller gets it
    for a name or a password that cannot be one.
    """


def prepare(text: str) -> str:
    """Prepare a string by SASLprep (RFC 4013).

    Raises:
        MalformedError: It has what the profile prohibits, or nothing is left of it.
    """
    if text.isascii():
        prepared = text
        if not text.isprintable():
            raise MalformedError("a control character (RFC 4013 §2.3)")
    else:
        mapped = "".join(
            " " if stringprep.in_table_c12(each) else each
            for each in text
            if not stringprep.in_table_b1(each)
        )
        prepared = unicodedata.ucd_3_2_0.normalize("NFKC", mapped)
        for each in prepared:
            if any(prohibits(each) for prohibits in _PROHIBITED):
                raise MalformedError("a prohibited character (RFC 4013 §2.3)")
        _check_direction(prepared)
    if not prepared:
        raise MalformedError("an empty string (RFC 4616 §2)")
    return prepared


def _check_direction(text: str) -> None:
    """RFC 3454 §6: right-to-left text is that from its first character to its last."""
    if not any(map(stringprep.in_table_d1, text)):
        return
    if any(map(stringprep.in_table_d2, text)):
        raise MalformedError("text of both directions (RFC 3454 §6)")
    if not (stringprep.in_table_d1(text[0]) and stringprep.in_table_d1(text[-1])):
        raise MalformedError("right-to-left text that does not begin and end so (RFC 3454 §6)")


def prepare_name(name: str) -> str:
    """Prepare a user's name; at most `MAX_NAME` octets.

    Raises:
        MalformedError: No user can be called so.
    """
    # A character is an octet at least: what is too long is not looked at.
    if len(name) > MAX_NAME:
        raise MalformedError(f"a name of more than {MAX_NAME} octets")
    prepared = prepare(name)
    if len(prepared.encode()) > MAX_NAME:
        raise MalformedError(f"a name of more than {MAX_NAME} octets")
    return prepared


def prepare_password(password: str) -> bytes:
    """Prepare a password; at most `MAX_PASSWORD` octets.

    Raises:
        MalformedError: It cannot be a password.
    """
    if len(password) > MAX_PASSWORD:
        raise MalformedError(f"a password of more than {MAX_PASSWORD} octets")
    try:
        octets = prepare(password).encode()
    except UnicodeEncodeError:
        raise MalformedError("a lone surrogate") from None
    if len(octets) > MAX_PASSWORD:
        raise MalformedError(f"a password of more than {MAX_PASSWORD} octets")
    return octets


def text_of(data: bytes) -> str:
    """Octets as UTF-8 without NUL.

    Raises:
        MalformedError: They are not that.
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise MalformedError("octets that are not UTF-8") from None
    if "\0" in text:
        raise MalformedError("a NUL")
    return text


def encode_base64(data: bytes) -> bytes:
    """Base64 in one line (RFC 4648 §4)."""
    return binascii.b2a_base64(data, newline=False)


def decode_base64(data: bytes, limit: int = MAX_MESSAGE) -> bytes:
    """Strict base64: no white space, no missing padding, no bits left over, at most `limit` octets.

    Raises:
        MalformedError: It is not that.
    """
    if len(data) > (limit + 2) // 3 * 4:
        raise MalformedError(f"more than {limit} octets")
    try:
        decoded = binascii.a2b_base64(data, strict_mode=True)
    except binascii.Error:
        raise MalformedError("broken base64 (RFC 4648 §3.3)") from None
    # Bits behind the last octet must be zero (§3.5): otherwise two texts mean one thing.
    if binascii.b2a_base64(decoded, newline=False) != data:
        raise MalformedError("base64 with bits left over (RFC 4648 §3.5)")
    return decoded


def encode_saslname(name: str) -> bytes:
    """A name as SCRAM and GS2 write it (RFC 5802 §5.1: ``,`` and ``=``)."""
    return name.replace("=", "=3D").replace(",", "=2C").encode()


def decode_saslname(data: bytes) -> str:
    """The name that `encode_saslname` wrote.

    Raises:
        MalformedError: An ``=`` that begins neither ``=2C`` nor ``=3D``, or not UTF-8.
    """
    parts = data.split(b"=")
    for part in parts[1:]:
        if part[:2] not in (b"2C", b"3D"):
            raise MalformedError("an = that escapes nothing (RFC 5802 §5.1)")
    name = b"".join(
        [parts[0], *((b"," if part[:2] == b"2C" else b"=") + part[2:] for part in parts[1:])]
    )
    return text_of(name)


def attributes(data: bytes) -> list[tuple[str, bytes]]:
    """Split ``a=…,b=…`` in its order (RFC 5802 §5.1: ``attr-val *("," attr-val)``).

    Raises:
        MalformedError: A part is not a letter, ``=`` and a value of an octet or more.
    """
    if data.count(b",") >= _MOST_ATTRIBUTES:
        raise MalformedError("too many attributes")
    found: list[tuple[str, bytes]] = []
    for part in data.split(b","):
        letter = part[:1].decode("ascii", "replace")
        if not (letter.isascii() and letter.isalpha()) or part[1:2] != b"=" or len(part) < 3:
            raise MalformedError("not an attribute (RFC 5802 §7)")
        if b"\0" in part:
            raise MalformedError("a NUL")
        found.append((letter, part[2:]))
    return found


def gs2_header(binding: str, act_as: str) -> bytes:
    """``p=tls-exporter,a=other,`` (RFC 5801 §4).

    Args:
        binding: ``p=NAME``, ``y`` or ``n``.
        act_as: The authorization identity; empty for one's own.
    """
    other = b"a=" + encode_saslname(act_as) if act_as else b""
    return b"%s,%s," % (binding.encode("ascii"), other)


def parse_gs2_header(data: bytes) -> tuple[str, str, bytes]:
    """The header's binding (``p=NAME``, ``y``, ``n``), authorization identity, and what follows.

    Raises:
        MalformedError: It is no such header.
    """
    parts = data.split(b",", 2)
    if len(parts) != 3:
        raise MalformedError("no GS2 header (RFC 5801 §4)")
    flag, other, rest = parts
    if flag in (b"n", b"y") or (
        flag[:2] == b"p=" and 2 < len(flag) <= 66 and _is_binding_name(flag[2:])
    ):
        binding = flag.decode("ascii")
    else:
        raise MalformedError("no channel binding flag (RFC 5801 §4)")
    if not other:
        return binding, "", rest
    if other[:2] != b"a=" or len(other) < 3:
        raise MalformedError("no authorization identity (RFC 5801 §4)")
    return binding, prepare_name(decode_saslname(other[2:])), rest


def _is_binding_name(name: bytes) -> bool:
    return name.isascii() and all(chr(each).isalnum() or each in b".-" for each in name)
