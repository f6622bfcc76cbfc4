"""XML-RPC on a recording transport: what is read, written, refused and told of itself."""

from __future__ import annotations

import contextlib
import xmlrpc.client
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from enum import Enum
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sennit.core.address import InternetAddress
from sennit.core.testing.clock import Clock
from sennit.core.testing.memory import RecordingTransport
from sennit.web import Request, Site
from sennit.web.client.messages import OutgoingRequest
from sennit.web.errors import BodyTooLargeError, WebProtocolError, WebUsageError
from sennit.web.rpc.errors import RPCError
from sennit.web.rpc.kinds import is_object
from sennit.web.rpc.limits import RPCLimits
from sennit.web.rpc.xml_grammar import (
    read_answer,
    read_call,
    write_call,
    write_fault,
    write_result,
)
from sennit.web.rpc.xmlrpc import XMLRPC, XMLRPCBatch, XMLRPCClient

NOON = datetime(1998, 7, 17, 14, 8, 55)  # noqa: DTZ001 - XML-RPC has no time zones


@pytest.fixture
def clock() -> Iterator[Clock]:
    with Clock() as found:
        yield found


def answer_with(value: str) -> bytes:
    return f"<methodResponse><params><param>{value}</param></params></methodResponse>".encode()


# ── documents ─────────────────────────────────────────────────────────────────


def test_the_call_of_the_specification_is_read() -> None:
    found = read_call(
        b"""<?xml version="1.0"?>
<methodCall>
   <methodName>examples.getStateName</methodName>
   <params>
      <param>
         <value><i4>41</i4></value>
         </param>
      </params>
   </methodCall>"""
    )
    assert found == ("examples.getStateName", [41])
    assert read_call(b"<methodCall><methodName>a</methodName></methodCall>") == ("a", [])


VALUES: list[tuple[str, Any]] = [
    ("<i4>-12</i4>", -12),
    ("<int>+0041</int>", 41),
    ("<i8>9007199254740993</i8>", 9007199254740993),
    ("<ex:i8 xmlns:ex='http://ws.apache.org/xmlrpc/namespaces/extensions'>5</ex:i8>", 5),
    ("<boolean>1</boolean>", True),
    ("<string>hello &amp; &lt;world&gt;&#13;\n</string>", "hello & <world>\r\n"),
    ("no type", "no type"),
    ("", ""),
    ("<string/>", ""),
    ("<double>-12.214</double>", -12.214),
    ("<double>1e3</double>", 1000.0),
    ("<dateTime.iso8601>19980717T14:08:55</dateTime.iso8601>", NOON),
    ("<dateTime.iso8601>1998-07-17T14:08:55</dateTime.iso8601>", NOON),
    (
        "<dateTime.iso8601>19980717T140855.5Z</dateTime.iso8601>",
        NOON.replace(microsecond=500_000, tzinfo=UTC),
    ),
    (
        "<dateTime.iso8601>19980717T14:08:55-0330</dateTime.iso8601>",
        NOON.replace(tzinfo=timezone(-timedelta(hours=3, minutes=30))),
    ),
    ("<base64>eW91IGNhbid0\n IHJlYWQ=</base64>", b"you can't read"),
    ("<nil/>", None),
    (
        "<struct><member><name>low</name> <value><i4>18</i4></value></member></struct>",
        {"low": 18},
    ),
    ("<struct/>", {}),
    (" <array> <data><value><i4>12</i4></value><value>E</value></data></array> ", [12, "E"]),
    ("<array><data/></array>", []),
]


@pytest.mark.parametrize(("text", "value"), VALUES)
def test_values_of_every_type_are_read(text: str, value: Any) -> None:
    found = read_answer(answer_with(f"<value>{text}</value>"))
    assert found == value
    assert type(found) is type(value)


BROKEN = [
    b"",
    b"<",
    b"<methodCall>",
    b"<html><body/></html>",
    b"<methodCall/>",
    b"<methodCall><methodName>a</methodName><params/><params/></methodCall>",
    b"<methodCall><params/><methodName>a</methodName></methodCall>",
    b"<methodCall><methodName>a b</methodName></methodCall>",
    b"<methodCall><methodName></methodName></methodCall>",
    b"<methodCall>text<methodName>a</methodName></methodCall>",
    b"<methodCall><methodName>a</methodName></methodCall><methodCall/>",
    b"<methodResponse/>",
    b"<methodResponse><params/></methodResponse>",
    b"<methodResponse><fault><value>5</value></fault></methodResponse>",
    b"<methodResponse><fault/></methodResponse>",
    answer_with("<value/>") + b"x",
    answer_with(""),
    answer_with("<value>1</value><value>2</value>"),
    answer_with("<value>text<i4>1</i4></value>"),
    answer_with("<value><i4>1</i4><i4>2</i4></value>"),
    answer_with("<value><i4>1<i4>2</i4></i4></value>"),
    answer_with("<value><i4></i4></value>"),
    answer_with("<value><i4>1_0</i4></value>"),
    answer_with("<value><i4>2147483648</i4></value>"),
    answer_with("<value><i4>" + "1" * 5000 + "</i4></value>"),
    answer_with("<value><i8>9223372036854775808</i8></value>"),
    answer_with("<value><boolean>true</boolean></value>"),
    answer_with("<value><double>nan</double></value>"),
    answer_with("<value><double>1e999</double></value>"),
    answer_with("<value><double>0x1</double></value>"),
    answer_with("<value><dateTime.iso8601>19981317T14:08:55</dateTime.iso8601></value>"),
    answer_with("<value><dateTime.iso8601>yesterday</dateTime.iso8601></value>"),
    answer_with("<value><base64>a</base64></value>"),
    answer_with("<value><base64>!!!!</base64></value>"),
    answer_with("<value><nil>1</nil></value>"),
    answer_with("<value><array></array></value>"),
    answer_with("<value><array><value/></array></value>"),
    answer_with("<value><array><data>1</data></array></value>"),
    answer_with("<value><struct><member><name>a</name></member></struct></value>"),
    answer_with("<value><struct><member><value/><name>a</name></member></struct></value>"),
    answer_with(
        "<value><struct>" + "<member><name>a</name><value/></member>" * 2 + "</struct></value>"
    ),
    answer_with("<value><unknown/></value>"),
    answer_with("<value><ns:i4 xmlns:ns='other'>1</ns:i4></value>"),
    answer_with("<value " + " ".join(f"a{n}=''" for n in range(65)) + "/>"),
    answer_with("<value>\x00</value>"),
    answer_with("<value>&nbsp;</value>"),
    answer_with("<value><!-- a comment --></value>"),
    answer_with("<value><?php echo ?></value>"),
    b'<?xml version="1.0" encoding="utf-7"?>' + answer_with("<value/>"),
    b'<?xml version="1.0" encoding="never-heard-of"?>' + answer_with("<value/>"),
    b"<!DOCTYPE methodResponse>" + answer_with("<value/>"),
    b'<!DOCTYPE a SYSTEM "file:///etc/passwd">' + answer_with("<value/>"),
    b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>' + answer_with("<value>&x;</value>"),
    b'<!DOCTYPE a [<!ENTITY x "aaaaaaaaaa"><!ENTITY y "&x;&x;&x;&x;">]>'
    + answer_with("<value>&y;</value>"),
    answer_with("<value><array><data>" * 65 + "<value/>" + "</data></array></value>" * 65),
    b"<value>" * 100_000,
]


@pytest.mark.parametrize("document", BROKEN, ids=range(len(BROKEN)))
def test_what_is_no_xml_rpc_is_refused(document: bytes) -> None:
    """No document type, entities, instructions, comments; depth 64, 64 attributes (default 20)."""
    for read in (read_call, read_answer):
        with pytest.raises(WebProtocolError) as caught:
            read(document)
        assert len(str(caught.value)) < 300


def test_an_entity_bomb_costs_nothing() -> None:
    """HARDENING default 20, xmpp-1's like: CVE-2013-0340."""
    entities = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 10))
    bomb = f'<!DOCTYPE a [<!ENTITY e0 "lol">{entities}]>'.encode()
    with pytest.raises(WebProtocolError, match="DTDForbidden"):
        read_answer(bomb + answer_with("<value>&e9;</value>"))


def test_a_call_and_a_result_are_written_as_others_read_them() -> None:
    value = {
        "n": [1, -(2**31), 2**40, True, 1.5, 1e-7, 1e300, "<&>\r\n\t\u20ac\U0001f600", b"\x00\xff"],
        "when": NOON,
        "none": None,
    }
    document = write_result(value, extensions=True)
    assert read_answer(document) == value
    theirs = xmlrpc.client.loads(document, use_builtin_types=True)[0]
    assert theirs == (value,)
    assert read_call(write_call("a.b", [value, 1], extensions=True)) == ("a.b", [value, 1])
    assert b"e" not in write_result(1e-7, extensions=False).split(b"double>")[1]
    # The standard library writes nothing of more than 32 bits.
    fewer = {**value, "n": [1, 1e300, "<&>"]}
    document = xmlrpc.client.dumps((fewer,), methodresponse=True, allow_none=True).encode()
    assert read_answer(document) == fewer


def test_what_xml_rpc_does_not_have_is_not_written() -> None:
    for value in (
        None, 2**31, "\x00", "\ud800", "\ufffe", NOON.replace(tzinfo=UTC), object(),
    ):  # fmt: skip
        with pytest.raises(ValueError, match="XML"):
            write_result(value, extensions=False)
    with pytest.raises(ValueError, match="64"):
        write_result(2**63, extensions=True)
    with pytest.raises(ValueError, match="called"):
        write_call("a<b", [], extensions=True)


def test_a_fault_is_written_whatever_is_in_its_text() -> None:
    with pytest.raises(RPCError) as caught:
        read_answer(write_fault(RPCError(4, "too\x00many <&>")))
    assert (caught.value.code, caught.value.message) == (4, "too\ufffdmany <&>")
    with pytest.raises(RPCError) as caught:
        read_answer(write_fault(RPCError(2**40, "")))
    assert caught.value.code == -32500


@given(st.binary() | st.lists(st.sampled_from([
    "<methodCall>", "<methodName>", "a", "</methodName>", "<params>", "<param>", "<value>",
    "<i4>", "1", "</i4>", "<struct>", "<member>", "<name>", "</name>", "</value>", "</member>",
    "</struct>", "</param>", "</params>", "</methodCall>", "<array>", "<data>", "<nil/>",
])).map(lambda parts: "".join(parts).encode()))  # fmt: skip
def test_no_octets_make_the_reader_raise_anything_but_a_protocol_error(data: bytes) -> None:
    for read in (read_call, read_answer):
        with contextlib.suppress(WebProtocolError, RPCError):
            read(data)


@given(st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False) | st.binary()
    | st.text(st.characters(codec="utf-8", exclude_characters="\ufffe\uffff", min_codepoint=32)),
    lambda inner: st.lists(inner) | st.dictionaries(st.text("abc<&"), inner),
    max_leaves=20,
))  # fmt: skip
def test_what_is_written_is_read_the_same(value: Any) -> None:
    assert read_answer(write_result(value, extensions=True)) == value


# ── served ────────────────────────────────────────────────────────────────────


class Size(Enum):
    SMALL = "s"


@dataclass
class Box:
    size: Size
    weight: float


def service(**options: Any) -> XMLRPC:
    rpc = XMLRPC(**options)

    @rpc.method
    async def add(a: int, b: int = 1) -> int:
        """Add two numbers."""
        return a + b

    @rpc.method(name="boxes.pack")
    def pack(box: Box, things: list[str], /, note: str | None = None) -> Box:
        return box

    @rpc.method
    def nothing() -> None: ...

    @rpc.method
    def refuse() -> None:
        raise RPCError(7, "no more")

    @rpc.method
    def large() -> int:
        return 2**70

    @rpc.method
    def peer(request: Request) -> bytes:
        return bytes(request.head.method)

    return rpc


class Connection:
    """A client's view of one connection."""

    def __init__(self, clock: Clock, rpc: XMLRPC) -> None:
        self.clock = clock
        site = Site(clock=clock)
        site.put_child("rpc", rpc)
        protocol = site.build_protocol(None)
        self.transport = RecordingTransport(protocol, peer=InternetAddress("192.0.2.1", 5000))

    def post(self, content: bytes, kind: str = "text/xml", method: str = "POST") -> bytes:
        head = (
            f"{method} /rpc HTTP/1.1\r\nHost: a\r\nContent-Type: {kind}\r\n"
            f"Content-Length: {len(content)}\r\n\r\n"
        )
        self.clock.call_soon(self.transport.receive, head.encode() + content)
        self.clock.pump()
        return self.transport.take()

    def call(self, method: str, *arguments: Any) -> Any:
        content = self.post(write_call(method, arguments, extensions=True))
        assert content.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"content-type: text/xml; charset=utf-8\r\n" in content
        return read_answer(content.partition(b"\r\n\r\n")[2])

    def code(self, method: str, *arguments: Any) -> int:
        with pytest.raises(RPCError) as caught:
            self.call(method, *arguments)
        return caught.value.code


def test_functions_are_called_with_typed_arguments(clock: Clock) -> None:
    connection = Connection(clock, service())
    assert connection.call("add", 1, 2) == 3
    assert connection.call("boxes.pack", {"size": "s", "weight": 1}, ["a"]) == {
        "size": "s", "weight": 1.0,
    }  # fmt: skip
    assert connection.call("nothing") is None
    assert connection.call("peer") == b"POST"
    assert connection.code("add", "1") == -32602
    assert connection.code("add") == -32602
    assert connection.code("refuse") == 7
    for name in ("__class__", "add.__call__", "boxes", "system.secret", "rpc.x"):
        assert connection.code(name) == -32601


def test_a_result_that_cannot_be_written_is_an_internal_error(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    assert Connection(clock, service()).code("large") == -32603
    assert Connection(clock, service(extensions=False)).code("nothing") == -32603
    assert len(caplog.records) == 2


def test_what_is_no_call_is_a_fault(clock: Clock) -> None:
    connection = Connection(clock, service())
    answer = connection.post(b"<methodCall>")
    assert answer.startswith(b"HTTP/1.1 200 ")
    with pytest.raises(RPCError) as caught:
        read_answer(answer.partition(b"\r\n\r\n")[2])
    assert caught.value.code == -32700


def test_other_kinds_of_content_and_other_methods_are_refused(clock: Clock) -> None:
    connection = Connection(clock, service())
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        assert connection.post(b"", kind).startswith(b"HTTP/1.1 415 ")
    assert connection.post(b"", method="GET").startswith(b"HTTP/1.1 405 ")
    small = Connection(clock, service(limits=RPCLimits(message=10)))
    assert small.post(b" " * 11).startswith(b"HTTP/1.1 413 ")


def test_a_server_tells_what_can_be_called_and_how(clock: Clock) -> None:
    connection = Connection(clock, service())
    names = connection.call("system.listMethods")
    assert names == sorted(names)
    assert {"add", "boxes.pack", "system.multicall"} < set(names)
    assert connection.call("system.methodHelp", "add") == "Add two numbers."
    assert connection.call("system.methodHelp", "nothing") == ""
    assert connection.call("system.methodSignature", "add") == [
        ["int", "int"], ["int", "int", "int"],
    ]  # fmt: skip
    assert connection.call("system.methodSignature", "boxes.pack") == [
        ["struct", "struct", "array"]
    ]
    assert connection.call("system.methodSignature", "nothing") == [["nil"]]
    assert connection.call("system.methodSignature", "system.methodHelp") == [["string", "string"]]
    for name in ("system.methodHelp", "system.methodSignature"):
        assert connection.code(name, "__init__") == -32601
        assert connection.code(name, 1) == connection.code(name) == -32602
    assert connection.code("system.listMethods", 1) == -32602


def test_a_server_that_does_not_tell_still_works(clock: Clock) -> None:
    connection = Connection(clock, service(introspection=False))
    assert connection.code("system.listMethods") == -32601
    assert connection.call("add", 1) == 2
    assert connection.call("system.multicall", [{"methodName": "add", "params": [1]}]) == [[2]]


def test_several_calls_of_one_message_fail_each_by_itself(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    connection = Connection(clock, service(limits=RPCLimits(batch=8)))
    calls: list[Any] = [
        {"methodName": "add", "params": [1, 2]},
        {"methodName": "refuse", "params": []},
        {"methodName": "large", "params": []},
        {"methodName": "system.multicall", "params": [[]]},
        {"methodName": "system.methodHelp", "params": ["add"]},
        {"methodName": 1, "params": []},
        {"methodName": "add"},
        5,
    ]
    found = connection.call("system.multicall", calls)
    codes = [each["faultCode"] if is_object(each) else each for each in found]
    assert codes == [[3], 7, -32603, -32600, ["Add two numbers."], -32600, -32600, -32600]
    assert len(caplog.records) == 1
    assert connection.code("system.multicall", [*calls, 1]) == -32600
    assert connection.code("system.multicall", 5) == -32602
    assert connection.code("system.multicall") == -32602


# ── the asking side ───────────────────────────────────────────────────────────


class Answered:
    """Stands for a response."""

    def __init__(self, content: bytes) -> None:
        self.status = 200
        self.content = content
        self.length = len(content)

    def header(self, name: bytes) -> bytes | None:
        return b"text/xml"

    async def read(self, limit: int) -> bytes:
        if len(self.content) > limit:
            raise BodyTooLargeError(limit)
        return self.content

    async def aclose(self) -> None:
        """Nothing was held."""


class Wire:
    """A pool that leads to functions here, or to prepared answers."""

    def __init__(self, rpc: XMLRPC | None = None, *answers: bytes) -> None:
        self.rpc = rpc
        self.answers = list(answers)
        self.sent: list[OutgoingRequest] = []

    async def send(self, request: OutgoingRequest) -> Any:
        self.sent.append(request)
        if self.rpc is None:
            return Answered(self.answers.pop(0))
        body = cast("bytes", request.body)
        return Answered(await self.rpc._work_on(body, {}))


def test_a_client_calls_lists_and_batches(clock: Clock) -> None:
    client = XMLRPCClient("http://localhost/", client=Wire(service()))

    async def main(_: Clock) -> None:
        assert await client.call("add", 1, 2) == 3
        assert await client.call_as(Box, "boxes.pack", Box(Size.SMALL, 1.5), ["a"]) == Box(
            Size.SMALL, 1.5
        )
        assert "add" in await client.list_methods()
        batch = client.batch()
        batch.call("add", 1)
        batch.call("refuse")
        good, bad = await batch.send()
        assert good.unwrap() == 2
        assert isinstance(bad.error, RPCError)
        assert bad.error.code == 7
        assert await client.batch().send() == []
        with pytest.raises(WebUsageError, match="by position"):
            await client.call("add", a=1)
        with pytest.raises(WebUsageError, match="cannot be sent"):
            await client.call("add", "\x00")

    clock.run(main)


def test_answers_to_a_batch_that_are_not_those_awaited_are_refused(clock: Clock) -> None:
    for value in ([], [[1], [2]], [[1, 2]], [5], {"a": 1}):
        wire = Wire(None, write_result(value, extensions=False))
        batch = XMLRPCClient("http://localhost/", client=wire, limits=RPCLimits(batch=1)).batch()
        batch.call("a")
        with pytest.raises(WebUsageError):
            batch.call("b")

        async def send(_: Clock, batch: XMLRPCBatch = batch) -> None:
            await batch.send()

        with pytest.raises(WebProtocolError):
            clock.run(send)
