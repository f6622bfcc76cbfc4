"""Every exception the core raises on purpose, as one tree.

::

    SennitError
    ├── UsageError (ValueError)            the caller's fault, raised at the call
    │   ├── AlreadyFiredError              a Deferred was fired twice
    │   ├── DatagramTooLongError           …with more octets than the system sends at once
    │   ├── EndpointSyntaxError            a URL that names no endpoint
    │   └── ConfigError                    a configuration that cannot be used
    ├── ReactorError (RuntimeError)        a reactor asked for what its state forbids
    │   └── ReactorNotRunningError
    ├── PoolFullError (RuntimeError)       as much waits for a pool as may wait
    ├── MissingExtraError (ImportError)    an optional part is not installed
    ├── ConnectionLost (ConnectionError)   a connection that was there has gone
    │   ├── ConnectionAborted              by us, with a named reason
    │   │   └── LimitReachedError          …because a limit was passed
    │   └── ConnectionDone                 it was closed while somebody waited
    │       └── EndOfStreamError           …for more octets than came
    ├── ConnectError (ConnectionError)     a connection that never came to be
    ├── DatagramError (OSError)            what became of a datagram; ends nothing
    ├── TLSError (ConnectionError)         a handshake or certificate that failed
    ├── LoginDenied                        credentials that open nothing
    │   └── TooManyTriesError              …and no more of them are heard
    ├── LoginUnavailableError              nobody can say now whether they do
    ├── SpawnError (OSError)               a program could not be started
    ├── ProcessError                       a program that ran did not do as it should
    │   ├── ProcessFailedError             it ended with something other than 0
    │   ├── ProcessTimeoutError (TimeoutError)   it took too long, and was killed
    │   └── ProcessLimitError              it said more than it may, and was killed
    ├── NameLookupError                    a name could not be looked up this time
    │   ├── UnknownNameError               …for good: it does not exist
    │   └── NoRecordsError                 …it exists without what was asked for
    └── ProtocolError                      the peer broke a rule of its protocol

Nothing here imports more than the builtins, so engines may use it.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from sennit.core.process import ProcessResult

__all__ = [
    "AlreadyFiredError",
    "ConfigError",
    "ConnectError",
    "ConnectionAborted",
    "ConnectionDone",
    "ConnectionLost",
    "DatagramError",
    "DatagramTooLongError",
    "EndOfStreamError",
    "EndpointSyntaxError",
    "LimitReachedError",
    "LoginDenied",
    "LoginUnavailableError",
    "MissingExtraError",
    "NameLookupError",
    "NoRecordsError",
    "PoolFullError",
    "ProcessError",
    "ProcessFailedError",
    "ProcessLimitError",
    "ProcessTimeoutError",
    "ProtocolError",
    "ReactorError",
    "ReactorNotRunningError",
    "SennitError",
    "SpawnError",
    "TLSError",
    "TooManyTriesError",
    "UnknownNameError",
    "UsageError",
]


class SennitError(Exception):
    """Whatever Sennit raises on purpose, whoever was at fault."""


class UsageError(SennitError, ValueError):
    """The caller asked for something that cannot be."""


class AlreadyFiredError(UsageError):
    """A Deferred was fired a second time."""


class DatagramTooLongError(UsageError):
    """A datagram has more octets than the system sends at once."""


class EndpointSyntaxError(UsageError):
    """A URL does not name an endpoint.

    Attributes:
        url: What was given.
        problem: What is wrong with it, and what would be right.
    """

    def __init__(self, url: str, problem: str) -> None:
        super().__init__(f"{_without_login(url)!r}: {problem}")
        self.url = url
        self.problem = problem


def _without_login(url: str) -> str:
    """A URL that logs may have: people write passwords where none belong."""
    if "@" not in url and "login=" not in url:
        return url
    import re  # only who has made a mistake pays for it

    url = re.sub(r"(?<=[/@=])([^:/@=?&]*):.*@", r"\1:…@", url)
    return re.sub(r"login=(?!env:|file:)[^&]*", "login=…", url)


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


class PoolFullError(SennitError, RuntimeError):
    """As many wait for a pool (of threads, of connections to a database) as may wait."""


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


class DatagramError(SennitError, OSError):
    """What the network or the system says of a datagram, sent or received; it ends nothing.

    Its `errno` says what: ``ECONNREFUSED`` where nobody listens at that port,
    ``EHOSTUNREACH``, ``EMSGSIZE`` …

    Attributes:
        peer: Whom the datagram was for, or came from, as `socket` names it;
            ``None`` where the system does not say.
        offender: The host that says so (a router, or the peer), where it is known.
        icmp: Type and code of the ICMP message (RFC 792, RFC 4443 §2.1), where it was one.
    """

    def __init__(
        self,
        code: int | None,
        message: str,
        *,
        peer: object = None,
        offender: str | None = None,
        icmp: tuple[int, int] | None = None,
    ) -> None:
        super().__init__(code, message)
        self.peer = peer
        self.offender = offender
        self.icmp = icmp


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


class SpawnError(SennitError, OSError):
    """A program could not be started.

    ``errno`` and ``strerror`` are the system's, as with any `OSError`; the cause
    is the exception of the system's call.

    Attributes:
        command: The program that was to run, as text.
        problem: What stood in the way.
    """

    def __init__(self, command: str, problem: str, number: int | None = None) -> None:
        text = f"cannot start {command!r}: {problem}"
        super().__init__(number, text)
        self.command = command
        self.problem = problem

    def __str__(self) -> str:
        """The text, which says it all."""
        return str(self.strerror)


class ProcessError(SennitError):
    """A program ran, and did not do as it should.

    Attributes:
        result: How it ended and what it had said until then.
    """

    def __init__(self, message: str, result: ProcessResult) -> None:
        super().__init__(message)
        self.result = result


class ProcessFailedError(ProcessError):
    """It ended with something other than exit code 0."""


class ProcessTimeoutError(ProcessError, TimeoutError):
    """It took longer than it may, and was killed."""


class ProcessLimitError(ProcessError):
    """It said more than there is room for, and was killed."""


class NameLookupError(SennitError):
    """A name could not be looked up; another time it may be (`sennit.core.resolver`)."""


class UnknownNameError(NameLookupError):
    """A name that does not exist."""


class NoRecordsError(NameLookupError):
    """A name that exists, and has no records of the kind asked for."""


class ProtocolError(SennitError):
    """The peer broke a rule of its protocol.

    Attributes:
        rule: The rule broken, such as ``RFC 9112 §6.3``.
    """

    def __init__(self, message: str, rule: str = "") -> None:
        super().__init__(message)
        self.rule = rule
