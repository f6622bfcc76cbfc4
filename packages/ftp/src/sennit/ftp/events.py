"""What a client of a server says, as far as others than the engine have to answer.

Commands that ask for nothing outside the conversation (TYPE, FEAT, NOOP …) the engine answers by
itself; each of them is an `Answered`. All others wait for an answer: one at a time, save
`StatusAsked`, which may come while a transfer is under way, and `TransferAborted`, which ends it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sennit.core.engine import SOLE, Interrupts, PeerFault

if TYPE_CHECKING:
    from sennit.ftp.interfaces import FilePath
    from sennit.ftp.paths import Pattern

__all__ = [
    "STATUS",
    "Answered",
    "ClearAsked",
    "LoginAsked",
    "LogoutAsked",
    "PassiveAsked",
    "PathAsked",
    "RenameAsked",
    "ServerEvent",
    "StatusAsked",
    "TLSAsked",
    "TransferAborted",
    "TransferAsked",
]

STATUS: Final = 1
"""The exchange of STAT without a path, which may come in mid-transfer (RFC 959 §4.1.3)."""


@dataclass(slots=True)
class Answered:
    """A command was answered already.

    Attributes:
        verb: Its word; empty for a line that is no command.
        code: The reply's code.
    """

    verb: str
    code: int
    exchange: int = SOLE


@dataclass(slots=True, repr=False)
class LoginAsked:
    """A client has said who it is (USER, PASS). Answer: `accept_login` or `reject_login`.

    Attributes:
        user: The name.
        password: What it gave for a password.
        anonymous: Whether the name is one that stands for nobody in particular.
    """

    user: str
    password: str
    anonymous: bool
    exchange: int = SOLE

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.user[:64]!r})"


@dataclass(slots=True)
class LogoutAsked:
    """The user leaves and another may come (REIN). Answer: `reply`."""

    exchange: int = SOLE


@dataclass(slots=True)
class TLSAsked:
    """The client wants to go on over TLS (AUTH, RFC 4217 §4).

    Answer: `accept_tls`, then the handshake and a fresh engine; or `reply`.

    Attributes:
        private: Whether data connections are to be protected without PROT (TLS-P, SSL).
    """

    private: bool
    exchange: int = SOLE


@dataclass(slots=True)
class ClearAsked:
    """The client wants to go on without TLS (CCC, RFC 2228 §3, RFC 4217 §12.3).

    Answer: `accept_clear`, then the end of TLS; or `reply`.
    """

    exchange: int = SOLE


@dataclass(slots=True)
class PassiveAsked:
    """The client wants to open the data connection (PASV, EPSV).

    Answer: `accept_passive` or `reply`.

    Attributes:
        extended: Whether by EPSV, whose reply has no address.
    """

    extended: bool
    exchange: int = SOLE


@dataclass(slots=True)
class PathAsked:
    """Something of one file or directory. Answer: `reply`, or what the verb has of its own.

    Attributes:
        verb: ``CWD``, ``RNFR``, ``MKD``, ``RMD``, ``DELE``, ``SIZE``, ``MDTM``, ``MLST``,
            ``STAT``, ``HASH``, ``MFMT`` or ``CHMOD``.
        path: Of what.
        value: POSIX seconds for MFMT, permission bits for CHMOD.
        ascii: Whether type A is chosen (SIZE).
        facts: Chosen by OPTS MLST (MLST).
        pattern: Names wanted (STAT).
        offset: First octet (HASH).
        end: Octet behind the last (HASH), or ``None``.
        algorithm: Chosen by OPTS HASH (HASH).
    """

    verb: str
    path: FilePath
    value: float = 0.0
    ascii: bool = False
    facts: tuple[str, ...] = ()
    pattern: Pattern | None = None
    offset: int = 0
    end: int | None = None
    algorithm: str = ""
    exchange: int = SOLE


@dataclass(slots=True)
class RenameAsked:
    """One name shall be another (RNFR, RNTO). Answer: `reply`.

    Attributes:
        source: What there is.
        target: What it shall be called.
    """

    source: FilePath
    target: FilePath
    exchange: int = SOLE


@dataclass(slots=True)
class TransferAsked:
    """Something shall pass over a data connection. Answer: `mark`, then `reply`.

    Attributes:
        verb: ``RETR``, ``STOR``, ``APPE``, ``STOU``, ``LIST``, ``NLST`` or ``MLSD``.
        path: The file or directory; of STOU without a name the directory.
        target: Host and port to connect to; ``None``: the client connects.
        ascii: Whether in type A.
        protected: Whether over TLS (PROT P).
        offset: First octet (REST, RANG).
        end: Octet behind the last that is wanted (RANG), or ``None``.
        size: Octets that were announced (ALLO), or ``None``.
        facts: Of MLSD.
        pattern: Names wanted by LIST or NLST, or ``None``.
        prefix: What stands before each name of NLST.
        named: Whether STOU proposes a name.
    """

    verb: str
    path: FilePath
    target: tuple[str, int] | None = None
    ascii: bool = False
    protected: bool = False
    offset: int = 0
    end: int | None = None
    size: int | None = None
    facts: tuple[str, ...] = ()
    pattern: Pattern | None = None
    prefix: str = ""
    named: bool = False
    exchange: int = SOLE


@dataclass(slots=True)
class StatusAsked:
    """How is it going (STAT without a path)? Answer: `send_status`."""

    exchange: int = STATUS


@dataclass(slots=True)
class TransferAborted(Interrupts):
    """The client wants no more of what is under way (ABOR).

    The one that is under way is answered with 426; ABOR itself the engine answers, behind it.
    """

    exchange: int = SOLE


ServerEvent = (
    Answered
    | LoginAsked
    | LogoutAsked
    | TLSAsked
    | ClearAsked
    | PassiveAsked
    | PathAsked
    | RenameAsked
    | TransferAsked
    | StatusAsked
    | TransferAborted
    | PeerFault
)
"""Every event of the server's engine."""
