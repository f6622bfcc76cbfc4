"""Where a redirect leads, and what of the request may go there.

`follow` takes a request's head and the redirect it got, and gives the next request's,
or raises. It keeps no state and does no I/O; counting hops is the caller's.

What must not leave the origin it was meant for does not: credentials and cookies are
dropped as soon as scheme, host or port differ, so also on the way from https to http
(HARDENING h1-23, CVE-2022-21712). User and password in a Location are not taken up:
a server does not choose who we are.

Sources: RFC 9110 §15.4 (methods, content), §10.2.2 (Location, fragments); RFC 6454 §4
(origins). Elsewhere: which cookies fit the new address (``cookies.py``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from sennit.web.client.headers import without
from sennit.web.errors import WebProtocolError

if TYPE_CHECKING:
    from sennit.web.client.headers import Field
    from sennit.web.client.urls import URL

__all__ = ["MAX_HOPS", "REDIRECTS", "RedirectError", "Step", "TooManyRedirectsError", "follow"]

MAX_HOPS: Final = 10
"""Redirects in a row that are followed."""

REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
"""Statuses that lead elsewhere by themselves; 300 leaves the choice to a person."""

_SCHEMES: Final = ("http", "https")
_SECRETS: Final = (b"authorization", b"cookie", b"proxy-authorization", b"host", b"origin")
"""What is for one origin only."""
_OF_CONTENT: Final = (
    b"content-encoding",
    b"content-language",
    b"content-length",
    b"content-location",
    b"content-range",
    b"content-type",
    b"digest",
    b"content-digest",
    b"repr-digest",
    b"expect",
    b"last-modified",
    b"trailer",
    b"transfer-encoding",
)
"""What describes content, and goes with it (RFC 9110 §15.4)."""


class RedirectError(WebProtocolError):
    """A redirect that cannot be followed.

    Attributes:
        url: Where it came from.
    """

    def __init__(self, message: str, url: URL, rule: str = "RFC 9110 §15.4") -> None:
        super().__init__(message, rule, 502)
        self.url = url


class TooManyRedirectsError(RedirectError):
    """One redirect after the other: most likely they lead in a circle."""


class Step(NamedTuple):
    """The request that comes after a redirect.

    Attributes:
        method: Its method.
        url: Where it goes.
        headers: What is left of the request's fields.
        keeps_content: Whether the content is sent again.
        same_origin: Whether it stays with the server it was meant for.
    """

    method: str
    url: URL
    headers: list[Field]
    keeps_content: bool
    same_origin: bool


def follow(method: str, url: URL, headers: list[Field], status: int, location: bytes) -> Step:
    """The next request.

    Args:
        method: The method that was redirected.
        url: Where it went.
        headers: Its fields.
        status: One of `REDIRECTS`.
        location: The value of Location.

    Raises:
        RedirectError: Location is no URL, or one that is not for us.
    """
    try:
        # Browsers take both, and older servers write both.
        text = location.decode("utf-8")
    except UnicodeDecodeError:
        text = location.decode("latin-1")
    try:
        # A space is a mistake that everybody makes; a line break is an attempt at something.
        target = url.join(text.strip(" \t").replace(" ", "%20"))
    except ValueError as error:
        raise RedirectError(f"redirected to what is no address: {error}", url) from error
    same_origin = target.origin == url.origin
    if target.scheme not in _SCHEMES and not same_origin:
        raise RedirectError(f"redirected to {target.scheme}, where no redirect may lead", url)
    if not same_origin:
        target.username = target.password = ""
    if target.fragment is None and url.fragment is not None:
        target.fragment = url.fragment
    rewritten = _rewritten(method, status)
    if rewritten != method:
        headers = without(headers, *_OF_CONTENT)
    if not same_origin:
        headers = without(headers, *_SECRETS)
        if url.secure and not target.secure:
            headers = without(headers, b"referer")
    return Step(rewritten, target, list(headers), rewritten == method, same_origin)


def _rewritten(method: str, status: int) -> str:
    """The method after a redirect: POST becomes GET where browsers have always done so."""
    if status == 303 and method not in ("GET", "HEAD"):
        return "GET"
    if status in (301, 302) and method == "POST":
        return "GET"
    return method
