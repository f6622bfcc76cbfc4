"""Logins by HTTP's own means: Basic, Digest and bearer tokens, through core's portal.

`require_login` stands around a handler and lets through who shows good credentials; the
handler finds the name in ``request.user``, and what the portal's realm has for it in
``request.state["avatar"]``. The answer to a name that is not known and to a wrong password
is the same after the same work, and comes a second later; who fails too often is not heard
(`sennit.core.auth.limits`).

Basic and bearer tokens show a secret, so they are taken over TLS (and Unix sockets) alone,
unless that is allowed by name. Digest is SHA-256 with ``qop=auth``; its nonces are signed,
good for some minutes, and every count of one is good once (RFC 7616 §5.5, §5.12). It needs
passwords in clear, or their digests, on this side: `MemoryUsers` has them, hashed stores
do not.

Sources: RFC 9110 §11 (401, challenges), RFC 7617 (Basic), RFC 7616 (Digest), RFC 6750 §2.1,
§3 (Bearer). Elsewhere: who is remembered between requests (``sessions/``), the client's
side (``client/auth.py``).
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import inspect
import re
import secrets
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final, Protocol
from weakref import WeakKeyDictionary

from sennit.core.auth.credentials import PasswordCredentials, ProvenCredentials, TokenCredentials
from sennit.core.auth.limits import LoginLimits
from sennit.core.auth.sasl.channel import channel_of
from sennit.core.auth.sasl.grammar import MalformedError, prepare_name
from sennit.core.errors import LoginDenied, LoginUnavailableError, TooManyTriesError
from sennit.web.errors import WebUsageError
from sennit.web.response import error_page
from sennit.web.sessions.signing import Signer
from sennit.web.wrappers import ask

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Literal

    from sennit.core.auth.credentials import Credentials
    from sennit.core.auth.limits import LoginTries
    from sennit.core.auth.portal import AvatarSession, Portal
    from sennit.web.connection import HTTPConnection
    from sennit.web.request import Request
    from sennit.web.response import Response
    from sennit.web.server import Answer, Handler
    from sennit.web.sessions.signing import Key
    from sennit.web.wrappers import Wrapper

    DigestSource = Callable[[str, str], str | Awaitable[str | None] | None]

__all__ = ["parse_authorization", "parse_parameters", "require_login"]

NONCE_LIFE: Final = 300.0
"""Seconds for which a nonce is good."""
WINDOW: Final = 64
"""How far behind the highest count of a nonce another may come (parallel connections)."""
MAX_NONCES: Final = 10_000
"""Nonces in use whose counts are remembered; beyond, the oldest are good no more."""

_PARAMETER = re.compile(
    r"[ \t]*([!#$%&'*+\-.^_`|~0-9A-Za-z]+)[ \t]*=[ \t]*"
    r'(?:"((?:[^"\\]|\\.)*)"|([!#$%&\'*+\-.^_`|~0-9A-Za-z]+))[ \t]*(?:,|\Z)',
    re.DOTALL,
).match
_QUOTED_PAIR = re.compile(r"\\(.)", re.DOTALL)
_REALM = re.compile(r"[ !#-\[\]-~]*").fullmatch
_TOKEN68 = re.compile(r"[A-Za-z0-9._~+/-]+=*").fullmatch
_COUNT = re.compile(r"[0-9a-fA-F]{8}").fullmatch


class _Denied(Exception):  # noqa: N818 - a verdict, which happens to be raised
    """Credentials that are no good.

    Attributes:
        stale: Whether they would be with another nonce: no try, and no delay.
    """

    def __init__(self, stale: bool = False) -> None:
        super().__init__()
        self.stale = stale


def parse_authorization(value: str) -> tuple[str, str]:
    """The scheme of an Authorization field, in lower case, and what follows it."""
    scheme, _, rest = value.strip(" \t").partition(" ")
    return scheme.lower(), rest.strip(" \t")


def parse_parameters(text: str) -> dict[str, str] | None:
    """The parameters of credentials (RFC 9110 §11.2); ``None`` for what is none."""
    found: dict[str, str] = {}
    at = 0
    while at < len(text):
        match = _PARAMETER(text, at)
        if match is None:
            return None
        name = match[1].lower()
        if name in found:
            return None
        quoted = match[2]
        found[name] = match[3] if quoted is None else _QUOTED_PAIR.sub(r"\1", quoted)
        at = match.end()
    return found


def require_login(
    portal: Portal,
    scheme: Literal["basic", "digest", "bearer"] = "basic",
    *,
    realm: str = "restricted",
    interface: Any = None,  # an interface or a class, as portals have it
    limits: LoginLimits | None = None,
    allow_plaintext: bool = False,
    for_proxy: bool = False,
    key: Key | None = None,
    digests: DigestSource | None = None,
    wall_clock: Callable[[], float] = time.time,
) -> Wrapper:
    """A wrapper that lets through who has logged in.

    Args:
        portal: Says who is who.
        scheme: ``basic``, ``digest`` or ``bearer``.
        realm: What browsers show to whom they ask for a password.
        interface: What the avatar is wanted as; with ``None`` there is a name and no avatar.
        limits: How often it may fail; core's usual ones when left out.
        allow_plaintext: Take what shows a secret without TLS, too; behind a proxy that has
            it, say.
        for_proxy: Ask as a proxy does, whose users log in to it and not to what is behind it:
            407, Proxy-Authenticate and Proxy-Authorization (RFC 9110 §11.7).
        key: Signs nonces of Digest: the same for all workers, each of which counts by itself.
            Made anew when left out.
        digests: Gives for a name and the realm the hexadecimal SHA-256 of
            ``name:realm:password``, or ``None``; may be a coroutine function. For Digest,
            where no checker of the portal has passwords in clear.
        wall_clock: Seconds since the epoch.

    Raises:
        WebUsageError: The realm cannot be sent, or the scheme is not known.
    """
    if _REALM(realm) is None:
        raise WebUsageError(f"a realm cannot be {realm!r:.100}")
    given = LoginLimits() if limits is None else limits
    kind: _Scheme
    if scheme == "basic":
        kind = _Basic(realm)
    elif scheme == "bearer":
        kind = _Bearer(realm)
    elif scheme == "digest":
        kind = _Digest(portal, realm, key or secrets.token_bytes(32), digests, wall_clock)
    else:
        raise WebUsageError(f"no scheme {scheme!r}; there are basic, digest and bearer")
    shown_in = "proxy-authorization" if for_proxy else "authorization"
    counts: WeakKeyDictionary[HTTPConnection[Any, Any], _Heard] = WeakKeyDictionary()

    async def guarded(request: Request, handler: Handler, rest: str) -> Any:
        heard = None if _came_by_proxy(request) else counts.get(request.connection)
        if heard is None:
            heard = _Heard(given.tries(request.peer))
            if not _came_by_proxy(request):
                counts[request.connection] = heard
        tries = heard.tries
        login: AvatarSession[Any] | None = None
        try:
            async with heard.turn:
                tries.check()
                credentials = await kind.credentials(request, rest)
                if interface is None:
                    name = await portal.check(credentials)
                else:
                    login = await portal.login(credentials, interface)
                    name = login.name
        except TooManyTriesError:
            refusal = error_page(429, {"retry-after": "600"})
            if request.head.version != b"2" and not _came_by_proxy(request):
                refusal.set_header("connection", "close")
            return refusal
        except LoginUnavailableError:
            return error_page(503, {"retry-after": "5"})
        except (_Denied, LoginDenied) as error:
            stale = isinstance(error, _Denied) and error.stale
            if not stale:
                await tries.failed()
            return challenge(stale=stale)
        tries.succeeded()
        request.state["user"] = name
        if login is None:
            return await _settled(ask(handler, request))
        request.state["avatar"] = login.avatar
        async with login:
            return await _settled(ask(handler, request))

    def challenge(*, stale: bool = False) -> Response:
        if for_proxy:
            return error_page(407, {"proxy-authenticate": kind.challenge(stale)})
        return error_page(401, {"www-authenticate": kind.challenge(stale)})

    def wrap(handler: Handler) -> Handler:
        def call(request: Request) -> Answer:
            if kind.shows_secret and not (allow_plaintext or _is_private(request)):
                # No challenge: it would ask for the secret to be sent in clear.
                return error_page(403)
            value = request.header(shown_in)
            if value is None:
                return challenge()
            named, rest = parse_authorization(value)
            if named != scheme:
                return challenge()
            return guarded(request, handler, rest)

        return call

    return wrap


class _Heard:
    """The logins of one connection.

    Attributes:
        tries: How many failed.
        turn: Held while one is checked: the streams of HTTP/2 would else all have been asked
            before the first has failed, a hundred guesses in place of three.
    """

    __slots__ = ("tries", "turn")

    def __init__(self, tries: LoginTries) -> None:
        self.tries = tries
        self.turn = asyncio.Lock()


def _came_by_proxy(request: Request) -> bool:
    """Whether the connection is a trusted proxy's: it has the requests of many."""
    return request.peer is not request.connection.peer


def _is_private(request: Request) -> bool:
    # How private the way to a proxy is says nothing of the client's way to it.
    return request.secure or (not _came_by_proxy(request) and channel_of(request.transport).private)


async def _settled(answer: Any) -> Any:  # Any: whatever way the handler's answer comes
    return await answer if inspect.isawaitable(answer) else answer


class _Scheme(Protocol):
    """One way to show who one is."""

    shows_secret: bool

    def challenge(self, stale: bool) -> str:
        """The value of WWW-Authenticate."""
        ...

    async def credentials(self, request: Request, rest: str) -> Credentials:
        """What is shown, for the portal.

        Raises:
            _Denied: It is no good, or malformed.
        """
        ...


class _Basic:
    shows_secret = True

    def __init__(self, realm: str) -> None:
        self._realm = realm

    def challenge(self, stale: bool) -> str:
        return f'Basic realm="{self._realm}", charset="UTF-8"'

    async def credentials(self, request: Request, rest: str) -> Credentials:
        try:
            octets = base64.b64decode(rest, validate=True)
            name, colon, password = octets.decode("utf-8").partition(":")
        except (binascii.Error, UnicodeError, ValueError):
            raise _Denied from None
        if not colon:
            raise _Denied
        return PasswordCredentials(name, password)


class _Bearer:
    shows_secret = True

    def __init__(self, realm: str) -> None:
        self._realm = realm

    def challenge(self, stale: bool) -> str:
        return f'Bearer realm="{self._realm}"'

    async def credentials(self, request: Request, rest: str) -> Credentials:
        if _TOKEN68(rest) is None:
            raise _Denied
        return TokenCredentials("", rest)


class _Digest:
    """RFC 7616 with SHA-256 and ``qop=auth``."""

    shows_secret = False

    def __init__(
        self,
        portal: Portal,
        realm: str,
        key: Key,
        digests: DigestSource | None,
        wall_clock: Callable[[], float],
    ) -> None:
        self._portal = portal
        self._realm = realm
        self._signer = Signer(key, "digest nonce")
        self._digests = digests
        self._wall_clock = wall_clock
        # What is computed with for names that nobody has.
        self._nobody = secrets.token_hex(32)
        # The highest count of each nonce in use, and a bit for each of those before it.
        self._counts: OrderedDict[str, tuple[int, int, int]] = OrderedDict()
        self._oldest = 0  # nonces of before are good no more

    def challenge(self, stale: bool) -> str:
        nonce = self._signer.sign(secrets.token_bytes(12), self._wall_clock())
        return (
            f'Digest realm="{self._realm}", qop="auth", algorithm=SHA-256, nonce="{nonce}", '
            f"charset=UTF-8{', stale=true' if stale else ''}"
        )

    async def credentials(self, request: Request, rest: str) -> Credentials:
        # Clients send UTF-8 where the challenge said so; fields come as latin-1.
        try:
            found = parse_parameters(rest.encode("latin-1").decode("utf-8"))
        except UnicodeError:
            found = None
        if found is None or not found.keys() >= {
            *("username", "realm", "nonce", "uri", "response", "qop", "nc", "cnonce"),
        }:
            raise _Denied
        if (
            found["realm"] != self._realm
            or found.get("algorithm", "").upper() != "SHA-256"
            or found["qop"] != "auth"
            or _COUNT(found["nc"]) is None
            or not found["cnonce"]
            or found["uri"].encode() != request.head.target
        ):
            raise _Denied
        name = found["username"]
        try:
            prepared = prepare_name(name)
        except MalformedError:
            raise _Denied from None
        first = await self._first(name, prepared)
        second = _sha256(f"{request.method}:{found['uri']}")
        middle = f"{found['nonce']}:{found['nc']}:{found['cnonce']}:auth"
        right = _sha256(f"{first or self._nobody}:{middle}:{second}")
        good = hmac.compare_digest(right.encode(), found["response"].lower().encode())
        if not good or first is None:
            raise _Denied
        self._use(found["nonce"], int(found["nc"], 16))
        return ProvenCredentials(prepared, "DIGEST-SHA-256")

    async def _first(self, name: str, prepared: str) -> str | None:
        """H(A1) of a user."""
        if self._digests is not None:
            found = self._digests(prepared, self._realm)
            digest = await found if inspect.isawaitable(found) else found
            return None if digest is None else digest.lower()
        password = await self._portal.secret(prepared)
        # Also for nobody, so that it takes as long.
        digest = _sha256(f"{name}:{self._realm}:{password or self._nobody}")
        return None if password is None else digest

    def _use(self, nonce: str, count: int) -> None:
        """Take one count of a nonce, which is good once.

        Raises:
            _Denied: It is not good, or not any more: ask with another.
        """
        verified = self._signer.verify(nonce)
        if verified is None:
            raise _Denied(stale=True)
        made = verified[1]
        if not -60 <= self._wall_clock() - made <= NONCE_LIFE or made < self._oldest:
            raise _Denied(stale=True)
        highest, before, _ = self._counts.get(nonce, (0, 0, made))
        if count > highest:
            # Not shifted by what the client says, which may be four thousand million.
            ahead = min(count - highest, WINDOW)
            before = (before << ahead | 1) & ((1 << WINDOW) - 1) if highest else 1
            highest = count
        else:
            bit = 1 << (highest - count) if highest - count < WINDOW else 0
            if not bit or before & bit or count == 0:
                raise _Denied(stale=True)
            before |= bit
        self._counts[nonce] = (highest, before, made)
        if len(self._counts) > MAX_NONCES:
            _, (_, _, forgotten) = self._counts.popitem(last=False)
            # Its counts could be used again: so no nonce of its time is good any more.
            self._oldest = max(self._oldest, forgotten + 1)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
