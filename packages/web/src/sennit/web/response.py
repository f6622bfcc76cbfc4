"""Responses, and the short ways to make one."""

from __future__ import annotations

import json as _json
from collections.abc import Mapping
from html import escape
from typing import TYPE_CHECKING, cast
from urllib.parse import quote

from sennit.core.engine import FilePart
from sennit.web.errors import WebError, WebUsageError
from sennit.web.grammar import REASONS

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Callable, Iterable, Sequence

    from sennit.core.interfaces import Buffer
    from sennit.web.cookies import SameSite

    HeadersIn = Mapping[str, str] | Iterable[tuple[str, str]] | Iterable[tuple[bytes, bytes]] | None
    Content = (
        bytes | bytearray | memoryview | FilePart | Sequence[Buffer | FilePart]
        | AsyncIterable[Buffer | FilePart]
    )  # fmt: skip

__all__ = [
    "HTTPError",
    "MissingFieldError",
    "Response",
    "error_page",
    "html",
    "json",
    "redirect",
    "text",
]

_TEXT = (b"content-type", b"text/plain; charset=utf-8")
_HTML = (b"content-type", b"text/html; charset=utf-8")
_JSON = (b"content-type", b"application/json")
_IN_LOCATION = "!#$%&'()*+,-./:;=?@[]_~"


class Response:
    """What a handler answers.

    Args:
        body: The whole content; or an asynchronous iterable of its pieces, which is
            sent as fast as the client takes it. Pieces are octets or `FilePart`.
        status: Three digits.
        headers: A mapping or pairs of `str`, or pairs of octets. What frames the message
            (Content-Length, Transfer-Encoding) is added by itself.
        reason: Instead of the usual reason phrase.
        trailers: Fields to send behind the content, where there is room for them: pairs, or
            what is called for them when the content has been sent.

    Attributes:
        status: As given.
        headers: List of (name, value) octet pairs, names in lower case.
        body: As given.
        reason: As given.
        trailers: As given.

    Raises:
        ValueError: A header is not latin-1. (What else cannot be sent, CR, LF and
            NUL first of all, is refused when the response is sent.)
    """

    __slots__ = ("body", "headers", "reason", "status", "trailers")

    def __init__(
        self,
        body: Content = b"",
        status: int = 200,
        headers: HeadersIn = None,
        *,
        reason: bytes | None = None,
        trailers: HeadersIn | Callable[[], HeadersIn] = None,
    ) -> None:
        self.status = status
        self.headers: list[tuple[bytes, bytes]] = [] if headers is None else _octets(headers)
        self.body: Content = body
        self.reason = reason
        self.trailers = trailers

    def closing_fields(self) -> list[tuple[bytes, bytes]]:
        """The trailers as (name, value) octet pairs, now that the content has been sent."""
        trailers = self.trailers
        if trailers is None:
            return []
        return _octets(trailers() if callable(trailers) else trailers)

    def __repr__(self) -> str:
        return f"<Response {self.status}>"

    def header(self, name: str) -> str | None:
        """The first value of a header, or ``None``."""
        wanted = name.lower().encode("ascii")
        for each, value in self.headers:
            if each == wanted:
                return value.decode("latin-1")
        return None

    def set_header(self, name: str, value: str) -> None:
        """Set a header, in place of all of that name."""
        wanted = name.lower().encode("latin-1")
        self.headers = [each for each in self.headers if each[0] != wanted]
        self.headers.append((wanted, value.encode("latin-1")))

    def add_header(self, name: str, value: str) -> None:
        """Add a header, beside others of that name."""
        self.headers.append((name.lower().encode("latin-1"), value.encode("latin-1")))

    def set_cookie(
        self,
        name: str,
        value: str,
        *,
        max_age: int | None = None,
        expires: float | None = None,
        path: str | None = "/",
        domain: str | None = None,
        secure: bool = True,
        http_only: bool = True,
        same_site: SameSite | None = "lax",
        partitioned: bool = False,
    ) -> None:
        """Set a cookie; what the arguments are tells `sennit.web.cookies.cookie_field`.

        A browser keeps a secure cookie only when it came over TLS, or from localhost.

        Raises:
            ValueError: One of them cannot be sent, or they do not go together.
        """
        from sennit.web.cookies import cookie_field

        field = cookie_field(
            name,
            value,
            max_age=max_age,
            expires=expires,
            path=path,
            domain=domain,
            secure=secure,
            http_only=http_only,
            same_site=same_site,
            partitioned=partitioned,
        )
        self.headers = [*self.headers, (b"set-cookie", field)]

    def delete_cookie(
        self,
        name: str,
        *,
        path: str | None = "/",
        domain: str | None = None,
        secure: bool = True,
        same_site: SameSite | None = "lax",
        partitioned: bool = False,
    ) -> None:
        """Have a cookie forgotten that was set with this path and domain.

        Raises:
            ValueError: One of them cannot be sent.
        """
        from sennit.web.cookies import expired_cookie_field

        field = expired_cookie_field(
            name,
            path=path,
            domain=domain,
            secure=secure,
            same_site=same_site,
            partitioned=partitioned,
        )
        self.headers = [*self.headers, (b"set-cookie", field)]


class HTTPError(WebError):
    """Raised by a handler to answer with an error.

    Attributes:
        status: The status of the answer.
        headers: Further headers of it.
    """

    def __init__(self, status: int, headers: HeadersIn = None, message: str = "") -> None:
        if not 400 <= status <= 599:
            raise WebUsageError(f"{status} is no error")
        super().__init__(message or REASONS.get(status, b"").decode("ascii"))
        self.status = status
        self.headers = headers


class MissingFieldError(HTTPError, KeyError):
    """A field that a query or a form must have did not come: 400, where nobody catches it."""

    def __init__(self, name: str) -> None:
        super().__init__(400, None, f"the field {name!r:.100} is missing")


def _octets(headers: HeadersIn) -> list[tuple[bytes, bytes]]:
    found: list[tuple[bytes, bytes]] = []
    if headers is None:
        return found
    if isinstance(headers, Mapping):
        headers = cast("Mapping[str, str]", headers).items()
    for name, value in headers:
        found.append(
            (
                name.lower() if isinstance(name, bytes) else name.lower().encode("latin-1"),
                value if isinstance(value, bytes) else value.encode("latin-1"),
            )
        )
    return found


def text(body: str, status: int = 200, headers: HeadersIn = None) -> Response:
    """Plain text in UTF-8."""
    return _typed(_TEXT, body.encode(), status, headers)


def html(body: str, status: int = 200, headers: HeadersIn = None) -> Response:
    """An HTML page in UTF-8. Escape what came from outside (`html.escape`)."""
    return _typed(_HTML, body.encode(), status, headers)


def json(value: object, status: int = 200, headers: HeadersIn = None) -> Response:
    """A value as JSON (RFC 8259: no NaN, no infinity).

    Raises:
        ValueError: The value has no JSON form.
    """
    body = _json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return _typed(_JSON, body.encode(), status, headers)


def _typed(kind: tuple[bytes, bytes], body: bytes, status: int, headers: HeadersIn) -> Response:
    response = Response(body, status)
    if headers is None:
        response.headers.append(kind)
    else:
        response.headers = _octets(headers)
        if not any(name == b"content-type" for name, _ in response.headers):
            response.headers.append(kind)
    return response


def redirect(location: str, status: int = 302) -> Response:
    """Send the client elsewhere; characters that a URL cannot hold are percent-encoded.

    Raises:
        WebUsageError: The status is no redirection, or the location holds a control
            character.
    """
    if status not in (301, 302, 303, 307, 308):
        raise WebUsageError(f"{status} is no redirection with a location")
    if any(ord(each) < 32 or ord(each) == 127 for each in location):
        raise WebUsageError(f"a control character in the location {location!r:.100}")
    target = quote(location, safe=_IN_LOCATION)
    shown = escape(target, quote=True)
    page = f'<!doctype html>\n<title>Moved</title>\n<p>See <a href="{shown}">{shown}</a>.\n'
    response = html(page, status)
    response.headers.append((b"location", target.encode("ascii")))
    return response


def error_page(status: int, headers: HeadersIn = None) -> Response:
    """A page that says the status and nothing of what was asked."""
    reason = REASONS.get(status, b"").decode("ascii")
    return text(f"{status} {reason}\n", status, headers)
