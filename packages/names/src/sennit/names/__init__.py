"""DNS for Sennit: authority, resolver and client, and the engines of all three.

Everything is loaded when it is first used; importing this package loads nothing.
"""

from __future__ import annotations

from sennit.names._version import __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sennit.names.codes import Opcode, Rcode, RRClass, RRType
    from sennit.names.edns import EDNS, Option
    from sennit.names.errors import (
        DNSError,
        DNSProtocolError,
        DNSUsageError,
        LookupFailedError,
        LookupTimeoutError,
        MessageFormatError,
        NoDataError,
        NoSuchNameError,
        PresentationError,
        ResponseError,
        SpoofedError,
        TransferError,
        UnreachableError,
        ValidationError,
    )
    from sennit.names.message import Message, Question, Record, RRset
    from sennit.names.name import Name
    from sennit.names.rdata import GenericRdata, Rdata

__all__ = [
    "EDNS",
    "DNSError",
    "DNSProtocolError",
    "DNSUsageError",
    "GenericRdata",
    "LookupFailedError",
    "LookupTimeoutError",
    "Message",
    "MessageFormatError",
    "Name",
    "NoDataError",
    "NoSuchNameError",
    "Opcode",
    "Option",
    "PresentationError",
    "Question",
    "RRClass",
    "RRType",
    "RRset",
    "Rcode",
    "Rdata",
    "Record",
    "ResponseError",
    "SpoofedError",
    "TransferError",
    "UnreachableError",
    "ValidationError",
    "__version__",
]

_ROOMS = {
    "codes": ("Opcode", "RRClass", "RRType", "Rcode"),
    "edns": ("EDNS", "Option"),
    "errors": (
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
        "TransferError",
        "UnreachableError",
        "ValidationError",
    ),
    "message": ("Message", "Question", "RRset", "Record"),
    "name": ("Name",),
    "rdata": ("GenericRdata", "Rdata"),
}
_HOME = {name: room for room, names in _ROOMS.items() for name in names}

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """Load a name from the room it lives in, the first time it is asked for."""
        room = _HOME.get(name)
        if room is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        value = getattr(import_module(f"{__name__}.{room}"), name)
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        return sorted(__all__)
