"""The server's side of one conversation, without I/O.

Octets go in through `ServerEngine.receive_data`, events come out of `next_event`, octets to send
out of `data_to_send`. A command is answered before the next one is read, save those that are
streamed (CHECK, TAKETHIS): many of them may wait, each in an exchange of its own, and their
answers leave in the order of the commands, whoever comes first (RFC 3977 §3.5). A command that is
not streamed waits until all those are answered.

Sources: RFC 3977 §3 (lines, blocks, order), §6.3 (POST, IHAVE), RFC 4642 §2.2, RFC 4643 §2.4,
RFC 4644 §2, RFC 8054 §2.2.
Not here: what commands ask (``asking.py``), articles on their way (``coming.py``), the grammar,
stores, time, who may do what (``server.py``).
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final

from sennit.core.engine import CLOSED, NEED_DATA, PAUSED, SOLE, PeerFault, Untimed
from sennit.core.errors import ProtocolError
from sennit.news.asking import Told, ask, decode_sasl, may_be_long
from sennit.news.coming import Coming
from sennit.news.deflate import Deflate
from sennit.news.errors import NNTPProtocolError, NNTPUsageError
from sennit.news.events import (
    FAILURES,
    Answered,
    ArticleChecked,
    ArticleOffered,
    ArticlePosted,
    ArticleSent,
    ArticleTaken,
    Asked,
    SASLBegun,
    SASLResponse,
)
from sennit.news.grammar import (
    BLOCK_END,
    Received,
    parse_command,
    response_line,
    stuff,
)
from sennit.news.limits import Limits
from sennit.news.session import Offers, Session

if TYPE_CHECKING:
    from sennit.core.engine import NoEvent
    from sennit.news.events import Question, ServerEvent

__all__ = ["ServerEngine"]

_STREAMED: Final = (b"CHECK", b"TAKETHIS")
_MANY: Final = 24
"""Pieces to be sent, of answers that ask nobody, after which the driver is to send them: HELP is a
thousand octets for six."""

_COPIED: Final = 65_536
"""Octets of a block below which it leaves as one piece with what stands around it."""


class _Phase(Enum):
    """What the next octets are."""

    OPENING = "opening"
    """Not read: who carries the connection has not said yet what the client may do."""
    COMMAND = "command"
    ANSWER = "answer"
    """Nothing: an event waits for its answer."""
    ARTICLE = "article"
    RESPONSE = "response"
    """A response within AUTHINFO SASL."""
    HANDOVER = "handover"
    """The beginning of TLS: not for this engine."""
    CLOSED = "closed"


# On Python 3.11 a member costs ten times as much by its class as by a name of its own.
_COMMAND: Final = _Phase.COMMAND
_ANSWER: Final = _Phase.ANSWER
_ARTICLE: Final = _Phase.ARTICLE
_RESPONSE: Final = _Phase.RESPONSE
_CLOSED: Final = _Phase.CLOSED


class ServerEngine(Untimed):
    """One conversation as the server sees it.

    Args:
        offers: What the server offers on this connection.
        limits: What the client is allowed.

    Attributes:
        session: What was agreed on with the client, and where it is.
    """

    __slots__ = (
        "_block_begun",
        "_clear",
        "_coming",
        "_deflate",
        "_ended",
        "_kept",
        "_leaving",
        "_limits",
        "_next_exchange",
        "_open",
        "_out",
        "_phase",
        "_received",
        "_streamed",
        "_streamed_octets",
        "_waiting",
        "session",
    )

    def __init__(self, offers: Offers | None = None, limits: Limits | None = None) -> None:
        self.session = Session(offers or Offers())
        self._limits = Limits() if limits is None else limits
        # NUL, bare CR and bare LF are found by who reads the command: that is answered.
        self._received = Received(max_line=self._limits.max_response - 2, forbidden=b"")
        self._phase = _Phase.OPENING
        self._open: Question | None = None
        self._block_begun = False
        self._coming: Coming | None = None
        self._kept: bytes | None = None  # a command that waits for the streamed ones
        # By exchange, in order: what waits for its answer (octets of its article), and answers
        # that wait for those before them.
        self._streamed: dict[int, bytes | None] = {}
        self._waiting: dict[int, ArticleChecked | ArticleTaken] = {}
        self._streamed_octets = 0
        self._next_exchange = SOLE + 1
        self._deflate: Deflate | None = None
        self._clear: list[bytes] = []  # what is to be sent before compression began
        self._out: list[bytes] = []
        self._ended = False
        self._leaving: bytes | None = None

    # ── octets ────────────────────────────────────────────────────────────────

    def receive_data(self, data: bytes) -> None:
        """Take octets from the peer, cut anywhere."""
        if self._phase is _CLOSED:
            return
        if self._deflate is None:
            self._received.receive_data(data)
        else:
            self._deflate.receive(data)

    def receive_eof(self) -> None:
        """The peer sends no more."""
        self._ended = True

    def data_to_send(self) -> list[bytes]:
        """What to send now, in order; each piece is given once."""
        if not self._out:
            return []
        out, self._out = self._out, []
        if self._deflate is None:
            return out
        clear, self._clear = self._clear, []
        return [*clear, self._deflate.compress(out[len(clear) :])] if clear != out else clear

    def release(self) -> bytes:
        """End, and return the octets that were received and not read."""
        rest = self._received.release()
        self._end()
        return rest

    def _more(self) -> bool:
        """Inflate some of what came; whether there was any."""
        if self._deflate is None or not self._deflate.waiting:
            return False
        self._received.receive_data(self._deflate.decompress())
        return True

    # ── what came ─────────────────────────────────────────────────────────────

    def next_event(self) -> ServerEvent | NoEvent:
        """Return the next thing the client asked, or why there is nothing.

        A broken command is a `PeerFault`, its answer already queued.
        """
        try:
            while True:
                phase = self._phase
                if phase is _COMMAND:
                    event = self._next_command()
                elif phase is _ARTICLE:
                    event = self._next_article()
                elif phase is _RESPONSE:
                    event = self._next_response()
                else:
                    return CLOSED if phase is _CLOSED else PAUSED
                if event is None:
                    if len(self._out) >= _MANY:
                        return Answered()
                    continue
                if event is not NEED_DATA or not (self._ended or self._deflate is not None):
                    return event
                if not self._more():
                    return self._nothing()
        except ProtocolError as error:
            # Beyond what can be answered: a line without end, octets that are not deflated.
            self._out.append(response_line(400, "I cannot read that"))
            self._end()
            return PeerFault(error)

    def _nothing(self) -> SASLResponse | NoEvent:
        if not self._ended:
            return NEED_DATA
        coming = self._coming
        if coming is not None:
            # The rest of it will never come.
            self._streamed.pop(coming.exchange, None)
            self._coming = None
            self._phase = _COMMAND
        elif self._phase is _RESPONSE:
            self._phase = _ANSWER
            return SASLResponse(None)
        if self._streamed:
            return PAUSED
        self._end()
        return CLOSED

    def _next_command(self) -> ServerEvent | NoEvent | None:
        if self._leaving is not None:
            if self._streamed:
                return PAUSED
            self._out.append(self._leaving)
            self._end()
            return CLOSED
        if self._streamed and (
            self._kept is not None
            or len(self._streamed) >= self._limits.max_streamed
            or self._streamed_octets >= self._limits.max_streamed_octets
        ):
            return PAUSED
        line = self._kept
        if line is None:
            line = self._received.next_line()
            if line is None:
                return NEED_DATA
        else:
            self._kept = None
        try:
            if len(line) > self._limits.max_line - 2 and not may_be_long(line):
                raise NNTPProtocolError(f"a command of {len(line) + 2} octets", "RFC 3977 §3.1")
            word, words = parse_command(line)
            if self._streamed and word not in _STREAMED:
                self._kept = line
                return PAUSED
            asked = ask(self.session, word, words, line)
        except NNTPProtocolError as error:
            return self._broken(line, error)
        if type(asked) is ArticleChecked:
            return self._stream(word, asked.message_id)
        if isinstance(asked, Told):
            if word == b"TAKETHIS":
                # Its article comes whatever we say (RFC 4644 §2.5.2).
                self._take_this(b"", response_line(asked.code, asked.text))
                return None
            return self._tell(asked)
        self._phase = _ANSWER
        self._open = asked
        return asked

    def _broken(self, line: bytes, error: NNTPProtocolError) -> ServerEvent | NoEvent | None:
        """A command that is none, or whose arguments are none."""
        # Whatever stands around it: an article, or a secret, is behind it all the same.
        word = (line.upper().replace(b"\0", b" ").split(None, 1) or [b""])[0]
        if word == b"AUTHINFO":
            # What is a secret has no place in logs.
            error = NNTPProtocolError("a login that is none", error.rule)
        if word == b"TAKETHIS":
            self._take_this(b"", response_line(501, "Not a Message-ID"))
        elif self._streamed and word not in _STREAMED:
            self._kept = line
            return PAUSED
        else:
            known = error.rule != "RFC 3977 §9.2"
            self._in_order(
                response_line(501, "Not understood")
                if known
                else response_line(500, "Not a command")
            )
        return PeerFault(error)

    def _stream(self, word: bytes, message_id: bytes) -> ServerEvent | None:
        if word == b"TAKETHIS":
            self._take_this(message_id, None)
            return None
        exchange = self._new_exchange()
        event = ArticleChecked(message_id, exchange)
        self._waiting[exchange] = event
        return event

    def _new_exchange(self) -> int:
        exchange = self._next_exchange
        self._next_exchange = exchange + 1
        self._streamed[exchange] = None
        return exchange

    def _take_this(self, message_id: bytes, refusal: bytes | None) -> None:
        self._coming = Coming(ArticleTaken, message_id, self._new_exchange())
        self._coming.refusal = refusal
        self._phase = _ARTICLE

    def _tell(self, told: Told) -> NoEvent | None:
        """Say what can be said at once."""
        self._out.append(response_line(told.code, told.text))
        if told.block is not None:
            self._out += (stuff(told.block), BLOCK_END)
        if told.act == "post":
            self._coming = Coming(ArticlePosted, b"", SOLE)
            self._phase = _ARTICLE
        elif told.act == "deflate":
            self.session.compressed = True
            self._deflate = Deflate(self._limits.max_ratio)
            self._clear = list(self._out)
            self._deflate.receive(self._received.take())
        elif told.act == "quit":
            self._end()
            return CLOSED
        return None

    def _next_article(self) -> ServerEvent | NoEvent | None:
        coming = self._coming
        assert coming is not None  # the phase says so
        wanted = coming.refusal is None
        coming.read(self._received, self._limits)
        if wanted and coming.refusal is not None:
            if coming.ended:
                self._article_is_over(coming)
            return PeerFault(
                NNTPProtocolError(
                    f"an article of more than {self._limits.max_article} octets",
                    "limit:max_article",
                ),
                # No handler is at work on it: there never was an event.
                self._next_exchange,
            )
        if not coming.ended:
            return NEED_DATA
        if not wanted:
            self._article_is_over(coming)
            return None
        event = coming.event()
        self._coming = None
        if type(event) is ArticleTaken:
            self._waiting[coming.exchange] = event
            self._streamed_octets += len(event.octets)
            self._phase = _COMMAND
        else:
            self._open = event
            self._phase = _ANSWER
        return event

    def _article_is_over(self, coming: Coming) -> None:
        """Answer an article that was thrown away."""
        self._coming = None
        self._phase = _COMMAND
        assert coming.refusal is not None  # for that it was thrown away
        if coming.exchange == SOLE:
            self._out.append(coming.refusal)
        else:
            self._streamed[coming.exchange] = coming.refusal
            self._pass_on()

    def _next_response(self) -> ServerEvent | NoEvent | None:
        line = self._received.next_line()
        if line is None:
            return NEED_DATA
        self._phase = _ANSWER
        if line == b"*":
            return SASLResponse(None)
        try:
            return SASLResponse(decode_sasl(line))
        except NNTPProtocolError as error:
            self._out.append(response_line(504, "That is no base64"))
            self._done()
            return PeerFault(error)

    # ── answers ───────────────────────────────────────────────────────────────

    def greet(self, text: str = "") -> None:
        """Say the first word, once it is known what the client may do (RFC 3977 §5.1)."""
        session = self.session
        if session.posts and (session.reading or session.may_switch):
            self._out.append(response_line(200, text or "Ready, posting allowed"))
        else:
            self._out.append(response_line(201, text or "Ready, posting prohibited"))

    def permit(self, *, reads: bool, posts: bool, feeds: bool, known: bool = False) -> None:
        """Say what the client may do from now on; before that nothing is read."""
        session = self.session
        if self._phase is _Phase.OPENING:
            self._phase = _COMMAND
        session.reads, session.posts, session.feeds = reads, posts, feeds
        session.known = known

    def answer(self, event: Asked, code: int, text: str | bytes = b"") -> None:
        """Answer by one line.

        335 and 382 have more come; 281 and 283 are a login.

        Raises:
            NNTPUsageError: The event does not wait for an answer (any more), or such a code is
                none.
        """
        line = response_line(code, text)
        if not self._waits(event, code):
            return
        if event.exchange != SOLE:
            self._answer_streamed(event, line)
            return
        self._out.append(line)
        self._done()
        if code == 335:
            assert isinstance(event, ArticleOffered)  # 335 is among the codes of no other
            self._coming = Coming(ArticleSent, event.message_id, SOLE)
            self._phase = _ARTICLE
        elif code == 382:
            self._phase = _Phase.HANDOVER
        elif code in (281, 283):
            self.session.logged_in = True

    def answer_block(self, event: Asked, code: int, text: str | bytes, lines: bytes) -> None:
        """Answer by a line and a block behind it.

        Args:
            event: What is answered.
            code: With which code.
            text: What stands behind it.
            lines: Whole lines, dots not doubled.

        Raises:
            NNTPUsageError: As `answer`.
        """
        if not self._waits(event, code):
            return
        pieces = (response_line(code, text), stuff(lines), BLOCK_END)
        if len(lines) < _COPIED:
            # One piece passes the transport at once: several cost 4 µs more than to copy these.
            self._out.append(b"".join(pieces))
        else:
            self._out += pieces
        self._done()

    def begin_block(self, event: Asked, code: int, text: str | bytes) -> None:
        """Begin an answer whose block comes in pieces.

        Raises:
            NNTPUsageError: As `answer`.
        """
        if not self._waits(event, code):
            return
        self._out.append(response_line(code, text))
        self._block_begun = True

    def send_lines(self, event: Asked, lines: bytes) -> None:
        """Queue whole lines of a block, of which none begins with a dot.

        Raises:
            NNTPUsageError: The block has not begun, or ended.
        """
        if self._in_block(event):
            self._out.append(lines)

    def end_block(self, event: Asked) -> None:
        """End a block.

        Raises:
            NNTPUsageError: It has not begun, or ended.
        """
        if self._in_block(event):
            self._out.append(BLOCK_END)
            self._done()

    def challenge(self, event: SASLBegun, line: bytes) -> None:
        """Ask for a response within AUTHINFO SASL.

        Args:
            event: The login.
            line: The challenge, in base64; ``=`` when it is empty.

        Raises:
            NNTPUsageError: No such login is under way.
        """
        if self._phase is _CLOSED:
            return
        if self._open is not event or self._phase is not _ANSWER:
            raise NNTPUsageError("no login by SASL is under way")
        # Longer than other responses where it must be.
        self._out.append(b"383 %b\r\n" % line)
        self._phase = _RESPONSE

    def internal_error(self, exchange: int = SOLE) -> None:
        """Queue what says that this side failed, if an answer is due."""
        if exchange != SOLE:
            event = self._waiting.get(exchange)
            if type(event) is ArticleChecked:
                self.answer(event, 431, event.message_id)
            elif event is not None:
                # There is no code for "later": the peer shall come again (RFC 4644 §2.5.2).
                self.leave("Something failed here")
        elif self._open is not None:
            if self._block_begun:
                # An end would say that this was all.
                self._end()
            elif isinstance(self._open, ArticleOffered | ArticleSent):
                self.answer(self._open, 436, "Something failed here")
            elif isinstance(self._open, ArticlePosted):
                self.answer(self._open, 441, "Something failed here")
            else:
                self.answer(self._open, 403, "Something failed here")

    def close(self) -> None:
        """Begin nothing new; `CLOSED` once what is open has been answered."""
        if self._leaving is None:
            self._leaving = response_line(400, "Closing down")

    def leave(self, text: str, code: int = 400) -> None:
        """Say that the connection ends, and end it at once; `CLOSED` from now on."""
        if self._phase is not _CLOSED:
            if not self._block_begun:
                self._out.append(response_line(code, text))
            self._end()

    @property
    def in_transfer(self) -> bool:
        """Whether an article comes, or a response that the client owes."""
        return self._phase is _ARTICLE or self._phase is _RESPONSE

    # ── within ────────────────────────────────────────────────────────────────

    def _waits(self, event: Asked, code: int) -> bool:
        """Whether an answer can be given; after the end nobody wants it any more."""
        if self._phase is _CLOSED:
            return False
        waits = self._open is event or self._waiting.get(event.exchange) is event
        if not waits or self._block_begun or self._phase is _RESPONSE:
            raise NNTPUsageError(f"{event!r} does not wait for an answer")
        if code not in event.codes and code not in FAILURES:
            raise NNTPUsageError(f"{code} does not answer {event!r}")
        return True

    def _in_block(self, event: Asked) -> bool:
        if self._phase is _CLOSED:
            return False
        if self._open is not event or not self._block_begun:
            raise NNTPUsageError("no block has begun")
        return True

    def _done(self) -> None:
        self._open = None
        self._block_begun = False
        if self._phase is not _CLOSED:
            self._phase = _COMMAND

    def _in_order(self, line: bytes) -> None:
        """Queue an answer behind those that are still due."""
        if self._streamed:
            self._streamed[self._new_exchange()] = line
        else:
            self._out.append(line)

    def _answer_streamed(self, event: Asked, line: bytes) -> None:
        del self._waiting[event.exchange]
        if isinstance(event, ArticleTaken):
            self._streamed_octets -= len(event.octets)
        self._streamed[event.exchange] = line
        self._pass_on()

    def _pass_on(self) -> None:
        """Queue the answers that wait for none before them."""
        streamed = self._streamed
        while streamed:
            exchange = next(iter(streamed))
            line = streamed[exchange]
            if line is None:
                return
            self._out.append(line)
            del streamed[exchange]

    def _end(self) -> None:
        self._phase = _CLOSED
        self._received.release()
        self._open = None
        self._coming = None
        self._kept = None
        self._streamed.clear()
        self._waiting.clear()
        self._block_begun = False
