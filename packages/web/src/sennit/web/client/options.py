"""What a request may be given, and what is made of it before anything is sent.

`RequestOptions` are the keywords of every method of a `Client`; the functions turn what
callers like to write into what an `Exchange` takes, and raise where that cannot be.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypedDict

from sennit.web._version import __version__
from sennit.web.client.cookies import CookieJar
from sennit.web.client.headers import merged
from sennit.web.client.limits import ClientTimeouts
from sennit.web.client.retries import Retries
from sennit.web.client.uploads import form_upload, json_upload, upload_of
from sennit.web.decoding import available_codings
from sennit.web.errors import WebUsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from sennit.web.client.auth import Auth
    from sennit.web.client.exchange import OnInformational
    from sennit.web.client.headers import Field, HeadersIn
    from sennit.web.client.multipart import Files
    from sennit.web.client.progress import OnProgress
    from sennit.web.client.uploads import Pairs, Source, Upload
    from sennit.web.client.urls import URL

    Timeout = float | ClientTimeouts | None
    Hooks = Callable[..., object] | Iterable[Callable[..., object]] | None

__all__ = [
    "RequestOptions",
    "as_folder",
    "check_known",
    "content_of",
    "cookie_pairs",
    "default_headers",
    "hooks_of",
    "retries_of",
    "timeouts_of",
]


class RequestOptions(TypedDict, total=False):
    """What every request may be given.

    Attributes:
        params: Fields of the query, added to those the URL has.
        headers: Fields; in place of the client's of the same name, and with ``None``
            for a value without it.
        content: The content: octets, text, a path, a file, an iterable of octets.
        length: Octets of an iterable, where they are known; without it they are sent
            in chunks.
        json: A value to send as JSON.
        data: Fields of a form.
        files: Files of a form (see `Multipart`).
        auth: The login; a pair of name and password for Basic. ``None`` for none.
        timeout: Seconds for the whole call, or `ClientTimeouts`; ``None`` for no limit
            to the whole, the client's to its parts.
        cookies: Cookies for this call only, beside those of the jar.
        follow_redirects: Whether to, instead of the client's.
        retries: What is tried again, instead of the client's.
        upload_progress: Called with a `Progress` as the content is sent.
        on_informational: Called with status and headers of interim responses.
        extensions: For the connection, such as ``priority`` in HTTP/2.
    """

    params: Pairs | None
    headers: HeadersIn
    content: Source | None
    length: int | None
    json: object
    data: Pairs | None
    files: Files | None
    auth: Auth | tuple[str, str] | None
    timeout: Timeout
    cookies: Mapping[str, str] | None
    follow_redirects: bool
    retries: Retries | int | None
    upload_progress: OnProgress | None
    on_informational: OnInformational | None
    extensions: dict[str, Any] | None


_KNOWN: Final = frozenset(RequestOptions.__annotations__)


def check_known(options: RequestOptions) -> None:
    """See that nothing is left aside without a word.

    Raises:
        TypeError: An option that there is none of, such as ``header`` for ``headers``.
    """
    if not options.keys() <= _KNOWN:
        unknown = ", ".join(sorted(options.keys() - _KNOWN))
        raise TypeError(f"a request has no option {unknown}; it has {', '.join(sorted(_KNOWN))}")


def as_folder(url: URL) -> URL:
    """A base whose path ends in a slash, so that what is relative to it stands below it."""
    if url.path.endswith("/") and url.query is None:
        return url
    path = url.path if url.path.endswith("/") else f"{url.path}/"
    return url.join(path)


def default_headers(given: list[Field], decode: bool) -> list[Field]:
    """What every request says: who asks and what it can read, unless given otherwise."""
    ours: list[Field] = [
        (b"user-agent", f"sennit/{__version__}".encode("ascii")),
        (b"accept", b"*/*"),
    ]
    if decode:
        ours.append((b"accept-encoding", ", ".join(available_codings()).encode("ascii")))
    return merged(ours, given)


def timeouts_of(given: Timeout, own: ClientTimeouts) -> ClientTimeouts:
    """Time limits as given, or those there are with another total."""
    if isinstance(given, ClientTimeouts):
        return given
    return ClientTimeouts(
        connect=own.connect,
        read=own.read,
        write=own.write,
        pool=own.pool,
        total=given,
        expect=own.expect,
    )


def retries_of(given: Retries | int | None) -> Retries | None:
    """What is tried again, from a policy or a number."""
    return Retries(given) if isinstance(given, int) else given


def hooks_of(given: Hooks) -> list[Callable[..., object]]:
    """One function, several, or none."""
    if given is None:
        return []
    return [given] if callable(given) else list(given)


def content_of(options: RequestOptions) -> Upload | None:
    """The content of a request, from whichever option has it.

    Raises:
        WebUsageError: More than one has.
    """
    content, data, files = options.get("content"), options.get("data"), options.get("files")
    forms = data is not None or files is not None
    if (content is not None) + forms + ("json" in options) > 1:
        raise WebUsageError("content, json, or data and files: one of them is a request's content")
    if content is not None:
        return upload_of(content, length=options.get("length"))
    if "json" in options:
        return json_upload(options["json"])
    if files is not None:
        from sennit.web.client.multipart import Multipart

        return Multipart(data, files)
    if data is None:
        return None
    if isinstance(data, (str, bytes)):
        raise WebUsageError("data are a form's fields; octets and text are content=")
    return form_upload(data)


def cookie_pairs(cookies: Mapping[str, str]) -> bytes:
    """Cookies of one call as they are sent.

    Raises:
        WebUsageError: A control or semicolon in one.
    """
    jar = CookieJar()
    made = [jar.set(name, value, domain="one.call") for name, value in cookies.items()]
    return b"; ".join(b"%b=%b" % (each.name, each.value) for each in made)
