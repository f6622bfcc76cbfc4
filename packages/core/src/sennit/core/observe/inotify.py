"""Linux's inotify, through the C library: one descriptor per reactor, folders only.

Folders are watched and not files, so that a file that is replaced by another one (as editors
and certificate clients do), or comes back after it was removed, is noticed. Source: inotify(7).
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import sys
from functools import cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from collections.abc import Callable

    from sennit.core.reactor.base import Reactor

    # Name of what happened in the folder; ``None``: anything may have.
    Listener = Callable[[str | None], object]

__all__ = ["Inotify", "Raw", "inotify_of", "parse"]

ATTRIB: Final = 0x4
CLOSE_WRITE: Final = 0x8
MOVED_FROM: Final = 0x40
MOVED_TO: Final = 0x80
CREATE: Final = 0x100
DELETE: Final = 0x200
DELETE_SELF: Final = 0x400
MOVE_SELF: Final = 0x800
UNMOUNT: Final = 0x2000
OVERFLOW: Final = 0x4000
IGNORED: Final = 0x8000
_ONLYDIR: Final = 0x1000000

# A time that was set (touch) tells as much as a write.
_MASK: Final = (
    ATTRIB
    | CLOSE_WRITE
    | MOVED_FROM
    | MOVED_TO
    | CREATE
    | DELETE
    | DELETE_SELF
    | MOVE_SELF
    | _ONLYDIR
)
_HEAD: Final = struct.Struct("iIII")
_READ: Final = 64 * 1024


class Raw(NamedTuple):
    """One record of the kernel: which watch, what, and the name in that folder."""

    watch: int
    mask: int
    name: str


def parse(data: bytes) -> list[Raw]:
    """The records in what was read; the kernel never cuts one."""
    found: list[Raw] = []
    at = 0
    while at + _HEAD.size <= len(data):
        watch, mask, _, length = _HEAD.unpack_from(data, at)
        at += _HEAD.size
        name = data[at : at + length].partition(b"\0")[0]
        found.append(Raw(watch, mask, os.fsdecode(name)))
        at += length
    return found


@cache
def _library() -> Any:
    """The C library; Any: ctypes finds functions by name."""
    library = ctypes.CDLL(None, use_errno=True)
    library.inotify_init1.argtypes = [ctypes.c_int]
    library.inotify_add_watch.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_uint32]
    library.inotify_rm_watch.argtypes = [ctypes.c_int, ctypes.c_int]
    return library


class Inotify:
    """The folders that are watched in one reactor.

    Raises:
        OSError: There is no inotify here (``ENOSYS``), or the user's limit of
            descriptors is reached (``EMFILE``).
    """

    def __init__(self, reactor: Reactor) -> None:
        if not sys.platform.startswith("linux"):
            raise OSError(errno.ENOSYS, "inotify is Linux's")
        flags = os.O_NONBLOCK | os.O_CLOEXEC
        fd: int = _library().inotify_init1(flags)
        if fd < 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
        self._fd = fd
        self._reactor = reactor
        # Two paths may lead to one folder, which has one watch.
        self._listeners: dict[int, list[Listener]] = {}
        reactor.dependants.add(self)
        reactor.add_reader(fd, self._on_readable)

    @property
    def closed(self) -> bool:
        """Whether it has ended."""
        return self._fd < 0

    def watch(self, folder: str, listener: Listener) -> int:
        """Call `listener` when something happens in `folder`; the number is for `unwatch`.

        Raises:
            OSError: It is no folder, or not to be read, or the user's limit of
                watches is reached (``ENOSPC``).
        """
        number: int = _library().inotify_add_watch(self._fd, os.fsencode(folder), _MASK)
        if number < 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), folder)
        self._listeners.setdefault(number, []).append(listener)
        return number

    def unwatch(self, number: int, listener: Listener) -> None:
        """Undo one `watch`; the last one closes the descriptor."""
        listeners = self._listeners.get(number, [])
        if listener in listeners:
            listeners.remove(listener)
            if not listeners:
                del self._listeners[number]
                _library().inotify_rm_watch(self._fd, number)
        if not self._listeners:
            self.close()

    def close(self) -> None:
        """Give the descriptor back."""
        if self._fd >= 0:
            self._reactor.dependants.discard(self)
            self._reactor.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1
            # It holds its reactor, which nobody else may want any more.
            if _of_reactor.get(self._reactor) is self:
                del _of_reactor[self._reactor]
            self._listeners.clear()

    def reactor_stopped(self) -> None:
        """Its reactor ends."""
        self.close()

    def _on_readable(self) -> None:
        try:
            data = os.read(self._fd, _READ)
        except BlockingIOError:
            return
        for raw in parse(data):
            self._tell(raw)

    def _tell(self, raw: Raw) -> None:
        if raw.mask & OVERFLOW:
            # Some records are lost: everybody looks at everything.
            for listeners in list(self._listeners.values()):
                for each in list(listeners):
                    each(None)
            return
        if raw.mask & IGNORED:
            listeners = self._listeners.pop(raw.watch, [])
        else:
            listeners = self._listeners.get(raw.watch, [])
        gone = raw.mask & (IGNORED | DELETE_SELF | MOVE_SELF | UNMOUNT)
        for each in list(listeners):
            each(None if gone else raw.name)


_of_reactor: WeakKeyDictionary[Reactor, Inotify] = WeakKeyDictionary()


def inotify_of(reactor: Reactor) -> Inotify:
    """The one of a reactor, made when it is first needed.

    Raises:
        OSError: As for `Inotify`.
    """
    found = _of_reactor.get(reactor)
    if found is None or found.closed:
        found = _of_reactor[reactor] = Inotify(reactor)
    return found
