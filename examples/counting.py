"""A line protocol of one's own, and Deferreds from outside.

Typed from end to end; `python examples/counting.py` runs it.
"""

from __future__ import annotations

from sennit.core import Deferred, Reactor, connect, gather, race, run, serve, shield, succeed
from sennit.core.framing.line import LineProtocol


class Counter(LineProtocol):
    """Answers each line with its length."""

    def line_received(self, line: bytes) -> None:
        """Count."""
        self.send_line(b"%d" % len(line))


class Asker(LineProtocol):
    """Asks, and remembers who waits for which answer."""

    def __init__(self) -> None:
        super().__init__()
        self._waiting: list[Deferred[int]] = []

    def length(self, line: bytes) -> Deferred[int]:
        """The length of `line`, as the server sees it."""
        answer: Deferred[int] = Deferred()
        self._waiting.append(answer)
        self.send_line(line)
        return answer

    def line_received(self, line: bytes) -> None:
        """An answer has come."""
        self._waiting.pop(0).callback(int(line))


async def main(reactor: Reactor) -> tuple[int, int, int]:
    """Ask three ways."""
    async with serve("tcp://127.0.0.1:0", Counter) as server:
        asker: Asker = await connect(server.urls[0], Asker)
        first, second = await gather(asker.length(b"one"), asker.length(b"three"))
        _, third = await race(shield(asker.length(b"seven")), succeed(5).add_callback(abs))
        asker.transport.close()
        return first, second, third


if __name__ == "__main__":
    print(run(main))
