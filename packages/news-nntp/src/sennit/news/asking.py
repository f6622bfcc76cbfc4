"""What a server's engine knows of its client, and what each command asks: no I/O.

`ask` reads a command against the `Session`: it gives the event that the driver is to answer, or
what is to be said at once (`Told`). What a command needs stands in `COMMANDS`, the one place that
names them all: its words, and whether reading or feeding must be allowed.

Who may not do something is told 480 where a login may help, else 502; 401 where MODE READER would.
What this server never does is 500, 501 where others of its command are there, and 503 where it is a
part of what a command can do (RFC 3977 §3.2.1, §3.4).

Sources: RFC 3977 §5 to §8, RFC 4642 §2, RFC 4643 §2, RFC 4644 §2, RFC 6048 §2, RFC 8054 §2,
RFC 8143, RFC 2980 §2 (what old readers say). Not here: the conversation's phases (``engine.py``);
what is offered and agreed on (``session.py``).
"""

from __future__ import annotations

import re
from base64 import b64decode
from binascii import Error as Base64Error
from typing import TYPE_CHECKING, Final, TypeAlias

from sennit.news.errors import NNTPProtocolError
from sennit.news.events import (
    ArticleAsked,
    ArticleChecked,
    ArticleOffered,
    DateAsked,
    GroupAsked,
    HeadersAsked,
    ListAsked,
    NeighbourAsked,
    NewGroupsAsked,
    NewNewsAsked,
    OverviewAsked,
    Part,
    PasswordGiven,
    SASLBegun,
    TLSAsked,
)
from sennit.news.grammar import (
    MAX_NUMBER,
    group_name,
    is_field_name,
    is_message_id,
    parse_number,
    parse_range,
)
from sennit.news.wildmat import parse_pattern, parse_wildmat

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sennit.news.events import Question
    from sennit.news.session import Session

__all__ = ["COMMANDS", "Told", "ask", "decode_sasl", "may_be_long"]


class Told:
    """What is said at once.

    Attributes:
        code: The response's.
        text: What stands behind it.
        block: Lines behind that, dots not doubled, or ``None``.
        act: What the engine does besides: ``quit``, ``post``, ``deflate``.
    """

    __slots__ = ("act", "block", "code", "text")

    def __init__(
        self, code: int, text: str | bytes, block: bytes | None = None, act: str = ""
    ) -> None:
        self.code = code
        self.text = text
        self.block = block
        self.act = act


Answer: TypeAlias = "Question | Told"

_SYNTAX: Final = "RFC 3977 §3.2.1"
_NOT_HERE: Final = 500
"""Of a command that others have, and this server has not (RFC 3977 §3.4)."""
_KEYWORD: Final = re.compile(rb"[A-Za-z][A-Za-z0-9.-]{2,}")
# Names of mechanisms, too; in small letters where the letter of RFC 4643 and RFC 8054 has none.
_ALGORITHM: Final = re.compile(rb"[A-Za-z0-9_-]{1,20}")
_NO_GROUP: Final = Told(412, "No newsgroup selected")
_NO_ARTICLE: Final = Told(420, "No current article")
_NO_SUCH_GROUP: Final = Told(411, "No such newsgroup")


def _wildmat(octets: bytes) -> str:
    try:
        return parse_wildmat(octets.decode()).text
    except UnicodeDecodeError as error:
        raise NNTPProtocolError(f"not UTF-8: {octets[:64]!r}", "RFC 3977 §4.1") from error


def _message_id(octets: bytes) -> bytes:
    if not is_message_id(octets):
        raise NNTPProtocolError(f"not a Message-ID: {octets[:64]!r}", "RFC 3977 §3.6")
    return octets


# ── the connection ────────────────────────────────────────────────────────────


def _capabilities(session: Session, words: Sequence[bytes], line: bytes) -> Answer:
    if words and not _KEYWORD.fullmatch(words[0]):
        raise NNTPProtocolError(f"not a keyword: {words[0][:64]!r}", "RFC 3977 §5.2.1")
    offers = session.offers
    lines = ["VERSION 2", f"IMPLEMENTATION {offers.software}"]
    if session.may_switch:
        lines.append("MODE-READER")
    if session.reading:
        lines.append("READER")
        if session.posts:
            lines.append("POST")
        if offers.new_news:
            lines.append("NEWNEWS")
        lines += ["HDR", "OVER MSGID"]
    if session.feeding and session.feeds:
        lines += ["IHAVE", "STREAMING"]
    lines.append(" ".join(("LIST", *session.lists)))
    if session.login_helps and not session.compressed:
        # After a login AUTHINFO must not be named any more (RFC 4643 §2.1).
        kinds = ["USER"] * offers.passwords + ["SASL"] * bool(offers.mechanisms)
        lines.append(" ".join(("AUTHINFO", *kinds)))
    if offers.mechanisms and (session.logged_in or not session.compressed):
        # Mechanisms are named after it, too: who was shown others before is told so (§2.2).
        lines.append(" ".join(("SASL", *offers.mechanisms)))
    if session.may_start_tls:
        lines.append("STARTTLS")
    if offers.compress and session.known and not session.compressed:
        lines.append("COMPRESS DEFLATE")
    block = "".join(f"{each}\r\n" for each in lines).encode()
    return Told(101, "Capability list:", block)


def _help(session: Session, words: Sequence[bytes], line: bytes) -> Answer:
    block = "".join(f"  {word.decode()} {usage}".rstrip() + "\r\n" for word, usage in _USAGES)
    return Told(100, "Commands:", block.encode())


def _mode(session: Session, words: Sequence[bytes], line: bytes) -> Answer:
    wanted = words[0].upper()
    if wanted == b"READER":
        if session.may_switch:
            session.switched = True
        elif not session.reading:
            late = session.offers.mode == "switching"
            # And the end (RFC 3977 §5.3.2).
            text = "Too late for a reader" if late else "This server is for peers"
            return Told(502, text, act="quit")
        return Told(200, "Posting allowed") if session.posts else Told(201, "Posting prohibited")
    if wanted == b"STREAM":
        refused = _refused(session, _FEED)
        if refused is None:
            return Told(203, "Streaming permitted")
        # The command is known, this variant of it is not here (RFC 3977 §3.4, RFC 4644 §2.3.3).
        return refused if refused.code != _NOT_HERE else Told(501, "No streaming here")
    raise NNTPProtocolError(f"no such mode: {words[0][:64]!r}", _SYNTAX)


def _quit(session: Session, words: Sequence[bytes], line: bytes) -> Answer:
    return Told(205, "Bye", act="quit")


def _date(session: Session, words: Sequence[bytes], line: bytes) -> Answer:
    return DateAsked()


def _starttls(session: Session, words: Sequence[bytes], line: bytes) -> Answer:
    if session.secure or session.logged_in or session.compressed:
        return Told(502, "Too late for TLS")
    return TLSAsked() if session.offers.tls else Told(580, "There is no TLS here")


def _compress(session: Session, words: Sequence[bytes], line: bytes) -> Answer:
    if not _ALGORITHM.fullmatch(words[0]):
        raise NNTPProtocolError(f"not an algorithm: {words[0][:64]!r}", "RFC 8054 §5.3")
    if session.compressed:
        return Told(502, "Compressed already")
    if not session.offers.compress:
        return Told(_NOT_HERE, "No compression here")
    if words[0].upper() != b"DEFLATE":
        return Told(503, "Not compressed so")
    if not session.known:
        return Told(480, "Log in first") if session.login_helps else Told(502, "Not for you")
    return Told(206, "Compression active", act="deflate")


def _authinfo(session: Session, words: Sequence[bytes], line: bytes) -> Answer:
    offers = session.offers
    kind = words[0].upper()
    user, session.user = session.user, None
    if kind not in (b"USER", b"PASS", b"SASL"):
        raise NNTPProtocolError(f"no such login: {words[0][:64]!r}", "RFC 4643 §3")
    if session.logged_in or session.compressed:
        return Told(502, "Too late for a login")
    if not offers.login:
        return Told(_NOT_HERE, "There are no logins here")
    if kind == b"SASL":
        return _sasl(session, words)
    if not offers.passwords:
        if session.secure:
            return Told(501, "Not by a password")
        return Told(483, "Not where anybody can read along")
    # All behind the first blank: others may belong to a name or password (RFC 4643 §3.1).
    secret = line.split(None, 1)[1][5:]
    if kind == b"USER":
        session.user = secret
        return Told(381, "Password, please")
    if user is None:
        return Told(482, "First AUTHINFO USER")
    return PasswordGiven(user, secret)


def _sasl(session: Session, words: Sequence[bytes]) -> Answer:
    if len(words) > 3:
        raise NNTPProtocolError("more than one initial response", "RFC 4643 §2.4.1")
    if not _ALGORITHM.fullmatch(words[1]):
        raise NNTPProtocolError(f"not a mechanism: {words[1][:64]!r}", "RFC 4643 §3.5")
    name = words[1].decode("ascii").upper()
    if name not in session.offers.mechanisms:
        if name in session.offers.private_mechanisms:
            return Told(483, "Not where anybody can read along")
        return Told(503, "No such mechanism here")
    if len(words) < 3:
        return SASLBegun(name, None)
    try:
        return SASLBegun(name, decode_sasl(words[2]))
    except NNTPProtocolError:
        return Told(504, "That is no base64")


def may_be_long(line: bytes) -> bool:
    """Tell whether a command may have more than 512 octets: one with an initial response may.

    RFC 4643 §2.4.2: as many as the longest of any mechanism.
    """
    return [word.upper() for word in line.split(None, 2)[:2]] == [b"AUTHINFO", b"SASL"]


def decode_sasl(octets: bytes) -> bytes:
    """Read a response of SASL: base64, or ``=`` for an empty one (RFC 4643 §2.4.2).

    Raises:
        NNTPProtocolError: It is neither.
    """
    if octets == b"=":
        return b""
    try:
        return b64decode(octets, validate=True)
    except Base64Error as error:
        raise NNTPProtocolError("a response that is no base64", "RFC 4643 §2.4.2") from error


# ── groups and articles ───────────────────────────────────────────────────────


def _group(session: Session, words: Sequence[bytes], line: bytes) -> Answer:
    name = group_name(words[0])
    return _NO_SUCH_GROUP if name is None else GroupAsked(name)


def _listgroup(session: Session, words: Sequence[bytes], line: bytes) -> Answer:
    name = group_name(words[0]) if words else session.group
    listed = parse_range(words[1]) if len(words) > 1 else (1, MAX_NUMBER)
    if name is None:
        return _NO_SUCH_GROUP
    return GroupAsked(name, listed) if name else _NO_GROUP


def _neighbour(session: Session, words: Sequence[bytes], line: bytes) -> Answer:
    if not session.group:
        return _NO_GROUP
    if not session.number:
        return _NO_ARTICLE
    return NeighbourAsked(session.group, session.number, 1 if line[:1] in b"nN" else -1)


def _article(session: Session, words: Sequence[bytes], line: bytes) -> Answer:
    # The first letter tells the four apart.
    part = _PARTS[line[:1]]
    if words and words[0][:1] == b"<":
        return ArticleAsked(part, _message_id(words[0]))
    number = parse_number(words[0]) if words else session.number
    if not session.group:
        return _NO_GROUP
    if not words and not number:
        return _NO_ARTICLE
    if not 0 < number <= MAX_NUMBER:
        return Told(423, "No article with that number")
    return ArticleAsked(part, None, session.group, number, not words)


_PARTS: Final = {
    b"A": Part.ARTICLE,
    b"a": Part.ARTICLE,
    b"H": Part.HEAD,
    b"h": Part.HEAD,
    b"B": Part.BODY,
    b"b": Part.BODY,
    b"S": Part.STAT,
    b"s": Part.STAT,
}

_Which: TypeAlias = "tuple[bytes | None, str, int, int, bool]"


def _which(session: Session, words: Sequence[bytes]) -> _Which | Told:
    """A Message-ID, a range, or the current article, as OVER and HDR have them."""
    if words and words[0][:1] == b"<":
        return _message_id(words[0]), "", 0, 0, False
    if words:
        low, high = parse_range(words[0])
        return (None, session.group, low, high, False) if session.group else _NO_GROUP
    if not session.group:
        return _NO_GROUP
    if not session.number:
        return _NO_ARTICLE
    return None, session.group, session.number, session.number, True


def _over(session: Session, words: Sequence[bytes], line: bytes) -> Answer:
    which = _which(session, words)
    if isinstance(which, Told):
        return which
    return OverviewAsked(*which, old=line[:1] in b"xX")


def _hdr(session: Session, words: Sequence[bytes], line: bytes) -> Answer:
    return _headers(session, words[0], words[1:], 221 if line[:1] in b"xX" else 225)


def _xpat(session: Session, words: Sequence[bytes], line: bytes) -> Answer:
    # Words of one pattern, with a blank between (RFC 2980 §2.9). Octets that are no UTF-8 are
    # themselves, in it as in contents.
    pattern = parse_pattern(b" ".join(words[2:]).decode("utf-8", "surrogateescape")).text
    return _headers(session, words[0], words[1:2], 221, pattern)


def _headers(
    session: Session, field: bytes, words: Sequence[bytes], code: int, pattern: str = ""
) -> Answer:
    if not is_field_name(field):
        raise NNTPProtocolError(f"not a field: {field[:64]!r}", "RFC 3977 §9.8")
    which = _which(session, words)
    if field[:1] == b":" and field.lower() not in (b":bytes", b":lines"):
        return Told(503, "No such metadata here")
    if isinstance(which, Told):
        return which
    return HeadersAsked(field.decode("ascii"), *which, code=code, pattern=pattern)


# ── what there is ─────────────────────────────────────────────────────────────

_WITH_WILDMAT: Final = frozenset(
    ("ACTIVE", "ACTIVE.TIMES", "COUNTS", "NEWSGROUPS", "SUBSCRIPTIONS")
)
_WITHOUT: Final = frozenset(("DISTRIB.PATS", "DISTRIBUTIONS", "MODERATORS", "MOTD", "OVERVIEW.FMT"))


def _list(session: Session, words: Sequence[bytes], line: bytes) -> Answer:
    keyword = words[0].decode("ascii", "replace").upper() if words else "ACTIVE"
    argument = words[1] if len(words) > 1 else b""
    if keyword == "HEADERS":
        if argument.upper() not in (b"", b"MSGID", b"RANGE"):
            raise NNTPProtocolError(f"not for LIST HEADERS: {argument[:64]!r}", "RFC 3977 §8.6.1")
        argument = b""
    elif keyword not in _WITH_WILDMAT and (keyword not in _WITHOUT or argument):
        raise NNTPProtocolError(f"no such list: {line[:64]!r}", "RFC 3977 §7.6.1")
    if keyword not in session.lists:
        return Told(503, "No such list here")
    return ListAsked(keyword, _wildmat(argument) if argument else "")


def _xgtitle(session: Session, words: Sequence[bytes], line: bytes) -> Answer:
    if words:
        return ListAsked("NEWSGROUPS", _wildmat(words[0]), 282)
    return ListAsked("NEWSGROUPS", session.group, 282) if session.group else _NO_GROUP


def _check_zone(words: Sequence[bytes]) -> None:
    if words and words[0].upper() != b"GMT":
        raise NNTPProtocolError(f"not a zone: {words[0][:64]!r}", "RFC 3977 §7.3.1")


def _newgroups(session: Session, words: Sequence[bytes], line: bytes) -> Answer:
    _check_zone(words[2:])
    return NewGroupsAsked(words[0], words[1])


def _newnews(session: Session, words: Sequence[bytes], line: bytes) -> Answer:
    wildmat = _wildmat(words[0])
    _check_zone(words[3:])
    if not session.offers.new_news:
        return Told(_NOT_HERE, "No NEWNEWS here")
    return NewNewsAsked(wildmat, words[1], words[2])


# ── articles that come ────────────────────────────────────────────────────────


def _post(session: Session, words: Sequence[bytes], line: bytes) -> Answer:
    if not session.reading and (elsewhere := _refused(session, _READ)) is not None:
        return elsewhere
    if session.posts:
        return Told(340, "Send it", act="post")
    if session.login_helps:
        return Told(480, "Log in first")
    return Told(440, "Posting not permitted")


def _ihave(session: Session, words: Sequence[bytes], line: bytes) -> Answer:
    return ArticleOffered(_message_id(words[0]))


def _stream(session: Session, words: Sequence[bytes], line: bytes) -> Answer:
    # The engine numbers it, and waits for the article of TAKETHIS.
    return ArticleChecked(_message_id(words[0]), 0)


# ── the table ─────────────────────────────────────────────────────────────────

_ANY: Final = 0  # no permission is needed
_READ: Final = 1
_FEED: Final = 2
_EITHER: Final = 3

_Reader: TypeAlias = "Callable[[Session, Sequence[bytes], bytes], Answer]"

COMMANDS: Final[dict[bytes, tuple[_Reader, int, int, int, str]]] = {
    b"ARTICLE": (_article, 0, 1, _READ, "[message-id|number]"),
    b"AUTHINFO": (_authinfo, 2, 99, _ANY, "USER name|PASS password|SASL mechanism [response]"),
    b"BODY": (_article, 0, 1, _READ, "[message-id|number]"),
    b"CAPABILITIES": (_capabilities, 0, 1, _ANY, "[keyword]"),
    b"CHECK": (_stream, 1, 1, _FEED, "message-id"),
    b"COMPRESS": (_compress, 1, 1, _ANY, "DEFLATE"),
    b"DATE": (_date, 0, 0, _ANY, ""),
    b"GROUP": (_group, 1, 1, _READ, "newsgroup"),
    b"HDR": (_hdr, 1, 2, _READ, "field [message-id|range]"),
    b"HEAD": (_article, 0, 1, _EITHER, "[message-id|number]"),
    b"HELP": (_help, 0, 0, _ANY, ""),
    b"IHAVE": (_ihave, 1, 1, _FEED, "message-id"),
    b"LAST": (_neighbour, 0, 0, _READ, ""),
    b"LIST": (_list, 0, 2, _EITHER, "[keyword [wildmat]]"),
    b"LISTGROUP": (_listgroup, 0, 2, _READ, "[newsgroup [range]]"),
    b"MODE": (_mode, 1, 1, _ANY, "READER|STREAM"),
    b"NEWGROUPS": (_newgroups, 2, 3, _READ, "[yy]yymmdd hhmmss [GMT]"),
    b"NEWNEWS": (_newnews, 3, 4, _READ, "wildmat [yy]yymmdd hhmmss [GMT]"),
    b"NEXT": (_neighbour, 0, 0, _READ, ""),
    b"OVER": (_over, 0, 1, _READ, "[message-id|range]"),
    b"POST": (_post, 0, 0, _ANY, ""),
    b"QUIT": (_quit, 0, 0, _ANY, ""),
    b"STARTTLS": (_starttls, 0, 0, _ANY, ""),
    b"STAT": (_article, 0, 1, _EITHER, "[message-id|number]"),
    b"TAKETHIS": (_stream, 1, 1, _FEED, "message-id"),
    b"XGTITLE": (_xgtitle, 0, 1, _READ, "[wildmat]"),
    b"XHDR": (_hdr, 1, 2, _READ, "field [message-id|range]"),
    b"XOVER": (_over, 0, 1, _READ, "[range]"),
    b"XPAT": (_xpat, 3, 99, _READ, "field message-id|range pattern..."),
}
"""Commands: who reads them, how many words they have, what they need, how they are written."""

_USAGES: Final = [(word, entry[4]) for word, entry in COMMANDS.items()]


def _refused(session: Session, need: int) -> Told | None:
    """Say why a command may not be given now, or None."""
    if need & _READ and session.reads and session.reading:
        return None
    here = need & (session.reading * _READ | session.feeding * _FEED)
    if not here:
        if need & _READ and session.may_switch:
            return Told(401, "MODE-READER First say MODE READER")
        if need & _FEED and session.switched:
            return Told(502, "This connection is a reader's")
        return Told(_NOT_HERE, "Not on this server")
    if here & (session.reads * _READ | session.feeds * _FEED):
        return None
    return Told(480, "Log in first") if session.login_helps else Told(502, "Not permitted")


def ask(session: Session, word: bytes, words: Sequence[bytes], line: bytes) -> Answer:
    """Say what a command asks, or what is answered at once.

    Args:
        session: Changed by commands that change it.
        word: The command, in capitals.
        words: Those behind it.
        line: The whole line.

    Raises:
        NNTPProtocolError: Its arguments are none.
    """
    entry = COMMANDS.get(word)
    if entry is None:
        return Told(500, "No such command")
    read, least, most, need, _ = entry
    if not least <= len(words) <= most:
        raise NNTPProtocolError(f"words missing or too many: {line[:64]!r}", _SYNTAX)
    if need and (refused := _refused(session, need)) is not None:
        return refused
    return read(session, words, line)
