"""What a server offers on a connection, and what was agreed on with its client: no I/O.

Sources: RFC 3977 §3.4 (modes), §5 (CAPABILITIES, MODE READER), RFC 4642 §2.2, RFC 4643 §2.2, RFC
8054 §2.2.2 (what each rules out after it). Not here: what commands ask (``asking.py``); a client's
own session (``client_session.py``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Mode", "Offers", "Session"]

Mode: TypeAlias = Literal["reader", "transit", "both", "switching"]
"""For whom a server is: readers, peers, both at once, or peers until MODE READER."""


class Offers:
    """What a server offers on a connection.

    Attributes:
        mode: For whom it is.
        tls: STARTTLS.
        login: Any login.
        passwords: AUTHINFO USER, on this connection as it is.
        mechanisms: Those of AUTHINFO SASL, likewise.
        private_mechanisms: Those that there would be if nobody could read along.
        compress: COMPRESS DEFLATE, to who is known.
        lists: What LIST has besides what every server of this kind has.
        new_news: NEWNEWS.
        software: What CAPABILITIES says of the program.
    """

    __slots__ = (
        "compress",
        "lists",
        "login",
        "mechanisms",
        "mode",
        "new_news",
        "passwords",
        "private_mechanisms",
        "software",
        "tls",
    )

    def __init__(
        self,
        *,
        mode: Mode = "both",
        tls: bool = False,
        login: bool = False,
        passwords: bool = False,
        mechanisms: Sequence[str] = (),
        private_mechanisms: Sequence[str] = (),
        compress: bool = False,
        lists: Sequence[str] = (),
        new_news: bool = True,
        software: str = "Sennit",
    ) -> None:
        self.mode: Mode = mode
        self.tls = tls
        self.login = login
        self.passwords = passwords
        self.mechanisms = tuple(mechanisms)
        self.private_mechanisms = tuple(private_mechanisms)
        self.compress = compress
        self.lists = tuple(lists)
        self.new_news = new_news
        self.software = software


class Session:
    """What was agreed on with a client, and where it is.

    Attributes:
        offers: What the server offers.
        reads: It may read.
        posts: It may post.
        feeds: It may offer articles.
        known: Who it is is known, by login or address.
        logged_in: It has logged in.
        secure: It has TLS.
        compressed: COMPRESS has begun.
        switched: MODE READER was said, where that changes something.
        group: The group selected, or ``""``.
        number: The current article's, 0 without one.
        user: What AUTHINFO USER said, until PASS.
    """

    __slots__ = (
        "compressed",
        "feeds",
        "group",
        "known",
        "logged_in",
        "number",
        "offers",
        "posts",
        "reads",
        "secure",
        "switched",
        "user",
    )

    def __init__(self, offers: Offers) -> None:
        self.offers = offers
        self.reads = self.posts = self.feeds = self.known = False
        self.logged_in = self.secure = self.compressed = self.switched = False
        self.group = ""
        self.number = 0
        self.user: bytes | None = None

    @property
    def reading(self) -> bool:
        """Whether commands of readers are for this connection now.

        Over TLS nobody switches (RFC 4642 §2.2.2): a server that does is for both there.
        """
        mode = self.offers.mode
        return mode in ("reader", "both") or self.switched or (self.secure and mode == "switching")

    @property
    def feeding(self) -> bool:
        """Whether commands of peers are."""
        return self.offers.mode != "reader" and not self.switched

    @property
    def may_switch(self) -> bool:
        """Whether MODE READER would change something (RFC 4642, 4643 §2.2, RFC 8054 §2.2.2)."""
        late = self.switched or self.secure or self.logged_in or self.compressed
        return self.offers.mode == "switching" and not late

    @property
    def login_helps(self) -> bool:
        """Whether more may be allowed after a login."""
        return self.offers.login and not self.logged_in

    @property
    def may_start_tls(self) -> bool:
        """Whether STARTTLS may be said now (RFC 4642 §2.2.1, RFC 8054 §2.2.2)."""
        return self.offers.tls and not (self.secure or self.logged_in or self.compressed)

    @property
    def lists(self) -> list[str]:
        """What LIST has."""
        names = ["ACTIVE", "ACTIVE.TIMES", "COUNTS", "NEWSGROUPS", *self.offers.lists]
        if self.reading:
            names += ["HEADERS", "OVERVIEW.FMT"]
        return sorted(names)
