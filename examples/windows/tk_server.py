"""An HTTP server inside a Tk window: both stay responsive, in one thread.

    pip install 'sennit[web]'
    python examples/windows/tk_server.py

The label counts requests, the button forgets them. ``/longest`` tells the longest time in
milliseconds that the window's own timer, which asks for 20, had to wait.
"""

from __future__ import annotations

import sys
import tkinter
from time import monotonic

from sennit.core import Reactor, serve
from sennit.core.reactor.tk import run
from sennit.web import Request, Response, Site, text


class Window:
    """A label, a button, and a timer."""

    def __init__(self, root: tkinter.Tk) -> None:
        self.root = root
        self.hits = 0
        self.longest = 0.0
        self.last = monotonic()
        root.title("Sennit in Tk")
        self.label = tkinter.Label(root, text="no requests yet")
        self.label.pack()
        tkinter.Button(root, text="Forget", command=self.forget).pack()
        self.tick()

    def count(self) -> None:
        """One more request."""
        self.hits += 1
        self.label.config(text=f"{self.hits} requests")

    def forget(self) -> None:
        """The button."""
        self.hits = 0
        self.label.config(text="no requests yet")

    def tick(self) -> None:
        """The window is alive."""
        now = monotonic()
        self.longest = max(self.longest, now - self.last)
        self.last = now
        self.root.after(20, self.tick)


def program(root: tkinter.Tk) -> None:
    """Show the window, serve until it is closed."""
    window = Window(root)
    site = Site()

    @site.route("/")
    def hello(request: Request) -> Response:
        window.count()
        return text(f"request {window.hits}\n")

    @site.route("/longest")
    def longest(request: Request) -> Response:
        found, window.longest = window.longest, 0.0
        return text(f"{found * 1000:.0f}\n")

    async def main(reactor: Reactor) -> None:
        async with serve(sys.argv[1] if sys.argv[1:] else "tcp://127.0.0.1:8080", site) as server:
            print(server.urls[0].replace("tcp:", "http:"), flush=True)
            # Closing the window ends Tk's loop, which cancels this.
            await server.wait_closed()

    run(main, root=root)


if __name__ == "__main__":
    program(tkinter.Tk())
