"""The reactor inside Tk's loop.

``sennit.core.reactor.tk.run(main)`` makes a root window where there is none, and runs it;
`TkHost(root)` is for a program that does so itself. `windows.py` has the manual.

Tk watches descriptors on Unix only (``createfilehandler``), so there is no such host on
Windows.

Source: the documentation of Python's tkinter.
"""

from __future__ import annotations

import math

from sennit.core.errors import ReactorError
from sennit.core.reactor.windows import WindowHost

TYPE_CHECKING = False
if TYPE_CHECKING:
    import tkinter
    from collections.abc import Callable
    from typing import Any

    from sennit.core.reactor.base import Reactor

__all__ = ["TkHost", "run"]


class _Timer:
    """A call that Tk will make."""

    __slots__ = ("_gone", "_name", "_root")

    def __init__(
        self, root: tkinter.Misc, gone: type[Exception], delay: float, fn: Callable[[], object]
    ) -> None:
        self._root = root
        self._gone = gone
        self._name = root.after(min(math.ceil(delay * 1000), 2**31 - 1), fn)

    def cancel(self) -> None:
        """Do not make it."""
        try:
            self._root.after_cancel(self._name)
        except self._gone:
            pass  # the window, and the timer with it


class TkHost(WindowHost):
    """Tk's loop, with a reactor in it.

    Args:
        root: The root window; the default one, made if there is none, when left out.
        poller: Name of the reactor's poller; one with a descriptor.

    Raises:
        ReactorError: There is no Tk, or it cannot watch descriptors (Windows).
    """

    def __init__(self, root: tkinter.Misc | None = None, poller: str | None = None) -> None:
        # Not at the top: many builds of Python come without it.
        try:
            import tkinter
        except ImportError as error:
            raise ReactorError(
                "this Python has no tkinter (Debian: apt install python3-tk)"
            ) from error
        self._gone = tkinter.TclError
        self._readable = tkinter.READABLE
        self.root = tkinter.Tk() if root is None else root
        # (`Any`: the methods are not in the types of every platform.)
        self._tk: Any = self.root.tk
        super().__init__(poller)

    def watch(self, fd: int) -> None:
        """Through a file handler of Tcl."""
        create = getattr(self._tk, "createfilehandler", None)
        if create is None:
            raise ReactorError("Tk cannot watch descriptors here: no reactor can live in it")
        create(fd, self._readable, self._ready)

    def _ready(self, fd: object, mask: object) -> None:
        self.turn()

    def unwatch(self, fd: int) -> None:
        """Remove the file handler."""
        self._tk.deletefilehandler(fd)

    def call_soon(self, fn: Callable[[], object]) -> None:
        """From Tk's loop, after the events that wait."""
        try:
            self.root.after(0, fn)
        except self._gone:
            pass  # the window has been closed: its loop will end, and the reactor goes on by itself

    def call_later(self, delay: float, fn: Callable[[], object]) -> _Timer:
        """By a timer of Tk."""
        return _Timer(self.root, self._gone, delay, fn)

    def run_loop(self) -> None:
        """``mainloop`` of the root window."""
        self.root.mainloop()

    def quit_loop(self) -> None:
        """``quit`` of the root window."""
        try:
            self.root.quit()
        except self._gone:
            pass


def run(
    main: Callable[[Reactor], object] | None = None,
    *,
    root: tkinter.Misc | None = None,
    handle_signals: bool = True,
) -> object:
    """Run Tk's loop with `main`, until either ends (see `WindowHost.run`).

    Args:
        main: As for `sennit.core.run`.
        root: The root window; made when left out.
        handle_signals: As for `Reactor.run`.
    """
    return TkHost(root).run(main, handle_signals=handle_signals)
