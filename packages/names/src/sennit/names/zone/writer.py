"""Zone files written: one record a line, in canonical order, whole or not at all.

The order is that of RFC 4034 §6.1, so that two versions of a zone differ where their records
do. Every record has its TTL; an owner stands on the first of its lines.
"""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from typing import TYPE_CHECKING

from sennit.names.codes import class_text, type_text
from sennit.names.zone.node import unpack
from sennit.names.zone.zone import type_order

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from sennit.names.zone.zone import Zone

__all__ = ["replace_with_lines", "write_zone", "zone_lines"]


def zone_lines(zone: Zone) -> Iterator[str]:
    """The lines of a zone's file, each with its end."""
    origin = zone.origin
    rdclass = class_text(zone.rdclass)
    yield f"$ORIGIN {origin}\n"
    for node in zone.sorted_nodes():
        name = node.name
        owner = name.relative_to(origin)
        for packed in sorted(node.sets, key=type_order):
            rrset = unpack(name, packed)
            rdtype = type_text(rrset.rdtype)
            for rdata in rrset.rdatas:
                yield f"{owner}\t{rrset.ttl}\t{rdclass}\t{rdtype}\t{rdata.to_text(origin)}\n"
                owner = ""


def write_zone(zone: Zone, path: str | Path) -> None:
    """Write a zone's file, which is the old one or the new one at every moment.

    Raises:
        OSError: It cannot be written; the old one is as it was.
    """
    replace_with_lines(path, zone_lines(zone))


def replace_with_lines(path: str | Path, lines: Iterable[str]) -> None:
    """Put a new file in the place of one, with its mode: written beside it, synced, renamed.

    Raises:
        OSError: It cannot be written; the old one is as it was.
    """
    target = os.path.realpath(str(path))
    folder, name = os.path.split(target)
    beside = os.path.join(folder, f".{name}.{secrets.token_hex(6)}")
    try:
        with open(beside, "x", encoding="utf-8", newline="\n") as file:
            file.writelines(lines)
            file.flush()
            with suppress(FileNotFoundError):
                os.chmod(beside, os.stat(target).st_mode & 0o777)
            os.fsync(file.fileno())
        os.replace(beside, target)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(beside)
        raise
    if os.name == "posix":  # elsewhere a folder cannot be opened
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
