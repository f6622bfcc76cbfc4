"""How a simple server would answer whatever an engine tells, for tests of any octets."""

from __future__ import annotations

from sennit.news.engine import ServerEngine
from sennit.news.events import (
    ArticleAsked,
    ArticleChecked,
    ArticleOffered,
    ArticlePosted,
    ArticleSent,
    ArticleTaken,
    Asked,
    DateAsked,
    GroupAsked,
    HeadersAsked,
    ListAsked,
    NeighbourAsked,
    NewGroupsAsked,
    NewNewsAsked,
    OverviewAsked,
    Part,
    PasswordGiven,
    SASLBegun,
    SASLResponse,
    TLSAsked,
)
from sennit.news.limits import Limits
from sennit.news.session import Offers

SMALL = Limits(max_response=1024, max_article=200, max_streamed=4, max_streamed_octets=300)


class PermittedEngine(ServerEngine):
    """One whose client may do everything; has a memory of the login that is under way."""

    login: SASLBegun | None = None


def permitted(limits: Limits | None = SMALL, offers: Offers | None = None) -> PermittedEngine:
    """A fresh one."""
    offers = offers or Offers(login=True, passwords=True, mechanisms=["PLAIN"], tls=True)
    engine = PermittedEngine(offers, limits)
    engine.permit(reads=True, posts=True, feeds=True)
    return engine


def answer(engine: PermittedEngine, event: object) -> None:
    """Answer as if everything were there."""
    if isinstance(event, SASLBegun):
        engine.login = event
        engine.challenge(event, b"=")
    elif isinstance(event, SASLResponse):
        assert engine.login is not None
        engine.answer(engine.login, 481, "denied")
    elif isinstance(event, Asked):
        _answer(engine, event)


def _answer(engine: ServerEngine, event: Asked) -> None:
    if isinstance(event, GroupAsked):
        engine.session.group, engine.session.number = event.group, 1
        if event.listed is None:
            engine.answer(event, 211, f"1 1 1 {event.group}")
        else:
            engine.begin_block(event, 211, "1 1 1 list follows")
            engine.send_lines(event, b"1\r\n")
            engine.end_block(event)
    elif isinstance(event, ArticleAsked):
        if event.part is Part.STAT:
            engine.answer(event, 223, "1 <a@b>")
        else:
            engine.answer_block(event, event.part.value, "1 <a@b>", b".dots\r\n")
    elif isinstance(event, NeighbourAsked):
        engine.answer(event, 421)
    elif isinstance(event, HeadersAsked | ListAsked):
        engine.answer_block(event, event.code, "", b"x\r\n")
    elif isinstance(event, ArticleChecked | ArticleTaken):
        code = 238 if isinstance(event, ArticleChecked) else 239
        engine.answer(event, code, event.message_id)
    else:
        engine.answer(event, *_CODES[type(event)])


_CODES: dict[type, tuple[int, str]] = {
    OverviewAsked: (423, "none"),
    NewGroupsAsked: (501, "no such date"),
    NewNewsAsked: (501, "no such date"),
    DateAsked: (111, "20270115080000"),
    ArticlePosted: (240, "posted"),
    ArticleOffered: (335, "send it"),
    ArticleSent: (235, "received"),
    PasswordGiven: (481, "denied"),
    TLSAsked: (382, "begin"),
}
