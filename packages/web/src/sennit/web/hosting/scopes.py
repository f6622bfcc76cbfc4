"""What an ASGI application is told of a request before its messages, and header fields.

Source: ASGI, HTTP & WebSocket message format 2.5.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import unquote_to_bytes

from sennit.core._waiting import current_loop
from sennit.web.hosting.pieces import end_of, mounted_at

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sennit.web.hosting.asgi import ASGI
    from sennit.web.hosting.lifespan import Scope
    from sennit.web.request import Request

__all__ = ["Surroundings", "fields_of", "scope_of"]

_METHODS: Final = {
    each.encode(): each for each in ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS")
}
_MOST_NAMES: Final = 256
_right_names: set[bytes] = set()
"""Names that applications have used and that need nothing done. Those are the very same objects
again and again, whose hashes are known: to look here costs less than to look at the octets."""
_VERSIONS: Final = {b"1.0": "1.0", b"1.1": "1.1", b"2": "2"}
_EXTENSIONS: Final[dict[str, dict[str, object]]] = {
    "http.response.early_hint": {},
    "http.response.pathsend": {},
    "http.response.trailers": {},
}
_OLD_EXTENSIONS: Final[dict[str, dict[str, object]]] = {"http.response.pathsend": {}}
"""What a client of HTTP/1.0 leaves of them."""


class Surroundings:
    """What is the same for every request of a connection.

    Attributes:
        client: The client's end.
        server: The server's end.
        scheme: ``http`` or ``https``.
        loop: Who runs Tasks there.
    """

    __slots__ = ("client", "loop", "scheme", "server")

    def __init__(self, request: Request) -> None:
        connection = request.connection
        self.client, self.server = end_of(connection.peer), end_of(connection.local)
        self.scheme = "https" if connection.secure else "http"
        self.loop = current_loop()


def fields_of(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """An application's header fields, as responses have them.

    Names are put in lower case, and what frames the message is left to the server.
    """
    found = [*headers]
    for field in found:
        if type(field) is not tuple or field[0] not in _right_names:
            break
    else:
        # Nearly always: the copy is the answer.
        return found
    fields = [(name.lower(), value) for name, value in found]
    fields = [each for each in fields if each[0] != b"transfer-encoding"]
    if len(_right_names) < _MOST_NAMES:
        _right_names.update(name for name, _ in fields if type(name) is bytes)
    return fields


def scope_of(request: Request, around: Surroundings, host: ASGI) -> Scope:
    """What the application is told of a request, but for its content.

    Args:
        request: The request.
        around: What is known of its connection.
        host: Whose application it is.
    """
    head = request.head
    path = head.path
    query = b""
    if b"?" in path:
        path, _, query = path.partition(b"?")
    if b"%" in path:
        text = unquote_to_bytes(path).decode("utf-8", "replace")
    else:
        text = path.decode("ascii")
    root_path = host.root_path
    if root_path:
        text = root_path + text
    if request._segments is not None and (mount := mounted_at(request)):
        root_path += unquote_to_bytes(mount).decode("utf-8", "replace")
    headers = head.headers
    version = head.version
    if version == b"2" and head.host is not None:
        headers = [(b"host", head.host), *[each for each in headers if each[0] != b"host"]]
    client, scheme = around.client, around.scheme
    if request._state is not None:
        # A trusted proxy may have told who it is.
        client, scheme = end_of(request.peer), request.scheme
    scope: Scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.5"},
        "http_version": _VERSIONS[version],
        "method": _METHODS.get(head.method) or head.method.decode("latin-1"),
        "scheme": scheme,
        "path": text,
        "raw_path": path,
        "query_string": query,
        "root_path": root_path,
        "headers": headers,
        "client": client,
        "server": around.server,
        "extensions": (_OLD_EXTENSIONS if version == b"1.0" else _EXTENSIONS).copy(),
    }
    if host.state is not None:
        scope["state"] = host.state.copy()
    return scope
