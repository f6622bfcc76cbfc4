"""Cookies, the client's side: who got one from a server proves with it that it is no forger.

For each server (and address asked from) a client cookie of eight octets, chosen at random, is
kept together with the server cookie that came back; both go with the next question. An answer
that repeats another client cookie was sent by somebody else.

Sources: RFC 7873 §5, §8, RFC 9018. Not here: the server's side (``serving/cookies.py``).
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from sennit.names.codes import OptionCode
from sennit.names.edns import EDNS, Option

if TYPE_CHECKING:
    from sennit.names.message import Message

__all__ = ["CookieJar", "with_option"]

MAX_SERVERS: Final = 1000
"""Servers whose cookies are kept; the ones asked longest ago go first."""


def with_option(edns: EDNS | None, option: Option) -> EDNS:
    """The same OPT with one option more, in the place of others of its code."""
    edns = edns or EDNS()
    return EDNS(
        edns.payload,
        dnssec_ok=edns.dnssec_ok,
        options=[*(each for each in edns.options if each.code != option.code), option],
        version=edns.version,
        flags=edns.flags,
    )


class CookieJar:
    """The cookies of many servers."""

    def __init__(self) -> None:
        self._kept: OrderedDict[object, tuple[bytes, bytes]] = OrderedDict()

    def option(self, server: object) -> Option:
        """What to say to a server."""
        kept = self._kept.get(server)
        if kept is None:
            kept = self._kept[server] = (secrets.token_bytes(8), b"")
            if len(self._kept) > MAX_SERVERS:
                self._kept.popitem(last=False)
        else:
            self._kept.move_to_end(server)
        return Option(OptionCode.COOKIE, kept[0] + kept[1])

    def received(self, server: object, answer: Message) -> bool:
        """Keep what a server said; whether the answer may be believed (RFC 7873 §5.3)."""
        kept = self._kept.get(server)
        option = None if answer.edns is None else answer.edns.option(OptionCode.COOKIE)
        if kept is None or option is None:
            # A server that had one to give before does not forget it within an answer, but one
            # that was replaced does, and FORMERR has no OPT: it is for the caller to retry.
            return True
        data = option.data
        if data[:8] != kept[0] or not 16 <= len(data) <= 40:
            return False
        self._kept[server] = (kept[0], data[8:])
        return True
