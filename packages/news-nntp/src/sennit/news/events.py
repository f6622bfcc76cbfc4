"""What a client asks of a server of news, as the server's engine tells it.

One class per thing that can be asked, written by hand: there are thousands of them a second. Each
says in `codes` how it may be answered (RFC 3977 Appendix C); `FAILURES` are good for all. Names of
groups and fields are `str`, everything else that came is octets; ranges are two numbers, both
included. Nobody changes an event after it was made.

Not here: what a client's engine emits (``client_engine.py``).
"""

from __future__ import annotations

from enum import Enum
from typing import ClassVar, Final

from sennit.core.engine import SOLE, Belongs, PeerFault

__all__ = [
    "FAILURES",
    "Answered",
    "ArticleAsked",
    "ArticleChecked",
    "ArticleOffered",
    "ArticlePosted",
    "ArticleSent",
    "ArticleTaken",
    "Asked",
    "DateAsked",
    "GroupAsked",
    "HeadersAsked",
    "ListAsked",
    "NeighbourAsked",
    "NewGroupsAsked",
    "NewNewsAsked",
    "OverviewAsked",
    "Part",
    "PasswordGiven",
    "Question",
    "SASLBegun",
    "SASLResponse",
    "ServerEvent",
    "TLSAsked",
]

FAILURES: Final = frozenset((400, 403, 480, 483, 502, 503))
"""Codes with which anything may be answered (RFC 3977 §3.2.1)."""


class Part(Enum):
    """What is wanted of an article; the value is the code it comes with (RFC 3977 §6.2)."""

    ARTICLE = 220
    HEAD = 221
    BODY = 222
    STAT = 223


class Asked:
    """Base of what is answered: a command, or the article behind one.

    Attributes:
        exchange: `SOLE`, save of what is streamed.
    """

    __slots__ = ()

    codes: ClassVar[frozenset[int]] = frozenset()
    exchange: int = SOLE

    def _told(self) -> tuple[object, ...]:
        kinds = type(self).__mro__
        return tuple(
            getattr(self, name) for kind in kinds for name in getattr(kind, "__slots__", ())
        )

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self._told() == other._told()

    __hash__ = None  # type: ignore[assignment]  # compared by what it says, never kept in sets

    def __repr__(self) -> str:
        return f"{type(self).__name__}{self._told()!r}"


# ── reading ───────────────────────────────────────────────────────────────────


class GroupAsked(Asked):
    """GROUP, or LISTGROUP (RFC 3977 §6.1.1, §6.1.2).

    Attributes:
        group: Its name.
        listed: The range whose numbers are wanted, too (LISTGROUP).
    """

    __slots__ = ("group", "listed")
    codes = frozenset((211, 411))

    def __init__(self, group: str, listed: tuple[int, int] | None = None) -> None:
        self.group = group
        self.listed = listed


class NeighbourAsked(Asked):
    """LAST or NEXT (RFC 3977 §6.1.3, §6.1.4).

    Attributes:
        group: The one selected.
        number: The current article.
        step: -1 for LAST, 1 for NEXT.
    """

    __slots__ = ("group", "number", "step")
    codes = frozenset((223, 421, 422))

    def __init__(self, group: str, number: int, step: int) -> None:
        self.group = group
        self.number = number
        self.step = step


class ArticleAsked(Asked):
    """ARTICLE, HEAD, BODY or STAT (RFC 3977 §6.2).

    Attributes:
        part: What is wanted of it.
        message_id: Its Message-ID; ``None`` when it is asked for by number.
        group: The group selected, ``""`` without one.
        number: Its number in there, when there is no Message-ID.
        current: Whether it is the current article, no number was given.
    """

    __slots__ = ("current", "group", "message_id", "number", "part")
    codes = frozenset((220, 221, 222, 223, 420, 423, 430))

    def __init__(
        self,
        part: Part,
        message_id: bytes | None,
        group: str = "",
        number: int = 0,
        current: bool = False,
    ) -> None:
        self.part = part
        self.message_id = message_id
        self.group = group
        self.number = number
        self.current = current


class OverviewAsked(Asked):
    """OVER or XOVER (RFC 3977 §8.3).

    Attributes:
        message_id: The article's, or ``None``.
        group: The group selected, when there is no Message-ID.
        low: The first number.
        high: The last one.
        current: Whether it is the current article, no range was given.
        old: It was XOVER (RFC 2980 §2.8), which has its own word for a range of nothing.
    """

    __slots__ = ("current", "group", "high", "low", "message_id", "old")
    codes = frozenset((224, 420, 423, 430))

    def __init__(
        self,
        message_id: bytes | None,
        group: str = "",
        low: int = 0,
        high: int = 0,
        current: bool = False,
        old: bool = False,
    ) -> None:
        self.message_id = message_id
        self.group = group
        self.low = low
        self.high = high
        self.current = current
        self.old = old


class HeadersAsked(Asked):
    """HDR, XHDR or XPAT (RFC 3977 §8.5, RFC 2980 §2.6, §2.9).

    Attributes:
        field: The name of a header field, or ``:bytes``, ``:lines``.
        message_id: The article's, or ``None``.
        group: The group selected, when there is no Message-ID.
        low: The first number.
        high: The last one.
        current: Whether it is the current article, no range was given.
        code: With which it is answered: 225, or 221 of the old ones.
        pattern: What contents must match (XPAT; of RFC 2980 §3.3), or ``""``.
    """

    __slots__ = ("code", "current", "field", "group", "high", "low", "message_id", "pattern")
    codes = frozenset((221, 225, 420, 423, 430))

    def __init__(
        self,
        field: str,
        message_id: bytes | None,
        group: str = "",
        low: int = 0,
        high: int = 0,
        current: bool = False,
        code: int = 225,
        pattern: str = "",
    ) -> None:
        self.field = field
        self.message_id = message_id
        self.group = group
        self.low = low
        self.high = high
        self.current = current
        self.code = code
        self.pattern = pattern


# ── what there is ─────────────────────────────────────────────────────────────


class ListAsked(Asked):
    """LIST, or XGTITLE (RFC 3977 §7.6, RFC 6048, RFC 2980 §2.5.1).

    Attributes:
        keyword: ``ACTIVE``, ``NEWSGROUPS``, ….
        wildmat: Which groups are meant; ``""`` for all.
        code: With which it is answered: 215, or 282 of XGTITLE.
    """

    __slots__ = ("code", "keyword", "wildmat")
    codes = frozenset((215, 282, 481))

    def __init__(self, keyword: str, wildmat: str = "", code: int = 215) -> None:
        self.keyword = keyword
        self.wildmat = wildmat
        self.code = code


class NewGroupsAsked(Asked):
    """NEWGROUPS (RFC 3977 §7.3).

    Attributes:
        date: ``yyyymmdd`` or ``yymmdd``.
        time: ``hhmmss``.
    """

    __slots__ = ("date", "time")
    codes = frozenset((231, 501))

    def __init__(self, date: bytes, time: bytes) -> None:
        self.date = date
        self.time = time


class NewNewsAsked(Asked):
    """NEWNEWS (RFC 3977 §7.4).

    Attributes:
        wildmat: Which groups are meant.
        date: ``yyyymmdd`` or ``yymmdd``.
        time: ``hhmmss``.
    """

    __slots__ = ("date", "time", "wildmat")
    codes = frozenset((230, 501))

    def __init__(self, wildmat: str, date: bytes, time: bytes) -> None:
        self.wildmat = wildmat
        self.date = date
        self.time = time


class DateAsked(Asked):
    """DATE (RFC 3977 §7.1)."""

    __slots__ = ()
    codes = frozenset((111,))


# ── articles that come ────────────────────────────────────────────────────────


class ArticlePosted(Asked):
    """The article behind POST (RFC 3977 §6.3.1).

    Attributes:
        octets: The whole, dots undone.
    """

    __slots__ = ("octets",)
    codes = frozenset((240, 441))

    def __init__(self, octets: bytes) -> None:
        self.octets = octets


class ArticleOffered(Asked):
    """IHAVE (RFC 3977 §6.3.2); 335 has it sent.

    Attributes:
        message_id: The article's.
    """

    __slots__ = ("message_id",)
    codes = frozenset((335, 435, 436))

    def __init__(self, message_id: bytes) -> None:
        self.message_id = message_id


class ArticleSent(Asked):
    """The article behind IHAVE.

    Attributes:
        message_id: Under which it was offered.
        octets: The whole, dots undone.
    """

    __slots__ = ("message_id", "octets")
    codes = frozenset((235, 436, 437))

    def __init__(self, message_id: bytes, octets: bytes) -> None:
        self.message_id = message_id
        self.octets = octets


class ArticleChecked(Asked):
    """CHECK (RFC 4644 §2.4): many may wait for their answers.

    Attributes:
        message_id: The article's.
    """

    __slots__ = ("exchange", "message_id")
    codes = frozenset((238, 431, 438))

    def __init__(self, message_id: bytes, exchange: int) -> None:
        self.message_id = message_id
        self.exchange = exchange


class ArticleTaken(Asked):
    """TAKETHIS, with its article (RFC 4644 §2.5): many may wait for their answers.

    Attributes:
        message_id: Under which it comes.
        octets: The whole, dots undone.
    """

    __slots__ = ("exchange", "message_id", "octets")
    codes = frozenset((239, 439))

    def __init__(self, message_id: bytes, octets: bytes, exchange: int) -> None:
        self.message_id = message_id
        self.octets = octets
        self.exchange = exchange


# ── the connection ────────────────────────────────────────────────────────────


class PasswordGiven(Asked):
    """AUTHINFO USER and PASS (RFC 4643 §2.3).

    Attributes:
        name: The user's.
        password: In clear.
    """

    __slots__ = ("name", "password")
    codes = frozenset((281, 481))

    def __init__(self, name: bytes, password: bytes) -> None:
        self.name = name
        self.password = password

    def __repr__(self) -> str:
        # A password has no place in logs.
        return f"{type(self).__name__}({self.name!r})"


class SASLBegun(Asked):
    """AUTHINFO SASL (RFC 4643 §2.4); 383 asks for a `SASLResponse`.

    Attributes:
        mechanism: Its name, in capitals.
        initial: The initial response, decoded; ``None`` without one.
    """

    __slots__ = ("initial", "mechanism")
    codes = frozenset((281, 283, 481, 482))

    def __init__(self, mechanism: str, initial: bytes | None) -> None:
        self.mechanism = mechanism
        self.initial = initial

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.mechanism!r})"


class SASLResponse(Belongs):
    """A response within AUTHINFO SASL.

    Attributes:
        data: Decoded; ``None`` when the client ends the exchange.
        exchange: `SOLE`.
    """

    __slots__ = ("data",)
    exchange: int = SOLE

    def __init__(self, data: bytes | None) -> None:
        self.data = data

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class Answered:
    """Many commands were answered without asking anybody: it is others' turn.

    Attributes:
        exchange: `SOLE`.
    """

    __slots__ = ()
    exchange: int = SOLE


class TLSAsked(Asked):
    """STARTTLS (RFC 4642 §2.2); 382 has it begin, and this engine is done."""

    __slots__ = ()
    codes = frozenset((382, 580))


Question = (
    GroupAsked
    | NeighbourAsked
    | ArticleAsked
    | OverviewAsked
    | HeadersAsked
    | ListAsked
    | NewGroupsAsked
    | NewNewsAsked
    | DateAsked
    | ArticlePosted
    | ArticleOffered
    | ArticleSent
    | ArticleChecked
    | ArticleTaken
    | PasswordGiven
    | SASLBegun
    | TLSAsked
)
"""Every event that is answered."""

ServerEvent = Question | SASLResponse | Answered | PeerFault
"""Every event a server's engine emits."""
