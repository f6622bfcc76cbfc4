"""No octets make transfers, updates, signatures and journals raise anything but their errors."""

from __future__ import annotations

from packages.names.tests.transfer_zones import ORIGIN, SOME, change, record, soa, zone
from sennit.names.codes import Rcode
from sennit.names.errors import MessageFormatError, TransferError, TSIGError
from sennit.names.message import QR, Message, Question
from sennit.names.transfer.incoming import TransferIn, TransferLimits
from sennit.names.tsig import Key, Keyring, Verifier, error_answer, sign, verify
from sennit.names.update.apply import work_out
from sennit.names.update.history import Entry
from sennit.names.update.journal import decode, encode
from sennit.names.update.message import Update
from sennit.names.update.view import View
from sennit.names.zone.zone import Zone

_KEY = Key("k.example.", bytes(32))
_RING = Keyring([_KEY])
_LIMITS = TransferLimits(records=50, octets=20_000)


def _transfer(*answers: object) -> bytes:
    message = Message(0, QR, questions=[Question(ORIGIN, 252)])
    message.answers.extend(answers)  # type: ignore[arg-type]  # they are records  # pyright: ignore[reportArgumentType]
    return message.to_wire()


_UPDATE = (
    Update(ORIGIN)
    .require("www", "A", "192.0.2.80")
    .require_absent("new")
    .add("new", 60, "A", "192.0.2.1")
    .delete("www", "AAAA")
    .delete("mail")
    .message(7)
    .to_wire()
)

SEEDS = (
    _UPDATE,
    sign(_UPDATE, _KEY, 1_700_000_000)[0],
    _transfer(soa(2), record("a 60 A 192.0.2.1"), soa(2)),
    _transfer(soa(3), soa(1), record("a 60 A 192.0.2.1"), soa(2), soa(2), soa(3), soa(3)),
    encode(Entry(1, 2, change(1, 2, ["www 300 A 192.0.2.80"], ["b 60 TXT x"]))),
)


def fuzz(data: bytes) -> None:
    """Take `data` for each of what it may be."""
    try:
        entry = decode(data)
    except MessageFormatError:
        pass
    else:
        assert encode(decode(encode(entry))) == encode(entry)
    try:
        message = Message.from_wire(data)
    except MessageFormatError:
        return
    _signed(data, message)
    _transferred(message)
    _updated(message)


def _signed(data: bytes, message: Message) -> None:
    try:
        verify(data, message, _RING, 1_700_000_000)
    except TSIGError as error:
        if len(message.questions) == 1:
            Message.from_wire(error_answer(message, error, _RING, 1_700_000_000))
    try:
        Verifier(_KEY, bytes(32)).verify(data, message, 1_700_000_000)
    except TSIGError:
        return


def _transferred(message: Message) -> None:
    for incremental in (False, True):
        for udp in (False, True):
            transfer = TransferIn(ORIGIN, 1, incremental=incremental, udp=udp, limits=_LIMITS)
            message.questions = transfer.query().questions
            try:
                while not transfer.receive(message):
                    assert len(transfer.records) <= 50
            except TransferError:
                continue


def _updated(message: Message) -> None:
    whole = zone(1, SOME)
    view = View(whole)
    rcode = work_out(view, message, lambda name, rdtype: True)
    changes = view.changes()
    if rcode != Rcode.NOERROR:
        assert not changes
    if changes:
        whole.apply(changes)
        assert Zone.from_records(ORIGIN, whole.records()) == whole
