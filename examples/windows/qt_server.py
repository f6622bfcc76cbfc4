"""An HTTP server inside a Qt window: both stay responsive, in one thread.

    pip install 'sennit[web]' 'sennit-core[qt]'
    python examples/windows/qt_server.py

The label counts requests, the button forgets them. ``/longest`` tells the longest time in
milliseconds that the window's own timer, which asks for 20, had to wait.
"""

from __future__ import annotations

import sys
from time import monotonic

from PySide6.QtCore import QTimer
from PySide6.QtWidgets import QApplication, QLabel, QPushButton, QVBoxLayout, QWidget

from sennit.core import Reactor, serve
from sennit.core.reactor.qt import run
from sennit.web import Request, Response, Site, text


class Window(QWidget):
    """A label, a button, and a timer."""

    def __init__(self) -> None:
        super().__init__()
        self.hits = 0
        self.longest = 0.0
        self.last = monotonic()
        self.setWindowTitle("Sennit in Qt")
        self.label = QLabel("no requests yet")
        button = QPushButton("Forget")
        button.clicked.connect(self.forget)
        layout = QVBoxLayout(self)
        layout.addWidget(self.label)
        layout.addWidget(button)
        self.timer = QTimer(self)
        self.timer.timeout.connect(self.tick)
        self.timer.start(20)

    def count(self) -> None:
        """One more request."""
        self.hits += 1
        self.label.setText(f"{self.hits} requests")

    def forget(self) -> None:
        """The button."""
        self.hits = 0
        self.label.setText("no requests yet")

    def tick(self) -> None:
        """The window is alive."""
        now = monotonic()
        self.longest = max(self.longest, now - self.last)
        self.last = now


async def main(reactor: Reactor) -> None:
    """Show the window, serve until it is closed."""
    window = Window()
    window.show()
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
        # Closing the window ends Qt's loop, which cancels this.
        await server.wait_closed()


if __name__ == "__main__":
    application = QApplication(sys.argv[:1])
    run(main)
