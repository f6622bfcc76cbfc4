"""What happens in a conversation, as each side sees it.

Counted in thousands a second, so small dataclasses do; nobody changes one after it was made.
"""

from __future__ import annotations

from dataclasses import dataclass

from sennit.core.engine import SOLE, PeerFault

__all__ = ["Answered", "ClientEvent", "KeyAsked", "ServerEvent"]


@dataclass(slots=True)
class KeyAsked:
    """The client asks what a key stands for, and waits.

    Attributes:
        key: As it came, one or more octets without spaces.
        exchange: There is one at a time.
    """

    key: bytes
    exchange: int = SOLE


@dataclass(slots=True)
class Answered:
    """The server answered the oldest command that waits.

    Attributes:
        granted: Whether it was a value, not a refusal.
        text: The value or the reason.
        exchange: There is one at a time.
    """

    granted: bool
    text: bytes
    exchange: int = SOLE


ServerEvent = KeyAsked | PeerFault
"""Every event a server engine emits."""

ClientEvent = Answered | PeerFault
"""Every event a client engine emits."""
