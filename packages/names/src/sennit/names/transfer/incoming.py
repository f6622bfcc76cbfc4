"""A zone transfer as it comes in: messages in, a whole zone or its differences out; no I/O.

`TransferIn` makes the question and is given each message that answers it, until `finished`. It
takes AXFR and IXFR, and the whole zone that a server may answer IXFR with. Nothing of what it
gathers is to be used before the last message has come: a transfer that breaks off, or breaks
a rule, is a `TransferError`, and what it brought is thrown away with it.

Sources: RFC 5936 (AXFR), RFC 1995 (IXFR), RFC 1982 (serials).
Not here: connections and time limits between messages, signatures (``sennit.names.tsig``).
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final

from sennit.names.codes import META_TYPES, Opcode, Rcode, RRClass, RRType, rcode_text
from sennit.names.errors import DNSUsageError, TransferError
from sennit.names.message import QR, TC, Message, Question, Record
from sennit.names.name import ROOT
from sennit.names.rdata.basic import SOA
from sennit.names.transfer.serial import newer, serial_of
from sennit.names.zone.zone import Changes

if TYPE_CHECKING:
    from collections.abc import Callable

    from sennit.names.name import Name

__all__ = ["Outcome", "TransferIn", "TransferLimits"]

_SOA: Final = int(RRType.SOA)
_AXFR: Final = int(RRType.AXFR)
_IXFR: Final = int(RRType.IXFR)
_META: Final = META_TYPES


class TransferLimits:
    """How much a transfer may bring (HARDENING dns-14).

    Args:
        records: Records at most.
        octets: Octets of those records at most, names in full.
        seconds: From its first message to its last.
    """

    __slots__ = ("octets", "records", "seconds")

    def __init__(
        self, records: int = 1_000_000, octets: int = 256 << 20, seconds: float = 3600.0
    ) -> None:
        if records < 1 or octets < 1 or seconds <= 0:
            raise DNSUsageError("limits of a transfer are more than 0")
        self.records = records
        self.octets = octets
        self.seconds = seconds


class Outcome(Enum):
    """What a transfer brought."""

    CURRENT = "there is nothing newer"
    WHOLE = "the whole zone"
    CHANGES = "differences"
    TOO_LARGE = "over UDP no more than that there is something newer: ask over TCP"


class TransferIn:
    """One transfer.

    Args:
        zone: Origin of the zone.
        serial: The version that we have; none is taken that is older.
        incremental: Ask for differences from that version (IXFR).
        udp: It goes over UDP, so that one message is all there is.
        id: Id of the question; ``None`` where who carries it looks at ids.
        rdclass: Class of the zone.
        limits: How much it may bring.
        keep: Is given each record of a whole zone, SOA first, in the place of `records`.

    Attributes:
        outcome: What it brought, once it is finished.
        records: The whole zone, SOA first, without its repetition at the end.
        changes: The differences, oldest first; each begins with the SOA that goes and the
            one that comes.
        soa: SOA of the version that it brings.

    Raises:
        DNSUsageError: Differences are asked for from no version.
    """

    def __init__(
        self,
        zone: Name,
        serial: int | None = None,
        *,
        incremental: bool = False,
        udp: bool = False,
        id: int | None = None,  # noqa: A002 - the RFC's word
        rdclass: int = int(RRClass.IN),
        limits: TransferLimits | None = None,
        keep: Callable[[Record], object] | None = None,
    ) -> None:
        if incremental and serial is None:
            raise DNSUsageError("differences are from a version: give the serial")
        self.zone = zone
        self.serial = serial
        self.incremental = incremental
        self.outcome: Outcome | None = None
        self.records: list[Record] = []
        self.changes: list[Changes] = []
        self._keep = self.records.append if keep is None else keep
        self.soa: Record | None = None
        self._udp = udp
        self._id = id
        self._rdclass = rdclass
        self._limits = limits or TransferLimits()
        self._question = Question(zone, _IXFR if incremental else _AXFR, rdclass)
        self._step: Callable[[Record], None] = self._first
        self._count = 0
        self._octets = 0
        self._messages = 0
        self._began: float | None = None
        self._last = 0  # serial of the version that comes
        self._at = 0  # serial that the differences have reached

    @property
    def finished(self) -> bool:
        """Whether all has come."""
        return self.outcome is not None

    def query(self) -> Message:
        """The question."""
        message = Message(self._id or 0, questions=[self._question])
        if self.incremental:
            assert self.serial is not None
            rdata = SOA(
                mname=ROOT, rname=ROOT, serial=self.serial, refresh=0, retry=0, expire=0, minimum=0
            )
            message.authority.append(Record(self.zone, _SOA, 0, rdata, self._rdclass))
        return message

    def receive(self, message: Message, now: float = 0.0) -> bool:
        """Take the next message.

        Args:
            message: The message, its signature verified where there has to be one.
            now: Seconds, of any clock that does not go back.

        Returns:
            Whether it was the last.

        Raises:
            TransferError: It breaks a rule or a limit, or the server refuses.
        """
        if self.finished:
            raise DNSUsageError("the transfer has finished")
        self._look(message, now)
        for record in message.answers:
            if self.outcome is not None:
                raise TransferError("records behind the last one", rule="RFC 5936 §2.2")
            self._step(record)
        self._after(len(message.answers))
        return self.finished

    def receive_eof(self) -> None:
        """Nothing more comes.

        Raises:
            TransferError: The last record has not come.
        """
        if not self.finished:
            raise TransferError(
                f"transfer of {self.zone}: it ended before its last SOA", rule="RFC 5936 §2.2"
            )

    # ── messages ──────────────────────────────────────────────────────────────

    def _look(self, message: Message, now: float) -> None:
        if not message.flags & QR or message.opcode != Opcode.QUERY:
            raise self._bad("what came is no answer", "RFC 5936 §2.2.1")
        if self._id is not None and message.id != self._id:
            raise self._bad("an answer with another id", "RFC 5936 §2.2.1")
        if message.rcode != Rcode.NOERROR:
            raise TransferError(
                f"transfer of {self.zone}: the server answers {rcode_text(message.rcode)}",
                rcode=message.rcode,
            )
        # The first message repeats the question, later ones may (RFC 5936 §2.2.2).
        if message.questions != [self._question] and (message.questions or not self._messages):
            raise self._bad("an answer to another question", "RFC 5936 §2.2.2")
        if self._began is None:
            self._began = now
        self._messages += 1
        if now - self._began > self._limits.seconds:
            raise self._bad(f"more than {self._limits.seconds:g} s", "transfer limits: seconds")
        if message.flags & TC and not self._udp:
            raise self._bad("a message that is cut off", "RFC 5936 §2.2.1")
        if not message.answers and not (self._udp and message.flags & TC):
            # An endless stream of them would meet no other limit soon.
            raise self._bad("a message without records", "RFC 5936 §2.2")

    def _after(self, count: int) -> None:
        if self.outcome is not None:
            return
        alone = self._messages == 1 and count == 1 and self.incremental
        if alone and self.soa is not None and not newer(self._last, self.serial or 0):
            # The SOA alone: there is nothing newer (RFC 1995 §4).
            self.outcome = Outcome.CURRENT
            return
        if self._udp:
            self.records.clear()
            self.changes.clear()
            self.outcome = Outcome.TOO_LARGE

    # ── records ───────────────────────────────────────────────────────────────

    def _bad(self, what: str, rule: str) -> TransferError:
        return TransferError(f"transfer of {self.zone}: {what}", rule=rule)

    def _count_one(self, record: Record) -> None:
        self._count += 1
        if self._count > self._limits.records:
            raise self._bad(f"more than {self._limits.records} records", "transfer limits: records")
        self._octets += len(record.name.wire) + 10 + len(record.rdata.wire)
        if self._octets > self._limits.octets:
            raise self._bad(f"more than {self._limits.octets} octets", "transfer limits: octets")
        if record.rdclass != self._rdclass or record.rdtype in _META:
            raise self._bad("a record that no zone holds", "RFC 5936 §2.2")
        if not record.name.is_below(self.zone):
            raise self._bad(f"{record.name} is outside of the zone", "RFC 5936 §3")
        if record.rdtype == _SOA and record.name != self.zone:
            raise self._bad(f"an SOA at {record.name}", "RFC 5936 §2.2")

    def _first(self, record: Record) -> None:
        self._count_one(record)
        if record.rdtype != _SOA or not isinstance(record.rdata, SOA):
            raise self._bad("the first record is no SOA", "RFC 5936 §2.2")
        self.soa = record
        self._last = record.rdata.serial
        if self.serial is not None and newer(self.serial, self._last):
            raise self._bad(
                f"serial {self._last} is older than ours, {self.serial}", "RFC 1982 §3.2"
            )
        self._step = self._second

    def _second(self, record: Record) -> None:
        assert self.soa is not None
        if self.incremental and record.rdtype == _SOA and serial_of(record) != self._last:
            self._at = self.serial or 0
            self._count_one(record)
            self._removing_begins(record)
            return
        self._keep(self.soa)
        self._step = self._whole
        self._whole(record)

    def _whole(self, record: Record) -> None:
        self._count_one(record)
        if record.rdtype == _SOA:
            if record != self.soa:
                raise self._bad("the last SOA is not the first one", "RFC 5936 §2.2")
            self.outcome = Outcome.WHOLE
            return
        self._keep(record)

    def _removing_begins(self, record: Record) -> None:
        if serial_of(record) != self._at:
            raise self._bad(
                f"differences from {serial_of(record)}, where {self._at} was reached",
                "RFC 1995 §4",
            )
        self.changes.append(Changes([record], []))
        self._step = self._removed

    def _removed(self, record: Record) -> None:
        self._count_one(record)
        if record.rdtype != _SOA:
            self.changes[-1].removed.append(record)
            return
        serial = serial_of(record)
        if not newer(serial, self._at):
            raise self._bad(f"differences from {self._at} back to {serial}", "RFC 1982 §3.2")
        self._at = serial
        self.changes[-1].added.append(record)
        self._step = self._added

    def _added(self, record: Record) -> None:
        self._count_one(record)
        if record.rdtype != _SOA:
            self.changes[-1].added.append(record)
            return
        if self._at == self._last:
            if record != self.soa:
                raise self._bad("the last SOA is not the first one", "RFC 1995 §4")
            self.outcome = Outcome.CHANGES
            return
        if newer(self._at, self._last):
            raise self._bad(f"differences past {self._last}", "RFC 1982 §3.2")
        self._removing_begins(record)
