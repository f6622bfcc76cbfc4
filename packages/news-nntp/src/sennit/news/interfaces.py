"""What the server asks of its surroundings: where articles lie, and which are taken in.

Octets of articles are as they are on the wire without dots doubled: lines ended by CRLF, a head, an
empty line, a body. Message-IDs are octets, angle brackets included (RFC 3977 §3.6); newsgroups are
`str`. Numbers of articles are at most 2 147 483 647 (RFC 3977 §6). Times are POSIX seconds.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from sennit.core.interfaces import Interface

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

__all__ = [
    "Aged",
    "Article",
    "Filed",
    "Group",
    "History",
    "IArticleReader",
    "IArticleStore",
    "IIntake",
    "Wanted",
]


class Group:
    """A newsgroup as its store tells of it.

    Attributes:
        name: Its name.
        low: Lowest number that there may be; of an empty group `high` + 1.
        high: Highest number that was given; never sinks.
        count: Articles that there are.
        status: ``y``, ``n``, ``m`` (moderated), ``j``, ``x``, or ``=`` and another group's name
            (RFC 3977 §7.6.3, RFC 6048 §3.1).
        description: One line on it.
        created: When.
        creator: By whom.
    """

    __slots__ = ("count", "created", "creator", "description", "high", "low", "name", "status")

    def __init__(
        self,
        name: str,
        *,
        low: int = 1,
        high: int = 0,
        count: int = 0,
        status: str = "y",
        description: str = "",
        created: float = 0.0,
        creator: str = "",
    ) -> None:
        self.name = name
        self.low = low
        self.high = high
        self.count = count
        self.status = status
        self.description = description
        self.created = created
        self.creator = creator

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name} {self.low}-{self.high} {self.status}>"


class Article:
    """An article out of a store.

    Attributes:
        message_id: With its angle brackets.
        octets: The whole, dots not doubled; ends in CRLF.
        body_at: Where the body begins: behind the empty line, or the end.
    """

    __slots__ = ("body_at", "message_id", "octets")

    def __init__(self, message_id: bytes, octets: bytes, body_at: int) -> None:
        self.message_id = message_id
        self.octets = octets
        self.body_at = body_at

    @property
    def head(self) -> bytes:
        """The lines of the head, each with its CRLF, without the empty line."""
        return self.octets[: max(self.body_at - 2, 0)]

    @property
    def body(self) -> bytes:
        """What is behind the empty line."""
        return self.octets[self.body_at :]


class History(Enum):
    """What a store knows of a Message-ID."""

    UNKNOWN = "unknown"
    PRESENT = "present"
    GONE = "gone"
    """Expired, cancelled, or refused: not to be taken again while it is remembered."""


class Filed:
    """An article on its way into a store.

    Attributes:
        message_id: With its angle brackets.
        octets: The whole, dots not doubled, with Path and Xref-less: the store writes Xref
            (RFC 5536 §3.2.14).
        body_at: Where the body begins.
        groups: Those of the store's groups into which it goes, in the order of Newsgroups.
        overview: The fields of its overview behind the number, tabs between them, each already
            without tabs and line ends (RFC 3977 §8.3): Subject, From, Date, Message-ID,
            References, octets, lines, then ``Xref: …`` which the store adds.
        received: When it came.
        expires: When its own Expires says, or ``None``.
        feeds: Names of the peers to which it is to be offered: queued in the same step.
    """

    __slots__ = (
        "body_at",
        "expires",
        "feeds",
        "groups",
        "message_id",
        "octets",
        "overview",
        "received",
    )

    def __init__(
        self,
        message_id: bytes,
        octets: bytes,
        body_at: int,
        *,
        groups: Sequence[str],
        overview: bytes,
        received: float,
        expires: float | None = None,
        feeds: Sequence[str] = (),
    ) -> None:
        self.message_id = message_id
        self.octets = octets
        self.body_at = body_at
        self.groups = groups
        self.overview = overview
        self.received = received
        self.expires = expires
        self.feeds = feeds


class Aged:
    """An article of a certain age, for expiry to judge.

    Attributes:
        message_id: With its angle brackets.
        received: When it came.
        expires: When its own Expires says, or ``None``.
        places: (group, number) of where it is.
    """

    __slots__ = ("expires", "message_id", "places", "received")

    def __init__(
        self,
        message_id: bytes,
        received: float,
        expires: float | None,
        places: Sequence[tuple[str, int]],
    ) -> None:
        self.message_id = message_id
        self.received = received
        self.expires = expires
        self.places = places


class IArticleReader(Interface):
    """What a store answers at once, in the caller's thread.

    Each call takes microseconds, and a piece of an overview at most about two milliseconds: a
    server that has one of these answers commands in plain methods, without a Task.

    Raises, all of them:
        StoreError: The store cannot be read.
    """

    def group(self, name: str) -> Group | None:
        """Tell of a group, or that there is none."""
        ...

    def history(self, message_id: bytes) -> History:
        """Tell whether an article is there, was, or neither."""
        ...

    def article(self, message_id: bytes) -> Article | None:
        """Give an article by its Message-ID."""
        ...

    def article_at(self, group: str, number: int) -> Article | None:
        """Give an article by its number."""
        ...

    def locate(self, group: str, number: int) -> bytes | None:
        """Give the Message-ID of a number."""
        ...

    def neighbour(self, group: str, number: int, step: int) -> tuple[int, bytes] | None:
        """Give the next (`step` 1) or the one before (-1): number and Message-ID."""
        ...

    def number_in(self, group: str, message_id: bytes) -> int | None:
        """Give the number of an article in a group."""
        ...

    def overview_of(self, message_id: bytes) -> bytes | None:
        """Give the fields of one article behind the number, without CRLF."""
        ...

    def overview(self, group: str, low: int, high: int) -> tuple[bytes, int]:
        """Give a piece of the overview: whole lines, and the number from which to go on.

        That number is above `high` when there is no more; of a range without articles the lines
        are empty.
        """
        ...

    def numbers(self, group: str, low: int, high: int) -> tuple[Sequence[int], int]:
        """Give a piece of the numbers there are, ascending, and from which to go on."""
        ...


class IArticleStore(Interface):
    """Newsgroups, their articles, and what was seen before.

    A range is two numbers, both included. What costs is what is given, never the size of the
    group or of the store.
    """

    @property
    def now(self) -> IArticleReader | None:
        """Answers at once; ``None`` where reading may wait, then the methods below are for all."""
        ...

    # ── groups ───────────────────────────────────────────────────────────────

    def group(self, name: str) -> Awaitable[Group | None]:
        """Tell of a group, or that there is none."""
        ...

    def groups(self) -> Awaitable[Sequence[Group]]:
        """Give all groups, by name."""
        ...

    def create_group(
        self, name: str, *, status: str = "y", description: str = "", creator: str = ""
    ) -> Awaitable[None]:
        """Make a group, or change what is told of it; its articles stay."""
        ...

    def remove_group(self, name: str) -> Awaitable[bool]:
        """Remove a group and its numbers; False when there is none."""
        ...

    # ── reading ──────────────────────────────────────────────────────────────

    def numbers(self, group: str, low: int, high: int) -> AsyncIterator[Sequence[int]]:
        """Give the numbers there are in a range, ascending, many in each piece."""
        ...

    def locate(self, group: str, number: int) -> Awaitable[bytes | None]:
        """Give the Message-ID of a number."""
        ...

    def neighbour(self, group: str, number: int, step: int) -> Awaitable[tuple[int, bytes] | None]:
        """Give the next (`step` 1) or the one before (-1): number and Message-ID."""
        ...

    def number_in(self, group: str, message_id: bytes) -> Awaitable[int | None]:
        """Give the number of an article in a group."""
        ...

    def article(self, message_id: bytes) -> Awaitable[Article | None]:
        """Give an article by its Message-ID."""
        ...

    def article_at(self, group: str, number: int) -> Awaitable[Article | None]:
        """Give an article by its number."""
        ...

    def overview(self, group: str, low: int, high: int) -> AsyncIterator[bytes]:
        """Give whole lines of the overview (number first, CRLF last), many in each piece."""
        ...

    def overview_of(self, message_id: bytes) -> Awaitable[bytes | None]:
        """Give the fields of one article behind the number, without CRLF."""
        ...

    def headers(
        self, group: str, low: int, high: int, name: str
    ) -> AsyncIterator[Sequence[tuple[int, bytes]]]:
        """Give (number, unfolded content) of a header field or ``:bytes``, ``:lines``, in batches.

        An article without the field has empty content (RFC 3977 §8.5.2).
        """
        ...

    def new_news(
        self, since: float, wanted: Callable[[str], bool]
    ) -> AsyncIterator[Sequence[bytes]]:
        """Give the Message-IDs of what came since, in groups for which `wanted` says so."""
        ...

    # ── what was seen, and what comes ────────────────────────────────────────

    def history(self, message_id: bytes) -> Awaitable[History]:
        """Tell whether an article is there, was, or neither."""
        ...

    def add(self, filed: Filed) -> Awaitable[Sequence[tuple[str, int]]]:
        """Keep an article; done when no power cut can lose it. Gives its numbers by group.

        Raises:
            DuplicateError: It is there, or was.
            StoreError: It cannot be kept; nothing of it is.
        """
        ...

    def file_in(
        self, message_id: bytes, groups: Sequence[str]
    ) -> Awaitable[Sequence[tuple[str, int]]]:
        """File an article that is there in more groups; done when no power cut can lose it.

        Its Xref names all of them then, in the article and in every overview. Gives its numbers
        by group, of those groups that are there and in which it was not; none when there is no
        such article.

        Raises:
            StoreError: It cannot be kept; nothing has changed.
        """
        ...

    def remember(self, message_id: bytes, when: float) -> Awaitable[None]:
        """Note an article that was refused or cancelled before it came."""
        ...

    def remove(self, message_id: bytes) -> Awaitable[bool]:
        """Remove an article and remember it; False when there is none."""
        ...

    # ── what is to go (``expiry.py`` says which) ─────────────────────────────

    def aged(self, before: float, expired: float) -> AsyncIterator[Sequence[Aged]]:
        """Give what came before a moment, the longest ago first, in batches.

        Then what came later, and whose own Expires says a moment before `expired`.
        """
        ...

    def drop(self, places: Sequence[tuple[str, int]], when: float) -> Awaitable[int]:
        """Take articles out of groups, by number; gives how many are in no group any more.

        Those are removed, and remembered from `when` on.
        """
        ...

    def forget(self, before: float) -> Awaitable[int]:
        """Do not remember any more what went, or was refused, before; gives how many."""
        ...

    # ── what is to be offered to peers ───────────────────────────────────────

    def queued(self, feed: str, after: int, limit: int) -> Awaitable[Sequence[tuple[int, bytes]]]:
        """Give (place in the queue, Message-ID) of what waits behind a place, in order."""
        ...

    def unqueue(self, feed: str, places: Sequence[int]) -> Awaitable[None]:
        """Forget what the peer has, or does not want."""
        ...

    def queue_length(self, feed: str) -> Awaitable[int]:
        """Tell how many wait."""
        ...


class Wanted(Enum):
    """What a peer that offers an article is told (RFC 3977 §6.3.2, RFC 4644 §2.4)."""

    YES = "yes"
    NO = "no"
    LATER = "later"


class IIntake(Interface):
    """Takes articles in: those that readers post, and those that peers offer."""

    def wants(self, message_id: bytes, peer: str) -> Awaitable[Wanted]:
        """Say whether an article is to be sent."""
        ...

    def take(self, octets: bytes, peer: str, message_id: bytes | None = None) -> Awaitable[None]:
        """Take what a peer sends (IHAVE, TAKETHIS); done when no power cut can lose it.

        Args:
            octets: The article, dots not doubled.
            peer: As it is called in Path and in the configuration.
            message_id: Under which it was offered.

        Raises:
            ArticleError: It is not taken, and is not to be offered again.
            TryLaterError: It cannot be taken now.
        """
        ...

    def post(self, octets: bytes, *, poster: str, host: str, may_approve: bool) -> Awaitable[bytes]:
        """Take what a reader posts; its Message-ID once no power cut can lose it.

        Args:
            octets: The proto-article (RFC 5537 §3.4.1), dots not doubled.
            poster: The user who has logged in, or ``""``.
            host: Where he posts from.
            may_approve: Whether his Approved field counts in moderated groups.

        Raises:
            ArticleError: It is not taken; the reason is told.
            TryLaterError: It cannot be taken now.
        """
        ...
