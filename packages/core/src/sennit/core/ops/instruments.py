"""What core counts of itself, once somebody wants to know.

`measure` puts instruments on a reactor: its turns are run by ``turns.py`` from
then on, and listeners, connections and look-ups tell the reactor's `Meter` of
what happens once per connection or look-up, never per octet. Octets are those
that the kernel has counted (``TCP_INFO``), read when a connection ends and when
somebody asks; so they are known of TCP on Linux, and of nothing else. Datagrams are counted one
by one, while somebody measures (``datagrams.py``).

A reactor that was never measured has ``meter = None``, runs the same turns as
ever and looks at that attribute when a connection begins and ends.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import sys
from contextvars import ContextVar
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

from sennit.core.ops.datagrams import (
    count_datagrams,
    datagram_transports_of,
    drops_of,
    stop_counting_datagrams,
    tally_of,
)
from sennit.core.ops.metrics import registry_of
from sennit.core.ops.turns import TurnMeter, turns
from sennit.core.transport.stream import SocketTransport

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sennit.core.ops.metrics import Registry
    from sennit.core.ops.watch import BlockingWatch
    from sennit.core.reactor.base import Reactor
    from sennit.core.transport.datagrams import DatagramTransport
    from sennit.core.transport.listening import Listener

__all__ = [
    "Meter",
    "connections_of",
    "label_of",
    "measure",
    "octets",
    "process_metrics",
    "stop_measuring",
]

SLOW: Final = 0.1
"""Seconds after which a callback counts as blocking, unless a watch says otherwise."""

TURN_BOUNDS: Final = (
    0.00001,
    0.0001,
    0.0005,
    0.001,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    10.0,
)
"""Upper bounds of the buckets of turn times and timer lags, in seconds."""

CLIENT: Final = "client"
"""The service of connections that this side made."""


class Meter(TurnMeter):
    """What is counted of one reactor (made by `measure`).

    Attributes:
        registry: Where it is counted.
        watch: Is told of those.
        opened: When each connection that stands was taken (monotonic seconds).
    """

    def __init__(self, reactor: Reactor, registry: Registry) -> None:
        self._reactor = reactor
        self.registry = registry
        self.began = 0.0
        self.slow = SLOW
        self.watch: BlockingWatch | None = None
        self.opened: WeakKeyDictionary[SocketTransport, float] = WeakKeyDictionary()
        self._ended_octets: dict[str, list[int]] = {}
        self._ended_datagrams: dict[str, list[int]] = {}
        self._ended_drops: dict[tuple[str, str], int] = {}
        self._make_loop_metrics()
        self._make_connection_metrics()
        self._make_datagram_metrics()
        for transport in datagram_transports_of(reactor):
            count_datagrams(transport)
        registry.before_reading(self.refresh)

    def _make_loop_metrics(self) -> None:
        registry = self.registry
        self.turn_time = registry.histogram(
            "sennit_loop_turn_seconds",
            "How long turns of the loop took, waiting for events not counted.",
            bounds=TURN_BOUNDS,
        ).labels()
        self.timer_lag = registry.histogram(
            "sennit_loop_timer_lag_seconds", "How late timers came.", bounds=TURN_BOUNDS
        ).labels()
        self._busy = registry.counter(
            "sennit_loop_busy_seconds", "Seconds in which the loop did not wait."
        ).labels()
        self.events = registry.counter(
            "sennit_loop_events", "Events of descriptors that the loop has handled."
        ).labels()
        self.calls = registry.counter(
            "sennit_loop_calls", "Calls of the loop's ready queue, timers included."
        ).labels()
        self._blocked = registry.counter(
            "sennit_loop_blocking_callbacks", "Callbacks that kept the loop too long."
        ).labels()
        self._ready = registry.gauge("sennit_loop_ready_calls", "Calls that wait for the loop.")
        self._timers = registry.gauge("sennit_loop_timers", "Timers that wait for their time.")
        self._descriptors = registry.gauge(
            "sennit_loop_descriptors", "Descriptors that the loop watches."
        )
        self._waiting = registry.gauge(
            "sennit_threads_waiting", "Calls that no thread has taken yet.", ("pool",)
        )
        self._oldest = registry.gauge(
            "sennit_threads_oldest_seconds",
            "How long the oldest of these calls has waited.",
            ("pool",),
            across="max",
        )
        self._dropped = registry.counter(
            "sennit_log_lines_dropped", "Log lines for which there was no room."
        )

    def _make_connection_metrics(self) -> None:
        registry = self.registry
        self._accepted = registry.counter(
            "sennit_connections", "Connections that were taken.", ("service",)
        )
        self._active = registry.gauge(
            "sennit_connections_active", "Connections that stand.", ("service",)
        )
        self._closed = registry.counter(
            "sennit_connections_closed",
            "Connections that have ended, and why.",
            ("service", "reason"),
        )
        self._refused = registry.counter(
            "sennit_connections_refused",
            "Connections that were shed, and by which limit.",
            ("service", "reason"),
        )
        self._limits = registry.counter(
            "sennit_limits_reached",
            "Times that a limit was reached, by its name.",
            ("service", "limit"),
        )
        self._lasted = registry.histogram(
            "sennit_connection_seconds",
            "How long connections lasted.",
            ("service",),
            bounds=(0.01, 0.1, 1.0, 10.0, 60.0, 600.0, 3600.0, 86400.0),
        )
        self._received = registry.counter(
            "sennit_received_bytes", "Octets received over TCP.", ("service",)
        )
        self._sent = registry.counter("sennit_sent_bytes", "Octets sent over TCP.", ("service",))
        self._accept_errors = registry.counter(
            "sennit_accept_errors", "Errors of the system while accepting.", ("service", "error")
        )
        self._lookups = registry.counter(
            "sennit_name_lookups", "Names looked up, and what came of it.", ("outcome",)
        )
        self._lookup_time = registry.histogram(
            "sennit_name_lookup_seconds", "How long look-ups of names took."
        ).labels()

    def _make_datagram_metrics(self) -> None:
        registry = self.registry
        self._datagrams = (
            registry.counter("sennit_datagrams_received", "Datagrams received.", ("service",)),
            registry.counter("sennit_datagram_received_bytes", "Their octets.", ("service",)),
            registry.counter("sennit_datagrams_sent", "Datagrams sent.", ("service",)),
            registry.counter("sennit_datagram_sent_bytes", "Their octets.", ("service",)),
        )
        self._datagram_drops = registry.counter(
            "sennit_datagrams_dropped",
            "Datagrams that were dropped, and why.",
            ("service", "reason"),
        )

    # ── what the loop tells ───────────────────────────────────────────────────

    def blocked(self, callback: object, seconds: float) -> None:
        """A callback has kept the loop for so long."""
        self._blocked.inc()
        if self.watch is not None:
            self.watch.ended(callback, self.began, seconds)

    # ── what listeners, connections and look-ups tell ─────────────────────────

    def accepted(self, listener: Listener, transport: SocketTransport) -> None:
        """A listener has taken a connection."""
        self.opened[transport] = monotonic()
        self._accepted.labels(listener.label).inc()

    def refused(self, listener: Listener, reason: str) -> None:
        """A listener has shed a connection."""
        self._refused.labels(listener.label, reason).inc()
        self._limits.labels(listener.label, reason.removeprefix("limit:")).inc()

    def accept_failed(self, listener: Listener, error: OSError) -> None:
        """The system could not accept."""
        code = errno.errorcode.get(error.errno or 0, "unknown")
        self._accept_errors.labels(listener.label, code).inc()

    def closing(self, transport: SocketTransport, sock: Any) -> None:
        """A connection has ended; its socket is open for this one moment more."""
        service = label_of(transport)
        reason = transport.close_reason or "lost"
        self._closed.labels(service, reason).inc()
        if reason.startswith("limit:"):
            self._limits.labels(service, reason[6:]).inc()
        began = self.opened.pop(transport, None)
        if began is not None:
            self._lasted.labels(service).observe(monotonic() - began)
        counted = octets(sock)
        if counted is not None:
            sums = self._ended_octets.setdefault(service, [0, 0])
            sums[0] += counted[0]
            sums[1] += counted[1]

    def datagrams_begin(self, transport: DatagramTransport) -> None:
        """A datagram transport begins."""
        count_datagrams(transport)

    def datagrams_end(self, transport: DatagramTransport) -> None:
        """It has ended; its socket is open for this one moment more."""
        _add_datagrams(transport, self._ended_datagrams, self._ended_drops)

    def looked_up(self, seconds: float, error: BaseException | None) -> None:
        """A name was looked up."""
        self._lookup_time.observe(seconds)
        self._lookups.labels("found" if error is None else "failed").inc()

    # ── what is asked for when somebody reads ─────────────────────────────────

    def refresh(self) -> None:
        """Set what is only known now."""
        reactor = self._reactor
        self._busy.value = self.turn_time.total
        self._ready.labels().set(len(reactor._ready))
        self._timers.labels().set(len(reactor._heap) - reactor._dead_timers)
        self._descriptors.labels().set(len(reactor.handlers))
        for name, pool in (("worker", reactor._threads), ("resolver", reactor.resolver_threads)):
            self._waiting.labels(name).set(0 if pool is None else pool.waiting)
            self._oldest.labels(name).set(0.0 if pool is None else pool.oldest_age)
        self._count_connections()
        self._count_datagrams()
        # Its module stays unloaded in a program that writes no log through it.
        output = sys.modules.get("sennit.core.service.output")
        self._dropped.labels().value = 0 if output is None else output.lines_dropped()

    def _count_connections(self) -> None:
        sums = {service: list(both) for service, both in self._ended_octets.items()}
        active = dict.fromkeys((key[0] for key in self._active._series), 0)
        for transport in connections_of(self._reactor):
            service = label_of(transport)
            active[service] = active.get(service, 0) + 1
            counted = octets(transport._sock)
            if counted is not None:
                both = sums.setdefault(service, [0, 0])
                both[0] += counted[0]
                both[1] += counted[1]
        for service, count in active.items():
            self._active.labels(service).set(count)
        for service, (received, sent) in sums.items():
            # What the kernel says of a connection may lag by what is under way; a
            # counter never goes back.
            for metric, value in ((self._received, received), (self._sent, sent)):
                series = metric.labels(service)
                series.value = max(series.value, value)

    def _count_datagrams(self) -> None:
        sums = {service: list(four) for service, four in self._ended_datagrams.items()}
        drops = dict(self._ended_drops)
        for transport in datagram_transports_of(self._reactor):
            _add_datagrams(transport, sums, drops)
        for service, four in sums.items():
            for metric, value in zip(self._datagrams, four, strict=True):
                metric.labels(service).value = value
        for key, value in drops.items():
            self._datagram_drops.labels(*key).value = value


def _add_datagrams(
    transport: DatagramTransport,
    sums: dict[str, list[int]],
    drops: dict[tuple[str, str], int],
) -> None:
    service = label_of(transport)
    tally = tally_of(transport)
    if tally is not None:
        four = sums.setdefault(service, [0, 0, 0, 0])
        for at, value in enumerate(tally):
            four[at] += value
    for reason, count in drops_of(transport).items():
        drops[service, reason] = drops.get((service, reason), 0) + count


def label_of(transport: SocketTransport | DatagramTransport) -> str:
    """The service a connection belongs to, as metrics name it."""
    owner = transport._owner
    return CLIENT if owner is None else str(getattr(owner, "label", ""))


def connections_of(reactor: Reactor) -> Iterator[SocketTransport]:
    """The connections over sockets that stand in a reactor."""
    for handler in list(reactor.handlers.values()):
        step: Any = handler
        while isinstance(step, partial):
            step = step.args[0]  # a handler that keeps a context
        owner = getattr(step, "__self__", None)
        if isinstance(owner, SocketTransport):
            yield owner


_FIN_RECEIVED: Final = (8, 9, 11)
"""States in which the peer's FIN, which counts as one octet, is counted already:
CLOSE_WAIT, LAST_ACK, CLOSING (``tcp_states.h``)."""


def octets(sock: Any) -> tuple[int, int] | None:
    """Octets received and sent by a TCP socket, as the kernel counts them; else ``None``.

    From ``struct tcp_info`` (``linux/tcp.h``): tcpi_bytes_received at 128, tcpi_notsent_bytes
    at 144, tcpi_bytes_sent and tcpi_bytes_retrans at 200 (Linux 4.19).
    """
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 216)
    except (OSError, AttributeError):
        return None
    if len(info) < 216 or sys.platform != "linux":
        return None
    (received,) = struct.unpack_from("=Q", info, 128)
    (not_sent,) = struct.unpack_from("=I", info, 144)
    sent, again = struct.unpack_from("=QQ", info, 200)
    if info[0] in _FIN_RECEIVED and received:
        received -= 1
    return received, sent - again + not_sent


# ── on and off ────────────────────────────────────────────────────────────────

_switched: ContextVar[bool] = ContextVar("sennit_measured")


def _leave_turns() -> None:
    # The turns end when their context is not empty any more, and are entered anew,
    # by their name on the reactor: now the other ones. Flushes come last in a turn, so what
    # is due in the next one meets the right turns already.
    _switched.set(True)


def measure(reactor: Reactor) -> Meter:
    """Count what `reactor` does from now on; the meter that is there already if it does.

    Call it in the reactor's thread, or before it runs.
    """
    if reactor.meter is None:
        meter = reactor.meter = Meter(reactor, registry_of(reactor))
        # Not through `__dict__`: an object whose dictionary was asked for has slower attributes.
        reactor._turns = partial(turns, reactor, meter)  # type: ignore[method-assign]  # that is how it is measured
        if reactor.running:
            reactor.flush_later(_leave_turns)
    return reactor.meter


def stop_measuring(reactor: Reactor) -> None:
    """Undo `measure`; what was counted stays in the registry."""
    meter, reactor.meter = reactor.meter, None
    if meter is not None:
        if meter.watch is not None:
            meter.watch.stop()
        for transport in datagram_transports_of(reactor):
            stop_counting_datagrams(transport)
        meter.registry.not_before_reading(meter.refresh)
        del reactor._turns  # the class's is there again
        if reactor.running:
            reactor.flush_later(_leave_turns)


def process_metrics(registry: Registry) -> None:
    """Have memory, CPU time and descriptors of the process in `registry`, named as usual."""
    cpu = registry.counter("process_cpu_seconds", "Seconds of CPU time, user and system.")
    memory = registry.gauge("process_resident_memory_bytes", "Resident memory in octets.")
    files = registry.gauge("process_open_fds", "Open descriptors.")
    most = registry.gauge("process_max_fds", "Descriptors that may be open.")

    def refresh() -> None:
        times = os.times()
        cpu.labels().value = times.user + times.system
        try:
            with open("/proc/self/statm", "rb") as statm:
                pages = int(statm.read().split()[1])
            memory.labels().set(pages * os.sysconf("SC_PAGE_SIZE"))
            files.labels().set(len(os.listdir("/proc/self/fd")) - 1)
        except (OSError, ValueError, IndexError):
            return  # no Linux
        import resource

        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        most.labels().set(-1 if limit == resource.RLIM_INFINITY else limit)

    registry.before_reading(refresh)
