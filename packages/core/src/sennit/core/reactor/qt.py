"""The reactor inside Qt's loop, through PySide6.

``sennit.core.reactor.qt.run(main)`` makes an application where there is none, and runs it;
`QtHost` is for a program that does so itself. `windows.py` has the manual.

Source: the documentation of Qt for Python (QSocketNotifier, QTimer, QCoreApplication).
"""

from __future__ import annotations

import math

from sennit.core.errors import MissingExtraError
from sennit.core.reactor.windows import WindowHost

try:
    from PySide6.QtCore import QCoreApplication, QSocketNotifier, Qt, QTimer
except ImportError as error:  # pragma: no cover - tested in a process without it
    raise MissingExtraError(__name__, "sennit-core", "qt") from error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from sennit.core.reactor.base import Reactor

__all__ = ["QtHost", "run"]


class _Timer:
    """A call that a timer of Qt will make."""

    __slots__ = ("_timer",)

    def __init__(self, delay: float, fn: Callable[[], object]) -> None:
        self._timer = timer = QTimer()
        timer.setSingleShot(True)
        # The others are late, or early, by a twentieth.
        timer.setTimerType(Qt.TimerType.PreciseTimer)
        timer.timeout.connect(fn)
        timer.start(min(math.ceil(delay * 1000), 2**31 - 1))

    def cancel(self) -> None:
        """Do not make it."""
        self._timer.stop()


class QtHost(WindowHost):
    """Qt's loop of this thread, with a reactor in it.

    An application is made if there is none: a `QApplication` where QtWidgets can be loaded,
    else a `QCoreApplication`.
    """

    def __init__(self, poller: str | None = None) -> None:
        self.application = QCoreApplication.instance() or _new_application()
        self._notifier: QSocketNotifier | None = None
        super().__init__(poller)

    def watch(self, fd: int) -> None:
        """Through a socket notifier, which takes any descriptor."""
        self._notifier = notifier = QSocketNotifier(fd, QSocketNotifier.Type.Read)
        notifier.activated.connect(self._activated)

    def _activated(self, *_: object) -> None:
        self.turn()

    def unwatch(self, fd: int) -> None:
        """Silence the notifier."""
        notifier, self._notifier = self._notifier, None
        if notifier is not None:
            notifier.setEnabled(False)

    def call_soon(self, fn: Callable[[], object]) -> None:
        """From Qt's loop, after the events that wait."""
        QTimer.singleShot(0, fn)

    def call_later(self, delay: float, fn: Callable[[], object]) -> _Timer:
        """By a timer of Qt."""
        return _Timer(delay, fn)

    def run_loop(self) -> None:
        """``exec`` of the application."""
        self.application.exec()

    def quit_loop(self) -> None:
        """``quit`` of the application."""
        self.application.quit()


def _new_application() -> QCoreApplication:
    try:
        from PySide6.QtWidgets import QApplication
    except ImportError:
        return QCoreApplication([])
    return QApplication([])


def run(main: Callable[[Reactor], object] | None = None, *, handle_signals: bool = True) -> object:
    """Run Qt's application with `main`, until either ends (see `WindowHost.run`)."""
    return QtHost().run(main, handle_signals=handle_signals)
