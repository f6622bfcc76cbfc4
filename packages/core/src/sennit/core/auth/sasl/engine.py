"""The two sides of one SASL exchange, without I/O, clock or randomness.

A server's exchange is fed the client's responses by `ServerExchange.receive`, a
client's the server's challenges by `ClientExchange.receive`; each call gives one
event that says what is to be done. What is slow or needs a look-up (a user's keys,
PBKDF2) is an event too, answered by `supply`, so that the driver may run it in a
thread. No octets make a method raise; a call that the state forbids is a
`UsageError`. Random octets come in as arguments.

Sources: RFC 4422 §3 (the exchange), §5 (what a mechanism says of itself).
Not here: base64 and the protocol's words around it (each strand's own), which
mechanisms are offered (``server.py``, ``client.py``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from sennit.core.auth.sasl.events import (
    Challenge,
    CredentialsGiven,
    Failed,
    Respond,
    Succeeded,
)
from sennit.core.auth.sasl.grammar import MAX_MESSAGE, MalformedError
from sennit.core.errors import UsageError

if TYPE_CHECKING:
    from sennit.core.auth.sasl.events import ClientEvent, ServerEvent
    from sennit.core.auth.sasl.keys import ScramKeys

__all__ = ["ClientExchange", "ServerExchange"]

_IDLE = "not begun"
_ASKING = "waiting for the client"
_LOOKING = "waiting for keys"
_CHECKING = "waiting for a verdict"
_OVER = "over"


class ServerExchange:
    """The server's side of one exchange; a mechanism overrides the underscored methods.

    Attributes:
        name: The mechanism, as registered.
        client_first: Whether the client speaks first (RFC 4422 §5, item 2a).
    """

    name: ClassVar[str] = ""
    client_first: ClassVar[bool] = True

    def __init__(self) -> None:
        self._state = _IDLE
        self._credentials: CredentialsGiven | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._state}>"

    def receive(self, response: bytes | None) -> ServerEvent:
        """Take a response of the client; at first its initial response, ``None`` without one.

        An initial response that is there and empty is ``b""``. Later ``None`` is the
        client's word that it aborts.

        Raises:
            UsageError: Something else is waited for.
        """
        if self._state == _IDLE:
            self._state = _ASKING
            if response is None:
                if self.client_first:
                    # RFC 4422 §3: an empty challenge asks for what was not sent along.
                    return Challenge(b"")
                return self._guarded(None)
            if not self.client_first and not self._takes_initial():
                return self._fail("an initial response where the server speaks first", True)
        elif self._state != _ASKING:
            raise UsageError(f"{self!r} takes no response now")
        elif response is None:
            self._state = _OVER
            return Failed("the client aborted", aborted=True)
        if len(response) > MAX_MESSAGE:
            return self._fail(f"a response of more than {MAX_MESSAGE} octets", True)
        return self._guarded(response)

    def supply(self, secret: ScramKeys | str | None) -> ServerEvent:
        """Answer `KeysNeeded` (with `ScramKeys`) or `SecretNeeded` (with a password).

        Raises:
            UsageError: Neither was asked for.
        """
        if self._state != _LOOKING:
            raise UsageError(f"{self!r} asked for no keys")
        self._state = _ASKING
        try:
            return self._noted(self._supplied(secret))
        except MalformedError as error:
            return self._fail(str(error), True)

    def accept(self) -> ServerEvent:
        """The credentials that were given are good.

        Raises:
            UsageError: None were given.
        """
        if self._state != _CHECKING:
            raise UsageError(f"{self!r} gave no credentials")
        self._state = _OVER
        return Succeeded(self._final())

    def reject(self, reason: str) -> ServerEvent:
        """The credentials that were given are not good.

        Returns:
            `Failed`, or a last `Challenge` where the mechanism tells the client why.

        Raises:
            UsageError: None were given.
        """
        if self._state != _CHECKING:
            raise UsageError(f"{self!r} gave no credentials")
        self._state = _OVER
        return self._noted(self._rejected(reason))

    # ── for mechanisms ────────────────────────────────────────────────────────

    def _takes_initial(self) -> bool:
        """Whether an initial response is borne although the server speaks first."""
        return False

    def _received(self, response: bytes | None) -> ServerEvent:
        """The next response; ``None`` once, at first, where the server speaks first."""
        raise UsageError(f"{type(self).__name__} takes no response")

    def _supplied(self, secret: ScramKeys | str | None) -> ServerEvent:
        raise UsageError(f"{type(self).__name__} asks for no keys")

    def _final(self) -> bytes | None:
        """What goes with the word of success."""
        return None

    def _rejected(self, reason: str) -> ServerEvent:
        return Failed(reason)

    def _fail(self, reason: str, malformed: bool = False, data: bytes | None = None) -> Failed:
        self._state = _OVER
        return Failed(reason, malformed, data)

    def _guarded(self, response: bytes | None) -> ServerEvent:
        try:
            return self._noted(self._received(response))
        except MalformedError as error:
            return self._fail(str(error), True)

    def _noted(self, event: ServerEvent) -> ServerEvent:
        if isinstance(event, CredentialsGiven):
            self._state = _CHECKING
        elif isinstance(event, Challenge):
            self._state = _ASKING
        elif isinstance(event, Succeeded | Failed):
            self._state = _OVER
        else:
            self._state = _LOOKING
        return event


class ClientExchange:
    """The client's side of one exchange; a mechanism overrides the underscored methods.

    Attributes:
        name: The mechanism, as registered.
        mutual: Whether the server must prove itself, too.
    """

    name: ClassVar[str] = ""
    mutual: ClassVar[bool] = False

    def __init__(self) -> None:
        self._state = _IDLE

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._state}>"

    def start(self) -> ClientEvent:
        """Begin: `Respond` with the initial response, or with ``None``."""
        if self._state != _IDLE:
            raise UsageError(f"{self!r} was begun already")
        self._state = _ASKING
        return self._noted(self._begin())

    def receive(self, challenge: bytes) -> ClientEvent:
        """Take a challenge of the server.

        Raises:
            UsageError: The exchange has not begun, or is over.
        """
        if self._state != _ASKING:
            raise UsageError(f"{self!r} takes no challenge now")
        if len(challenge) > MAX_MESSAGE:
            return self._fail(f"a challenge of more than {MAX_MESSAGE} octets")
        try:
            return self._noted(self._challenged(challenge))
        except MalformedError as error:
            return self._fail(str(error), malformed=True)

    def supply(self, salted: bytes) -> ClientEvent:
        """Answer `SaltedPasswordNeeded`.

        Raises:
            UsageError: It was not asked for.
        """
        if self._state != _LOOKING:
            raise UsageError(f"{self!r} asked for no salted password")
        self._state = _ASKING
        return self._noted(self._salted(salted))

    def finish(self, data: bytes | None = None) -> ClientEvent:
        """The server says that all is well; `data` is what it sent along.

        Returns:
            `Succeeded`, or `Failed` when the server should have proved itself and has not.

        Raises:
            UsageError: The exchange has not begun, or is over.
        """
        if self._state != _ASKING:
            raise UsageError(f"{self!r} cannot be finished now")
        if data is not None and len(data) > MAX_MESSAGE:
            return self._fail(f"more than {MAX_MESSAGE} octets with the success")
        try:
            event = self._noted(self._finished(data))
        except MalformedError as error:
            event = self._fail(str(error), malformed=True)
        self._state = _OVER
        return event

    # ── for mechanisms ────────────────────────────────────────────────────────

    def _begin(self) -> ClientEvent:
        return Respond(None)

    def _challenged(self, challenge: bytes) -> ClientEvent:
        return self._fail("a challenge that the mechanism has not")

    def _salted(self, salted: bytes) -> ClientEvent:
        raise UsageError(f"{type(self).__name__} asks for no salted password")

    def _finished(self, data: bytes | None) -> ClientEvent:
        if data:
            return self._fail("octets with the success that the mechanism has not")
        return Succeeded()

    def _fail(self, reason: str, *, malformed: bool = False) -> Failed:
        self._state = _OVER
        return Failed(reason, malformed)

    def _noted(self, event: ClientEvent) -> ClientEvent:
        if isinstance(event, Respond):
            self._state = _ASKING
        elif isinstance(event, Succeeded | Failed):
            self._state = _OVER
        else:
            self._state = _LOOKING
        return event
