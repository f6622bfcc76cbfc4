"""The journal of a zone: a file of changes, each on disk before anybody is told that it was made.

The file begins with the zone's name and the serial of the zone file that it was begun with.
Entries follow, each with its length and a checksum in front: the serials before and behind the
change, and the records that went and came, as octets. Entries are only ever appended, several
at a time where several wait, and the file is synchronised once behind them.

When a crash cuts the last ones off, `Journal.open` gives the whole ones and cuts the file
behind them; what is cut was never acknowledged. What looks damaged rather than cut is kept
beside the file (``.broken``). `replay` brings a zone up to the last entry.

The zone file is written anew now and then (``update.py``), the journal with the history that
IXFR is to have (`Journal.rewrite`), each beside the old one and renamed into its place, the
zone file first. A crash between the two leaves a journal whose first entries are in the zone file
already, which `replay` sees by the serial. Who has a journal open has it alone (``flock``), also
while it is replaced.

All of this blocks, and is called in a thread.

Sources: RFC 2136 §3.5, §7.3 (changes are on stable storage before the answer).
"""

from __future__ import annotations

import os
import zlib
from pathlib import Path
from struct import Struct
from typing import TYPE_CHECKING, Final

from sennit.core.commit import sync_directory
from sennit.names.errors import DNSError, MessageFormatError
from sennit.names.message import Record
from sennit.names.name import Name, read_name
from sennit.names.rdata import rdata_from_wire
from sennit.names.update.history import Entry
from sennit.names.zone.writer import (
    put_in_place,
    remove_leftovers,
    replace_file,
    write_beside,
)
from sennit.names.zone.zone import Changes

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Self

    from sennit.names.zone.zone import Zone

__all__ = [
    "Journal",
    "JournalError",
    "decode",
    "encode",
    "replay",
]

_MAGIC: Final = b"sennit journal 1\n"
_HEAD: Final = Struct(">II")
"""Octets of an entry, and their checksum."""
_COUNTS: Final = Struct(">IIII")
_FIXED: Final = Struct(">HHIH")
_MAX_ENTRY: Final = 1 << 30
"""Octets of an entry that can be true."""
_FLAGS: Final = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC


class JournalError(DNSError):
    """A journal that does not fit its zone, or that cannot be written."""


def encode(entry: Entry) -> bytes:
    """An entry as octets, without length and checksum."""
    removed, added = entry.changes.removed, entry.changes.added
    parts = [_COUNTS.pack(entry.old, entry.new, len(removed), len(added))]
    for record in (*removed, *added):
        data = record.rdata.wire
        parts += (
            record.name.wire,
            _FIXED.pack(record.rdtype, record.rdclass, record.ttl, len(data)),
            data,
        )
    return b"".join(parts)


def decode(octets: bytes) -> Entry:
    """The entry that `encode` made octets of.

    Raises:
        MessageFormatError: They are none.
    """
    if len(octets) < _COUNTS.size:
        raise MessageFormatError("an entry that is cut off")
    old, new, gone, come = _COUNTS.unpack_from(octets)
    position = _COUNTS.size
    found: list[Record] = []
    while position < len(octets):
        name, position = read_name(octets, position, {})
        begin = position + _FIXED.size
        if begin > len(octets):
            raise MessageFormatError("a record that is cut off")
        rdtype, rdclass, ttl, length = _FIXED.unpack_from(octets, position)
        position = begin + length
        if position > len(octets):
            raise MessageFormatError("a record that is cut off")
        rdata = rdata_from_wire(rdtype, octets[begin:position])
        found.append(Record(name, rdtype, ttl, rdata, rdclass))
    if len(found) != gone + come:
        raise MessageFormatError(f"{gone + come} records are said, and {len(found)} follow")
    return Entry(old, new, Changes(found[:gone], found[gone:]))


def _framed(entry: Entry) -> bytes:
    octets = encode(entry)
    # The length is under the checksum too: one that was bent would be believed otherwise.
    size = len(octets).to_bytes(4, "big")
    return size + zlib.crc32(octets, zlib.crc32(size)).to_bytes(4, "big") + octets


def _header(origin: Name, base: int) -> bytes:
    plain = _MAGIC + base.to_bytes(4, "big") + len(origin.wire).to_bytes(2, "big") + origin.wire
    return plain + zlib.crc32(plain).to_bytes(4, "big")


def _read(octets: bytes, origin: Name) -> tuple[int, list[Entry], int]:
    """Serial of the zone file, the whole entries, and the position behind them."""
    size = len(_MAGIC) + 6
    if len(octets) < size or not octets.startswith(_MAGIC):
        raise JournalError(f"the journal of {origin} is none: it does not begin as one")
    behind = size + int.from_bytes(octets[size - 2 : size], "big") + 4
    plain = octets[: behind - 4]
    if octets[behind - 4 : behind] != zlib.crc32(plain).to_bytes(4, "big"):
        raise JournalError(f"the journal of {origin} has a damaged beginning")
    if plain[size:].lower() != origin.key:
        raise JournalError(f"the journal is of another zone than {origin}")
    base = int.from_bytes(octets[len(_MAGIC) : len(_MAGIC) + 4], "big")
    entries: list[Entry] = []
    position = behind
    while position + _HEAD.size <= len(octets):
        length, checksum = _HEAD.unpack_from(octets, position)
        begin = position + _HEAD.size
        end = begin + length
        if length > _MAX_ENTRY or end > len(octets):
            break
        body = octets[begin:end]
        if zlib.crc32(body, zlib.crc32(octets[position : position + 4])) != checksum:
            break
        try:
            entries.append(decode(body))
        except MessageFormatError:
            break
        position = end
    return base, entries, position


class Journal:
    """The journal of one zone, open to be written.

    Attributes:
        path: The file.
        base: Serial of the zone file that it was begun with.
        size: Octets of the file.
        cut: Octets that were cut off its end when it was opened.
    """

    def __init__(self, path: Path, origin: Name, base: int, descriptor: int, size: int) -> None:
        self.path = path
        self.base = base
        self.size = size
        self.cut = 0
        self._origin = origin
        self._descriptor = descriptor
        self._broken = False
        self._unsynced = False  # whether the folder has its name is not certain yet

    @classmethod
    def open(cls, path: Path | str, origin: Name, serial: int) -> tuple[Self, list[Entry]]:
        """Open the journal of a zone, or begin one.

        Args:
            path: The file.
            origin: The zone's name.
            serial: Serial of the zone file, where a journal is begun.

        Returns:
            The journal, and what stands in it.

        Raises:
            JournalError: It is no journal, or of another zone, or in use.
            OSError: The file cannot be read or written.
        """
        path = Path(path)
        try:
            descriptor = os.open(path, _FLAGS)
        except FileNotFoundError:
            replace_file(path, [_header(origin, serial)])
            descriptor = os.open(path, _FLAGS)
        try:
            _lock(descriptor, path)
            remove_leftovers(path)
            octets = path.read_bytes()
            base, entries, end = _read(octets, origin)
            self = cls(path, origin, base, descriptor, end)
            self.cut = len(octets) - end
            if self.cut:
                if _damaged(octets, end):
                    replace_file(path.with_name(path.name + ".broken"), [octets[end:]])
                os.ftruncate(descriptor, end)
                os.fsync(descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        return self, entries

    def append(self, entries: Iterable[Entry]) -> list[int]:
        """Write entries, all or none, and wait until they are on the disk.

        Returns:
            The size that the file had before each of them, for `take_back`.

        Raises:
            JournalError: They are not; the file is as it was before, or takes nothing more.
        """
        if self._broken:
            raise JournalError(f"{self.path.name}: a write failed before, and could not be undone")
        pieces = list(map(_framed, entries))
        octets = b"".join(pieces)
        try:
            rest = memoryview(octets)
            if self._unsynced:
                sync_directory(self.path.parent)
                self._unsynced = False
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
            os.fdatasync(self._descriptor)
        except OSError as error:
            # What is half there must not stand before what comes later.
            try:
                os.ftruncate(self._descriptor, self.size)
                os.fsync(self._descriptor)
            except OSError:
                self._broken = True
            raise JournalError(f"{self.path.name}: {error}") from error
        places: list[int] = []
        for piece in pieces:
            places.append(self.size)
            self.size += len(piece)
        return places

    def take_back(self, size: int) -> None:
        """Cut off what was written behind a size that the file had; nobody was told of it.

        Raises:
            JournalError: That failed, and nothing more is taken.
        """
        try:
            os.ftruncate(self._descriptor, size)
            os.fsync(self._descriptor)
        except OSError as error:
            self._broken = True
            raise JournalError(f"{self.path.name}: {error}") from error
        self.size = size

    def rewrite(self, entries: Iterable[Entry], base: int) -> None:
        """Begin anew, with what of the history is to stay.

        Args:
            entries: They.
            base: Serial of the zone file now.

        Raises:
            OSError: The new file cannot be written, and the old one is in use still; or it is in
                use, and whether it keeps its name is not certain before the next change.
        """
        octets = b"".join((_header(self._origin, base), *map(_framed, entries)))
        target, beside, descriptor = write_beside(self.path, [octets])
        try:
            _lock(descriptor, Path(beside))  # before anybody else can find it by its name
            put_in_place(beside, target)
        except BaseException:
            os.close(descriptor)
            raise
        os.close(self._descriptor)
        self._descriptor = descriptor
        self._broken = False
        self._unsynced = True
        self.base = base
        self.size = len(octets)
        sync_directory(self.path.parent)
        self._unsynced = False

    def set_aside(self) -> None:
        """Rename it (``.old``), for a zone file that was replaced by hand; begin with `rewrite`."""
        os.rename(self.path, self.path.with_name(self.path.name + ".old"))

    def close(self) -> None:
        """Close the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _lock(descriptor: int, path: Path) -> None:
    """Keep a file for ourselves, as long as it is open.

    Raises:
        JournalError: Somebody else has it, or has just put another one in its place.
    """
    import fcntl  # not everywhere, and changes of zones are for systems that have it

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        ours = os.path.samestat(os.fstat(descriptor), os.stat(path))
    except (BlockingIOError, FileNotFoundError):
        ours = False
    if not ours:
        raise JournalError(
            f"{path} is in use: another program, or another service of this one, changes the "
            "same zone. End that one, or give one of them a zone file of its own"
        )


def _damaged(octets: bytes, end: int) -> bool:
    """Whether more is wrong behind `end` than that the rest of an entry is missing."""
    if end + _HEAD.size > len(octets):
        return False
    length = int.from_bytes(octets[end : end + 4], "big")
    return end + _HEAD.size + length <= len(octets)


def replay(zone: Zone, entries: list[Entry], base: int) -> list[Entry] | None:
    """Bring a zone, as its file has it, up to the last entry.

    Args:
        zone: The zone; changed in place.
        entries: What its journal has.
        base: `Journal.base`.

    Returns:
        The entries that were applied; ``None`` where the file was replaced by hand and the
        journal has nothing that an earlier one had not: then the journal is to be set aside.

    Raises:
        JournalError: The journal has changes that do not fit the file: whether they are to be
            kept is for people to say.
    """
    serial = zone.serial
    if not entries or entries[-1].new == serial:
        return []
    for position, entry in enumerate(entries):
        if entry.old == serial:
            for each in entries[position:]:
                try:
                    zone.apply(each.changes)
                except DNSError as error:
                    raise JournalError(
                        f"{zone.origin}: change {each.old} to {each.new} of the journal does not "
                        f"fit the zone file: {error}"
                    ) from error
            return entries[position:]
    if entries[-1].new == base:
        return None
    raise JournalError(
        f"{zone.origin}: the zone file has serial {serial}, and the journal changes from "
        f"{entries[0].old} to {entries[-1].new} which are not in it. Give the file such a serial "
        "again, or remove the journal to lose them"
    )
