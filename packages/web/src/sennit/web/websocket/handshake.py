"""The opening handshake, both sides of it, over HTTP/1.1 and HTTP/2: heads in, verdicts out.

`accept` judges a request for a server: what to answer, or why not. `ClientHandshake`
has the fields of a client's request and judges what the server answers. Neither
sends anything.

What is refused, and how: another method than GET 405; what does not ask for WebSocket
or asks for another version 426, with the one that is spoken; a broken key, list or
framing 400; an Origin that the policy does not let in 403 (HARDENING ws-7). An offer
of compression that is odd is declined, no more (``deflate.py``).

Over HTTP/2 the request is an extended CONNECT, there is neither key nor Upgrade, and
the answer is 200 (RFC 8441 §5).

Sources: RFC 6455 §4, §9.1, §10.2, §11.3; RFC 7692 §5; RFC 8441 §5. Elsewhere: what the
gate has judged already, such as Host (``http1/framing.py``).
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from hashlib import sha1

from sennit.web.errors import WebUsageError
from sennit.web.websocket import deflate as deflating
from sennit.web.websocket.errors import WebSocketRefusedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from typing import Final, Literal

    from sennit.web.events import RequestHead
    from sennit.web.websocket.deflate import Agreed, Deflate

    Field = tuple[bytes, bytes]
    Origins = Collection[str] | Callable[[str | None], bool] | Literal["same"] | None
    Extension = tuple[str, list[tuple[str, str | None]]]

__all__ = [
    "Accepted",
    "ClientHandshake",
    "Declined",
    "accept",
    "accept_key",
    "check_subprotocols",
    "parse_extensions",
    "wants_websocket",
]

VERSION: Final = b"13"
"""The one there is (RFC 6455 §4.1)."""
_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch
_PARAMETER = re.compile(
    rb"[ \t]*([!#$%&'*+\-.^_`|~0-9A-Za-z]+)"
    rb"(?:[ \t]*=[ \t]*(?:([!#$%&'*+\-.^_`|~0-9A-Za-z]+)"
    rb'|"([!#$%&\'*+\-.^_`|~0-9A-Za-z]+)"))?[ \t]*'
).fullmatch
_KEY = re.compile(rb"[A-Za-z0-9+/]{22}==").fullmatch
_OURS: Final = frozenset(
    (
        b"connection",
        b"host",
        b"origin",
        b"sec-websocket-extensions",
        b"sec-websocket-key",
        b"sec-websocket-protocol",
        b"sec-websocket-version",
        b"upgrade",
    )
)
"""Fields of a client's request that are made here."""


class Accepted:
    """A handshake that succeeded.

    Attributes:
        status: 101, or 200 in HTTP/2.
        headers: List of (lower-case name, value) octet pairs: of the answer to send, or of
            the answer that came.
        subprotocol: What both sides speak above WebSocket; ``None`` when nothing was agreed.
        deflate: How messages are compressed; ``None`` for not at all.
    """

    __slots__ = ("deflate", "headers", "status", "subprotocol")

    def __init__(
        self,
        status: int,
        headers: list[Field],
        subprotocol: str | None,
        deflate: Agreed | None,
    ) -> None:
        self.status = status
        self.headers = headers
        self.subprotocol = subprotocol
        self.deflate = deflate


class Declined:
    """A request that is refused.

    Attributes:
        status: The status that answers it.
        headers: Pairs of octets that the answer needs.
        why: For the log; nothing of it comes from the peer.
    """

    __slots__ = ("headers", "status", "why")

    def __init__(self, status: int, why: str, *headers: Field) -> None:
        self.status = status
        self.why = why
        self.headers = list(headers)


def accept_key(key: bytes) -> bytes:
    """What proves that the server has read the key (RFC 6455 §4.2.2)."""
    return b64encode(sha1(key + _GUID, usedforsecurity=False).digest())


def check_subprotocols(names: Sequence[str]) -> tuple[str, ...]:
    """Names of subprotocols, in order of preference.

    Raises:
        ValueError: One is no token, or stands there twice.
    """
    if isinstance(names, str):
        raise WebUsageError("subprotocols are a list of names, not one name")
    for name in names:
        if _TOKEN(name.encode("utf-8", "replace")) is None:
            raise WebUsageError(f"a subprotocol's name is a token, not {name!r:.100}")
    if len(set(names)) != len(names):
        raise WebUsageError("a subprotocol stands there twice")
    return tuple(names)


def wants_websocket(head: RequestHead) -> bool:
    """Whether a request asks for WebSocket, well or badly."""
    if head.protocol is not None:
        return head.protocol == b"websocket"
    return head.upgrade is not None and b"websocket" in _tokens([head.upgrade.lower()])


def accept(
    head: RequestHead,
    *,
    subprotocols: Sequence[str] = (),
    origins: Origins = None,
    deflate: Deflate | None = None,
    headers: Sequence[Field] = (),
) -> Accepted | Declined:
    """Judge a request.

    Args:
        head: The request.
        subprotocols: What the server speaks above WebSocket, best first.
        origins: Pages of which origins may connect: their origins, such as
            ``https://example.com``; ``"same"`` for those of the host that is asked; a
            function of the Origin (``None`` where there is none); ``None`` for all. Programs
            other than browsers send none and are let in, save by a function.
        deflate: How messages may be compressed; ``None`` for not at all.
        headers: More pairs of octets for the answer.
    """
    over_http2 = head.protocol is not None
    if over_http2:
        if head.method != b"CONNECT" or head.protocol != b"websocket":
            return Declined(501, "an extended CONNECT for something else")
    else:
        if head.method != b"GET":
            return Declined(405, "a handshake by another method than GET", (b"allow", b"GET"))
        if not wants_websocket(head) or head.version != b"1.1":
            return Declined(426, "no handshake", (b"upgrade", b"websocket"), _SPOKEN)
        if head.length:
            return Declined(400, "a handshake with content")
    versions = _values(head.headers, b"sec-websocket-version")
    if versions != [VERSION]:
        return Declined(426, "another version", *([] if over_http2 else [_UPGRADE]), _SPOKEN)
    answer: list[Field] = []
    if not over_http2:
        keys = _values(head.headers, b"sec-websocket-key")
        if len(keys) != 1 or _KEY(keys[0]) is None or len(b64decode(keys[0])) != 16:
            return Declined(400, "no key, or a broken one")
        answer += [_UPGRADE, (b"sec-websocket-accept", accept_key(keys[0]))]
    if not _is_welcome(head, origins):
        return Declined(403, "an origin that the policy does not let in")
    offered = _tokens(_values(head.headers, b"sec-websocket-protocol"))
    if offered is _NO_LIST or len(set(offered)) != len(offered):
        return Declined(400, "a broken list of subprotocols")
    chosen = next((name for name in subprotocols if name.encode() in offered), None)
    if chosen is not None:
        answer.append((b"sec-websocket-protocol", chosen.encode()))
    agreed: Agreed | None = None
    try:
        extensions = parse_extensions(_values(head.headers, b"sec-websocket-extensions"))
    except ValueError:
        return Declined(400, "a broken list of extensions")
    if deflate is not None:
        for name, parameters in extensions:
            found = None if name != deflating.NAME else deflating.agree(deflate, parameters)
            if found is not None:
                said, agreed = found
                answer.append((b"sec-websocket-extensions", said.encode()))
                break
    answer += headers
    return Accepted(200 if over_http2 else 101, answer, chosen, agreed)


_UPGRADE: Final = (b"upgrade", b"websocket")
_SPOKEN: Final = (b"sec-websocket-version", VERSION)


def _is_welcome(head: RequestHead, origins: Origins) -> bool:
    if origins is None:
        return True
    found = _values(head.headers, b"origin")
    if len(found) > 1:
        return False
    origin = found[0].decode("latin-1") if found else None
    if callable(origins):
        return origins(origin)
    if origin is None:
        return True
    if origins == "same":
        scheme, there, authority = origin.lower().partition("://")
        asked = (head.host or b"").decode("latin-1").lower()
        port = _DEFAULT_PORTS.get(scheme)
        if not there or port is None or not asked:
            return False
        return authority.removesuffix(port) == asked.removesuffix(port)
    return any(origin.lower() == each.lower() for each in origins)


_DEFAULT_PORTS: Final = {"http": ":80", "https": ":443"}


class ClientHandshake:
    """A client's request for WebSocket, and its judgement of the answer.

    Args:
        nonce: Sixteen unforeseeable octets.
        subprotocols: What the client speaks above WebSocket, best first.
        deflate: How messages may be compressed; ``None`` for not at all.
        origin: Whose program it is, as browsers say it.
        headers: More fields for the request.
        over_http2: Whether the request is an extended CONNECT (RFC 8441).

    Attributes:
        headers: List of (name, value) octet pairs of the request, without Host.

    Raises:
        WebUsageError: A subprotocol is no token; `headers` has a field that is made here.
    """

    def __init__(
        self,
        nonce: bytes,
        *,
        subprotocols: Sequence[str] = (),
        deflate: Deflate | None = None,
        origin: str | None = None,
        headers: Sequence[Field] = (),
        over_http2: bool = False,
    ) -> None:
        if len(nonce) != 16:
            raise WebUsageError("a key is made of sixteen octets")
        self._subprotocols = check_subprotocols(subprotocols)
        self._deflate = deflate
        self._over_http2 = over_http2
        self._key = b64encode(nonce)
        fields: list[Field] = []
        if not over_http2:
            fields += [
                (b"connection", b"Upgrade"),
                _UPGRADE,
                (b"sec-websocket-key", self._key),
            ]
        fields.append(_SPOKEN)
        if self._subprotocols:
            fields.append((b"sec-websocket-protocol", ", ".join(self._subprotocols).encode()))
        if deflate is not None:
            fields.append((b"sec-websocket-extensions", deflating.offer(deflate).encode()))
        if origin is not None:
            fields.append((b"origin", origin.encode("latin-1")))
        for field in headers:
            if field[0].lower() in _OURS:
                raise WebUsageError(f"the field {field[0]!r:.60} is made by the handshake")
            fields.append(field)
        self.headers = fields

    def check(self, status: int, headers: Sequence[Field]) -> Accepted:
        """Judge the server's answer (RFC 6455 §4.1).

        Args:
            status: Of the answer.
            headers: List of (lower-case name, value) octet pairs.

        Raises:
            WebSocketRefusedError: It is a no, or no answer to what was asked.
        """

        def refuse(why: str) -> WebSocketRefusedError:
            return WebSocketRefusedError(why, status, headers)

        if self._over_http2:
            if not 200 <= status <= 299:
                raise refuse(f"the server answered the handshake with {status}")
        else:
            if status != 101:
                raise refuse(f"the server answered the handshake with {status}")
            if [each.lower() for each in _values(headers, b"upgrade")] != [b"websocket"]:
                raise refuse("the server upgrades to something else")
            connection = [each.lower() for each in _values(headers, b"connection")]
            if b"upgrade" not in _tokens(connection):
                raise refuse("the server answers 101 without an upgrade")
            if _values(headers, b"sec-websocket-accept") != [accept_key(self._key)]:
                raise refuse("the server has not read our key")
        chosen = _values(headers, b"sec-websocket-protocol")
        subprotocol: str | None = None
        if chosen:
            subprotocol = chosen[0].decode("latin-1")
            if len(chosen) > 1 or subprotocol not in self._subprotocols:
                raise refuse("the server chose a subprotocol that was not offered")
        try:
            extensions = parse_extensions(_values(headers, b"sec-websocket-extensions"))
        except ValueError:
            raise refuse("the server answers with a broken list of extensions") from None
        agreed: Agreed | None = None
        for name, parameters in extensions:
            if self._deflate is None or name != deflating.NAME or agreed is not None:
                raise refuse("the server uses an extension that was not offered")
            agreed = deflating.check_agreed(self._deflate, parameters)
            if agreed is None:
                raise refuse("the server compresses in a way that was not offered")
        return Accepted(status, list(headers), subprotocol, agreed)


def parse_extensions(values: Sequence[bytes]) -> list[Extension]:
    """The extensions that Sec-WebSocket-Extensions fields name, with their parameters.

    Args:
        values: The fields' values, in order.

    Raises:
        ValueError: They are not to the letter of RFC 6455 §9.1.
    """
    found: list[Extension] = []
    for element in b",".join(values).split(b","):
        if not element.strip(b" \t"):
            continue
        name, *parameters = element.split(b";")
        name = name.strip(b" \t")
        if _TOKEN(name) is None:
            raise ValueError("an extension's name is no token")
        pairs: list[tuple[str, str | None]] = []
        for parameter in parameters:
            match = _PARAMETER(parameter)
            if match is None:
                raise ValueError("an extension's parameter is none")
            value: bytes | None = match[2] or match[3]
            pairs.append((match[1].decode("ascii"), None if value is None else value.decode()))
        found.append((name.decode("ascii"), pairs))
    return found


def _values(headers: Sequence[Field], name: bytes) -> list[bytes]:
    return [value for each, value in headers if each == name]


_NO_LIST: Final[list[bytes]] = []


def _tokens(values: Sequence[bytes]) -> list[bytes]:
    """The tokens in a list, over several fields; `_NO_LIST` itself where it is none."""
    found = [each.strip(b" \t") for each in b",".join(values).split(b",")]
    found = [each for each in found if each]
    if any(_TOKEN(each) is None for each in found):
        return _NO_LIST
    return found
