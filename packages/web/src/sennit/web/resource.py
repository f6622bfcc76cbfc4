"""Resources: what the segments of a path lead to.

A `Site` walks its tree from the root, one `Resource.get_child` per segment, until
a leaf or the path's end, and asks what it found to `render`. A resource offers
the methods for which it has a ``render_get``, ``render_post`` …; HEAD is answered
by what answers GET, OPTIONS by the list, all else by 405.

Nothing of a path is ever put together again, nor taken for a file name here:
segments that mean "up" or "here", and empty ones, are names like others, and
nobody has them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sennit.web.errors import WebUsageError
from sennit.web.response import Response, error_page
from sennit.web.server import HTTPServer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeVar

    from sennit.web.request import Request
    from sennit.web.server import Answer, Handler
    from sennit.web.websocket.server import WebSocketHandler

    H = TypeVar("H", bound="Handler")
    W = TypeVar("W", bound="WebSocketHandler")

__all__ = ["FunctionResource", "Resource", "Site"]

_KNOWN = ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH")


class Resource:
    """Something a path leads to.

    Attributes:
        leaf: Whether the rest of the path, however long, is this resource's own
            affair: it stands in ``request.segments``.
    """

    leaf: bool = False

    _children: dict[str, Resource] | None = None

    def put_child(self, name: str, child: Resource) -> None:
        """Attach a resource under one segment; the empty one is ``/`` at the path's end.

        Raises:
            WebUsageError: The name holds a slash, or there is one of that name.
        """
        if "/" in name:
            raise WebUsageError(f"a segment of a path holds no slash: {name!r}")
        if self._children is None:
            self._children = {}
        if name in self._children:
            raise WebUsageError(f"there is a child {name!r} already")
        self._children[name] = child

    def get_child(self, name: str, request: Request) -> Resource | None:
        """The resource under a segment; ``None`` answers 404.

        Override it for children that are made when they are asked for.
        """
        return None if self._children is None else self._children.get(name)

    def render(self, request: Request) -> Answer:
        """Answer a request: a `Response`, or a Deferred or coroutine of one."""
        method = request.method
        # Only names of this list become attribute names.
        if method in _KNOWN:
            render = getattr(self, f"render_{method.lower()}", None)
            if render is None and method == "HEAD":
                render = getattr(self, "render_get", None)
            if render is not None:
                answer: Answer = render(request)
                return answer
        allowed = self.allowed_methods()
        if method == "OPTIONS":
            return Response(b"", 204, {"allow": ", ".join(allowed)})
        if method not in (*_KNOWN, "TRACE", "CONNECT"):
            return error_page(501)
        return error_page(405, {"allow": ", ".join(allowed)})

    def allowed_methods(self) -> Sequence[str]:
        """What `render` has an answer to, for ``Allow`` (RFC 9110 §10.2.1)."""
        found = [each for each in _KNOWN if hasattr(self, f"render_{each.lower()}")]
        if "GET" in found and "HEAD" not in found:
            found.insert(found.index("GET") + 1, "HEAD")
        return [*found, "OPTIONS"]


class FunctionResource(Resource):
    """A leaf that a function answers for.

    Args:
        handler: Takes a `Request`; returns a `Response`, or a Deferred or coroutine of one.
        methods: Those it answers; HEAD comes with GET.
    """

    def __init__(self, handler: Handler, methods: Sequence[str] = ("GET",)) -> None:
        self._handler = handler
        self.methods = frozenset([*methods, "HEAD"] if "GET" in methods else methods)

    def render(self, request: Request) -> Answer:
        if request.method in self.methods:
            return self._handler(request)
        return super().render(request)

    def allowed_methods(self) -> Sequence[str]:
        return [*sorted(self.methods), "OPTIONS"]


class Site(HTTPServer):
    """A tree of resources, and what serves it: ``serve("tcp://:8080", site)``.

    Args:
        root: What ``/`` leads to; an empty resource when left out.
        options: Those of `HTTPServer`. (`Any`: they are checked there.)
    """

    def __init__(self, root: Resource | None = None, **options: Any) -> None:
        super().__init__(self.handle, **options)
        self.root = root or Resource()
        # Paths that lead to a function, by their octets: one look-up for nearly every request.
        self._routes: dict[bytes, FunctionResource] = {}

    def route(self, path: str, *, methods: Sequence[str] = ("GET",)) -> Callable[[H], H]:
        """Mark a function as the answer to a path.

        Args:
            path: Such as ``/`` or ``/about/people``; percent-encoded where it must be.
            methods: Those it answers; HEAD comes with GET.

        Raises:
            WebUsageError: The path does not begin with a slash, or leads somewhere already.
        """
        if not path.startswith("/"):
            raise WebUsageError(f"a path begins with a slash: {path!r}")
        key = path.encode("ascii")

        def add(handler: H) -> H:
            if key in self._routes:
                raise WebUsageError(f"{path!r} leads somewhere already")
            self._routes[key] = FunctionResource(handler, methods)
            return handler

        return add

    def websocket(self, path: str, **options: Any) -> Callable[[W], W]:
        """Mark a coroutine function of a `WebSocket`, or a `WebSocketProtocol`, as an answer.

        ``websocket/server.py`` tells how they are written.

        Args:
            path: Such as ``/chat``.
            options: Those of `WebSocketOptions`. (`Any`: they are checked there.)

        Raises:
            WebUsageError: As of `route`, or an option is wrong.
        """
        from sennit.web.websocket.server import WebSocketResource

        def mark(handler: W) -> W:
            # Over HTTP/2 it is asked for by CONNECT (RFC 8441 §4).
            answer = WebSocketResource(handler, **options).render
            self.route(path, methods=("GET", "CONNECT"))(answer)
            return handler

        return mark

    def put_child(self, name: str, child: Resource) -> None:
        """Attach a resource under the first segment of paths."""
        self.root.put_child(name, child)

    def handle(self, request: Request) -> Answer:
        """Find what the path leads to, and ask it."""
        path = request.head.path
        found = self._routes.get(path)
        if found is None:
            if path == b"*":
                return Response(b"", 204, {"allow": ", ".join((*_KNOWN, "OPTIONS"))})
            if request.head.method == b"CONNECT" and request.head.protocol is None:
                return error_page(501)
            found = self._routes.get(path.partition(b"?")[0])
        if found is not None:
            return found.render(request)
        resource = self.find(request)
        if resource is None:
            return self.not_found(request)
        return resource.render(request)

    def find(self, request: Request) -> Resource | None:
        """Walk the tree; takes the segments it used off ``request.segments``.

        Raises:
            HTTPError: 404, the path is not well encoded.
        """
        segments = request.segments
        resource: Resource | None = self.root
        for at, segment in enumerate(segments):
            assert resource is not None
            if resource.leaf:
                request.segments = segments[at:]
                return resource
            resource = resource.get_child(segment, request)
            if resource is None:
                return None
        request.segments = []
        return resource

    def not_found(self, request: Request) -> Answer:
        """What answers when a path leads nowhere; override it for a page of one's own."""
        return error_page(404)
