"""Zone files: what is read, what is refused and where, what is written."""

from __future__ import annotations

import gc
import itertools
import os
from contextlib import suppress
from typing import TYPE_CHECKING
from weakref import ref

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sennit.names import Name, PresentationError
from sennit.names.errors import ZoneError
from sennit.names.zone.check import check_file, check_zone
from sennit.names.zone.files import ZoneFiles, origin_of
from sennit.names.zone.generate import expand, numbers
from sennit.names.zone.node import Node
from sennit.names.zone.writer import write_zone, zone_lines
from sennit.names.zone.zonefile import read_zone
from sennit.names.zone.zoneset import ZoneSet

if TYPE_CHECKING:
    from pathlib import Path

    from sennit.names.zone.zone import Zone

HEAD = """\
$TTL 1h
@ IN SOA ns hostmaster 1 2h 10m 1d 5m
  IN NS ns
  IN NS ns2
ns A 192.0.2.1
ns2 A 192.0.2.2
"""


def read(text: str, origin: str | None = "example.org.") -> Zone:
    return read_zone((HEAD + text).splitlines(keepends=True), origin)


def lines_of(zone: Zone) -> list[str]:
    return [each.to_text(zone.origin) for each in zone.records()][5:]


RFC1035 = r"""
@   IN  SOA     VENERA      Action\.domains (
                                 20     ; SERIAL
                                 7200   ; REFRESH
                                 600    ; RETRY
                                 3600000; EXPIRE
                                 60)    ; MINIMUM

        NS      A.ISI.EDU.
        NS      VENERA
        NS      VAXA
        MX      10      VENERA
        MX      20      VAXA

A       A       26.3.0.103

VENERA  A       10.1.0.52
        A       128.9.0.32

VAXA    A       10.2.0.27
        A       128.9.0.33
"""


def test_the_example_of_the_rfc_is_read() -> None:
    """RFC 1035 §5.3; without a TTL the SOA's minimum holds for all."""
    zone = read_zone(RFC1035.splitlines(), "ISI.EDU")

    assert zone.serial == 20
    assert zone.soa.rdata.to_text(zone.origin) == "VENERA Action\\.domains 20 7200 600 3600000 60"
    assert len(list(zone.records())) == 11
    assert {each.ttl for each in zone.records()} == {60}
    venera = zone.rrset(Name("venera.isi.edu"), 1)
    assert venera is not None
    assert [str(each) for each in venera.rdatas] == ["10.1.0.52", "128.9.0.32"]


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("w 60 IN A 192.0.2.3", ["w 60 IN A 192.0.2.3"]),
        ("w IN 60 A 192.0.2.3", ["w 60 IN A 192.0.2.3"]),
        ("w a 192.0.2.3 ; said", ["w 3600 IN A 192.0.2.3"]),
        (
            "w 1h30m A 192.0.2.3\n\t\n  ; only a comment\n 5 TXT x",
            ["w 5400 IN A 192.0.2.3", 'w 5 IN TXT "x"'],
        ),
        ("w TXT \"a;b\" ; c\n", ['w 3600 IN TXT "a;b"']),
        ('w TXT "" x', ['w 3600 IN TXT "" "x"']),
        ('w TXT a\\;b\\"', ['w 3600 IN TXT "a;b\\""']),
        ("w TXT ( a ; b\n c )\nx A 192.0.2.3", ['w 3600 IN TXT "a" "c"', "x 3600 IN A 192.0.2.3"]),
        (
            "$ORIGIN sub\nw A 192.0.2.3\n$ORIGIN example.org.\nv CNAME w",
            ["w.sub 3600 IN A 192.0.2.3", "v 3600 IN CNAME w"],
        ),
        ("$TTL 5\nw A 192.0.2.3", ["w 5 IN A 192.0.2.3"]),
        ("*.W MX 10 @", ["*.W 3600 IN MX 10 @"]),
        (
            'w HTTPS 1 . alpn="h2,h3" ipv4hint=192.0.2.3 ; said',
            ['w 3600 IN HTTPS 1 . alpn="h2,h3" ipv4hint=192.0.2.3'],
        ),
        ('w TXT a="b c" "d=" e', ['w 3600 IN TXT "a=b c" "d=" "e"']),
        ("w TYPE65400 \\# 3 010203", ["w 3600 IN TYPE65400 \\# 3 010203"]),
        ("w TYPE1 \\# 4 C0000203", ["w 3600 IN A 192.0.2.3"]),
        ("w CLASS1 A 192.0.2.3", ["w 3600 IN A 192.0.2.3"]),
        ("a\\.b A 192.0.2.3", ["a\\.b 3600 IN A 192.0.2.3"]),
        ("w AAAA 2001:DB8::1\r", ["w 3600 IN AAAA 2001:db8::1"]),
        (
            "$GENERATE 1-3 h$ A 192.0.2.$",
            [f"h{each} 3600 IN A 192.0.2.{each}" for each in (1, 2, 3)],
        ),
        (
            "$GENERATE 0-4/2 ${10,3,x} 60 IN CNAME h${-0}.x",
            ["00a 60 IN CNAME h0.x", "00c 60 IN CNAME h2.x", "00e 60 IN CNAME h4.x"],
        ),
    ],
)  # fmt: skip
def test_what_is_written_is_read(text: str, lines: list[str]) -> None:
    assert lines_of(read(text)) == lines


def test_the_soa_names_the_zone_where_nobody_else_does() -> None:
    zone = read_zone(["$ORIGIN example.net.", "@ 60 SOA a b 1 1 1 1 1", "@ NS a", "a A 192.0.2.1"])
    assert zone.origin == Name("example.net")
    with pytest.raises(ZoneError, match="not the SOA"):
        read_zone(["example.net. 60 NS a.example.net."])
    with pytest.raises(ZoneError, match="relative"):
        read_zone(["@ 60 SOA a b 1 1 1 1 1"])


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("w A 192.0.2", 7, "is no address"),
        ("w A 192.0.2.256", 7, "is no address"),
        ("w A 192.0.2.01", 7, "is no address"),
        ("w A 192.0.2.1 x", 7, "too much"),
        ("w A", 7, "something is missing"),
        ("w", 7, "without a type"),
        ("w 60", 7, "without a type"),
        ("w 99999999999 A 192.0.2.1", 7, "is no TTL"),
        ("w NOPE x", 7, "is no type"),
        ("w CH A 192.0.2.1", 7, "class CH"),
        ("w ANY x", 7, "presentation form"),
        ("w TXT \"x", 7, "does not end"),
        ("x A 192.0.2.1\nw TXT ( x\n y", 8, "without '\\)'"),
        ("w TXT x )", 7, "without '\\('"),
        ("$NOPE", 7, "none of \\$ORIGIN"),
        ("$TTL x", 7, "write seconds"),
        ("$TTL 1 2", 7, "2 words"),
        ("$ORIGIN", 7, "0 words"),
        ("$INCLUDE other", 7, "This is no file"),
        ("$GENERATE 1-x h$ A 192.0.2.$", 7, "is no range"),
        ("$GENERATE 1-3 h${x} A 192.0.2.$", 7, "write \\$\\{OFFSET\\}"),
        ("$GENERATE 1-3 h$", 7, "needs a range"),
        ("$GENERATE 0-70000 h$ TXT x", 7, "70001 records"),
        ("a" * 64 + " A 192.0.2.1", 7, "at most 63"),
        ("w CNAME a..b", 7, "empty label"),
        ("w.example.com. A 192.0.2.1", 7, "outside the zone"),
        ("w CNAME a\nw TXT x\nv A 192.0.2.1", 8, "CNAME and other data"),
        ("w TXT \udcff", 7, "no UTF-8"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_line(text: str, line: int, said: str) -> None:
    with pytest.raises(ZoneError, match=said) as caught:
        read(text)
    assert caught.value.line == line


def test_several_errors_are_told_in_one_go_up_to_a_number(tmp_path: Path) -> None:
    path = tmp_path / "example.org.zone"
    path.write_text(HEAD + "a A x\nb A y\n\nc CNAME d\nc CNAME e\nd A 192.0.2.1\n")

    with pytest.raises(ZoneError) as caught:
        read_zone(path, "example.org")

    assert [each.split(": ")[0] for each in caught.value.problems] == [
        f"{path}:7",
        f"{path}:8",
        f"{path}:11",
    ]
    path.write_text(HEAD + "a A x\n" * 1000)
    with pytest.raises(ZoneError, match="no more than 20") as caught:
        read_zone(path, "example.org")
    assert len(caught.value.problems) == 21


def test_included_files_have_an_origin_and_give_it_back(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "more").write_text("w A 192.0.2.3\n$INCLUDE most\n")
    (tmp_path / "sub" / "most").write_text("v A 192.0.2.4\n$ORIGIN example.com.\n")
    path = tmp_path / "zone"
    path.write_text(HEAD + "u A 192.0.2.5\n$INCLUDE sub/more x\n TXT u\nt A 192.0.2.6\n")

    zone = read_zone(path, "example.org")

    assert lines_of(zone) == [
        "u 3600 IN A 192.0.2.5",
        'u 3600 IN TXT "u"',
        "w.x 3600 IN A 192.0.2.3",
        "v.x 3600 IN A 192.0.2.4",
        "t 3600 IN A 192.0.2.6",
    ]


def test_files_that_include_themselves_or_are_not_there_are_errors_of_their_line(
    tmp_path: Path,
) -> None:
    path = tmp_path / "zone"
    path.write_text(HEAD + "$INCLUDE other\n$INCLUDE nope\n$INCLUDE deep0\n")
    (tmp_path / "other").write_text("$INCLUDE zone\n")
    for number in range(12):
        (tmp_path / f"deep{number}").write_text(f"$INCLUDE deep{number + 1}\n")

    with pytest.raises(ZoneError) as caught:
        read_zone(path, "example.org")

    assert caught.value.problems == (
        f"{tmp_path}/other:1: {tmp_path}/zone includes itself",
        f"{path}:8: {tmp_path}/nope: No such file or directory",
        f"{tmp_path}/deep8:1: more than 10 files include each other",
    )


def test_generate_formats_numbers_as_bind_does() -> None:
    """BIND 9 Administrator Reference Manual, $GENERATE."""
    assert list(numbers("1-7/3")) == [1, 4, 7]
    assert expand("a$b", 5) == "a5b"
    assert expand("\\$$", 5) == "$5"
    assert expand("${0,4,d}.${1,2,x}.${0,3,o}.${-5}", 30) == "0030.1f.036.25"
    assert expand("${0,0,X}", 171) == "AB"
    assert expand("${0,8,n}", 0x1A) == "a.1.0.0."
    assert expand("\\100x", 1) == "\\100x"
    for wrong in ("${0,999}", "${-6}", "${0,1,z}"):
        with pytest.raises(PresentationError):
            expand(wrong, 5)


def test_a_written_zone_is_read_as_the_same_and_written_as_the_same(tmp_path: Path) -> None:
    zone = read(
        'W TXT "a\\"b" \\200\n*.w 5 MX 1 @\na\\.b.c A 192.0.2.3\n\\$x A 192.0.2.3\n\\@ A 192.0.2.4'
    )
    path = tmp_path / "zone"
    path.write_text("old")
    path.chmod(0o640)

    write_zone(zone, path)

    again = read_zone(path)
    assert again == zone
    assert list(zone_lines(again)) == list(zone_lines(zone))
    assert path.stat().st_mode & 0o777 == 0o640
    assert os.listdir(tmp_path) == ["zone"]


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "zone"
    path.write_text("old")
    zone = read("")
    zone.nodes[Name("bad.example.org").key] = None  # type: ignore[assignment]  # breaks in the middle

    with pytest.raises(AttributeError):
        write_zone(zone, path)

    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["zone"]


octets = st.binary(min_size=1, max_size=6)
owners = st.lists(octets, min_size=1, max_size=3)
texts = st.lists(st.binary(max_size=8), min_size=1, max_size=3)


@given(st.lists(st.tuples(owners, texts), max_size=5))
def test_any_octets_survive_being_written(found: list[tuple[list[bytes], list[bytes]]]) -> None:
    from sennit.names import Record
    from sennit.names.rdata.basic import TXT
    from sennit.names.zone.zone import Zone

    base = read("")
    records = [
        Record(Name.from_labels([*labels, b"example", b"org"]), 16, 60, TXT(strings=tuple(strings)))
        for labels, strings in found
    ]
    zone = Zone.from_records(base.origin, [*base.records(), *records])

    assert read_zone(list(zone_lines(zone))) == zone


@given(st.text(alphabet='ab.01$@*;()"\\\n\t TXANSMC-/{},', max_size=60))
def test_no_text_makes_the_reader_raise_anything_but_errors_of_zones(text: str) -> None:
    with suppress(ZoneError):
        read(text)


# ── what should be known ──────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sub NS ns.sub", "glue is missing"),
        ("@ NS ns3", "ns3.example.org., which does not exist"),
        ("@ MX 1 a\na CNAME ns", "which is an alias"),
        ("_x._tcp SRV 1 1 1 a\na CNAME ns", "which is an alias"),
        ("@ MX 1 a\na TXT x", "which has no address"),
        ("a CNAME b", "which does not exist"),
        ("sub NS ns\nsub TXT x", "cannot be seen beside"),
        ("sub NS ns\na.sub TXT x", "cannot be seen beneath the NS"),
        ("sub DNAME x\na.sub A 192.0.2.1", "cannot be seen beneath the DNAME"),
        ("*.x NS ns", "delegates nothing"),
        ("a 0 A 192.0.2.1", "TTL of A is 0"),
        ("$GENERATE 1-101 a TXT $", "more than others take"),
    ],
)
def test_what_may_not_work_is_told(text: str, said: str) -> None:
    found = [str(each) for each in check_zone(read(text))]
    assert len(found) == 1, found
    assert said in found[0]


def test_a_sound_zone_has_no_warnings(tmp_path: Path) -> None:
    sound = (
        "@ MX 1 ns\n@ MX 2 mail.example.com.\nsub NS ns.sub\nns.sub A 192.0.2.1\n"
        "w CNAME x.y\n*.y A 192.0.2.2\n"
    )
    assert check_zone(read(sound)) == []
    path = tmp_path / "zone"
    path.write_text(HEAD + sound)
    report = check_file(path, "example.org")
    assert report
    assert not report.errors
    path.write_text(HEAD + "x")
    report = check_file(path, "example.org")
    assert not report
    assert report.errors == [f"{path}:7: a record without a type"]
    assert check_file(tmp_path / "nope").errors


# ── files of a server ─────────────────────────────────────────────────────────


def write(path: Path, text: str) -> None:
    """Write so that nobody takes it for the file that was there."""
    path.write_text(text)
    os.utime(path, ns=(0, next(TIMES)))


TIMES = itertools.count(10**18, 10**9)


def test_files_are_named_after_their_zones() -> None:
    assert origin_of("/x/example.org.zone") == Name("example.org")
    assert origin_of("db.example.org") == Name("example.org")
    assert origin_of("2.0.192.in-addr.arpa") == Name("2.0.192.in-addr.arpa")


def test_what_has_changed_is_read_again_and_swapped(tmp_path: Path) -> None:
    one, two = tmp_path / "one.example.zone", tmp_path / "two.example.zone"
    write(one, HEAD)
    write(two, HEAD + "$INCLUDE more\n")
    write(tmp_path / "more", "w TXT x\n")
    files = ZoneFiles(["*.zone"], folder=tmp_path)
    zones = ZoneSet()

    files.read().put_into(zones)
    assert len(zones) == 2
    assert not files.changed()
    assert not files.read()

    before = zones.by_origin(Name("one.example"))
    write(tmp_path / "more", "v TXT x\n")
    assert files.changed()
    reading = files.read()
    assert [str(each.origin) for each in reading.zones] == ["two.example."]
    reading.put_into(zones)
    assert zones.by_origin(Name("one.example")) is before
    two_now = zones.by_origin(Name("two.example"))
    assert two_now is not None
    assert two_now.get(Name("v.two.example")) is not None

    one.unlink()
    files.read().put_into(zones)
    assert [str(each.origin) for each in zones] == ["two.example."]


def test_the_order_of_names_is_made_where_a_file_is_read(tmp_path: Path) -> None:
    """For a million signed names it takes seconds, which no question should wait for."""
    path = tmp_path / "example.org.zone"
    write(path, HEAD + "@ NSEC ns A\nns NSEC @ A\n")
    (zone,) = ZoneFiles([str(path)]).read().zones
    assert zone._chain is not None
    assert zone.chain.has_nsec


def test_a_broken_file_keeps_the_zone_and_says_why(tmp_path: Path) -> None:
    """HARDENING fault-18: the old state is kept."""
    path = tmp_path / "example.org.zone"
    write(path, HEAD)
    files = ZoneFiles([], named={"example.org": "example.org.zone"}, folder=tmp_path)
    zones = ZoneSet()
    files.read().put_into(zones)
    before = zones.by_origin(Name("example.org"))

    write(path, HEAD + "w A x\n")
    reading = files.read()

    assert reading.errors == [f"{path}:7: 'x' is no address"]
    reading.put_into(zones)
    assert zones.by_origin(Name("example.org")) is before
    assert not files.read().errors, "it is told once for each change"
    write(path, HEAD + "w A 192.0.2.9\n")
    files.read().put_into(zones)
    assert zones.by_origin(Name("example.org")) is not before


def test_two_files_of_one_zone_and_names_of_none_are_errors(tmp_path: Path) -> None:
    write(tmp_path / "example.org.zone", HEAD)
    write(tmp_path / "db.example.org", HEAD)
    assert "both of the zone" in ZoneFiles(["*"], folder=tmp_path).read().errors[0]
    write(tmp_path / "a..b.zone", HEAD)
    assert "named after no zone" in ZoneFiles(["a*"], folder=tmp_path).read().errors[0]
    missing = ZoneFiles(["nope.zone"], folder=tmp_path).read()
    assert missing.errors == [f"{tmp_path}/nope.zone: No such file or directory"]


class Watched(Node):
    """A node of which is seen whether it is still there."""

    __slots__ = ("__weakref__",)


def test_zones_that_were_replaced_are_taken_apart_but_for_what_others_have(tmp_path: Path) -> None:
    """A million names are not freed in no time: a thread does so, and lets others run."""
    path = tmp_path / "example.org.zone"
    files, zones = ZoneFiles(["*.zone"], folder=tmp_path), ZoneSet()
    others: list[Zone] = []
    key = Name("h7.example.org").key
    there: ref[Watched] | None = None
    for number in range(4):
        write(path, HEAD + f"$GENERATE 1-2500 h$ A 192.0.2.{number}\n")
        reading = files.read()
        (made,) = reading.zones
        watched = made.nodes[key] = Watched(key, made.nodes[key].sets)
        there = ref(watched)
        del watched
        reading.put_into(zones)
        del made, reading.zones[:]
        if number == 1:
            others.append(zones.by_origin(Name("example.org")) or others[0])
        elif number == 2:
            others.append((zones.by_origin(Name("example.org")) or others[0]).snapshot())
        assert len(reading.replaced) == bool(number)
        reading.let_go()
        assert not reading.replaced
    assert [len(each) for each in others] == [2503, 2503]
    path.unlink()
    reading = files.read()
    reading.put_into(zones)
    assert there is not None
    assert there() is not None, "it is not freed where it is swapped"
    reading.let_go()
    assert there() is None


def test_the_collector_of_cycles_rests_while_a_zone_is_read(tmp_path: Path) -> None:
    """It would look through all that was read, again and again, and hold up all others."""
    path = tmp_path / "example.org.zone"
    path.write_text(HEAD + "$GENERATE 1-20000 h$ A 192.0.2.1\n")
    runs: list[str] = []

    def note(phase: str, info: dict[str, int]) -> None:
        runs.append(f"{phase} {info['generation']}")

    gc.callbacks.append(note)
    try:
        reading = ZoneFiles([str(path)]).read()
        assert len(runs) <= 2, "one before it begins"
    finally:
        gc.callbacks.remove(note)
    assert len(reading.zones[0]) == 20_003
    assert gc.isenabled()
    path.write_text("broken")
    assert ZoneFiles([str(path)]).read().errors
    assert gc.isenabled()
