"""What agents write into heads: an injecting agent into a new article, a relaying one into Path.

`inject` makes an article of a proto-article, or says why not; `relay` makes of an article that a
peer sent the one that is kept. Both give a new `ParsedArticle` and leave the body and all other
fields as they are, octet for octet. No I/O, no clock, no randomness: the time, and what makes a
Message-ID unlike any other, are passed in.

Sources: RFC 5537 §3.2 (Path: ``.POSTED``, ``.MISMATCH``, and ``!!`` where the peer is who Path
says), §3.4 and §3.5 (injecting agents), §3.6 (relaying agents); RFC 5536 §3.2.7, §3.2.8
(Injection-Date, Injection-Info), §3.2.14 (Xref, which is each server's own); RFC 8315 §3 (locks
and keys of who has logged in).
Not here: whether groups exist, moderation, history (``intake.py``).
"""

from __future__ import annotations

import hmac
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from sennit.news.article import (
    MAX_HEADER_LINE,
    ParsedArticle,
    format_date,
    is_message_id,
    parse_date,
    parse_path,
)
from sennit.news.errors import ArticleError, NNTPUsageError
from sennit.news.locks import key_of, lock_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = [
    "Injection",
    "distributions_of",
    "effective_date",
    "inject",
    "passed",
    "path_of",
    "posting_account",
    "relay",
]

_IDENTITY: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._:\-]*[A-Za-z0-9])?")
_ADDRESS: Final = re.compile(rb"[^\s<>@,;]+@[^\s<>@,;]+")
_PARAMETER: Final = re.compile(r"[ !#-\[\]-~]*")
_FORBIDDEN: Final = (b"injection-info", b"xref")
"""What no proto-article has (RFC 5537 §3.4.1)."""
_OBSOLETE: Final = frozenset(
    b"nntp-posting-host nntp-posting-date x-trace x-complaints-to lines".split()
)
"""What stood in Injection-Info's place before, and Lines: a poster's are not to be believed."""


@dataclass(frozen=True, slots=True)
class Injection:
    """How an injecting agent does it.

    Attributes:
        path_host: Its name in Path, in Injection-Info and in the Message-IDs it gives.
        trace: What Injection-Info tells of the poster: ``"plain"``, his host and account;
            ``"hash"``, what only who has `key` can compare; ``"none"``, nothing.
        key: For hashes; octets that nobody else knows.
        lock_key: For Cancel-Locks of who has logged in, likewise; none are made without it.
        complaints_to: A mail address for Injection-Info; may be empty.
        max_groups: Groups that Newsgroups may name.
        max_followups: Groups that may be meant by an answer: those of Followup-To, where there is
            none those of Newsgroups.
        max_age: Seconds that Date may be in the past.
        max_ahead: Seconds that it may be in the future (RFC 5537 §3.5 has 24 hours).
    """

    path_host: str
    trace: Literal["plain", "hash", "none"] = "hash"
    key: bytes = b""
    lock_key: bytes = b""
    complaints_to: str = ""
    max_groups: int = 10
    max_followups: int = 5
    max_age: float = 3 * 86400.0
    max_ahead: float = 86400.0

    def __post_init__(self) -> None:
        """Refuse names that would break Path."""
        if not _IDENTITY.fullmatch(self.path_host):
            raise NNTPUsageError(f"no name for Path: {self.path_host[:64]!r}")
        if not _PARAMETER.fullmatch(self.complaints_to):
            raise NNTPUsageError(f"no mail address: {self.complaints_to[:64]!r}")
        if self.trace == "hash" and not self.key:
            raise NNTPUsageError('trace = "hash" needs a key')


def effective_date(article: ParsedArticle) -> float | None:
    """When an article was injected, or, where that is not told, written (RFC 5537 §3.6)."""
    injected = article.content(b"injection-date")
    date = None if injected is None else parse_date(injected)
    return article.date if date is None else date


def inject(
    article: ParsedArticle, how: Injection, *, poster: str, host: str, now: float, unique: str
) -> ParsedArticle:
    """Make an article of a proto-article (RFC 5537 §3.5).

    Args:
        article: As `parse` gives it with ``proto=True``.
        how: The agent's settings.
        poster: The account, or ``""``.
        host: Where he posts from.
        now: POSIX seconds.
        unique: Letters and digits for a Message-ID, should it have none.

    Raises:
        ArticleError: It is refused.
    """
    _check_proto(article, how, now)
    fields = [each for each in article.fields if each[0] != b"path" and each[0] not in _OBSOLETE]
    posted = ".POSTED"
    if how.trace == "plain" and _IDENTITY.fullmatch(host):
        posted += f".{host}"
    before = f"{how.path_host}!{posted}!".encode()
    fields.insert(0, _field("Path", before + (path_of(article) or b"not-for-mail")))
    moment = format_date(now)
    message_id = article.message_id
    if not message_id:
        message_id = f"<{unique}@{how.path_host}>".encode()
        fields.append(_field("Message-ID", message_id))
    if article.date is None:
        fields.append(_field("Date", moment))
    if b"injection-date" not in article and not (article.message_id and article.date is not None):
        # Who gives both Message-ID and Date may post it at several agents: another Injection-Date
        # at each would make an old article new again (RFC 5537 §3.4.2, §3.5).
        fields.append(_field("Injection-Date", moment))
    fields.append(_field("Injection-Info", _info(how, poster, host)))
    if how.lock_key and poster:
        _extend(fields, "Cancel-Lock", lock_of(key_of(how.lock_key, poster, message_id)))
        target = _target(article)
        if is_message_id(target):
            # Nothing else gets a key: that of "a" to "b<1@x>" would be that of "ab" to "<1@x>".
            _extend(fields, "Cancel-Key", key_of(how.lock_key, poster, target))
    return article.with_fields(fields)


def _target(article: ParsedArticle) -> bytes:
    """What an article is to cancel or supersede; empty for nothing."""
    superseded = article.content(b"supersedes")
    if superseded is not None:
        return superseded
    words = (article.content(b"control") or b"").split()
    return words[1] if len(words) == 2 and words[0].lower() == b"cancel" else b""


def _extend(fields: list[tuple[bytes, bytes]], name: str, element: bytes) -> None:
    """Add an element to a field; its poster's own stay (RFC 8315 §3)."""
    small = name.lower().encode()
    for at, (each, whole) in enumerate(fields):
        if each == small:
            fields[at] = (each, whole[:-2] + b"\r\n " + element + b"\r\n")
            return
    fields.append(_field(name, element))


def _check_proto(article: ParsedArticle, how: Injection, now: float) -> None:
    for name in _FORBIDDEN:
        if name in article:
            raise ArticleError(f"{name.decode().title()} is not for posters")
    if b".POSTED" in (article.content(b"path") or b""):
        raise ArticleError("the article was injected elsewhere")
    if not _ADDRESS.search(article.content(b"from") or b""):
        raise ArticleError("no mail address in From")
    if article.body_at == len(article.octets):
        raise ArticleError("the body is empty")
    if len(article.groups) > how.max_groups:
        raise ArticleError(f"more than {how.max_groups} newsgroups")
    followups = (article.content(b"followup-to") or b"").split(b",")
    count = len(followups) if followups != [b""] else len(article.groups)
    if count > how.max_followups:
        raise ArticleError(f"answers would go to more than {how.max_followups} newsgroups")
    date = effective_date(article)
    if date is not None and date > now + how.max_ahead:
        raise ArticleError("Date is in the future")
    if date is not None and date < now - how.max_age:
        raise ArticleError("Date is too long ago")


def posting_account(how: Injection, poster: str) -> str:
    """How an account is told in Injection-Info; empty when it is not."""
    if not poster or how.trace == "none":
        return ""
    if how.trace == "hash":
        return _hashed(how, f"account {poster}")
    return poster if _PARAMETER.fullmatch(poster) and len(poster) < 128 else ""


def _hashed(how: Injection, text: str) -> str:
    return hmac.digest(how.key, text.encode("utf-8", "replace"), "sha256").hex()[:32]


def _info(how: Injection, poster: str, host: str) -> bytes:
    """The content of Injection-Info (RFC 5536 §3.2.8): who injected it, and how to find whom."""
    parts = [how.path_host]
    if how.trace == "plain" and _IDENTITY.fullmatch(host):
        parts.append(f'posting-host="{host}"')
    account = posting_account(how, poster)
    if account:
        parts.append(f'posting-account="{account}"')
    if how.trace == "hash" and host:
        parts.append(f'logging-data="{_hashed(how, f"host {host}")}"')
    if how.complaints_to:
        parts.append(f'mail-complaints-to="{how.complaints_to}"')
    return ";\r\n ".join(parts).encode()


def relay(
    article: ParsedArticle, path_host: str, peer: str, identities: Iterable[str]
) -> ParsedArticle:
    """Make of what a peer sent what is kept: Path with this side in it, Xref gone.

    Args:
        article: As it came.
        path_host: This side's name in Path.
        peer: The peer's name, to be told where Path names another first.
        identities: The names by which the peer may stand in Path.
    """
    path = path_of(article)
    first = path.partition(b"!")[0].lower()
    # `a!!b`: a has verified that it is b who sent it (RFC 5537 §3.2.1).
    verified = any(first == each.lower().encode() for each in identities)
    before = f"{path_host}!" if verified else f"{path_host}!.MISMATCH.{peer}"
    fields = [
        _field("Path", b"%b!%b" % (before.encode(), path)) if name == b"path" else (name, whole)
        for name, whole in article.fields
        if name != b"xref"
    ]
    return article.with_fields(fields)


def path_of(article: ParsedArticle) -> bytes:
    """The content of Path, without the blanks that may stand in it; empty without one."""
    return b"".join((article.content(b"path") or b"").split())


def passed(article: ParsedArticle) -> Sequence[bytes]:
    """The sites an article has passed, in small letters: not to be offered to them again.

    The last entry is not one: it is the poster, or ``not-for-mail`` (RFC 5536 §3.1.5).
    """
    entries = parse_path((article.content(b"path") or b"").lower())[:-1]
    return [each for each in entries if each and not each.startswith(b".")]


def distributions_of(article: ParsedArticle) -> list[str]:
    """The distributions of an article; ``world`` when it names none (RFC 5536 §3.2.4)."""
    content = article.content(b"distribution")
    if not content:
        return ["world"]
    return [each.strip() for each in content.decode("ascii", "replace").lower().split(",")]


def _field(name: str, content: bytes) -> tuple[bytes, bytes]:
    """A field, folded where it has to be."""
    whole = b"%b: %b\r\n" % (name.encode(), content)
    if len(content) + len(name) > MAX_HEADER_LINE - 4 and b"\r\n" not in content:
        # Only Path grows so long: it may be folded in front of an entry (RFC 5536 §3.1.5).
        whole = b"%b: %b\r\n" % (name.encode(), _folded(content))
    return name.lower().encode(), whole


def _folded(path: bytes) -> bytes:
    lines: list[bytes] = [b""]
    for entry in re.findall(rb"[^!]*!*", path):
        if len(lines[-1]) + len(entry) > 900:
            lines.append(b"")
        lines[-1] += entry
    return b"\r\n ".join(lines)
