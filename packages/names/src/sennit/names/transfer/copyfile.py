"""The file of a secondary's copy, and beside it when the copy was last known to be right.

The zone file is an ordinary one. Beside it, with ``.checked`` behind its name, stand the serial,
when a primary last confirmed it (seconds since 1970), and for how long it may be used from then.
Both are written beside the old ones and renamed into their places; where they do not belong
together, the zone file's own time counts.

All of this blocks, and is called in a thread.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from sennit.names.rdata.basic import SOA
from sennit.names.zone.writer import replace_file

if TYPE_CHECKING:
    from sennit.names.name import Name
    from sennit.names.zone.zone import Zone

__all__ = ["Copy", "load_copy", "save_checked", "save_copy"]


class Copy(NamedTuple):
    """A copy as it was kept.

    Attributes:
        zone: The zone.
        checked: When it was last known to be right, in seconds since 1970.
        expire: Seconds that it may be used from then on.
    """

    zone: Zone
    checked: float
    expire: float


def _beside(path: Path) -> Path:
    return path.with_name(path.name + ".checked")


def load_copy(path: Path, origin: Name) -> Copy | None:
    """The copy that is kept; ``None`` where there is none.

    Raises:
        DNSError: The file is no zone of this name.
        OSError: It cannot be read.
    """
    try:
        written = path.stat().st_mtime
    except FileNotFoundError:
        return None
    from sennit.names.zone.zonefile import read_zone

    zone = read_zone(path, origin=origin)
    soa = zone.soa.rdata
    assert isinstance(soa, SOA)
    with suppress(OSError, ValueError):
        serial, checked, expire = _beside(path).read_text("ascii").split()
        if int(serial) == zone.serial:
            return Copy(zone, float(int(checked)), min(float(int(expire)), float(soa.expire)))
    return Copy(zone, written, float(soa.expire))


def save_copy(path: Path, zone: Zone, checked: float, expire: float) -> None:
    """Keep a copy.

    Raises:
        OSError: It cannot be written; what was kept is there still.
    """
    from sennit.names.zone.writer import write_zone

    write_zone(zone, path)
    save_checked(path, zone.serial, checked, expire)


def save_checked(path: Path, serial: int, checked: float, expire: float) -> None:
    """Keep when a copy was last known to be right.

    Raises:
        OSError: It cannot be written.
    """
    replace_file(_beside(path), [f"{serial} {int(checked)} {int(expire)}\n".encode("ascii")])
