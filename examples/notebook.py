"""Sennit where somebody else runs the loop, as in a notebook: no set-up call.

A server, a client and asyncio's own streams talk within one `asyncio.run`.
"""

from __future__ import annotations

import asyncio

from sennit.core import Protocol, open_stream, serve


class Shout(Protocol):
    """Answers in capitals."""

    def data_received(self, data: bytes) -> None:
        """Send it back, louder."""
        self.transport.write(data.upper())


async def main() -> list[bytes]:
    """Serve, and ask with a Sennit stream and with asyncio's."""
    answers: list[bytes] = []
    async with serve("tcp://127.0.0.1:0", Shout) as server:
        async with await open_stream(server.urls[0]) as stream:
            await stream.send_all(b"hello from sennit\n")
            answers.append(await stream.read_line())
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"hello from asyncio\n")
        answers.append(await reader.readline())
        writer.close()
        await writer.wait_closed()
    return answers


if __name__ == "__main__":
    print(asyncio.run(main()))
