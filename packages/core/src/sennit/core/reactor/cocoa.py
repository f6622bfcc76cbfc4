"""The reactor inside Cocoa's run loop, through PyObjC.

``sennit.core.reactor.cocoa.run(main)`` runs the application's loop; `CocoaHost` is for a
program that does so itself. `windows.py` has the manual.

Written to the documentation of Core Foundation (CFFileDescriptor, CFRunLoopTimer) and of
PyObjC (PyObjCTools.AppHelper), tested against a stand-in for them, and never run on macOS.
"""

from __future__ import annotations

from sennit.core.errors import MissingExtraError
from sennit.core.reactor.windows import WindowHost

try:
    import CoreFoundation as CF  # noqa: N817 - as its documentation has it
    from PyObjCTools import AppHelper
except ImportError as error:  # pragma: no cover - tested in a process without it
    raise MissingExtraError(__name__, "sennit-core", "cocoa") from error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from sennit.core.reactor.base import Reactor

__all__ = ["CocoaHost", "run"]


class _Timer:
    """A call that a timer of Core Foundation will make."""

    __slots__ = ("_timer",)

    def __init__(self, delay: float, fn: Callable[[], object]) -> None:
        # (`Any`: PyObjC carries no types.)
        self._timer: Any = CF.CFRunLoopTimerCreate(
            None,
            CF.CFAbsoluteTimeGetCurrent() + delay,
            0,  # once
            0,
            0,
            lambda timer, info: fn(),
            None,
        )
        # In the common modes, so that it goes off while a menu or a dialog is open.
        CF.CFRunLoopAddTimer(CF.CFRunLoopGetCurrent(), self._timer, CF.kCFRunLoopCommonModes)

    def cancel(self) -> None:
        """Do not make it."""
        CF.CFRunLoopTimerInvalidate(self._timer)


class CocoaHost(WindowHost):
    """The run loop of this thread, with a reactor in it."""

    def __init__(self, poller: str | None = None) -> None:
        self._descriptor: Any = None
        self._source: Any = None
        super().__init__(poller)

    def watch(self, fd: int) -> None:
        """Through a `CFFileDescriptor`, whose callback is for one event at a time."""
        self._descriptor = descriptor = CF.CFFileDescriptorCreate(
            None, fd, False, self._ready, None
        )
        CF.CFFileDescriptorEnableCallBacks(descriptor, CF.kCFFileDescriptorReadCallBack)
        self._source = CF.CFFileDescriptorCreateRunLoopSource(None, descriptor, 0)
        CF.CFRunLoopAddSource(CF.CFRunLoopGetCurrent(), self._source, CF.kCFRunLoopCommonModes)

    def _ready(self, descriptor: object, types: object, info: object) -> None:
        try:
            self.turn()
        finally:
            # Nothing is enabled by itself again; a turn may have taken the descriptor away.
            if descriptor is self._descriptor:
                CF.CFFileDescriptorEnableCallBacks(descriptor, CF.kCFFileDescriptorReadCallBack)

    def unwatch(self, fd: int) -> None:
        """Invalidate it; the descriptor itself stays open, being the reactor's."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            CF.CFFileDescriptorInvalidate(descriptor)
            CF.CFRunLoopRemoveSource(
                CF.CFRunLoopGetCurrent(), self._source, CF.kCFRunLoopCommonModes
            )
            self._source = None

    def call_soon(self, fn: Callable[[], object]) -> _Timer:
        """By a timer that is due."""
        return _Timer(0, fn)

    def call_later(self, delay: float, fn: Callable[[], object]) -> _Timer:
        """By a timer."""
        return _Timer(delay, fn)

    def run_loop(self) -> None:
        """The application's, as PyObjC runs it."""
        AppHelper.runEventLoop(installInterrupt=False)

    def quit_loop(self) -> None:
        """End it."""
        AppHelper.stopEventLoop()


def run(main: Callable[[Reactor], object] | None = None, *, handle_signals: bool = True) -> object:
    """Run the application's loop with `main`, until either ends (see `WindowHost.run`)."""
    return CocoaHost().run(main, handle_signals=handle_signals)
