"""A chat for netcat: everybody sees what anybody says.

Run it, then from two terminals: ``nc 127.0.0.1 8023``.
"""

from __future__ import annotations

import sys

from sennit.core import Reactor, Stream, run, serve, stream_handler
from sennit.core.broadcast import Broadcast
from sennit.core.errors import EndOfStreamError


class Room:
    """Who is here, and what they say to each other."""

    def __init__(self) -> None:
        self._everybody = Broadcast()
        self._guests = 0

    async def talk(self, stream: Stream) -> None:
        """One guest, from greeting to goodbye."""
        self._guests += 1
        name = b"guest %d" % self._guests
        await stream.send_all(b"You are " + name + b".\n")
        self._everybody.add(stream.transport)
        try:
            while True:
                line = await stream.read_until(b"\n", limit=1024)
                self._everybody.send(name + b": " + line + b"\n")
        except EndOfStreamError:
            pass
        finally:
            # However it ended: politely, by a reset, or because we stop.
            self._everybody.send(name + b" has left.\n")


async def main(reactor: Reactor, url: str = "tcp://127.0.0.1:8023") -> None:
    """Serve until a signal comes."""
    async with serve(url, stream_handler(Room().talk)) as server:
        print("listening on", *server.urls, flush=True)
        await server.wait_closed()


if __name__ == "__main__":
    url = sys.argv[1] if len(sys.argv) > 1 else "tcp://127.0.0.1:8023"

    async def start(reactor: Reactor) -> None:
        """`main` with the URL of the command line."""
        await main(reactor, url)

    run(start)
