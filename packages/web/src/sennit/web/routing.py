"""Paths with parameters: ``/users/{id:int}/files/{path:path}``, and what they lead to.

A `Router` keeps a tree, one level per segment. A segment is looked up among the fixed
names in one step, however many there are, then tried on the parameters that stand at
that level: so the cost of a match is linear in the segments of the path, times at most
the number of patterns that differ in their parameters, and never depends on how many
fixed routes there are.

Each segment is decoded by itself, before it is matched: an encoded slash stays inside
its segment, and ``..`` is a name like any other. What a parameter cannot be converted
to is no match, and where nothing matches the answer is 404.

Which of several patterns counts, segment by segment from the left: a fixed name before
a parameter; among parameters the pickier kind (`Converter.rank`) first; a ``path`` last.
Where the pattern found so has no answer to the method, the next one is looked at; two
patterns that are the same but for the names of their parameters are one, and refused
when they answer the same method.

Sources: RFC 3986 §3.3 (segments), RFC 9110 §9.3.7, §15.5.6 (OPTIONS, 405). Elsewhere: who
asks (``resource.py``), resources and their trees likewise.
"""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import quote

from sennit.web.converters import CONVERTERS
from sennit.web.errors import WebUsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from sennit.web.converters import Converter
    from sennit.web.request import Request
    from sennit.web.server import Answer, Handler
    from sennit.web.websocket.server import WebSocketHandler

__all__ = ["Match", "Route", "Router", "bind", "parse_pattern"]

_PARAMETER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)(?::([A-Za-z_][A-Za-z0-9_]*))?\}").fullmatch
H = TypeVar("H", bound="Callable[..., Answer]")
W = TypeVar("W", bound="WebSocketHandler")

_SEGMENT_SAFE: Final = "!$&'()*+,-.:;=@_~"
"""What a segment may hold unescaped (RFC 3986 §3.3)."""


class Route:
    """One pattern with what answers it.

    Attributes:
        pattern: As it was written.
        segments: Its parts: a `str` for a fixed name (decoded), else a pair of the
            parameter's name and its kind.
        handler: What answers.
        methods: The methods it answers; ``None``: all.
        name: For `Router.url_for`.
        names: Those of its parameters, from the left.
        limit: Octets of content, in place of the site's limit; ``None`` for that.
        mounted: Whether the rest of the path is the handler's own affair.
    """

    __slots__ = ("handler", "limit", "methods", "mounted", "name", "names", "pattern", "segments")

    def __init__(
        self,
        pattern: str,
        segments: Sequence[str | tuple[str, str]],
        handler: Handler,
        methods: Iterable[str] | None,
        *,
        name: str | None = None,
        limit: int | None = None,
        mounted: bool = False,
    ) -> None:
        self.pattern = pattern
        self.segments = tuple(segments)
        self.handler = handler
        self.methods = None if methods is None else _with_head(methods)
        self.name = name
        self.limit = limit
        self.mounted = mounted
        self.names = tuple(each[0] for each in self.segments if not isinstance(each, str))

    def __repr__(self) -> str:
        return f"<Route {self.pattern}>"

    def spellings(self) -> set[bytes]:
        """Paths as clients write them that lead here, of a pattern without parameters."""
        fixed = [each for each in self.segments if isinstance(each, str)]
        usual = "/" + "/".join(quote(each, safe=_SEGMENT_SAFE) for each in fixed)
        written = quote(self.pattern, safe=_SEGMENT_SAFE + "/%")
        return {usual.encode("ascii"), written.encode("ascii")}


class Match:
    """What a path leads to.

    Attributes:
        route: The pattern.
        params: Converted values by the names of the parameters.
        rest: Segments that a mounted handler is left with.
    """

    __slots__ = ("params", "rest", "route")

    def __init__(self, route: Route, params: dict[str, Any], rest: list[str]) -> None:
        self.route = route
        self.params = params
        self.rest = rest


class _Node:
    """What may stand behind the segments so far."""

    __slots__ = ("fixed", "mounted", "params", "routes")

    def __init__(self) -> None:
        self.fixed: dict[str, _Node] = {}
        # Kind, converter and what follows, in the order they are tried.
        self.params: list[tuple[str, Converter, _Node]] = []
        # What answers here, by method; the key "" is for every other.
        self.routes: dict[str, Route] = {}
        self.mounted: Route | None = None


class Router:
    """Patterns of paths and what answers them; part of every `Site`, or to be mounted in one."""

    def __init__(self) -> None:
        self.routes: list[Route] = []
        self._root = _Node()
        self._named: dict[str, Route] = {}
        self._converters = dict(CONVERTERS)
        self._above: list[Callable[[Route], None]] = []

    def add_converter(self, name: str, converter: Converter) -> None:
        """Know one more kind of parameter, for patterns that are added later.

        Raises:
            WebUsageError: There is one of that name.
        """
        if name in self._converters:
            raise WebUsageError(f"there is a kind {name!r} of parameters already")
        self._converters[name] = converter

    def route(
        self,
        pattern: str,
        *,
        methods: Sequence[str] = ("GET",),
        name: str | None = None,
        limit: int | None = None,
        wrappers: Sequence[Callable[[Handler], Handler]] = (),
    ) -> Callable[[H], H]:
        """Mark a function as the answer to a path.

        Args:
            pattern: Such as ``/`` or ``/users/{id:int}``. A parameter is a whole segment;
                its kind is one of ``str`` (when left out), ``int``, ``float``, ``uuid``,
                ``path`` (the rest of the path), or of `add_converter`. The function finds
                values in ``request.params``, and gets those as keyword arguments that it
                has parameters for.
            methods: Those it answers; HEAD comes with GET.
            name: For `url_for`.
            limit: Octets of content that it takes, more or fewer than the site does.
            wrappers: Around this function alone, the first outermost.

        Raises:
            WebUsageError: The pattern is none, or it leads somewhere already.
        """
        parse_pattern(pattern, self._converters)

        def mark(handler: H) -> H:
            self.add(pattern, handler, methods, name=name, limit=limit, wrappers=wrappers)
            return handler

        return mark

    def websocket(self, pattern: str, **options: Any) -> Callable[[W], W]:
        """Mark a coroutine function of a `WebSocket`, or a `WebSocketProtocol`, as an answer.

        ``websocket/server.py`` tells how they are written.

        Args:
            pattern: Such as ``/chat``, with parameters or without.
            options: Those of `WebSocketOptions`. (`Any`: they are checked there.)

        Raises:
            WebUsageError: As of `route`, or an option is wrong.
        """
        from sennit.web.websocket.server import WebSocketResource

        def mark(handler: W) -> W:
            # Over HTTP/2 it is asked for by CONNECT (RFC 8441 §4).
            answer = WebSocketResource(handler, **options).render
            self.add(pattern, answer, ("GET", "CONNECT"))
            return handler

        return mark

    def add(
        self,
        pattern: str,
        handler: Callable[..., Answer],
        methods: Sequence[str] | None = ("GET",),
        *,
        name: str | None = None,
        limit: int | None = None,
        wrappers: Sequence[Callable[[Handler], Handler]] = (),
        mounted: bool = False,
    ) -> Route:
        """Add what answers a path; `route` is the same as a decorator.

        Raises:
            WebUsageError: As of `route`.
        """
        segments = parse_pattern(pattern, self._converters)
        made = Route(pattern, segments, handler, methods, name=name, limit=limit, mounted=mounted)
        bound = bind(handler, made.names)
        for wrap in reversed(wrappers):
            bound = wrap(bound)
        made.handler = bound if limit is None else _limited(bound, limit)
        self.insert(made)
        return made

    def mount(self, prefix: str, router: Router, *, name: str | None = None) -> None:
        """Have all routes of another router below a prefix, those that it gets later too.

        Args:
            prefix: A pattern; its parameters come before those of the router.
            router: The other one.
            name: Names of its routes begin with it and a dot; as they are when left out.

        Raises:
            WebUsageError: A route of it leads somewhere already.
        """
        before = parse_pattern(prefix.rstrip("/") or "/", self._converters)
        before = () if before == ("",) else before
        if router is self:
            raise WebUsageError("a router cannot be mounted in itself")
        for kind, converter in router.converters.items():
            self._converters.setdefault(kind, converter)

        def take(route: Route) -> None:
            self._converters.update(
                {
                    kind: router.converters[kind]
                    for each in route.segments
                    if not isinstance(each, str) and (kind := each[1]) not in self._converters
                }
            )
            copy = Route(
                prefix.rstrip("/") + route.pattern,
                (*before, *route.segments),
                route.handler,
                route.methods,
                name=route.name and (f"{name}.{route.name}" if name else route.name),
                limit=route.limit,
                mounted=route.mounted,
            )
            self.insert(copy)

        for route in router.routes:
            take(route)
        router.tell(take)

    @property
    def converters(self) -> dict[str, Converter]:
        """The kinds of parameters it knows."""
        return self._converters

    def tell(self, above: Callable[[Route], None]) -> None:
        """Have a router above know of routes that come later."""
        self._above.append(above)

    def insert(self, route: Route) -> None:
        """Put a route where it belongs.

        Raises:
            WebUsageError: One of its parameters is named twice, its name is taken, or it
                leads somewhere already.
        """
        names = route.names
        if len(set(names)) != len(names):
            raise WebUsageError(f"{route.pattern!r} has two parameters of one name")
        if route.name is not None and route.name in self._named:
            raise WebUsageError(f"there is a route {route.name!r} already")
        node = self._root
        for at, each in enumerate(route.segments):
            if isinstance(each, str):
                node = node.fixed.setdefault(each, _Node())
                continue
            kind = each[1]
            converter = self._converters[kind]
            if converter.tail and at + 1 < len(route.segments):
                raise WebUsageError(f"{route.pattern!r}: a {kind} is the end of a pattern")
            found = next((below for known, _, below in node.params if known == kind), None)
            if found is None:
                found = _Node()
                node.params.append((kind, converter, found))
                # Sorting is stable: of two kinds of one rank the first defined is tried first.
                node.params.sort(key=lambda param: param[1].rank)
            node = found
        if route.mounted:
            if node.mounted is not None:
                raise WebUsageError(f"{route.pattern!r} leads somewhere already")
            node.mounted = route
        else:
            keys = [""] if route.methods is None else sorted(route.methods)
            # HEAD comes with GET, but does not stand in the way of one of its own.
            taken = [key for key in keys if key in node.routes and not _lent(node, key)]
            if taken and not (taken == ["HEAD"] and "GET" in keys):
                raise WebUsageError(f"{route.pattern!r} leads somewhere already")
            for key in keys:
                if key not in taken:
                    node.routes[key] = route
        if route.name is not None:
            self._named[route.name] = route
        self.routes.append(route)
        for above in self._above:
            above(route)

    def match(self, segments: list[str], method: str) -> Match | set[str] | None:
        """What a path leads to.

        Args:
            segments: Of the path, decoded.
            method: That is asked for.

        Returns:
            ``None`` when it leads nowhere, and the methods it does have answers to when
            this is none of them.
        """
        allowed: set[str] = set()
        found = self._descend(self._root, segments, 0, [], method, allowed)
        return found if found is not None else allowed or None

    def _descend(
        self,
        node: _Node,
        segments: list[str],
        at: int,
        values: list[Any],
        method: str,
        allowed: set[str],
    ) -> Match | None:
        # As long as there is one way only there is none to come back to.
        count = len(segments)
        while at < count and not node.params and node.mounted is None:
            below = node.fixed.get(segments[at])
            if below is None:
                return None
            node = below
            at += 1
        if at == count:
            routes = node.routes
            route = routes.get(method) or routes.get("")
            if route is not None:
                return Match(route, dict(zip(route.names, values)), [])  # noqa: B905 - as many
            allowed.update(routes)
        else:
            segment = segments[at]
            below = node.fixed.get(segment)
            if below is not None:
                found = self._descend(below, segments, at + 1, values, method, allowed)
                if found is not None:
                    return found
            for _, converter, below in node.params:
                if converter.tail:
                    text = _tail(segments, at)
                    if text is None:
                        continue
                    after = count
                else:
                    text, after = segment, at + 1
                try:
                    value = converter.convert(text)
                except ValueError:
                    continue
                found = self._descend(below, segments, after, [*values, value], method, allowed)
                if found is not None:
                    return found
        mounted = node.mounted
        if mounted is not None:
            params = dict(zip(mounted.names, values, strict=True))
            return Match(mounted, params, segments[at:])
        return None

    def answers(self, route: Route) -> dict[str, Route]:
        """All that answers a path without parameters, by method."""
        node = self._root
        for each in route.segments:
            assert isinstance(each, str)
            node = node.fixed[each]
        return node.routes

    def url_for(self, name: str, /, **params: Any) -> str:
        """The path of a named route.

        Args:
            name: Its name.
            params: Values for all of its parameters. (`Any`: what their kinds take.)

        Raises:
            WebUsageError: There is no such route, a parameter is missing or too much, or a
                value would not lead back to this route.
        """
        route = self._named.get(name)
        if route is None:
            raise WebUsageError(f"no route is called {name!r}")
        if set(params) != set(route.names):
            raise WebUsageError(f"{name!r} has the parameters {', '.join(route.names) or 'none'}")
        parts: list[str] = []
        for each in route.segments:
            if isinstance(each, str):
                parts.append(quote(each, safe=_SEGMENT_SAFE))
                continue
            parameter, kind = each
            converter = self._converters[kind]
            value = params[parameter]
            try:
                text = converter.to_text(value)
                converter.convert(text)
                good = not converter.tail or _tail(text.split("/"), 0) is not None
            except (TypeError, ValueError):
                good, text = False, ""
            if not good or "\0" in text:
                raise WebUsageError(f"{parameter} of {name!r} cannot be {value!r:.100}")
            pieces = text.split("/") if converter.tail else [text]
            if not converter.tail and text in (".", ".."):
                # Clients take them away before they send anything (RFC 3986 §5.2.4).
                raise WebUsageError(f"{parameter} of {name!r} cannot be {value!r:.100}")
            parts.append("/".join(quote(piece, safe=_SEGMENT_SAFE) for piece in pieces))
        return "/" + "/".join(parts)


def _with_head(methods: Iterable[str]) -> frozenset[str]:
    """The methods, and HEAD where GET is among them."""
    found = frozenset(methods)
    return found | {"HEAD"} if "GET" in found else found


def _lent(node: _Node, key: str) -> bool:
    """Whether HEAD is answered here only because GET is."""
    route = node.routes[key]
    return key == "HEAD" and route is node.routes.get("GET")


def _tail(segments: list[str], at: int) -> str | None:
    """The rest of a path as one text; ``None`` when it would read differently so.

    An encoded slash would look like one between segments, and ``..`` like a way out of
    what the text is a path in.
    """
    rest = segments[at:]
    if any("/" in each or each in (".", "..") for each in rest):
        return None
    return "/".join(rest)


def parse_pattern(
    pattern: str, converters: dict[str, Converter] | None = None
) -> tuple[str | tuple[str, str], ...]:
    """The segments of a pattern, fixed names decoded, parameters as (name, kind).

    Raises:
        WebUsageError: It is no pattern, or a kind is not known.
    """
    from sennit.web.request import decode_segments
    from sennit.web.response import HTTPError

    if not pattern.startswith("/"):
        raise WebUsageError(f"a path begins with a slash: {pattern!r}")
    if "?" in pattern or "#" in pattern:
        raise WebUsageError(f"a path has neither query nor fragment: {pattern!r}")
    known = CONVERTERS if converters is None else converters
    found: list[str | tuple[str, str]] = []
    for segment in pattern.split("/")[1:]:
        match = _PARAMETER(segment)
        if match is not None:
            kind = match[2] or "str"
            if kind not in known:
                raise WebUsageError(f"{pattern!r}: no kind {kind!r} of parameters")
            found.append((match[1], kind))
            continue
        if "{" in segment or "}" in segment:
            raise WebUsageError(f"{pattern!r}: a parameter is a whole segment, {{name:kind}}")
        try:
            name = decode_segments(b"/" + quote(segment, safe=_SEGMENT_SAFE + "%").encode())[0]
        except HTTPError:
            raise WebUsageError(f"{pattern!r} is not well encoded") from None
        found.append(name)
    return tuple(found)


def bind(handler: Callable[..., Answer], names: Sequence[str]) -> Handler:
    """A handler that gives the function those parameters of the path that it asks for.

    Which those are is seen once, here.

    Raises:
        WebUsageError: The function asks for what the path does not have.
    """
    try:
        signature = inspect.signature(handler)
    except (TypeError, ValueError):
        # Built in, or otherwise without a signature: it gets the request alone.
        return handler
    asked = list(signature.parameters.values())[1:]
    if any(each.kind is each.VAR_KEYWORD for each in asked):
        wanted = list(names)
    else:
        wanted = [
            each.name
            for each in asked
            if each.name in names and each.kind in (each.KEYWORD_ONLY, each.POSITIONAL_OR_KEYWORD)
        ]
        for each in asked:
            missing = each.default is each.empty and each.name not in names
            if missing and each.kind is not each.VAR_POSITIONAL:
                raise WebUsageError(f"the path has no parameter {each.name!r} for {handler!r:.100}")
    if not wanted:
        return handler

    if len(wanted) == len(names):

        def call_with_all(request: Request) -> Answer:
            return handler(request, **request.params)

        return call_with_all

    def call(request: Request) -> Answer:
        params = request.params
        return handler(request, **{name: params[name] for name in wanted})

    return call


def _limited(handler: Handler, limit: int) -> Handler:
    """A handler with a limit of its own for content."""
    if limit < 0:
        raise WebUsageError(f"a limit of content is a number of octets, not {limit}")

    def call(request: Request) -> Answer:
        request.limit = limit
        return handler(request)

    return call
