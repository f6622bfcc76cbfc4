"""Signed messages (RFC 8945): what is taken, what is refused and with which code."""

from __future__ import annotations

import base64

import dns.message
import dns.tsig
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sennit.names.codes import BADSIG, Rcode, RRType
from sennit.names.errors import DNSUsageError, MessageFormatError, PresentationError, TSIGError
from sennit.names.message import Message
from sennit.names.name import Name
from sennit.names.presentation import tokens_of
from sennit.names.rdata import rdata_from_wire
from sennit.names.rdata.tsig import TSIG
from sennit.names.tsig import (
    MAX_UNSIGNED,
    Key,
    Keyring,
    Signer,
    Verifier,
    error_answer,
    keys_from_text,
    sign,
    verify,
)

NOW = 1_700_000_000
SECRET = bytes(range(32))
KEY = Key("transfer.example.", SECRET)
RING = Keyring([KEY])
ALGORITHMS = ["hmac-sha1", "hmac-sha224", "hmac-sha256", "hmac-sha384", "hmac-sha512"]


def query(number: int = 7) -> bytes:
    return Message.query("example.org", RRType.SOA, id=number).to_wire()


def failure(wire: bytes, keys: Keyring = RING, now: int = NOW, mac: bytes = b"") -> TSIGError:
    with pytest.raises(TSIGError) as caught:
        verify(wire, Message.from_wire(wire), keys, now, request_mac=mac)
    return caught.value


@pytest.mark.parametrize("algorithm", [*ALGORITHMS, "hmac-sha256-128", "hmac-sha512-256"])
def test_what_was_signed_is_verified(algorithm: str) -> None:
    key = Key("k.example", SECRET, algorithm)

    wire, mac = sign(query(), key, NOW)
    verified = verify(wire, Message.from_wire(wire), Keyring([key]), NOW + 300)

    assert verified.key is key
    assert verified.mac == mac
    assert len(mac) == key.mac_size
    assert len(wire) == len(query()) + key.record_size


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_another_implementation_takes_our_signature_and_we_take_its(algorithm: str) -> None:
    key = Key("k.example.", SECRET, algorithm)
    theirs = dns.tsig.Key("k.example.", SECRET, algorithm)
    ring = {theirs.name: theirs}

    request = dns.message.make_query("example.org", "SOA")
    request.use_tsig(theirs)
    wire = request.to_wire()
    import time

    verified = verify(wire, Message.from_wire(wire), Keyring([key]), int(time.time()))
    answer, _ = sign(
        Message.from_wire(wire).reply().to_wire(),
        key,
        int(time.time()),
        request_mac=verified.mac,
    )

    read = dns.message.from_wire(answer, keyring=ring, request_mac=request.mac)
    assert read.had_tsig


def test_every_octet_counts() -> None:
    wire, _ = sign(query(), KEY, NOW)
    for place in range(len(wire)):
        bent = wire[:place] + bytes((wire[place] ^ 1,)) + wire[place + 1 :]
        if bent[:2] != wire[:2]:
            continue  # forwarders may change the id: what was signed is the original one
        try:
            message = Message.from_wire(bent)
        except MessageFormatError:
            continue
        assert failure_or_error(bent, message) is not None


def failure_or_error(wire: bytes, message: Message) -> TSIGError | None:
    try:
        verify(wire, message, RING, NOW)
    except TSIGError as error:
        return error
    return None


def test_a_message_whose_id_was_changed_on_the_way_is_taken() -> None:
    """A forwarder may give it another id (RFC 8945 §4.3.2)."""
    wire, _ = sign(query(7), KEY, NOW)

    moved = b"\x12\x34" + wire[2:]

    assert verify(moved, Message.from_wire(moved), RING, NOW).key is KEY


def test_an_unknown_key_is_badkey() -> None:
    wire, _ = sign(query(), Key("other.example", SECRET), NOW)

    error = failure(wire)

    assert (error.rcode, error.error) == (Rcode.NOTAUTH, Rcode.BADKEY)


def test_a_known_key_with_another_algorithm_is_badkey() -> None:
    wire, _ = sign(query(), Key("transfer.example", SECRET, "hmac-sha512"), NOW)

    assert failure(wire).error == Rcode.BADKEY


def test_a_wrong_secret_is_badsig_also_when_the_time_is_wrong_too() -> None:
    """The MAC is looked at before the time (RFC 8945 §5.2)."""
    wire, _ = sign(query(), Key("transfer.example", b"x" * 32), NOW)

    assert failure(wire, now=NOW + 9999).error == BADSIG


@pytest.mark.parametrize("now", [NOW - 301, NOW + 301])
def test_another_time_is_badtime(now: int) -> None:
    wire, _ = sign(query(), KEY, NOW)

    assert failure(wire, now=now).error == Rcode.BADTIME
    assert verify(wire, Message.from_wire(wire), RING, NOW + 300).key is KEY


def test_a_mac_shorter_than_agreed_is_badtrunc() -> None:
    """It proves the key, and is less than policy asks for (RFC 8945 §5.2.4)."""
    wire, _ = sign(query(), Key("transfer.example", SECRET, "hmac-sha256-128"), NOW)

    assert failure(wire).error == Rcode.BADTRUNC


def test_a_whole_mac_is_taken_where_a_cut_one_would_do() -> None:
    wire, _ = sign(query(), KEY, NOW)
    cut = Keyring([Key("transfer.example", SECRET, "hmac-sha256-128")])

    assert verify(wire, Message.from_wire(wire), cut, NOW).mac


@pytest.mark.parametrize("size", [0, 9, 15, 33])
def test_a_mac_of_no_possible_length_is_formerr(size: int) -> None:
    """Under half of the hash, or over it (RFC 8945 §5.2.2.1)."""
    wire = bent_signature(mac=bytes(size))

    error = failure(wire)

    assert (error.rcode, error.error) == (Rcode.FORMERR, 0)


def bent_signature(rdclass: int = 255, ttl: int = 0, mac: bytes = bytes(32)) -> bytes:
    data = TSIG(
        algorithm=Name("hmac-sha256"),
        time_signed=NOW,
        fudge=300,
        mac=mac,
        original_id=7,
        error=0,
        other=b"",
    ).wire
    plain = query()
    return (
        plain[:10]
        + b"\0\x01"
        + plain[12:]
        + KEY.name.wire
        + (250).to_bytes(2, "big")
        + rdclass.to_bytes(2, "big")
        + ttl.to_bytes(4, "big")
        + len(data).to_bytes(2, "big")
        + data
    )


@pytest.mark.parametrize(("rdclass", "ttl"), [(1, 0), (255, 1)])
def test_a_tsig_of_another_class_or_with_a_ttl_is_formerr(rdclass: int, ttl: int) -> None:
    assert failure(bent_signature(rdclass, ttl)).rcode == Rcode.FORMERR


def test_an_empty_tsig_is_formerr() -> None:
    plain = query()
    wire = plain[:10] + b"\0\x01" + plain[12:] + b"\0" + b"\0\xfa\0\xff" + bytes(4) + bytes(2)

    assert failure(wire).rcode == Rcode.FORMERR


def test_badtime_is_answered_signed_with_the_servers_time() -> None:
    """RFC 8945 §5.2.3: the asker's time signed, the server's in other data."""
    wire, mac = sign(query(), KEY, NOW)
    message = Message.from_wire(wire)
    error = failure(wire, now=NOW + 1000)

    answer = error_answer(message, error, RING, NOW + 1000)

    with pytest.raises(TSIGError) as said:
        Verifier(KEY, mac).verify(answer, Message.from_wire(answer), NOW)
    assert Message.from_wire(answer).rcode == Rcode.NOTAUTH
    assert said.value.error == Rcode.BADTIME
    assert said.value.server_time == NOW + 1000


@pytest.mark.parametrize(
    ("key", "code"),
    [(Key("other.example", SECRET), Rcode.BADKEY), (Key("transfer.example", b"x"), BADSIG)],
)
def test_badkey_and_badsig_are_answered_without_a_mac(key: Key, code: int) -> None:
    wire, mac = sign(query(), key, NOW)
    message = Message.from_wire(wire)

    answer = Message.from_wire(error_answer(message, failure(wire), RING, NOW))

    assert answer.tsig is not None
    assert isinstance(answer.tsig.rdata, TSIG)
    assert answer.tsig.rdata.mac == b""
    assert answer.tsig.rdata.error == code
    with pytest.raises(TSIGError) as said:
        Verifier(key, mac).verify(b"", answer, NOW)
    assert said.value.error == code


def test_badtrunc_is_answered_signed() -> None:
    cut = Key("transfer.example", SECRET, "hmac-sha256-128")
    wire, mac = sign(query(), cut, NOW)
    message = Message.from_wire(wire)

    answer = error_answer(message, failure(wire), RING, NOW)

    with pytest.raises(TSIGError) as said:
        Verifier(KEY, mac).verify(answer, Message.from_wire(answer), NOW)
    assert said.value.error == Rcode.BADTRUNC


def test_formerr_is_answered_plainly() -> None:
    wire = bent_signature(mac=b"x")
    answer = Message.from_wire(error_answer(Message.from_wire(wire), failure(wire), RING, NOW))

    assert answer.rcode == Rcode.FORMERR
    assert answer.tsig is None


# ── several messages ──────────────────────────────────────────────────────────


def exchange(count: int) -> tuple[Verifier, list[bytes]]:
    wire, mac = sign(query(), KEY, NOW)
    signer = Signer(KEY, verify(wire, Message.from_wire(wire), RING, NOW).mac)
    answer = Message.from_wire(wire).reply().to_wire()
    return Verifier(KEY, mac), [signer.sign(answer, NOW) for _ in range(count)]


def test_a_stream_of_signed_messages_is_verified() -> None:
    verifier, wires = exchange(3)

    for wire in wires:
        verifier.verify(wire, Message.from_wire(wire), NOW)
    verifier.finish()


def test_messages_of_a_stream_cannot_change_places() -> None:
    verifier, wires = exchange(3)
    verifier.verify(wires[0], Message.from_wire(wires[0]), NOW)

    with pytest.raises(TSIGError) as caught:
        verifier.verify(wires[2], Message.from_wire(wires[2]), NOW)

    assert caught.value.error == BADSIG


def test_messages_between_signed_ones_may_be_unsigned_up_to_a_number() -> None:
    """As older servers do (RFC 8945 §5.3.1); what they say is signed with the next."""
    key = dns.tsig.Key("transfer.example.", SECRET, "hmac-sha256")
    wire, mac = sign(query(), KEY, NOW)
    plain = Message.from_wire(wire).reply().to_wire()
    first, last = dns.message.from_wire(plain), dns.message.from_wire(plain)
    first.use_tsig(key)
    first.request_mac = mac
    whole = sign_at(first, None)
    context = first.tsig_ctx
    assert context is not None
    context.update(plain)
    last.use_tsig(key)
    end = sign_at(last, context)

    verifier = Verifier(KEY, mac)
    now = signed_at(whole)
    verifier.verify(whole, Message.from_wire(whole), now)
    verifier.verify(plain, Message.from_wire(plain), now)
    with pytest.raises(TSIGError):
        verifier.finish()
    verifier.verify(end, Message.from_wire(end), signed_at(end))
    verifier.finish()

    for _ in range(MAX_UNSIGNED):
        verifier.verify(plain, Message.from_wire(plain), now)
    with pytest.raises(TSIGError):
        verifier.verify(plain, Message.from_wire(plain), now)


def sign_at(message: dns.message.Message, context: object) -> bytes:
    return message.to_wire(multi=True, tsig_ctx=context)


def signed_at(wire: bytes) -> int:
    record = Message.from_wire(wire).tsig
    assert record is not None
    assert isinstance(record.rdata, TSIG)
    return record.rdata.time_signed


def test_an_answer_without_a_signature_is_refused() -> None:
    verifier, _ = exchange(0)
    plain = query()

    with pytest.raises(TSIGError):
        verifier.verify(plain, Message.from_wire(plain), NOW)
    with pytest.raises(TSIGError):
        verifier.finish()


def test_a_stream_signed_by_another_key_midway_is_refused() -> None:
    verifier, wires = exchange(1)
    verifier.verify(wires[0], Message.from_wire(wires[0]), NOW)
    other, _ = sign(query(), Key("other.example", SECRET), NOW)

    with pytest.raises(TSIGError) as caught:
        verifier.verify(other, Message.from_wire(other), NOW)

    assert caught.value.error == Rcode.BADKEY


# ── keys ──────────────────────────────────────────────────────────────────────


def test_md5_is_refused_unless_it_is_asked_for() -> None:
    with pytest.raises(DNSUsageError, match="allow_md5"):
        Key("k", SECRET, "hmac-md5")

    key = Key("k", SECRET, "hmac-md5.sig-alg.reg.int.", allow_md5=True)

    assert key.mac_size == 16


@pytest.mark.parametrize("word", ["hmac-sha3", "hmac-sha256-64", "hmac-sha256-130", "sha256", ""])
def test_an_algorithm_that_is_none_is_refused(word: str) -> None:
    with pytest.raises(DNSUsageError):
        Key("k", SECRET, word)


def test_a_key_is_read_and_written_as_dig_writes_it() -> None:
    text = "hmac-sha512:k.example:" + base64.b64encode(SECRET).decode()

    key = Key.from_text(text)

    assert key == Key("k.example.", SECRET, "hmac-sha512")
    assert key.to_text() == text
    assert Key.from_text(text.removeprefix("hmac-sha512:")).algorithm == "hmac-sha256"


@pytest.mark.parametrize("text", ["", "k", "a:b:c:d", "k:***", "k:"])
def test_text_that_is_no_key_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(DNSUsageError) as caught:
        Key.from_text(text)
    assert "***" not in str(caught.value)


def test_a_file_of_keys_is_read_as_named_reads_it() -> None:
    first, second = Key("a.example", SECRET), Key("b.example", b"x", "hmac-sha512-256")
    text = '// keys\n# more\n/* key "c" { } */\n' + first.to_file() + second.to_file()

    assert keys_from_text(text) == [first, second]


@pytest.mark.parametrize("text", ["", "key k { algorithm hmac-sha256; };", "zone x { };"])
def test_a_file_without_a_whole_key_is_refused(text: str) -> None:
    with pytest.raises(PresentationError):
        keys_from_text(text)


def test_a_secret_stands_in_no_repr() -> None:
    hidden = base64.b64encode(SECRET).decode()

    for thing in (KEY, RING, [KEY]):
        assert hidden not in repr(thing)
        assert SECRET.hex() not in repr(thing)
        assert repr(SECRET) not in repr(thing)


def test_two_keys_of_one_name_are_refused() -> None:
    with pytest.raises(DNSUsageError):
        Keyring([KEY, Key("TRANSFER.example", b"x")])
    assert len(Keyring([KEY.to_text()])) == 1


def test_a_tsig_is_the_same_in_text() -> None:
    wire, _ = sign(query(), KEY, NOW)
    record = Message.from_wire(wire).tsig
    assert record is not None

    text = record.rdata.to_text()

    assert TSIG.parse(tokens_of(text)) == record.rdata
    assert rdata_from_wire(250, record.rdata.wire) == record.rdata
    assert "300 32" in text


@given(st.binary(max_size=200))
def test_no_octets_make_verifying_raise_anything_else(tail: bytes) -> None:
    plain = query()
    wire = plain[:10] + b"\0\x01" + plain[12:] + tail
    try:
        message = Message.from_wire(wire)
    except MessageFormatError:
        return
    with pytest.raises(TSIGError):
        verify(wire, message, RING, NOW)
