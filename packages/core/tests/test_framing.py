"""Lines, netstrings and length prefixes: whole frames out of any stream of octets."""

from __future__ import annotations

import subprocess
import sys
import time
import tracemalloc
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sennit.core.errors import ProtocolError
from sennit.core.framing.line import LineDecoder, LineProtocol, encode_line
from sennit.core.framing.netstring import NetstringDecoder, NetstringProtocol, encode_netstring
from sennit.core.framing.prefix import PrefixDecoder, PrefixProtocol, encode_prefixed
from sennit.core.protocol import Protocol
from sennit.core.testing.memory import RecordingTransport

if TYPE_CHECKING:
    from collections.abc import Callable

    from sennit.core.framing.octets import Octets


def lines(data: bytes, decoder: LineDecoder | None = None) -> list[bytes]:
    decoder = decoder or LineDecoder()
    decoder.receive_data(data)
    found: list[bytes] = []
    while (line := decoder.next_line()) is not None:
        found.append(line)
    return found


def netstrings(data: bytes, **options: int) -> list[bytes]:
    decoder = NetstringDecoder(**options)
    decoder.receive_data(data)
    found: list[bytes] = []
    while (each := decoder.next_netstring()) is not None:
        found.append(each)
    return found


def frames(
    data: bytes, width: int = 4, byteorder: Literal["big", "little"] = "big", **options: int
) -> list[bytes]:
    decoder = PrefixDecoder(width, byteorder, **options)
    decoder.receive_data(data)
    found: list[bytes] = []
    while (each := decoder.next_frame()) is not None:
        found.append(each)
    return found


# ── lines ─────────────────────────────────────────────────────────────────────


def test_lines_come_without_their_ends() -> None:
    decoder = LineDecoder()

    assert lines(b"one\r\n\r\ntwo\r\nthr", decoder) == [b"one", b"", b"two"]
    assert lines(b"ee\r", decoder) == []
    assert lines(b"\n", decoder) == [b"three"]


def test_any_delimiter_will_do() -> None:
    assert lines(b"a||b|c||", LineDecoder(b"||")) == [b"a", b"b|c"]


def test_lines_that_end_either_way_are_taken_when_asked_for() -> None:
    assert lines(b"a\nb\r\nc\rd\n", LineDecoder(None)) == [b"a", b"b", b"c\rd"]


@pytest.mark.parametrize("data", [b"a\nb\r\n", b"a\rb\r\n", b"a\0b\r\n", b"a\r\r\n"])
def test_where_lines_end_in_crlf_nothing_else_may_look_like_an_end(data: bytes) -> None:
    """HARDENING defaults 9: bare CR, bare LF and NUL are errors."""
    with pytest.raises(ProtocolError, match="inside a line"):
        lines(data)


def test_what_is_forbidden_can_be_chosen() -> None:
    assert lines(b"a\nb\r\n", LineDecoder(forbidden=b"\0")) == [b"a\nb"]
    with pytest.raises(ProtocolError):
        lines(b"a\tb\n", LineDecoder(b"\n", forbidden=b"\t"))


@pytest.mark.parametrize("delimiter", [b"\r\n", b"\n", None])
def test_a_line_of_the_limit_passes_and_one_more_is_refused(delimiter: bytes | None) -> None:
    end = delimiter or b"\r\n"

    assert lines(b"12345" + end, LineDecoder(delimiter, max_line=5)) == [b"12345"]
    with pytest.raises(ProtocolError, match="5 octets") as caught:
        lines(b"123456" + end, LineDecoder(delimiter, max_line=5))
    assert caught.value.rule == "limit:line"


def test_a_line_that_never_ends_is_refused_at_the_limit_and_nothing_more_is_kept() -> None:
    """HARDENING core-9: 100 MiB of A; memory stays within the limit and one read."""
    decoder = LineDecoder()
    read = b"A" * 65536
    tracemalloc.start()
    try:
        with pytest.raises(ProtocolError, match="16384"):
            for _ in range(1600):
                decoder.receive_data(read)
                decoder.next_line()
        for _ in range(1600):
            decoder.receive_data(read)
            with pytest.raises(ProtocolError):
                decoder.next_line()
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert decoder.waiting == 0
    assert most < 16_384 + 2 * len(read)


def test_raw_octets_can_be_taken_between_lines() -> None:
    decoder = LineDecoder()
    decoder.receive_data(b"DATA 5\r\nhelloQUIT\r\n")

    assert decoder.next_line() == b"DATA 5"
    assert decoder.take(5) == b"hello"
    assert decoder.next_line() == b"QUIT"
    assert decoder.take() == b""


def test_octets_can_be_put_back_and_handed_over() -> None:
    decoder = LineDecoder()
    decoder.receive_data(b"two\r\nrest")
    decoder.unread(b"one\r\n")

    assert decoder.next_line() == b"one"
    assert decoder.next_line() == b"two"
    assert decoder.next_line() is None
    assert decoder.release() == b"rest"


@pytest.mark.parametrize("line", [b"a\r\nb", b"a\rb", b"a\nb", b"a\0b"])
def test_a_line_with_an_end_inside_cannot_be_sent(line: bytes) -> None:
    """HARDENING defaults 10: ValueError before the first octet."""
    with pytest.raises(ValueError):
        encode_line(line)


@pytest.mark.parametrize("options", [{"delimiter": b""}, {"max_line": -1}])
def test_a_line_decoder_refuses_what_makes_no_sense(options: Any) -> None:
    with pytest.raises(ValueError):
        LineDecoder(**options)


# ── netstrings ────────────────────────────────────────────────────────────────


def test_netstrings_of_the_definition() -> None:
    """The two examples of the definition, and one cut short."""
    assert netstrings(b"12:hello world!,0:,3:ab") == [b"hello world!", b""]


@pytest.mark.parametrize(
    ("data", "rule"),
    [
        (b"999999999:", "limit:netstring"),
        (b"100000", "limit:netstring"),
        (b"01:a,", "netstring"),
        (b"00", "netstring"),
        (b":", "netstring"),
        (b",", "netstring"),
        (b"-1:", "netstring"),
        (b"+1:a,", "netstring"),
        (b" 1:a,", "netstring"),
        (b"1 :a,", "netstring"),
        (b"1_0:a,", "netstring"),
        (b"0x1:a,", "netstring"),
        ("١:a,".encode(), "netstring"),
        (b"1:ab", "netstring"),
        (b"1:a;", "netstring"),
        (b"0:a", "netstring"),
    ],
)
def test_a_netstring_that_lies_is_refused(data: bytes, rule: str) -> None:
    """HARDENING core-11; defaults 8: ASCII digits only, no sign, blank or underscore."""
    with pytest.raises(ProtocolError) as caught:
        netstrings(data)

    assert caught.value.rule == rule


def test_a_million_digits_are_refused_by_count_and_never_read_as_a_number() -> None:
    """HARDENING core-11, CVE-2020-10735."""
    begun = time.process_time()
    with pytest.raises(ProtocolError, match="digits"):
        netstrings(b"1" * 1_000_000)

    assert time.process_time() - begun < 0.1


def test_a_netstring_of_the_limit_passes_and_one_more_is_refused() -> None:
    assert netstrings(b"5:12345,", max_length=5) == [b"12345"]
    with pytest.raises(ProtocolError, match="5 are allowed"):
        netstrings(b"6:", max_length=5)


def test_a_length_is_refused_before_anything_is_kept_for_it() -> None:
    tracemalloc.start()
    try:
        with pytest.raises(ProtocolError):
            netstrings(b"99999999:x", max_length=10_000_000)
        with pytest.raises(ProtocolError):
            frames(b"\xff\xff\xff\xff")
        netstrings(b"9999999:x", max_length=10_000_000)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert most < 100_000


# ── prefixes ──────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("width", "byteorder", "data"),
    [
        (1, "big", b"\x05hello"),
        (2, "big", b"\x00\x05hello"),
        (2, "little", b"\x05\x00hello"),
        (4, "big", b"\x00\x00\x00\x05hello"),
        (4, "little", b"\x05\x00\x00\x00hello"),
    ],
)
def test_frames_of_every_width_and_order(
    width: int, byteorder: Literal["big", "little"], data: bytes
) -> None:
    assert frames(data * 2 + data[:-1], width, byteorder) == [b"hello", b"hello"]
    assert encode_prefixed(b"hello", width, byteorder) == data


@pytest.mark.parametrize("data", [b"\xff\xff\xff\xff", b"\x00\x10\x00\x01", b"\x80\x00\x00\x00"])
def test_a_prefix_that_lies_is_refused(data: bytes) -> None:
    """HARDENING core-11: refused on the prefix alone."""
    with pytest.raises(ProtocolError, match="are allowed") as caught:
        frames(data)

    assert caught.value.rule == "limit:frame"


def test_a_frame_of_the_limit_passes() -> None:
    assert frames(b"\x05hello", 1, max_length=5) == [b"hello"]
    with pytest.raises(ProtocolError):
        frames(b"\x06", 1, max_length=5)


def test_what_does_not_fit_its_length_cannot_be_sent() -> None:
    assert len(encode_prefixed(bytes(255), 1)) == 256
    with pytest.raises(ValueError, match="8 bits"):
        encode_prefixed(bytes(256), 1)


@pytest.mark.parametrize("arguments", [(3, "big"), (4, "middle"), (0, "big")])
def test_a_prefix_decoder_refuses_what_makes_no_sense(arguments: Any) -> None:
    with pytest.raises(ValueError):
        PrefixDecoder(*arguments)
    with pytest.raises(ValueError):
        encode_prefixed(b"", *arguments)


# ── what holds for all ────────────────────────────────────────────────────────

DECODERS: list[Callable[[], tuple[Octets, Callable[[], bytes | None]]]] = [
    lambda: (each := LineDecoder(max_line=300), each.next_line),
    lambda: (each := LineDecoder(None, max_line=300), each.next_line),
    lambda: (each := NetstringDecoder(max_length=300), each.next_netstring),
    lambda: (each := PrefixDecoder(1), each.next_frame),
    lambda: (each := PrefixDecoder(2, "little", max_length=300), each.next_frame),
]
ENCODERS: list[Callable[[bytes], bytes]] = [
    encode_line,
    encode_line,
    encode_netstring,
    lambda data: encode_prefixed(data, 1),
    lambda data: encode_prefixed(data, 2, "little"),
]
KINDS = range(len(DECODERS))

payloads = st.lists(
    st.binary(max_size=255).map(
        lambda data: data.replace(b"\r", b"?").replace(b"\n", b"?").replace(b"\0", b"?")
    ),
    max_size=8,
)


@given(kind=st.sampled_from(KINDS), messages=payloads, data=st.data())
@settings(deadline=None, max_examples=200)
def test_what_was_encoded_is_decoded_however_it_is_cut(
    kind: int, messages: list[bytes], data: st.DataObject
) -> None:
    whole = b"".join(map(ENCODERS[kind], messages))
    decoder, next_frame = DECODERS[kind]()
    found: list[bytes] = []
    while whole:
        size = data.draw(st.integers(1, len(whole)))
        decoder.receive_data(whole[:size])
        whole = whole[size:]
        if data.draw(st.booleans()) or not whole:
            while (frame := next_frame()) is not None:
                found.append(frame)

    assert found == messages
    assert decoder.release() == b""


def _fuzz() -> Callable[[bytes], None]:
    path = Path(__file__).parent / "fuzz" / "fuzz_framing.py"
    spec = spec_from_file_location("fuzz_framing", path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    for seed in module.SEEDS:
        for step in range(1, 8):
            module.fuzz(bytes((step,)) + seed)
    return module.fuzz  # type: ignore[no-any-return]  # a module's attribute


@given(
    data=st.one_of(
        st.binary(max_size=80),
        st.text("0123456789:,ab\r\n\0", max_size=60).map(str.encode),
    )
)
@settings(deadline=None, max_examples=300)
def test_no_octets_make_a_decoder_do_anything_but_give_frames_or_refuse(data: bytes) -> None:
    fuzz(data)


fuzz = _fuzz()


@pytest.mark.parametrize("kind", ["line", "netstring", "prefix"])
def test_a_frame_that_dribbles_in_costs_linear_time(kind: str) -> None:
    """HARDENING core-10: twice the octets, at most 2.5 times the time; the same result."""

    def measure(size: int) -> float:
        body = b"x" * size
        decoder: Octets
        next_frame: Callable[[], bytes | None]
        if kind == "line":
            decoder = line_decoder = LineDecoder(max_line=size)
            next_frame, data = line_decoder.next_line, encode_line(body)
        elif kind == "netstring":
            decoder = netstring_decoder = NetstringDecoder(max_length=size)
            next_frame, data = netstring_decoder.next_netstring, encode_netstring(body)
        else:
            decoder = prefix_decoder = PrefixDecoder(max_length=size)
            next_frame, data = prefix_decoder.next_frame, encode_prefixed(body)
        begun = time.process_time()
        found = None
        for at in range(len(data)):
            assert found is None
            decoder.receive_data(data[at : at + 1])
            found = next_frame()
        assert found == body
        return time.process_time() - begun

    assert min(measure(100_000) / measure(50_000) for _ in range(3)) < 2.5


@pytest.mark.parametrize("kind", KINDS)
def test_many_frames_in_one_piece_cost_linear_time(kind: int) -> None:
    def measure(count: int) -> float:
        data = ENCODERS[kind](b"hello") * count
        decoder, next_frame = DECODERS[kind]()
        # Twice: the second piece finds a rest, and is kept in another way.
        begun = time.process_time()
        for piece in (data[:3], data[3:]):
            decoder.receive_data(piece)
            while next_frame() is not None:
                pass
        assert decoder.waiting == 0
        return time.process_time() - begun

    assert min(measure(40_000) / measure(20_000) for _ in range(3)) < 2.5


@pytest.mark.parametrize("module", ["line", "netstring", "prefix"])
def test_framing_loads_nothing_that_does_io(module: str) -> None:
    code = (
        f"import sys, sennit.core.framing.{module}\n"
        "heavy = {'socket', 'asyncio', 'ssl', 'selectors', 'typing', 'logging', 're'}\n"
        "sys.exit(', '.join(heavy & set(sys.modules)) or None)"
    )
    ran = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path[:] = {sys.path!r}\n{code}"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (ran.returncode, ran.stderr) == (0, "")


# ── protocols ─────────────────────────────────────────────────────────────────


class Chat(LineProtocol):
    """Keeps lines; `RAW n` announces so many raw octets."""

    max_line = 20

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[str, bytes]] = []
        self.left = 0

    def line_received(self, line: bytes) -> None:
        self.calls.append(("line", line))
        if line.startswith(b"RAW "):
            self.left = int(line[4:])
            self.set_raw_mode()
        elif line == b"PAUSE":
            self.pause_frames()
        elif line == b"CLOSE":
            self.transport.close()

    def raw_received(self, data: bytes) -> None:
        mine, rest = data[: self.left], data[self.left :]
        self.left -= len(mine)
        self.calls.append(("raw", mine))
        if not self.left:
            self.set_line_mode(rest)


@pytest.mark.parametrize("cut", [1, 2, 3, 7, None])
def test_a_line_protocol_switches_to_raw_octets_and_back(cut: int | None) -> None:
    chat = Chat()
    RecordingTransport(chat).receive(b"HELLO\r\nRAW 6\r\nab\r\ncdQUIT\r\n", cut=cut)

    assert [call for call in chat.calls if call[0] == "line"] == [
        ("line", b"HELLO"),
        ("line", b"RAW 6"),
        ("line", b"QUIT"),
    ]
    assert b"".join(data for kind, data in chat.calls if kind == "raw") == b"ab\r\ncd"


def test_frames_can_be_paused_between_two_that_came_together() -> None:
    chat = Chat()
    transport = RecordingTransport(chat)
    transport.receive(b"ONE\r\nPAUSE\r\nTWO\r\nPAUSE\r\nTHREE\r\n")
    assert [line for _, line in chat.calls] == [b"ONE", b"PAUSE"]
    assert not transport.reading
    chat.resume_frames()
    assert [line for _, line in chat.calls] == [b"ONE", b"PAUSE", b"TWO", b"PAUSE"]
    assert not transport.reading
    chat.resume_frames()
    assert chat.calls[-1] == ("line", b"THREE")
    assert transport.reading


def test_no_frame_is_handed_out_after_close() -> None:
    chat = Chat()
    RecordingTransport(chat).receive(b"CLOSE\r\nMORE\r\n")

    assert [line for _, line in chat.calls] == [b"CLOSE"]


def test_a_line_that_is_too_long_aborts_with_the_limit_as_the_reason() -> None:
    """HARDENING core-9."""
    chat = Chat()
    transport = RecordingTransport(chat)
    transport.receive(b"A" * 30)

    assert transport.close_reason == "limit:line"
    assert transport.aborted


def test_a_refusal_can_be_answered_first() -> None:
    class Polite(Chat):
        def frame_refused(self, error: ProtocolError) -> None:
            self.send_line(b"500 " + error.rule.encode())
            self.transport.close("limit:line")

    transport = RecordingTransport(Polite())
    transport.receive(b"A" * 30)

    assert transport.written == b"500 limit:line\r\n"
    assert transport.close_reason == "limit:line"


def test_what_a_subclass_raises_is_not_taken_for_a_refusal() -> None:
    class Bad(Chat):
        def line_received(self, line: bytes) -> None:
            raise ProtocolError("mine")

    transport = RecordingTransport(Bad())
    transport.receive(b"x\r\n")

    assert [str(error) for error in transport.errors] == ["mine"]


def test_lines_are_sent_with_their_end_and_never_with_two() -> None:
    chat = Chat()
    transport = RecordingTransport(chat)
    chat.send_line(b"hello")
    with pytest.raises(ValueError):
        chat.send_line(b"hello\r\nEVIL")

    assert transport.written == b"hello\r\n"


def test_another_protocol_goes_on_with_what_was_not_read() -> None:
    class Next(Protocol):
        def __init__(self) -> None:
            self.data = b""

        def data_received(self, data: bytes) -> None:
            self.data += data

    class First(Chat):
        def line_received(self, line: bytes) -> None:
            self.switch_to(following)

    following = Next()
    transport = RecordingTransport(First())
    transport.receive(b"SWITCH\r\nnot a line")
    transport.receive(b", really")

    assert following.data == b"not a line, really"
    assert following.transport is transport


def test_a_netstring_protocol_receives_and_sends() -> None:
    class Echo(NetstringProtocol):
        max_length = 10

        def netstring_received(self, data: bytes) -> None:
            self.send_netstring(data[::-1])

    echo = Echo()
    transport = RecordingTransport(echo)
    transport.receive(b"5:hello,0:,", cut=2)
    assert transport.take() == b"5:olleh,0:,"
    with pytest.raises(ValueError):
        echo.send_netstring(bytes(11))
    transport.receive(b"11:")
    assert transport.close_reason == "limit:netstring"


@pytest.mark.parametrize(
    ("width", "byteorder", "prefix"), [(1, "big", b"\x02"), (4, "little", b"\x02\0\0\0")]
)
def test_a_prefix_protocol_receives_and_sends(
    width: int, byteorder: Literal["big", "little"], prefix: bytes
) -> None:
    class Echo(PrefixProtocol):
        max_length = 10

        def frame_received(self, frame: bytes) -> None:
            self.send_frame(frame[::-1])

    Echo.width, Echo.byteorder = width, byteorder
    echo = Echo()
    transport = RecordingTransport(echo)
    transport.receive(prefix + b"ab", cut=1)
    assert transport.take() == prefix + b"ba"
    with pytest.raises(ValueError):
        echo.send_frame(bytes(11))
    transport.receive(b"\xff" * 4)
    assert transport.close_reason == "limit:frame"


@pytest.mark.parametrize("data", [b"3:abc,", b"\0\0\0\3abc"])
def test_a_decoder_lets_go_of_a_frame_it_has_begun(data: bytes) -> None:
    decoder: Octets
    if data[0]:
        decoder = netstring = NetstringDecoder()
        next_frame = netstring.next_netstring
    else:
        decoder = prefix = PrefixDecoder()
        next_frame = prefix.next_frame
    decoder.receive_data(data[:5])
    assert next_frame() is None

    assert decoder.release() == data[:5]
