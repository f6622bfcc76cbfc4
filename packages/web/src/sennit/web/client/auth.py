"""Logging in to servers: Basic, Bearer and Digest.

An `Auth` is asked before each request, and again when a server answered 401. It sees
method, address and challenges, and gives the value of Authorization or ``None``; the
client sees to it that this goes to the origin it was meant for and to no other.

Digest answers the strongest hash that is offered (SHA-512/256, SHA-256; MD5 only when
allowed), always with ``qop=auth`` and a nonce of its own, goes on with the nonce that
it has, and takes a fresh one when it is stale.

Sources: RFC 9110 §11.6; RFC 7617 (Basic); RFC 6750 §2.1 (Bearer); RFC 7616 (Digest).
Not here: ``auth-int``; mutual authentication; proxies' logins (``proxies.py``).
"""

from __future__ import annotations

import hashlib
import re
import secrets
from base64 import b64encode
from typing import TYPE_CHECKING, Final, cast
from urllib.parse import quote

from sennit.web.client.challenges import parse_parameters
from sennit.web.errors import WebUsageError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from sennit.web.client.challenges import Challenge
    from sennit.web.client.urls import URL, Origin

__all__ = ["Auth", "BasicAuth", "BearerAuth", "DigestAuth", "auth_of"]


class Auth:
    """A way to log in. This one sends nothing; subclasses say more."""

    async def authorize(self, method: str, url: URL) -> bytes | None:
        """What to send with the first try, or ``None`` to wait for a challenge."""
        return None

    async def answer(self, method: str, url: URL, challenges: Sequence[Challenge]) -> bytes | None:
        """What to send with a second try after 401, or ``None`` to let it be."""
        return None

    def accepted(self, url: URL, info: bytes | None) -> None:
        """A request that carried a login was not answered with 401.

        Args:
            url: What was asked for.
            info: The value of Authentication-Info, where there is one.
        """


class BasicAuth(Auth):
    """Name and password in the clear: over TLS, or to a machine of one's own.

    Sent at once, since most who ask for it do not wait to be asked.

    Raises:
        ValueError: A colon in the name, or a control in either (RFC 7617 §2).
    """

    def __init__(self, username: str, password: str = "") -> None:
        if ":" in username or _controls(username + password):
            raise WebUsageError("a user name has no colon, and neither name nor password a control")
        octets = f"{username}:{password}".encode()
        self._value = b"Basic " + b64encode(octets)

    def __repr__(self) -> str:
        return "<BasicAuth>"

    async def authorize(self, method: str, url: URL) -> bytes | None:
        return self._value


class BearerAuth(Auth):
    """A token (RFC 6750), or a function that gives one.

    Args:
        token: The token, or what gives it: called for the first request, and once more
            when a server answered 401, with what was sent then; may be a coroutine
            function. Returns the next token.

    Raises:
        ValueError: A token with what no token has.
    """

    def __init__(self, token: str | Callable[[str | None], str | Awaitable[str]]) -> None:
        self._token = None if callable(token) else _checked_token(token)
        self._renew = token if callable(token) else None

    def __repr__(self) -> str:
        return "<BearerAuth>"

    async def authorize(self, method: str, url: URL) -> bytes | None:
        if self._token is None:
            await self._next()
        return f"Bearer {self._token}".encode("ascii")

    async def answer(self, method: str, url: URL, challenges: Sequence[Challenge]) -> bytes | None:
        if self._renew is None:
            return None
        before = self._token
        await self._next()
        return None if self._token == before else f"Bearer {self._token}".encode("ascii")

    async def _next(self) -> None:
        assert self._renew is not None
        made = self._renew(self._token)
        self._token = _checked_token(made if isinstance(made, str) else await made)


_TOKEN = re.compile(r"[A-Za-z0-9\-._~+/]+=*").fullmatch
_ALGORITHMS: Final = {
    "sha-512-256": ("sha512_256", 3),
    "sha-256": ("sha256", 2),
    "md5": ("md5", 1),
}
"""Names of RFC 7616 §6.1: the hash, and how much it is preferred."""


def _checked_token(token: str) -> str:
    if _TOKEN(token) is None:
        raise WebUsageError("a bearer token has letters, digits and -._~+/ (RFC 6750 §2.1)")
    return token


def _controls(text: str) -> bool:
    return any(ord(each) < 32 or ord(each) == 127 for each in text)


class _Space:
    """What is known of one server's realm: its challenge, and how often it was answered."""

    __slots__ = ("algorithm", "count", "nonce", "opaque", "realm", "session", "user_hash", "utf8")

    def __init__(self, algorithm: str, parameters: dict[str, str]) -> None:
        self.algorithm = algorithm
        self.realm = parameters["realm"]
        self.nonce = parameters["nonce"]
        self.opaque = parameters.get("opaque")
        self.user_hash = parameters.get("userhash", "").lower() == "true"
        self.utf8 = parameters.get("charset", "").lower() == "utf-8"
        self.count = 0
        self.session: bytes | None = None  # H(A1) of a -sess algorithm, fixed for its nonce


class DigestAuth(Auth):
    """Proves a password without sending it (RFC 7616).

    Args:
        username: The name.
        password: The password.
        allow_md5: Whether MD5 will do where nothing better is offered: it has to be
            where older servers are, and hides little.
        make_nonce: Gives the client's part of a proof.

    Raises:
        ValueError: A control in name or password.
    """

    def __init__(
        self,
        username: str,
        password: str,
        *,
        allow_md5: bool = False,
        make_nonce: Callable[[], str] = lambda: secrets.token_hex(16),
    ) -> None:
        if _controls(username + password):
            raise WebUsageError("neither a user name nor a password has a control")
        self._username = username
        self._password = password
        self._allow_md5 = allow_md5
        self._make_nonce = make_nonce
        self._spaces: dict[Origin, _Space] = {}

    def __repr__(self) -> str:
        return "<DigestAuth>"

    async def authorize(self, method: str, url: URL) -> bytes | None:
        space = self._spaces.get(url.origin)
        return None if space is None else self._proof(space, method, url)

    async def answer(self, method: str, url: URL, challenges: Sequence[Challenge]) -> bytes | None:
        best: tuple[int, _Space] | None = None
        stale = False
        for challenge in challenges:
            found = self._weigh(challenge)
            if found is not None and (best is None or found[0] > best[0]):
                best = found
                stale = challenge.parameters.get("stale", "").lower() == "true"
        before = self._spaces.pop(url.origin, None)
        if best is None:
            return None
        space = best[1]
        if before is not None and not stale and before.nonce == space.nonce:
            return None  # the same question again: the password is wrong
        if len(self._spaces) >= 1000:
            self._spaces.clear()
        self._spaces[url.origin] = space
        return self._proof(space, method, url)

    def accepted(self, url: URL, info: bytes | None) -> None:
        space = self._spaces.get(url.origin)
        if space is None or info is None:
            return
        fresh = parse_parameters(info).get("nextnonce")
        if fresh and fresh != space.nonce:
            space.nonce, space.count, space.session = fresh, 0, None

    def _weigh(self, challenge: Challenge) -> tuple[int, _Space] | None:
        """How good a challenge is; ``None`` for one that cannot be answered."""
        parameters = challenge.parameters
        if challenge.scheme != "digest" or "nonce" not in parameters or "realm" not in parameters:
            return None
        name = parameters.get("algorithm", "MD5").lower()
        found = _ALGORITHMS.get(name.removesuffix("-sess"))
        if found is None or (found[0] == "md5" and not self._allow_md5):
            return None
        # Without a qop a proof could be played again for other content (RFC 2069); nobody
        # who offers a hash that is still good leaves it out.
        if "auth" not in re.split(r"[ \t,]+", parameters.get("qop", "").lower()):
            return None
        return found[1], _Space(parameters.get("algorithm", "MD5"), parameters)

    def _proof(self, space: _Space, method: str, url: URL) -> bytes:
        name = space.algorithm.lower()
        hash_name = _ALGORITHMS[name.removesuffix("-sess")][0]
        charset = "utf-8" if space.utf8 else "latin-1"
        realm = space.realm.encode("latin-1")
        nonce = space.nonce.encode("latin-1")

        def digest(octets: bytes) -> bytes:
            made = hashlib.new(hash_name, octets)
            return made.hexdigest().encode("ascii")

        user = self._username.encode(charset, "replace" if not space.utf8 else "strict")
        password = self._password.encode(charset, "replace" if not space.utf8 else "strict")
        cnonce = self._make_nonce().encode("ascii")
        space.count += 1
        secret = digest(b"%b:%b:%b" % (user, realm, password))
        if name.endswith("-sess"):
            if space.session is None:
                space.session = digest(b"%b:%b:%b" % (secret, nonce, cnonce))
            secret = space.session
        action = digest(b"%b:%b" % (method.encode("ascii"), url.target))
        count = b"%08x" % space.count
        response = digest(b":".join((secret, nonce, count, cnonce, b"auth", action)))
        if space.user_hash:
            who = b'username="%b"' % digest(b"%b:%b" % (user, realm))
        elif self._username.isascii():
            who = b'username="%b"' % _quoted(user)
        else:
            # RFC 8187, as RFC 7616 §3.4 asks for.
            who = b"username*=UTF-8''%b" % quote(self._username, safe="").encode("ascii")
        parts = [
            who,
            b'realm="%b"' % _quoted(realm),
            b'uri="%b"' % _quoted(url.target),
            b"algorithm=%b" % space.algorithm.encode("latin-1"),
            b'nonce="%b"' % _quoted(nonce),
            b"nc=%b" % count,
            b'cnonce="%b"' % cnonce,
            b"qop=auth",
            b'response="%b"' % response,
        ]
        if space.opaque is not None:
            parts.append(b'opaque="%b"' % _quoted(space.opaque.encode("latin-1")))
        if space.user_hash:
            parts.append(b"userhash=true")
        return b"Digest " + b", ".join(parts)


def _quoted(octets: bytes) -> bytes:
    return octets.replace(b"\\", b"\\\\").replace(b'"', b'\\"')


def auth_of(given: Auth | tuple[str, str] | None) -> Auth | None:
    """What callers give: an `Auth`, or name and password for `BasicAuth`.

    Raises:
        TypeError: It is neither. What it is may be a secret, and is not shown.
    """
    if isinstance(given, tuple):
        return BasicAuth(*given)
    if given is not None and not isinstance(cast("object", given), Auth):
        raise TypeError(f"auth is (name, password) or an Auth, not {type(given).__name__}")
    return given
