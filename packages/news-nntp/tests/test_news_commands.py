"""``sennit news``: what its commands print, ask for, and say when something fails."""

from __future__ import annotations

import io
import json
import mailbox
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import click
import pytest
from news_running import command, elsewhere
from news_scripts import USER_ONLY, Script
from news_serving import article, file, filled

from sennit.core.endpoint.listen import serve
from sennit.core.errors import UsageError
from sennit.core.protocol import Protocol
from sennit.core.stream import stream_handler
from sennit.news.access import Access
from sennit.news.command_options import Server, progress_bar
from sennit.news.commands import news
from sennit.news.server import NNTPServerFactory
from sennit.news.store.sqlite import SQLiteStore

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping
    from pathlib import Path

    from sennit.core.interfaces import IStreamTransport
    from sennit.news.store.memory import MemoryStore


@asynccontextmanager
async def shelf(store: MemoryStore | None = None) -> AsyncGenerator[str, None]:
    """A server for readers; its URL."""
    store = filled() if store is None else store
    factory = NNTPServerFactory(store, access=Access(read="*,!secret.*"))
    async with serve("tcp://127.0.0.1:0", factory) as server:
        yield server.urls[0].replace("tcp:", "nntp:")


@asynccontextmanager
async def scripted(replies: Mapping[bytes, Any]) -> AsyncGenerator[tuple[str, Script], None]:
    """A server that says what is written down."""
    script = Script(replies)
    async with serve("tcp://127.0.0.1:0", stream_handler(script)) as server:
        yield server.urls[0].replace("tcp:", "nntp:"), script


@pytest.fixture(autouse=True)
def no_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without anything of the machine's."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    return home


@pytest.mark.parametrize("name", sorted(news.commands))
def test_every_command_has_help_with_an_example(name: str) -> None:
    said = command(name, "--help")
    assert said.status == 0
    assert f"Example: {'echo Hello | ' if name == 'post' else ''}sennit news {name}" in said.out


async def test_groups_are_listed_in_columns_and_as_json() -> None:
    async with shelf() as url:
        said = await elsewhere("list", url)
        assert said.out.splitlines() == [
            "group             articles  numbers  status  description",
            "comp.lang.python  0         -        y       The language",
            "misc.empty        0         -        y",
            "misc.test         5         1-5      y       For tests",
        ]
        said = await elsewhere("list", "misc.t*", "--json", "--server", url)
        assert json.loads(said.out) == [
            {
                "name": "misc.test",
                "articles": 5,
                "low": 1,
                "high": 5,
                "status": "y",
                "description": "For tests",
            }
        ]
        said = await elsewhere("list", "--new", "1", env={"NNTPSERVER": url})
        assert "misc.test" in said.out
        said = await elsewhere("list", url.removeprefix("nntp://"))
        assert "misc.test" in said.out
        said = await elsewhere("list", url, "a", "b")
        assert "one wildmat is enough" in said.error


async def test_the_newest_articles_of_a_group_are_shown() -> None:
    async with shelf(filled(30)) as url:
        said = await elsewhere("read", "misc.test", "--server", url)
        lines = said.out.splitlines()
        assert len(lines) == 21
        assert lines[-1].split() == [
            "30", "Fri,", "15", "Jan", "2027", "07:30:00", "+0000",
            "somebody30@example.net", "the", "30th",
        ]  # fmt: skip
        said = await elsewhere("read", f"{url}/misc.test", "--count", "3", "--json")
        assert [each["number"] for each in json.loads(said.out)] == [28, 29, 30]
        said = await elsewhere("read", url, "misc.test/3-5", "--json")
        assert [each["subject"] for each in json.loads(said.out)] == [
            "the 3th",
            "the 4th",
            "the 5th",
        ]
        said = await elsewhere("read", url, "misc.empty")
        assert said.out.splitlines() == ["number  date  from  subject"]


async def test_an_article_is_shown_by_number_and_by_message_id() -> None:
    async with shelf() as url:
        for asked in ("misc.test/2", "<2@example.net>", "2@example.net"):
            said = await elsewhere("read", url, asked)
            head, body = said.out.split("\n\n", 1)
            assert "Subject: the 2th" in head
            assert "Path:" not in head
            assert body == ".a line of dots\n..\n.\n"
        said = await elsewhere("read", url, "misc.test/2", "--headers")
        assert "\nXref: " in said.out
        said = await elsewhere("read", url, "misc.test/2", "--json")
        assert json.loads(said.out)["body"] == [".a line of dots", "..", "."]


async def test_octets_of_an_article_go_into_files_and_not_to_terminals(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with shelf() as url:
        said = await elsewhere("read", url, "misc.test/2", "--raw")
        assert said.out.replace("\r\n", "\n").endswith("\n\n.a line of dots\n..\n.\n")


async def test_what_others_wrote_cannot_do_things_to_a_terminal() -> None:
    async with scripted(
        {
            b"LIST COUNTS": b"215 c\r\na\x1b[2J 5 1 5 y\r\n.\r\n",
            b"LIST NEWSGROUPS": b"215 d\r\na\x1b[2J\tdescription\x9b\xe2\x80\xae\r\n.\r\n",
            b"GROUP": b"211 1 1 1 a\r\n",
            b"OVER": b"224 o\r\n1\t=?utf-8?q?=1B[2J?=\tA\x07 <a@x>\td\t<1@x>\t\t1\t1\r\n.\r\n",
            b"ARTICLE": (
                b"220 1 <1@x>\r\nSubject: \x1b]0;x\x07 =?utf-8?b?4oCu?= =?x?q?y?=\r\n"
                b"Content-Type: text/plain; charset=utf-8\r\n"
                b"Content-Transfer-Encoding: quoted-printable\r\n\r\n"
                b"=1B[2J\r\n\x00bell\x07\r\n=E2=80=AE\ttab\r\n.\r\n"
            ),
        }
    ) as (url, _script):
        for asked in (
            ["list", url],
            ["read", url, "a"],
            ["read", url, "a/1"],
            ["read", url, "<1@x>"],
        ):
            for form in ([], ["--json"]):
                said = await elsewhere(*asked, *form)
                assert said.status == 0
                text = said.out.replace("\n", "").replace("\t", "")
                assert text.isprintable(), ascii(text)


async def test_no_server_makes_a_command_keep_more_than_it_shows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sennit.news.commands._MOST", 4)
    async with scripted(
        {
            b"LIST COUNTS": b"215 c\r\n" + b"".join(b"g%d 0 1 0 y\r\n" % each for each in range(9)),
            b"GROUP": b"211 9 1 999999999999999999 a\r\n",
        }
    ) as (url, _script):
        said = await elsewhere("list", url)  # of a list that never ends
        assert "more than 4 groups" in said.error
        said = await elsewhere("read", url, "a/1-")
        assert "4 numbers at a time" in said.error
        said = await elsewhere("list", url, "--new", "1e9")
        assert "--new" in said.error


async def test_an_article_is_posted_from_a_file_and_from_options(tmp_path: Path) -> None:
    replies = {b"POST": b"340 go\r\n", b"POST article": b"240 <1@there> ok\r\n"}
    path = tmp_path / "article"
    path.write_bytes(b"From: a@x\nNewsgroups: t\nSubject: s\n\nText.\n.\n")
    async with scripted(replies) as (url, script):
        said = await elsewhere("post", url, str(path))
        assert said.out == "posted <1@there>\n"
        said = await elsewhere(
            "post", url, "-", "--group", "a", "--group", "b", "--subject", "Grüße", "--from",
            "Ann <a@x>", "--json", stdin="Über uns.\n".encode(),
        )  # fmt: skip
        assert json.loads(said.out) == {"message_id": "<1@there>"}
        said = await elsewhere("post", url, "-", "--group", "a")
        assert "an article has --group, --subject and --from" in said.error
        said = await elsewhere(
            "post", url, "-", "--group", "a", "--subject", "x\ny", "--from", "a@x"
        )
        assert "cannot stand in a head" in said.error
        said = await elsewhere("post", url, str(tmp_path / "missing"))
        assert "missing" in said.error
    first, second = script.articles
    assert first == b"From: a@x\r\nNewsgroups: t\r\nSubject: s\r\n\r\nText.\r\n..\r\n"
    assert b"Newsgroups: a,b\r\nSubject: =?utf-8?" in second
    assert second.endswith("\r\n\r\nÜber uns.\r\n".encode())


async def test_groups_are_pulled_into_a_store(tmp_path: Path) -> None:
    store = str(tmp_path / "news.db")
    there = filled(20)
    async with shelf(there) as url:
        said = await elsewhere("pull", url, "misc.*", "--store", store)
        assert said.out.startswith("2 groups, 20 added, 0 filed, 0 known, 0 gone, ")
        file(there, article(77))
        said = await elsewhere("pull", url, "misc.*", "--store", store, "--json")
        found = json.loads(said.out)
        assert (found["added"], found["known"], found["refused"]) == (1, 0, {})
        said = await elsewhere("pull", url, "--store", store)
        assert "name the groups to pull" in said.error
        said = await elsewhere("pull", url, "misc.absent", "--store", store)
        assert said.status == 1
        assert "no group of 127.0.0.1 is called misc.absent; sennit news list" in said.error
    said = await elsewhere("groups", "--store", store, "--json")
    assert [(each["name"], each["articles"]) for each in json.loads(said.out)] == [
        ("misc.empty", 0),
        ("misc.test", 21),
    ]


def test_a_store_is_looked_after(tmp_path: Path) -> None:
    store = str(tmp_path / "news.db")
    said = command("create-group", "misc.test", "--store", store, "--description", "For tests")
    assert said.out == "misc.test is there\n"
    command("create-group", "misc.test", "--store", store, "--status", "m")
    box = mailbox.mbox(tmp_path / "box")
    for number in (1, 2, 3):
        box.add(article(number).replace(b"\r\n", b"\n"))
    box.add(b"From: mail@x\n\nNo newsgroup.\n")
    box.flush()
    box.close()

    said = command("import", str(tmp_path / "box"), "--store", store)
    assert said.out.splitlines()[0] == "3 added, 0 filed, 0 known, 0 unwanted"
    assert "1 refused" in said.out
    said = command("import", str(tmp_path / "box"), "--store", store, "--json")
    assert json.loads(said.out)["known"] == 3

    said = command("groups", "--store", store)
    assert said.out.splitlines()[1].split(None, 4) == ["misc.test", "3", "1-3", "m", "For tests"]
    said = command("cancel", "<2@example.net>", "--store", store)
    assert (said.status, said.out) == (0, "removed\n")
    said = command("cancel", "2@example.net", "--store", store)
    assert (said.status, said.out) == (1, "there is no such article\n")
    said = command("expire", "--store", store)
    assert "--days N" in said.error
    said = command("expire", "--store", store, "--days", "100000")
    assert said.out.startswith("0 articles dropped")
    said = command("expire", "--store", store, "--days", "0", "--json")
    assert json.loads(said.out)["removed"] == 2
    said = command("remove-group", "misc.test", "--store", store)
    assert (said.status, said.out) == (0, "removed\n")
    said = command("remove-group", "misc.test", "--store", store)
    assert said.status == 1


def test_a_file_that_is_no_store_is_told(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("no database")
    said = command("groups", "--store", str(tmp_path / "x"))
    assert said.status == 1
    assert "another kind of file" in said.error
    assert "one process at a time" not in said.error


@pytest.mark.parametrize(
    "arguments", [["groups"], ["expire", "--days", "1"], ["cancel", "<a@b>"], ["remove-group", "a"]]
)
def test_a_name_misspelt_makes_no_store(arguments: list[str], tmp_path: Path) -> None:
    said = command(*arguments, "--store", str(tmp_path / "nwes.db"))
    assert said.status == 1
    assert "nwes.db is not there" in said.error
    assert not list(tmp_path.glob("nwes*"))


async def test_a_store_in_use_says_by_whom(tmp_path: Path) -> None:
    async with SQLiteStore.open(tmp_path / "news.db"):
        said = await elsewhere("groups", "--store", str(tmp_path / "news.db"))
    assert said.status == 1
    assert "is a node running that serves it?" in said.error


async def test_who_speaks_something_else_is_no_server_of_news() -> None:
    class Another(Protocol):
        def connection_made(self, transport: IStreamTransport) -> None:
            transport.write(b"SSH-2.0-OpenSSH\r\n")

    async with serve("tcp://127.0.0.1:0", Another) as server:
        for scheme, hint in (("nntp", "a server of news?"), ("nntps", "from the first octet")):
            said = await elsewhere("list", f"{scheme}://127.0.0.1:{server.port}/")
            assert said.status == 1
            assert hint in said.error


# ── what goes wrong ───────────────────────────────────────────────────────────


async def test_a_refusal_says_what_to_do_next() -> None:
    hints = {
        b"411 none\r\n": "`sennit news list` shows which groups",
        b"480 who?\r\n": "--user NAME",
        b"483 TLS\r\n": "--starttls",
        b"400 busy\r\n": "try again later",
        b"502 no\r\n": "does not let you",
    }
    async with scripted({b"GROUP": list(hints)}) as (url, _script):
        for hint in hints.values():
            said = await elsewhere("read", url, "a")
            assert said.status == 1
            assert hint in said.error


def test_a_server_that_is_not_there_is_told() -> None:
    said = command("list", "nntp://127.0.0.1:9/")
    assert "does a server run there?" in said.error
    assert "127.0.0.1" in said.error
    said = command("list", env={"NNTPSERVER": "127.0.0.1:9"})
    assert "127.0.0.1:9" in said.error


async def test_tls_that_is_not_offered_is_told() -> None:
    async with scripted({}) as (url, _script):
        said = await elsewhere("list", url, "--starttls")
    assert "TLS was asked for, and the server says 500" in said.error
    assert "--ca" in said.error


async def test_a_password_comes_from_netrc(no_home: Path) -> None:
    replies = {
        b"CAPABILITIES": USER_ONLY,
        b"AUTHINFO USER fred": b"381 more\r\n",
        b"AUTHINFO PASS flint": b"281 welcome\r\n",
        b"GROUP": b"211 0 1 0 a\r\n",
    }
    (no_home / ".netrc").write_text("machine 127.0.0.1 login fred password flint\n")
    (no_home / ".netrc").chmod(0o600)
    async with scripted(replies) as (url, script):
        said = await elsewhere("read", url, "a", "--user", "fred", "--in-clear")
        assert said.status == 0
        assert script.commands(b"AUTHINFO") == [b"AUTHINFO USER fred", b"AUTHINFO PASS flint"]
        said = await elsewhere("read", url, "a", "--user", "fred")
        assert "--in-clear" in said.error
        said = await elsewhere("read", url, "a", "--in-clear")
        assert said.status == 0
        said = await elsewhere("read", url, "a", "--user", "barney")
        assert "login barney password" in said.error
        (no_home / ".netrc").chmod(0o644)
        said = await elsewhere("read", url, "a")
        assert said.status == 0, "what is not asked for a password has no use for the file"
        (no_home / ".netrc").chmod(0o600)
        (no_home / ".netrc").write_text("machine 127.0.0.1 login fred rubbish\n")
        said = await elsewhere("read", url, "a", "--user", "fred")
        assert ".netrc: bad follower token" in said.error


class Terminal(io.StringIO):
    """Standard input or output that is a terminal."""

    def isatty(self) -> bool:
        return True


def server(url: str, user: str | None = None) -> Server:
    """As its options say."""
    return Server(url, user, starttls=False, trust=None, in_clear=False, compress=False)


def test_a_password_is_asked_for_on_a_terminal_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def prompt(text: str, **options: object) -> str:
        assert options["hide_input"]
        asked.append(text)
        return "flint"

    monkeypatch.setattr(click, "prompt", prompt)
    monkeypatch.setattr("sys.stdin", Terminal())
    chosen = server("nntps://fred@news.example/")
    chosen.connector()
    assert (asked, chosen.password) == (["Password of fred"], "flint")
    server("nntps://fred:stone@news.example/").connector()
    server("news.example").connector()
    assert len(asked) == 1

    monkeypatch.setattr("sys.stdin", io.StringIO())
    with pytest.raises(UsageError, match=r"machine news\.example login fred"):
        server("news.example:1119", "fred").connector()


def test_how_far_it_is_is_drawn_on_a_terminal_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for stream, drawn in ((Terminal(), True), (io.StringIO(), False)):
        monkeypatch.setattr("sys.stderr", stream)
        with progress_bar("pulling") as tell:
            tell(0, 0, "")
            tell(50, 100, "50 new, [red]a\x1b[2J")
        assert ("pulling" in stream.getvalue()) is drawn
        assert r"[red]a\x1b[2J" in stream.getvalue() or not drawn


async def test_a_wrong_password_is_told_and_not_repeated() -> None:
    replies = {
        b"CAPABILITIES": USER_ONLY,
        b"AUTHINFO USER": b"381 more\r\n",
        b"AUTHINFO PASS": b"481 no\r\n",
    }
    async with scripted(replies) as (url, _script):
        said = await elsewhere("list", url.replace("//", "//fred:flint@"), "--in-clear")
    assert "the name or the password is wrong" in said.error
    assert "flint" not in said.error
