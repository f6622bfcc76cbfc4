"""What the gate (``framing.py``) says of octets it does not let through: `Refused`, and why.

What it lets through is a `sennit.web.events.RequestHead`.
"""

from __future__ import annotations

__all__ = [
    "CutShort",
    "PrefaceSeen",
    "Refused",
    "bad_chunk_line",
    "bad_field",
    "bad_octet",
    "too_large",
]


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


class CutShort(Refused):
    """The octets end in the midst of a message (RFC 9112 §8).

    Args:
        what: Head or content.
    """

    def __init__(self, what: str) -> None:
        super().__init__(400, f"the {what} was cut short", "RFC 9112 §8")


class PrefaceSeen(Exception):  # noqa: N818 - a verdict, which happens to be raised
    """The connection speaks HTTP/2: its first line is that of the preface (RFC 9113 §3.4)."""


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
