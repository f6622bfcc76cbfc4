"""The mask over what a client sends (RFC 6455 §5.3): octet i is XORed with octet i mod 4 of a key.

Python has no operation for it, so the way depends on the length. Measured on
Python 3.11, µs per payload of 64 octets, 1 KiB and 64 KiB:

======================================  =====  =====  ======
one large integer XORed with another     0.61    2.9     170
four strides through ``translate``       0.99    2.0      65
`websockets`' C function                 0.13    0.2     1.8
======================================  =====  =====  ======

So without help the first is taken up to `SHORT` octets and the second above. The
extra ``fast`` brings `websockets`, of which only that function is used; it is
tried once, when this module is loaded, and left alone if it is not there or does
not do what is said here.

Sources: RFC 6455 §5.3.
"""

from __future__ import annotations

from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader, FileFinder
from importlib.util import find_spec, module_from_spec
from sys import byteorder as _ORDER  # noqa: N812 - a constant here

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final

    Mask = Callable[[bytes, bytes], bytes]

__all__ = ["HELPED", "SHORT", "mask", "mask_in_python"]

SHORT: Final = 400
"""Octets up to which integers are quicker than strides."""

_TABLES: list[bytes] = []


def mask_in_python(data: bytes, key: bytes) -> bytes:
    """`data` with the mask put on, or taken off.

    Args:
        data: Octets.
        key: Four octets.
    """
    size = len(data)
    if size <= SHORT:
        long = key * (size >> 2) + key[: size & 3]
        number = int.from_bytes(data, _ORDER) ^ int.from_bytes(long, _ORDER)
        return number.to_bytes(size, _ORDER)
    if not _TABLES:
        _TABLES.extend(bytes(octet ^ each for octet in range(256)) for each in range(256))
    masked = bytearray(size)
    for at in range(4):
        masked[at::4] = data[at::4].translate(_TABLES[key[at]])
    return bytes(masked)


def _find_helper() -> Mask | None:
    """The function in C, out of the one file that it is in.

    To import the package around it would bring sockets into every engine.
    """
    try:
        package = find_spec("websockets")
        for folder in (package and package.submodule_search_locations) or ():
            found = FileFinder(folder, (ExtensionFileLoader, EXTENSION_SUFFIXES)).find_spec(
                "speedups"
            )
            if found is not None and found.loader is not None:
                module = module_from_spec(found)
                found.loader.exec_module(module)
                helper: Mask = module.apply_mask
                return helper if _keeps_to_it(helper) else None
    except Exception:
        # Another Python's, or it is something else by now: then we do without.
        return None
    return None


def _keeps_to_it(helper: Mask) -> bool:
    key = b"\x01\x80\xff\x10"
    samples = [bytes(each * 7 & 255 for each in range(size)) for size in (0, 3, 4, 125, 1031)]
    return all(helper(each, key) == mask_in_python(each, key) for each in samples)


_helper = _find_helper()

HELPED: Final = _helper is not None
"""Whether a function in C does it."""

mask: Mask = _helper or mask_in_python
"""`data` with the mask put on, or taken off: the quickest way there is here."""
