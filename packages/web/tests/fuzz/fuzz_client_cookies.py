"""No Set-Cookie makes the jar raise, or send a cookie where it does not belong."""

from __future__ import annotations

from sennit.web.client.cookies import CookieJar
from sennit.web.client.setcookie import parse_cookie_date, parse_set_cookie
from sennit.web.client.urls import URL

SEEDS = (
    b"SID=31d4d96e407aad42; Path=/; Secure; HttpOnly",
    b"lang=en-US; Path=/; Domain=example.com; Max-Age=3600",
    b"a=b; Expires=Wed, 09 Jun 2031 10:18:14 GMT; SameSite=Lax",
    b"__Host-sid=1; Secure; Path=/",
    b"=x; domain=.com; path=foo; max-age=-1",
)
_SECURE = URL("https://www.example.com/a/b")
_CLEAR = URL("http://www.example.com/a/b")
_OTHER = URL("https://other.com/")
_PUBLIC = {"com", "example"}


def fuzz(data: bytes) -> None:
    """Take `data` in, as one field, and look at what would be sent."""
    parsed = parse_set_cookie(data)
    parse_cookie_date(data.decode("latin-1"))
    jar = CookieJar(is_public_suffix=_PUBLIC.__contains__, wall_clock=lambda: 1e9)
    jar.receive(_SECURE, [data])
    jar.receive(_CLEAR, [data])
    assert len(jar) <= 1 or parsed is not None
    assert jar.field(_OTHER) is None
    for url in (_SECURE, _CLEAR):
        sent = jar.field(url)
        assert sent is None or not {0, 10, 13} & set(sent)
    for cookie in jar:
        assert cookie.domain in ("www.example.com", "example.com")
        assert cookie.path.startswith("/")
