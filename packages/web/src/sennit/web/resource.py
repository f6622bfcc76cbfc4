"""Resources and sites: what the segments of a path lead to.

A `Site` looks at its routes first (``routing.py``), then walks its tree from the
root, one `Resource.get_child` per segment, until a leaf or the path's end, and asks
what it found to `render`. A resource offers the methods for which it has a
``render_get``, ``render_post`` …; HEAD is answered by what answers GET, OPTIONS by the
list, all else by 405.

Nothing of a path is ever put together again, nor taken for a file name here:
segments that mean "up" or "here", and empty ones, are names like others, and
nobody has them.
"""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING, Any

from sennit.web.errors import WebUsageError
from sennit.web.response import Response, error_page
from sennit.web.server import HTTPServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import TypeVar

    from sennit.web.request import Request
    from sennit.web.routing import Route, Router
    from sennit.web.server import Answer, Handler
    from sennit.web.websocket.server import WebSocketHandler

    H = TypeVar("H", bound=Callable[..., Answer])
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
    """Routes, a tree of resources, and what serves them: ``serve("tcp://:8080", site)``.

    Routes come before the tree; those without parameters are found in one look-up.

    Args:
        root: What ``/`` leads to; an empty resource when left out.
        wrappers: Put around the whole, the first outermost (``wrappers.py``).
        options: Those of `HTTPServer`. (`Any`: they are checked there.)
    """

    def __init__(
        self,
        root: Resource | None = None,
        *,
        wrappers: Iterable[Callable[[Handler], Handler]] = (),
        **options: Any,
    ) -> None:
        handler: Handler = self.handle
        for wrap in reversed(list(wrappers)):
            handler = wrap(handler)
        super().__init__(handler, **options)
        self.root = root or Resource()
        # What answers paths without parameters, by their octets and the method: one
        # look-up for nearly every request.
        self._routes: dict[bytes, dict[bytes, Handler]] = {}
        self._router: Router | None = None

    @property
    def router(self) -> Router:
        """Its routes."""
        if self._router is None:
            from sennit.web.routing import Router

            self._router = Router()
            self._router.tell(self._know)
        return self._router

    def route(
        self,
        path: str,
        *,
        methods: Sequence[str] = ("GET",),
        name: str | None = None,
        limit: int | None = None,
        wrappers: Sequence[Callable[[Handler], Handler]] = (),
    ) -> Callable[[H], H]:
        """Mark a function as the answer to a path.

        Args:
            path: Such as ``/`` or ``/users/{id:int}`` (``routing.py``); percent-encoded
                where it must be. The function finds the parameters in ``request.params``,
                and gets those as keyword arguments that it has names for.
            methods: Those it answers; HEAD comes with GET.
            name: For `url_for`.
            limit: Octets of content that it takes, in place of ``limits.body``.
            wrappers: Around this function alone, the first outermost.

        Raises:
            WebUsageError: The path is none, or leads somewhere already.
        """
        return self.router.route(path, methods=methods, name=name, limit=limit, wrappers=wrappers)

    def websocket(self, path: str, **options: Any) -> Callable[[W], W]:
        """Mark a coroutine function of a `WebSocket`, or a `WebSocketProtocol`, as an answer.

        ``websocket/server.py`` tells how they are written.

        Args:
            path: As of `route`.
            options: Those of `WebSocketOptions`. (`Any`: they are checked there.)

        Raises:
            WebUsageError: As of `route`, or an option is wrong.
        """
        return self.router.websocket(path, **options)

    def url_for(self, name: str, /, **params: Any) -> str:
        """The path of a named route. (`Any`: what the kinds of its parameters take.)

        Raises:
            WebUsageError: There is none, or the parameters do not fit.
        """
        return self.router.url_for(name, **params)

    def mount(
        self,
        prefix: str,
        what: Router | Resource | Handler,
        *,
        name: str | None = None,
        limit: int | None = None,
        wrappers: Sequence[Callable[[Handler], Handler]] = (),
    ) -> None:
        """Have something answer all paths below a prefix.

        Args:
            prefix: Such as ``/api`` or ``/of/{user}``.
            what: A `Router`, whose routes become this site's; or a resource (an ASGI or
                WSGI application is one, once it is hosted) or a function, which finds the
                rest of the path in ``request.segments``.
            name: What names of the router's routes begin with, before a dot.
            limit: As of `route`; of a router each route has its own.
            wrappers: Likewise.

        Raises:
            WebUsageError: The prefix is none, or something leads there already.
        """
        from sennit.web.routing import Router

        if isinstance(what, Router):
            if limit is not None or wrappers:
                raise WebUsageError("a router's routes have limits and wrappers of their own")
            self.router.mount(prefix, what, name=name)
            return
        handler = _walking(what) if isinstance(what, Resource) else what
        self.router.add(
            prefix.rstrip("/") or "/",
            handler,
            None,
            name=name,
            limit=limit,
            wrappers=wrappers,
            mounted=True,
        )

    def _know(self, route: Route) -> None:
        """A route was added: make its look-up quick, and let its content come in."""
        limit = route.limit
        if limit is not None and limit > self.limits.body:
            # The engine's limit is that of the largest; `Request.limit` is each one's own.
            self.limits = copy(self.limits)
            self.limits.body = limit
        if self._router is not None and not route.mounted and not route.names:
            answers = {
                method.encode("ascii"): each.handler
                for method, each in self._router.answers(route).items()
                if method
            }
            for octets in route.spellings():
                self._routes[octets] = answers

    def put_child(self, name: str, child: Resource) -> None:
        """Attach a resource under the first segment of paths."""
        self.root.put_child(name, child)

    def handle(self, request: Request) -> Answer:
        """Find what the path leads to, and ask it."""
        head = request.head
        path = head.path
        found = self._routes.get(path)
        if found is None:
            found = self._routes.get(path.partition(b"?")[0])
        if found is not None:
            handler = found.get(head.method)
            if handler is not None:
                return handler(request)
        return self._search(request)

    def _search(self, request: Request) -> Answer:
        """Likewise, for all but routes without parameters."""
        head = request.head
        if head.path == b"*":
            return Response(b"", 204, {"allow": ", ".join((*_KNOWN, "OPTIONS"))})
        if head.method == b"CONNECT" and head.protocol is None:
            return error_page(501)
        router = self._router
        if router is not None:
            found = router.match(request.segments, request.method)
            if found is not None:
                if isinstance(found, set):
                    return _refused(request.method, found)
                request.params = found.params
                if found.route.mounted:
                    request.segments = found.rest
                return found.route.handler(request)
        resource = self.find(request)
        if resource is None:
            return self.not_found(request)
        return resource.render(request)

    def find(self, request: Request) -> Resource | None:
        """Walk the tree; takes the segments it used off ``request.segments``.

        Raises:
            HTTPError: 404, the path is not well encoded.
        """
        return _walk(self.root, request)

    def not_found(self, request: Request) -> Answer:
        """What answers when a path leads nowhere; override it for a page of one's own."""
        return error_page(404)


def _walk(root: Resource, request: Request) -> Resource | None:
    """The resource that ``request.segments`` leads to; takes those it used off them.

    Raises:
        HTTPError: 404, the path is not well encoded.
    """
    segments = request.segments
    resource: Resource | None = root
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


def _walking(root: Resource) -> Handler:
    """A handler that asks what the rest of the path leads to below a resource."""

    def call(request: Request) -> Answer:
        resource = _walk(root, request)
        return error_page(404) if resource is None else resource.render(request)

    return call


def _refused(method: str, allowed: set[str]) -> Response:
    """The answer of a route to a method that it has none for."""
    listed = ", ".join([*sorted(allowed - {"OPTIONS"}), "OPTIONS"])
    if method == "OPTIONS":
        return Response(b"", 204, {"allow": listed})
    if method not in (*_KNOWN, "TRACE", "CONNECT"):
        return error_page(501)
    return error_page(405, {"allow": listed})
