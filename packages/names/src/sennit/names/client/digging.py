"""What stands on the command line of ``sennit dig``: a list of questions, and how to ask them.

The grammar is dig's: ``[@server] [-x] name [type] [class] [+option…]``, several questions one
after the other. Options before the first name hold for all of them, others for the one that they
stand behind. A ``+option`` may be cut as long as it is told from the others, and has ``+no…``.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import TYPE_CHECKING, Final

from sennit.names.client.digtext import Style
from sennit.names.client.reverse import reverse_name
from sennit.names.codes import OptionCode, RRClass, RRType, class_from_text, type_from_text
from sennit.names.edns import PAYLOAD, Option
from sennit.names.errors import DNSUsageError, PresentationError
from sennit.names.message import AA, AD, CD, RD
from sennit.names.name import Name
from sennit.names.options import ClientSubnet

if TYPE_CHECKING:
    from collections.abc import Callable

    from sennit.names.tsig import Key

__all__ = ["Dig", "parse_arguments"]


@dataclass
class Dig:
    """One question, and how it is asked and shown."""

    server: str | None = None
    port: int | None = None
    local: str | None = None
    family: int = 0
    name: str | None = None
    rdtype: int | None = None
    rdclass: int = int(RRClass.IN)
    serial: int | None = None
    key: Key | None = None
    # how it is asked
    transport: str = "udp"
    path: str = "/dns-query"
    method: str = "POST"
    tls_ca: str | None = None
    tls_verify: bool = False
    tls_name: str | None = None
    tls_pins: frozenset[bytes] = frozenset()
    flags: int = RD | AD
    edns: bool = True
    edns_version: int = 0
    edns_flags: int = 0
    payload: int = PAYLOAD
    dnssec: bool = False
    cookie: bytes | None = b""
    options: list[Option] = field(default_factory=list[Option])
    padding: int = 0
    opcode: int = 0
    qid: int | None = None
    timeout: float = 5.0
    tries: int = 3
    ignore_cut: bool = False
    keep_open: bool = False
    search: bool = False
    ndots: int | None = None
    next_on_servfail: bool = True
    bad_cookie: bool = True
    trace: bool = False
    validate: bool = False
    anchors: tuple[str, str] = ("", "")  # what is in a file, and its name
    # how it is shown
    style: Style = field(default_factory=Style)
    command: bool = True
    short: bool = False
    identify: bool = False
    stats: bool = True
    show_query: bool = False
    one_soa: bool = False
    json: bool = False


MAX_ANCHORS: Final = 1024 * 1024
"""Characters that are read of a file of trust anchors."""
_OFF_BY_ALL: Final = ("comments", "question", "answer", "authority", "additional")


def parse_arguments(arguments: list[str]) -> list[Dig]:
    """The questions that the arguments ask.

    Raises:
        DNSUsageError: Something is no argument; the text says what is.
        OSError: A file cannot be read.
    """
    common = Dig()
    found: list[Dig] = []
    words = list(arguments)
    while words:
        word = words.pop(0)
        here = found[-1] if found else common
        if word.startswith("@") and len(word) > 1:
            here.server = word[1:]
        elif word.startswith("+"):
            _plus(here, word[1:])
        elif word.startswith("-") and len(word) > 1:
            here = _dash(here, common, found, word, words)
        else:
            _plain(here, common, found, word)
    if not found:
        common.name = "."
        common.rdtype = common.rdtype or int(RRType.NS)
        found.append(common)
    for each in found:
        if each.rdtype is None:
            each.rdtype = int(RRType.A)
        if each.rdtype == RRType.AXFR or (each.rdtype == RRType.IXFR and each.transport == "udp"):
            each.transport = "tcp" if each.transport == "udp" else each.transport
        if each.rdtype == RRType.IXFR and each.serial is None:
            raise DNSUsageError("a type of IXFR needs the serial that you have: ixfr=2026010101")
        if each.name is not None:
            Name(each.name)  # a mistake is better told before anything is sent
    return found


def _plain(here: Dig, common: Dig, found: list[Dig], word: str) -> None:
    lower = word.lower()
    if lower.startswith("ixfr="):
        here.rdtype, here.serial = int(RRType.IXFR), _number(word[5:], "a serial", 0xFFFFFFFF)
        return
    begun = here.name is not None
    if here.rdtype is None and (kind := _type(word)) is not None:
        here.rdtype = kind
        return
    if begun and (among := _class(word)) is not None:
        here.rdclass = among
        return
    _new(common, found).name = word


def _new(common: Dig, found: list[Dig]) -> Dig:
    made = deepcopy(common)
    found.append(made)
    return made


def _type(word: str) -> int | None:
    try:
        return type_from_text(word)
    except PresentationError:
        return None


def _class(word: str) -> int | None:
    try:
        return class_from_text(word)
    except PresentationError:
        return None


# ── dashes ────────────────────────────────────────────────────────────────────


def _dash(here: Dig, common: Dig, found: list[Dig], word: str, words: list[str]) -> Dig:
    letter, attached = word[1], word[2:]
    if letter in "46" and not attached:
        here.family = int(letter)
        return here
    if letter == "r" and not attached:
        return here  # read no ~/.digrc: there is none
    if letter not in "xptcqbyk":
        raise DNSUsageError(
            f"{word} is no option: there are -x -p -t -c -q -b -y -k -4 -6, and +options; "
            "see sennit dig --help"
        )
    if not attached:
        if not words:
            raise DNSUsageError(f"-{letter} needs something behind it")
        attached = words.pop(0)
    if letter == "x":
        made = _new(common, found)
        made.name, made.rdtype = str(reverse_name(_whole_address(attached))), int(RRType.PTR)
        return made
    if letter == "q":
        made = _new(common, found)
        made.name = attached
        return made
    if letter == "p":
        here.port = _number(attached, "a port", 65535)
    elif letter == "t":
        if attached.lower().startswith("ixfr="):
            here.rdtype = int(RRType.IXFR)
            here.serial = _number(attached[5:], "a serial", 0xFFFFFFFF)
        else:
            here.rdtype = type_from_text(attached)
    elif letter == "c":
        here.rdclass = class_from_text(attached)
    elif letter == "b":
        here.local = attached.partition("#")[0]
    else:
        here.key = _key(letter, attached)
    return here


def _whole_address(text: str) -> str:
    """An address; dig takes IPv4 addresses without their last parts."""
    return text


def _key(letter: str, text: str) -> Key:
    from sennit.names.tsig import Key, keys_from_text

    if letter == "y":
        return Key.from_text(text, allow_md5=True)
    with open(text, encoding="utf-8") as file:
        return keys_from_text(file.read(), allow_md5=True)[0]


def _number(text: str, what: str, most: int) -> int:
    if text.isascii() and text.isdigit() and len(text) <= 12 and int(text) <= most:
        return int(text)
    raise DNSUsageError(f"{text!r:.40} is not {what}: a number from 0 to {most} is")


# ── pluses ────────────────────────────────────────────────────────────────────


def _plus(here: Dig, text: str) -> None:
    word, equals, value = text.partition("=")
    word = word.lower()
    on = True
    names = _match(word)
    if not names and word.startswith("no"):
        on, names = False, _match(word[2:])
    if len(names) != 1:
        some = ", ".join("+" + each for each in sorted(names))
        near = get_close_matches(word.removeprefix("no"), list(_PLUS), 3)
        hint = (
            f"it may be {some}"
            if names
            else f"did you mean {', '.join('+' + each for each in near)}?"
            if near
            else "see sennit dig --help"
        )
        raise DNSUsageError(f"+{text} is no option: {hint}")
    _PLUS[names[0]](here, on, value if equals else None)


def _match(word: str) -> list[str]:
    if word in _PLUS:
        return [word]
    return [each for each in _PLUS if word and each.startswith(word)]


def _style(name: str) -> Callable[[Dig, bool, str | None], None]:
    def apply(here: Dig, on: bool, value: str | None) -> None:
        setattr(here.style, name, on)

    return apply


def _switch(name: str) -> Callable[[Dig, bool, str | None], None]:
    def apply(here: Dig, on: bool, value: str | None) -> None:
        setattr(here, name, on)

    return apply


def _flag(bit: int) -> Callable[[Dig, bool, str | None], None]:
    def apply(here: Dig, on: bool, value: str | None) -> None:
        here.flags = here.flags | bit if on else here.flags & ~bit

    return apply


def _all(here: Dig, on: bool, value: str | None) -> None:
    for each in _OFF_BY_ALL:
        setattr(here.style, each, on)
    here.stats = here.command = on


def _short(here: Dig, on: bool, value: str | None) -> None:
    here.short = on
    if on:
        here.command = here.stats = here.style.comments = here.style.question = False
        here.style.authority = here.style.additional = False


def _trace(here: Dig, on: bool, value: str | None) -> None:
    here.trace = on
    if on:
        here.flags &= ~RD
        here.dnssec = here.identify = True
        here.stats = here.style.comments = here.style.question = here.style.additional = False


def _edns(here: Dig, on: bool, value: str | None) -> None:
    here.edns = on
    here.edns_version = _number(value, "a version of EDNS", 255) if value else 0


def _payload(here: Dig, on: bool, value: str | None) -> None:
    here.payload = _number(value, "a size", 65535) if on and value is not None else PAYLOAD
    here.edns = here.edns or on


def _cookie(here: Dig, on: bool, value: str | None) -> None:
    here.cookie = None
    if on:
        here.cookie = _hex(value or "", "a cookie")
        if here.cookie and not 8 <= len(here.cookie) <= 40:
            raise DNSUsageError("a cookie has 8 to 40 octets, in hexadecimal")


def _hex(text: str, what: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise DNSUsageError(f"{text!r:.60} is not {what} in hexadecimal") from None


def _without(here: Dig, code: int) -> None:
    here.options = [each for each in here.options if each.code != code]


def _empty_option(code: int) -> Callable[[Dig, bool, str | None], None]:
    def apply(here: Dig, on: bool, value: str | None) -> None:
        _without(here, code)
        if on:
            here.options.append(Option(code))

    return apply


def _subnet(here: Dig, on: bool, value: str | None) -> None:
    _without(here, OptionCode.ECS)
    if not on:
        return
    if not value:
        raise DNSUsageError("+subnet needs an address: +subnet=192.0.2.0/24, +subnet=0/0")
    address, slash, bits = value.partition("/")
    if address == "0":  # +subnet=0: let nobody be told whom the answer is for
        address, slash, bits = "0.0.0.0", "/", bits or "0"
    most = 128 if ":" in address else 32
    length = _number(bits, "a number of bits", most) if slash else most
    here.options.append(ClientSubnet(address, length).option())


def _option(here: Dig, on: bool, value: str | None) -> None:
    if not on:
        here.options.clear()
        return
    code, _, data = (value or "").partition(":")
    known = {each.name.lower(): int(each) for each in OptionCode}
    number = known.get(code.lower())
    if number is None:
        number = _number(code, "the code of an option", 65535)
    here.options.append(Option(number, _hex(data, "content")))


def _transport(name: str) -> Callable[[Dig, bool, str | None], None]:
    def apply(here: Dig, on: bool, value: str | None) -> None:
        here.transport = name if on else "udp"
        if name == "https" and on and value:
            here.path = value if value.startswith("/") else "/" + value

    return apply


def _https_get(here: Dig, on: bool, value: str | None) -> None:
    _transport("https")(here, on, value)
    here.method = "GET" if on else "POST"


def _tls_ca(here: Dig, on: bool, value: str | None) -> None:
    here.tls_verify, here.tls_ca = on, value
    if here.transport == "udp":
        here.transport = "tls"


def _tls_name(here: Dig, on: bool, value: str | None) -> None:
    here.tls_name = value if on else None
    here.tls_verify = on or here.tls_verify


def _time(here: Dig, on: bool, value: str | None) -> None:
    here.timeout = max(float(_number(value, "seconds", 600)), 1.0) if value else 5.0


def _tries(here: Dig, on: bool, value: str | None) -> None:
    here.tries = max(_number(value, "a number of tries", 100), 1) if value else 3


def _retry(here: Dig, on: bool, value: str | None) -> None:
    here.tries = _number(value, "a number of retries", 100) + 1 if on and value else 1


def _ndots(here: Dig, on: bool, value: str | None) -> None:
    here.ndots = _number(value, "a number of dots", 15) if on and value else None
    here.search = on


def _padding(here: Dig, on: bool, value: str | None) -> None:
    here.padding = (_number(value, "a block size", 512) if value else 128) if on else 0


def _opcode(here: Dig, on: bool, value: str | None) -> None:
    from sennit.names.codes import Opcode

    word = (value or "").upper()
    known = Opcode.__members__.get(word)
    here.opcode = int(known) if known is not None else _number(value or "0", "an opcode", 15)


def _qid(here: Dig, on: bool, value: str | None) -> None:
    here.qid = _number(value, "an id", 65535) if on and value else None


def _anchor(here: Dig, on: bool, value: str | None) -> None:
    here.validate = on
    here.anchors = ("", "")
    if on and value:
        with open(value, encoding="utf-8", errors="replace") as file:
            here.anchors = (file.read(MAX_ANCHORS), value)


def _ednsflags(here: Dig, on: bool, value: str | None) -> None:
    try:
        here.edns_flags = int(value or "0", 0) & 0x7FFF if on else 0
    except ValueError:
        raise DNSUsageError(f"+ednsflags={value} is not a number") from None


def _nothing(here: Dig, on: bool, value: str | None) -> None:
    """Known to dig, and without a meaning here: output is never coloured, names never mapped."""


_PLUS: Final[dict[str, Callable[[Dig, bool, str | None], None]]] = {
    "aaflag": _flag(AA),
    "aaonly": _flag(AA),
    "additional": _style("additional"),
    "ad": _flag(AD),
    "adflag": _flag(AD),
    "all": _all,
    "anchor": _anchor,
    "answer": _style("answer"),
    "authority": _style("authority"),
    "badcookie": _switch("bad_cookie"),
    "bufsize": _payload,
    "cdflag": _flag(CD),
    "cd": _flag(CD),
    "class": _style("rdclass"),
    "cl": _style("rdclass"),
    "cmd": _switch("command"),
    "comments": _style("comments"),
    "cookie": _cookie,
    "dnssec": _switch("dnssec"),
    "do": _switch("dnssec"),
    "edns": _edns,
    "ednsflags": _ednsflags,
    "ednsopt": _option,
    "expire": _empty_option(OptionCode.EXPIRE),
    "fail": _switch("next_on_servfail"),
    "https": _transport("https"),
    "https-get": _https_get,
    "https-post": _transport("https"),
    "identify": _switch("identify"),
    "ignore": _switch("ignore_cut"),
    "json": _switch("json"),
    "keepalive": _empty_option(OptionCode.KEEPALIVE),
    "keepopen": _switch("keep_open"),
    "multiline": _style("multiline"),
    "ndots": _ndots,
    "nsid": _empty_option(OptionCode.NSID),
    "onesoa": _switch("one_soa"),
    "opcode": _opcode,
    "padding": _padding,
    "qid": _qid,
    "qr": _switch("show_query"),
    "question": _style("question"),
    "recurse": _flag(RD),
    "rdflag": _flag(RD),
    "retry": _retry,
    "search": _switch("search"),
    "short": _short,
    "stats": _switch("stats"),
    "subnet": _subnet,
    "tcp": _transport("tcp"),
    "time": _time,
    "timeout": _time,
    "tls": _transport("tls"),
    "tls-ca": _tls_ca,
    "tls-hostname": _tls_name,
    "trace": _trace,
    "tries": _tries,
    "ttlid": _style("ttl"),
    "ttlunits": _style("ttl_units"),
    "validate": _switch("validate"),
    "vc": _transport("tcp"),
    "color": _nothing,
    "idnin": _nothing,
    "idnout": _nothing,
    "mapped": _nothing,
    "crypto": _nothing,
    "split": _nothing,
}
