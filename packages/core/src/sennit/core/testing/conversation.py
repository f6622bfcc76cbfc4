r"""Conversations: recorded once, kept as text, played against an implementation.

A conversation is a file that one reads, and may correct by hand::

    # sennit conversation: Postfix 3.7, a mail
    < 0.000 220 mail.example ESMTP\r\n
    > 0.012 EHLO client.example\r\n
    < 0.013 250-mail.example\r\n
    < 0.013 250 DSN\r\n
    >. 0.050

Each line has who speaks (``>`` the client, ``<`` the server), the seconds since the
connection stood, and octets: printable ASCII as it is, the rest as ``\r``, ``\n``, ``\t``,
``\\``, ``\x00`` (a blank at the end as ``\x20``). After the sign of who speaks may stand

* ``.`` that one sends no more (end of stream),
* ``!`` that one resets the connection,
* ``~`` the line is a regular expression for the octets, in Python's syntax.

In octets ``…`` stands for anything within a line: a date, a nonce, a secret. Lines that
begin with ``#`` are comments.

`sennit.core.testing.recorder.Recorder` writes one.
`Player` plays the part of one side and compares what the other says: where a piece is
cut plays no part, and the first octet that differs fails it, with its place in the file.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from sennit.core.deferred import Deferred
from sennit.core.errors import SennitError
from sennit.core.protocol import Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Final, Literal, Self

    from sennit.core.deferred import Deferred as _Deferred
    from sennit.core.interfaces import IStreamProtocol, IStreamTransport
    from sennit.core.reactor.calls import DelayedCall

    Side = Literal["client", "server"]

__all__ = [
    "ANYTHING",
    "Conversation",
    "ConversationError",
    "ConversationMismatchError",
    "ConversationSyntaxError",
    "Player",
    "Step",
    "escape",
    "unescape",
]

HEAD: Final = "# sennit conversation"
"""How a file begins."""
ANYTHING: Final = "…"
"""Stands for any octets within a line."""
CONTEXT: Final = 40
"""Octets shown before and after the place of a mismatch."""

_LINE = re.compile(r"([<>])([.!~]?)[ \t]+(\d+(?:\.\d+)?)(?: (.*))?")
_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|(.))")
_SHORT: Final = {"r": b"\r", "n": b"\n", "t": b"\t", "\\": b"\\"}
_SHOWN: Final = [chr(each) if 32 <= each < 127 else f"\\x{each:02x}" for each in range(256)]
for _letter, _octet in _SHORT.items():
    _SHOWN[_octet[0]] = f"\\{_letter}"


class ConversationError(SennitError):
    """A conversation cannot be read, or was not kept to."""


class ConversationSyntaxError(ConversationError, ValueError):
    """A file is no conversation; the text names the line."""


class ConversationMismatchError(ConversationError, AssertionError):
    """The other side said something else.

    Attributes:
        line: Number of the line in the file, from 1 on (0 where the conversation is over).
        offset: Octets of that side that were right before.
        expected: What was to come, as the file has it.
        got: What came in its place.
    """

    def __init__(self, problem: str, line: int, offset: int, expected: str, got: bytes) -> None:
        place = f"line {line}" if line else "after the last line"
        super().__init__(
            f"{problem} at {place}, octet {offset}:\n"
            f"  expected  {expected}\n"
            f"  got       {escape(got[: 2 * CONTEXT]) or '(nothing)'}"
        )
        self.line = line
        self.offset = offset
        self.expected = expected
        self.got = got


class Step(NamedTuple):
    """One line of a conversation.

    Attributes:
        side: Whose it is.
        kind: ``data``, ``pattern`` (a regular expression), ``end`` or ``reset``.
        time: Seconds since the connection stood.
        text: As in the file.
        line: Number of the line, from 1 on.
    """

    side: Side
    kind: Literal["data", "pattern", "end", "reset"]
    time: float
    text: str = ""
    line: int = 0

    @property
    def octets(self) -> bytes | None:
        """What is said; ``None`` where the file leaves that open."""
        if self.kind != "data" or ANYTHING in self.text:
            return None
        return unescape(self.text)

    def pattern(self) -> re.Pattern[bytes]:
        """What matches this step."""
        if self.kind == "pattern":
            return re.compile(self.text.encode("latin-1"), re.DOTALL)
        parts = (re.escape(unescape(each)) for each in self.text.split(ANYTHING))
        end = b"[^\\r\\n]*" if self.text.endswith(ANYTHING) else b""
        return re.compile(rb"[^\r\n]*?".join(parts) + end)


_KINDS: Final[dict[str, Literal["data", "pattern", "end", "reset"]]] = {
    "": "data",
    "~": "pattern",
    ".": "end",
    "!": "reset",
}
_SIGNS: Final = {kind: sign for sign, kind in _KINDS.items()}


def escape(octets: bytes, *, inside: bool = False) -> str:
    """Octets as a line of a file has them.

    Args:
        octets: What was said.
        inside: More follows on the line, so a blank at the end is seen.
    """
    text = "".join(map(_SHOWN.__getitem__, octets))
    return f"{text[:-1]}\\x20" if text.endswith(" ") and not inside else text


def unescape(text: str) -> bytes:
    r"""The octets of a line.

    Raises:
        ValueError: A character that is not ASCII, or an unknown escape.
    """

    def octets(match: re.Match[str]) -> str:
        if match[1] is not None:
            return chr(int(match[1], 16))
        if match[2] not in _SHORT:
            raise ValueError(f"\\{match[2]} is none of \\r \\n \\t \\\\ \\xHH")
        return _SHORT[match[2]].decode("latin-1")

    if not text.isascii():
        raise ValueError("octets beyond ASCII are written as \\xHH")
    if text.endswith("\\") and not (len(text) - len(text.rstrip("\\"))) % 2 == 0:
        raise ValueError("a single \\ at the end")
    return _ESCAPE.sub(octets, text).encode("latin-1")


class Conversation:
    """What two sides said to each other, in order.

    Args:
        steps: What they said.
        name: How messages call it: the file's.
        about: What the first line says of it.
    """

    def __init__(
        self, steps: Iterable[Step], *, name: str = "conversation", about: str = ""
    ) -> None:
        self.steps: Sequence[Step] = tuple(steps)
        self.name = name
        self.about = about

    def __repr__(self) -> str:
        """Name and length."""
        return f"<Conversation {self.name}, {len(self.steps)} steps>"

    @classmethod
    def parse(cls, text: str, name: str = "conversation") -> Self:
        """Read the text of a file.

        Raises:
            ConversationSyntaxError: A line that means nothing.
        """
        lines = text.splitlines()
        if not lines or not lines[0].startswith(HEAD):
            raise ConversationSyntaxError(f"{name}: a conversation begins with {HEAD!r}")
        steps: list[Step] = []
        for number, line in enumerate(lines, 1):
            if not line.strip() or line.startswith("#"):
                continue
            match = _LINE.fullmatch(line)
            if match is None:
                raise ConversationSyntaxError(
                    f"{name}, line {number}: not '> SECONDS OCTETS' or '< SECONDS OCTETS': {line!r}"
                )
            side: Side = "client" if match[1] == ">" else "server"
            step = Step(side, _KINDS[match[2]], float(match[3]), match[4] or "", number)
            try:
                step.pattern()
            except (ValueError, re.error) as error:
                raise ConversationSyntaxError(f"{name}, line {number}: {error}") from error
            steps.append(step)
        return cls(steps, name=name, about=lines[0][len(HEAD) :].removeprefix(":").strip())

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a file.

        Raises:
            ConversationSyntaxError: It is no conversation.
            OSError: It cannot be read.
        """
        return cls.parse(Path(path).read_text("utf-8"), str(path))

    def dump(self) -> str:
        """The text of a file."""
        lines = [f"{HEAD}: {self.about}" if self.about else HEAD]
        for step in self.steps:
            who = ">" if step.side == "client" else "<"
            text = f" {step.text}" if step.text else ""
            lines.append(f"{who}{_SIGNS[step.kind]} {step.time:.3f}{text}")
        return "\n".join(lines) + "\n"

    def save(self, path: str | Path) -> None:
        """Write a file."""
        Path(path).write_text(self.dump(), "utf-8")

    def player(self, side: Side, *, paced: bool = False) -> Player:
        """A protocol that plays one side."""
        return Player(self, side, paced=paced)

    def play_against(self, protocol: IStreamProtocol, side: Side = "server") -> None:
        """Play against a protocol in memory, under a virtual clock of its own.

        Args:
            protocol: The implementation under test.
            side: Which one `protocol` is.

        Raises:
            ConversationMismatchError: It says something else, or not enough.
            BaseException: What it raised.
        """
        from sennit.core.testing.clock import Clock
        from sennit.core.transport.memory import memory_pair

        with Clock() as clock:
            player = self.player("client" if side == "server" else "server", paced=True)
            pair = (player, protocol) if side == "server" else (protocol, player)
            memory_pair(*pair, reactor=clock)
            last = self.steps[-1].time if self.steps else 0.0
            clock.advance(last + 1.0)
            player.finish()
            clock.run_until(player.done)


# ── playing ───────────────────────────────────────────────────────────────────


class Player(Protocol):
    """Plays one side of a conversation, and compares what the other side says.

    Args:
        conversation: What is to be said.
        side: Which side this is.
        paced: Wait before each own step as long as was waited when it was recorded.

    Attributes:
        done: Fires when all was said and heard; fails with `ConversationMismatchError`.
    """

    def __init__(self, conversation: Conversation, side: Side, *, paced: bool = False) -> None:
        for step in conversation.steps:
            if step.side == side and step.kind in {"data", "pattern"} and step.octets is None:
                raise ConversationSyntaxError(
                    f"{conversation.name}, line {step.line}: the {side} is played, who cannot say "
                    f"{step.text!r}: write octets there"
                )
        self.done: _Deferred[None] = Deferred()
        self._conversation = conversation
        self._side = side
        self._paced = paced
        self._at = 0
        self._heard = bytearray()
        self._right = 0
        self._ended = False
        self._timer: DelayedCall | None = None
        self._reached = 0.0

    def __repr__(self) -> str:
        """What it plays, and how far it is."""
        steps = len(self._conversation.steps)
        return f"<Player of {self._conversation.name} as {self._side}, {self._at} of {steps}>"

    def connection_made(self, transport: IStreamTransport) -> None:
        """Begin."""
        super().connection_made(transport)
        self._go_on()

    def data_received(self, data: bytes) -> None:
        """Compare what the other side says."""
        self._heard += data
        self._go_on()

    def eof_received(self) -> bool:
        """The other side says no more."""
        self._ended = True
        self._go_on()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection has gone: nothing more can come."""
        if self._timer is not None:
            self._timer.cancel()
        step = self._next()
        if step is not None and step.side != self._side and step.kind in {"end", "reset"}:
            self._ended = False
            self._at += 1
        self.finish()

    def finish(self) -> None:
        """See that all was said; the other side had its time."""
        step = self._next()
        if step is not None and not self.done.called:
            self._fail("too little was said", step)
        elif step is None:
            self._over()

    # ── inside ────────────────────────────────────────────────────────────────

    def _next(self) -> Step | None:
        steps = self._conversation.steps
        return steps[self._at] if self._at < len(steps) else None

    def _go_on(self) -> None:
        """Say and hear as far as that goes."""
        while not self.done.called and self._timer is None:
            step = self._next()
            if step is None:
                self._over()
                return
            if step.side == self._side:
                if self._heard:
                    self._fail("more was said than expected", step)
                    return
                wait = step.time - self._reached
                if self._paced and wait > 0:
                    reactor = self.transport.get_extra_info("reactor")
                    self._timer = reactor.call_later(wait, self._say_now, step)
                    return
                self._say(step)
            elif not self._hear(step):
                return

    def _say_now(self, step: Step) -> None:
        self._timer = None
        if self._heard:
            self._fail("more was said than expected", step)
            return
        self._say(step)
        self._go_on()

    def _say(self, step: Step) -> None:
        self._pass(step)
        if step.kind == "end":
            self.transport.write_eof()
        elif step.kind == "reset":
            self.transport.abort("reset")
        else:
            self.transport.write(step.octets or b"")

    def _pass(self, step: Step) -> None:
        self._at += 1
        self._reached = max(self._reached, step.time)

    def _hear(self, step: Step) -> bool:
        """Compare with what came; whether that is all of this step."""
        heard = bytes(self._heard)
        if step.kind in {"end", "reset"}:
            if heard:
                self._fail("more was said than expected", step)
                return False
            if self._ended:
                self._ended = False
                self._pass(step)
                return True
            return False
        octets = step.octets
        size = self._match(step, heard) if octets is None else self._compare(step, octets, heard)
        if size is None:
            if self._ended and not self.done.called:
                self._fail("too little was said", step)
            return False
        del self._heard[:size]
        self._right += size
        self._pass(step)
        return True

    def _compare(self, step: Step, octets: bytes, heard: bytes) -> int | None:
        if heard.startswith(octets):
            return len(octets)
        if not octets.startswith(heard):
            pairs = zip(octets, heard, strict=False)
            same = next(at for at, (one, other) in enumerate(pairs) if one != other)
            self._fail("something else was said", step, same)
        return None

    def _match(self, step: Step, heard: bytes) -> int | None:
        match = step.pattern().match(heard)
        if match is not None:
            return match.end()
        # What is open may still come, up to the end of the line.
        if b"\n" in heard:
            self._fail("something else was said", step)
        return None

    def _fail(self, problem: str, step: Step, same: int = 0) -> None:
        if self.done.called:
            return
        mine = step.side == self._side
        expected = f"({self._side} speaks) {step.text}" if mine else step.text
        if step.kind in {"end", "reset"}:
            expected = f"({step.kind})"
        elif same and step.octets is not None:
            expected = escape(step.octets[same : same + 2 * CONTEXT])
        error = ConversationMismatchError(
            f"{self._conversation.name}: {problem}",
            step.line,
            self._right + same,
            expected,
            bytes(self._heard[same:]),
        )
        if hasattr(self, "transport"):
            self.transport.abort("mismatch")
        self.done.errback(error)

    def _over(self) -> None:
        if self.done.called:
            return
        if self._heard:
            error = ConversationMismatchError(
                f"{self._conversation.name}: more was said than expected",
                0,
                self._right,
                "(nothing)",
                bytes(self._heard),
            )
            self.done.errback(error)
        else:
            self.done.callback(None)
        self.transport.close()
