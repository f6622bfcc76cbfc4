"""The client's side of a control connection, without I/O.

Commands go in through `ClientEngine.send_command`, their octets come out of `data_to_send`; what
the server says goes in through `receive_data` and comes out of `next_event`: `Preliminary` for
each reply of 1yz, `Completed` for the one that ends its command. One command is open at a time,
since few servers promise to take several at once, save ABOR, which may follow a transfer (RFC 959
§4.1.3), and NOOP, whose 200 no transfer is answered by: it ends one of which nothing more is said.
The greeting is the reply to `GREETING`, a command that is never said.

A reply that nobody waits for is 421 (the server leaves, `Unasked` and then `CLOSED`), or else the
end of the connection: which reply is whose could not be told any more.

Sources: RFC 959 §4.1, §4.2, §5.4; RFC 2640 §3.1 (names are UTF-8); RFC 854 (IAC is doubled).
Not here: replies as octets (``replies.py``); time-outs, data connections (``client.py``).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sennit.core.engine import (
    CLOSED,
    CONNECTION,
    NEED_DATA,
    SOLE,
    Belongs,
    Ends,
    PeerFault,
    Untimed,
)
from sennit.ftp.errors import FTPProtocolError, FTPUsageError
from sennit.ftp.limits import ClientLimits
from sennit.ftp.replies import Reply, ReplyReader

if TYPE_CHECKING:
    from sennit.core.engine import NoEvent

__all__ = [
    "GREETING",
    "ClientEngine",
    "ClientEvent",
    "Command",
    "Completed",
    "Preliminary",
    "Unasked",
]

MAX_PRELIMINARY: Final = 100
"""Replies of 1yz to one command."""
_SECRET: Final = frozenset({"PASS", "ACCT"})


class Command:
    """Something to ask.

    Args:
        word: ``RETR``, say.
        argument: What stands behind it; ``None`` for nothing.

    Raises:
        FTPUsageError: It would be more than one line (CR, LF or NUL in it).
    """

    __slots__ = ("argument", "word")

    def __init__(self, word: str, argument: str | None = None) -> None:
        for text in (word, argument or ""):
            if any(each in text for each in "\r\n\0"):
                shown = "its argument" if word in _SECRET else repr(text[:64])
                raise FTPUsageError(f"{word[:16]!r} is one line, so there is none in {shown}")
        if word and not (word.isascii() and word.replace(" ", "").isalnum()):
            raise FTPUsageError(f"a command is a word, not {word[:64]!r}")
        self.word = word
        self.argument = argument

    def __repr__(self) -> str:
        argument = "…" if self.argument and self.word in _SECRET else self.argument
        return f"<Command {self.word}{'' if argument is None else ' ' + argument!r}>"

    def octets(self) -> bytes:
        """Its line."""
        text = self.word if self.argument is None else f"{self.word} {self.argument}"
        try:
            line = text.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError as error:
            raise FTPUsageError("lone surrogates stand for no octets") from error
        return line.replace(b"\xff", b"\xff\xff") + b"\r\n"


_MOVING: Final = frozenset({"RETR", "LIST", "NLST", "MLSD", "STOR", "APPE", "STOU"})

GREETING: Final = Command("")
"""What the greeting is the reply to; nothing is sent for it."""


@dataclass(slots=True)
class Preliminary(Belongs):
    """A reply of 1yz: the command has begun, another reply follows.

    Attributes:
        reply: The reply.
        exchange: There is one at a time.
    """

    reply: Reply
    exchange: int = SOLE


@dataclass(slots=True)
class Completed(Ends):
    """The reply that ends the oldest open command, whatever it says.

    Attributes:
        reply: The reply.
        exchange: There is one at a time.
    """

    reply: Reply
    exchange: int = SOLE


@dataclass(slots=True)
class Unasked:
    """421 out of the blue: the server leaves.

    Attributes:
        reply: The reply.
        exchange: It concerns the connection.
    """

    reply: Reply
    exchange: int = CONNECTION


ClientEvent = Preliminary | Completed | Unasked | PeerFault
"""Every event a client engine emits."""


class ClientEngine(Untimed):
    """One control connection as the client sees it.

    Args:
        limits: What the server is allowed.
    """

    __slots__ = (
        "_closed",
        "_closing",
        "_concluded",
        "_ended",
        "_open",
        "_out",
        "_preliminary",
        "_reader",
    )

    def __init__(self, limits: ClientLimits | None = None) -> None:
        self._reader = ReplyReader(limits)
        self._open: deque[str] = deque()  # words of the commands that are not answered
        self._out: list[bytes] = []
        self._preliminary = 0
        self._concluded: Completed | None = None
        self._closing = False
        self._ended = False
        self._closed = False

    # ── asking ────────────────────────────────────────────────────────────────

    def can_send(self, command: Command) -> bool:
        """Whether the command may leave now: ABOR may behind another, NOOP behind a transfer."""
        if self._closed or not self._open:
            return True
        if len(self._open) > 1:
            return False
        before, word = self._open[0], command.word
        return before in _MOVING if word == "NOOP" else before != "" and word == "ABOR"

    def send_command(self, command: Command) -> int:
        """Queue a command; its exchange.

        Raises:
            FTPUsageError: The conversation is at its end, or the command cannot be written.
        """
        if self._closed or self._closing:
            raise FTPUsageError("the conversation is at its end")
        line = command.octets()
        if command.word:
            self._out.append(line)
        self._open.append(command.word)
        return SOLE

    def cancel(self, exchange: int) -> bool:
        """There is no way: the reply comes, and is thrown away."""
        return False

    def conclude(self, reply: Reply) -> None:
        """Take the open command for answered by this reply: nothing more will be said of it.

        Should the server say more all the same, nobody waits for it, and the connection ends.
        """
        if self._open and not self._closed:
            self._open.popleft()
            self._preliminary = 0
            self._concluded = Completed(reply)

    def close(self) -> None:
        """Say QUIT; what is open is still answered."""
        if self._closing or self._closed:
            return
        self._closing = True
        self._out.append(b"QUIT\r\n")
        self._open.append("QUIT")

    # ── what comes and goes ───────────────────────────────────────────────────

    def receive_data(self, data: bytes) -> None:
        """Take octets from the server, cut anywhere."""
        if not self._closed:
            self._reader.receive(data)

    def receive_eof(self) -> None:
        """The server sends no more."""
        self._ended = True

    def data_to_send(self) -> list[bytes]:
        """What to send now, in order; each piece is given once."""
        out, self._out = self._out, []
        return out

    def release(self) -> bytes:
        """End, and return the octets that were received and not read."""
        self._closed = True
        return self._reader.release()

    def next_event(self) -> ClientEvent | NoEvent:
        """The next thing the server said, or why there is nothing."""
        if self._concluded is not None:
            concluded, self._concluded = self._concluded, None
            return concluded
        if self._closed:
            return CLOSED
        try:
            reply = self._reader.next_reply()
            if reply is None:
                if not self._ended:
                    return NEED_DATA
                if self._reader.inside:
                    raise FTPProtocolError("the connection ended within a reply", "RFC 959 §4.2")
                self._end()
                return CLOSED
            return self._interpret(reply)
        except FTPProtocolError as error:
            self._end()
            return PeerFault(error, CONNECTION)

    def _interpret(self, reply: Reply) -> ClientEvent | NoEvent:
        if not self._open:
            if reply.code != 421:
                raise FTPProtocolError(
                    f"a reply nobody waits for: {reply.code} {reply.text[:64]!r}", "RFC 959 §5.4"
                )
            self._end()
            return Unasked(reply)
        if reply.code < 200:
            self._preliminary += 1
            if self._preliminary > MAX_PRELIMINARY:
                raise FTPProtocolError(
                    f"more than {MAX_PRELIMINARY} preliminary replies to one command",
                    "limit:preliminary",
                )
            return Preliminary(reply)
        self._preliminary = 0
        word = self._open.popleft()
        if reply.code == 200 and word in _MOVING and self._open and self._open[0] == "NOOP":
            # Nothing that moves data is answered by 200 (RFC 959 §5.4): it is NOOP's answer, and
            # the server has nothing to say of the other.
            self._open.popleft()
            self._concluded = Completed(reply)
        if reply.code == 421:
            self._end()
        elif word == "QUIT" and self._closing and not self._open:
            self._end()
            return CLOSED  # the good-bye's own answer: nobody asked for it
        return Completed(reply)

    def _end(self) -> None:
        self._closed = True
        self._open.clear()
        self._reader.release()
