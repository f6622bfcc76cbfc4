"""Who may do what on a server of news: read and post which groups, offer articles.

An `Access` is what a login opens (``portal.login(…, Access)``), and what a connection has by its
address before one. `AccessRules` are the latter: the first rule whose networks have the address
decides.

Not here: logins (``serving/logins.py``); what becomes of articles (``intake.py``).
"""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING, Final

from sennit.core.endpoint.networks import Networks, host_of
from sennit.news.wildmat import parse_wildmat

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from sennit.news.wildmat import Wildmat

__all__ = ["NOBODY", "Access", "AccessRules"]


class Access:
    """What one user, peer or address may do.

    Args:
        read: A wildmat of the groups that may be read; ``None`` for none.
        post: A wildmat of those that may be posted to; ``None`` for none.
        transit: Whether articles may be offered, as a peer does.
        approve: Whether an Approved field counts in what is posted to moderated groups.
        name: Of the user or peer, as in Path, logs, and Injection-Info.

    Raises:
        NNTPProtocolError: One of them is no wildmat.

    Attributes:
        reads_all: Whether every group may be read.
        posts_all: Whether every group may be posted to.
    """

    __slots__ = ("_post", "_read", "approve", "name", "posts_all", "reads_all", "transit")

    def __init__(
        self,
        read: str | None = "*",
        post: str | None = None,
        *,
        transit: bool = False,
        approve: bool = False,
        name: str = "",
    ) -> None:
        self._read: Wildmat | None = None if read is None else parse_wildmat(read)
        self._post: Wildmat | None = None if post is None else parse_wildmat(post)
        self.reads_all = read == "*"
        self.posts_all = post == "*"
        self.transit = transit
        self.approve = approve
        self.name = name

    def __repr__(self) -> str:
        kinds = f"read={self._read}, post={self._post}, transit={self.transit}"
        return f"<{type(self).__name__} {self.name[:64]!r} {kinds}>"

    @property
    def reads(self) -> bool:
        """Whether any group may be read."""
        return self._read is not None

    @property
    def posts(self) -> bool:
        """Whether any group may be posted to."""
        return self._post is not None

    def named(self, name: str) -> Access:
        """The same, of a user."""
        other = copy(self)
        other.name = name
        return other

    def may_read(self, group: str) -> bool:
        """Whether a group may be read."""
        return self.reads_all or (self._read is not None and self._read.matches(group))

    def may_post(self, groups: Iterable[str]) -> bool:
        """Whether all of these groups may be posted to."""
        post = self._post
        return self.posts_all or (post is not None and all(map(post.matches, groups)))


NOBODY: Final = Access(None)
"""May do nothing: who must log in first."""


class AccessRules:
    """What connections may do by where they come from.

    Args:
        rules: Networks (or what makes some: ``"10.0.0.0/8,loopback"``), and what is granted there.
        default: What everybody else may do.
    """

    __slots__ = ("_rules", "default")

    def __init__(
        self, rules: Iterable[tuple[Networks | str, Access]] = (), default: Access = NOBODY
    ) -> None:
        self._rules = [
            (Networks(each) if isinstance(each, str) else each, access) for each, access in rules
        ]
        self.default = default

    def of(self, peer: Any) -> Access:
        """What a connection may do. (`Any`: its peer's address, of whatever kind, or None.)"""
        host = host_of(peer)
        if host is not None:
            for networks, access in self._rules:
                # A peer that only embeds an address of ours in its own is not ours.
                if networks.trusts(host):
                    return access
        return self.default
