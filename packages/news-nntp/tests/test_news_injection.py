"""What injecting and relaying agents write into heads."""

from __future__ import annotations

import pytest
from news_articles import HOST, NOW, composed, parsed

from sennit.news.article import ParsedArticle, format_date, parse
from sennit.news.errors import ArticleError, NNTPUsageError
from sennit.news.injection import Injection, effective_date, inject, passed, relay
from sennit.news.locks import key_of, lock_of

PLAIN = Injection(HOST, trace="plain")


def injected(
    article: ParsedArticle, how: Injection = PLAIN, *, poster: str = "", host: str = "192.0.2.7"
) -> ParsedArticle:
    made = inject(article, how, poster=poster, host=host, now=NOW, unique="unique")
    assert parse(made.octets).octets == made.octets, "what is injected is an article"
    return made


def test_what_a_proto_article_lacks_is_added() -> None:
    """RFC 5537 §3.5."""
    article = injected(parsed(proto=True), poster="ann")

    assert article.message_id == b"<unique@news.example.org>"
    assert article.content(b"path") == b"news.example.org!.POSTED.192.0.2.7!not-for-mail"
    assert article.content(b"date") == article.content(b"injection-date") == format_date(NOW)
    assert article.content(b"injection-info") == (
        b'news.example.org; posting-host="192.0.2.7"; posting-account="ann"'
    )
    assert article.date == NOW


def test_what_the_poster_gives_stays() -> None:
    article = injected(parsed({"Path": "ann!poster", "X-Other": "a\r\n b"}))

    assert article.message_id == b"<1@example.net>"
    assert article.content(b"date") == format_date(NOW - 60)
    assert article.content(b"path") == b"news.example.org!.POSTED.192.0.2.7!ann!poster"
    assert b"X-Other: a\r\n b\r\n" in article.octets


def test_an_article_that_may_be_posted_at_several_agents_gets_no_date_of_injection() -> None:
    """RFC 5537 §3.4.2: else each of them would make it new again."""
    assert b"injection-date" not in injected(parsed())
    assert b"injection-date" in injected(parsed({"Date": None}, proto=True))
    given = format_date(NOW - 9).decode()
    again = injected(parsed({"Injection-Date": given}))
    assert again.content(b"injection-date") == given.encode()


LOCKING = Injection(HOST, trace="none", lock_key=b"ExampleSecret")


def test_who_has_logged_in_gets_a_lock() -> None:
    """RFC 8315 §3.1, §4: also on an article whose Message-ID is made here."""
    for article, message_id in (
        (parsed(), b"<1@example.net>"),
        (parsed(proto=True), b"<unique@news.example.org>"),
    ):
        made = injected(article, LOCKING, poster="ann")
        assert made.content(b"cancel-lock") == lock_of(key_of(b"ExampleSecret", "ann", message_id))
        assert b"cancel-key" not in made
    assert b"cancel-lock" not in injected(parsed(), LOCKING)
    assert b"cancel-lock" not in injected(parsed(), poster="ann")


@pytest.mark.parametrize(
    "fields", [{"Control": "cancel <7@x>"}, {"Supersedes": "<7@x>"}, {"Control": "Cancel  <7@x>"}]
)
def test_who_withdraws_gets_the_key_and_what_he_wrote_himself_stays(
    fields: dict[str, str | None],
) -> None:
    key = key_of(b"ExampleSecret", "ann", b"<7@x>")

    made = injected(parsed(fields), LOCKING, poster="ann")
    assert made.content(b"cancel-key") == key

    own = {"Cancel-Key": "sha256:eA==", "Cancel-Lock": "sha256:eQ=="}
    made = injected(parsed({**fields, **own}), LOCKING, poster="ann")
    assert made.content(b"cancel-key") == b"sha256:eA== " + key
    assert (made.content(b"cancel-lock") or b"").startswith(b"sha256:eQ== sha256:")
    assert b"cancel-key" not in injected(parsed({"Control": "newgroup x.y"}), LOCKING, poster="ann")


@pytest.mark.parametrize("target", ["a<7@x>", "<7@x", "<7@x> <8@x>", "7@x", ""])
def test_a_key_to_what_another_user_posted_is_not_given(target: str) -> None:
    """nntp-6: that of ``ann`` to ``a<7@x>`` would be that of ``anna`` to ``<7@x>``."""
    made = injected(parsed({"Control": f"cancel {target}"}), LOCKING, poster="ann")

    assert b"cancel-key" not in made


def test_a_body_is_never_changed() -> None:
    body = b".\r\n..\r\n\xff\t \r\nX-Trace: body\r\n"
    article = injected(parsed(body=body))

    assert article.octets[article.body_at :] == body


def test_what_told_of_posters_before_is_removed() -> None:
    """A poster's own word on where he posts from is not to be believed."""
    article = injected(
        parsed({"X-Trace": "x", "NNTP-Posting-Host": "forged", "NNTP-Posting-Date": "x"})
    )

    assert b"forged" not in article.octets
    assert b"X-Trace" not in article.octets


def test_posters_are_told_as_configured() -> None:
    hashed = Injection(HOST, trace="hash", key=b"key")
    info = injected(parsed(), hashed, poster="ann").content(b"injection-info") or b""
    assert b"ann" not in info.replace(b"posting-account", b"")
    assert b"192.0.2.7" not in injected(parsed(), hashed, poster="ann").octets
    assert info == injected(parsed(), hashed, poster="ann").content(b"injection-info")
    assert info != injected(parsed(), hashed, poster="bob").content(b"injection-info")

    silent = Injection(HOST, trace="none", complaints_to="abuse@example.org")
    assert injected(parsed(), silent, poster="ann").content(b"injection-info") == (
        b'news.example.org; mail-complaints-to="abuse@example.org"'
    )


@pytest.mark.parametrize("poster", ['a"b', "a\r\nControl: x", "gr\u00fcn", "x" * 200])
@pytest.mark.parametrize("host", ['a"b', "a\r\nb", "a b", ""])
def test_names_that_would_break_the_field_are_left_out(poster: str, host: str) -> None:
    """HARDENING, defaults 10."""
    article = injected(parsed(), poster=poster, host=host)

    assert article.content(b"injection-info") == b"news.example.org"
    assert b"control" not in article


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"Xref": "a b:1"}, "Xref is not for posters"),
        ({"Injection-Info": "a"}, "Injection-Info is not for posters"),
        ({"Path": "a!.POSTED!b"}, "injected elsewhere"),
        ({"From": "Ann"}, "no mail address"),
        ({"Newsgroups": ",".join(f"a.{n}" for n in range(11))}, "more than 10 newsgroups"),
        ({"Newsgroups": ",".join(f"a.{n}" for n in range(6))}, "answers would go to more than 5"),
        ({"Followup-To": ",".join(f"a.{n}" for n in range(6))}, "answers would go to more than 5"),
        ({"Date": format_date(NOW + 90_000).decode()}, "in the future"),
        ({"Date": format_date(NOW - 300_000).decode()}, "too long ago"),
    ],
)
def test_what_is_not_to_be_injected_is_refused(fields: dict[str, str | None], reason: str) -> None:
    """RFC 5537 §3.5."""
    with pytest.raises(ArticleError, match=reason):
        injected(parsed(fields))


def test_answers_may_be_called_to_fewer_groups() -> None:
    groups = ",".join(f"a.{n}" for n in range(6))
    article = injected(parsed({"Newsgroups": groups, "Followup-To": "a.1"}))
    assert len(article.groups) == 6


def test_an_empty_body_is_not_posted() -> None:
    """HARDENING nntp-2."""
    with pytest.raises(ArticleError, match="body is empty"):
        injected(parsed(body=b""))


@pytest.mark.parametrize("name", ["", "a!b", "a b", "a\r\nb", ".a", "a,b"])
def test_a_name_that_would_break_path_is_a_mistake_of_the_caller(name: str) -> None:
    with pytest.raises(NNTPUsageError):
        Injection(name, trace="none")


def test_settings_that_do_not_fit_are_a_mistake_of_the_caller() -> None:
    with pytest.raises(NNTPUsageError, match="key"):
        Injection(HOST)
    with pytest.raises(NNTPUsageError, match="mail address"):
        Injection(HOST, trace="none", complaints_to='a"\r\nb')


@pytest.mark.parametrize(
    ("path", "kept"),
    [
        ("peer.example.net!a!x", b"news.example.org!!peer.example.net!a!x"),
        ("PEER.example.net!x", b"news.example.org!!PEER.example.net!x"),
        ("other!x", b"news.example.org!.MISMATCH.peer!other!x"),
        ("x", b"news.example.org!.MISMATCH.peer!x"),
        ("peer.example.net! a!\r\n x", b"news.example.org!!peer.example.net!a!x"),
    ],
)
def test_path_tells_whether_the_peer_is_who_it_says(path: str, kept: bytes) -> None:
    """RFC 5537 §3.2.1."""
    made = relay(parsed({"Path": path}), HOST, "peer", ("peer.example.net",))

    assert made.content(b"path") == kept


def test_xref_is_each_servers_own_and_all_else_stays() -> None:
    article = parsed({"Xref": "other misc.test:9", "X-Trace": "x", "Bytes": "1"})
    made = relay(article, HOST, "peer", ())

    assert b"xref" not in made
    assert b"X-Trace: x\r\nBytes: 1\r\n\r\nHello.\r\n" in made.octets
    assert parse(made.octets).octets == made.octets


def test_a_path_that_grows_too_long_for_a_line_is_folded() -> None:
    path = "!".join(f"site-{n:04}.example.net" for n in range(40)) + "!not-for-mail"
    made = relay(parsed({"Path": path}), HOST, "peer", ())

    assert passed(parse(made.octets))[-1] == b"site-0039.example.net"
    assert max(map(len, made.octets.split(b"\r\n"))) <= 998


def test_the_sites_that_an_article_passed_are_those_in_path() -> None:
    article = parsed({"Path": "A!!b!.MISMATCH.c!d!.POSTED.1.2.3.4!ann"})

    assert passed(article) == [b"a", b"b", b"d"]


def test_an_article_is_as_old_as_its_injection() -> None:
    """RFC 5537 §3.6 step 2."""
    given: dict[str, str | None] = {"Injection-Date": format_date(NOW - 5).decode()}
    assert effective_date(parsed(given)) == NOW - 5
    assert effective_date(parsed({"Injection-Date": "never"})) == NOW - 60
    assert effective_date(parse(composed(proto=True), proto=True)) is None
