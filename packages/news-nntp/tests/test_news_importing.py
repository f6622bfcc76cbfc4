"""Importing: what mbox files and folders hold, and how it gets into a store."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sennit.news.errors import NNTPUsageError, StoreError
from sennit.news.importing import folder_articles, import_folder, import_mbox, mbox_articles
from sennit.news.store.memory import MemoryStore
from sennit.news.wildmat import parse_wildmat

if TYPE_CHECKING:
    from pathlib import Path

    from sennit.news.importing import Imported

NOW = 1_700_000_000.0
DATE = "Tue, 14 Nov 2023 22:13:20 +0000"


def text(number: int, groups: str = "misc.test", more: str = "", body: str = "Hello.\n") -> str:
    return (
        f"Path: news.example.org!not-for-mail\nFrom: Ann <ann@example.org>\nNewsgroups: {groups}\n"
        f"Subject: Number {number}\nDate: {DATE}\n"
        f"Message-ID: <n{number}@example.org>\n{more}\n{body}"
    )


def mbox(*articles: str) -> bytes:
    return "".join(f"From ann@example.org Tue Nov 14\n{each}\n" for each in articles).encode()


def found_in(octets: bytes, start: int = 0, max_size: int = 1000) -> list[tuple[bytes | None, int]]:
    return list(mbox_articles(BytesIO(octets), start, max_size=max_size))


# ── mbox files ────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("octets", "expected"),
    [
        (b"", []),
        (b"\n\n", []),
        (b"no mbox at all\n", []),
        (b"From x\nA: b\n\nbody\n\n", [b"A: b\r\n\r\nbody\r\n"]),
        (b"From x\nA: b\n\nbody", [b"A: b\r\n\r\nbody\r\n"]),
        (b"From x\r\nA: b\r\n\r\nbody\r\n\r\n", [b"A: b\r\n\r\nbody\r\n"]),
        (b"From x\nA: b\n\n", [b"A: b\r\n\r\n"]),
        (b"From x\nA: b\n\nFrom y\nC: d\n\n", [b"A: b\r\n\r\n", b"C: d\r\n\r\n"]),
        (b"From x\nA: b\n\n1\n\n\nFrom y\n", [b"A: b\r\n\r\n1\r\n\r\n", b""]),
        (b"From x\nA: b\n\nx\nFrom here\n", [b"A: b\r\n\r\nx\r\nFrom here\r\n"]),
        (b"From x\n\n>From y\n>>From z\n> From\n", [b"\r\nFrom y\r\n>From z\r\n> From\r\n"]),
    ],
)
def test_messages_begin_with_from_behind_an_empty_line(
    octets: bytes, expected: list[bytes]
) -> None:
    found = found_in(octets)

    assert [whole for whole, _ in found] == expected
    assert not found or found[-1][1] == len(octets)


def test_what_is_too_large_is_left_out_and_the_next_is_found() -> None:
    octets = mbox(text(1), text(2, body="x" * 3000 + "\n"), text(3))

    found = found_in(octets)

    assert [whole is None for whole, _ in found] == [False, True, False]


@given(
    st.lists(
        st.lists(st.sampled_from(["", "From x", ">From y", ">>From", "text", "> "]), max_size=6)
    )
)
def test_a_position_is_where_the_next_message_begins(bodies: list[list[str]]) -> None:
    """Quoted as mboxrd has it, every body comes back, from every position."""
    quoted = [
        "".join(f">{x}\n" if x.lstrip(">").startswith("From ") else f"{x}\n" for x in body)
        for body in bodies
    ]
    octets = mbox(*[f"A: {number}\n\n{body}" for number, body in enumerate(quoted)])
    expected = [
        f"A: {number}\r\n\r\n{''.join(x + chr(13) + chr(10) for x in body)}".encode()
        for number, body in enumerate(bodies)
    ]

    found = found_in(octets)

    assert [whole for whole, _ in found] == expected
    for at, (_, position) in enumerate(found, 1):
        assert [whole for whole, _ in found_in(octets, position)] == expected[at:]


# ── folders ───────────────────────────────────────────────────────────────────


def test_files_come_by_number_and_links_and_hidden_ones_do_not(tmp_path: Path) -> None:
    for name in ("10", "9", "b", ".overview", "sub/2"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(name.encode() + b"\nx")
    (tmp_path / "link").symlink_to("/etc/passwd")
    (tmp_path / "large").write_bytes(b"x\n" * 600)

    found = list(folder_articles(tmp_path, max_size=1000))

    assert [whole for whole, _ in found] == [
        b"b\r\nx\r\n",
        None,
        b"9\r\nx\r\n",
        b"10\r\nx\r\n",
        b"sub/2\r\nx\r\n",
    ]
    assert list(folder_articles(tmp_path, 3, max_size=1000)) == found[3:]


# ── into a store ──────────────────────────────────────────────────────────────


async def subjects(store: MemoryStore, group: str = "misc.test") -> list[bytes]:
    found = store.headers(group, 1, 9999, "subject")
    return [content async for batch in found for _, content in batch]


async def test_an_mbox_file_goes_in_once(tmp_path: Path) -> None:
    path = tmp_path / "x.mbox"
    articles = [text(number) for number in range(600)]
    path.write_bytes(mbox(*articles, "Subject: no article\n\nx\n", text(3)))
    store = MemoryStore()
    told: list[int] = []

    def progress(imported: Imported) -> None:
        told.append(imported.position)

    first = await import_mbox(store, path, progress=progress)

    assert (first.added, first.duplicates, first.refused.total()) == (600, 1, 1)
    assert first.position == first.size == path.stat().st_size
    assert told == sorted(told)
    assert len(told) >= 2
    assert await subjects(store) == [b"Number %d" % number for number in range(600)]
    again = await import_mbox(store, path)
    assert (again.added, again.duplicates) == (0, 601)
    rest = await import_mbox(store, path, start=told[0])
    assert rest.duplicates == 101
    assert "101 known" in repr(rest)


async def test_an_import_goes_on_where_it_failed(tmp_path: Path) -> None:
    path = tmp_path / "x.mbox"
    path.write_bytes(mbox(*[text(number) for number in range(20)]))

    class Full(MemoryStore):
        room = 7

        async def add(self, filed):  # type: ignore[no-untyped-def]  # as the method it replaces
            if not self.room:
                raise StoreError("no room")
            self.room -= 1
            return await super().add(filed)

    store = Full()
    with pytest.raises(StoreError):
        await import_mbox(store, path)
    store.room = 100

    done = await import_mbox(store, path)

    assert (done.added, done.duplicates) == (13, 7)


async def test_articles_go_into_the_groups_that_are_wanted(tmp_path: Path) -> None:
    path = tmp_path / "x.mbox"
    path.write_bytes(mbox(text(1, "misc.test,alt.x"), text(2, "alt.x"), text(3, "comp.y")))
    store = MemoryStore()

    done = await import_mbox(store, path, wanted=parse_wildmat("*,!alt.*"))

    assert (done.added, done.unwanted) == (2, 1)
    assert [group.name for group in await store.groups()] == ["comp.y", "misc.test"]

    # What is there already is filed where it is wanted now.
    rest = await import_mbox(store, path, wanted=parse_wildmat("alt.*"))
    assert (rest.added, rest.filed, rest.duplicates, rest.unwanted) == (1, 1, 0, 1)
    assert await subjects(store, "alt.x") == [b"Number 2", b"Number 1"]
    again = await import_mbox(store, path, group="misc.archive")
    assert (again.added, again.filed, again.duplicates) == (0, 3, 0)
    assert "3 filed in more groups" in repr(again)


async def test_another_article_of_a_message_id_that_is_here_shows_that_to_nobody(
    tmp_path: Path,
) -> None:
    path, forged = tmp_path / "x.mbox", tmp_path / "y.mbox"
    path.write_bytes(mbox(text(1, "our.own")))
    forged.write_bytes(path.read_bytes().replace(b"our.own", b"misc.test") + b"And more.\n")
    store = MemoryStore()
    await import_mbox(store, path)

    done = await import_mbox(store, forged)

    assert (done.added, done.filed, done.duplicates) == (0, 0, 1)
    assert await subjects(store, "misc.test") == []


async def test_mail_becomes_articles_of_a_group(tmp_path: Path) -> None:
    mail = f"From: Ann <ann@example.org>\nDate: {DATE}\n\nNo id, no subject.\n"
    listed = f"From: Bob <bob@example.org>\nDate: {DATE}\nSubject: S\nMessage-ID: <m@x>\n\nHi.\n"
    path = tmp_path / "x.mbox"
    path.write_bytes(mbox(mail, listed, text(3, "elsewhere", "Xref: other.example elsewhere:9\n")))
    store = MemoryStore(host="news.example.org")

    alone = await import_mbox(store, path, wanted=parse_wildmat("nothing"))
    done = await import_mbox(store, path, group="mail.list")
    again = await import_mbox(store, path, group="mail.list")

    assert (alone.added, alone.unwanted, alone.refused.total()) == (0, 1, 2)
    assert (done.added, again.duplicates) == (3, 3)
    assert await subjects(store, "mail.list") == [b"(none)", b"S", b"Number 3"]
    third = await store.article(b"<n3@example.org>")
    assert third is not None
    assert third.octets.count(b"Xref:") == 1
    assert b"Xref: news.example.org mail.list:3\r\n" in third.head
    with pytest.raises(NNTPUsageError):
        await import_mbox(store, path, group="no group")


async def test_mail_without_a_subject_becomes_one_too(tmp_path: Path) -> None:
    path = tmp_path / "box"
    path.write_bytes(mbox(f"From: a@x\nSubject: \nNewsgroups:\nDate: {DATE}\n\nSubject:\n"))
    store = MemoryStore()

    imported = await import_mbox(store, path, group="list.mail")

    assert (imported.added, imported.refused) == (1, {})
    article = await store.article_at("list.mail", 1)
    assert article is not None
    assert article.octets.count(b"Subject: (none)\r\n") == 1
    assert article.body == b"Subject:\r\n"


async def test_articles_may_count_as_received_when_their_date_says(tmp_path: Path) -> None:
    path = tmp_path / "x.mbox"
    path.write_bytes(mbox(text(1, more="Expires: Wed, 15 Nov 2023 22:13:20 +0000\n")))
    for by_date, received in ((True, NOW), (False, NOW + 5)):
        store = MemoryStore()

        await import_mbox(store, path, by_date=by_date, clock=lambda: NOW + 5)

        (aged,) = [each async for batch in store.aged(NOW * 2, 0) for each in batch]
        assert (aged.received, aged.expires) == (received, NOW + 86400)


async def test_a_folder_goes_in(tmp_path: Path) -> None:
    for number in range(1, 31):
        (tmp_path / str(number)).write_text(text(number))
    (tmp_path / "31").write_text("no article\n")
    store = MemoryStore()

    done = await import_folder(store, tmp_path)
    again = await import_folder(store, tmp_path, start=20)

    assert (done.added, done.refused.total(), done.position, done.size) == (30, 1, 31, 31)
    assert (again.duplicates, again.refused.total()) == (10, 1)
    assert await subjects(store) == [b"Number %d" % number for number in range(1, 31)]
    with pytest.raises(NotADirectoryError):
        await import_folder(store, tmp_path / "1")


async def test_what_is_not_kept_is_told_on_the_way_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who imports a large file of others' groups sees how far it is, and may stop it."""
    monkeypatch.setattr("sennit.news.importing._BATCH_READ", 40)
    path = tmp_path / "box"
    path.write_bytes(mbox(*(text(number) for number in range(100))))
    seen: list[tuple[int, int]] = []

    imported = await import_mbox(
        MemoryStore(),
        path,
        wanted=parse_wildmat("other.*"),
        progress=lambda each: seen.append((each.unwanted, each.position)),
    )

    assert imported.unwanted == 100
    assert [unwanted for unwanted, _ in seen] == [40, 80, 100, 100]
    assert seen[-1][1] == path.stat().st_size


async def test_a_file_that_is_no_mbox_is_told(tmp_path: Path) -> None:
    path = tmp_path / "article"
    path.write_text(text(1))
    with pytest.raises(NNTPUsageError, match="no mbox file"):
        await import_mbox(MemoryStore(), path)
    path.write_text("")
    assert (await import_mbox(MemoryStore(), path)).added == 0
    path.write_bytes(mbox(text(1)))
    assert (await import_mbox(MemoryStore(), path, start=path.stat().st_size)).added == 0


async def test_reasons_are_counted_up_to_a_bound(tmp_path: Path) -> None:
    path = tmp_path / "x.mbox"
    path.write_bytes(mbox(*[f"{'x' * n}\n\n" for n in range(3)] + [text(1) + "\0"]))
    store = MemoryStore()

    done = await import_mbox(store, path)
    for number in range(100):
        done.refuse(f"reason {number}")

    assert done.refused["NUL in article"] == 1
    assert len(done.refused) <= 51
    assert done.refused["other reasons"] > 40
