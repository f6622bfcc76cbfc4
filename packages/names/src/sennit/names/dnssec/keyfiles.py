"""Keys of zones in a folder: files as BIND's tools have them, and where each key is in its life.

A key is two files, ``Kexample.org.+013+12345.key`` with its record and ``….private`` with its
secret, which nobody but their owner can read. Both tell when it is published, used, not used any
more and deleted, so that ``dnssec-signzone`` and ``dnssec-settime`` understand them. Where it is
in its life with us (`sennit.names.dnssec.rollover`) stands in ``example.org.state``, which is
written whenever that changes, before anybody sees the change. Keys that were put into the folder
by hand are taken over by their times.

All of this blocks, and is called in a thread.

Sources: dnssec-keygen(8), dnssec-settime(8) (names of the files and of the times).
"""

from __future__ import annotations

import calendar
import glob
import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sennit.names.codes import RRType
from sennit.names.dnssec.keys import ZoneKey, private_fields, private_from_text, private_to_text
from sennit.names.dnssec.numbers import SEP
from sennit.names.dnssec.rollover import KeyRole, KeyState, ManagedKey
from sennit.names.errors import DNSError, DNSUsageError
from sennit.names.message import Record
from sennit.names.presentation import split
from sennit.names.zone.writer import replace_with_lines

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sennit.names.name import Name
    from sennit.names.rdata.dnssec import DS

__all__ = ["KeyFolder"]

_TIMES: Final = {
    KeyState.PUBLISHED: "Publish",
    KeyState.ACTIVE: "Activate",
    KeyState.RETIRED: "Inactive",
}
"""The times that a key has come to a state, by BIND's words."""


class KeyFolder:
    """The keys of one zone in a folder.

    Args:
        folder: The folder; made where it is missing, for its owner alone.
        origin: The zone's name.

    Attributes:
        shown: Whether the zone showed its keys as they are in the file, when that was written.
    """

    def __init__(self, folder: Path | str, origin: Name) -> None:
        self.folder = Path(folder)
        self.origin = origin
        self._text = str(origin).lower().replace("/", "\\047")
        self._state = self.folder / f"{self._text}state"
        self._lock = -1
        self.shown = True

    def __repr__(self) -> str:
        return f"<KeyFolder {self.folder} of {self.origin}>"

    def path_of(self, key: ZoneKey) -> Path:
        """The file of a key's secret; that of its record ends in ``.key``."""
        name = f"K{self._text}+{key.algorithm:03d}+{key.tag:05d}.private"
        return self.folder / name

    # ── whose it is ───────────────────────────────────────────────────────────

    def acquire(self) -> None:
        """Have the zone's keys alone: two that both step on would lose each other's keys.

        Raises:
            DNSUsageError: Somebody else has them.
            OSError: The folder cannot be written.
        """
        import fcntl  # not everywhere, and signing as a service is for systems that have it

        self.release()
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        descriptor = os.open(self.folder / f".{self._text}lock", flags, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BaseException as error:
            os.close(descriptor)
            if isinstance(error, BlockingIOError):
                raise DNSUsageError(
                    f"the keys of {self.origin} in {self.folder} are in use by another program, "
                    "or another service of this one"
                ) from error
            raise
        self._lock = descriptor

    def release(self) -> None:
        """Let others have them."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    # ── reading ───────────────────────────────────────────────────────────────

    def load(self, now: float) -> tuple[list[ManagedKey], int | None]:
        """The keys that there are, and the serial that the zone had last; ``None`` for none.

        Raises:
            DNSUsageError: A file is none of a key, or one that is in use is missing.
            OSError: A file cannot be read.
        """
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = {(key.algorithm, key.tag): (key, fields) for key, fields in self._read_all()}
        try:
            state = json.loads(self._state.read_text(encoding="utf-8"))
            kept = [self._from_state(each, found) for each in state["keys"]]
            self.shown = bool(state.get("shown", True))
            return kept, state.get("serial")
        except FileNotFoundError:
            return self._from_times(found.values(), now), None
        except (ValueError, KeyError, TypeError) as error:
            raise DNSUsageError(f"{self._state} is no state of keys: {error!r}") from error

    def _from_state(
        self, said: dict[str, Any], found: dict[tuple[int, int], tuple[ZoneKey, dict[str, str]]]
    ) -> ManagedKey:
        which = (said["algorithm"], said["tag"])
        if which not in found:
            raise DNSUsageError(
                f"the key {which[1]} of {self.origin} is in use, and its file is not in "
                f"{self.folder}: put it back, or remove it from {self._state.name}"
            )
        return ManagedKey(
            found[which][0],
            KeyRole(said["role"]),
            KeyState(said["state"]),
            float(said["since"]),
            swept=said["swept"],
            ds=said["ds"],
        )

    def _read_all(self) -> Iterable[tuple[ZoneKey, dict[str, str]]]:
        for path in sorted(self.folder.glob(f"K{glob.escape(self._text)}+*.private")):
            try:
                text = path.read_text(encoding="utf-8")
                fields = private_fields(text)
                private = private_from_text(text)
                flags = self._flags_of(path.with_suffix(".key"))
            except (DNSError, UnicodeDecodeError) as error:
                raise DNSUsageError(f"{path}: {error}") from error
            yield ZoneKey(self.origin, private, flags), fields

    def _flags_of(self, path: Path) -> int:
        with path.open(encoding="utf-8") as lines:
            for entry in split(lines, str(path)):
                words = [each.text for each in entry.tokens]
                if "DNSKEY" in words:
                    flags = words[words.index("DNSKEY") + 1]
                    if flags.isascii() and flags.isdigit() and len(flags) <= 5:
                        return int(flags)
        raise DNSUsageError(f"{path} has no DNSKEY record")

    def _from_times(
        self, found: Iterable[tuple[ZoneKey, dict[str, str]]], now: float
    ) -> list[ManagedKey]:
        """Keys that somebody put there: in use from Activate on, known from Publish on."""
        kept: list[ManagedKey] = []
        pairs = list(found)
        split_roles = any(not key.is_sep for key, _ in pairs)
        for key, fields in pairs:
            over = [_stamp(fields.get(each)) for each in ("Inactive", "Delete")]
            if any(each is not None and each <= now for each in over):
                continue
            published = _stamp(fields.get("Publish"))
            active = _stamp(fields.get("Activate"))
            if active is None or active <= now:
                state, since = KeyState.ACTIVE, now if active is None else active
            elif published is not None and published <= now:
                state, since = KeyState.PUBLISHED, published
            else:
                continue
            role = KeyRole.ZSK if not key.is_sep else KeyRole.KSK if split_roles else KeyRole.CSK
            kept.append(ManagedKey(key, role, state, since))
        return kept

    # ── writing ───────────────────────────────────────────────────────────────

    def save(
        self,
        keys: Iterable[ManagedKey],
        removed: Iterable[ManagedKey],
        serial: int | None,
        now: float,
    ) -> None:
        """Write where each key is, files of new keys first, so that none is used and then lost.

        Raises:
            OSError: It cannot be written; what was there stays.
        """
        keys = list(keys)
        for each in keys:
            self._write_key(each, None)
        for each in removed:
            self._write_key(each, now)
        states = [each.state_dict() for each in keys]
        state = {"keys": states, "serial": serial, "shown": self.shown}
        replace_with_lines(self._state, [json.dumps(state, indent=1), "\n"])

    def _write_key(self, managed: ManagedKey, deleted: float | None) -> None:
        key = managed.key
        path = self.path_of(key)
        times: dict[str, str] = {}
        if path.exists():
            old = private_fields(path.read_text(encoding="utf-8"))
            times = {
                each: old[each]
                for each in ("Created", "Publish", "Activate", "Inactive", "Delete")
                if each in old
            }
        before = dict(times)
        stamp = _digits(managed.since)
        times.setdefault("Created", stamp)
        if managed.published:
            times.setdefault("Publish", stamp)
        if managed.state in _TIMES:
            times.setdefault(_TIMES[managed.state], stamp)
        if deleted is not None:
            times.setdefault("Inactive", _digits(deleted))
            times.setdefault("Delete", _digits(deleted))
        if before == times:
            return
        record = Record(self.origin, int(RRType.DNSKEY), 3600, key.dnskey)
        kind = "key-signing" if key.dnskey.flags & SEP else "zone-signing"
        # The secret last, which is what is looked for: with it the key is there as a whole.
        replace_with_lines(
            path.with_suffix(".key"),
            [
                f"; This is a {kind} key, keyid {key.tag}, for {self.origin}\n",
                *(f"; {name}: {value}\n" for name, value in times.items()),
                f"{self.origin} IN DNSKEY {record.rdata.to_text()}\n",
            ],
        )
        lines = [f"{name}: {value}\n" for name, value in times.items()]
        replace_with_lines(path, [private_to_text(key.private), *lines], mode=0o600)

    def write_ds(self, records: Iterable[DS]) -> Path:
        """Write what the parent is to have, as ``dsset-example.org.``; its path."""
        path = self.folder / f"dsset-{self._text}"
        replace_with_lines(path, [f"{self.origin} IN DS {each.to_text()}\n" for each in records])
        return path


def _digits(seconds: float) -> str:
    return time.strftime("%Y%m%d%H%M%S", time.gmtime(seconds))


def _stamp(text: str | None) -> float | None:
    """Seconds since 1970 of ``20261128120000``, as BIND writes it behind a time."""
    digits = (text or "").split(" ")[0]
    if len(digits) != 14 or not (digits.isascii() and digits.isdigit()):
        return None
    try:
        parsed = time.strptime(digits, "%Y%m%d%H%M%S")
    except ValueError:
        return None
    return float(calendar.timegm(parsed))
