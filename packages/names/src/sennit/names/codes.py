"""The numbers of DNS, and their names: types, classes, opcodes, response codes.

Values travel through the package as plain integers; the enumerations here compare equal
to them. `type_text` and its sisters give the words of presentation form, where a number
nobody has named is ``TYPE65280`` or ``CLASS42`` (RFC 3597 §5).

Source: the IANA registry "Domain Name System (DNS) Parameters".
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from sennit.names.errors import PresentationError

__all__ = [
    "EDE",
    "META_TYPES",
    "Opcode",
    "OptionCode",
    "RRClass",
    "RRType",
    "Rcode",
    "class_from_text",
    "class_text",
    "opcode_text",
    "rcode_text",
    "type_from_text",
    "type_text",
]


class RRType(IntEnum):
    """Types of records, and the types that only a question has."""

    A = 1
    NS = 2
    MD = 3
    MF = 4
    CNAME = 5
    SOA = 6
    MB = 7
    MG = 8
    MR = 9
    NULL = 10
    WKS = 11
    PTR = 12
    HINFO = 13
    MINFO = 14
    MX = 15
    TXT = 16
    RP = 17
    AFSDB = 18
    X25 = 19
    ISDN = 20
    RT = 21
    NSAP = 22
    NSAP_PTR = 23
    SIG = 24
    KEY = 25
    PX = 26
    GPOS = 27
    AAAA = 28
    LOC = 29
    NXT = 30
    EID = 31
    NIMLOC = 32
    SRV = 33
    ATMA = 34
    NAPTR = 35
    KX = 36
    CERT = 37
    A6 = 38
    DNAME = 39
    SINK = 40
    OPT = 41
    APL = 42
    DS = 43
    SSHFP = 44
    IPSECKEY = 45
    RRSIG = 46
    NSEC = 47
    DNSKEY = 48
    DHCID = 49
    NSEC3 = 50
    NSEC3PARAM = 51
    TLSA = 52
    SMIMEA = 53
    HIP = 55
    NINFO = 56
    RKEY = 57
    TALINK = 58
    CDS = 59
    CDNSKEY = 60
    OPENPGPKEY = 61
    CSYNC = 62
    ZONEMD = 63
    SVCB = 64
    HTTPS = 65
    DSYNC = 66
    HHIT = 67
    BRID = 68
    SPF = 99
    UINFO = 100
    UID = 101
    GID = 102
    UNSPEC = 103
    NID = 104
    L32 = 105
    L64 = 106
    LP = 107
    EUI48 = 108
    EUI64 = 109
    NXNAME = 128
    TKEY = 249
    TSIG = 250
    IXFR = 251
    AXFR = 252
    MAILB = 253
    MAILA = 254
    ANY = 255
    URI = 256
    CAA = 257
    AVC = 258
    DOA = 259
    AMTRELAY = 260
    RESINFO = 261
    WALLET = 262
    CLA = 263
    IPN = 264
    TA = 32768
    DLV = 32769


META_TYPES: Final = frozenset({41, *range(128, 256)})
"""Types that no zone holds (RFC 6895 §3.1): OPT, and the range of questions and meta data."""


class RRClass(IntEnum):
    """Classes (RFC 1035 §3.2.4, RFC 2136 §1.3)."""

    IN = 1
    CH = 3
    HS = 4
    NONE = 254
    ANY = 255


class Opcode(IntEnum):
    """Kinds of query (RFC 1035 §4.1.1)."""

    QUERY = 0
    IQUERY = 1
    STATUS = 2
    NOTIFY = 4
    UPDATE = 5
    DSO = 6


class Rcode(IntEnum):
    """Response codes; those from 16 need EDNS (RFC 6891 §6.1.3) or stand in TSIG alone."""

    NOERROR = 0
    FORMERR = 1
    SERVFAIL = 2
    NXDOMAIN = 3
    NOTIMP = 4
    REFUSED = 5
    YXDOMAIN = 6
    YXRRSET = 7
    NXRRSET = 8
    NOTAUTH = 9
    NOTZONE = 10
    DSOTYPENI = 11
    BADVERS = 16
    BADKEY = 17
    BADTIME = 18
    BADMODE = 19
    BADNAME = 20
    BADALG = 21
    BADTRUNC = 22
    BADCOOKIE = 23


class EDE(IntEnum):
    """Reasons of extended errors (RFC 8914 §4; "Extended DNS Error Codes" at IANA)."""

    OTHER = 0
    UNSUPPORTED_DNSKEY_ALGORITHM = 1
    UNSUPPORTED_DS_DIGEST_TYPE = 2
    STALE_ANSWER = 3
    FORGED_ANSWER = 4
    DNSSEC_INDETERMINATE = 5
    DNSSEC_BOGUS = 6
    SIGNATURE_EXPIRED = 7
    SIGNATURE_NOT_YET_VALID = 8
    DNSKEY_MISSING = 9
    RRSIGS_MISSING = 10
    NO_ZONE_KEY_BIT_SET = 11
    NSEC_MISSING = 12
    CACHED_ERROR = 13
    NOT_READY = 14
    BLOCKED = 15
    CENSORED = 16
    FILTERED = 17
    PROHIBITED = 18
    STALE_NXDOMAIN_ANSWER = 19
    NOT_AUTHORITATIVE = 20
    NOT_SUPPORTED = 21
    NO_REACHABLE_AUTHORITY = 22
    NETWORK_ERROR = 23
    INVALID_DATA = 24
    SIGNATURE_EXPIRED_BEFORE_VALID = 25
    TOO_EARLY = 26
    UNSUPPORTED_NSEC3_ITERATIONS = 27
    UNABLE_TO_CONFORM_TO_POLICY = 28
    SYNTHESIZED = 29
    INVALID_QUERY_TYPE = 30


class OptionCode(IntEnum):
    """Options of EDNS (registry "DNS EDNS0 Option Codes")."""

    LLQ = 1
    UL = 2
    NSID = 3
    DAU = 5
    DHU = 6
    N3U = 7
    ECS = 8
    EXPIRE = 9
    COOKIE = 10
    KEEPALIVE = 11
    PADDING = 12
    CHAIN = 13
    KEY_TAG = 14
    EDE = 15
    CLIENT_TAG = 16
    SERVER_TAG = 17
    REPORT_CHANNEL = 18
    ZONEVERSION = 19


BADSIG: Final = 16
"""TSIG's error 16 (RFC 8945 §3), which as a response code is BADVERS."""

_TYPE_TEXT: Final = {int(each): each.name.replace("_", "-") for each in RRType}
_TYPE_NUMBER: Final = {text: number for number, text in _TYPE_TEXT.items()}
_CLASS_TEXT: Final = {int(each): each.name for each in RRClass}


def type_text(rdtype: int) -> str:
    """``MX``, or ``TYPE65280`` for what has no name."""
    return _TYPE_TEXT.get(rdtype) or f"TYPE{rdtype}"


def type_from_text(text: str) -> int:
    """The number of ``MX`` or ``TYPE15``, in any case of letters.

    Raises:
        PresentationError: There is no such type.
    """
    word = text.upper()
    number = _TYPE_NUMBER.get(word)
    return number if number is not None else _numbered(word, "TYPE", text, "type")


def class_text(rdclass: int) -> str:
    """``IN``, or ``CLASS42`` for what has no name."""
    return _CLASS_TEXT.get(rdclass) or f"CLASS{rdclass}"


def class_from_text(text: str) -> int:
    """The number of ``IN`` or ``CLASS1``, in any case of letters.

    Raises:
        PresentationError: There is no such class.
    """
    word = text.upper()
    member = RRClass.__members__.get(word)
    return int(member) if member is not None else _numbered(word, "CLASS", text, "class")


def _numbered(word: str, prefix: str, text: str, what: str) -> int:
    digits = word.removeprefix(prefix)
    if digits != word and digits.isascii() and digits.isdigit() and len(digits) <= 5:
        number = int(digits)
        if number <= 0xFFFF:
            return number
    raise PresentationError(
        f"{text!r} is no {what}: write a mnemonic, or {prefix}0 to {prefix}65535"
    )


def opcode_text(opcode: int) -> str:
    """``QUERY``, or ``OPCODE15`` for what has no name."""
    try:
        return Opcode(opcode).name
    except ValueError:
        return f"OPCODE{opcode}"


def rcode_text(rcode: int) -> str:
    """``NXDOMAIN``, or ``RCODE40`` for what has no name."""
    try:
        return Rcode(rcode).name
    except ValueError:
        return f"RCODE{rcode}"
