"""The server's side of a control connection, without I/O.

Octets go in through `ServerEngine.receive_data`, events come out of `next_event`, octets to send
out of `data_to_send`. One command is open at a time; while it is, `PAUSED`, save that ABOR comes
out wherever it stands among the lines that wait (it ends what was said before it), and STAT if it
is the next. QUIT waits for the end of a transfer, as RFC 959 §4.1.1 wants it.

The engine knows who has logged in, in which directory he is, and how data is to be transferred;
files, time, addresses that are listened on and TLS itself are for the driver (``server.py``).

Sources: RFC 959 §4, §5; RFC 1123 §4.1; RFC 2389 (FEAT, OPTS); RFC 2428 (EPRT, EPSV); RFC 2577 §3,
§8 (active mode); RFC 2640 (UTF-8, LANG); RFC 3659 (REST, MLST); RFC 4217, RFC 2228 §3 (TLS, CCC);
RFC 7151 (HOST).
Elsewhere: lines and replies (``grammar.py``), the table of commands (``verbs.py``).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sennit.core.engine import CLOSED, NEED_DATA, PAUSED, SOLE, PeerFault, Untimed
from sennit.ftp.commanding import Commanding
from sennit.ftp.errors import FTPProtocolError, FTPUsageError
from sennit.ftp.events import (
    STATUS,
    Answered,
    ClearAsked,
    LoginAsked,
    PassiveAsked,
    PathAsked,
    StatusAsked,
    TLSAsked,
    TransferAborted,
    TransferAsked,
)
from sennit.ftp.grammar import passive_reply, read_command, reply, strip_telnet
from sennit.ftp.limits import Limits

if TYPE_CHECKING:
    from typing import TypeVar

    from sennit.core.engine import NoEvent
    from sennit.ftp.events import ServerEvent
    from sennit.ftp.interfaces import FilePath

    Asked = TypeVar("Asked", bound=ServerEvent)

__all__ = ["Profile", "ServerEngine"]

_TELNET = rb"[\xf0-\xff]*"  # what announces urgent data: IAC IP IAC DM
_ABOR: Final = re.compile(rb"(?i)(?:\A|\n)" + _TELNET + rb"ABOR\r\n")
_STAT: Final = re.compile(rb"(?i)" + _TELNET + rb"STAT\r\n")


@dataclass(frozen=True, slots=True)
class Profile:
    """What one server offers, the same on all its connections.

    Attributes:
        banner: The text of its greeting.
        tls: Whether AUTH TLS is offered.
        require_tls: Whether nobody may log in, or transfer, without TLS.
        clear_control: Whether a control connection may go back to clear text (CCC).
        active: Whether it connects to clients (PORT, EPRT).
        site: Whether SITE is offered.
        hashes: Names of algorithms of HASH, the preferred first; none: no HASH.
        hosts: Names that HOST may give, in small letters; none: no HOST.
    """

    banner: str = "FTP at your service"
    tls: bool = False
    require_tls: bool = False
    clear_control: bool = False
    active: bool = True
    site: bool = False
    hashes: tuple[str, ...] = ("SHA-256", "SHA-512", "SHA-1", "MD5")
    hosts: tuple[str, ...] = ()


class ServerEngine(Commanding, Untimed):
    """One control connection as the server sees it.

    Args:
        limits: What the client may do.
        profile: What is offered.
        peer: The client's numeric address: no other is connected to.
        secure: Whether the connection stands over TLS.
        private: Whether data connections are protected without PROT.
        greeting: Whether to greet.

    Attributes:
        user: Whose session it is; empty before the login.
        directory: Where the client is.
        secure: As given.
    """

    __slots__ = (
        "_ahead",
        "_closed",
        "_closing",
        "_ended",
        "_errors",
        "_out",
        "_received",
        "_searched",
        "_status",
    )

    def __init__(
        self,
        limits: Limits | None = None,
        profile: Profile | None = None,
        *,
        peer: str = "",
        secure: bool = False,
        private: bool = False,
        greeting: bool = True,
    ) -> None:
        self._limits = limits or Limits()
        self._profile = profile or Profile()
        self.peer = peer
        self.secure = secure
        self._cleared = False
        self._private = private
        self._sized = private  # whether PBSZ was said, or need not be
        self._forget_options()
        self._forget_user()
        self._received = bytearray()
        self._searched = 0  # octets of it that hold no line end: none is looked at twice
        self._ahead = 0  # octets of it that hold no ABOR
        self._errors = 0
        self._pending: ServerEvent | None = None
        self._status = False  # STAT waits for its answer
        self._ended = False
        self._closing = False
        self._closed = False
        self._out: list[bytes] = []
        if greeting:
            self._out.append(reply(220, (self._profile.banner,)))

    # ── octets ────────────────────────────────────────────────────────────────

    def receive_data(self, data: bytes) -> None:
        """Take octets from the client, cut anywhere."""
        if not self._closed:
            self._received += data

    def receive_eof(self) -> None:
        """The client sends no more."""
        self._ended = True

    def data_to_send(self) -> list[bytes]:
        """What to send now, in order; each piece is given once."""
        out, self._out = self._out, []
        return out

    def release(self) -> bytes:
        """End, and return the octets that were received and not read."""
        rest = bytes(self._received)
        self._end()
        self._out.clear()
        return rest

    def close(self) -> None:
        """Begin nothing new; `CLOSED` once the open command has been answered."""
        self._closing = True

    @property
    def private(self) -> bool:
        """Whether data connections are protected."""
        return self._private

    def stands_over_tls(self) -> None:
        """The connection came over TLS (implicit); data connections are protected, too."""
        self.secure = self._private = self._sized = True

    def leave(self, text: str, code: int = 421) -> None:
        """Say why, and that this is the end, whatever is open."""
        if not self._closed:
            self._out.append(reply(code, (text,)))
            self._end()

    def internal_error(self, exchange: int = SOLE) -> None:
        """Queue the reply that says that this side failed, if one is due."""
        text = "Something failed here"
        if exchange == STATUS:
            if self._status:
                self.send_status(text, code=451)
        elif isinstance(self._pending, LoginAsked):
            self.reject_login(text, code=451)
        elif self._pending is not None:
            self.reply(451, text)

    # ── events ────────────────────────────────────────────────────────────────

    def next_event(self) -> ServerEvent | NoEvent:
        """Return the next thing the client said, or why there is nothing."""
        if self._closed:
            return CLOSED
        if self._pending is not None:
            return self._look_ahead()
        if self._status:
            return PAUSED
        if self._closing:
            self.leave("The service closes")
            return CLOSED
        try:
            line = self._next_line()
        except FTPProtocolError as error:
            self.leave("A line is too long", error.reply_code)
            return PeerFault(error)
        if line is None:
            if not self._ended:
                return NEED_DATA
            self._end()
            return CLOSED
        return self._interpret(line)

    def _next_line(self) -> bytes | None:
        """Take the next line without its LF, or None while it is not whole.

        Raises:
            FTPProtocolError: It is longer than the limit, whether its end came or not.
        """
        received = self._received
        end = received.find(b"\n", self._searched)
        length = len(received) if end < 0 else end + 1
        if length > self._limits.max_line:
            raise FTPProtocolError(
                f"a line of more than {self._limits.max_line} octets", "limit:max_line"
            )
        if end < 0:
            self._searched = length
            return None
        line = bytes(received[:end])
        del received[:length]
        self._searched = 0
        return line

    def _interpret(self, line: bytes) -> ServerEvent:
        """Make an event of a line."""
        verb = ""
        try:
            if line[-1:] != b"\r":
                raise FTPProtocolError("a line that does not end in CRLF", "RFC 959 §5.3")
            line, answer = strip_telnet(line[:-1])
            if answer:
                self._out.append(answer)
            verb, argument = read_command(line)
        except FTPProtocolError as error:
            self._say(error.reply_code, _SOFT.get(error.reply_code, _NO_COMMAND))
        else:
            if (event := self.obey(verb, argument)) is not None:
                self._errors = 0
                if isinstance(event, StatusAsked):
                    self._status = True
                else:
                    self._pending = event
                self._ahead = 0
                return event
        if self._code != 500:
            self._errors = 0
        else:
            self._errors += 1
            if self._errors >= self._limits.max_errors:
                self.leave("Too many lines that are no commands")
                return PeerFault(FTPProtocolError("too many errors", "limit:max_errors", 421))
        return Answered(verb, self._code)

    def _look_ahead(self) -> ServerEvent | NoEvent:
        """What may come out while a command is open."""
        pending = self._pending
        if isinstance(pending, TransferAsked) or (
            isinstance(pending, PathAsked) and pending.verb == "HASH"
        ):
            if self._ahead >= 0 and self._ahead < len(self._received):
                if _ABOR.search(self._received, self._ahead) is not None:
                    self._ahead = -1  # told once
                    return TransferAborted()
                self._ahead = max(self._received.rfind(b"\n"), 0)
            if not self._status and (found := _STAT.match(self._received)) is not None:
                taken = found.end()
                del self._received[:taken]
                self._searched = 0
                self._ahead = max(self._ahead - taken, 0) if self._ahead >= 0 else -1
                self._status = True
                return StatusAsked()
        return PAUSED

    def _end(self) -> None:
        self._closed = True
        self._pending = None
        self._status = False
        self._received.clear()
        self._searched = 0

    # ── answers ───────────────────────────────────────────────────────────────

    def _say(self, code: int, *lines: str) -> None:
        self._code = code
        self._out.append(reply(code, lines))

    def _quit(self) -> None:
        self._say(221, "Good-bye")
        self._end()

    def _expect(self, kind: type[Asked]) -> Asked:
        pending = self._pending
        if not isinstance(pending, kind):
            raise FTPUsageError(f"what is open is {pending!r}, which is answered otherwise")
        return pending

    def mark(self, code: int, text: str) -> None:
        """Say that a transfer begins (125, 150).

        Raises:
            FTPUsageError: No transfer is open, or the text is more than one line.
        """
        self._expect(TransferAsked)
        self._out.append(reply(code, (text,)))

    def reply(self, code: int, *lines: str) -> None:
        """Answer the open command; a reply of several lines has its text in the first and last.

        Raises:
            FTPUsageError: No command is open, or a line is more than one.
        """
        if self._pending is None:
            if self._closed:
                return  # `leave` came first
            raise FTPUsageError("no command awaits an answer")
        octets = reply(code, lines)
        self._out.append(octets)
        self._pending = None
        self._code = code

    def abandon(self, event: ServerEvent) -> None:
        """Answer a command that was aborted (426), unless it is answered already."""
        if event is self._pending:
            self.reply(426, "Aborted")

    def accept_login(self, text: str = "Logged in") -> None:
        """Let the user in (230).

        Raises:
            FTPUsageError: No login is open.
        """
        user = self._expect(LoginAsked).user
        self.reply(230, text)
        self._forget_user()
        self.user = user
        self.logged_in = True

    def reject_login(self, text: str = "Login incorrect", *, code: int = 530) -> None:
        """Do not let the user in; with 421 that is the end.

        Raises:
            FTPUsageError: No login is open.
        """
        self._expect(LoginAsked)
        self._forget_user()
        if code == 421:
            self.leave(text)
        else:
            self.reply(code, text)

    def accept_tls(self) -> None:
        """Say that the handshake may begin (234); then `release`, and go on with a fresh engine.

        Raises:
            FTPUsageError: No AUTH is open.
        """
        self._expect(TLSAsked)
        self._out.append(reply(234, ("Begin TLS",)))

    def accept_clear(self) -> bool:
        """Say that TLS is to end (200); then this engine goes on in clear.

        Who logged in stays so, and so does the protection of data connections, which in clear
        nobody can change. What has come behind CCC is never done: its answer would be in clear.

        Returns:
            Whether it may end; else the client has been told that this is the end of all.

        Raises:
            FTPUsageError: No CCC is open.
        """
        self._expect(ClearAsked)
        if self._received:
            self.leave("Nothing may follow CCC before TLS has ended")
            return False
        self.reply(200, "End TLS")
        self.secure = False
        self._cleared = True
        return True

    def accept_passive(self, host: str, port: int) -> None:
        """Say where the client may connect to (227, 229).

        Raises:
            FTPUsageError: No PASV or EPSV is open.
        """
        extended = self._expect(PassiveAsked).extended
        self._out.append(passive_reply(host, port, extended=extended))
        self._pending = None
        self._data = "passive"

    def accept_directory(self) -> None:
        """The client is in the directory that it wanted to be in (250).

        Raises:
            FTPUsageError: No CWD or CDUP is open.
        """
        path = self._expect(PathAsked).path
        self.reply(250, "There you are")
        self.directory = path

    def accept_source(self) -> None:
        """There is something that can be renamed: RNTO may follow (350).

        Raises:
            FTPUsageError: No RNFR is open.
        """
        self._source: FilePath | None = self._expect(PathAsked).path
        self.reply(350, "And its new name?")

    def send_status(self, *lines: str, code: int = 211) -> None:
        """Answer STAT.

        Raises:
            FTPUsageError: None is open, or a line is more than one.
        """
        if not self._status:
            if self._closed:
                return
            raise FTPUsageError("no STAT awaits an answer")
        self._out.append(reply(code, lines))
        self._status = False


_NO_COMMAND: Final = "That is no command"
_SOFT: Final = {501: "That argument cannot be"}
