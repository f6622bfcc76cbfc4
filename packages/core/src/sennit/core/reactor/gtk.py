"""The reactor inside GLib's main loop, which GTK 3 and 4 run on, through PyGObject.

``sennit.core.reactor.gtk.run(main)`` runs GLib's loop; ``run(main, application=app)`` that
of a `Gtk.Application`. `GLibHost` is for a program that does so itself. `windows.py` has
the manual.

Source: the documentation of GLib (the main event loop) and of PyGObject.
"""

from __future__ import annotations

import math

from sennit.core.errors import MissingExtraError
from sennit.core.reactor.windows import WindowHost

try:
    from gi.repository import GLib
except ImportError as error:  # pragma: no cover - tested in a process without it
    raise MissingExtraError(__name__, "sennit-core", "gtk") from error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from sennit.core.reactor.base import Reactor

__all__ = ["GLibHost", "run"]

_EVENTS = GLib.IOCondition.IN | GLib.IOCondition.HUP | GLib.IOCondition.ERR


class _Timer:
    """A call that a source of GLib will make."""

    __slots__ = ("_fn", "_source")

    def __init__(self, delay: float, fn: Callable[[], object]) -> None:
        self._fn = fn
        self._source = GLib.timeout_add(min(math.ceil(delay * 1000), 2**31 - 1), self._call)

    def _call(self) -> bool:
        self._source = 0
        self._fn()
        return GLib.SOURCE_REMOVE

    def cancel(self) -> None:
        """Do not make it."""
        source, self._source = self._source, 0
        if source:
            GLib.source_remove(source)


class GLibHost(WindowHost):
    """GLib's default main context, with a reactor in it.

    Args:
        poller: Name of the reactor's poller; one with a descriptor.
        application: A `Gio.Application` (or `Gtk.Application`) to run instead of a plain loop.
    """

    def __init__(self, poller: str | None = None, *, application: Any = None) -> None:
        # (`Any`: PyGObject carries no types.)
        self._application = application
        self._main_loop = GLib.MainLoop()
        self._source = 0
        super().__init__(poller)

    def watch(self, fd: int) -> None:
        """Through a source of GLib."""
        self._source = GLib.unix_fd_add_full(GLib.PRIORITY_DEFAULT, fd, _EVENTS, self._ready)

    def _ready(self, *_: object) -> bool:
        source = self._source
        self.turn()
        # A turn in which a dialog was run has taken the source away, and perhaps made another.
        return bool(source == self._source)

    def unwatch(self, fd: int) -> None:
        """Remove the source."""
        source, self._source = self._source, 0
        if source:
            GLib.source_remove(source)

    def call_soon(self, fn: Callable[[], object]) -> None:
        """From GLib's loop, at the priority of events, so that drawing does not starve it."""

        def once() -> bool:
            fn()
            return GLib.SOURCE_REMOVE

        GLib.idle_add(once, priority=GLib.PRIORITY_DEFAULT)

    def call_later(self, delay: float, fn: Callable[[], object]) -> _Timer:
        """By a source of GLib."""
        return _Timer(delay, fn)

    def run_loop(self) -> None:
        """That of the application, or a plain one."""
        if self._application is not None:
            self._application.run(None)
        else:
            self._main_loop.run()

    def quit_loop(self) -> None:
        """End it."""
        if self._application is not None:
            self._application.quit()
        else:
            self._main_loop.quit()


def run(
    main: Callable[[Reactor], object] | None = None,
    *,
    application: Any = None,
    handle_signals: bool = True,
) -> object:
    """Run GLib's loop with `main`, until either ends (see `WindowHost.run`).

    Args:
        main: As for `sennit.core.run`.
        application: A `Gio.Application` to run instead of a plain loop. (`Any`:
            PyGObject carries no types.)
        handle_signals: As for `Reactor.run`.
    """
    return GLibHost(application=application).run(main, handle_signals=handle_signals)
