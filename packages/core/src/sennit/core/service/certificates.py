"""Certificates that are renewed while their server runs: read anew when their files change.

A pair is taken up only when it works; else the one in use stays, and an ERROR names the file
(HARDENING fault-18). Connections that stand keep what they have. New files are read a moment
after the last one of them was touched, so that certificate and key may come one by one.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Final

from sennit.core.errors import TLSError
from sennit.core.service.tree import Service

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sennit.core.interfaces import IReactor
    from sennit.core.observe.files import Observer
    from sennit.core.observe.statpoll import FileEvent
    from sennit.core.reactor.base import Reactor
    from sennit.core.transport.tls import ServerTLS

__all__ = ["SETTLE_SECONDS", "CertificateWatch"]

SETTLE_SECONDS: Final = 1.0
"""Seconds without another change before files are read: a pair is rarely written at once."""


class CertificateWatch(Service):
    """Reads certificates anew when their files change.

    Args:
        contexts: By a name for the log.
        name: Its own name.
        settle: Seconds without another change before files are read (`SETTLE_SECONDS`).
    """

    def __init__(
        self,
        contexts: Mapping[str, ServerTLS],
        name: str = "tls-watch",
        *,
        settle: float | None = None,
    ) -> None:
        super().__init__(name)
        self._contexts = dict(contexts)
        self._settle = SETTLE_SECONDS if settle is None else settle
        self._reactor: Reactor | None = None
        self._observers: list[Observer] = []
        self._reading: set[str] = set()
        self._wanted: set[str] = set()
        self._log = logging.getLogger("sennit.tls")

    async def prepare(self, reactor: IReactor) -> None:
        """Know the reactor."""
        # Observing takes descriptors, which the contract of reactors knows nothing of.
        self._reactor = reactor  # type: ignore[assignment]  # pyright: ignore[reportAttributeAccessIssue]

    async def begin(self) -> None:
        """Observe the files; returns when every later change will be seen."""
        self.watch(self._contexts)
        for each in list(self._observers):
            await each.started

    async def end(self, drain: float) -> None:
        """Observe nothing any more."""
        self._close()
        self._reactor = None

    def watch(self, contexts: Mapping[str, ServerTLS]) -> None:
        """Observe the files of these instead of those before."""
        self._close()
        self._contexts = dict(contexts)
        if self._reactor is None:
            return
        for name, tls in self._contexts.items():
            if files := tls.files:
                # Only where there is something to observe.
                from sennit.core.observe.files import observe

                self._observers.append(
                    observe(
                        files,
                        partial(self._changed, name),
                        settle=self._settle,
                        reactor=self._reactor,
                    )
                )

    def _close(self) -> None:
        for each in self._observers:
            each.close()
        self._observers.clear()

    def _changed(self, name: str, event: FileEvent) -> None:
        if self._reactor is not None and name not in self._wanted:
            # Certificate and key are told one after the other, and read once.
            self._wanted.add(name)
            if name not in self._reading:
                self._reactor.call_soon(self._read, name, event)

    def _read(self, name: str, event: FileEvent) -> None:
        reactor, tls = self._reactor, self._contexts.get(name)
        self._wanted.discard(name)
        if reactor is None or tls is None:
            return
        self._reading.add(name)
        # In a thread: an encrypted key takes a while to open, and a disk may be slow.
        reactor.defer_to_thread(tls.reload).add_callbacks(
            partial(self._good, name, event), partial(self._bad, name, event)
        )

    def _good(self, name: str, event: FileEvent, _: None) -> None:
        self._log.info("certificate %s: read anew, since %s was %s", name, event.path, event.change)
        self._done(name, event)

    def _bad(self, name: str, event: FileEvent, error: BaseException) -> None:
        if not isinstance(error, TLSError):  # that one was logged where it was found
            self._log.error("certificate %s: not read anew, the old one stays: %s", name, error)
        self._done(name, event)

    def _done(self, name: str, event: FileEvent) -> None:
        self._reading.discard(name)
        if name in self._wanted:
            # What was read may have been half of it.
            self._read(name, event)
