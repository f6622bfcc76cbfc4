"""The client's side of one conversation, without I/O.

Commands (`Command`) go in through `send_command`, octets of the server through `receive_data`;
events come out of `next_event`. Responses come in the order of commands, so that many may be under
way (RFC 3977 §3.5). A response is one `Responded`, which has the whole of a block that has come
whole; of others `ResponseBegun` comes first, then `BlockReceived` piece by piece, and the last
piece in `Responded`. An article that a command brings along is sent when the server asks for it
(POST, IHAVE) or at once (TAKETHIS), its dots doubled here.

After COMPRESS all octets are deflated, both ways. After STARTTLS nothing comes out any more: the
driver releases this engine and goes on with another.

Sources: RFC 3977 §3 (responses, pipelining, 400), §5.1 (greeting), §6.3 (POST, IHAVE), RFC 4644
§2.5 (TAKETHIS), RFC 4642 §2.2 (STARTTLS), RFC 8054 §2.2 (COMPRESS).
Not here: what responses mean (``client_replies.py``), time (``client_connection.py``), the grammar.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from sennit.core.engine import (
    CLOSED,
    CONNECTION,
    NEED_DATA,
    PAUSED,
    SOLE,
    Belongs,
    Ends,
    PeerFault,
    Untimed,
)
from sennit.core.errors import ProtocolError
from sennit.news.deflate import Deflate
from sennit.news.errors import NNTPProtocolError, NNTPUsageError
from sennit.news.grammar import (
    BLOCK_END,
    BlockDecoder,
    Received,
    command_line,
    has_block,
    parse_response,
    stuff,
)
from sennit.news.limits import ClientLimits

if TYPE_CHECKING:
    from sennit.core.engine import NoEvent

__all__ = [
    "BlockReceived",
    "ClientEngine",
    "ClientEvent",
    "Command",
    "Greeted",
    "Leaving",
    "Responded",
    "ResponseBegun",
    "command",
]

_ASKED_FOR: Final = frozenset({335, 340})
"""Codes that ask for the article (RFC 3977 §6.3.1, §6.3.2)."""
_LEAVING: Final = 400
"""The server leaves, asked or not (RFC 3977 §3.2.1.2)."""


class Command:
    """A command, and what it brings along.

    Args:
        line: With its CRLF.
        word: The words by which it is known in errors, and by which the grammar tells whether a
            block follows.
        article: An article that goes with it, dots not doubled; ends in CRLF.
        at_once: The article is sent behind the command, without being asked for.
        alone: Nothing may be sent behind it until it is answered (RFC 3977 §3.5).
        max_block: Octets of the block that answers it; as the limits say when left out.
        streamed: That block is read as it comes, and may have any length.
        deflates: 206 means that all is deflated from there on.
        hands_over: 382 means that TLS begins.
    """

    __slots__ = (
        "alone",
        "article",
        "at_once",
        "deflates",
        "hands_over",
        "line",
        "max_block",
        "streamed",
        "word",
    )

    def __init__(
        self,
        line: bytes,
        word: str,
        *,
        article: bytes | None = None,
        at_once: bool = False,
        alone: bool = False,
        max_block: int | None = None,
        streamed: bool = False,
        deflates: bool = False,
        hands_over: bool = False,
    ) -> None:
        self.line = line
        self.word = word
        self.article = article
        self.at_once = at_once
        self.alone = alone
        self.max_block = max_block
        self.streamed = streamed
        self.deflates = deflates
        self.hands_over = hands_over

    def __repr__(self) -> str:
        # Never the line: it may have a password.
        return f"<{type(self).__name__} {self.word}>"


def command(
    word: str,
    *arguments: str | bytes,
    article: bytes | None = None,
    at_once: bool = False,
    alone: bool = False,
    max_block: int | None = None,
    streamed: bool = False,
) -> Command:
    """Make a command of words.

    Args:
        word: One, or two with a blank between (``LIST ACTIVE``).
        arguments: One word each.
        article: As in `Command`.
        at_once: Likewise.
        alone: Likewise.
        max_block: Likewise.
        streamed: Likewise.

    Raises:
        NNTPUsageError: An argument is not one word, or the line is too long.
    """
    line = command_line(*word.split(" "), *arguments)
    return Command(
        line,
        word,
        article=article,
        at_once=at_once,
        alone=alone,
        max_block=max_block,
        streamed=streamed,
    )


# ── events ────────────────────────────────────────────────────────────────────


class Greeted:
    """The server's first words (RFC 3977 §5.1).

    Attributes:
        code: 200, 201, 400 or 502.
        text: What stands behind it.
    """

    __slots__ = ("code", "exchange", "text")

    def __init__(self, code: int, text: bytes) -> None:
        self.code = code
        self.text = text
        self.exchange = SOLE


class Leaving:
    """The server closes the connection, without being asked (RFC 3977 §3.2.1.2).

    Attributes:
        text: Why.
    """

    __slots__ = ("exchange", "text")

    def __init__(self, text: bytes) -> None:
        self.text = text
        self.exchange = SOLE


class ResponseBegun(Belongs):
    """A response whose block has not come whole.

    Attributes:
        code: Its code.
        text: What stands behind it.
    """

    __slots__ = ("code", "exchange", "text")

    def __init__(self, code: int, text: bytes) -> None:
        self.code = code
        self.text = text
        self.exchange = SOLE


class BlockReceived(Belongs):
    """Octets of a block, dots undone, cut anywhere.

    Attributes:
        data: The octets.
    """

    __slots__ = ("data", "exchange")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.exchange = SOLE


class Responded(Ends):
    """A response has ended.

    Attributes:
        code: Its code.
        text: What stands behind it.
        data: The block, or what came last of it; ``None`` of a response without one.
    """

    __slots__ = ("code", "data", "exchange", "text")

    def __init__(self, code: int, text: bytes, data: bytes | None = None) -> None:
        self.code = code
        self.text = text
        self.data = data
        self.exchange = SOLE


ClientEvent = Greeted | Leaving | ResponseBegun | BlockReceived | Responded | PeerFault
"""Every event that the engine emits."""


class _Quit(Command):
    """The good-bye that the engine says by itself: nobody waits for its answer."""

    __slots__ = ()


class ClientEngine(Untimed):
    """One conversation as the client sees it.

    Args:
        limits: What the server is allowed.
        greeted: Whether there was a greeting already: TLS began in the middle.
    """

    __slots__ = (
        "_block",
        "_closed",
        "_deflate",
        "_ended",
        "_given",
        "_greeted",
        "_limits",
        "_open",
        "_out",
        "_over",
        "_quitting",
        "_received",
        "_size",
        "_status",
    )

    def __init__(self, limits: ClientLimits | None = None, *, greeted: bool = False) -> None:
        self._limits = ClientLimits() if limits is None else limits
        self._received = Received(max_line=self._limits.max_line - 2)
        self._open: deque[Command] = deque()
        self._greeted = greeted
        self._quitting = False
        self._ended = False
        self._closed = False
        self._over = False  # TLS begins, and this engine ends
        self._given = False  # the article that the first command in line brings along
        self._block: BlockDecoder | None = None
        self._status = (0, b"")
        self._size = 0
        self._deflate: Deflate | None = None
        self._out: list[bytes] = []

    # ── commands ──────────────────────────────────────────────────────────────

    def can_send(self, command: Command) -> bool:
        """Whether `send_command` may be called now: greeted, and nothing forbids more."""
        if not self._greeted or self._quitting or self._closed or self._over:
            return False
        waiting = self._open
        return not waiting or (not waiting[-1].alone and len(waiting) < self._limits.max_pipelined)

    def send_command(self, command: Command) -> int:
        """Queue a command.

        Raises:
            NNTPUsageError: It may not be sent now.
        """
        if not self.can_send(command):
            raise NNTPUsageError(f"{command.word} may not be sent now")
        self._queue(command)
        return SOLE

    def cancel(self, exchange: int) -> bool:
        """There is no way: the response will come, and is thrown away."""
        return False

    def close(self) -> None:
        """Say good-bye; what is under way is still answered."""
        if self._closed or self._quitting:
            return
        self._quitting = True
        if not self._greeted:
            self._end()
        elif not (self._open and self._open[-1].alone):
            self._queue(_Quit(command_line("QUIT"), "QUIT"))

    def _queue(self, command: Command) -> None:
        self._open.append(command)
        self._out.append(command.line)
        if command.at_once and command.article is not None:
            self._send_article(command.article)

    def _send_article(self, article: bytes) -> None:
        self._out += (stuff(article), BLOCK_END)

    # ── octets ────────────────────────────────────────────────────────────────

    def receive_data(self, data: bytes) -> None:
        """Take octets from the server, cut anywhere."""
        if self._closed:
            return
        if self._deflate is None:
            self._received.receive_data(data)
        else:
            self._deflate.receive(data)

    def receive_eof(self) -> None:
        """The server sends no more."""
        self._ended = True

    def data_to_send(self) -> list[bytes]:
        """What to send now, in order; each piece is given once."""
        out, self._out = self._out, []
        if self._deflate is not None and out:
            return [self._deflate.compress(out)]
        return out

    def release(self) -> bytes:
        """End, and return the octets that were received and not read."""
        rest = self._received.release()
        self._end()
        return rest

    # ── events ────────────────────────────────────────────────────────────────

    def next_event(self) -> ClientEvent | NoEvent:
        """Return what came next, or why there is nothing.

        `PAUSED` once the server has agreed to TLS. Never raises on what the server sent: a rule
        that it broke ends the conversation.
        """
        if self._closed:
            return CLOSED
        if self._over:
            return PAUSED
        try:
            while (event := self._read()) is None:
                if self._deflate is None or not self._deflate.waiting:
                    if not self._ended:
                        return NEED_DATA
                    self._end()
                    return CLOSED
                self._received.receive_data(self._deflate.decompress())
        except ProtocolError as error:
            self._end()
            if not isinstance(error, NNTPProtocolError):
                error = NNTPProtocolError(str(error), error.rule)
            return PeerFault(error, CONNECTION)
        return event

    def _read(self) -> ClientEvent | NoEvent | None:
        """The next event; None when it takes more octets."""
        while self._block is None:
            line = self._received.next_line()
            if line is None:
                return None
            event = self._response(*parse_response(line))
            if event is not None:
                return event
        return self._read_block(self._block)

    def _response(self, code: int, text: bytes) -> ClientEvent | NoEvent | None:
        """The first line of a response; None when there is nothing to tell of it (yet)."""
        if not self._greeted:
            return self._greeting(code, text)
        if not self._open:
            if code != _LEAVING:
                raise NNTPProtocolError(f"a response to nothing: {code} {text[:64]!r}", "order")
            self._end()
            return Leaving(text)
        asked = self._open[0]
        if code in _ASKED_FOR and asked.article is not None and not (self._given or asked.at_once):
            # Asked for once: a second time it is the answer, if a strange one.
            self._send_article(asked.article)
            self._given = True
            return None
        if has_block(code, asked.word):
            self._size = 0
            whole = self._received.whole_block()
            if whole is not None:
                self._count(asked, whole)
                return self._answered(code, text, whole)
            self._block = BlockDecoder()
            self._status = (code, text)
            return ResponseBegun(code, text)
        return self._answered(code, text, None)

    def _greeting(self, code: int, text: bytes) -> ClientEvent:
        if code not in (200, 201, 400, 502):
            raise NNTPProtocolError(f"not a greeting: {code} {text[:64]!r}", "RFC 3977 §5.1.1")
        self._greeted = True
        return Greeted(code, text)

    def _read_block(self, block: BlockDecoder) -> ClientEvent | NoEvent | None:
        data = self._received.take()
        if not data:
            return None
        piece = block.receive(data)
        asked = self._open[0]
        self._count(asked, piece)
        if block.ended:
            self._block = None
            self._received.unread(data[block.behind :])
            return self._answered(*self._status, piece)
        return BlockReceived(piece) if piece else None

    def _count(self, asked: Command, piece: bytes) -> None:
        self._size += len(piece)
        if asked.streamed:
            return
        most = self._limits.max_block if asked.max_block is None else asked.max_block
        if self._size > most:
            raise NNTPProtocolError(f"more than {most} octets answer {asked.word}", "limit:block")

    def _answered(self, code: int, text: bytes, data: bytes | None) -> ClientEvent | NoEvent:
        asked = self._open.popleft()
        self._given = False
        if type(asked) is _Quit:
            # Nobody asked for that.
            self._end()
            return CLOSED
        if self._quitting and not self._open:
            self._queue(_Quit(command_line("QUIT"), "QUIT"))
        if code == 382 and asked.hands_over:
            self._over = True
        elif code == 206 and asked.deflates:
            self._deflate = Deflate(self._limits.max_ratio)
            self._deflate.receive(self._received.take())
        return Responded(code, text, data)

    def _end(self) -> None:
        self._closed = True
        self._received.release()
        self._open.clear()
        self._block = None
