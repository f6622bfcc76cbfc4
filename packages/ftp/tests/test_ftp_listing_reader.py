"""Listings that are read: lines as servers wrote them, what we write, and anything else."""

from __future__ import annotations

import calendar
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sennit.ftp import Entry
from sennit.ftp.listing import FACTS, fact_lines, list_lines
from sennit.ftp.listing_reader import ListingReader, parse_fact_line, parse_list_line


def at(text: str) -> float:
    """POSIX seconds of a time in UTC."""
    return float(calendar.timegm(time.strptime(text, "%Y-%m-%d %H:%M:%S")))


NOW = at("2026-03-01 12:00:00")


def told(entry: Entry | None) -> tuple[Any, ...]:  # Any: of several types
    """What most tests look at."""
    assert entry is not None
    return entry.kind, entry.name, entry.size, entry.modified


def read(octets: bytes, *, facts: bool = False) -> tuple[list[Entry], int]:
    """All entries of a listing, and how many lines were skipped."""
    reader = ListingReader(NOW, facts=facts)
    return reader.receive_data(octets) + reader.finish(), reader.skipped


# ── LIST, one line at a time ──────────────────────────────────────────────────

UNIX = [
    # vsftpd, ProFTPD, Pure-FTPd
    ("-rw-r--r--    1 0        0            1024 Feb 15  2019 20MB.zip",
     "file", "20MB.zip", 1024, "2019-02-15 00:00:00"),
    ("drwxr-xr-x   2 ftp      ftp          4096 Feb 28 13:37 pub",
     "dir", "pub", 4096, "2026-02-28 13:37:00"),
    ("-rw-------   1 user     group           0 Mar  1  2020  two leading",
     "file", " two leading", 0, "2020-03-01 00:00:00"),
    # a year is told of what is older than half a year, and what is not is no more than a day ahead
    ("-rw-r--r-- 1 u g 5 Mar  2 11:00 a", "file", "a", 5, "2026-03-02 11:00:00"),
    ("-rw-r--r-- 1 u g 5 Mar  2 13:00 a", "file", "a", 5, "2025-03-02 13:00:00"),
    ("-rw-r--r-- 1 u g 5 Dec 31 23:59 a", "file", "a", 5, "2025-12-31 23:59:00"),
    ("-rw-r--r-- 1 u g 5 Feb 29 12:00 a", "file", "a", 5, "2024-02-29 12:00:00"),
    ("-rw-r--r-- 1 u g 5 Feb 30 12:00 a", "file", "a", 5, "1970-01-01 00:00:00"),
    # without a group, without links, with numbers for names
    ("-rw-r--r--   1 owner    1803128 Jul 10  2018 ls-lR.Z",
     "file", "ls-lR.Z", 1803128, "2018-07-10 00:00:00"),
    ("drwxrwxrwx owner group 0 Oct 21  2019 d", "dir", "d", 0, "2019-10-21 00:00:00"),
    ("-rw-r--r-- 1 1000 1000 12 Jan 1 2020 2020", "file", "2020", 12, "2020-01-01 00:00:00"),
    # marks of ACLs and attributes
    ("-rw-rw-r--+ 1 u g 5 Jan 1 2020 acl", "file", "acl", 5, "2020-01-01 00:00:00"),
    ("drwxr-xr-x@ 5 u staff 160 Jan 1 2020 mac", "dir", "mac", 160, "2020-01-01 00:00:00"),
    ("-rw-r--r--. 1 u g 5 Jan 1 2020 selinux", "file", "selinux", 5, "2020-01-01 00:00:00"),
    # devices, sockets, pipes
    ("crw-rw-rw- 1 root root 1, 3 Jan 1 2020 null", "other", "null", 0, "2020-01-01 00:00:00"),
    ("brw-rw---- 1 root disk 8,0 Jan 1 2020 sda", "other", "sda", 0, "2020-01-01 00:00:00"),
    ("srwxrwxrwx 1 u g 0 Jan 1 2020 sock", "other", "sock", 0, "2020-01-01 00:00:00"),
    ("prw-r--r-- 1 u g 0 Jan 1 2020 fifo", "other", "fifo", 0, "2020-01-01 00:00:00"),
    # ISO dates (ls --time-style)
    ("-rw-r--r-- 1 u g 5 2020-02-03 04:05 iso", "file", "iso", 5, "2020-02-03 04:05:00"),
    ("-rw-r--r-- 1 u g 5 2020-02-03 04:05:06.000000000 +0100 full iso",
     "file", "full iso", 5, "2020-02-03 03:05:06"),
    ("-rw-r--r-- 1 u g 5 2020-02-03 04:05:06.000000000 -0130 f",
     "file", "f", 5, "2020-02-03 05:35:06"),
    ("-rw-r--r-- 1 u g 5 02-03 04:05 short iso", "file", "short iso", 5, "2026-02-03 04:05:00"),
    # BSD's ls -T, and day before month
    ("-rw-r--r--  1 u  g  5 Feb  3 04:05:06 2020 t", "file", "t", 5, "2020-02-03 04:05:06"),
    ("-rw-r--r-- 1 u g 5 3 Feb 2020 d", "file", "d", 5, "2020-02-03 00:00:00"),
    # other languages
    ("-rw-r--r-- 1 u g 5 Mär  3  2020 de", "file", "de", 5, "2020-03-03 00:00:00"),
    ("-rw-r--r-- 1 u g 5 3. Dez 2020 de", "file", "de", 5, "2020-12-03 00:00:00"),
    ("-rw-r--r-- 1 u g 5 28 févr. 11:22 fr", "file", "fr", 5, "2026-02-28 11:22:00"),
    ("-rw-r--r-- 1 u g 5 ago 15 2020 es", "file", "es", 5, "2020-08-15 00:00:00"),
    # NetWare, and servers of the old Mac
    ("d [R----F--] supervisor            512       Jan 16 18:53    login",
     "dir", "login", 512, "2026-01-16 18:53:00"),
    ("- [R----F--] rhesus             214059       Oct 20 15:27    cx.exe",
     "file", "cx.exe", 214059, "2025-10-20 15:27:00"),
    ("-------r--         326  1391972  1392298 Nov 22  1995 MegaPhone.sit",
     "file", "MegaPhone.sit", 1392298, "1995-11-22 00:00:00"),
    ("drwxrwxr-x               folder        2 May 10  1996 network",
     "dir", "network", 2, "1996-05-10 00:00:00"),
]  # fmt: skip


@pytest.mark.parametrize(("line", "kind", "name", "size", "modified"), UNIX)
def test_unix(line: str, kind: str, name: str, size: int, modified: str) -> None:
    assert told(parse_list_line(line, NOW)) == (kind, name, size, at(modified))


def test_columns_of_unix_are_kept() -> None:
    entry = parse_list_line("-rwsr-x--T   3 alice    users  5 Jan 1 2020 a", NOW)
    assert entry is not None
    assert (entry.mode, entry.links, entry.owner, entry.group) == (0o5750, 3, "alice", "users")
    entry = parse_list_line("-rw-r--r-- 3 alice 5 Jan 1 2020 a", NOW)
    assert entry is not None
    assert (entry.links, entry.owner, entry.group) == (3, "alice", "")


@pytest.mark.parametrize(
    ("line", "name", "target"),
    [
        ("lrwxrwxrwx 1 r r 7 Jan 1 2020 bin -> usr/bin", "bin", "usr/bin"),
        ("lrwxrwxrwx 1 r r 6 Jan 1 2020 a -> b -> c -> d", "a -> b", "c -> d"),
        ("lrwxrwxrwx 1 r r 99 Jan 1 2020 a -> b -> c", "a", "b -> c"),
        ("lrwxrwxrwx 1 r r 3 Jan 1 2020 ü -> ö1", "ü", "ö1"),
        ("lrwxrwxrwx 1 r r 3 Jan 1 2020 bare", "bare", ""),
    ],
)
def test_links_of_unix(line: str, name: str, target: str) -> None:
    entry = parse_list_line(line, NOW)
    assert entry is not None
    assert (entry.kind, entry.name, entry.target) == ("link", name, target)


@pytest.mark.parametrize(
    ("line", "kind", "name", "size", "modified"),
    [
        ("02-11-20  10:15AM       <DIR>          My Folder",
         "dir", "My Folder", 0, "2020-02-11 10:15:00"),
        ("09-22-2023  12:05AM                 1234 a b.txt",
         "file", "a b.txt", 1234, "2023-09-22 00:05:00"),
        ("01-29-97 11:32PM       1,234 x", "file", "x", 1234, "1997-01-29 23:32:00"),
        ("2020-02-11  22:15             12.345 y", "file", "y", 12345, "2020-02-11 22:15:00"),
        ("30.12.2020  22:15       <DIR>          de", "dir", "de", 0, "2020-12-30 22:15:00"),
        ("04/27/2000  12:09 PM    <SYMLINK>      l [c:\\t]",
         "link", "l", 0, "2000-04-27 12:09:00"),
        ("04-27-00  09:09PM       <JUNCTION>     licensed",
         "link", "licensed", 0, "2000-04-27 21:09:00"),
    ],
)  # fmt: skip
def test_windows(line: str, kind: str, name: str, size: int, modified: str) -> None:
    assert told(parse_list_line(line, NOW)) == (kind, name, size, at(modified))


@pytest.mark.parametrize(
    ("line", "kind", "name", "size", "modified", "unique", "mode"),
    [
        ("+i8388621.48594,m825718503,r,s280,\tdjb.html",
         "file", "djb.html", 280, 825718503.0, "8388621.48594", 0o644),
        ("+i8388621.50690,m824255907,/,\t514",
         "dir", "514", 0, 824255907.0, "8388621.50690", 0o755),
        ("+up600,r,s1,\ta\tb", "file", "a\tb", 1, 0.0, "", 0o600),
        ("+,\tx", "other", "x", 0, 0.0, "", 0o644),
    ],
)  # fmt: skip
def test_eplf(
    line: str, kind: str, name: str, size: int, modified: float, unique: str, mode: int
) -> None:
    entry = parse_list_line(line, NOW)
    assert told(entry) == (kind, name, size, modified)
    assert entry is not None
    assert (entry.unique, entry.mode) == (unique, mode)


@pytest.mark.parametrize(
    "line",
    [
        "", " ", "-", "+", "+\t", "+a", "total 12", "ls: cannot access 'x': No such file",
        "-rw-r--r--", "-rw-r--r-- 1 u g 5", "-rw-r--r-- 1 u g 5 Jan 1 2020",
        "-rw-r--r-- 1 u g x Jan 1 2020 a",
        "-rw-r--r-- 1 u g 5 Foo 1 2020 a", "-rw-r--r-- 1 u g 5 Jan 32 2020 a",
        "-rw-r--r-- 1 u g 5 Jan 1 25:00 a", "lrwxrwxrwx 1 u g 5 Jan 1 2020  -> x",
        "99-99-99  10:15AM       <DIR>          x", "02-11-20  10:15AM       <DIR>", "02-11-20 x",
        "02-11-20  99:15       5 x", "x" * 20_000, "-rw-r--r-- " + "1 " * 5000, "226 done",
        "-rw-r--r-- 1 u g 5 " + "9" * 30 + " a", "-rw-r--r-- 1 u g 2020-13-01 10:00 a",
        "٣-rw", "02-11-20  10:15AM  " + "9" * 5000 + " x",
    ],
    ids=lambda line: line[:30],
)  # fmt: skip
def test_what_is_no_line_is_none(line: str) -> None:
    assert parse_list_line(line, NOW) is None


# ── MLSD and MLST ─────────────────────────────────────────────────────────────


def test_facts_of_a_file() -> None:
    """RFC 3659 §7.7.4's examples, and what servers add."""
    entry = parse_fact_line(
        "Type=file;Size=1024990;Modify=19990112033508.25;Perm=adfr;Unique=keVO1+YZ5;"
        "UNIX.mode=0640;UNIX.owner=7;UNIX.ownername=joe;UNIX.group=8;x.y=z; a  b "
    )
    assert told(entry) == ("file", "a  b ", 1024990, at("1999-01-12 03:35:08") + 0.25)
    assert entry is not None
    assert (entry.permissions, entry.unique, entry.mode) == ("adfr", "keVO1+YZ5", 0o640)
    assert (entry.owner, entry.group) == ("joe", "8")


@pytest.mark.parametrize(
    ("line", "kind", "name", "target"),
    [
        ("type=dir; d", "dir", "d", ""),
        ("Type=cdir; /a/b", "dir", "/a/b", ""),
        (" type=dir;perm=el; /a b", "dir", "/a b", ""),
        ("type=OS.unix=slink:/a/b; l", "link", "l", "/a/b"),
        ("type=OS.unix=symlink; l", "link", "l", ""),
        ("type=OS.unix=chr-1/3; null", "other", "null", ""),
        (" name without facts", "file", "name without facts", ""),
        ("size=5;  b", "file", " b", ""),
    ],
)
def test_types(line: str, kind: str, name: str, target: str) -> None:
    entry = parse_fact_line(line)
    assert entry is not None
    assert (entry.kind, entry.name, entry.target) == (kind, name, target)


def test_what_a_server_does_not_tell_is_not_made_up() -> None:
    entry = parse_fact_line("type=file; a")
    assert entry is not None
    assert (entry.size, entry.modified, entry.permissions) == (-1, 0.0, "")


@pytest.mark.parametrize("size", ["-1", "+5", "5_0", "0x5", "", "9" * 19, "٥", " 5"])
def test_a_size_is_digits(size: str) -> None:
    entry = parse_fact_line(f"size={size}; a")
    assert entry is None or entry.size == -1


@pytest.mark.parametrize("line", ["", "x", "type=file;", "type; a", "type=file a", "type=file; "])
def test_what_are_no_facts_is_none(line: str) -> None:
    assert parse_fact_line(line) is None


# ── whole listings ────────────────────────────────────────────────────────────


def test_lines_that_cannot_be_read_are_skipped_and_counted() -> None:
    entries, skipped = read(
        b"total 8\r\n\r\n"
        b"-rw-r--r-- 1 u g 5 Jan 1 2020 a\r\n"
        b"-rw-r--r-- garbage\n"
        b"drwxr-xr-x 1 u g 5 Jan 1 2020 .\n"
        b"drwxr-xr-x 1 u g 5 Jan 1 2020 ..\n"
        b"-rw-r--r-- 1 u g 5 Jan 1 2020 b"
    )
    assert [each.name for each in entries] == ["a", "b"]
    assert skipped == 1


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/b", "a\0b", "a\rb"])
def test_a_name_that_leads_elsewhere_makes_no_entry(name: str) -> None:
    """HARDENING ftp-8, of LIST and MLSD."""
    assert read(f"-rw-r--r-- 1 u g 5 Jan 1 2020 {name}\r\n".encode()) == ([], 1)
    assert read(f"type=file; {name}\r\n".encode(), facts=True) == ([], 1)


def test_mlsd_tells_the_directory_itself_too_which_is_none_of_its_entries() -> None:
    entries, skipped = read(
        b"type=cdir;modify=20200101000000; .\r\ntype=pdir; ..\r\ntype=file;size=3; f\r\n"
        b"type=dir; ..\r\n\r\nnonsense\r\n",
        facts=True,
    )
    assert [each.name for each in entries] == ["f"]
    assert skipped == 1


def test_a_line_without_end_costs_no_memory() -> None:
    reader = ListingReader(NOW, max_line=100)
    for _ in range(1000):
        assert reader.receive_data(b"x" * 90) == []
        assert len(reader._rest) <= 100
    [entry] = reader.receive_data(b"\n-rw-r--r-- 1 u g 5 Jan 1 2020 a\n")
    assert entry.name == "a"
    assert reader.receive_data(b"y" * 101 + b"\n") == []
    assert reader.finish() == []
    assert reader.skipped == 2


def test_octets_that_are_not_utf_8_come_back_as_they_were() -> None:
    [entry], _ = read(b"-rw-r--r-- 1 u g 5 Jan 1 2020 caf\xe9\r\n")
    assert entry.name.encode("utf-8", "surrogateescape") == b"caf\xe9"


LISTING = list_lines([Entry(f"n {each}", "file", size=each) for each in range(20)], NOW)


@given(st.lists(st.integers(0, len(LISTING)), max_size=8).map(sorted))
def test_where_it_is_cut_changes_nothing(cuts: list[int]) -> None:
    reader = ListingReader(NOW)
    names: list[str] = []
    for begin, end in zip([0, *cuts], [*cuts, len(LISTING)], strict=True):
        names += [each.name for each in reader.receive_data(LISTING[begin:end])]
    assert names + [each.name for each in reader.finish()] == [f"n {each}" for each in range(20)]


TEXT = st.text(
    st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp"), exclude_characters="/"), min_size=1
)
NAMES = TEXT.filter(lambda name: name not in {".", ".."})
ENTRIES = st.builds(
    Entry,
    NAMES,
    st.sampled_from(["file", "dir", "other"]),
    size=st.integers(0, 10**18 - 1),
    modified=st.integers(0, int(NOW)).map(float),
    mode=st.integers(0, 0o777),
    permissions=st.sampled_from(["", "adfrw", "el"]),
    unique=st.sampled_from(["", "1g2"]),
)


@given(st.lists(ENTRIES, max_size=5))
def test_what_we_write_is_read_as_it_was(entries: list[Entry]) -> None:
    back, skipped = read(list_lines(entries, NOW))
    assert skipped == 0
    for entry, found in zip(entries, back, strict=True):
        assert (found.kind, found.name, found.mode) == (entry.kind, entry.name, entry.mode)
        assert found.size == entry.size
        assert (found.owner, found.group, found.links) == ("ftp", "ftp", 1)
        assert 0 <= entry.modified - found.modified < 86_400

    back, skipped = read(fact_lines(entries, FACTS), facts=True)
    assert skipped == 0
    for entry, found in zip(entries, back, strict=True):
        assert (found.kind, found.name, found.mode) == (entry.kind, entry.name, entry.mode)
        assert found.size == (-1 if entry.kind == "dir" else entry.size)
        assert found.modified == entry.modified
        assert (found.permissions, found.unique) == (entry.permissions, entry.unique)


@given(st.text(max_size=200))
def test_no_text_raises_anything(text: str) -> None:
    parse_list_line(text, NOW)
    parse_fact_line(text)
    for mode in ("-rw-r--r-- ", "d [RW] ", "02-11-20  ", "+"):
        parse_list_line(mode + text, NOW)


@given(st.binary(max_size=300), st.booleans())
def test_no_octets_raise_anything(octets: bytes, facts: bool) -> None:
    entries, _ = read(octets, facts=facts)
    assert all("/" not in each.name for each in entries)
