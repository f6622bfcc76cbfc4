"""Messages: a header, a question, and three sections of records (RFC 1035 §4).

`Message.from_wire` takes octets apart, strictly: what is cut, counted wrongly or left over is a
`MessageFormatError`. `Message.to_wire` puts them together, compressed, and leaves out whole
RRsets behind the size that the other side takes (TC, RFC 2181 §9).

Sections are lists of `Record`, in the order of the wire; `rrsets` gathers them by name, type
and class. OPT and TSIG are not among them: they are `Message.edns` and `Message.tsig`.

Sources: RFC 1035 §4, RFC 2136 §2 (the sections of an update), RFC 6891 (OPT), RFC 8945 (TSIG).
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Final

from sennit.names.codes import (
    RRClass,
    RRType,
    class_text,
    rcode_text,
    type_text,
)
from sennit.names.edns import EDNS
from sennit.names.errors import DNSUsageError, MessageFormatError
from sennit.names.name import Name, read_name
from sennit.names.rdata import GenericRdata, Rdata, read_rdata
from sennit.names.rdata.registry import readers
from sennit.names.wire import Writer

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "AA",
    "AD",
    "CD",
    "HEADER",
    "QR",
    "RA",
    "RD",
    "TC",
    "Message",
    "Question",
    "RRset",
    "Record",
    "rrsets",
]

QR: Final = 0x8000
"""The message is a response."""
AA: Final = 0x0400
"""The answer is authoritative."""
TC: Final = 0x0200
"""Something was left out for size."""
RD: Final = 0x0100
"""Recursion is desired."""
RA: Final = 0x0080
"""Recursion is available."""
AD: Final = 0x0020
"""The data are authentic (RFC 4035 §3.1.6)."""
CD: Final = 0x0010
"""Checking is disabled (RFC 4035 §3.1.6)."""

_FLAGS: Final = QR | AA | TC | RD | RA | AD | CD
HEADER: Final = Struct(">6H")
"""Id, flags, and the four counts."""
_FIXED: Final = Struct(">HHIH")
_POINTED: Final = Struct(">HHHIH")
_new: Final = object.__new__
_TWO: Final = Struct(">HH")
_IN: Final = int(RRClass.IN)
_OPT: Final = int(RRType.OPT)
_TSIG: Final = int(RRType.TSIG)


class Question:
    """What is asked: a name, a type, a class."""

    __slots__ = ("name", "rdclass", "rdtype")

    def __init__(self, name: Name, rdtype: int, rdclass: int = _IN) -> None:
        self.name = name
        self.rdtype = rdtype
        self.rdclass = rdclass

    def __str__(self) -> str:
        return f"{self.name} {class_text(self.rdclass)} {type_text(self.rdtype)}"

    def __repr__(self) -> str:
        return f"<Question {self}>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Question):
            return NotImplemented
        return (
            self.name == other.name
            and self.rdtype == other.rdtype
            and self.rdclass == other.rdclass
        )

    def __hash__(self) -> int:
        return hash((self.name, self.rdtype, self.rdclass))


class Record:
    """One resource record.

    Args:
        name: Its owner.
        rdtype: Number of its type.
        ttl: Seconds that it may be kept.
        rdata: Its data; an empty `GenericRdata` in the sections of an update that
            have none.
        rdclass: Number of its class.
    """

    __slots__ = ("name", "rdata", "rdclass", "rdtype", "ttl")

    def __init__(self, name: Name, rdtype: int, ttl: int, rdata: Rdata, rdclass: int = _IN) -> None:
        self.name = name
        self.rdtype = rdtype
        self.rdclass = rdclass
        self.ttl = ttl
        self.rdata = rdata

    def to_text(self, origin: Name | None = None) -> str:
        """In presentation form, one line: owner, TTL, class, type, data."""
        owner = self.name.relative_to(origin)
        return (
            f"{owner} {self.ttl} {class_text(self.rdclass)} {type_text(self.rdtype)} "
            f"{self.rdata.to_text(origin)}"
        ).rstrip()

    def __str__(self) -> str:
        return self.to_text()

    def __repr__(self) -> str:
        return f"<Record {self}>"

    def __eq__(self, other: object) -> bool:
        """The TTL counts too."""
        if not isinstance(other, Record):
            return NotImplemented
        return (
            self.name == other.name
            and self.rdtype == other.rdtype
            and self.rdclass == other.rdclass
            and self.ttl == other.ttl
            and self.rdata == other.rdata
        )

    def __hash__(self) -> int:
        return hash((self.name, self.rdtype, self.rdclass, self.rdata))


class RRset:
    """All records of a name, type and class (RFC 2181 §5).

    Args:
        name: Their owner.
        rdtype: Number of their type.
        ttl: Seconds, the same for all of them.
        rdatas: Their data, without repetitions.
        rdclass: Number of their class.
    """

    __slots__ = ("name", "rdatas", "rdclass", "rdtype", "ttl")

    def __init__(
        self, name: Name, rdtype: int, ttl: int, rdatas: Iterable[Rdata], rdclass: int = _IN
    ) -> None:
        self.name = name
        self.rdtype = rdtype
        self.rdclass = rdclass
        self.ttl = ttl
        self.rdatas = tuple(rdatas)

    def records(self) -> list[Record]:
        """Its records, one by one."""
        return [
            Record(self.name, self.rdtype, self.ttl, each, self.rdclass) for each in self.rdatas
        ]

    def __len__(self) -> int:
        return len(self.rdatas)

    def __repr__(self) -> str:
        return (
            f"<RRset {self.name} {self.ttl} {class_text(self.rdclass)} {type_text(self.rdtype)} "
            f"[{'; '.join(map(str, self.rdatas))}]>"
        )

    def __eq__(self, other: object) -> bool:
        """The TTL counts too; the order of records does not."""
        if not isinstance(other, RRset):
            return NotImplemented
        return (
            self.name == other.name
            and self.rdtype == other.rdtype
            and self.rdclass == other.rdclass
            and self.ttl == other.ttl
            and set(self.rdatas) == set(other.rdatas)
        )

    __hash__ = None  # type: ignore[assignment]  # compared by what it says, never kept in sets


def rrsets(records: Iterable[Record]) -> list[RRset]:
    """Records gathered by name, type and class, in the order of their first ones.

    The TTL of a set is the least of its records' (RFC 2181 §5.2). RRSIGs are one set per
    owner, whatever they cover.
    """
    found: dict[tuple[Name, int, int], list[Record]] = {}
    for record in records:
        found.setdefault((record.name, record.rdtype, record.rdclass), []).append(record)
    return [
        RRset(
            name,
            rdtype,
            min(each.ttl for each in group),
            dict.fromkeys(each.rdata for each in group) if len(group) > 1 else (group[0].rdata,),
            rdclass,
        )
        for (name, rdtype, rdclass), group in found.items()
    ]


class Message:
    """One message.

    Args:
        id: Number that an answer repeats.
        flags: `QR`, `AA` and their like, combined.
        opcode: Kind of query.
        rcode: Response code, all twelve bits of it; from 16 it needs `edns`.
        questions: The question section; the zone section of an update.
        answers: The answer section; the prerequisites of an update.
        authority: The authority section; the changes of an update.
        additional: The additional section, without OPT and TSIG.
        edns: The OPT record, ``None`` for none.

    Attributes:
        tsig: The TSIG record that ended the message; ``None`` for none.
        tsig_start: Position of that record in the octets it came in.
    """

    __slots__ = (
        "additional",
        "answers",
        "authority",
        "edns",
        "flags",
        "id",
        "opcode",
        "questions",
        "rcode",
        "tsig",
        "tsig_start",
    )

    def __init__(
        self,
        id: int = 0,  # noqa: A002 - the RFC's word
        flags: int = 0,
        *,
        opcode: int = 0,
        rcode: int = 0,
        questions: Iterable[Question] = (),
        answers: Iterable[Record] = (),
        authority: Iterable[Record] = (),
        additional: Iterable[Record] = (),
        edns: EDNS | None = None,
    ) -> None:
        self.id = id
        self.flags = flags
        self.opcode = opcode
        self.rcode = rcode
        self.questions = list(questions)
        self.answers = list(answers)
        self.authority = list(authority)
        self.additional = list(additional)
        self.edns = edns
        self.tsig: Record | None = None
        self.tsig_start = 0

    @classmethod
    def query(
        cls,
        name: Name | str,
        rdtype: int = 1,
        *,
        rdclass: int = _IN,
        id: int = 0,  # noqa: A002 - the RFC's word
        flags: int = RD,
        edns: EDNS | None = None,
    ) -> Message:
        """A question. Its id is for who sends it to choose (unpredictably, RFC 5452)."""
        whole = Name(name) if isinstance(name, str) else name
        return cls(id, flags, questions=[Question(whole, rdtype, rdclass)], edns=edns)

    def reply(self, rcode: int = 0, flags: int = 0) -> Message:
        """The beginning of an answer to it: id, opcode and question repeated, RD and CD kept."""
        return Message(
            self.id,
            QR | self.flags & (RD | CD) | flags,
            opcode=self.opcode,
            rcode=rcode,
            questions=self.questions,
        )

    @property
    def question(self) -> Question:
        """The one question.

        Raises:
            DNSUsageError: There is none, or several.
        """
        if len(self.questions) != 1:
            raise DNSUsageError(f"the message has {len(self.questions)} questions")
        return self.questions[0]

    def __repr__(self) -> str:
        asked = ", ".join(map(str, self.questions))
        kind = "response" if self.flags & QR else "query"
        return (
            f"<Message {self.id} {kind} {rcode_text(self.rcode)} [{asked}] "
            f"{len(self.answers)} answers, {len(self.authority)} authority, "
            f"{len(self.additional)} additional>"
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Message):
            return NotImplemented
        return all(
            getattr(self, each) == getattr(other, each)
            for each in self.__slots__
            if each != "tsig_start"
        )

    __hash__ = None  # type: ignore[assignment]  # compared by what it says, never kept in sets

    # ── the wire ──────────────────────────────────────────────────────────────

    @classmethod
    def from_wire(cls, wire: bytes) -> Message:
        """Take a message apart.

        Raises:
            MessageFormatError: It is none.
        """
        size = len(wire)
        if size < 12:
            raise MessageFormatError(f"a message of {size} octets", rule="RFC 1035 §4.1.1")
        number, flags, asked, answers, authority, additional = HEADER.unpack_from(wire)
        self = cls.__new__(cls)
        self.id = number
        self.flags = flags & _FLAGS
        self.opcode = flags >> 11 & 0xF
        self.rcode = flags & 0xF
        self.edns = None
        self.tsig = None
        self.tsig_start = 0
        names: dict[int, Name] = {}
        questions: list[Question] = []
        position = 12
        for _ in range(asked):
            name, position = read_name(wire, position, names)
            if position + 4 > size:
                raise MessageFormatError("a question that is cut off", rule="RFC 1035 §4.1.2")
            rdtype, rdclass = _TWO.unpack_from(wire, position)
            position += 4
            question: Question = _new(Question)
            question.name = name
            question.rdtype = rdtype
            question.rdclass = rdclass
            questions.append(question)
        self.questions = questions
        sections: list[list[Record]] = [[], [], []]
        if answers:
            position = self._read(wire, position, answers, names, sections[0])
        if authority:
            position = self._read(wire, position, authority, names, sections[1])
        if additional:
            position = self._read(wire, position, additional, names, sections[2], last=True)
        self.answers, self.authority, self.additional = sections
        if position != size:
            raise MessageFormatError(
                f"{size - position} octets behind the last record", rule="RFC 1035 §4.1"
            )
        return self

    def _read(
        self,
        wire: bytes,
        position: int,
        count: int,
        names: dict[int, Name],
        found: list[Record],
        *,
        last: bool = False,
    ) -> int:
        """Append the records of a section to `found`; return the position behind them."""
        size = len(wire)
        for left in range(count, 0, -1):
            begin = position
            if position + 11 > size:
                raise MessageFormatError("a record that is cut off", rule="RFC 1035 §4.1.3")
            # Most owners are a pointer to a name that was read before; no call for those.
            first = wire[position]
            name = names.get((first & 0x3F) << 8 | wire[position + 1]) if first >= 0xC0 else None
            if name is None:
                name, position = read_name(wire, position, names)
            else:
                position += 2
            behind = position + 10
            if behind > size:
                raise MessageFormatError("a record that is cut off", rule="RFC 1035 §4.1.3")
            rdtype, rdclass, ttl, length = _FIXED.unpack_from(wire, position)
            position = behind + length
            if position > size:
                raise MessageFormatError("a record that is cut off", rule="RFC 1035 §4.1.3")
            rdata: Rdata
            reader = readers.get(rdtype)
            if reader is not None and length:
                rdata = reader(wire, behind, position, names)
            elif rdtype == _OPT:
                self._take_edns(name, rdclass, ttl, wire[behind:position], last)
                continue
            elif length == 0 and rdclass >= 254:
                rdata = GenericRdata(rdtype, b"")  # RFC 2136 §2.4, §2.5
            else:
                rdata = read_rdata(rdtype, wire, behind, position, names)
            record: Record = _new(Record)
            record.name = name
            record.rdtype = rdtype
            record.rdclass = rdclass
            record.ttl = ttl if ttl <= 0x7FFFFFFF else 0  # RFC 2181 §8
            record.rdata = rdata
            if rdtype == _TSIG:
                if not last or left != 1:
                    raise MessageFormatError(
                        "a TSIG that is not the last record", rule="RFC 8945 §5.1"
                    )
                self.tsig = record
                self.tsig_start = begin
            else:
                found.append(record)
        return position

    def _take_edns(self, name: Name, payload: int, ttl: int, data: bytes, last: bool) -> None:
        if self.edns is not None or not last or not name.is_root:
            raise MessageFormatError("OPT twice or where it may not be", rule="RFC 6891 §6.1.1")
        self.edns = EDNS.read(payload, ttl, data)
        self.rcode |= (ttl >> 24) << 4

    def to_wire(self, max_size: int = 0xFFFF) -> bytes:
        """Put it together.

        Args:
            max_size: Octets at most; behind them whole RRsets are left out, and `TC` is set
                unless they stood in the additional section alone. OPT is always kept.

        Raises:
            DNSUsageError: The response code needs EDNS, which there is not, or the question
                alone is too long.
        """
        if self.rcode > 15 and self.edns is None:
            raise DNSUsageError(f"{rcode_text(self.rcode)} needs EDNS")
        writer = Writer()
        out = writer.out
        out += bytes(12)
        for question in self.questions:
            writer.name(question.name)
            out += _TWO.pack(question.rdtype, question.rdclass)
        opt = b"" if self.edns is None else self.edns.write(self.rcode)
        room = max_size - len(opt)
        if len(out) > room:
            raise DNSUsageError(f"{max_size} octets are too few for the question")
        flags = self.flags | self.opcode << 11 | self.rcode & 0xF
        answers, whole = _write(writer, self.answers, room)
        authority = additional = 0
        if whole:
            authority, whole = _write(writer, self.authority, room)
        if whole:
            additional, _ = _write(writer, self.additional, room)
        else:
            flags |= TC
        if opt:
            out += opt
            additional += 1
        HEADER.pack_into(
            out, 0, self.id, flags, len(self.questions), answers, authority, additional
        )
        return bytes(out)


def _write(writer: Writer, records: list[Record], room: int) -> tuple[int, bool]:
    """Append records while whole RRsets fit; how many did, and whether all."""
    out, names = writer.out, writer.names
    written = 0
    kept = 0  # records of RRsets that are whole
    kept_end = len(out)
    last_type, last_key = -1, b""
    for record in records:
        name, rdtype, rdata = record.name, record.rdtype, record.rdata
        key = name.key
        if rdtype != last_type or key != last_key:
            kept, kept_end = written, len(out)
            last_type, last_key = rdtype, key
        place = names.get(key)
        if rdata.compresses:
            if place is None:
                writer.name(name)
                out += _FIXED.pack(rdtype, record.rdclass, record.ttl, 0)
            else:
                out += _POINTED.pack(0xC000 | place, rdtype, record.rdclass, record.ttl, 0)
            at = len(out)
            rdata.write(writer)
            out[at - 2 : at] = (len(out) - at).to_bytes(2, "big")
        else:
            data = rdata.wire
            if place is None:
                writer.name(name)
                out += _FIXED.pack(rdtype, record.rdclass, record.ttl, len(data))
            else:
                out += _POINTED.pack(0xC000 | place, rdtype, record.rdclass, record.ttl, len(data))
            out += data
        if len(out) > room:
            del out[kept_end:]
            for key in [key for key, place in names.items() if place >= kept_end]:
                del names[key]
            return kept, False
        written += 1
    return written, True
