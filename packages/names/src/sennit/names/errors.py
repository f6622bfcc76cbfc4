"""Every exception this package raises on purpose, as one tree.

::

    DNSError
    ├── DNSProtocolError         the peer broke a rule (is a core ProtocolError)
    │   ├── MessageFormatError   what it sent is no DNS message, or no record of its type
    │   └── TSIGError            its signature is missing, wrong, or of another time (RFC 8945)
    ├── DNSUsageError            the caller asked for what cannot be (is a ValueError)
    │   └── PresentationError    text that is no name, record or zone: file, line, what is allowed
    │       └── ZoneError        records that cannot be a zone, or a change of one
    └── LookupFailedError        there is no answer, whatever the reason (is a core NameLookupError)
        ├── NoSuchNameError      NXDOMAIN: the name does not exist
        ├── NoDataError          the name exists, without records of this type
        ├── ResponseError        the server answered with an error: SERVFAIL, REFUSED, NOTAUTH …
        ├── ValidationError      the answer is bogus (DNSSEC, RFC 4033 §5)
        ├── LookupTimeoutError   nobody answered in time
        ├── UnreachableError     no way to the server: the error of core is its cause
        ├── SpoofedError         somebody sends answers that are none (RFC 5452); ask over TCP
        └── TransferError        a zone transfer that broke off; what it brought is thrown away
"""

from __future__ import annotations

from sennit.core.errors import (
    NameLookupError,
    NoRecordsError,
    ProtocolError,
    SennitError,
    UnknownNameError,
    UsageError,
)

__all__ = [
    "DNSError",
    "DNSProtocolError",
    "DNSUsageError",
    "LookupFailedError",
    "LookupTimeoutError",
    "MessageFormatError",
    "NoDataError",
    "NoSuchNameError",
    "PresentationError",
    "ResponseError",
    "SpoofedError",
    "TSIGError",
    "TransferError",
    "UnreachableError",
    "ValidationError",
    "ZoneError",
]


class DNSError(SennitError):
    """Whatever this package raises on purpose, whoever was at fault."""


class DNSProtocolError(DNSError, ProtocolError):
    """The peer broke a rule of its protocol.

    Attributes:
        rule: The rule broken, such as ``"RFC 1035 §4.1.4"``.
    """


class MessageFormatError(DNSProtocolError):
    """Octets that are no DNS message, or no record data of their type."""


class TSIGError(DNSProtocolError):
    """A message's signature is missing, wrong, or of another time (RFC 8945 §5).

    Args:
        message: What is wrong.
        rule: The rule broken.
        rcode: The response code: NOTAUTH, or FORMERR.
        error: The error that TSIG itself carries: BADSIG, BADKEY, BADTIME, BADTRUNC, or 0.
        server_time: What the server's clock says where the error is its BADTIME.
    """

    def __init__(
        self,
        message: str,
        *,
        rule: str,
        rcode: int = 9,
        error: int = 0,
        server_time: int | None = None,
    ) -> None:
        super().__init__(message, rule=rule)
        self.rcode = rcode
        self.error = error
        self.server_time = server_time


class DNSUsageError(DNSError, UsageError):
    """The caller asked for something that cannot be; nothing was changed."""


class PresentationError(DNSUsageError):
    """Text that is no name, record or zone.

    Args:
        message: What was found, and what is allowed.
        line: Number of the line, from 1; 0 where there is none.
        file: Where the text came from; empty where it is no file.
    """

    def __init__(self, message: str, *, line: int = 0, file: str = "") -> None:
        where = f"{file}:{line}: " if file and line else f"line {line}: " if line else ""
        super().__init__(where + message)
        self.message = message
        self.line = line
        self.file = file

    def at(self, line: int, file: str = "") -> PresentationError:
        """The same, said of a line of a file; unchanged where its line is known."""
        return self if self.line else PresentationError(self.message, line=line, file=file)


class ZoneError(PresentationError):
    """Records that cannot be a zone, or a change that cannot be made to one; nothing was changed.

    Attributes:
        problems: One line each, where several things are wrong at once.
    """

    def __init__(
        self, message: str, *, line: int = 0, file: str = "", problems: tuple[str, ...] = ()
    ) -> None:
        super().__init__(message, line=line, file=file)
        self.problems = problems or (str(self),)


class LookupFailedError(DNSError, NameLookupError):
    """There is no answer to a question."""


class NoSuchNameError(LookupFailedError, UnknownNameError):
    """The name does not exist (RFC 2308 §2.1)."""


class NoDataError(LookupFailedError, NoRecordsError):
    """The name exists, and has no records of the type asked for (RFC 2308 §2.2)."""


class ResponseError(LookupFailedError):
    """The server answered with an error.

    Attributes:
        rcode: The response code (`sennit.names.codes.Rcode`).
    """

    def __init__(self, message: str, rcode: int) -> None:
        super().__init__(message)
        self.rcode = rcode


class ValidationError(LookupFailedError):
    """The answer is bogus: its signatures do not prove it (RFC 4033 §5).

    Attributes:
        info_code: The extended error that says so (`sennit.names.codes.EDE`).
    """

    def __init__(self, message: str, info_code: int = 6) -> None:
        super().__init__(message)
        self.info_code = info_code


class LookupTimeoutError(LookupFailedError):
    """Nobody answered in time."""


class UnreachableError(LookupFailedError):
    """A server cannot be talked to: nobody listens there, the way is closed, TLS failed.

    Its cause (``__cause__``) is core's error.
    """


class SpoofedError(LookupFailedError):
    """So many answers did not fit the question that somebody must be guessing (RFC 5452 §9)."""


class TransferError(LookupFailedError):
    """A zone transfer ended before its end, or broke a rule (RFC 5936).

    Args:
        message: What is wrong.
        rule: The rule broken; empty where none was.
        rcode: The response code that the server refused with, or 0.
    """

    def __init__(self, message: str, *, rule: str = "", rcode: int = 0) -> None:
        super().__init__(message)
        self.rule = rule
        self.rcode = rcode
