"""Expiry: which articles a server does not keep any longer.

Rules say for groups how many days articles stay, between which bounds an article's own Expires
counts, and how many there may be; of several rules that fit a group the last one is its rule.
`expire` has a store drop what is due, a few hundred articles a step, so that whoever reads or posts
meanwhile does not notice. An article in several groups goes from each when it is due there; its
Message-ID is remembered for a while, lest a slow peer brings it again.

Sources: RFC 5536 §3.2.5 (Expires); the notions are those of INN's expire.ctl.
Not here: when it is done (the service), how articles are dropped (``store``).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Final

from sennit.news.errors import NNTPProtocolError, NNTPUsageError
from sennit.news.wildmat import parse_wildmat

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sennit.news.interfaces import Aged, IArticleStore
    from sennit.news.wildmat import Wildmat

__all__ = ["REMEMBERED", "Expired", "Expiry", "Rule", "expire"]

_DAY: Final = 86_400.0
REMEMBERED: Final = 11.0
"""Days that a Message-ID is remembered after its article went, or was refused."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What holds for some groups.

    Attributes:
        groups: Which ones: a wildmat.
        days: How long an article stays that does not say; ``None``: for ever.
        minimum: Days that it stays at least, whatever its Expires says.
        maximum: Days that it stays at most, whatever its Expires says; ``None``: as it says.
        count: Articles that a group has at most, the newest ones; ``None``: all.

    Raises:
        NNTPUsageError: It cannot be.
    """

    groups: str = "*"
    days: float | None = None
    minimum: float = 0.0
    maximum: float | None = None
    count: int | None = None

    def __post_init__(self) -> None:
        _wildmat(self.groups)
        for name in ("days", "minimum", "maximum", "count"):
            value = getattr(self, name)
            if value is not None and not value >= 0:
                raise NNTPUsageError(f"{name} is not negative, but here it is {value!r}")
        if self.maximum is not None and self.minimum > self.maximum:
            raise NNTPUsageError(f"minimum {self.minimum:g} is above maximum {self.maximum:g}")

    def until(self, received: float, expires: float | None) -> float:
        """Tell when an article is due.

        Args:
            received: When it came.
            expires: What its Expires says, or ``None``.
        """
        if expires is None:
            return inf if self.days is None else received + self.days * _DAY
        latest = inf if self.maximum is None else received + self.maximum * _DAY
        return min(max(expires, received + self.minimum * _DAY), latest)


def _wildmat(text: str) -> Wildmat:
    try:
        return parse_wildmat(text)
    except NNTPProtocolError as error:
        raise NNTPUsageError(str(error)) from error


_FOR_EVER: Final = Rule(minimum=inf)
"""Nothing goes, whatever its Expires says."""


class Expiry:
    """Rules, and for how long is remembered what went.

    Args:
        rules: The last one that fits a group is its rule; where none does, articles stay.
        remembered: Days, as above.

    Attributes:
        rules: As given.
        remembered: As given.
    """

    def __init__(self, rules: Sequence[Rule], *, remembered: float = REMEMBERED) -> None:
        if not remembered >= 0:
            raise NNTPUsageError(f"remembered is not negative, but here it is {remembered!r}")
        self.rules = tuple(rules)
        self.remembered = remembered
        self._found: dict[str, Rule] = {}

    def rule_for(self, group: str) -> Rule:
        """Give a group's rule."""
        rule = self._found.get(group)
        if rule is None:
            fitting = (each for each in self.rules[::-1] if _wildmat(each.groups).matches(group))
            rule = self._found[group] = next(fitting, _FOR_EVER)
        return rule

    def youngest(self, now: float) -> float:
        """Tell what came when can be due though its Expires does not say so."""
        # `maximum` too: an article may say that it stays for years, in a group where none does.
        days = (each for rule in self.rules for each in (rule.days, rule.maximum))
        return now - min((each for each in days if each is not None), default=inf) * _DAY

    def due(self, article: Aged, now: float) -> list[tuple[str, int]]:
        """Give the places from which an article is to go."""
        return [
            (group, number)
            for group, number in article.places
            if self.rule_for(group).until(article.received, article.expires) <= now
        ]


class Expired:
    """What became of it.

    Attributes:
        seen: Articles that were looked at.
        dropped: Places in groups from which articles went.
        removed: Articles that went altogether.
        forgotten: Message-IDs that are not remembered any more.
    """

    __slots__ = ("dropped", "forgotten", "removed", "seen")

    def __init__(self) -> None:
        self.seen = self.dropped = self.removed = self.forgotten = 0

    def __repr__(self) -> str:
        return (
            f"<Expired {self.removed} articles, {self.dropped} places, of {self.seen} seen; "
            f"{self.forgotten} forgotten>"
        )


async def expire(
    store: IArticleStore,
    expiry: Expiry,
    now: float,
    *,
    progress: Callable[[Expired], object] | None = None,
) -> Expired:
    """Have a store drop what is due, and forget what went long ago.

    It may be stopped and begun again at any moment.

    Args:
        store: Whose articles.
        expiry: The rules.
        now: The time, in POSIX seconds.
        progress: Told after each step.

    Raises:
        StoreError: The store cannot be read or written.
    """
    import asyncio

    done = Expired()

    async def drop(places: list[tuple[str, int]]) -> None:
        if places:
            done.removed += await store.drop(places, now)
            done.dropped += len(places)
        if progress is not None:
            progress(done)
        # A store that never waits would keep the loop for itself.
        await asyncio.sleep(0)

    async for batch in store.aged(expiry.youngest(now), now):
        done.seen += len(batch)
        await drop([place for article in batch for place in expiry.due(article, now)])
    for group in await store.groups():
        count = expiry.rule_for(group.name).count
        surplus = 0 if count is None else group.count - count
        if surplus > 0:
            async for numbers in store.numbers(group.name, group.low, group.high):
                await drop([(group.name, number) for number in numbers[:surplus]])
                surplus -= len(numbers)
                if surplus <= 0:
                    break
    done.forgotten = await store.forget(now - expiry.remembered * _DAY)
    return done
