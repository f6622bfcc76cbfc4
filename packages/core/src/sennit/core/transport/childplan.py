"""What a child process is to have at its descriptors: pipes, files, a terminal.

Opened before it is started (``spawning.py``), ours made transports after (``process.py``).

Sources: pty(7), tty_ioctl(4).
"""

from __future__ import annotations

import os

from sennit.core.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

__all__ = ["Plan", "Terminal", "set_window_size"]


class Terminal:
    """A pseudo-terminal for a child.

    Args:
        rows: Its height in lines.
        columns: Its width in characters.
        raw: Whether octets pass as they are: no echo, no line editing, no signals from keys.
    """

    __slots__ = ("columns", "raw", "rows")

    def __init__(self, rows: int = 24, columns: int = 80, *, raw: bool = False) -> None:
        self.rows = rows
        self.columns = columns
        self.raw = raw

    def open(self) -> tuple[int, int]:
        """Open one: our side of it and the child's.

        Raises:
            OSError: There is none left.
        """
        import tty

        ours, theirs = os.openpty()
        try:
            set_window_size(ours, self.rows, self.columns)
            if self.raw:
                tty.setraw(theirs)
        except BaseException:
            os.close(ours)
            os.close(theirs)
            raise
        return ours, theirs


def set_window_size(fd: int, rows: int, columns: int) -> None:
    """Set the size of a terminal's window."""
    import fcntl
    import struct
    import termios

    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


class Plan:
    """The descriptors of a child to be: theirs, and our ends of them.

    Args:
        wanted: What each of its descriptors is to be (`sennit.core.transport.process.spawn`).
        terminal: The terminal it is to have.

    Attributes:
        theirs: The child's descriptors, and which of ours each is.
        ours: Those we keep an end of: how we use it, and that end.
        terminal_fd: Our side of the terminal, -1 where there is none.

    Raises:
        UsageError: What is wanted cannot be.
    """

    def __init__(self, wanted: Mapping[int, Any], terminal: Terminal | None) -> None:
        self._wanted: dict[int, Any] = {}
        for number, what in wanted.items():
            if number < 0:
                raise UsageError(f"{number} is no number of a descriptor")
            self._wanted[number] = _checked(number, what, wanted)
        self._terminal = terminal
        self.terminal_fd = -1
        for number in (0, 1, 2):
            self._wanted.setdefault(number, "null" if terminal is None else "terminal")
        self._to_close: list[int] = []
        self.theirs: dict[int, int] = {}
        self.ours: dict[int, tuple[str, int]] = {}

    def open(self) -> None:
        """Open all.

        Raises:
            OSError: No descriptors are left, or one that was given is not open.
        """
        if self._terminal is not None:
            self.terminal_fd, theirs = self._terminal.open()
            self._to_close.append(theirs)
        later: dict[int, int] = {}
        for number, what in self._wanted.items():
            if isinstance(what, int):
                os.fstat(what)
                self.theirs[number] = what
            elif what.startswith("&"):
                later[number] = int(what[1:])
            elif what == "terminal":
                self.theirs[number] = self._to_close[0]
            else:
                self._open_one(number, what)
        for number, same in later.items():
            self.theirs[number] = self.theirs[same]

    def _open_one(self, number: int, what: str) -> None:
        if what == "inherit":
            os.fstat(number)
            self.theirs[number] = number
            return
        if what == "null":
            theirs = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        elif what == "rw":
            import socket

            here, there = socket.socketpair()
            self.ours[number] = (what, here.detach())
            theirs = there.detach()
        else:
            read, write = os.pipe()
            ours, theirs = (read, write) if what == "r" else (write, read)
            self.ours[number] = (what, ours)
        self._to_close.append(theirs)
        self.theirs[number] = theirs

    def close_theirs(self) -> None:
        """Close what only the child is to have."""
        for fd in self._to_close:
            os.close(fd)
        self._to_close.clear()

    def close(self) -> None:
        """Close all."""
        self.close_theirs()
        for _, fd in self.ours.values():
            os.close(fd)
        if self.terminal_fd >= 0:
            os.close(self.terminal_fd)


def _checked(number: int, what: Any, wanted: Mapping[int, Any]) -> int | str:
    """What a descriptor is to be, if it can be.

    Raises:
        UsageError: It cannot.
    """
    if isinstance(what, str):
        if what in ("r", "w", "rw", "null", "inherit"):
            return what
        if what[:1] == "&" and what[1:].isdecimal():
            same = wanted.get(int(what[1:]))
            if same is not None and not (isinstance(same, str) and same.startswith("&")):
                return what
    else:
        try:
            fd = what if isinstance(what, int) else getattr(what, "fileno", lambda: -1)()
        except (OSError, ValueError):  # a file in memory, or one that is closed
            fd = -1
        if isinstance(fd, int) and fd >= 0:
            return fd
    raise UsageError(
        f"descriptor {number} cannot be {what!r}: it is 'r', 'w', 'rw', 'null', 'inherit', "
        "'&' and the number of another one in the same mapping, or a descriptor of ours"
    )
