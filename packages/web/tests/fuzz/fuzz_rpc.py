"""No octets make the readers of JSON-RPC and XML-RPC raise anything but what they say."""

from __future__ import annotations

from contextlib import suppress

from sennit.web.errors import WebProtocolError
from sennit.web.rpc.errors import RPCError
from sennit.web.rpc.json_grammar import Answer, Call, read_json, sort_message, write_json
from sennit.web.rpc.kinds import is_list
from sennit.web.rpc.xml_grammar import read_answer, read_call, write_call

_CALL = b"<methodCall><methodName>a.b</methodName><params><param>%b</param></params></methodCall>"
_ANSWER = b"<methodResponse>%b</methodResponse>"
_PARAM = b"<params><param><value>%b</value></param></params>"
_MEMBER = b"<member><name>%b</name><value>%b</value></member>"
_FAULT = _MEMBER % (b"faultCode", b"<int>4</int>") + _MEMBER % (b"faultString", b"no")
_LIST = b"<array><data><value><i4>1</i4></value><value>x</value></data></array>"
_DATE = b"<dateTime.iso8601>19980717T14:08:55</dateTime.iso8601>"

SEEDS = (
    b'{"jsonrpc": "2.0", "method": "subtract", "params": {"a": 23, "b": [1e5]}, "id": "3"}',
    b'[{"jsonrpc": "2.0", "method": "sum", "params": [1, null]}, {"jsonrpc": "2.0", "id": 1}]',
    b'{"jsonrpc": "2.0", "id": 1, "error": {"code": -32600, "message": "\\ud83d\\ude00"}}',
    _CALL % (b"<value><struct>%b</struct></value>" % (_MEMBER % (b"n", _LIST))),
    _ANSWER % (b"<fault><value><struct>%b</struct></value></fault>" % _FAULT),
    _ANSWER % (_PARAM % _DATE),
    b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x "y">]><methodCall/>',
)


def fuzz(data: bytes) -> None:
    """Read `data` as a message of either kind; what was read can be written and read again."""
    try:
        value = read_json(data)
    except WebProtocolError:
        pass
    else:
        assert read_json(write_json(value)) == value
        for each in value if is_list(value) else [value]:
            found = sort_message(each)
            assert isinstance(found, (Call, Answer, bytes))
    with suppress(WebProtocolError, RPCError):
        read_answer(data)
    try:
        name, arguments = read_call(data)
    except WebProtocolError:
        return
    with suppress(ValueError):  # a date with a time zone can be read and not be written
        assert read_call(write_call(name, arguments, extensions=True)) == (name, arguments)
