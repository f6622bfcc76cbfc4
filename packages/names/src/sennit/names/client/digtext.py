"""Messages as dig prints them, and as JSON.

Columns, headings and comments are those that people and scripts know from dig(1); JSON is that
of RFC 8427 ("Representing DNS Messages in JSON").
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sennit.names.codes import OptionCode, class_text, opcode_text, rcode_text, type_text
from sennit.names.dnssec.numbers import Algorithm
from sennit.names.message import AA, AD, CD, QR, RA, RD, TC, Record
from sennit.names.options import option_text
from sennit.names.rdata.basic import SOA
from sennit.names.rdata.dnssec import DNSKEY

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sennit.names.edns import EDNS
    from sennit.names.message import Message

__all__ = ["Style", "flags_text", "message_json", "message_lines", "record_line"]

_FLAGS = ((QR, "qr"), (AA, "aa"), (TC, "tc"), (RD, "rd"), (RA, "ra"), (AD, "ad"), (CD, "cd"))
_UPDATE_SECTIONS = ("ZONE", "PREREQUISITE", "UPDATE", "ADDITIONAL")
_SECTIONS = ("QUESTION", "ANSWER", "AUTHORITY", "ADDITIONAL")
_UNITS = ((604800, "week"), (86400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))
UPDATE = 5


@dataclass
class Style:
    """What is printed of a message (the ``+`` options of dig)."""

    comments: bool = True
    question: bool = True
    answer: bool = True
    authority: bool = True
    additional: bool = True
    ttl: bool = True
    ttl_units: bool = False
    rdclass: bool = True
    multiline: bool = False
    client_cookie: bytes = b""


def flags_text(flags: int) -> str:
    """``qr aa rd``."""
    return " ".join(word for bit, word in _FLAGS if flags & bit)


def message_lines(message: Message, style: Style) -> list[str]:
    """The lines of a message."""
    lines: list[str] = []
    blank = [""] if style.comments else []
    names = _UPDATE_SECTIONS if message.opcode == UPDATE else _SECTIONS
    sections = (message.answers, message.authority, message.additional)
    if style.comments:
        extra = (message.edns is not None) + (message.tsig is not None)
        counts = (
            len(message.questions),
            len(message.answers),
            len(message.authority),
            len(message.additional) + extra,
        )
        shown = ", ".join(f"{n}: {c}" for n, c in zip(_short(names), counts, strict=True))
        what = f"opcode: {opcode_text(message.opcode)}, status: {rcode_text(message.rcode)}"
        lines.append(f";; ->>HEADER<<- {what}, id: {message.id}")
        lines.append(f";; flags: {flags_text(message.flags)}; {shown}")
        if message.flags & QR and message.flags & RD and not message.flags & RA:
            lines.append(";; WARNING: recursion requested but not available")
        lines.append("")
        if message.edns is not None:
            lines += _edns_lines(message.edns, style)
    if style.question and message.questions:
        if style.comments:
            lines.append(f";; {names[0]} SECTION:")
        for asked in message.questions:
            rdclass = class_text(asked.rdclass)
            # The semicolon does not count among the columns.
            lines.append(
                ";" + _columns(style, str(asked.name), "", rdclass, type_text(asked.rdtype), "")
            )
        lines += blank
    wanted = (style.answer, style.authority, style.additional)
    for name, records, shown_too in zip(names[1:], sections, wanted, strict=True):
        if records and shown_too:
            if style.comments:
                lines.append(f";; {name} SECTION:")
            for each in records:
                lines += record_line(each, style).split("\n")
            lines += blank
    if message.tsig is not None and style.additional:
        if style.comments:
            lines.append(";; TSIG PSEUDOSECTION:")
        lines += [record_line(message.tsig, style), *blank]
    return lines


def _short(names: tuple[str, ...]) -> tuple[str, ...]:
    if names is _SECTIONS:
        return ("QUERY", *names[1:])
    return ("ZONE", "PREREQ", "UPDATE", "ADDITIONAL")


def _edns_lines(edns: EDNS, style: Style) -> list[str]:
    flags = " do" if edns.dnssec_ok else ""
    lines = [
        ";; OPT PSEUDOSECTION:",
        f"; EDNS: version: {edns.version}, flags:{flags}; udp: {edns.payload}",
    ]
    for each in edns.options:
        line = f"; {option_text(each)}"
        if each.code == OptionCode.COOKIE and style.client_cookie:
            good = each.data[:8] == style.client_cookie and len(each.data) >= 16
            line += " (good)" if good else " (bad)" if len(each.data) >= 16 else ""
        lines.append(line)
    return lines


def record_line(record: Record, style: Style) -> str:
    """A record in columns; several lines where `style.multiline` makes them."""
    ttl = "" if not style.ttl else _span(record.ttl) if style.ttl_units else str(record.ttl)
    return _columns(
        style,
        str(record.name),
        ttl,
        class_text(record.rdclass) if style.rdclass else "",
        type_text(record.rdtype),
        _data(record, style),
    )


def _data(record: Record, style: Style) -> str:
    rdata = record.rdata
    if style.multiline and isinstance(rdata, SOA):
        parts = [
            f"{rdata.mname} {rdata.rname} (",
            *(
                "\t\t\t\t" + f"{value:<10} ; {name}{shown}"
                for name, value, shown in (
                    ("serial", rdata.serial, ""),
                    ("refresh", rdata.refresh, f" ({_words(rdata.refresh)})"),
                    ("retry", rdata.retry, f" ({_words(rdata.retry)})"),
                    ("expire", rdata.expire, f" ({_words(rdata.expire)})"),
                    ("minimum", rdata.minimum, f" ({_words(rdata.minimum)})"),
                )
            ),
            "\t\t\t\t)",
        ]
        return "\n".join(parts)
    if style.multiline and isinstance(rdata, DNSKEY):
        return _dnskey(rdata)
    text = rdata.to_text()
    if style.multiline and len(text) > 80:
        words = text.split(" ")
        lines: list[str] = []
        line = ""
        for word in words:
            if line and len(line) + len(word) > 56:
                lines.append(line)
                line = ""
            line = f"{line} {word}" if line else word
        lines.append(line)
        return "( " + "\n\t\t\t\t".join(lines) + " )"
    return text


def _dnskey(rdata: DNSKEY) -> str:
    encoded = base64.b64encode(rdata.public_key).decode("ascii")
    lines = [encoded[at : at + 44] for at in range(0, len(encoded), 44)]
    kind = "KSK" if rdata.flags & 1 else "ZSK"
    try:
        algorithm = Algorithm(rdata.algorithm).name
    except ValueError:
        algorithm = str(rdata.algorithm)
    return "\n\t\t\t\t".join(
        [
            f"{rdata.flags} {rdata.protocol} {rdata.algorithm} (",
            *lines,
            f") ; {kind}; alg = {algorithm} ; key id = {rdata.key_tag}",
        ]
    )


def _words(seconds: int) -> str:
    found: list[str] = []
    for size, unit in _UNITS:
        count, seconds = divmod(seconds, size)
        if count:
            found.append(f"{count} {unit}{'s' if count > 1 else ''}")
    return " ".join(found) or "0 seconds"


def _span(seconds: int) -> str:
    found = ""
    for size, unit in _UNITS:
        count, seconds = divmod(seconds, size)
        if count:
            found += f"{count}{unit[0]}"
    return found or "0s"


def _columns(style: Style, owner: str, ttl: str, rdclass: str, rdtype: str, data: str) -> str:
    """The parts of a record at dig's columns, by tabs of eight where those reach."""
    if style.multiline or not (style.ttl or style.rdclass):
        begins = (24, 24, 24, 32)
    elif not (style.ttl and style.rdclass):
        begins = (24, 24, 32, 40)
    else:
        begins = (24, 32, 40, 48)
    out, column = owner, len(owner)
    for text, begin in zip((ttl, rdclass, rdtype, data), begins, strict=True):
        if not text:
            continue
        wanted = max(begin, column + 1)
        while (stop := column // 8 * 8 + 8) <= wanted:
            out += "\t"
            column = stop
        out += " " * (wanted - column) + text
        column = wanted + len(text)
    return out


# ── JSON ──────────────────────────────────────────────────────────────────────


def message_json(message: Message, *, size: int = 0) -> dict[str, Any]:
    """A message as RFC 8427 writes it. (`Any`: JSON.)"""
    found: dict[str, Any] = {"ID": message.id}
    found.update({word.upper(): int(bool(message.flags & bit)) for bit, word in _FLAGS})
    found["Opcode"] = message.opcode
    found["RCODE"] = message.rcode
    found["RCODEname"] = rcode_text(message.rcode)
    found["QDCOUNT"] = len(message.questions)
    found["ANCOUNT"] = len(message.answers)
    found["NSCOUNT"] = len(message.authority)
    found["ARCOUNT"] = (
        len(message.additional) + (message.edns is not None) + (message.tsig is not None)
    )
    if len(message.questions) == 1:
        asked = message.questions[0]
        found["QNAME"] = str(asked.name)
        found["QTYPE"] = asked.rdtype
        found["QTYPEname"] = type_text(asked.rdtype)
        found["QCLASS"] = asked.rdclass
        found["QCLASSname"] = class_text(asked.rdclass)
    found["answerRRs"] = _records(message.answers)
    found["authorityRRs"] = _records(message.authority)
    found["additionalRRs"] = _records(message.additional)
    if message.edns is not None:
        found["EDNS"] = {
            "version": message.edns.version,
            "DO": int(message.edns.dnssec_ok),
            "payload": message.edns.payload,
            "options": [
                {"code": each.code, "dataHEX": each.data.hex(), "text": option_text(each)}
                for each in message.edns.options
            ],
        }
    if size:
        found["msgLength"] = size
    return found


def _records(records: Iterable[Record]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for each in records:
        kind = type_text(each.rdtype)
        found.append(
            {
                "NAME": str(each.name),
                "TYPE": each.rdtype,
                "TYPEname": kind,
                "CLASS": each.rdclass,
                "CLASSname": class_text(each.rdclass),
                "TTL": each.ttl,
                "RDLENGTH": len(each.rdata.wire),
                "RDATAHEX": each.rdata.wire.hex(),
                f"rdata{kind}": each.rdata.to_text(),
            }
        )
    return found
