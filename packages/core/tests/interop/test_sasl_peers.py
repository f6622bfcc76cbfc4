"""SASL with GNU SASL on the other side, both ways round; Unix users with the real libpam.

`gsasl` talks in lines of base64: as a client it writes each response and reads the
next challenge, as a server the other way round.
"""

from __future__ import annotations

import os
import secrets
import select
import shutil
import subprocess
import time
from base64 import b64decode, b64encode
from hashlib import pbkdf2_hmac
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sennit.core.auth.checkers import AnonymousChecker, MemoryUsers
from sennit.core.auth.credentials import PasswordCredentials
from sennit.core.auth.portal import Portal, Realm
from sennit.core.auth.sasl.channel import Channel
from sennit.core.auth.sasl.client import ClientIdentity, begin
from sennit.core.auth.sasl.events import Failed, Respond, SaltedPasswordNeeded, Succeeded
from sennit.core.auth.sasl.server import SASLServer
from sennit.core.errors import LoginDenied, LoginUnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.interop

PRIVATE = Channel(True)


class Gsasl:
    """The program, one line of base64 at a time."""

    def __init__(self, *arguments: str) -> None:
        program = shutil.which("gsasl")
        if program is None:
            pytest.skip("gsasl is not installed")
        self._process = subprocess.Popen(
            [program, "--no-cb", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            env={**os.environ, "LC_ALL": "C.UTF-8"},
        )
        self._rest = b""
        # It says the mechanism's name first.
        assert self._line() == arguments[1].partition("=")[2].encode()

    def read(self) -> bytes | None:
        """The next line, decoded; ``None`` when it has ended."""
        line = self._line()
        return None if line is None else b64decode(line)

    def _line(self) -> bytes | None:
        assert self._process.stdout is not None
        deadline = time.monotonic() + 10
        while b"\n" not in self._rest:
            left = max(deadline - time.monotonic(), 0)
            if not select.select([self._process.stdout], [], [], left)[0]:
                raise AssertionError(f"gsasl says nothing more after {self._rest!r}")
            data = self._process.stdout.read(4096)
            if not data:
                return None
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        return line

    def initial(self, mechanism: str) -> bytes | None:
        """The initial response; CRAM-MD5, which has none, writes an empty line all the same."""
        first = None if mechanism == "LOGIN" else self.read()
        return None if mechanism == "CRAM-MD5" else first

    def write(self, data: bytes) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(b64encode(data) + b"\n")
        except BrokenPipeError:
            pass

    def end(self) -> str:
        """Close its input; what it said on standard error."""
        try:
            return self._process.communicate(timeout=10)[1].decode()
        finally:
            self._process.kill()
            self._process.wait()


class Mailbox:
    def __init__(self, name: str) -> None:
        self.name = name


def server(mechanism: str) -> SASLServer:
    realm = Realm()
    realm.provides(Mailbox)(Mailbox)
    users = MemoryUsers({"alice": "wönder=,x"})
    return SASLServer(Portal(realm, [users, AnonymousChecker()]), [mechanism])


PASSWORDS = ["SCRAM-SHA-256", "SCRAM-SHA-1", "CRAM-MD5", "PLAIN", "LOGIN"]


@pytest.mark.parametrize("mechanism", [*PASSWORDS, "ANONYMOUS"])
async def test_gsasl_logs_in_to_our_server(mechanism: str) -> None:
    gsasl = Gsasl(
        "--client",
        f"--mechanism={mechanism}",
        "--authentication-id=alice",
        "--password=wönder=,x",
        "--anonymous-token=me",
    )

    async def ask(challenge: bytes) -> bytes | None:
        gsasl.write(challenge)
        return gsasl.read()

    initial = gsasl.initial(mechanism)
    login = await server(mechanism).authenticate(mechanism, PRIVATE, Mailbox, ask, initial=initial)

    assert login.session.avatar.name == ("anonymous" if mechanism == "ANONYMOUS" else "alice")
    gsasl.write(b"")
    assert "mechanism error" not in gsasl.end()


@pytest.mark.parametrize("mechanism", PASSWORDS)
async def test_gsasl_with_a_wrong_password_is_refused(mechanism: str) -> None:
    gsasl = Gsasl(
        "--client",
        f"--mechanism={mechanism}",
        "--authentication-id=alice",
        "--password=wrong",
    )

    async def ask(challenge: bytes) -> bytes | None:
        gsasl.write(challenge)
        return gsasl.read()

    initial = gsasl.initial(mechanism)
    with pytest.raises(LoginDenied):
        await server(mechanism).authenticate(mechanism, PRIVATE, Mailbox, ask, initial=initial)
    gsasl.end()


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN", "LOGIN"])
@pytest.mark.parametrize("right", [True, False])
def test_our_client_logs_in_to_gsasl(mechanism: str, right: bool) -> None:
    gsasl = Gsasl("--server", f"--mechanism={mechanism}", "--password=wönder=,x")
    password = "wönder=,x" if right else "wrong"
    identity = ClientIdentity("alice", password=password)
    exchange = begin(mechanism, identity, [mechanism], PRIVATE)
    challenge = gsasl.read()  # empty where the client speaks first
    event = exchange.start()
    if event == Respond(None):
        event = exchange.receive(challenge or b"")
    while not isinstance(event, Succeeded | Failed):
        if isinstance(event, SaltedPasswordNeeded):
            event = exchange.supply(
                pbkdf2_hmac(event.hash_name, event.password, event.salt, event.iterations)
            )
        assert isinstance(event, Respond)
        gsasl.write(event.data or b"")
        if exchange.mutual and not event.data:
            # The server has proved itself, and our empty answer ends it.
            event = exchange.finish()
            break
        challenge = gsasl.read()
        if challenge is None:
            break
        event = exchange.receive(challenge) if challenge else exchange.finish()
    said = gsasl.end()
    assert isinstance(event, Succeeded) == right
    assert ("mechanism error" not in said) == right


# ── Unix users ────────────────────────────────────────────────────────────────


@pytest.fixture
def service() -> Iterator[str]:
    """A service file of its own, which permits; taken away again."""
    pytest.importorskip("pam", reason="python-pam is not installed")
    folder = Path("/etc/pam.d")
    if os.geteuid() != 0 or not folder.is_dir():
        pytest.skip("only root may write /etc/pam.d")
    file = folder / f"sennit-test-{secrets.token_hex(4)}"
    yield file.name
    file.unlink(missing_ok=True)


@pytest.mark.parametrize(
    ("auth", "account", "outcome"),
    [
        ("pam_permit.so", "pam_permit.so", "in"),
        ("pam_deny.so", "pam_permit.so", "denied"),
        ("pam_permit.so", "pam_deny.so", "denied"),
        ("pam_unix.so", "pam_permit.so", "denied"),
        ("pam_none_such.so", "pam_permit.so", "unavailable"),
    ],
)
async def test_pam_decides_by_password_and_by_account(
    service: str, auth: str, account: str, outcome: str
) -> None:
    from sennit.core.auth.pam import PAMUsers

    Path("/etc/pam.d", service).write_text(f"auth required {auth}\naccount required {account}\n")
    users = PAMUsers(service)
    credentials = PasswordCredentials("nobody", "secret")
    try:
        if outcome == "in":
            assert await users.check(credentials) == "nobody"
        elif outcome == "denied":
            with pytest.raises(LoginDenied, match=r"^authentication failed$"):
                await users.check(credentials)
        else:
            with pytest.raises((LoginUnavailableError, LoginDenied)):
                await users.check(credentials)
    finally:
        users.close()
