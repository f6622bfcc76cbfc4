"""A tunnel through an HTTP proxy, as the client sees it, without I/O.

Sources: RFC 9110 §9.3.6 (CONNECT), §11.7 (Proxy-Authorization), RFC 9112 §2-§5 (syntax),
RFC 7617 (Basic). What comes behind the head of a 2xx answer is the tunnel's. The
head is read strictly; of what it says only the status counts.
"""

from __future__ import annotations

import re
from base64 import b64encode

from sennit.core.endpoint.socks_engine import Established, Negotiation, Refused
from sennit.core.engine import CLOSED, NEED_DATA
from sennit.core.errors import ProtocolError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from sennit.core.engine import NoEvent

__all__ = ["MAX_HEAD", "ConnectFault", "HTTPConnectEngine"]

MAX_HEAD: Final = 16 * 1024
"""Octets of an answer's head."""
_MAX_INTERIM: Final = 8
"""Answers of the 1xx class that are passed over."""

_STATUS = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})(?: ([\t\x20-\x7e\x80-\xff]*))?")
_FIELD = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*")
_HOST = re.compile(r"[!-~]+")


class ConnectFault(ProtocolError):  # noqa: N818 - an event, as `PeerFault` is
    """What the proxy answered is no HTTP; `rule` names the section."""


class HTTPConnectEngine(Negotiation):
    """One proxy.

    Args:
        host: Whom to reach through it: an address, or a name that the proxy looks up.
        port: The port there.
        username: For a proxy that wants a login; with `password`.
        password: Likewise.

    Raises:
        UsageError: A name or a password cannot be said.
    """

    def __init__(
        self, host: str, port: int, *, username: str | None = None, password: str | None = None
    ) -> None:
        if not host.isascii():
            try:
                host = host.encode("idna").decode("ascii")
            except UnicodeError as error:
                raise UsageError(f"not a host name: {host!r}") from error
        host = host.partition("%")[0]
        if not _HOST.fullmatch(host) or not 0 < port < 65536:
            raise UsageError(f"not a host and a port: {host!r}, {port}")
        target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]
        if username is not None:
            if ":" in username or any(char < " " or char == "\x7f" for char in username):
                raise UsageError("a user name has no colon and no control characters (RFC 7617 §2)")
            login = f"{username}:{password or ''}".encode()
            lines.append(f"Proxy-Authorization: Basic {b64encode(login).decode('ascii')}")
        self._has_login = username is not None
        super().__init__()
        self._out.append("\r\n".join((*lines, "", "")).encode("ascii"))
        self._searched = 0
        self._interim = 0

    def next_event(self) -> Established | Refused | ConnectFault | NoEvent:
        """What the proxy answered, or `NEED_DATA`."""
        if self._over:
            return CLOSED
        while True:
            end = self._data.find(b"\r\n\r\n", self._searched)
            if end < 0 or end + 4 > MAX_HEAD:
                return self._wait()
            head, self._data = self._data[:end], self._data[end + 4 :]
            self._searched = 0
            event = self._answer(head)
            if event is not None:
                self._over = True
                return event

    def _wait(self) -> ConnectFault | NoEvent:
        data = self._data
        self._searched = max(len(data) - 3, 0)
        if len(data) >= MAX_HEAD:
            return self._fault(f"a head of more than {MAX_HEAD} octets", "RFC 9112 §2.1")
        line = data.partition(b"\n")[0]
        start = b"HTTP/1."
        if line[: len(start)] != start[: len(line)]:
            return self._fault(f"it does not speak HTTP: {line[:40]!r}", "RFC 9112 §4")
        if self._ended:
            return self._fault("the end came inside the answer", "RFC 9112 §4")
        return NEED_DATA

    def _answer(self, head: bytes) -> Established | Refused | ConnectFault | None:
        first, *fields = head.split(b"\r\n")
        match = _STATUS.fullmatch(first)
        if match is None:
            return self._fault(f"not a status line: {first[:60]!r}", "RFC 9112 §4")
        for field in fields:
            if not _FIELD.fullmatch(field):
                return self._fault(f"not a field: {field[:60]!r}", "RFC 9112 §5")
        status = int(match[1])
        if status < 200:
            self._interim += 1
            if status == 101 or self._interim > _MAX_INTERIM:
                return self._fault(f"an answer of status {status}", "RFC 9110 §15.2")
            return None
        if status < 300:
            return Established("", 0)
        phrase = (match[2] or b"").decode("ascii", "backslashreplace").strip()[:60]
        reason = f"the proxy answers {status}{' ' if phrase else ''}{phrase}"
        if status == 407:
            more = "does not accept the login" if self._has_login else "wants a login"
            reason = f"the proxy {more} ({status})"
        return Refused(reason, status)

    def _fault(self, problem: str, rule: str) -> ConnectFault:
        self._over = True
        self._data = b""
        return ConnectFault(problem, rule)
