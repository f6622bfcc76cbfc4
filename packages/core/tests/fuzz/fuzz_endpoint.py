"""No text makes the endpoint parser do anything but understand or refuse, in linear time."""

from __future__ import annotations

from sennit.core.endpoint.parse import SCHEMES, Endpoint, parse_endpoint
from sennit.core.errors import EndpointSyntaxError

SEEDS = (
    b"tcp://127.0.0.1:80",
    b"tcp://[::1]:80?backlog=5&reuse_port=yes",
    b"tcp://:0/",
    b"tls://example.org:443",
    b"unix:run/x.sock?mode=660",
    b"unix:@name",
    b"tls+unix:///run/x.sock",
    b"fd:3",
    b"systemd:web",
    b"haproxy+tcp://:80?trusted=10.0.0.0/8&backlog=5",
    b"haproxy+tls+unix:run/x?version=2&mode=600",
    b"socks5+tls://example.org:443?proxy=[::1]:1080&login=env:LOGIN",
    b"serial:/dev/tty?a=b&c=d",
    b"tcp://[fe80::1%eth0]:65536",
)


def fuzz(data: bytes) -> None:
    """One text: an endpoint that says what was written, or an error that quotes it."""
    url = data.decode("utf-8", "surrogateescape")
    refused: EndpointSyntaxError | None = None
    endpoint: Endpoint | None = None
    try:
        endpoint = parse_endpoint(url)
    except EndpointSyntaxError as error:
        refused = error
    if refused is not None:
        assert refused.url == url
        assert refused.problem
    if endpoint is not None:
        _check(endpoint, url)


def _check(endpoint: Endpoint, url: str) -> None:
    assert str(endpoint) == url
    assert url.startswith(endpoint.scheme + ":")
    assert 0 <= endpoint.port <= 65535
    assert not set(url) & {chr(code) for code in range(33)}
    if endpoint.row is None:
        assert endpoint.scheme not in SCHEMES
        return
    if endpoint.prefix is not None:
        assert endpoint.inner is not None
        _check(endpoint.inner, endpoint.inner.url)
        assert endpoint.scheme == f"{endpoint.prefix.name}+{endpoint.inner.scheme}"
    assert 0 <= endpoint.number("backlog", 0) <= 65535
    assert 0 <= endpoint.number("mode", 0, base=8, most=0o777) <= 0o777
    endpoint.flag("reuse_port")
    form = endpoint.row.form
    assert (endpoint.fd >= 0) == (form == "number")
    assert bool(endpoint.path) == (form == "path") or form == "opaque"
    assert "/" not in endpoint.host
    assert "@" not in endpoint.host
