"""One pool of connections for HTTP/1.1 and HTTP/2: who may use which, and when.

`Pool.send` takes an idle connection, or room on one that is shared, or waits for
either while another is dialled if the limits allow. Who waits is served in the order
of coming, by whatever is there first: a connection that another request gave back,
or a new one. On hosts that may speak HTTP/2 one connection is dialled for all who
wait, until it is known what the server speaks.

A request that fails on a connection which had served others, before any octet of
its answer, met a server that had just closed it: if it may be repeated it is sent
again, once, over a fresh connection (RFC 9112 §9.3.1); likewise one that met the 408
with which some servers close. One that the server says it has not touched (RFC 9113
§8.7) is repeated whatever it is.

Nothing runs when nothing is to be done: one timer, armed while connections are idle.

Sources: RFC 9112 §9.3-§9.6, RFC 9110 §9.2.2. Deliberately elsewhere: how connections
are made (``dialling.py``), what is said on them (``http1/client.py``,
``http2/client.py``), what is asked and why (``api.py``).
"""

from __future__ import annotations

from contextvars import copy_context
from typing import TYPE_CHECKING, Final

from sennit.core.deferred import Deferred, fail
from sennit.core.engine import FilePart
from sennit.core.errors import ConnectionDone, PoolFullError
from sennit.web.client.dialling import Dialler, Way
from sennit.web.client.hosts import Host, Waiter
from sennit.web.client.limits import ClientTimeouts, PoolLimits, ResponseLimits
from sennit.web.client.messages import IncomingResponse
from sennit.web.errors import RequestTimeoutError, UnansweredError, WebUsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Literal, Self

    from sennit.core.interfaces import IDelayedCall
    from sennit.core.reactor.base import Reactor
    from sennit.core.transport.tls import ClientTLS
    from sennit.web.client.connection import ClientConnection
    from sennit.web.client.messages import OutgoingRequest
    from sennit.web.client.proxies import Proxies, Proxy
    from sennit.web.client.urls import URL, Origin

__all__ = ["Pool"]

GRACE: Final = 5.0
"""Seconds that `Pool.aclose` gives to what is open."""
_UNTOUCHED_TRIES: Final = 3
"""Times a request is sent that servers give back untouched."""
_ONCE_MORE: Final = (408, 417)
"""Statuses that may concern the connection, and not what was asked."""
_HOSTS_KEPT: Final = 1000
"""Hosts remembered without a connection."""


class Pool:
    """Connections to any number of servers, shared by all who send through it.

    Args:
        limits: How many connections there are.
        timeouts: How long requests wait, unless they say otherwise.
        responses: What is taken from servers.
        tls: What to believe and to show; the system's trust when left out.
        http2: ``True``: where a server of https offers it (needs the extra ``http2``);
            ``"always"``: without asking, cleartext too (prior knowledge, RFC 9113 §3.3);
            ``False``: never; ``None``: as ``True`` where the extra is installed.
        proxy: A proxy (``http://``, ``https://``, ``socks5://``) for all, or `Proxies`,
            which chooses by URL (`proxies_from_environment` reads the usual variables).
        unix: Path of a Unix socket that all requests go to, whatever their host.
        local_address: Host and port to connect from.
        permit: Whether an address may be connected to, asked once the name of a host is
            looked up; for programs that fetch what others name. Of ``http`` only.
        reactor: The current one when left out.
    """

    def __init__(
        self,
        *,
        limits: PoolLimits | None = None,
        timeouts: ClientTimeouts | None = None,
        responses: ResponseLimits | None = None,
        tls: ClientTLS | None = None,
        http2: bool | Literal["always"] | None = None,
        proxy: str | Proxy | Proxies | None = None,
        unix: str | None = None,
        local_address: tuple[str, int] | None = None,
        permit: Callable[[str], bool] | None = None,
        reactor: Reactor | None = None,
    ) -> None:
        self.limits = limits or PoolLimits()
        self.timeouts = timeouts or ClientTimeouts()
        self.responses = responses or ResponseLimits()
        self._tls = tls
        self._http2: bool | Literal["always"] | None = http2
        self._proxies = None if proxy is None else _proxies(proxy, unix)
        self._unix = unix
        self._local_address = local_address
        self._permit = permit
        self._reactor = reactor
        self._context = copy_context()
        self._dialler: Dialler | None = None
        self._hosts: dict[Origin, Host] = {}
        self._forwarding: dict[Proxy, Host] = {}
        self._homes: dict[ClientConnection, Host] = {}
        """Every connection that stands, and whose it is."""
        self._born: dict[ClientConnection, float] = {}
        self._idle: dict[ClientConnection, float] = {}
        """Connections without work and since when; the one that waits longest first."""
        self._count = 0
        """Connections in all, those under way included."""
        self._waiting = 0
        self._starved: dict[Host, None] = {}
        """Hosts whose requests wait because there are too many connections elsewhere."""
        self._sweeper: IDelayedCall | None = None
        self._closing = False
        self._closed: Deferred[None] | None = None

    @property
    def clock(self) -> Reactor:
        """The reactor: tells the time, and calls back."""
        if self._reactor is None:
            from sennit.core.reactor.base import current_reactor

            self._reactor = current_reactor()
        return self._reactor

    # ── requests ──────────────────────────────────────────────────────────────

    async def send(self, request: OutgoingRequest) -> IncomingResponse:
        """Send a request over a free connection or a new one; the response's head has come then.

        Raises:
            ValueError: It cannot be sent; nothing was.
            ConnectError, TLSError: No connection could be had.
            UnansweredError: The connection ended before any octet of an answer.
            WebProtocolError: The server broke a rule.
            RequestTimeoutError: It took too long.
            PoolFullError: As many wait for a connection as may.
        """
        if self._closing:
            raise WebUsageError("the pool is closed")
        url = request.url
        origin = url.origin
        if request.upgrade:
            # HTTP/2 has no such thing: these have connections of their own.
            origin = (f"{url.scheme}+upgrade", url.host, url.port)
        host = self._hosts.get(origin)
        if host is None:
            host = self._find_host(origin, url, upgrade=request.upgrade)
        timeouts = request.timeouts or self.timeouts
        if timeouts.total is not None:
            request.deadline = self.clock.time() + timeouts.total
        repeated = untouched = 0
        while True:
            connection = None
            if not repeated:
                connection = self._take(host)
            if connection is None:
                connection = await self._wait_for_one(host, request, fresh=repeated > 0)
                if host.room_on(connection) < 1:
                    continue  # what there was has gone meanwhile
            served = connection.served
            try:
                answer = connection.begin(request)
            except BaseException:
                self.connection_changed(connection)
                raise
            try:
                response = await answer
                if response.status not in _ONCE_MORE:
                    return response
                if response.status == 417 and request.expects and _has_content(request):
                    # RFC 9110 §10.1.1: without the expectation.
                    request.expect_continue = request.expects = False
                elif response.status == 408 and served and not repeated and request.may_repeat:
                    # RFC 9110 §15.5.9: said to nobody, when the connection had been idle.
                    repeated = 1
                else:
                    return response
                await response.aclose()
            except UnansweredError as error:
                if error.untouched and not request.streamed:
                    untouched += 1
                    if untouched >= _UNTOUCHED_TRIES:
                        raise
                elif served and not repeated and request.may_repeat:
                    repeated = 1
                else:
                    raise
                if self._closing:
                    raise
            except BaseException:
                # Given up in the very moment in which it came, or failed: nobody takes that.
                answer.add_callbacks(IncomingResponse.drop, _passed_over)
                raise

    def _take(self, host: Host) -> ClientConnection | None:
        """A connection that can be used now."""
        idle = host.idle
        while idle:
            connection = idle.pop()
            del self._idle[connection]
            if connection.room and not self._too_old(connection):
                return connection
            connection.close()
        if not host.shared:
            return None
        shared = host.with_room()
        if shared is not None:
            self._idle.pop(shared, None)
        return shared

    def _too_old(self, connection: ClientConnection) -> bool:
        age = self.limits.age
        return age is not None and self.clock.time() - self._born[connection] >= age

    def _find_host(self, origin: Origin, url: URL, *, upgrade: bool) -> Host:
        """The books on the host of a URL, opened when it is first asked for."""
        dialler = self._dialler
        if dialler is None:
            dialler = self._dialler = Dialler(
                self,
                self.responses,
                self.timeouts,
                tls=self._tls,
                http2=self._http2,
                local_address=self._local_address,
                permit=self._permit,
                reactor=self.clock,
                context=self._context,
            )
        proxy = None if self._proxies is None else self._proxies.choose(url)
        forwarded = proxy is not None and proxy.forwards and url.scheme == "http"
        way = Way(dialler, url, proxy, self._unix, upgrade=upgrade)
        if forwarded and proxy is not None:
            # To whom it is forwarded does not matter to the connection.
            host = self._forwarding.get(proxy)
            if host is None:
                host = self._forwarding[proxy] = Host(way, self.limits.streams)
        else:
            host = Host(way, self.limits.streams)
        if len(self._hosts) >= _HOSTS_KEPT:
            for unused in [each for each, host in self._hosts.items() if not _in_use(host)]:
                del self._hosts[unused]
        self._hosts[origin] = host
        return host

    # ── waiting ───────────────────────────────────────────────────────────────

    async def _wait_for_one(
        self, host: Host, request: OutgoingRequest, *, fresh: bool
    ) -> ClientConnection:
        limits = self.limits
        if self._waiting >= limits.waiting:
            raise PoolFullError(f"{self._waiting} requests wait for a connection already")
        waiter = Waiter(fresh=fresh)
        host.waiting.append(waiter)
        self._waiting += 1
        timeouts = request.timeouts or self.timeouts
        clock = self.clock
        try:
            dialled = self._dial_for(host, request)
            if request.deadline is not None:
                left = max(request.deadline - clock.time(), 0.0)
                total = timeouts.total or left
                error = RequestTimeoutError("total", total, repr(request))
                waiter.timer = clock.call_later(left, self._late, host, waiter, error)
            if timeouts.pool is not None and not dialled:
                left = timeouts.pool
                if request.deadline is None or clock.time() + left < request.deadline:
                    error = RequestTimeoutError("pool", left, repr(request))
                    if waiter.timer is not None:
                        waiter.timer.cancel()
                    waiter.timer = clock.call_later(left, self._late, host, waiter, error)
            return await waiter.done
        except BaseException:
            self._forget(host, waiter)
            if waiter.given is not None:
                # It came in the very moment in which the request was given up.
                self.connection_changed(waiter.given)
            waiter.leave()
            waiter.done.add_errback(_passed_over)
            self._give_up_dials(host)
            raise

    def _late(self, host: Host, waiter: Waiter, error: BaseException) -> None:
        self._forget(host, waiter)
        waiter.fail(error)

    def _forget(self, host: Host, waiter: Waiter) -> None:
        if waiter in host.waiting:
            host.waiting.remove(waiter)
            self._waiting -= 1

    def _next_waiter(self, host: Host, connection: ClientConnection) -> Waiter | None:
        """Who is served next by this connection."""
        for waiter in host.waiting:
            if not (waiter.fresh and connection.served):
                host.waiting.remove(waiter)
                self._waiting -= 1
                return waiter
        return None

    # ── dialling ──────────────────────────────────────────────────────────────

    def _dial_for(self, host: Host, request: OutgoingRequest | None = None) -> bool:
        """Dial for who waits, as far as the limits allow; whether there are dials for all."""
        limits = self.limits
        while host.wants_dial:
            if host.count >= limits.per_host:
                if not (host.idle and host.waiting[0].fresh):
                    break
                self._drop_idle(host.idle[0], host)
            if self._count >= limits.total and not self._make_place(host):
                self._starved[host] = None
                return False
            self._dial(host, request)
        if not host.waiting or not host.wants_dial:
            self._starved.pop(host, None)
            return True
        return False

    def _make_place(self, host: Host) -> bool:
        """Close the connection that waits longest for work, of whatever host."""
        for connection in self._idle:
            self._drop_idle(connection, self._homes[connection])
            return True
        return False

    def _dial(self, host: Host, request: OutgoingRequest | None) -> None:
        timeouts = self.timeouts
        if request is not None and request.timeouts is not None:
            timeouts = request.timeouts
        host.count += 1
        self._count += 1
        seconds = timeouts.connect
        until = None if seconds is None else self.clock.time() + seconds
        try:
            dial = host.way.dial(seconds)
        except Exception as error:  # an extra that is missing, a port that cannot be
            dial = fail(error)
        host.dials.append(dial)
        dial.add_callbacks(
            lambda connection: self._dialled(host, dial, connection),
            lambda error: self._not_dialled(host, dial, error, seconds, until),
        )

    def _dialled(
        self, host: Host, dial: Deferred[ClientConnection], connection: ClientConnection
    ) -> None:
        host.dials.remove(dial)
        if connection.ending:
            self._slot_free(host)
            self._serve_starved()
            self._dial_for(host)
            return
        self._homes[connection] = host
        if self.limits.age is not None:
            self._born[connection] = self.clock.time()
        host.multiplexed = connection.version == b"2"
        if host.multiplexed:
            host.shared.append(connection)
        self.connection_changed(connection)
        if host.waiting and not self._closing:
            self._dial_for(host)

    def _not_dialled(
        self,
        host: Host,
        dial: Deferred[ClientConnection],
        error: BaseException,
        seconds: float | None,
        until: float | None,
    ) -> None:
        if dial not in host.dials:
            return  # given up
        host.dials.remove(dial)
        self._slot_free(host)
        if seconds is not None and until is not None and self.clock.time() >= until:
            late = RequestTimeoutError("connect", seconds, str(host.way))
            late.__cause__ = error
            error = late
        # Whom nobody else will serve: all, where this was the only hope.
        hopeless = not host.count
        while host.waiting:
            waiter = host.waiting.popleft()
            self._waiting -= 1
            waiter.fail(error)
            if not hopeless:
                break
        self._serve_starved()
        if host.waiting:
            self._dial_for(host)
        self._settle_end()

    def _give_up_dials(self, host: Host) -> None:
        """Dial for nobody who does not wait any more."""
        while host.dials and len(host.dials) > len(host.waiting):
            dial = host.dials.pop()
            self._slot_free(host)
            dial.cancel()
        self._serve_starved()
        self._settle_end()

    def _slot_free(self, host: Host) -> None:
        host.count -= 1
        self._count -= 1

    def _serve_starved(self) -> None:
        """There may be room for a connection: whoever waits longest for that gets it."""
        while self._starved and self._count < self.limits.total and not self._closing:
            host = next(iter(self._starved))
            del self._starved[host]
            if host.waiting:
                self._dial_for(host)

    # ── what connections tell (`ConnectionOwner`) ─────────────────────────────

    def connection_changed(self, connection: ClientConnection) -> None:
        """It may have room for who waits, or nothing to do."""
        host = self._homes.get(connection)
        if host is None:
            return
        while host.waiting and host.room_on(connection) > 0:
            waiter = self._next_waiter(host, connection)
            if waiter is None:
                break
            self._idle.pop(connection, None)
            waiter.give(connection)
            if connection.version != b"2":
                return
        if connection.ending or self._closing or self._homes.get(connection) is None:
            if connection in host.shared:
                host.shared.remove(connection)
            if not connection.busy:
                connection.close()
            return
        if not connection.busy and connection.room:
            self._rest(connection, host)

    def _rest(self, connection: ClientConnection, host: Host) -> None:
        """It has nothing to do: keep it for a while, if it may be kept."""
        if connection in self._idle:
            return
        limits = self.limits
        if (
            self._starved
            or host.wants_dial  # for one that has served nobody
            or len(host.idle) >= limits.idle_per_host
            or not limits.idle
        ):
            connection.close()
            return
        if len(self._idle) >= limits.idle:
            longest = next(iter(self._idle))
            self._drop_idle(longest, self._homes[longest])
        if connection.version != b"2":
            host.idle.append(connection)
        self._idle[connection] = now = self.clock.time()
        if self._sweeper is None:
            self._sweeper = self.clock.call_at(now + limits.idle_time, self._sweep)

    def _drop_idle(self, connection: ClientConnection, host: Host) -> None:
        del self._idle[connection]
        if connection in host.idle:
            host.idle.remove(connection)
        if connection in host.shared:
            host.shared.remove(connection)
        # It counts no more, though its last octets may still leave.
        self._forget_connection(connection, host)
        connection.close()

    def connection_gone(self, connection: ClientConnection) -> None:
        """It has gone."""
        host = self._homes.get(connection)
        if host is not None:
            self._forget_connection(connection, host)
            self._serve_starved()
            if host.waiting and not self._closing:
                self._dial_for(host)
        self._settle_end()

    def _forget_connection(self, connection: ClientConnection, host: Host) -> None:
        del self._homes[connection]
        self._born.pop(connection, None)
        if self._idle.pop(connection, None) is not None and connection in host.idle:
            host.idle.remove(connection)
        if connection in host.shared:
            host.shared.remove(connection)
        self._slot_free(host)

    def _sweep(self) -> None:
        """Close what has been idle for too long."""
        self._sweeper = None
        now = self.clock.time()
        for connection, since in list(self._idle.items()):
            until = since + self.limits.idle_time
            if until <= now:
                self._drop_idle(connection, self._homes[connection])
            else:
                self._sweeper = self.clock.call_at(until, self._sweep)
                break
        self._serve_starved()

    # ── the end ───────────────────────────────────────────────────────────────

    async def aclose(self, grace: float = GRACE) -> None:
        """Begin nothing new; wait until what is open has ended; close. Harmless when done.

        Args:
            grace: Seconds for that; what is still open then is ended.
        """
        if not self._closing:
            self._closing = True
            if self._sweeper is not None:
                self._sweeper.cancel()
                self._sweeper = None
            for host in self._all_hosts():
                while host.waiting:
                    waiter = host.waiting.popleft()
                    self._waiting -= 1
                    waiter.fail(ConnectionDone("the pool was closed"))
                self._give_up_dials(host)
            for connection in list(self._homes):
                connection.close()
        if not self._homes:
            return
        if self._closed is None:
            self._closed = Deferred()
        timer = self.clock.call_later(grace, self._abort_all)
        try:
            await self._closed
        except BaseException:
            self._abort_all()
            raise
        finally:
            timer.cancel()

    def _all_hosts(self) -> list[Host]:
        return list(dict.fromkeys([*self._hosts.values(), *self._forwarding.values()]))

    def _abort_all(self) -> None:
        for connection in list(self._homes):
            connection.abort("drained")

    def _settle_end(self) -> None:
        if self._closed is not None and not self._homes and not self._closed.called:
            self._closed.callback(None)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


def _proxies(proxy: str | Proxy | Proxies, unix: str | None) -> Proxies | None:
    from sennit.web.client.proxies import Proxies, Proxy

    if isinstance(proxy, Proxies):
        # Whoever lets the environment choose does not mean the one socket he names.
        return proxy if unix is None else None
    if unix is not None:
        raise WebUsageError("a Unix socket is not reached through a proxy: give one of the two")
    return Proxies({"all": Proxy(proxy) if isinstance(proxy, str) else proxy})


def _passed_over(error: BaseException) -> None:
    """Nobody is there any more whom an error could concern."""


def _has_content(request: OutgoingRequest) -> bool:
    """Whether its content is still there, when none of it was sent."""
    body = request.body
    return not (isinstance(body, FilePart) and body.close_file)


def _in_use(host: Host) -> bool:
    return bool(host.count or host.waiting)
