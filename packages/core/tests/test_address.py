"""Addresses: tuples with names, and a text that people know."""

from __future__ import annotations

import pickle

import pytest

from sennit.core.address import InternetAddress, UnixAddress, address_from_socket


@pytest.mark.parametrize(
    ("name", "address", "text"),
    [
        (("127.0.0.1", 80), InternetAddress("127.0.0.1", 80), "127.0.0.1:80"),
        (("::1", 80, 0, 0), InternetAddress("::1", 80), "[::1]:80"),
        (
            ("fe80::1%eth0", 80, 5, 2),
            InternetAddress("fe80::1%eth0", 80, 5, 2),
            "[fe80::1%eth0]:80",
        ),
        ("/run/x.sock", UnixAddress("/run/x.sock"), "unix:/run/x.sock"),
        (b"/run/x.sock", UnixAddress("/run/x.sock"), "unix:/run/x.sock"),
        ("", UnixAddress(""), "unix:"),
        (b"", UnixAddress(""), "unix:"),
        (None, UnixAddress(""), "unix:"),
        (b"\0name", UnixAddress("@name"), "unix:@name"),
        ("\0name", UnixAddress("@name"), "unix:@name"),
        (b"\0\xff", UnixAddress("@\udcff"), "unix:@\udcff"),
    ],
)
def test_what_the_socket_module_says_becomes_an_address(
    name: object, address: InternetAddress | UnixAddress, text: str
) -> None:
    found = address_from_socket(name)
    assert found == address
    assert type(found) is type(address)
    assert str(found) == text
    assert pickle.loads(pickle.dumps(found)) == address
    assert hash(found) == hash(address)


def test_its_parts_have_names() -> None:
    address = InternetAddress("::1", 80, scope_id=3)
    assert (address.host, address.port, address.flowinfo, address.scope_id) == ("::1", 80, 0, 3)
    assert UnixAddress("x").path == "x"
    assert not hasattr(address, "__dict__")
