"""OAUTHBEARER (RFC 7628) and XOAUTH2, which came before it: a bearer token (RFC 6750).

A token that is refused gets a challenge that says why, in JSON; the client answers it
with one octet (OAUTHBEARER) or none (XOAUTH2), and then the exchange fails.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, ClassVar

from sennit.core.auth.credentials import TokenCredentials
from sennit.core.auth.sasl.engine import ClientExchange, ServerExchange
from sennit.core.auth.sasl.events import Challenge, CredentialsGiven, Failed, Respond
from sennit.core.auth.sasl.grammar import (
    MalformedError,
    gs2_header,
    parse_gs2_header,
    prepare_name,
    text_of,
)
from sennit.core.errors import UsageError

if TYPE_CHECKING:
    from sennit.core.auth.sasl.events import ClientEvent, ServerEvent

__all__ = ["OAuthBearerClient", "OAuthBearerServer", "XOAuth2Client", "XOAuth2Server"]

_BEARER = re.compile(r"bearer +([A-Za-z0-9._~+/-]+=*)", re.IGNORECASE)
"""RFC 6750 §2.1: ``b64token``; the scheme's case does not matter (RFC 7235 §2.1)."""
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")


def _pairs(data: bytes, rule: str) -> dict[str, str]:
    """``key=value`` pairs, each ended by ``^A`` (RFC 7628 §3.1)."""
    found: dict[str, str] = {}
    parts = data.split(b"\x01")
    if len(parts) > 16 or len(parts) < 3 or parts[-1] or parts[-2]:
        raise MalformedError(f"key and value pairs that do not end as they must ({rule})")
    for part in parts[:-2]:
        key, equals, value = text_of(part).partition("=")
        if not equals or not (key.isascii() and key.isalpha()) or key in found:
            raise MalformedError(f"not a key and a value, or one twice ({rule})")
        found[key] = value
    return found


def _bearer(pairs: dict[str, str], rule: str) -> str:
    match = _BEARER.fullmatch(pairs.get("auth", ""))
    if match is None:
        raise MalformedError(f"no bearer token ({rule})")
    return match[1]


class _OAuthServer(ServerExchange):
    """What both have: the refusal in two steps.

    Args:
        scope: The scope a token needs, told to a client whose token is refused.
        configuration: URL of the OpenID configuration, told likewise.
    """

    def __init__(self, scope: str = "", configuration: str = "") -> None:
        super().__init__()
        self._scope = scope
        self._configuration = configuration
        self._refused: str | None = None

    def _received(self, response: bytes | None) -> ServerEvent:
        if self._refused is not None:
            # Whatever it says: RFC 7628 §3.2.3 leaves nothing but failure.
            return Failed(self._refused)
        return self._given(response or b"")

    def _given(self, response: bytes) -> ServerEvent:
        raise UsageError("a mechanism says what it is given")

    def _rejected(self, reason: str) -> ServerEvent:
        self._refused = reason
        return Challenge(self._why())

    def _why(self) -> bytes:
        told = {"status": "invalid_token"}
        if self._scope:
            told["scope"] = self._scope
        if self._configuration:
            told["openid-configuration"] = self._configuration
        return json.dumps(told).encode()


class OAuthBearerServer(_OAuthServer):
    """The server's side of OAUTHBEARER."""

    name = "OAUTHBEARER"

    def _given(self, response: bytes) -> ServerEvent:
        rule = "RFC 7628 §3.1"
        binding, act_as, rest = parse_gs2_header(response)
        if binding.startswith("p="):
            raise MalformedError(f"a channel binding, which the mechanism has not ({rule})")
        if rest[:1] != b"\x01":
            raise MalformedError(f"no separator after the header ({rule})")
        pairs = _pairs(rest[1:], rule)
        port = pairs.get("port", "0")
        if not (port.isascii() and port.isdigit() and len(port) <= 5):
            raise MalformedError(f"no port ({rule})")
        token = _bearer(pairs, rule)
        credentials = TokenCredentials(act_as, token, host=pairs.get("host", ""), port=int(port))
        return CredentialsGiven(credentials, act_as)


class XOAuth2Server(_OAuthServer):
    """The server's side of XOAUTH2."""

    name = "XOAUTH2"

    def _given(self, response: bytes) -> ServerEvent:
        pairs = _pairs(response, "XOAUTH2")
        name = prepare_name(pairs.get("user", ""))
        return CredentialsGiven(TokenCredentials(name, _bearer(pairs, "XOAUTH2")), name)

    def _why(self) -> bytes:
        told = {"status": "401", "schemes": "bearer"}
        if self._scope:
            told["scope"] = self._scope
        return json.dumps(told).encode()


class _OAuthClient(ClientExchange):
    """What both have: the refusal in two steps."""

    _farewell: ClassVar[bytes] = b""

    def __init__(self, token: str) -> None:
        super().__init__()
        if _TOKEN.fullmatch(token) is None:
            raise MalformedError("not a bearer token (RFC 6750 §2.1)")
        self._message = b""
        self._refusal: str | None = None

    @property
    def refusal(self) -> str | None:
        """What the server said of a token that it refused, as JSON."""
        return self._refusal

    def _begin(self) -> ClientEvent:
        return Respond(self._message)

    def _challenged(self, challenge: bytes) -> ClientEvent:
        if self._refusal is not None:
            return self._fail("a second refusal")
        self._refusal = challenge.decode("utf-8", "replace")
        return Respond(self._farewell)

    def _finished(self, data: bytes | None) -> ClientEvent:
        if self._refusal is not None:
            return self._fail("success after a refusal")
        return super()._finished(data)


class OAuthBearerClient(_OAuthClient):
    """The client's side of OAUTHBEARER.

    Args:
        token: The token.
        name: Whom it is of (the authorization identity); may be empty.
        host: The server's name, as the client asked for it.
        port: The server's port.

    Raises:
        MalformedError: One of them cannot be what it should.
    """

    name = "OAUTHBEARER"
    _farewell = b"\x01"

    def __init__(self, token: str, name: str = "", *, host: str = "", port: int = 0) -> None:
        super().__init__(token)
        if "\x01" in host or "\0" in host:
            raise MalformedError("a control character in the host")
        header = gs2_header("n", prepare_name(name) if name else "")
        pairs = [f"host={host}"] if host else []
        if port:
            pairs.append(f"port={port}")
        pairs.append(f"auth=Bearer {token}")
        self._message = header + b"\x01" + "\x01".join([*pairs, "", ""]).encode()


class XOAuth2Client(_OAuthClient):
    """The client's side of XOAUTH2.

    Args:
        token: The token.
        name: Whom it is of.

    Raises:
        MalformedError: One of them cannot be what it should.
    """

    name = "XOAUTH2"

    def __init__(self, token: str, name: str) -> None:
        super().__init__(token)
        self._message = f"user={prepare_name(name)}\x01auth=Bearer {token}\x01\x01".encode()
