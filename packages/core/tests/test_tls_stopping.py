"""Going back from TLS to clear text: in memory, and with the standard library as the peer."""

from __future__ import annotations

import ssl
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from OpenSSL import SSL

from packages.core.tests.test_driver_tls import (
    Asked,
    AskedEngine,
    Asking,
    Host,
    check,
    host,
)
from packages.core.tests.test_tls import LOCALHOST, TRUST, Ends, Raw, Recorder, pair_of
from packages.core.tests.test_tls_sockets import connect, reactor, serve_while
from sennit.core.deferred import Deferred
from sennit.core.driver import EngineProtocol, handles
from sennit.core.errors import ConnectionLost, UsageError
from sennit.core.policy.pacing import rate_limited
from sennit.core.policy.traffic import with_traffic_log
from sennit.core.testing.clock import Clock
from sennit.core.transport.memory import Link, memory_pair
from sennit.core.transport.tls import ClientTLS, ServerTLS, TLSTransport, server_protocol, upgrade

if TYPE_CHECKING:
    from collections.abc import Callable

    from sennit.core.interfaces import IStreamTransport
    from sennit.core.reactor.base import Reactor

__all__ = ["host", "reactor"]

SERVER = ServerTLS(*pair_of(LOCALHOST))


class Both(Recorder):
    """Stops TLS when it is told to, and says what it is told to in clear."""

    def __init__(self) -> None:
        super().__init__()
        self.stopping: list[Deferred[IStreamTransport]] = []
        self.outcomes: list[object] = []
        self.within = b""  # what makes it stop
        self.options: dict[str, Any] = {}

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.within and bytes(self.received).endswith(self.within):
            self.transport.write(b"200 ok\r\n")
            self.stop()

    def stop(self) -> None:
        done = self.transport.stop_tls(**self.options)
        self.stopping.append(done)
        done.add_callbacks(self.stopped, self.outcomes.append)

    def stopped(self, transport: Any) -> None:
        self.outcomes.append(transport)
        self.transport = transport


def both(link: Link | None = None) -> tuple[Ends, Both, Both]:
    server, client = Both(), Both()
    return Ends(server=server, client=client, link=link), server, client


@pytest.mark.parametrize("chunk", [1, 7, 65536])
def test_a_peer_may_end_tls_and_the_connection_at_once(chunk: int) -> None:
    ends, server, _ = both(Link(chunk=chunk))

    server.stop()  # the client knows no better than to close
    ends.clock.pump()

    assert not isinstance(server.outcomes[0], BaseException)
    assert server.events == ["made", "eof", "lost"]
    assert server.lost == [None]


class Stopping(Recorder):
    """A client that stops TLS within the very octets that say so."""

    def __init__(self) -> None:
        super().__init__()
        self.outcomes: list[Any] = []
        self.clear: Any = None

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if bytes(self.received) == b"200 ok\r\n":
            self.transport.stop_tls().add_callbacks(self.stopped, self.outcomes.append)

    def stopped(self, transport: Any) -> None:
        self.outcomes.append(transport)
        self.clear = transport
        transport.write(b"in clear")


@pytest.mark.parametrize("chunk", [1, 7, 65536])
@pytest.mark.parametrize("version", ["TLSv1.3", "TLSv1.2"])
def test_the_connection_goes_on_in_clear(chunk: int, version: str) -> None:
    server, client = Both(), Stopping()
    server.within = b"CCC\r\n"
    tls = ServerTLS(*pair_of(LOCALHOST))
    if version == "TLSv1.2":
        tls.context.set_max_proto_version(SSL.TLS1_2_VERSION)
    ends = Ends(tls, server=server, client=client, link=Link(chunk=chunk))
    assert client.transport.tls_version == version
    lower = client.transport._lower

    client.transport.write(b"CCC\r\n")
    ends.clock.pump()
    server.transport.write(b"likewise")
    ends.clock.pump()

    assert client.outcomes == [lower]
    assert server.received == b"CCC\r\nin clear"
    assert client.received == b"200 ok\r\nlikewise"
    assert client.events == server.events == ["made"]
    assert not isinstance(server.transport, TLSTransport)
    client.clear.close()
    ends.clock.pump()
    assert server.events == ["made", "eof", "lost"]
    assert server.lost == [None]


def test_what_was_written_before_leaves_under_tls_however_slow_the_way_is() -> None:
    server, client = Both(), Both()
    ends = Ends(server=server, client=client, link=Link(bandwidth=50_000.0), pump=False)
    ends.clock.advance(1)
    octets = bytes(range(256)) * 2000

    client.transport.write(octets)
    client.options = {"timeout": 60.0}
    client.stop()
    ends.clock.advance(3)
    assert not client.outcomes
    ends.clock.advance(20)

    assert server.received == octets
    assert server.events == ["made", "eof", "lost"]
    assert not isinstance(client.outcomes[0], BaseException)


def test_octets_under_tls_behind_the_end_end_the_connection() -> None:
    """They would be answered in clear (HARDENING ftp-7)."""
    ends, server, client = both()
    server.within = b"CCC\r\n"
    client.keep_open = True

    client.transport.write(b"CCC\r\n")
    ends.clock.pump()
    client.transport.write(b"DELE file\r\n")
    ends.clock.pump()

    assert server.received == b"CCC\r\n"
    [error] = server.outcomes
    assert isinstance(error, ConnectionLost)
    assert error.reason == "error"
    assert server.events == ["made", "lost"]


def test_a_peer_that_never_ends_tls_is_given_up() -> None:
    ends, server, client = both()
    client.keep_open = True

    server.stop()
    ends.clock.advance(4.9)
    assert not server.outcomes
    ends.clock.advance(0.2)

    [error] = server.outcomes
    assert isinstance(error, ConnectionLost)
    assert error.reason == "timeout"
    assert server.events[-1] == "lost"


@pytest.mark.parametrize("how", ["close", "abort"])
def test_a_peer_that_closes_instead_fails_it(how: str) -> None:
    ends, server, client = both()
    client.keep_open = True
    server.stop()
    ends.clock.pump()

    lower = client.transport._lower
    getattr(lower, how)()  # without a close_notify
    ends.clock.pump()

    [error] = server.outcomes
    assert isinstance(error, ConnectionLost)
    assert error.reason == ("truncated" if how == "close" else "reset")
    assert server.events == ["made", "lost"]


class Spoken:
    """A server of ours, and a client that says octets of its own making behind a handshake."""

    def __init__(self, version: int = SSL.TLS1_3_VERSION, **options: Any) -> None:
        self.clock = Clock()
        self.raw = Raw()
        self.server = Both()
        self.server.options = options
        memory_pair(self.raw, server_protocol(self.server, SERVER), reactor=self.clock)
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.set_max_proto_version(version)
        self.tls = SSL.Connection(context, None)
        self.tls.set_connect_state()
        self.clock.pump()
        while self.server.events != ["made"]:
            try:
                self.tls.do_handshake()
            except SSL.WantReadError:
                pass
            self.exchange()
        self.tls.do_handshake()  # to its end on this side, too

    def exchange(self, behind: bytes = b"") -> None:
        """Pass on what this side has to say, then `behind`; hear the answer."""
        try:
            self.raw.transport.write(self.tls.bio_read(65536) + behind)
        except SSL.WantReadError:
            self.raw.transport.write(behind)
        self.clock.pump()
        if self.raw.received:
            self.tls.bio_write(bytes(self.raw.received))
            self.raw.received.clear()


@pytest.mark.parametrize("cut", [1, 3, 40, 10_000])
def test_clear_octets_behind_the_end_are_delivered_behind_the_change(cut: int) -> None:
    """They came in one segment with the close_notify, or with a part of it."""
    spoken = Spoken()
    spoken.server.stop()
    spoken.exchange()
    spoken.tls.shutdown()
    octets = spoken.tls.bio_read(65536) + b"PWD\r\n"

    for start in range(0, len(octets), cut):
        spoken.raw.transport.write(octets[start : start + cut])
        spoken.clock.pump()

    assert spoken.server.received == b"PWD\r\n"
    assert not isinstance(spoken.server.outcomes[0], BaseException)
    assert spoken.server.events == ["made"]


def test_clear_octets_in_place_of_the_end_are_no_tls() -> None:
    spoken = Spoken()
    spoken.server.stop()

    spoken.exchange(b"PWD\r\n")

    assert not spoken.server.received
    [error] = spoken.server.outcomes
    assert isinstance(error, ConnectionLost)
    assert error.reason == "error"


@pytest.mark.parametrize("cut", [1, 3, 10_000])
def test_clear_octets_stand_for_the_end_where_that_is_allowed(cut: int) -> None:
    spoken = Spoken(answered=False)
    spoken.server.stop()
    spoken.exchange()

    for start in range(0, 5, cut):
        spoken.exchange(b"PWD\r\n"[start : start + cut])

    assert spoken.server.received == b"PWD\r\n"
    assert spoken.server.events == ["made"]


@pytest.mark.parametrize("answered", [True, False])
def test_the_peer_may_be_first_for_a_while(answered: bool) -> None:
    """Some take a close_notify that comes with an answer for the end of the connection."""
    spoken = Spoken(hold=1.0, answered=answered)
    spoken.server.stop()
    spoken.exchange()
    spoken.clock.advance(0.9)
    with pytest.raises(SSL.WantReadError):
        spoken.tls.recv(1)
    spoken.tls.shutdown()
    spoken.exchange(b"PWD\r\n")

    with pytest.raises(SSL.ZeroReturnError):
        spoken.tls.recv(1)
    assert spoken.server.received == b"PWD\r\n"
    assert spoken.server.events == ["made"]


def test_a_peer_that_waits_for_the_end_gets_it_after_a_while() -> None:
    spoken = Spoken(hold=1.0, timeout=5.0)
    spoken.server.stop()
    spoken.clock.advance(1.1)
    spoken.exchange()
    with pytest.raises(SSL.ZeroReturnError):
        spoken.tls.recv(1)
    assert not spoken.server.outcomes
    spoken.clock.advance(4.8)
    assert not spoken.server.outcomes
    spoken.clock.advance(0.2)

    [error] = spoken.server.outcomes
    assert isinstance(error, ConnectionLost)
    assert error.reason == "timeout"


def test_clear_octets_are_answered_by_a_close_notify_that_was_held() -> None:
    spoken = Spoken(hold=1.0, answered=False)
    spoken.server.stop()
    spoken.exchange(b"PWD\r\n")

    with pytest.raises(SSL.ZeroReturnError):
        spoken.tls.recv(1)
    assert spoken.server.received == b"PWD\r\n"


@pytest.mark.parametrize("cut", [1, 3, 10_000])
def test_a_close_notify_is_no_clear_text_where_it_need_not_come(cut: int) -> None:
    spoken = Spoken(answered=False)
    spoken.server.stop()
    spoken.exchange()
    spoken.tls.shutdown()
    octets = spoken.tls.bio_read(65536) + b"PWD\r\n"

    for start in range(0, len(octets), cut):
        spoken.raw.transport.write(octets[start : start + cut])
        spoken.clock.pump()

    assert spoken.server.received == b"PWD\r\n"
    assert spoken.server.events == ["made"]


@pytest.mark.parametrize("answered", [True, False])
def test_new_handshakes_in_place_of_the_end_are_none_and_end_the_connection(
    answered: bool,
) -> None:
    """core-3: in TLS 1.2 they are what would keep it busy."""
    spoken = Spoken(version=SSL.TLS1_2_VERSION, answered=answered)
    spoken.server.stop()
    spoken.tls.renegotiate()
    with suppress(SSL.WantReadError):
        spoken.tls.do_handshake()
    spoken.raw.transport.write(spoken.tls.bio_read(65536))
    spoken.clock.pump()
    assert not spoken.server.outcomes
    record = b"\x17\x03\x03\x40\x20"  # what came counts, whole records or not
    for piece in (record, *[bytes(905)] * 18):
        spoken.raw.transport.write(piece)
        spoken.clock.pump()

    [error] = spoken.server.outcomes
    assert isinstance(error, ConnectionLost)
    assert "TLS goes on" in str(error)


def test_many_records_that_say_nothing_do_not_keep_it_waiting_for_ever() -> None:
    spoken = Spoken(timeout=5.0)
    spoken.server.stop()
    spoken.exchange()
    for _ in range(6):
        spoken.clock.advance(1.0)

    [error] = spoken.server.outcomes
    assert isinstance(error, ConnectionLost)
    assert error.reason == "timeout"


def test_a_protocol_that_paused_reading_still_hears_the_end() -> None:
    spoken = Spoken()
    spoken.server.transport.pause_reading()
    spoken.server.stop()
    spoken.exchange()
    spoken.tls.shutdown()
    spoken.exchange(b"on")

    assert spoken.server.received == b"on"


def test_it_can_be_given_up() -> None:
    ends, server, client = both()
    client.keep_open = True
    server.stop()
    server.stopping[0].cancel()
    ends.clock.pump()

    assert server.events == ["made", "lost"]
    assert len(server.outcomes) == 1


def test_tls_ends_once() -> None:
    ends, server, client = both()
    client.keep_open = True
    server.stop()
    server.stop()
    ends.clock.pump()
    [error] = server.outcomes
    assert isinstance(error, ConnectionLost)

    server.transport.close()
    ends.clock.pump()
    assert server.events == ["made", "lost"]


def test_a_buffered_protocol_gets_what_was_in_clear_into_its_own_memory() -> None:
    class Lender(Both):
        memory = bytearray(2)

        def get_buffer(self, size: int) -> bytearray:
            return self.memory

        def buffer_updated(self, count: int) -> None:
            self.received += self.memory[:count]

    spoken = Spoken()
    lender = Lender()
    lender.transport = spoken.server.transport
    lender.transport.set_protocol(lender)
    lender.stop()
    spoken.exchange()
    spoken.tls.shutdown()
    spoken.exchange(b"in clear")

    assert lender.received == b"in clear"


def test_a_protocol_that_fails_on_clear_octets_loses_its_connection() -> None:
    spoken = Spoken()

    def fail(data: bytes) -> None:
        raise ValueError("no")

    spoken.server.data_received = fail  # type: ignore[method-assign]  # a protocol with a bug
    spoken.server.stop()
    spoken.exchange()
    spoken.tls.shutdown()
    with pytest.raises(ValueError, match="no"):
        spoken.exchange(b"in clear")

    spoken.clock.pump()
    assert spoken.server.events == ["made", "lost"]


def test_tls_may_begin_again() -> None:
    server, stopped = Both(), Stopping()
    ends = Ends(server=server, client=stopped)
    server.within = b"CCC\r\n"
    stopped.transport.write(b"CCC\r\n")
    ends.clock.pump()

    server.within = b""
    served = upgrade(server.transport, SERVER, server_side=True)
    again = upgrade(stopped.clear, ClientTLS(trust=TRUST), server_hostname="localhost")
    ends.clock.pump()

    assert again.outcome is not None
    assert served.outcome is not None
    transport: Any = again.outcome.value
    transport.write(b" under TLS again")
    ends.clock.pump()
    assert server.received == b"CCC\r\nin clear under TLS again"


@pytest.mark.parametrize("wrap", [with_traffic_log, rate_limited])
def test_what_is_worn_around_a_protocol_goes_along(wrap: Callable[..., Any]) -> None:
    spoken = Spoken()
    made: list[Both] = []

    class Kept(Both):
        def connection_made(self, transport: Any) -> None:
            self.transport = transport
            made.append(self)

    options: dict[str, Any] = {} if wrap is with_traffic_log else {"read": 1e6}
    worn = wrap(Kept, **options).build_protocol(None)
    tls = spoken.server.transport
    tls.set_protocol(worn)
    worn.connection_made(tls)
    [inner] = made
    inner.stop()
    spoken.exchange()
    spoken.tls.shutdown()
    spoken.exchange(b"in clear")
    inner.transport.write(b"said back")
    spoken.raw.received.clear()
    spoken.clock.advance(1)

    assert inner.received == b"in clear"
    assert b"said back" in spoken.raw.received


# ── over sockets ──────────────────────────────────────────────────────────────


def test_the_standard_library_unwraps_a_connection_of_ours(reactor: Reactor) -> None:
    class Clearing(Both):
        within = b"CCC\r\n"

        def __init__(self) -> None:
            super().__init__()
            self.within = b"CCC\r\n"

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self.outcomes:
                self.transport.write(data.upper())

    def body(port: int) -> None:
        with connect(port) as sock:
            sock.sendall(b"CCC\r\n")
            assert sock.recv(100) == b"200 ok\r\n"
            with sock.unwrap() as clear:
                clear.sendall(b"in clear")
                assert clear.recv(100) == b"IN CLEAR"

    serve_while(reactor, Clearing, body)


def test_a_peer_of_the_standard_library_that_resets_harms_nobody(reactor: Reactor) -> None:
    lost = threading.Event()

    outcomes: list[object] = []

    class Clearing(Both):
        def __init__(self) -> None:
            super().__init__()
            self.within = b"CCC\r\n"

        def stop(self) -> None:
            super().stop()
            self.stopping[0].add_callback(self.told)

        def told(self, _: object) -> None:
            outcomes.extend(self.outcomes)
            lost.set()

    def body(port: int) -> None:
        sock: ssl.SSLSocket = connect(port)
        sock.sendall(b"CCC\r\n")
        assert sock.recv(100) == b"200 ok\r\n"
        sock.close()  # a FIN, and no close_notify
        assert lost.wait(5)
        assert isinstance(outcomes[0], ConnectionLost)

    serve_while(reactor, Clearing, body)


# ── engines ───────────────────────────────────────────────────────────────────


class Clearing(EngineProtocol[AskedEngine, Asked]):
    """Answers in capitals, under TLS until it is asked for clear text."""

    def __init__(self) -> None:
        super().__init__(AskedEngine())
        self.failed: list[BaseException] = []

    @handles(Asked)
    def ask(self, event: Asked) -> Deferred[None] | None:
        self.engine.say(event.text.upper())
        if event.text == b"CLEAR":
            return self.stop_tls().add_errback(self.failed.append)
        return None


def clear(client: Asking) -> Deferred[Any]:
    return client.request(b"CLEAR").add_callback(lambda reply: client.stop_tls())


def test_engines_on_both_sides_go_on_in_clear(host: Host) -> None:
    async def body(client: Asking) -> None:
        if not host.native:
            with pytest.raises(UsageError, match=r"sennit\.core"):
                await clear(client)
            return
        assert (await client.request(b"one")).text == b"ONE"
        await clear(client)
        assert client.transport.get_extra_info("sennit.tls") is None
        assert (await client.request(b"two")).text == b"TWO"

    check(host, Clearing, True, body)


def test_what_is_said_behind_the_change_ends_the_connection(host: Host) -> None:
    served: list[Clearing] = []

    def make() -> Clearing:
        served.append(Clearing())
        served[-1].max_parse = served[-1]._most = 8
        return served[-1]

    async def body(client: Asking) -> None:
        if not host.native:
            return
        client.transport.write(b"CLEAR\nSMUGGLED\nMORE\n")
        await client.finished()
        assert served[0].failed

    check(host, make, True, body)
