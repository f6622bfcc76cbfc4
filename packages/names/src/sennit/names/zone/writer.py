"""Zone files written: one record a line, in canonical order, whole or not at all.

The order is that of RFC 4034 §6.1, so that two versions of a zone differ where their records
do. Every record has its TTL; an owner stands on the first of its lines.

How a file is replaced, so that it is the old one or the new one whenever the machine stops, is
here too, for all files of this package.
"""

from __future__ import annotations

import glob
import os
import secrets
from contextlib import suppress
from typing import TYPE_CHECKING

from sennit.core.commit import sync_directory
from sennit.names.codes import class_text, type_text
from sennit.names.zone.node import unpack
from sennit.names.zone.zone import type_order

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from sennit.names.zone.zone import Zone

__all__ = [
    "put_in_place",
    "remove_leftovers",
    "replace_file",
    "replace_with_lines",
    "write_beside",
    "write_zone",
    "zone_lines",
]


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


def replace_with_lines(path: str | Path, lines: Iterable[str], *, mode: int = 0o666) -> None:
    """Put a new file of text in the place of one, with its mode.

    Args:
        path: The file.
        lines: The text.
        mode: Of a file that is not there yet, less what the umask takes.

    Raises:
        OSError: It cannot be written; the old one is as it was.
    """
    replace_file(path, (line.encode() for line in lines), mode=mode)


def replace_file(path: str | Path, pieces: Iterable[bytes], *, mode: int = 0o666) -> None:
    """Put a new file in the place of one, with its mode: written beside it, synced, renamed.

    Args:
        path: The file.
        pieces: What is to be in it.
        mode: Of a file that is not there yet, less what the umask takes.

    Raises:
        OSError: It cannot be written; the old one is as it was.
    """
    target, beside, descriptor = write_beside(path, pieces, mode=mode)
    os.close(descriptor)
    put_in_place(beside, target)
    sync_directory(os.path.dirname(target))


def write_beside(
    path: str | Path, pieces: Iterable[bytes], *, mode: int = 0o666
) -> tuple[str, str, int]:
    """Write what is to take a file's place, with its mode, and wait until it is on the disk.

    Returns:
        The file, links followed; the one beside it; a descriptor of that, to append to it.

    Raises:
        OSError: It cannot be written, and there is nothing of it.
    """
    target = os.path.realpath(str(path))
    folder, name = os.path.split(target)
    beside = os.path.join(folder, f".{name}.{secrets.token_hex(6)}")
    old: int | None = None
    with suppress(FileNotFoundError):
        old = os.stat(target).st_mode & 0o777
    # Nobody reads a secret meanwhile: it has its mode before anything is in it.
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0)
    descriptor = os.open(beside, flags, mode if old is None else old)
    try:
        if old is not None:
            os.chmod(beside, old)  # whatever the umask
        with open(descriptor, "wb", closefd=False) as file:
            file.writelines(pieces)
        os.fsync(descriptor)
    except BaseException:
        os.close(descriptor)
        _remove(beside)
        raise
    return target, beside, descriptor


def put_in_place(beside: str, target: str) -> None:
    """Rename what `write_beside` wrote; it is gone where that fails.

    Raises:
        OSError: That failed.
    """
    try:
        os.replace(beside, target)
    except BaseException:
        _remove(beside)
        raise


def remove_leftovers(path: str | Path) -> None:
    """Remove what a crash left beside a file; for who knows that nobody writes it now."""
    folder, name = os.path.split(os.path.realpath(str(path)))
    for each in glob.iglob(os.path.join(glob.escape(folder), f".{glob.escape(name)}.{'?' * 12}")):
        if set(each[-12:]) <= set("0123456789abcdef"):
            _remove(each)


def _remove(path: str) -> None:
    with suppress(OSError):
        os.unlink(path)
