"""An HTTP server inside a GTK window: both stay responsive, in one thread.

    pip install 'sennit[web]' 'sennit-core[gtk]'
    python examples/windows/gtk_server.py

The label counts requests, the button forgets them. ``/longest`` tells the longest time in
milliseconds that the window's own timer, which asks for 20, had to wait.
"""

from __future__ import annotations

import sys
from time import monotonic

import gi

gi.require_version("Gtk", "4.0")
from gi.repository import GLib, Gtk  # noqa: E402 - only now is it known which GTK

from sennit.core import Reactor, serve  # noqa: E402 - as above
from sennit.core.reactor.gtk import run  # noqa: E402 - as above
from sennit.web import Request, Response, Site, text  # noqa: E402 - as above


class Window:
    """A label, a button, and a timer."""

    def __init__(self) -> None:
        self.hits = 0
        self.longest = 0.0
        self.last = monotonic()
        self.label = Gtk.Label(label="no requests yet")
        button = Gtk.Button(label="Forget")
        button.connect("clicked", self.forget)
        box = Gtk.Box(orientation=Gtk.Orientation.VERTICAL)
        box.append(self.label)
        box.append(button)
        self.window = Gtk.Window(title="Sennit in GTK", child=box)
        GLib.timeout_add(20, self.tick)

    def count(self) -> None:
        """One more request."""
        self.hits += 1
        self.label.set_text(f"{self.hits} requests")

    def forget(self, button: object) -> None:
        """The button."""
        self.hits = 0
        self.label.set_text("no requests yet")

    def closed(self, window: object, reactor: Reactor) -> None:
        """The last window."""
        reactor.stop()

    def tick(self) -> bool:
        """The window is alive."""
        now = monotonic()
        self.longest = max(self.longest, now - self.last)
        self.last = now
        return GLib.SOURCE_CONTINUE


async def main(reactor: Reactor) -> None:
    """Show the window, serve until it is closed."""
    window = Window()
    # GTK has no loop that ends with the last window: the reactor is stopped, which ends it.
    window.window.connect("close-request", window.closed, reactor)
    window.window.present()
    site = Site()

    @site.route("/")
    def hello(request: Request) -> Response:
        window.count()
        return text(f"request {window.hits}\n")

    @site.route("/longest")
    def longest(request: Request) -> Response:
        found, window.longest = window.longest, 0.0
        return text(f"{found * 1000:.0f}\n")

    async with serve(sys.argv[1] if sys.argv[1:] else "tcp://127.0.0.1:8080", site) as server:
        print(server.urls[0].replace("tcp:", "http:"), flush=True)
        await server.wait_closed()


if __name__ == "__main__":
    Gtk.init()
    run(main)
