"""What control messages do, where they do anything.

Without `Control` they are articles as others are: kept, passed on, and not acted on. With it, each
kind has to be named, and is believed of some only:

* ``cancel`` and ``supersedes``: of whoever has a key to the article's Cancel-Lock, from wherever it
  comes (RFC 8315); of the one who posted the article here, told by the account in Injection-Info
  (so he has to have logged in, both times); and of a trusted peer, which vouches for its posters,
  when From is the same in both and the article has no Cancel-Lock.
* ``newgroup``, ``rmgroup``, ``checkgroups``: of issuers, each for the groups of his wildmat, when
  the message is approved and came from a trusted peer, or from a user here who may approve.

From can be written by anybody: it is the peer that is trusted. Signatures (PGP) are not looked at.
No message ever has mail sent, or tells anything of this server (``sendsys``, ``senduuname``,
``version``: RFC 5537 §5.6).

Sources: RFC 5537 §5.2 (newgroup, rmgroup, checkgroups), §5.3 (cancel), §5.4 (Supersedes). Not here:
locks and keys (``locks.py``).
"""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Final

from sennit.core._faultlog import RateLimit, escape
from sennit.news.article import is_group_name, is_message_id, parse
from sennit.news.errors import ArticleError, NNTPUsageError
from sennit.news.injection import path_of, posting_account
from sennit.news.interfaces import History
from sennit.news.locks import opens
from sennit.news.wildmat import parse_wildmat

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from sennit.news.article import ParsedArticle
    from sennit.news.injection import Injection
    from sennit.news.interfaces import Article, IArticleStore
    from sennit.news.wildmat import Wildmat

__all__ = ["KINDS", "Control"]

KINDS: Final = ("cancel", "supersedes", "newgroup", "rmgroup", "checkgroups")
"""What can be acted on."""
MAX_CHECKED: Final = 10_000
"""Groups that one checkgroups may name."""

_ADDRESS: Final = re.compile(rb"[^\s<>()@,;:\"]+@[^\s<>()@,;:\"]+")
_MODERATED: Final = re.compile(r"\s*\(moderated\)$", re.IGNORECASE)

logger = logging.getLogger("sennit.news.control")


class Control:
    """Acts on control messages.

    Args:
        store: What it changes.
        path_host: This server's name in Injection-Info.
        kinds: Those of `KINDS` that are acted on.
        trusted: Peers that vouch for what they send.
        issuers: By mail address (as in From), a wildmat of the groups that he may make, change and
            remove.
        clock: Tells the time, in POSIX seconds.

    Raises:
        NNTPUsageError: There is no such kind.
    """

    def __init__(
        self,
        store: IArticleStore,
        *,
        path_host: str,
        kinds: Collection[str],
        trusted: Collection[str] = (),
        issuers: Mapping[str, str] | None = None,
        clock: Callable[[], float],
    ) -> None:
        for kind in kinds:
            if kind not in KINDS:
                raise NNTPUsageError(f"control has {', '.join(KINDS)}, not {kind[:64]!r}")
        self._store = store
        self._path_host = path_host
        self._kinds = frozenset(kinds)
        self._trusted = frozenset(trusted)
        self._issuers: dict[bytes, Wildmat] = {
            address.lower().encode(): parse_wildmat(wildmat)
            for address, wildmat in (issuers or {}).items()
        }
        self._clock = clock
        self._told = RateLimit()

    async def taken(self, article: ParsedArticle, peer: str) -> None:
        """Act on what a peer sent, once it is kept."""
        trusted = peer in self._trusted
        # Of others it is nobody's: a key alone counts.
        await self._act(article, None if trusted else b"", may_approve=trusted)

    async def posted(
        self, article: ParsedArticle, how: Injection, *, poster: str, may_approve: bool
    ) -> None:
        """Act on what a reader posted, once it is kept."""
        account = posting_account(how, poster).encode()
        await self._act(article, account, may_approve=may_approve)

    async def _act(
        self, article: ParsedArticle, account: bytes | None, *, may_approve: bool
    ) -> None:
        """Act on a message.

        Args:
            article: It.
            account: Whose it is, as Injection-Info tells it, empty for nobody's; ``None`` when
                From counts.
            may_approve: Whether its Approved counts.
        """
        superseded = article.content(b"supersedes")
        if superseded is not None:
            if "supersedes" in self._kinds:
                await self._cancel(article, superseded, account)
            return
        words = (article.content(b"control") or b"").split()
        kind = words[0].decode("ascii", "replace").lower() if words else ""
        if kind not in self._kinds or kind == "supersedes":
            return
        if kind == "cancel":
            if len(words) == 2:
                await self._cancel(article, words[1], account)
            return
        wildmat = self._issuers.get(_sender(article))
        if not may_approve or b"approved" not in article or wildmat is None:
            self._refuse(kind, "its issuer may not")
            return
        if kind == "checkgroups":
            await self._check_groups(article, wildmat)
            return
        name = words[1].decode("utf-8", "replace") if len(words) > 1 else ""
        if not is_group_name(name) or not wildmat.matches(name):
            self._refuse(kind, "not this issuer's group")
        elif kind == "rmgroup":
            if await self._store.remove_group(name):
                logger.warning("rmgroup %s: removed", escape(name))
        else:
            moderated = len(words) > 2 and words[2].lower() == b"moderated"
            described = dict(_described(article))
            text = _MODERATED.sub("", described.get(name, ""))
            await self._make(name, text, moderated=moderated, issuer=_sender(article))

    def _refuse(self, what: str, why: str) -> None:
        # Any peer may send as many as it likes.
        suppressed = self._told.admit(why)
        if suppressed is not None:
            more = f" ({suppressed} more were not logged)" if suppressed else ""
            logger.info("%s is not acted on: %s%s", escape(what), why, more)

    async def _cancel(self, article: ParsedArticle, target: bytes, account: bytes | None) -> None:
        if not is_message_id(target) or target == article.message_id:
            return
        store = self._store
        found = await store.article(target)
        if found is not None:
            if self._may_cancel(article, found, account):
                await store.remove(target)
                logger.info("cancelled %s", escape(target.decode("ascii", "replace")))
            else:
                self._refuse(f"cancel of {target.decode('ascii', 'replace')}", "not its poster's")
        elif account is None and await store.history(target) is History.UNKNOWN:
            # Here before what it cancels: the peer is believed (RFC 5537 §5.3).
            await store.remember(target, self._clock())

    def _may_cancel(self, article: ParsedArticle, target: Article, account: bytes | None) -> bool:
        try:
            cancelled = parse(target.octets, max_size=len(target.octets))
        except ArticleError:
            return False  # it was imported, from where rules are others
        locks = cancelled.content(b"cancel-lock")
        if opens(article.content(b"cancel-key"), locks):
            return True
        if account is None:
            sender = _sender(article)
            # Who locks an article does not want From to be enough.
            return locks is None and bool(sender) and sender == _sender(cancelled)
        # Only what this server wrote itself says who posted: a peer may have written any account.
        first, *parameters = (cancelled.content(b"injection-info") or b"").split(b";")
        host = self._path_host.encode()
        return (
            account != b""
            and first.strip() == host
            and path_of(cancelled).startswith(host + b"!.POSTED")
            and b'posting-account="%b"' % account in [each.strip() for each in parameters]
        )

    async def _check_groups(self, article: ParsedArticle, wildmat: Wildmat) -> None:
        """Make and change what is listed; what is not listed stays: rmgroup is for that."""
        for name, text in _described(article):
            if wildmat.matches(name):
                moderated = _MODERATED.search(text) is not None
                text = _MODERATED.sub("", text)
                await self._make(name, text, moderated=moderated, issuer=_sender(article))

    async def _make(self, name: str, text: str, *, moderated: bool, issuer: bytes) -> None:
        status = "m" if moderated else "y"
        group = await self._store.group(name)
        if group is not None and group.status == status and text in ("", group.description):
            return
        await self._store.create_group(
            name,
            status=status,
            description=text or ("" if group is None else group.description),
            creator=issuer.decode("ascii", "replace"),
        )
        logger.warning("%s: made, or changed", escape(name))


def _sender(article: ParsedArticle) -> bytes:
    """The one mail address in From, in small letters; empty when there are others than one."""
    found: list[bytes] = _ADDRESS.findall(article.content(b"from") or b"")
    return found[0].lower() if len(found) == 1 else b""


def _described(article: ParsedArticle) -> list[tuple[str, str]]:
    """What a body says of groups: (name, description), one on a line (RFC 5537 §5.2.3)."""
    found: list[tuple[str, str]] = []
    body = article.octets[article.body_at :].decode("utf-8", "replace")
    for line in body.split("\r\n"):
        name, tab, text = line.partition("\t")
        if tab and is_group_name(name):
            found.append((name, "".join(filter(str.isprintable, text)).strip()[:500]))
            if len(found) >= MAX_CHECKED:
                break
    return found
