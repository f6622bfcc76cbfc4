"""What a service manager is told: ready, reloading, stopping, alive (sd_notify(3)).

The protocol is a datagram of ``NAME=value`` lines to the Unix socket that
``$NOTIFY_SOCKET`` names. Where nobody asked, nothing is sent.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping

    from sennit.core.reactor.base import Reactor
    from sennit.core.reactor.calls import DelayedCall

__all__ = ["ServiceManager", "forget", "watchdog_seconds"]


class ServiceManager:
    """The one that started this process, if it wants to hear of it.

    Args:
        environ: Where its address is; the process' own environment when left out.
    """

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        environ = os.environ if environ is None else environ
        path = environ.get("NOTIFY_SOCKET", "")
        self._address = path if path.startswith(("/", "@")) else ""
        self._watchdog = watchdog_seconds(environ)
        self._beat: DelayedCall | None = None
        self._status = ""

    def tell(self, *lines: str) -> bool:
        """Send lines as one message; whether anybody took it.

        Raises:
            ValueError: A line holds a line end.
        """
        if any("\n" in each for each in lines):
            raise ValueError("a line for the service manager holds a line end")
        if not self._address:
            return False
        import socket

        address = self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
                sock.setblocking(False)
                sock.sendto(
                    "\n".join(lines).encode(),
                    "\0" + address[1:] if address.startswith("@") else address,
                )
        except OSError:
            # It does not listen: that is no reason not to serve.
            return False
        return True

    def ready(self, status: str = "") -> None:
        """Everything listens (also at the end of a reload)."""
        self.tell("READY=1", *([f"STATUS={status}"] if status else []))

    def reloading(self) -> None:
        """The configuration is read again; `ready` follows.

        ``Type=notify-reload`` wants the time, by the clock that does not stop.
        """
        clock = getattr(time, "CLOCK_MONOTONIC", None)
        now = time.monotonic_ns() if clock is None else time.clock_gettime_ns(clock)
        self.tell("RELOADING=1", f"MONOTONIC_USEC={now // 1000}")

    def stopping(self, status: str = "") -> None:
        """The end has begun."""
        self.tell("STOPPING=1", *([f"STATUS={status}"] if status else []))

    def status(self, status: str) -> None:
        """One line on how things are, for ``systemctl status``."""
        if status != self._status:
            self._status = status
            self.tell(f"STATUS={status}")

    def watch(self, reactor: Reactor) -> None:
        """Say twice in its time that this process lives, from `reactor` while that turns."""
        if self._watchdog is not None and self._address:
            self.tell("WATCHDOG=1")
            self._beat = reactor.call_later(self._watchdog / 2, self.watch, reactor)

    def unwatch(self) -> None:
        """Say so no more."""
        if self._beat is not None:
            self._beat.cancel()
            self._beat = None


def watchdog_seconds(environ: Mapping[str, str]) -> float | None:
    """Seconds after which the service manager gives a silent process up, if it does.

    sd_watchdog_enabled(3): ``$WATCHDOG_PID``, where it is set, must be this process.
    """
    text = environ.get("WATCHDOG_USEC", "")
    whose = environ.get("WATCHDOG_PID", "")
    if not (text.isascii() and text.isdigit() and len(text) <= 18) or int(text) == 0:
        return None
    if whose and whose != str(os.getpid()):
        return None
    return int(text) / 1_000_000


def forget(environ: MutableMapping[str, str]) -> None:
    """Take out what children must not hear: they would speak in this process' name."""
    for each in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"):
        environ.pop(each, None)
