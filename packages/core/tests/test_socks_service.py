"""The service `socks`: what its configuration may say, and a login by the house's users."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest

from sennit.core.auth.limits import LoginLimits
from sennit.core.deferred import succeed
from sennit.core.endpoint.connect import open_stream
from sennit.core.endpoint.listen import serve
from sennit.core.endpoint.tunnel import Proxy
from sennit.core.errors import ConnectError, LoginDenied, LoginUnavailableError
from sennit.core.protocol import Protocol
from sennit.core.reactor.base import current_reactor
from sennit.core.service.config import Listen
from sennit.core.service.socks import SocksService, check_by, try_socks
from sennit.core.service.socks_config import SocksConfig
from sennit.core.service.tree import ServiceContext

if TYPE_CHECKING:
    from pathlib import Path

    from sennit.core.interfaces import IReactor


class Users:
    """Who knows one user."""

    credential_types = ()

    def __init__(self, later: bool = False) -> None:
        self.later = later

    def check(self, credentials: Any) -> Any:
        if (credentials.name, credentials.password) != ("alice", "s3cret"):
            raise LoginDenied
        return succeed("alice") if self.later else "alice"


def no_tls(name: str) -> Any:
    raise AssertionError(name)


class Echo(Protocol):
    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


@pytest.mark.parametrize("later", [False, True])
async def test_the_services_users_may_come_in(
    later: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[LoginLimits] = []

    def limits() -> LoginLimits:
        made.append(LoginLimits(delay=0.0))
        return made[-1]

    monkeypatch.setattr("sennit.core.service.socks.LoginLimits", limits)
    context = ServiceContext("proxy", tmp_path, no_tls, users=lambda name: Users(later))
    config = SocksConfig(listen=[Listen("tcp://127.0.0.1:0")], allow=["loopback"], users="staff")
    service = SocksService(config, context)
    await service.start(cast("IReactor", current_reactor()))
    try:
        url = service.urls[0].replace("tcp:", "socks5:")
        async with serve("tcp://127.0.0.1:0", Echo) as echo:
            async with await open_stream(echo.urls[0], via=Proxy(url, "alice", "s3cret")) as stream:
                await stream.send_all(b"hello")
                assert await stream.read_exactly(5) == b"hello"
            for wrong in (Proxy(url, "alice", "x"), Proxy(url)):
                with pytest.raises(ConnectError, match="login"):
                    await open_stream(echo.urls[0], via=wrong)
        assert len(made) == 1, "guesses are counted"
    finally:
        await service.stop()


async def test_users_that_cannot_be_asked_are_an_error_of_ours() -> None:
    class Gone:
        credential_types = ()

        def check(self, credentials: Any) -> str:
            raise LoginUnavailableError("no database")

    with pytest.raises(LoginUnavailableError):
        await check_by(Gone())("a", "b")  # type: ignore[misc]  # the checker under test awaits


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"clients": ["here"]}, "clients: 'here' is no network"),
        ({"allow": ["10.0.0.1/8"]}, "allow: '10.0.0.1/8' is no network"),
        ({"ports": ["http"]}, "ports: 'http' is no port"),
        ({"deny_ports": ["9-1"]}, "deny_ports: '9-1' is no port"),
    ],
)
def test_rules_that_cannot_be_read_are_named(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        SocksConfig(**options)


def test_a_person_is_told_what_to_try() -> None:
    urls = ["tcp://127.0.0.1:1080", "tcp://[::1]:1080", "unix:/run/x"]
    assert try_socks(SocksConfig(), urls) == [
        "curl --socks5-hostname 127.0.0.1:1080 https://example.org/",
        "curl --socks5-hostname [::1]:1080 https://example.org/",
    ]
    (command,) = try_socks(SocksConfig(users="staff"), urls[:1])
    assert "--proxy-user NAME:PASSWORD" in command
