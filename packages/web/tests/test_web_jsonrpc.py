"""JSON-RPC 2.0 on a recording transport: the specification's examples, limits, the asking side."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Protocol

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sennit.core.address import InternetAddress
from sennit.core.deferred import Deferred
from sennit.core.testing.clock import Clock
from sennit.core.testing.memory import RecordingTransport
from sennit.web import Request, Site
from sennit.web.client.messages import OutgoingRequest
from sennit.web.errors import BodyTooLargeError, WebProtocolError, WebUsageError
from sennit.web.rpc.errors import MismatchError, RPCError
from sennit.web.rpc.exposing import Methods
from sennit.web.rpc.json_grammar import read_json, write_json
from sennit.web.rpc.jsonrpc import JSONRPC, JSONRPCBatch, JSONRPCClient, work_on
from sennit.web.rpc.limits import RPCLimits


@pytest.fixture
def clock() -> Iterator[Clock]:
    with Clock() as found:
        yield found


def service() -> JSONRPC:
    rpc = JSONRPC()

    @rpc.method
    def subtract(minuend: int, subtrahend: int) -> int:
        return minuend - subtrahend

    @rpc.method(name="sum")
    def total(*numbers: int) -> int:
        return sum(numbers)

    @rpc.method
    def get_data() -> list[object]:
        return ["hello", 5]

    @rpc.method
    def refuse() -> None:
        raise RPCError(7, "no more", {"left": 0})

    @rpc.method
    def refuse_oddly() -> None:
        raise RPCError(7, "no more", object())

    @rpc.method
    def peer(request: Request) -> str:
        return str(request.method)

    return rpc


def ask(clock: Clock, content: bytes | str, rpc: JSONRPC | None = None) -> Any:
    """What a message is answered with, as JSON; ``None`` when with nothing."""
    rpc = rpc or service()
    octets = content.encode() if isinstance(content, str) else content
    answer = clock.run(lambda _: work_on(octets, rpc.methods, rpc.limits, {}))
    return None if answer is None else json.loads(answer)


# ── the serving side ──────────────────────────────────────────────────────────

EXAMPLES = [
    ('{"jsonrpc": "2.0", "method": "subtract", "params": [42, 23], "id": 1}', (1, 19)),
    ('{"jsonrpc": "2.0", "method": "subtract", "params": [23, 42], "id": 2}', (2, -19)),
    (
        '{"jsonrpc":"2.0","method":"subtract","params": {"subtrahend": 2, "minuend": 4}, "id":3}',
        (3, 2),
    ),
    ('{"jsonrpc": "2.0", "method": "subtract", "params": [1, 2]}', None),
    ('{"jsonrpc": "2.0", "method": "foobar"}', None),
    ('{"jsonrpc": "2.0", "method": "foobar", "id": "1"}', ("1", -32601)),
    ('{"jsonrpc": "2.0", "method": "foobar, "params": "bar", "baz]', (None, -32700)),
    ('{"jsonrpc": "2.0", "method": 1, "params": "bar"}', (None, -32600)),
    ('{"jsonrpc": "2.0", "method": "sum", "params": "bar", "id": 1}', (1, -32600)),
    ('{"jsonrpc": "1.0", "method": "sum", "id": 1}', (1, -32600)),
    ('{"method": "sum", "id": 1}', (1, -32600)),
    ('{"jsonrpc": "2.0", "method": "sum", "id": [1]}', (None, -32600)),
    ('{"jsonrpc": "2.0", "method": "sum", "id": true}', (None, -32600)),
    ('{"jsonrpc": "2.0", "method": "sum", "id": null}', (None, 0)),
    ('{"jsonrpc": "2.0", "id": 1}', (1, -32600)),
    ('{"jsonrpc": "2.0", "id": 1, "result": 5}', (1, -32600)),
    ('{"jsonrpc": "2.0", "id": 1, "error": 5}', (1, -32600)),
    ('{"jsonrpc": "2.0", "id": 1, "error": {"code": "a"}}', (1, -32600)),
    ("1", (None, -32600)),
    ("[]", (None, -32600)),
    ("", (None, -32700)),
]


@pytest.mark.parametrize(("message", "expected"), EXAMPLES)
def test_the_examples_of_the_specification(clock: Clock, message: str, expected: Any) -> None:
    """JSON-RPC 2.0 §7, and what lies beside it."""
    answer = ask(clock, message)
    if expected is None:
        assert answer is None
        return
    assert answer["jsonrpc"] == "2.0"
    assert answer["id"] == expected[0]
    assert answer.get("result", answer.get("error", {"code": None})) is not None
    assert (answer["result"] if "result" in answer else answer["error"]["code"]) == expected[1]


def test_a_batch_is_answered_in_order_without_its_notifications(clock: Clock) -> None:
    answer = ask(
        clock,
        """[
        {"jsonrpc": "2.0", "method": "sum", "params": [1,2,4], "id": "1"},
        {"jsonrpc": "2.0", "method": "sum", "params": [7]},
        {"jsonrpc": "2.0", "method": "subtract", "params": [42,23], "id": "2"},
        {"foo": "boo"},
        {"jsonrpc": "2.0", "method": "foo.get", "params": {"name": "myself"}, "id": "5"},
        {"jsonrpc": "2.0", "method": "get_data", "id": "9"}
    ]""",
    )
    assert [(each["id"], each.get("result")) for each in answer] == [
        ("1", 7), ("2", 19), (None, None), ("5", None), ("9", ["hello", 5]),
    ]  # fmt: skip
    assert [each["error"]["code"] for each in answer if "error" in each] == [-32600, -32601]
    assert [each["error"]["code"] for each in ask(clock, "[1,2]")] == [-32600, -32600]
    assert ask(clock, '[{"jsonrpc": "2.0", "method": "sum"}]') is None


def test_calls_of_a_batch_are_worked_on_side_by_side(clock: Clock) -> None:
    rpc = JSONRPC()
    first: Deferred[str] = Deferred()

    @rpc.method
    def wait() -> Deferred[str]:
        return first

    @rpc.method
    def go() -> str:
        first.callback("went")
        return "gone"

    answer = ask(
        clock,
        '[{"jsonrpc": "2.0", "method": "wait", "id": 1},{"jsonrpc": "2.0", "method": "go","id":2}]',
        rpc,
    )
    assert [each["result"] for each in answer] == ["went", "gone"]


def test_a_batch_of_too_many_calls_is_refused_as_a_whole(clock: Clock) -> None:
    rpc = JSONRPC(limits=RPCLimits(batch=3))
    answer = ask(clock, "[1,2,3,4]", rpc)
    assert answer["error"] == {"code": -32600, "message": "a batch of more than 3 calls"}
    assert len(ask(clock, "[1,2,3]", rpc)) == 3


def test_an_error_is_told_with_its_data(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    answer = ask(clock, '{"jsonrpc": "2.0", "method": "refuse", "id": 1}')
    assert answer["error"] == {"code": 7, "message": "no more", "data": {"left": 0}}
    answer = ask(clock, '{"jsonrpc": "2.0", "method": "refuse_oddly", "id": 1}')
    assert answer["error"] == {"code": -32603, "message": "internal error"}
    assert len(caplog.records) == 1


@pytest.mark.parametrize("odd", ["\ud800", 10**5000], ids=["half a pair", "too long"])
def test_a_result_that_cannot_be_written_leaves_the_others_of_the_batch_alone(
    clock: Clock, caplog: pytest.LogCaptureFixture, odd: object
) -> None:
    rpc = service()

    @rpc.method(name="odd")
    def give() -> object:
        return odd

    calls = [{"jsonrpc": "2.0", "method": each, "id": each} for each in ("odd", "get_data")]
    first, second = ask(clock, json.dumps(calls), rpc)
    assert first["error"] == {"code": -32603, "message": "internal error"}
    assert second["result"] == ["hello", 5]
    assert "in the result of 'odd'" in caplog.text


HOSTILE = [
    b"[" * 100_000,
    b'{"a":' * 65 + b"1" + b"}" * 65,
    b"[" * 65 + b"]" * 65,
    b'"' + b'\\"' * 100_000,
    b"[" * 70 + b'"' + b'\\"' * 100_000,
    b'{"a": 1, "a": 2}',
    b"NaN", b"Infinity", b"-Infinity", b"1e999", b"01", b"+1", b"1_0", b"'a'", b"[1,]", b"// a\n1",
    b"1" * 1001,
    b"-" + b"9" * 100_000,
    b"\xef\xbb\xbf1",
    b'"\xff"',
    b'"\xed\xa0\x80"',
    b'"\\ud800"', b'{"\\udfff": 1}', b'["\\ud83d"]',
    b'"\n"', b'"\x00"',
    b"1 2",
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_json_is_a_parse_error(clock: Clock, text: bytes) -> None:
    """HARDENING nev-5: depth, digits, NaN, names twice (CVE-2020-10735)."""
    answer = ask(clock, text)
    assert answer["error"]["code"] == -32700
    assert answer["id"] is None
    assert len(answer["error"]["message"]) < 300


def test_json_up_to_the_limits_is_read() -> None:
    deep = b"[" * 64 + b"]" * 64
    assert write_json(read_json(deep)) == deep
    # Brackets in texts are no depth.
    assert read_json(b'["' + b"[" * 200 + b'"]') == ["[" * 200]
    assert read_json(b"[" + b"[]," * 100 + b"[]]") == [[]] * 101
    assert read_json(b"9" * 1000) == int("9" * 1000)
    assert read_json(b'"\\ud83d\\ude00"') == "\U0001f600"
    assert read_json(b'"\\\\ud800"') == "\\ud800"


@given(st.binary() | st.text().map(str.encode))
def test_no_octets_make_the_reader_raise_anything_but_a_protocol_error(data: bytes) -> None:
    try:
        value = read_json(data)
    except WebProtocolError:
        return
    assert read_json(write_json(value)) == value


# ── over HTTP ─────────────────────────────────────────────────────────────────


class Connection:
    """A client's view of one connection."""

    def __init__(self, clock: Clock, rpc: JSONRPC) -> None:
        self.clock = clock
        site = Site(clock=clock)
        site.put_child("rpc", rpc)
        protocol = site.build_protocol(None)
        self.transport = RecordingTransport(protocol, peer=InternetAddress("192.0.2.1", 5000))

    def post(self, content: bytes, kind: str = "application/json", method: str = "POST") -> bytes:
        head = (
            f"{method} /rpc HTTP/1.1\r\nHost: a\r\nContent-Type: {kind}\r\n"
            f"Content-Length: {len(content)}\r\n\r\n"
        )
        self.clock.call_soon(self.transport.receive, head.encode() + content)
        self.clock.pump()
        return self.transport.take()


CALL = b'{"jsonrpc": "2.0", "method": "peer", "id": 1}'


def test_a_posted_call_is_answered(clock: Clock) -> None:
    connection = Connection(clock, service())
    for kind in ("application/json", "Application/JSON; charset=utf-8", "application/json-rpc"):
        answer = connection.post(CALL, kind)
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"content-type: application/json\r\n" in answer
        assert answer.endswith(b'\r\n\r\n{"jsonrpc":"2.0","id":1,"result":"POST"}')


def test_a_notification_is_answered_with_204(clock: Clock) -> None:
    connection = Connection(clock, service())
    answer = connection.post(b'{"jsonrpc": "2.0", "method": "peer"}')
    assert answer.startswith(b"HTTP/1.1 204 ")


def test_what_a_form_of_another_site_can_send_is_refused(clock: Clock) -> None:
    """HARDENING nev-6: such a request needs no leave of the browser, and brings cookies."""
    connection = Connection(clock, service())
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""):
        assert connection.post(CALL, kind).startswith(b"HTTP/1.1 415 ")
    assert connection.post(b"", method="GET").startswith(b"HTTP/1.1 405 ")


def test_a_message_that_is_too_large_is_refused(clock: Clock) -> None:
    connection = Connection(clock, JSONRPC(limits=RPCLimits(message=100)))
    assert connection.post(b" " * 101).startswith(b"HTTP/1.1 413 ")


# ── the asking side ───────────────────────────────────────────────────────────


class Answered:
    """Stands for a response."""

    def __init__(self, status: int, kind: bytes, content: bytes) -> None:
        self.status = status
        self.kind = kind
        self.content = content
        self.length = len(content)
        self.closed = 0

    def header(self, name: bytes) -> bytes | None:
        return self.kind if name == b"content-type" else None

    async def read(self, limit: int) -> bytes:
        if len(self.content) > limit:
            raise BodyTooLargeError(limit)
        return self.content

    async def aclose(self) -> None:
        self.closed += 1


class Wire:
    """A pool that leads to functions here, or to prepared answers."""

    def __init__(self, rpc: JSONRPC | None = None, *answers: Answered) -> None:
        self.rpc = rpc
        self.answers = list(answers)
        self.sent: list[OutgoingRequest] = []

    async def send(self, request: OutgoingRequest) -> Any:
        self.sent.append(request)
        if self.rpc is None:
            return self.answers.pop(0)
        assert isinstance(request.body, bytes)
        found = await work_on(request.body, self.rpc.methods, self.rpc.limits, {})
        if found is None:
            return Answered(204, b"", b"")
        return Answered(200, b"application/json", found)


def test_a_client_calls_by_position_and_by_name(clock: Clock) -> None:
    wire = Wire(service())
    client = JSONRPCClient("http://localhost/rpc", client=wire, headers={"x-key": "k"})

    async def main(_: Clock) -> None:
        assert await client.call("subtract", 42, 23) == 19
        assert await client.call("subtract", subtrahend=23, minuend=42) == 19
        assert await client.call_as(list[Any], "get_data") == ["hello", 5]
        assert await client.notify("subtract", 1, 2) is None  # type: ignore[func-returns-value]  # that is tested
        with pytest.raises(MismatchError):
            await client.call_as(list[str], "get_data")
        with pytest.raises(RPCError) as caught:
            await client.call("refuse")
        assert (caught.value.code, caught.value.message, caught.value.data) == (
            7, "no more", {"left": 0},
        )  # fmt: skip

    clock.run(main)
    request = wire.sent[0]
    assert request.method == "POST"
    assert (b"content-type", b"application/json") in request.headers
    assert (b"x-key", b"k") in request.headers
    assert request.may_repeat is False


def test_a_batch_of_a_client_has_an_outcome_for_each_call(clock: Clock) -> None:
    client = JSONRPCClient("http://localhost/rpc", client=Wire(service()))

    async def main(_: Clock) -> None:
        batch = client.batch()
        batch.call("subtract", 42, 23)
        batch.notify("get_data")
        batch.call("refuse")
        good, bad = await batch.send()
        assert good.unwrap() == 19
        assert isinstance(bad.error, RPCError)
        alone = client.batch()
        alone.notify("get_data")
        assert await alone.send() == []
        assert await client.batch().send() == []

    clock.run(main)
    small = JSONRPCClient("http://a/", client=Wire(), limits=RPCLimits(batch=1)).batch()
    small.call("a")
    with pytest.raises(WebUsageError):
        small.call("a")


class Calculator(Protocol):
    """What is elsewhere."""

    async def subtract(self, minuend: int, subtrahend: int = 1) -> int: ...

    async def get_data(self) -> list[str]: ...


def test_an_interface_stands_for_an_object_elsewhere(clock: Clock) -> None:
    client = JSONRPCClient("http://localhost/rpc", client=Wire(service()))
    calculator = client.proxy(Calculator)

    async def main(_: Clock) -> None:
        assert await calculator.subtract(3, 2) == 1
        assert await calculator.subtract(3, subtrahend=2) == 1
        with pytest.raises(MismatchError, match=r"\[1\]: a text is expected"):
            await calculator.get_data()
        with pytest.raises(TypeError):
            await calculator.subtract(1, 2, 3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]

    clock.run(main)
    with pytest.raises(AttributeError):
        getattr(calculator, "divide")  # noqa: B009 - a checker knows that it is not there
    with pytest.raises(WebUsageError):
        client.proxy(int)
    assert repr(calculator) == "<proxy of get_data, subtract>"


def test_arguments_that_cannot_be_sent_are_refused_before_anything_is(clock: Clock) -> None:
    wire = Wire(service())
    client = JSONRPCClient("http://localhost/rpc", client=wire)

    async def main(_: Clock) -> None:
        for arguments in ((object(),), (float("nan"),), ("\ud800",)):
            with pytest.raises(WebUsageError):
                await client.call("get_data", *arguments)
        with pytest.raises(WebUsageError, match="not both"):
            await client.call("subtract", 1, subtrahend=2)

    clock.run(main)
    assert wire.sent == []


WRONG = [
    (200, b"application/json", b'{"jsonrpc":"2.0","id":7,"result":1}', "another call"),
    (200, b"application/json", b'{"jsonrpc":"2.0","id":1}', "no answer"),
    (200, b"application/json", b"[]", "no answer"),
    (200, b"application/json", b"", "no JSON"),
    (200, b"application/json", b'{"a":1,"a":2}', "comes twice"),
    (200, b"application/json", b" " * 2000, "more than 1000 octets"),
    (200, b"text/html", b"<p>", "answered 200 with 'text/html'"),
    (502, b"text/html", b"<p>", "answered 502 with 'text/html'"),
    (204, b"", b"", "no JSON"),
]


@pytest.mark.parametrize(("status", "kind", "content", "problem"), WRONG)
def test_a_server_that_answers_nonsense_is_told_apart_from_one_that_refuses(
    clock: Clock, status: int, kind: bytes, content: bytes, problem: str
) -> None:
    answer = Answered(status, kind, content)
    client = JSONRPCClient(
        "http://localhost/", client=Wire(None, answer), limits=RPCLimits(message=1000)
    )
    with pytest.raises(WebProtocolError, match=problem):
        clock.run(lambda _: client.call("a"))
    assert answer.closed == 1


def test_an_error_comes_through_whatever_its_status_is(clock: Clock) -> None:
    content = b'{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"no"}}'
    wire = Wire(None, *(Answered(status, b"application/json", content) for status in (200, 400)))
    client = JSONRPCClient("http://localhost/", client=wire)
    for _ in range(2):
        with pytest.raises(RPCError, match="no"):
            clock.run(lambda _: client.call("a"))


def test_answers_to_a_batch_that_are_not_those_awaited_are_refused(clock: Clock) -> None:
    for content in (
        b"[]",
        b'[{"jsonrpc":"2.0","id":1,"result":1}]',
        b'[{"jsonrpc":"2.0","id":0,"result":1},{"jsonrpc":"2.0","id":0,"result":1}]',
        b'[{"jsonrpc":"2.0","id":0,"result":1},{"jsonrpc":"2.0","id":2,"result":1}]',
        b'{"jsonrpc":"2.0","id":0,"result":1}',
        b"[1,2]",
    ):
        wire = Wire(None, Answered(200, b"application/json", content))
        batch = JSONRPCClient("http://localhost/", client=wire).batch()
        batch.call("a")
        batch.call("b")

        async def send(_: Clock, batch: JSONRPCBatch = batch) -> None:
            await batch.send()

        with pytest.raises(WebProtocolError):
            clock.run(send)


def test_one_table_of_functions_may_be_served_twice(clock: Clock) -> None:
    methods = Methods()
    methods.method(name="one")(lambda: 1)
    for rpc in (JSONRPC(methods), JSONRPC(methods)):
        assert ask(clock, '{"jsonrpc":"2.0","method":"one","id":1}', rpc)["result"] == 1
