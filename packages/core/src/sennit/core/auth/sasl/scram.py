"""SCRAM with SHA-1, SHA-256 and SHA-512, each with and without channel binding.

The server never sees the password, the client learns whether the server knows its
keys, and with ``-PLUS`` both learn that nobody sits between them.

Sources: RFC 5802 (the mechanism), RFC 7677 (SHA-256), RFC 5929 §4 and RFC 9266 (what
is bound to); SHA-512 as the first two with the hash exchanged.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Final

from sennit.core.auth.credentials import ProvenCredentials
from sennit.core.auth.sasl.engine import ClientExchange, ServerExchange
from sennit.core.auth.sasl.events import (
    Challenge,
    CredentialsGiven,
    KeysNeeded,
    Respond,
    SaltedPasswordNeeded,
    Succeeded,
)
from sennit.core.auth.sasl.grammar import (
    MalformedError,
    attributes,
    decode_base64,
    decode_saslname,
    encode_base64,
    encode_saslname,
    gs2_header,
    parse_gs2_header,
    prepare_name,
    prepare_password,
)
from sennit.core.auth.sasl.keys import (
    DEFAULT_ITERATIONS,
    HASHES,
    MAX_ITERATIONS,
    MAX_SALT,
    MIN_ITERATIONS,
    ScramKeys,
    proof_of,
)
from sennit.core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sennit.core.auth.sasl.events import ClientEvent, ServerEvent

__all__ = ["BINDINGS", "ScramClient", "ScramServer"]

BINDINGS: Final = ("tls-exporter", "tls-server-end-point")
"""Channel bindings, the better first."""

MAX_NONCE: Final = 512
"""Octets of a nonce, the peer's part or both together."""


def _printable(nonce: bytes) -> bool:
    """RFC 5802 §7: ``printable``, which is any of ASCII that shows, but the comma."""
    return 0 < len(nonce) <= MAX_NONCE and all(0x21 <= each <= 0x7E for each in nonce)


def _nonce(text: str) -> bytes:
    nonce = text.encode()
    if not _printable(nonce) or b"," in nonce:
        raise UsageError("a nonce has printable ASCII without commas (RFC 5802 §7)")
    return nonce


def _expect(parts: list[tuple[str, bytes]], letters: str) -> list[bytes]:
    """The values of the attributes that must come first; more are extensions, and ignored."""
    if parts and parts[0][0] == "m":
        # RFC 5802 §5.1: a mandatory extension, and none is known.
        raise MalformedError("extensions-not-supported")
    if "".join(letter for letter, _ in parts[: len(letters)]) != letters:
        raise MalformedError(f"not the attributes {', '.join(letters)} in this order")
    return [value for _, value in parts[: len(letters)]]


class ScramServer(ServerExchange):
    """The server's side of SCRAM.

    Args:
        mechanism: ``SCRAM-SHA-256``, or with ``-PLUS``.
        nonce: Random text that was never used before (without commas).
        secret: Random octets that stay the same: what is told of users who are not
            there is made of them.
        bindings: What this channel can be bound to, by kind.
        plus_offered: Whether the client was offered a ``-PLUS`` mechanism: one that
            says it saw none has been lied to.
        iterations: Told of users who are not there; that of those who are.
    """

    def __init__(
        self,
        mechanism: str,
        nonce: str,
        secret: bytes,
        *,
        bindings: Mapping[str, bytes] | None = None,
        plus_offered: bool = False,
        iterations: int = DEFAULT_ITERATIONS,
    ) -> None:
        super().__init__()
        self._mechanism = mechanism.removesuffix("-PLUS")
        if self._mechanism not in HASHES:
            raise UsageError(f"SCRAM is {', '.join(HASHES)}, each with -PLUS, not {mechanism!r}")
        self._plus = mechanism.endswith("-PLUS")
        self._nonce = _nonce(nonce)
        self._secret = secret
        self._bindings = dict(bindings or {})
        self._plus_offered = plus_offered
        self._iterations = iterations
        self._user = ""
        self._act_as = ""
        self._bound = b""  # what ``c=`` must say
        self._bare = b""  # client-first-message-bare
        self._first = b""  # server-first-message
        self._both = b""  # the nonce of both
        self._keys: ScramKeys | None = None
        self._known = False
        self._signature = b""

    def _received(self, response: bytes | None) -> ServerEvent:
        if self._keys is None:
            return self._client_first(response or b"")
        return self._client_final(response or b"", self._keys)

    def _client_first(self, message: bytes) -> ServerEvent:
        flag, self._act_as, self._bare = parse_gs2_header(message)
        header = message[: len(message) - len(self._bare)]
        data = b""
        if flag.startswith("p="):
            if not self._plus:
                return self._refuse(
                    "a channel binding without -PLUS", "channel-binding-not-supported"
                )
            kind = flag[2:]
            if kind not in self._bindings:
                return self._refuse(
                    f"a channel binding that is not to be had: {kind}",
                    "unsupported-channel-binding-type",
                )
            data = self._bindings[kind]
        elif self._plus:
            return self._refuse("-PLUS without a channel binding", "other-error")
        elif flag == "y" and self._plus_offered:
            # RFC 5802 §6: the client could bind and was told that we cannot.
            return self._refuse(
                "a downgrade: the client was not shown -PLUS",
                "server-does-support-channel-binding",
            )
        self._bound = header + data
        name, nonce = _expect(attributes(self._bare), "nr")
        if not _printable(nonce):
            raise MalformedError("not a nonce (RFC 5802 §7)")
        self._user = prepare_name(decode_saslname(name))
        self._both = nonce + self._nonce
        return KeysNeeded(self._user, self._mechanism)

    def _supplied(self, secret: ScramKeys | str | None) -> ServerEvent:
        if isinstance(secret, ScramKeys):
            if secret.mechanism != self._mechanism:
                raise UsageError(f"{secret!r} are not keys of {self._mechanism}")
            self._keys, self._known = secret, True
        else:
            self._keys = ScramKeys.made_up(
                self._mechanism, self._user, self._secret, self._iterations
            )
        self._first = b"r=%s,s=%s,i=%d" % (
            self._both,
            encode_base64(self._keys.salt),
            self._keys.iterations,
        )
        return Challenge(self._first)

    def _client_final(self, message: bytes, keys: ScramKeys) -> ServerEvent:
        without_proof, comma, last = message.rpartition(b",")
        if not comma or last[:2] != b"p=":
            raise MalformedError("no proof at the end (RFC 5802 §7)")
        bound, nonce = _expect(attributes(without_proof), "cr")
        proof = decode_base64(last[2:])
        if not hmac.compare_digest(decode_base64(bound), self._bound):
            return self._refuse("another channel than ours", "channel-bindings-dont-match")
        if not hmac.compare_digest(nonce, self._both):
            return self._refuse("another nonce than ours", "other-error")
        auth_message = b",".join([self._bare, self._first, without_proof])
        proven = keys.proves(proof, auth_message)
        self._signature = keys.signature(auth_message)
        # A user who is not there fails as a wrong password does, to the letter.
        if not (proven and self._known):
            reason = "wrong password" if self._known else "no keys are known of the user"
            return self._refuse(reason, "invalid-proof")
        name = self._mechanism + ("-PLUS" if self._plus else "")
        return CredentialsGiven(ProvenCredentials(self._user, name), self._act_as)

    def _final(self) -> bytes:
        return b"v=" + encode_base64(self._signature)

    def _refuse(self, reason: str, error: str) -> ServerEvent:
        return self._fail(reason, data=b"e=" + error.encode("ascii"))


class ScramClient(ClientExchange):
    """The client's side of SCRAM; it believes in no success that the server has not proved.

    Args:
        mechanism: ``SCRAM-SHA-256``, or with ``-PLUS``.
        name: Who logs in.
        password: Its password; it does not leave this side.
        nonce: Random text that was never used before (without commas).
        act_as: Whom to act as; empty for oneself.
        binding: With ``-PLUS``: the kind of channel binding, and its octets.
        could_bind: Without ``-PLUS``: this side could have bound the channel, and the
            server did not offer it. It is told so, and knows whether it did.
        min_iterations: The least the server may ask for.
        max_iterations: The most.

    Raises:
        MalformedError: A name or the password cannot be one.
        UsageError: ``-PLUS`` without a binding, or a binding without it.
    """

    mutual = True

    def __init__(
        self,
        mechanism: str,
        name: str,
        password: str,
        nonce: str,
        *,
        act_as: str = "",
        binding: tuple[str, bytes] | None = None,
        could_bind: bool = False,
        min_iterations: int = MIN_ITERATIONS,
        max_iterations: int = MAX_ITERATIONS,
    ) -> None:
        super().__init__()
        self._mechanism = mechanism.removesuffix("-PLUS")
        if self._mechanism not in HASHES:
            raise UsageError(f"SCRAM is {', '.join(HASHES)}, each with -PLUS, not {mechanism!r}")
        if mechanism.endswith("-PLUS") != (binding is not None):
            raise UsageError("a channel binding goes with -PLUS, and -PLUS with one")
        self._password = prepare_password(password)
        self._nonce = _nonce(nonce)
        flag = f"p={binding[0]}" if binding is not None else "y" if could_bind else "n"
        self._header = gs2_header(flag, prepare_name(act_as) if act_as else "")
        self._bound = self._header + (b"" if binding is None else binding[1])
        self._bare = b"n=%s,r=%s" % (encode_saslname(prepare_name(name)), self._nonce)
        self._bounds = (min_iterations, max_iterations)
        self._parameters: tuple[bytes, int] | None = None
        self._message = b""
        self._without_proof = b""
        self._expected: bytes | None = None
        self._proved = False

    def _begin(self) -> ClientEvent:
        return Respond(self._header + self._bare)

    def _challenged(self, challenge: bytes) -> ClientEvent:
        if self._parameters is None:
            return self._server_first(challenge)
        if self._proved:
            return self._fail("a challenge after the server's proof")
        return self._server_final(challenge) or Respond(b"")

    def _server_first(self, message: bytes) -> ClientEvent:
        if message.startswith(b"e="):
            return self._error(message)
        nonce, salt64, count = _expect(attributes(message), "rsi")
        if not _printable(nonce) or not nonce.startswith(self._nonce):
            return self._fail("the server's nonce does not begin with ours (RFC 5802 §5.1)")
        if len(nonce) == len(self._nonce):
            return self._fail("the server added nothing to our nonce (RFC 5802 §5.1)")
        salt = decode_base64(salt64, MAX_SALT)
        if not salt:
            return self._fail("an empty salt", malformed=True)
        # Counted before `int` sees them.
        if not (count.isdigit() and len(count) <= 10) or count.startswith(b"0"):
            return self._fail("no iteration count (RFC 5802 §7)", malformed=True)
        iterations = int(count)
        least, most = self._bounds
        if not least <= iterations <= most:
            return self._fail(f"{iterations} iterations asked for, allowed are {least} to {most}")
        self._parameters = (salt, iterations)
        self._without_proof = b"c=%s,r=%s" % (encode_base64(self._bound), nonce)
        self._message = b",".join([self._bare, message, self._without_proof])
        return SaltedPasswordNeeded(HASHES[self._mechanism], self._password, salt, iterations)

    def _salted(self, salted: bytes) -> ClientEvent:
        salt, iterations = self._parameters or (b"", 0)
        keys = ScramKeys.from_salted(self._mechanism, salted, salt, iterations)
        self._expected = keys.signature(self._message)
        proof = proof_of(self._mechanism, salted, self._message)
        return Respond(self._without_proof + b",p=" + encode_base64(proof))

    def _server_final(self, message: bytes) -> ClientEvent | None:
        """``None`` when the server has proved itself."""
        if message.startswith(b"e="):
            return self._error(message)
        (verifier,) = _expect(attributes(message), "v")
        if self._expected is None or not hmac.compare_digest(
            decode_base64(verifier), self._expected
        ):
            return self._fail("the server does not know the password (RFC 5802 §5.1, v=)")
        self._proved = True
        return None

    def _finished(self, data: bytes | None) -> ClientEvent:
        if data is not None and not self._proved and self._expected is not None:
            failed = self._server_final(data)
            if failed is not None:
                return failed
        elif data:
            return self._fail("octets with the success that the mechanism has not")
        if not self._proved:
            return self._fail("success from a server that has not proved itself (RFC 5802 §5.1)")
        return Succeeded()

    def _error(self, message: bytes) -> ClientEvent:
        what = message[2:66].decode("ascii", "replace")
        return self._fail(f"the server says {what!r}")
