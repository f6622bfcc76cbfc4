"""The wrapper that gives requests their session, and its cookie.

A session begins when something is put into it, and not before: clients that are only
looked at leave nothing behind. It is loaded before the handler is asked, if the client
shows a cookie, and saved after the handler has answered, if it was changed, or if nobody
has said for a while that it is in use. A session whose content cannot be saved is a fault
of the application, and answered so. An answer that is given piece by piece has left when
its handler returns: the session is saved and ended all the same, but a new one, whose name
the client would have to be told, is lost, and a warning says so.

Sources: RFC 6265; OWASP's session management cheat sheet (names of 128 bits and more,
renewed at login; idle and absolute time limits).
"""

from __future__ import annotations

import inspect
import logging
import time
from typing import TYPE_CHECKING, Any, Final

from sennit.web.errors import WebUsageError
from sennit.web.response import Response
from sennit.web.sessions.interfaces import MAX_TOKEN, Record
from sennit.web.sessions.session import Session
from sennit.web.wrappers import ask, then

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sennit.web.cookies import SameSite
    from sennit.web.request import Request
    from sennit.web.server import Answer, Handler
    from sennit.web.sessions.interfaces import ISessionStore
    from sennit.web.wrappers import Wrapper

__all__ = ["with_sessions"]

_log = logging.getLogger("sennit.web")

PRECISION: Final = 10
"""That a session is in use is written down when a tenth of its idle time has gone."""


def with_sessions(
    store: ISessionStore,
    *,
    idle: float = 30 * 60.0,
    absolute: float = 12 * 3600.0,
    cookie: str = "session",
    path: str = "/",
    domain: str | None = None,
    same_site: SameSite = "lax",
    secure: bool | None = None,
    keep: bool = False,
    wall_clock: Callable[[], float] = time.time,
) -> Wrapper:
    """A wrapper that gives requests a session (``request.session``).

    Args:
        store: Where they are kept (``stores.py``, ``redis.py``).
        idle: Seconds without a request after which one is over.
        absolute: Seconds after which one is over in any case; a login begins anew.
        cookie: The cookie's name; over TLS it becomes ``__Host-NAME``, which nobody beside
            this host can plant, if `path` and `domain` are left as they are.
        path: Below which the cookie is sent.
        domain: That it is sent to with all beneath; this host alone when left out.
        same_site: As of `cookie_field`.
        secure: Whether it goes over TLS only; when left out, if the request came over TLS.
        keep: Whether browsers keep it when they are closed.
        wall_clock: Seconds since the epoch.

    Raises:
        WebUsageError: Times that do not fit, or what cannot be a cookie.
    """
    if not 0 < idle <= absolute:
        raise WebUsageError("a session may be idle for a while, and for no longer than it lasts")
    if secure is None and (
        same_site == "none" or cookie.lower().startswith(("__secure-", "__host-"))
    ):
        # Browsers take these over TLS only, whatever the request came over.
        secure = True
    Response().set_cookie(
        cookie, "", path=path, domain=domain, secure=secure is not False, same_site=same_site
    )
    hosts_own = path == "/" and domain is None and not cookie.startswith("__")

    def finish(
        response: Response, shown: _Shown, session: Session, record: Record | None
    ) -> Response | Awaitable[Response]:
        """Give the answer its cookie; waits only for what has to be saved."""
        stale = shown.token is not None and record is None
        if session.changed or session.ended or stale:
            return save(response, shown, session, record)
        if record is not None and wall_clock() - record.seen >= idle / PRECISION:
            return save(response, shown, session, record)
        return response

    async def save(
        response: Response, shown: _Shown, session: Session, record: Record | None
    ) -> Response:
        known = shown.token if record is not None else None
        if known is not None and (session.ended or session.rotated or not session.data):
            await store.delete(known)
            known = None
        if not session.data:
            if shown.token is not None:
                response.delete_cookie(
                    shown.cookie, path=path, domain=domain, secure=shown.safe, same_site=same_site
                )
            return response
        now = wall_clock()
        created = session.created or now
        expires = min(now + idle, created + absolute)
        token = await store.save(known, Record(session.data, created, now), expires)
        # Without one, another request has ended the session meanwhile, or renamed it.
        if token is not None and (keep or token != shown.token):
            response.set_cookie(
                shown.cookie,
                token,
                max_age=max(1, int(expires - now)) if keep else None,
                path=path,
                domain=domain,
                secure=shown.safe,
                same_site=same_site,
            )
            if response.header("cache-control") is None:
                # No cache may give this client's cookie to another (RFC 9111 §7.3).
                response.set_header("cache-control", "no-store")
        return response

    async def begun(shown: _Shown, session: Session, record: Record | None) -> None:
        """The answer has begun without a cookie: keep and end what needs none."""
        token = shown.token
        if token is not None and record is not None:
            if session.ended or session.rotated or not session.data:
                await store.delete(token)
            elif session.changed or wall_clock() - record.seen >= idle / PRECISION:
                now = wall_clock()
                expires = min(now + idle, session.created + absolute)
                kept = await store.save(token, Record(session.data, session.created, now), expires)
                if kept is None or kept == token:
                    return
        if session.data and session.changed:
            _log.warning(
                "a session was begun, renamed or, in a cookie, changed by a handler that answers "
                "with request.start: it is lost, as that answer has no cookie; give a Response "
                "with an asynchronous iterable instead"
            )

    async def known(request: Request, handler: Handler, shown: _Shown, token: str) -> Any:
        now = wall_clock()
        record = await store.load(token) if len(token) <= MAX_TOKEN else None
        # Looked at here, too: a store may keep them for longer.
        if record is not None and not (
            now - record.seen < idle and now - record.created < absolute
        ):
            await store.delete(token)
            record = None
        session = Session(record, now)
        request.state["session"] = session
        answer = then(
            ask(handler, request),
            lambda response: finish(response, shown, session, record),
            lambda: begun(shown, session, record),
        )
        return await answer if inspect.isawaitable(answer) else answer

    def wrap(handler: Handler) -> Handler:
        def call(request: Request) -> Answer:
            safe = request.secure if secure is None else secure
            name = f"__Host-{cookie}" if safe and hosts_own else cookie
            shown = _Shown(name, request.cookies.get(name), safe)
            if shown.token is not None:
                return known(request, handler, shown, shown.token)
            session = Session(None, wall_clock())
            request.state["session"] = session
            return then(
                ask(handler, request),
                lambda response: finish(response, shown, session, None),
                lambda: begun(shown, session, None) if session.changed else None,
            )

        return call

    return wrap


class _Shown:
    """What a client has shown.

    Attributes:
        cookie: The name of the cookie.
        token: Its value, if there was one.
        safe: Whether it is for TLS only.
    """

    __slots__ = ("cookie", "safe", "token")

    def __init__(self, cookie: str, token: str | None, safe: bool) -> None:
        self.cookie = cookie
        self.token = token
        self.safe = safe
