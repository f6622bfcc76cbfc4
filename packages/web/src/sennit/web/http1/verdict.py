"""What the gate (``framing.py``) says of octets: a `RequestHead`, or `Refused` and why."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

__all__ = [
    "CHUNKED",
    "Refused",
    "RequestHead",
    "bad_chunk_line",
    "bad_field",
    "bad_octet",
    "too_large",
]

CHUNKED: Final = -1
"""`RequestHead.length` of a body whose length is not known beforehand."""


class Refused(Exception):  # noqa: N818 - a verdict, which happens to be raised
    """The octets break a rule; the connection cannot go on.

    Attributes:
        status: The status that answers them.
        rule: The rule broken, such as ``RFC 9112 §6.3``.
    """

    def __init__(self, status: int, message: str, rule: str) -> None:
        super().__init__(message)
        self.status = status
        self.rule = rule


class RequestHead:
    """A request head that passed, and all that was learnt in passing.

    Attributes:
        exchange: Number of the request on its connection, from one.
        method: Method octets; methods are case-sensitive (RFC 9110 §9.1).
        target: Request target as it was sent.
        path: Path and query: the target, without scheme and authority if it had them.
        version: ``b"1.1"`` or ``b"1.0"`` (a later 1.x is treated as 1.1, RFC 9110 §2.5).
        headers: List of (lower-case name, value) octet pairs, wire order.
        host: The authority asked for: the target's, else the Host field's; ``None`` in a
            1.0 request without.
        length: Octets of the content; `CHUNKED` when only its end will tell, 0 for none.
        keep_alive: Whether the client lets the connection go on.
        expect_continue: Whether it waits for 100 before it sends the content.
        upgrade: The Upgrade field, if Connection names it.
        encoded: Whether the content carries a content coding other than identity.
        raw: The head as parsers are given it, with CRLF line ends and the empty line.
    """

    __slots__ = (
        "encoded",
        "exchange",
        "expect_continue",
        "headers",
        "host",
        "keep_alive",
        "length",
        "method",
        "path",
        "raw",
        "target",
        "upgrade",
        "version",
    )

    def __init__(
        self,
        method: bytes,
        target: bytes,
        version: bytes,
        headers: list[tuple[bytes, bytes]],
        host: bytes | None,
        length: int = 0,
        keep_alive: bool = True,
        expect_continue: bool = False,
        upgrade: bytes | None = None,
        encoded: bool = False,
        path: bytes | None = None,
        raw: bytes = b"",
        exchange: int = 0,
    ) -> None:
        self.method = method
        self.target = target
        self.version = version
        self.headers = headers
        self.host = host
        self.length = length
        self.keep_alive = keep_alive
        self.expect_continue = expect_continue
        self.upgrade = upgrade
        self.encoded = encoded
        self.path = target if path is None else path
        self.raw = raw
        self.exchange = exchange

    def __repr__(self) -> str:
        """Method, target and framing, cut short."""
        return f"<RequestHead {self.method!r} {self.target[:64]!r} length={self.length}>"


def bad_octet(octet: int) -> Refused:
    """A control octet where none may be."""
    name = {0: "a NUL", 10: "a bare LF", 13: "a bare CR"}.get(octet, "a control octet")
    return Refused(400, f"{name} in the head", "RFC 9112 §2.2")


def bad_field(line: bytes) -> Refused:
    """A field line that is none."""
    if line[:1] in (b" ", b"\t"):
        return Refused(400, "a folded field line", "RFC 9112 §5.2")
    return Refused(400, "a malformed field line", "RFC 9112 §5")


def bad_chunk_line() -> Refused:
    """A chunk-size line that is none, or is too long."""
    return Refused(400, "a malformed chunk line", "RFC 9112 §7.1")


def too_large(status: int) -> Refused:
    """More of a target (414) or of fields (431) than the limits allow."""
    if status == 414:
        return Refused(414, "the target is too long", "RFC 9110 §15.5.15")
    return Refused(431, "the header section is too large", "RFC 6585 §5")
