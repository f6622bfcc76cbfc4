"""The files and servers of the client: no text of them raises what it should not."""

from __future__ import annotations

from contextlib import suppress

from sennit.names.client.answers import read_answer
from sennit.names.client.hosts import parse_hosts
from sennit.names.client.resolvconf import parse_resolv_conf
from sennit.names.client.selection import read_service
from sennit.names.client.servers import server_from_text
from sennit.names.errors import (
    DNSUsageError,
    LookupFailedError,
    MessageFormatError,
)
from sennit.names.message import Message
from sennit.names.name import ROOT
from sennit.names.rdata import rdata_from_wire
from sennit.names.rdata.svcb import SVCB

SEEDS = (
    b"nameserver 192.0.2.1\nsearch a.example b.example\noptions ndots:2 rotate trust-ad\n",
    b"127.0.0.1 localhost\n2001:db8::1 box.example box # here\n",
    b"tls://192.0.2.1:853?pin=AAAA#dns.example",
    b"https://dns.example/dns-query",
    b"\0\1\0\0\1\0\3\2h2\0\3\0\2\1\xbb",
    Message.query("www.example.org").reply().to_wire(),
)


def fuzz(data: bytes) -> None:
    """Read `data` as each of what the client reads."""
    text = data.decode("utf-8", "replace")
    parse_resolv_conf(text)
    parse_hosts(text)
    with suppress(DNSUsageError):
        server_from_text(text)
    with suppress(MessageFormatError):
        rdata = rdata_from_wire(64, data)
        assert isinstance(rdata, SVCB)
        read_service(ROOT, rdata)
    with suppress(MessageFormatError, LookupFailedError):
        message = Message.from_wire(data)
        if len(message.questions) == 1:
            read_answer(message, message.question)
