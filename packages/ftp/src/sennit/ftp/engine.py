"""Both sides of one conversation, without I/O.

Octets go in through `receive_data`, events come out of `next_event`, octets to send out of
`data_to_send`. Time, the directory and policy belong to the drivers in ``server.py`` and
``client.py``. The grammar is in ``grammar.py``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sennit.core.engine import CLOSED, NEED_DATA, PAUSED, SOLE, PeerFault, Untimed
from sennit.ftp.errors import FTPProtocolError, FTPUsageError
from sennit.ftp.events import Answered, KeyAsked
from sennit.ftp.grammar import answer_line, command_line, parse_answer, parse_command
from sennit.ftp.limits import Limits

if TYPE_CHECKING:
    from sennit.core.engine import NoEvent
    from sennit.ftp.events import ClientEvent, ServerEvent

__all__ = ["ClientEngine", "ServerEngine"]


class _Lines(Untimed):
    """What both sides have: lines of bounded length, and octets that wait to be sent.

    Args:
        limits: How long a line may be.
    """

    __slots__ = ("_closed", "_ended", "_limits", "_out", "_received", "_searched")

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = Limits() if limits is None else limits
        self._received = bytearray()
        self._searched = 0  # octets of it that hold no line end: none is looked at twice
        self._ended = False
        self._closed = False
        self._out: list[bytes] = []

    def receive_data(self, data: bytes) -> None:
        """Take octets from the peer, cut anywhere."""
        if not self._closed:
            self._received += data

    def receive_eof(self) -> None:
        """The peer sends no more."""
        self._ended = True

    def data_to_send(self) -> list[bytes]:
        """What to send now, in order; each piece is given once."""
        out, self._out = self._out, []
        return out

    def release(self) -> bytes:
        """End, and return the octets that were received and not read."""
        rest = bytes(self._received)
        self._end()
        return rest

    def _next_line(self) -> bytes | None:
        """Take the next line without its end, or None while it is not whole.

        Raises:
            FTPProtocolError: It is longer than the limit, whether its end came or not.
        """
        end = self._received.find(b"\n", self._searched)
        length = len(self._received) if end < 0 else end + 1
        if length > self._limits.max_line:
            raise FTPProtocolError(
                f"a line of more than {self._limits.max_line} octets", "max_line"
            )
        if end < 0:
            self._searched = length
            return None
        line = bytes(self._received[:end]).removesuffix(b"\r")
        del self._received[: end + 1]
        self._searched = 0
        return line

    def _end(self) -> None:
        self._closed = True
        self._received.clear()
        self._searched = 0


class ServerEngine(_Lines):
    """The conversation as the server sees it.

    Args:
        limits: How long a line may be.
    """

    __slots__ = ("_asked", "_closing")

    def __init__(self, limits: Limits | None = None) -> None:
        super().__init__(limits)
        self._asked = False
        self._closing = False

    def next_event(self) -> ServerEvent | NoEvent:
        """Return the next thing the client said, or why there is nothing.

        `PAUSED` while a command awaits its answer, so that pipelined commands are answered in
        order. A broken line is a `PeerFault`, its reply already queued, and the last.
        """
        if self._closed:
            return CLOSED
        if self._asked:
            return PAUSED
        if self._closing:
            self._end()
            return CLOSED
        try:
            line = self._next_line()
            if line is None:
                if not self._ended:
                    return NEED_DATA
                self._end()
                return CLOSED
            word, key = parse_command(line)
        except FTPProtocolError as error:
            self._out.append(answer_line(b"I do not understand", granted=False))
            self._end()
            return PeerFault(error)
        if word == b"QUIT":
            self._out.append(answer_line(b"bye", granted=True))
            self._end()
            return CLOSED
        self._asked = True
        return KeyAsked(key)

    def accept_key(self, value: bytes) -> None:
        """Answer the pending `KeyAsked` with what the key stands for.

        Raises:
            FTPUsageError: Nothing awaits an answer, or the value is more than one line.
        """
        self._answer(value, granted=True)

    def reject_key(self, reason: bytes) -> None:
        """Refuse the pending `KeyAsked`.

        Raises:
            FTPUsageError: Nothing awaits an answer, or the reason is more than one line.
        """
        self._answer(reason, granted=False)

    def internal_error(self, exchange: int = SOLE) -> None:
        """Queue the reply that says that this side failed, if one is due."""
        if self._asked:
            self._answer(b"something failed here", granted=False)

    def close(self) -> None:
        """Begin nothing new; `CLOSED` once the open command has been answered."""
        self._closing = True

    def _answer(self, text: bytes, *, granted: bool) -> None:
        if not self._asked:
            raise FTPUsageError("no command awaits an answer")
        self._out.append(answer_line(text, granted=granted))
        self._asked = False


class ClientEngine(_Lines):
    """The conversation as the client sees it.

    Args:
        limits: How long a line may be.
    """

    __slots__ = ("_quitting", "_waiting")

    def __init__(self, limits: Limits | None = None) -> None:
        super().__init__(limits)
        self._waiting = 0  # commands without their answer
        self._quitting = False

    def send_get(self, key: bytes) -> None:
        """Queue a command; several may wait for their answers, which come in order.

        Raises:
            FTPUsageError: The key is not one word, or the conversation is at its end.
        """
        if not key:
            raise FTPUsageError("a key has one octet at least")
        if self._quitting or self._closed:
            raise FTPUsageError("the conversation is at its end")
        self._out.append(command_line(b"GET", key))
        self._waiting += 1

    def close(self) -> None:
        """Say good-bye; what waits is still answered."""
        if not self._quitting and not self._closed:
            self._quitting = True
            self._out.append(command_line(b"QUIT"))
            self._waiting += 1

    def next_event(self) -> ClientEvent | NoEvent:
        """Return the next answer, or why there is none."""
        if self._closed:
            return CLOSED
        try:
            line = self._next_line()
            if line is None:
                if not self._ended:
                    return NEED_DATA
                self._end()
                return CLOSED
            if not self._waiting:
                raise FTPProtocolError(f"an answer nobody waits for: {line[:64]!r}", "order")
            granted, text = parse_answer(line)
        except FTPProtocolError as error:
            self._end()
            return PeerFault(error)
        self._waiting -= 1
        if self._quitting and not self._waiting:
            # The good-bye's own answer: nobody asked for it.
            self._end()
            return CLOSED
        return Answered(granted, text)
