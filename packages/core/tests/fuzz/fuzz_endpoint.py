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
    if endpoint.scheme not in SCHEMES:
        return
    assert 0 <= endpoint.number("backlog", 0) <= 65535
    assert 0 <= endpoint.number("mode", 0, base=8, most=0o777) <= 0o777
    endpoint.flag("reuse_port")
    assert (endpoint.fd >= 0) == (endpoint.scheme == "fd")
    assert bool(endpoint.path) == (endpoint.scheme in {"unix", "tls+unix"})
    assert "/" not in endpoint.host
    assert "@" not in endpoint.host
