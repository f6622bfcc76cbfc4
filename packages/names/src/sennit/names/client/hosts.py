"""``/etc/hosts``: addresses of names that no server is asked for (hosts(5)).

A line has an address, the name it is of, and aliases. `HostsFile` finds addresses by name and
names by address; a name may have several addresses, of both families, on several lines.
Lines that make no sense are left out, and stand in `HostsFile.problems`.

Source: hosts(5). Not here: names that need no file, such as ``localhost`` (``special.py``).
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import Final

from sennit.names.errors import PresentationError
from sennit.names.name import Name

__all__ = ["HOSTS", "MAX_SIZE", "HostsFile", "parse_hosts"]

HOSTS: Final = "/etc/hosts"
MAX_SIZE: Final = 64 * 1024 * 1024
"""Characters that are read."""
MAX_LINES: Final = 1_000_000
"""Lines that are read (people keep lists of blocked names there)."""
MAX_ADDRESSES: Final = 64
"""Addresses of one name that are kept."""
MAX_PROBLEMS: Final = 100


class HostsFile:
    """What a hosts file says.

    Attributes:
        problems: Lines that were left out, and why: ``line 3: …``.
    """

    __slots__ = ("_addresses", "_names", "problems")

    def __init__(self) -> None:
        self._addresses: dict[bytes, list[str]] = {}
        self._names: dict[str, Name] = {}
        self.problems: list[str] = []

    def addresses(self, name: Name, rdtype: int = 0) -> list[str]:
        """Addresses of a name: of IPv4 (type 1), of IPv6 (28), or all (0). Empty for none."""
        found = self._addresses.get(name.key, [])
        if not rdtype:
            return list(found)
        return [each for each in found if (":" in each) == (rdtype == 28)]

    def has(self, name: Name) -> bool:
        """Whether the name is there, with addresses of whichever family."""
        return name.key in self._addresses

    def name(self, address: str) -> Name | None:
        """The name of an address: the first on the first line that has it."""
        return self._names.get(address)

    def __len__(self) -> int:
        """Names that have addresses."""
        return len(self._addresses)

    def add(self, address: str, names: list[str]) -> None:
        """One line.

        Raises:
            ValueError: It makes no sense.
        """
        host, percent, zone = address.partition("%")
        try:
            whole = str(ip_address(host)) + percent + zone
        except ValueError:
            raise ValueError(f"{address!r:.60} is no address") from None
        if not names:
            raise ValueError("an address without a name")
        for at, text in enumerate(names):
            name = Name(text)
            kept = self._addresses.setdefault(name.key, [])
            if whole not in kept and len(kept) < MAX_ADDRESSES:
                kept.append(whole)
            if at == 0:
                self._names.setdefault(whole, name)


def parse_hosts(text: str) -> HostsFile:
    """Read the text of a hosts file."""
    found = HostsFile()
    for number, line in enumerate(text.split("\n"), 1):
        if number > MAX_LINES:
            found.problems.append(f"line {number}: only {MAX_LINES} lines are read")
            break
        words = line.partition("#")[0].split()
        if not words:
            continue
        try:
            found.add(words[0], words[1:])
        except (PresentationError, ValueError) as error:
            if len(found.problems) < MAX_PROBLEMS:
                found.problems.append(f"line {number}: {error}")
    return found
