"""SOCKS version 5, both sides, without I/O.

A conversation is short: methods, perhaps a login, a request, its reply; then the
connection belongs to what is tunnelled, and `release` gives what came behind.

Sources: RFC 1928 §3 (methods), §4 (requests), §5 (addresses), §6 (replies), §7 (datagrams);
RFC 1929 §2 (login). Not here: GSSAPI (RFC 1961), SOCKS 4.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from ipaddress import AddressValueError, IPv4Address, IPv6Address

from sennit.core.engine import CLOSED, NEED_DATA, PAUSED
from sennit.core.errors import ProtocolError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final, TypeAlias

    from sennit.core.engine import NoEvent

__all__ = [
    "MAX_NAME",
    "Command",
    "Established",
    "Login",
    "Negotiation",
    "Refused",
    "Relayed",
    "Reply",
    "Request",
    "SocksClientEngine",
    "SocksFault",
    "SocksServerEngine",
    "decode_datagram",
    "encode_datagram",
]

VERSION: Final = 5
LOGIN_VERSION: Final = 1
NO_LOGIN: Final = 0
PASSWORD: Final = 2
NONE_ACCEPTABLE: Final = 0xFF
MAX_NAME: Final = 255
"""Octets of a host name, a user name or a password."""

_IPV4, _NAME, _IPV6 = 1, 3, 4


class Command(IntEnum):
    """What a client asks for (§4)."""

    CONNECT = 1
    BIND = 2
    UDP_ASSOCIATE = 3


class Reply(IntEnum):
    """What a server answers (§6)."""

    SUCCEEDED = 0
    GENERAL_FAILURE = 1
    NOT_ALLOWED = 2
    NETWORK_UNREACHABLE = 3
    HOST_UNREACHABLE = 4
    CONNECTION_REFUSED = 5
    TTL_EXPIRED = 6
    COMMAND_NOT_SUPPORTED = 7
    ADDRESS_TYPE_NOT_SUPPORTED = 8

    @property
    def text(self) -> str:
        """For people."""
        return self.name.replace("_", " ").lower().replace("ttl", "TTL")


class SocksFault(ProtocolError):  # noqa: N818 - an event, as `PeerFault` is
    """The peer does not speak SOCKS as the RFC has it; `rule` names the section."""


class Login:
    """A client shows who it is (RFC 1929 §2).

    Attributes:
        username: As it came.
        password: As it came; not shown.
    """

    __slots__ = ("password", "username")

    def __init__(self, username: bytes, password: bytes) -> None:
        self.username = username
        self.password = password

    def __repr__(self) -> str:
        return f"<Login {self.username!r}>"


class Request:
    """A client asks for a connection (§4).

    Attributes:
        command: What for; a plain number where the RFC knows none.
        host: Address or name.
        port: Port number.
        is_name: Whether `host` is a name that has to be looked up.
    """

    __slots__ = ("command", "host", "is_name", "port")

    def __init__(self, command: int, host: str, port: int, is_name: bool) -> None:
        self.command = command
        self.host = host
        self.port = port
        self.is_name = is_name

    def __repr__(self) -> str:
        return f"<Request {self.command} {self.host}:{self.port}>"


class Established:
    """The server's consent (§6).

    Attributes:
        host: The address it uses.
        port: The port it uses.
    """

    __slots__ = ("host", "port")

    def __init__(self, host: str, port: int) -> None:
        self.host = host
        self.port = port

    def __repr__(self) -> str:
        return f"<Established {self.host}:{self.port}>"


class Relayed(Established):
    """The second consent, to BIND: who has connected (§6)."""

    __slots__ = ()


class Refused:
    """The server's refusal.

    Attributes:
        reason: For people.
        reply: Its number; ``None`` where it was the login or the methods.
    """

    __slots__ = ("reason", "reply")

    def __init__(self, reason: str, reply: int | None = None) -> None:
        self.reason = reason
        self.reply = reply

    def __repr__(self) -> str:
        return f"<Refused {self.reason}>"


if TYPE_CHECKING:
    ServerEvent: TypeAlias = Login | Request | SocksFault
    ClientEvent: TypeAlias = Established | Refused | SocksFault


class Negotiation:
    """Octets in, octets out, and what is left when it is over: of SOCKS, and of CONNECT, too."""

    def __init__(self) -> None:
        self._data = b""
        self._out: list[bytes] = []
        self._ended = False
        self._over = False

    def receive_data(self, data: bytes) -> None:
        """Octets have come."""
        self._data += data

    def receive_eof(self) -> None:
        """The peer sends no more."""
        self._ended = True

    def data_to_send(self) -> list[bytes]:
        """What is to leave, in order."""
        out, self._out = self._out, []
        return out

    def release(self) -> bytes:
        """What came behind the conversation."""
        self._over = True
        rest, self._data = self._data, b""
        return rest


class _Engine(Negotiation):
    """What both sides of SOCKS have."""

    def _need(self) -> NoEvent | SocksFault:
        if self._ended:
            return self._fault("the end came inside the conversation", "RFC 1928 §3")
        return NEED_DATA

    def _fault(self, problem: str, rule: str) -> SocksFault:
        self._over = True
        self._data = b""
        return SocksFault(problem, rule)


class SocksServerEngine(_Engine):
    """One client as the server sees it.

    Args:
        needs_login: Take only clients that log in with name and password.
    """

    def __init__(self, *, needs_login: bool = False) -> None:
        super().__init__()
        self._needs_login = needs_login
        self._step: Callable[[], ServerEvent | NoEvent | None] = self._methods
        self._pending: Login | Request | None = None

    def next_event(self) -> ServerEvent | NoEvent:
        """A `Login`, a `Request`, a fault (drop the connection), or why there is nothing."""
        if self._over:
            return CLOSED
        if self._pending is not None:
            return PAUSED
        event: ServerEvent | NoEvent | None = None
        while event is None:
            event = self._step()
        return event

    # ── what came ─────────────────────────────────────────────────────────────

    def _methods(self) -> ServerEvent | NoEvent | None:
        data = self._data
        if data[:1] not in (b"", b"\5"):
            return self._fault(f"version {data[0]}, not 5", "RFC 1928 §3")
        if len(data) < 2 or len(data) < 2 + data[1]:
            return self._need()
        offered, self._data = data[2 : 2 + data[1]], data[2 + data[1] :]
        wanted = PASSWORD if self._needs_login else NO_LOGIN
        if wanted not in offered:
            self._out.append(bytes((VERSION, NONE_ACCEPTABLE)))
            what = "name and password" if self._needs_login else "no login"
            return self._fault(f"the client does not offer {what}", "RFC 1928 §3")
        self._out.append(bytes((VERSION, wanted)))
        self._step = self._login if self._needs_login else self._request
        return None

    def _login(self) -> ServerEvent | NoEvent | None:
        data = self._data
        if data[:1] not in (b"", b"\1"):
            return self._fault(f"login version {data[0]}, not 1", "RFC 1929 §2")
        if len(data) < 2 or len(data) < 3 + data[1]:
            return self._need()
        at = 2 + data[1]
        end = at + 1 + data[at]
        if len(data) < end:
            return self._need()
        self._data = data[end:]
        self._pending = Login(data[2:at], data[at + 1 : end])
        return self._pending

    def _request(self) -> ServerEvent | NoEvent | None:
        data = self._data
        if data[:1] not in (b"", b"\5"):
            return self._fault(f"version {data[0]}, not 5", "RFC 1928 §4")
        if len(data) < 5:
            return self._need()
        kind = data[3]
        if kind not in (_IPV4, _NAME, _IPV6):
            self._out.append(_reply(Reply.ADDRESS_TYPE_NOT_SUPPORTED, "0.0.0.0", 0))
            return self._fault(f"address type {kind}", "RFC 1928 §5")
        size = _address_size(data, 3)
        if len(data) < 3 + size:
            return self._need()
        host, port, is_name = _address(data, 3)
        self._data = data[3 + size :]
        if data[2] or not _is_sane(host, is_name):
            self._out.append(_reply(Reply.GENERAL_FAILURE, "0.0.0.0", 0))
            what = f"a host such as {host[:60]!r}" if not data[2] else "a reserved octet"
            return self._fault(what, "RFC 1928 §4")
        command = Command(data[1]) if data[1] in _COMMANDS else data[1]
        self._pending = Request(command, host, port, is_name)
        return self._pending

    # ── what is answered ──────────────────────────────────────────────────────

    def accept_login(self) -> None:
        """The login is good; the request is awaited."""
        self._take(Login)
        self._out.append(bytes((LOGIN_VERSION, 0)))
        self._step = self._request

    def reject_login(self) -> None:
        """It is not; the connection must be closed (RFC 1929 §2)."""
        self._take(Login)
        self._out.append(bytes((LOGIN_VERSION, 1)))
        self._over = True

    def accept_request(self, host: str, port: int, *, final: bool = True) -> None:
        """The request is met.

        Args:
            host: The address that is used for it.
            port: The port.
            final: Not so for the first of BIND's two replies.
        """
        if final:
            self._take(Request)
        elif not isinstance(self._pending, Request):
            raise UsageError("no request waits for an answer")
        self._out.append(_reply(Reply.SUCCEEDED, host, port))
        self._over = self._over or final

    def reject_request(self, reply: Reply) -> None:
        """It is not met; the connection must be closed within ten seconds (§6)."""
        self._take(Request)
        self._out.append(_reply(reply, "0.0.0.0", 0))
        self._over = True

    def _take(self, kind: type) -> None:
        if not isinstance(self._pending, kind):
            raise UsageError(f"no {kind.__name__.lower()} waits for an answer")
        self._pending = None


class SocksClientEngine(_Engine):
    """One proxy as the client sees it.

    Args:
        host: Whom to reach through it: an address, or a name that the proxy looks up.
        port: The port there.
        command: What to ask for.
        username: For a proxy that wants a login; with `password`.
        password: Likewise.

    Raises:
        UsageError: A name or a password does not fit.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        command: Command = Command.CONNECT,
        username: str | None = None,
        password: str | None = None,
    ) -> None:
        super().__init__()
        self._request = bytes((VERSION, command, 0)) + _encode_address(host, port)
        self._command = command
        self._login: bytes | None = None
        if username is not None:
            fields = [username.encode(), (password or "").encode()]
            for field in fields:
                if not 1 <= len(field) <= MAX_NAME:
                    raise UsageError("a user name and a password have 1 to 255 octets")
            self._login = b"\1" + b"".join(bytes((len(each),)) + each for each in fields)
        methods = bytes((NO_LOGIN, PASSWORD)) if self._login else bytes((NO_LOGIN,))
        self._out.append(bytes((VERSION, len(methods))) + methods)
        self._step: Callable[[], ClientEvent | NoEvent | None] = self._chosen

    def next_event(self) -> ClientEvent | NoEvent:
        """What the proxy said, a fault, or why there is nothing."""
        if self._over:
            return CLOSED
        event: ClientEvent | NoEvent | None = None
        while event is None:
            event = self._step()
        return event

    def _chosen(self) -> ClientEvent | NoEvent | None:
        data = self._data
        if data[:1] not in (b"", b"\5"):
            return self._fault(f"version {data[0]}, not 5", "RFC 1928 §3")
        if len(data) < 2:
            return self._need()
        method, self._data = data[1], data[2:]
        if method == NO_LOGIN:
            self._ask()
            return None
        if method == PASSWORD and self._login is not None:
            self._out.append(self._login)
            self._step = self._logged_in
            return None
        if method in (PASSWORD, NONE_ACCEPTABLE):
            self._over = True
            needs = "wants another login" if self._login else "wants a login"
            return Refused(f"the proxy {needs}")
        return self._fault(f"method {method}, which was not offered", "RFC 1928 §3")

    def _logged_in(self) -> ClientEvent | NoEvent | None:
        if len(self._data) < 2:
            return self._need()
        # Some servers answer with version 5; what counts is the status.
        version, status, self._data = self._data[0], self._data[1], self._data[2:]
        if version not in (LOGIN_VERSION, VERSION):
            return self._fault(f"login version {version}, not 1", "RFC 1929 §2")
        if status:
            self._over = True
            return Refused("the proxy does not accept the login")
        self._ask()
        return None

    def _ask(self) -> None:
        self._out.append(self._request)
        self._step = self._answered

    def _answered(self) -> ClientEvent | NoEvent | None:
        answer = self._reply()
        if isinstance(answer, Established):
            if self._command == Command.BIND:
                self._step = self._bound
            else:
                self._over = True
        return answer

    def _bound(self) -> ClientEvent | NoEvent | None:
        answer = self._reply()
        if isinstance(answer, Established):
            self._over = True
            return Relayed(answer.host, answer.port)
        return answer

    def _reply(self) -> ClientEvent | NoEvent:
        data = self._data
        if data[:1] not in (b"", b"\5"):
            return self._fault(f"version {data[0]}, not 5", "RFC 1928 §6")
        if len(data) >= 2 and data[1]:
            # All that counts is known, and some servers send no more.
            self._over = True
            known = data[1] in _REPLIES
            return Refused(Reply(data[1]).text if known else f"reply {data[1]}", data[1])
        if len(data) < 5:
            return self._need()
        if data[3] not in (_IPV4, _NAME, _IPV6):
            return self._fault(f"address type {data[3]}", "RFC 1928 §5")
        size = _address_size(data, 3)
        if len(data) < 3 + size:
            return self._need()
        host, port, _ = _address(data, 3)
        self._data = data[3 + size :]
        return Established(host, port)


_COMMANDS: Final = frozenset(int(each) for each in Command)
_REPLIES: Final = frozenset(int(each) for each in Reply)


# ── addresses (§5) ────────────────────────────────────────────────────────────


def _address_size(data: bytes, at: int) -> int:
    """Octets of type, address and port; `data` has at least the octet behind the type."""
    kind = data[at]
    return 7 if kind == _IPV4 else 19 if kind == _IPV6 else 4 + data[at + 1]


def _address(data: bytes, at: int) -> tuple[str, int, bool]:
    kind = data[at]
    end = at + _address_size(data, at) - 2
    (port,) = struct.unpack_from("!H", data, end)
    if kind == _IPV4:
        return str(IPv4Address(data[at + 1 : end])), port, False
    if kind == _IPV6:
        return str(IPv6Address(data[at + 1 : end])), port, False
    host = data[at + 2 : end].decode("utf-8", "backslashreplace")
    return _unless_numeric(host, port)


def _unless_numeric(host: str, port: int) -> tuple[str, int, bool]:
    """A name that is an address in truth counts as one, so that rules see it."""
    for form in (IPv4Address, IPv6Address):
        try:
            return str(form(host)), port, False
        except AddressValueError:
            continue
    return host, port, True


def _is_sane(host: str, is_name: bool) -> bool:
    """Whether a resolver may be asked for it: no controls, blanks, or escapes."""
    return not is_name or (
        bool(host) and all(char > " " and char not in "\x7f\\/@[]:%" for char in host)
    )


def _encode_address(host: str, port: int) -> bytes:
    if not 0 <= port <= 65535:
        raise UsageError(f"a port is a number from 0 to 65535, not {port}")
    tail = struct.pack("!H", port)
    bare = host.partition("%")[0]
    for kind, form in ((_IPV4, IPv4Address), (_IPV6, IPv6Address)):
        try:
            return bytes((kind,)) + form(bare).packed + tail
        except AddressValueError:
            continue
    try:
        name = host.encode("ascii") if host.isascii() else host.encode("idna")
    except UnicodeError as error:
        raise UsageError(f"not a host name: {host!r}") from error
    if not 1 <= len(name) <= MAX_NAME or not _is_sane(host, True):
        raise UsageError(f"not a host name: {host!r}")
    return bytes((_NAME, len(name))) + name + tail


def _reply(reply: Reply, host: str, port: int) -> bytes:
    return bytes((VERSION, reply, 0)) + _encode_address(host, port)


# ── datagrams (§7) ────────────────────────────────────────────────────────────


def encode_datagram(host: str, port: int, data: bytes) -> bytes:
    """A datagram with where it goes, or came from, in front."""
    return bytes(3) + _encode_address(host, port) + data


def decode_datagram(datagram: bytes) -> tuple[str, int, bool, bytes]:
    """Host, port, whether the host is a name, and the octets.

    Raises:
        SocksFault: It is no such datagram, or a fragment of one (which §7 lets us drop).
    """
    if len(datagram) < 5 or datagram[:2] != b"\0\0" or datagram[3] not in (_IPV4, _NAME, _IPV6):
        raise SocksFault("not a datagram for relaying", "RFC 1928 §7")
    if datagram[2]:
        raise SocksFault("a fragment of a datagram", "RFC 1928 §7")
    size = _address_size(datagram, 3)
    if len(datagram) < 3 + size:
        raise SocksFault("not a datagram for relaying", "RFC 1928 §7")
    host, port, is_name = _address(datagram, 3)
    if not _is_sane(host, is_name):
        raise SocksFault("not a host name", "RFC 1928 §7")
    return host, port, is_name, datagram[3 + size :]
