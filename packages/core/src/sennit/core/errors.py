"""Every exception the core raises on purpose, as one tree.

::

    SennitError
    ├── UsageError (ValueError)            the caller's fault, raised at the call
    │   ├── AlreadyFiredError              a Deferred was fired twice
    │   ├── EndpointSyntaxError            a URL that names no endpoint
    │   └── ConfigError                    a configuration that cannot be used
    ├── ReactorError (RuntimeError)        a reactor asked for what its state forbids
    │   └── ReactorNotRunningError
    ├── MissingExtraError (ImportError)    an optional part is not installed
    ├── ConnectionLost (ConnectionError)   a connection that was there has gone
    │   ├── ConnectionAborted              by us, with a named reason
    │   │   └── LimitReachedError          …because a limit was passed
    │   └── ConnectionDone                 it was closed while somebody waited
    │       └── EndOfStreamError           …for more octets than came
    ├── ConnectError (ConnectionError)     a connection that never came to be
    ├── TLSError (ConnectionError)         a handshake or certificate that failed
    ├── LoginDenied                        credentials that open nothing
    │   └── TooManyTriesError              …and no more of them are heard
    ├── LoginUnavailableError              nobody can say now whether they do
    └── ProtocolError                      the peer broke a rule of its protocol

Nothing here imports more than the builtins, so engines may use it.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "AlreadyFiredError",
    "ConfigError",
    "ConnectError",
    "ConnectionAborted",
    "ConnectionDone",
    "ConnectionLost",
    "EndOfStreamError",
    "EndpointSyntaxError",
    "LimitReachedError",
    "LoginDenied",
    "LoginUnavailableError",
    "MissingExtraError",
    "ProtocolError",
    "ReactorError",
    "ReactorNotRunningError",
    "SennitError",
    "TLSError",
    "TooManyTriesError",
    "UsageError",
]


class SennitError(Exception):
    """Whatever Sennit raises on purpose, whoever was at fault."""


class UsageError(SennitError, ValueError):
    """The caller asked for something that cannot be."""


class AlreadyFiredError(UsageError):
    """A Deferred was fired a second time."""


class EndpointSyntaxError(UsageError):
    """A URL does not name an endpoint.

    Attributes:
        url: What was given.
        problem: What is wrong with it, and what would be right.
    """

    def __init__(self, url: str, problem: str) -> None:
        super().__init__(f"{url!r}: {problem}")
        self.url = url
        self.problem = problem


class ConfigError(UsageError):
    """A configuration cannot be used; the text is for the person who wrote it.

    Attributes:
        file: The file, or ``None`` when the values came from elsewhere.
        table: Dotted name of the TOML table, such as ``service.site``.
        key: The key in that table, or ``None`` when the table itself is meant.
        problem: What was found and what is allowed.
        line: Line of the file, counted from one, where it is known.
    """

    def __init__(
        self,
        problem: str,
        *,
        file: str | None = None,
        table: str | None = None,
        key: str | None = None,
        line: int | None = None,
    ) -> None:
        where = ""
        if file is not None:
            where = file if line is None else f"{file}:{line}"
            where += ": "
        if table is not None:
            where += f"[{table}] "
        if key is not None:
            where += f"{key}: "
        super().__init__(where + problem)
        self.file = file
        self.table = table
        self.key = key
        self.problem = problem
        self.line = line


class ReactorError(SennitError, RuntimeError):
    """A reactor cannot do this in the state it is in."""


class ReactorNotRunningError(ReactorError):
    """No reactor runs in this thread."""


class MissingExtraError(SennitError, ImportError):
    """A module needs an optional part that is not installed.

    Attributes:
        distribution: The distribution that has the extra, ``sennit-core``.
        extra: Its name, ``tls``.
    """

    def __init__(self, what: str, distribution: str, extra: str) -> None:
        super().__init__(f"{what} needs an extra: pip install '{distribution}[{extra}]'")
        self.distribution = distribution
        self.extra = extra


class ConnectionLost(SennitError, ConnectionError):  # noqa: N818 - as the callback is called
    """A connection that was there has gone.

    Attributes:
        reason: One of the close reasons, such as ``reset`` (`sennit.core.interfaces`).
    """

    def __init__(self, message: str = "the connection was lost", reason: str = "lost") -> None:
        super().__init__(message)
        self.reason = reason


class ConnectionDone(ConnectionLost):
    """The connection was closed in good order while somebody still waited on it."""

    def __init__(self, message: str = "the connection was closed", reason: str = "clean") -> None:
        super().__init__(message, reason)


class EndOfStreamError(ConnectionDone):
    """The peer ended in the middle of what was awaited.

    Attributes:
        partial: The octets that did come.
    """

    def __init__(self, message: str, partial: bytes = b"") -> None:
        super().__init__(message)
        self.partial = partial


class ConnectionAborted(ConnectionLost):
    """The connection was ended by this side, unsent octets thrown away."""

    def __init__(
        self, message: str = "the connection was aborted", reason: str = "aborted"
    ) -> None:
        super().__init__(message, reason)


class LimitReachedError(ConnectionAborted):
    """A limit was reached; `reason` says which."""


class ConnectError(SennitError, ConnectionError):
    """No attempt to connect succeeded.

    Attributes:
        attempts: The failure of each address that was tried, in order.
    """

    def __init__(self, message: str, attempts: Sequence[BaseException] = ()) -> None:
        super().__init__(message)
        self.attempts = tuple(attempts)


class TLSError(SennitError, ConnectionError):
    """A handshake failed, or the peer's certificate was not accepted.

    Attributes:
        reason: A short name for the cause, such as ``certificate has expired``.
    """

    def __init__(self, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason or message


class LoginDenied(SennitError):  # noqa: N818 - as Twisted's and PAM's words have it
    """Credentials open nothing: the name, the proof or what was asked for is wrong.

    The message is the same in each of these cases and may be shown to the peer.

    Attributes:
        reason: Which of them it was, for the log; never for the peer.
    """

    def __init__(self, reason: str = "denied", message: str = "authentication failed") -> None:
        super().__init__(message)
        self.reason = reason


class TooManyTriesError(LoginDenied):
    """So many logins failed that no more are heard on this connection, or from this address."""

    def __init__(self, reason: str = "too many tries") -> None:
        super().__init__(reason, "too many failed logins")


class LoginUnavailableError(SennitError):
    """Whether credentials are good cannot be found out now; later it may be."""


class ProtocolError(SennitError):
    """The peer broke a rule of its protocol.

    Attributes:
        rule: The rule broken, such as ``RFC 9112 §6.3``.
    """

    def __init__(self, message: str, rule: str = "") -> None:
        super().__init__(message)
        self.rule = rule
