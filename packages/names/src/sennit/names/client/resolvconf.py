"""``/etc/resolv.conf``: which servers to ask, and how names are completed (resolv.conf(5)).

`parse_resolv_conf` reads the text. It never fails: a line that makes no sense is left out, and
stands in `ResolvConf.problems` with its number, since a machine with a typing error in this file
still has to resolve names. `Watched` reads a file again when it has changed.

Source: resolv.conf(5). As there: of several ``search`` or ``domain`` lines the last counts;
`nameserver` has an address; options that are not known are left out silently, and so is
``single-request-reopen``: each question has a socket of its own here.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from sennit.names.client.sharing import Shared
from sennit.names.errors import PresentationError
from sennit.names.name import Name

if TYPE_CHECKING:
    from collections.abc import Callable

    from sennit.core.reactor.base import Reactor

__all__ = ["RESOLV_CONF", "ResolvConf", "Watched", "parse_resolv_conf"]

RESOLV_CONF: Final = "/etc/resolv.conf"
LOCALHOST: Final = ("127.0.0.1", "::1")
"""Servers where none is named (resolv.conf(5): the one on this host)."""
MAX_SERVERS: Final = 8
"""Servers that are kept (the C library's three are too few for both families)."""
MAX_SEARCH: Final = 32
"""Domains that are kept of the search list."""
MAX_SIZE: Final = 64 * 1024
"""Characters of the file that are read."""
IN_LOOP: Final = 64 * 1024
"""Octets of a file that is read at once, some ten milliseconds' work; a larger one in a thread."""
_BOUNDS: Final = {"ndots": (0, 15), "timeout": (1, 30), "attempts": (1, 5)}

T = TypeVar("T")


@dataclass(slots=True)
class ResolvConf:
    """What the file says.

    Attributes:
        servers: Addresses to ask, in order.
        search: Domains that complete a name.
        ndots: Dots from which on a name is tried as it is first.
        timeout: Seconds to wait for one server.
        attempts: Times that the list of servers is gone through.
        rotate: Begin with another server each time.
        edns0: Whether questions have EDNS (here they do, whether it is said or not).
        use_vc: Ask over TCP.
        trust_ad: Believe the AD flag of these servers.
        single_request: Ask for one family after the other.
        no_aaaa: Do not ask for AAAA records.
        problems: Lines that were left out, and why: ``line 3: …``.
    """

    servers: tuple[str, ...] = LOCALHOST
    search: tuple[Name, ...] = ()
    ndots: int = 1
    timeout: int = 5
    attempts: int = 2
    rotate: bool = False
    edns0: bool = True
    use_vc: bool = False
    trust_ad: bool = False
    single_request: bool = False
    no_aaaa: bool = False
    problems: list[str] = field(default_factory=list[str])


_FLAGS: Final = {
    "rotate": "rotate",
    "edns0": "edns0",
    "use-vc": "use_vc",
    "trust-ad": "trust_ad",
    "single-request": "single_request",
    "no-aaaa": "no_aaaa",
}


def parse_resolv_conf(text: str) -> ResolvConf:
    """Read the text of a resolv.conf."""
    found = ResolvConf()
    servers: list[str] = []
    for number, line in enumerate(text[:MAX_SIZE].split("\n"), 1):
        words = line.split()
        if not words or line[:1] in "#;" or words[0][:1] in "#;":
            continue
        keyword, values = words[0], _before_comment(words[1:])
        try:
            if keyword == "nameserver":
                _add_server(servers, values)
            elif keyword == "domain":
                found.search = tuple(map(Name, values[:1]))
            elif keyword == "search":
                if len(values) > MAX_SEARCH:
                    found.problems.append(
                        f"line {number}: only the first {MAX_SEARCH} domains are used"
                    )
                found.search = tuple(map(Name, values[:MAX_SEARCH]))
            elif keyword == "options":
                for word in values:
                    _take_option(found, word)
            elif keyword not in ("sortlist", "lookup", "family"):
                found.problems.append(f"line {number}: {keyword!r:.60} is no keyword")
        except (PresentationError, ValueError) as error:
            found.problems.append(f"line {number}: {error}")
    if servers:
        found.servers = tuple(servers)
    return found


def _before_comment(words: list[str]) -> list[str]:
    for at, word in enumerate(words):
        if word[0] in "#;":
            return words[:at]
    return words


def _add_server(servers: list[str], values: list[str]) -> None:
    if len(values) != 1:
        raise ValueError("nameserver has one address")
    try:
        address = str(ip_address(values[0]))
    except ValueError:
        raise ValueError(f"{values[0]!r:.60} is no address") from None
    if len(servers) >= MAX_SERVERS:
        raise ValueError(f"only the first {MAX_SERVERS} servers are used")
    if address not in servers:
        servers.append(address)


def _take_option(found: ResolvConf, word: str) -> None:
    name, colon, value = word.partition(":")
    if name in _BOUNDS and colon:
        least, most = _BOUNDS[name]
        if not (value.isascii() and value.isdigit() and len(value) <= 9):
            raise ValueError(f"{word!r:.60}: a number belongs behind the colon")
        setattr(found, name, min(max(int(value), least), most))
    elif word in _FLAGS:
        setattr(found, _FLAGS[word], True)


class Watched(Generic[T]):
    """What a file says, read again when the file has changed.

    Args:
        path: The file.
        parse: Makes something of its text. In a thread, where the file is large.
        empty: What to take where there is no such file, or it cannot be read.
        every: Seconds between two looks at the file.
        most: Characters that are read.
    """

    def __init__(
        self,
        path: str,
        parse: Callable[[str], T],
        empty: T,
        *,
        every: float = 1.0,
        most: int = MAX_SIZE,
    ) -> None:
        self.path = path
        self._parse = parse
        self._empty = self._value = empty
        self._every = every
        self._most = most
        self._looked = -1e9
        self._stamp: tuple[int, int, int] | None = None
        self._reading: Shared[None] = Shared()

    def get(self, now: float) -> T:
        """What it says; `now` in seconds, of a clock that does not go back."""
        if (stamp := self._changed(now)) is not None:
            self._take(stamp)
        return self._value

    async def fetch(self, now: float, reactor: Reactor) -> T:
        """The same; a large file is read in a thread, so that no other work waits for it.

        What it said before counts until it was read again.
        """
        stamp = self._changed(now)
        if stamp is not None and stamp[1] <= IN_LOOP:
            self._take(stamp)
        elif stamp is not None or (len(self._reading) and self._stamp is None):
            await self._reading.run("", lambda: self._read_apart(stamp, reactor))
        return self._value

    def _changed(self, now: float) -> tuple[int, int, int] | None:
        """The stamp of a file that is to be read; ``None`` where what is known is right."""
        if now - self._looked < self._every:
            return None
        self._looked = now
        try:
            about = os.stat(self.path)
            if not stat.S_ISREG(about.st_mode):
                raise OSError("reading of a pipe would wait for its writer")
        except OSError:
            self._stamp, self._value = None, self._empty
            return None
        stamp = (about.st_mtime_ns, about.st_size, about.st_ino)
        return None if stamp == self._stamp else stamp

    def _read(self) -> T:
        with open(self.path, encoding="utf-8", errors="replace") as file:
            return self._parse(file.read(self._most))

    def _take(self, stamp: tuple[int, int, int]) -> None:
        try:
            self._value, self._stamp = self._read(), stamp
        except OSError:
            self._value, self._stamp = self._empty, None

    async def _read_apart(self, stamp: tuple[int, int, int] | None, reactor: Reactor) -> None:
        try:
            value = await reactor.defer_to_thread(self._read)
        except OSError:
            self._value, self._stamp = self._empty, None
        except BaseException:
            self._looked = -1e9  # nobody waited for it: whoever comes next begins again
            raise
        else:
            self._value, self._stamp = value, stamp
