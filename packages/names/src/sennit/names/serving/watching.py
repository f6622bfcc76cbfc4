"""Who is told of queries: a log of them, and what counts them.

Both have two methods: ``answered(transport, peer, query, answer)`` with the octets of both, and
``dropped(transport, peer, reason)``. A server without them pays nothing; one that has them reads
the question once more, from its octets.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final, Protocol

from sennit.core._faultlog import RateLimit, escape
from sennit.core.ops.metrics import registry_of
from sennit.names.codes import RRType, class_text, opcode_text, rcode_text, type_text
from sennit.names.errors import MessageFormatError
from sennit.names.name import read_name
from sennit.names.serving.queries import question_end

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from time import monotonic

    from sennit.core.ops.metrics import CounterValue, Registry
else:
    from time import monotonic

__all__ = ["IQueryWatch", "QueryLog", "QueryMetrics", "SeveralWatches"]

_KNOWN: Final = frozenset(int(each) for each in RRType)
"""Types with series of their own; others are counted as ``other``."""


class IQueryWatch(Protocol):
    """Is told of queries. (`Any`: peers are as `socket` names them.)"""

    def answered(self, transport: str, peer: Any, query: bytes, answer: bytes) -> object:
        """A query was answered; both in octets."""

    def dropped(self, transport: str, peer: Any, reason: str) -> object:
        """What came was not answered."""


class SeveralWatches:
    """Tells several.

    Args:
        watches: In the order in which they are told.
    """

    def __init__(self, watches: Sequence[IQueryWatch]) -> None:
        self._watches = tuple(watches)

    def answered(self, transport: str, peer: Any, query: bytes, answer: bytes) -> None:
        """A query was answered."""
        for each in self._watches:
            each.answered(transport, peer, query, answer)

    def dropped(self, transport: str, peer: Any, reason: str) -> None:
        """What came was not answered."""
        for each in self._watches:
            each.dropped(transport, peer, reason)


class QueryLog:
    """Writes a line for each query to the logger ``sennit.names.queries``, so many a second.

    The record has what the line says as attributes, too: ``transport``, ``peer``, ``qname``,
    ``qtype``, ``qclass``, ``opcode``, ``rcode``, ``size``.

    Args:
        lines: Lines a second; how many were left out is told with the next one.
        time: Monotonic seconds.
    """

    def __init__(self, lines: int = 100, *, time: Callable[[], float] = monotonic) -> None:
        self._limit = RateLimit(lines, 1.0, time)
        self._log = logging.getLogger("sennit.names.queries")

    def answered(self, transport: str, peer: Any, query: bytes, answer: bytes) -> None:
        """A query was answered."""
        suppressed = self._limit.admit("query")
        if suppressed is None or not self._log.isEnabledFor(logging.INFO):
            return
        end = question_end(query)
        name, rdtype, rdclass = "-", "-", "-"
        if end:
            try:
                name = str(read_name(query, 12, {})[0])
            except MessageFormatError:
                name = "-"  # longer than a name may be
            rdtype = type_text(int.from_bytes(query[end - 4 : end - 2], "big"))
            rdclass = class_text(int.from_bytes(query[end - 2 : end], "big"))
        said = {
            "transport": transport,
            "peer": escape(peer),
            "qname": escape(name),
            "qtype": rdtype,
            "qclass": rdclass,
            "opcode": opcode_text(query[2] >> 3 & 0xF),
            "rcode": rcode_text(answer[3] & 0xF),
            "size": len(answer),
        }
        self._log.info(
            "%(transport)s %(peer)s %(opcode)s %(qname)s %(qclass)s %(qtype)s "
            "%(rcode)s %(size)d" + (f" ({suppressed} more were not logged)" if suppressed else ""),
            said,
            extra=said,
        )

    def dropped(self, transport: str, peer: Any, reason: str) -> None:
        """What came was not answered."""
        suppressed = self._limit.admit(reason)
        if suppressed is None:
            return
        said = {"transport": transport, "peer": escape(peer), "reason": reason}
        self._log.info("%(transport)s %(peer)s dropped: %(reason)s", said, extra=said)


class QueryMetrics:
    """Counts queries by transport and type, answers by code, and what was dropped.

    Args:
        service: A label that tells this server from others of the process.
        registry: Where; that of the running reactor when left out.
    """

    def __init__(self, service: str = "dns", registry: Registry | None = None) -> None:
        self._service = service
        where = registry or registry_of()
        self._queries = where.counter(
            "sennit_names_queries", "Queries answered.", ("service", "transport", "type")
        )
        self._answers = where.counter(
            "sennit_names_answers", "Answers by response code.", ("service", "rcode")
        )
        self._drops = where.counter(
            "sennit_names_dropped", "Messages that were not answered.", ("service", "reason")
        )
        self._by_type: dict[tuple[str, int], CounterValue] = {}
        self._by_rcode: dict[int, CounterValue] = {}
        self._by_reason: dict[str, CounterValue] = {}

    def answered(self, transport: str, peer: Any, query: bytes, answer: bytes) -> None:
        """A query was answered."""
        del peer
        end = question_end(query)
        rdtype = query[end - 4] << 8 | query[end - 3] if end else -1
        key = (transport, rdtype)
        found = self._by_type.get(key)
        if found is None:
            label = type_text(rdtype) if rdtype in _KNOWN else "other"
            found = self._queries.labels(self._service, transport, label)
            if label != "other":
                self._by_type[key] = found
        found.value += 1
        rcode = answer[3] & 0xF
        told = self._by_rcode.get(rcode)
        if told is None:
            told = self._answers.labels(self._service, rcode_text(rcode))
            self._by_rcode[rcode] = told
        told.value += 1

    def dropped(self, transport: str, peer: Any, reason: str) -> None:
        """What came was not answered."""
        del transport, peer
        found = self._by_reason.get(reason)
        if found is None:
            found = self._by_reason[reason] = self._drops.labels(self._service, reason)
        found.value += 1
