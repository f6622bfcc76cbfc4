"""No fields make a proxy raise anything but what it says, or hand on what it must not."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from sennit.core.address import InternetAddress
from sennit.web.client.urls import URL
from sennit.web.proxy.fields import (
    HOP_BY_HOP,
    check_way,
    end_to_end,
    forwards_left,
    request_fields,
    via_field,
)
from sennit.web.proxy.forwarded import ForwardedError, Forwarder, read_hops
from sennit.web.proxy.translation import Translation
from sennit.web.response import HTTPError

SEEDS = (
    b'forwarded: for="[2001:db8::1]:80";proto=https;host="a:1", for=_x\nconnection: close, te',
    b"x-forwarded-for: 192.0.2.1, ::1, unknown\nx-forwarded-proto: https, http\nvia: 1.1 a",
    b"location: http://inside:9000/app/x\nset-cookie: a=b; Path=/app; Domain=inside\nte: trailers",
    b"x_forwarded_for: 1.1.1.1\nmax-forwards: 5\nconnection: x_real_ip\n:/shop/..%2f/a?b",
)
_PEER = InternetAddress("192.0.2.1", 5)
_INSIDE = URL("http://inside:9000/app")


def fuzz(data: bytes) -> None:
    """Take `data` for the fields of a message, one per line, and for a path."""
    headers = [
        (name.strip().lower(), value.strip())
        for name, _, value in (each.partition(b":") for each in data.split(b"\n"))
    ]
    styles: tuple[Any, ...] = ("forwarded", "x-forwarded")
    for style in styles:
        try:
            hops = read_hops(headers, style)
        except ForwardedError:
            continue
        made = Forwarder([style], trusted="any").fields(_PEER, "http", "h", headers)
        # A proxy of ours adds itself, and what was there is read as before.
        assert len(read_hops(made, style)) in (len(hops) + 1, 1, 33)
    gone = {name for name, _ in request_fields(headers)}
    assert not gone & (HOP_BY_HOP - {b"te"})
    assert not any(name.replace(b"_", b"-").startswith(b"x-forwarded-") for name in gone)
    assert not {name for name, _ in end_to_end(headers)} & HOP_BY_HOP
    via_field(headers, b"1.1", "here")
    with suppress(HTTPError):
        check_way(headers)
    with suppress(HTTPError):
        forwards_left("OPTIONS", headers)
    translation = Translation("/shop")
    translation.outward(headers, _INSIDE, b"/app", b"example.com", b"https")
    with suppress(HTTPError):
        translation.inward(data)
