"""TLS on both kinds of connections: AUTH, PROT, implicit, resumption; in memory."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from packages.ftp.tests.talking import FILES, HOST, Talk, converse, factory, kept, read_all
from sennit.core import ClientTLS, ServerTLS, open_stream
from sennit.core.errors import ConnectError, ConnectionLost
from sennit.ftp.limits import Limits
from sennit.ftp.rates import Rates

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sennit.core.stream import Stream
    from sennit.core.testing.clock import Clock
    from sennit.core.testing.network import MemoryNetwork

CA = trustme.CA(key_type=trustme.KeyType.ECDSA)
MADE = CA.issue_cert(HOST, key_type=trustme.KeyType.ECDSA)
PAIR = MADE.private_key_and_cert_chain_pem.bytes()


def trusting(**options: Any) -> ClientTLS:
    """What a client believes. (`Any`: the options of `ClientTLS`.)"""
    return ClientTLS(trust=CA.cert_pem.bytes(), **options)


def over_tls(clock: Clock, network: MemoryNetwork, **options: Any) -> Callable[[Any], None]:
    """Run a client against a server that has a certificate."""
    options.setdefault("tls_mode", "required")
    made = factory(tls=ServerTLS(PAIR), **options)

    def run(main: Callable[[], Awaitable[None]]) -> None:
        converse(clock, network, made, main)

    return run


async def protected(*, private: bool = True) -> Talk:
    """Log in over TLS."""
    talk = await Talk.open(login=False)
    await talk.expect("234", "AUTH TLS")
    await talk.stream.start_tls(trusting(), server_hostname=HOST)
    if private:
        await talk.expect("200", "PBSZ 0")
        await talk.expect("200", "PROT P")
    await talk.log_in()
    return talk


def following(talk: Talk) -> ClientTLS:
    """What data connections of this one are opened with."""
    transport: Any = talk.stream.transport
    found: ClientTLS = transport.following()
    return found


async def data_over_tls(
    talk: Talk, line: str, tls: ClientTLS | None = None, *, code: str = "150"
) -> Stream:
    """A data connection over TLS, its transfer begun."""
    data = await talk.data()
    await talk.expect(code, line)
    await data.start_tls(tls or following(talk), server_hostname=HOST)
    return data


def test_files_and_listings_pass_over_tls(clock: Clock, memory_network: MemoryNetwork) -> None:
    async def main() -> None:
        talk = await protected()
        for name in ("motd", "large", "empty"):
            data = await data_over_tls(talk, f"RETR {name}")
            assert await read_all(data) == FILES[name]
            assert (await talk.reply()).startswith("226")
        data = await data_over_tls(talk, "STOR new")
        await data.send_all(FILES["large"])
        await data.aclose()
        assert (await talk.reply()).startswith("226")
        await talk.expect(f"213 {len(FILES['large'])}", "SIZE new")
        data = await data_over_tls(talk, "NLST dir/a*")
        assert await read_all(data) == b"dir/a.txt\r\n"
        assert (await talk.reply()).startswith("226")

    over_tls(clock, memory_network)(main)


def test_what_follows_auth_in_clear_is_never_done(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    """HARDENING ftp-7."""

    async def main() -> None:
        talk = await Talk.open(login=False)
        await talk.stream.send_all(b"AUTH TLS\r\nUSER u\r\n")
        with pytest.raises(ConnectionLost):
            assert (await talk.reply()).startswith("234")
            await talk.reply()

    over_tls(clock, memory_network)(main)


def test_auth_ends_what_was_begun_in_clear(clock: Clock, memory_network: MemoryNetwork) -> None:
    """RFC 4217 §4: the login, and the port that data was waited for at; there is a new deadline."""
    made = factory(tls=ServerTLS(PAIR), tls_mode="optional", limits=Limits(login=20.0, idle=300.0))
    protocols = kept(made)

    async def main() -> None:
        talk = await Talk.open()
        assert protocols[0]._session is not None
        port = await talk.port()
        await asyncio.sleep(100)  # virtual
        await talk.expect("234", "AUTH TLS")
        await talk.stream.start_tls(trusting(), server_hostname=HOST)
        assert protocols[0]._session is None
        with pytest.raises(ConnectError):
            await open_stream(f"tcp://{HOST}:{port}")
        await talk.expect("530", "PWD")
        await asyncio.sleep(15)
        await talk.expect("200", "NOOP")
        assert (await talk.reply()).startswith("421")
        assert clock.time() > 119

    converse(clock, memory_network, made, main)


def test_nobody_logs_in_before_tls(clock: Clock, memory_network: MemoryNetwork) -> None:
    async def main() -> None:
        talk = await Talk.open(login=False)
        await talk.expect("530", "USER u")
        await talk.expect("503", "PASS p")

    over_tls(clock, memory_network)(main)


def test_data_stays_protected_where_it_has_to_be(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    """HARDENING ftp-7."""

    async def main() -> None:
        talk = await protected(private=False)
        await talk.port()
        await talk.expect("522", "RETR motd")
        await talk.expect("503", "PROT P")
        await talk.expect("200", "PBSZ 0")
        await talk.expect("534", "PROT C")
        await talk.expect("200", "PROT P")
        await talk.expect("534", "PROT C")
        await talk.expect("534", "CCC")
        await talk.expect("502", "REIN")

    over_tls(clock, memory_network)(main)


def test_data_may_be_in_clear_where_that_is_allowed(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    async def main() -> None:
        talk = await protected(private=False)
        assert await talk.fetch("RETR motd") == FILES["motd"]
        other = await Talk.open()
        assert await other.fetch("RETR motd") == FILES["motd"]

    over_tls(clock, memory_network, tls_mode="optional")(main)


@pytest.mark.parametrize("octets", [b"", b"\x16", b"plain octets, and then some"])
@pytest.mark.parametrize("line", ["RETR motd", "STOR new"])
def test_a_data_connection_without_tls_is_refused(
    clock: Clock, memory_network: MemoryNetwork, octets: bytes, line: str
) -> None:
    """HARDENING ftp-7: 425."""

    async def main() -> None:
        talk = await protected()
        data = await talk.data()
        await talk.expect("150", line)
        await data.send_all(octets)
        if octets != b"\x16":
            await data.send_eof()
        assert (await talk.reply()).startswith("425")
        await talk.expect("550", "SIZE new")

    over_tls(clock, memory_network)(main)


@pytest.mark.parametrize("whose", ["nobody's", "another's"])
def test_a_data_connection_resumes_the_session_of_its_own_client(
    clock: Clock, memory_network: MemoryNetwork, whose: str
) -> None:
    """RFC 4217 §10.2."""

    async def main() -> None:
        talk, other = await protected(), await protected()
        tls = trusting(resume=False) if whose == "nobody's" else following(other)
        data = await talk.data()
        await talk.expect("150", "RETR motd")
        try:
            await data.start_tls(tls, server_hostname=HOST)
            assert await data.receive_some() == b""
        except ConnectionLost:
            pass
        assert "session" in await talk.reply()

    over_tls(clock, memory_network)(main)


def test_resumption_need_not_be_asked_for(clock: Clock, memory_network: MemoryNetwork) -> None:
    async def main() -> None:
        talk = await protected()
        data = await data_over_tls(talk, "RETR motd", trusting(resume=False))
        assert await read_all(data) == FILES["motd"]
        assert (await talk.reply()).startswith("226")

    over_tls(clock, memory_network, must_resume=False)(main)


def test_an_upload_whose_end_was_not_announced_is_not_whole(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    """RFC 8446 §6.1: whoever cuts the connection makes no file of its beginning."""

    async def main() -> None:
        talk = await protected()
        data = await data_over_tls(talk, "STOR new")
        await data.send_all(b"half of it")
        await asyncio.sleep(1)  # virtual
        transport: Any = data.transport
        transport._lower.write_eof()  # a FIN without close_notify
        assert (await talk.reply()).startswith("426")
        await talk.expect("550", "SIZE new")

    over_tls(clock, memory_network)(main)


def test_implicit_tls_is_tls_from_the_first_octet_on(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    async def main() -> None:
        url = f"tls://{HOST}:990"
        talk = await Talk.open(url, tls=trusting())
        other = await Talk.open(url, tls=trusting())
        data = await data_over_tls(talk, "RETR motd")
        assert await read_all(data) == FILES["motd"]
        assert (await talk.reply()).startswith("226")
        stolen = await talk.data()
        await talk.expect("150", "RETR motd")
        with pytest.raises(ConnectionLost):
            await stolen.start_tls(following(other), server_hostname=HOST)
            await stolen.receive_some()
        assert (await talk.reply()).startswith("425")

    tls = ServerTLS(PAIR)
    made = factory(tls_mode="required", tls=tls)
    converse(clock, memory_network, made, main, f"tls://{HOST}:990", tls=tls)


def test_rates_hold_over_tls_too(clock: Clock, memory_network: MemoryNetwork) -> None:
    async def main() -> None:
        talk = await protected()
        begun = clock.time()
        data = await data_over_tls(talk, "RETR large")
        assert await read_all(data) == FILES["large"]
        assert (await talk.reply()).startswith("226")
        assert clock.time() - begun > 3.0

    over_tls(clock, memory_network, rates=Rates(download=250_000))(main)


def test_auth_where_there_is_no_certificate(clock: Clock, memory_network: MemoryNetwork) -> None:
    async def main() -> None:
        talk = await Talk.open(login=False)
        await talk.expect("502", "AUTH TLS")

    converse(clock, memory_network, factory(), main)
