"""Names: text and octets, compression, order, relations; nothing but their errors comes out."""

from __future__ import annotations

import copy
import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from packages.names.tests.record_data import NAMES
from sennit.names.errors import DNSUsageError, MessageFormatError, PresentationError
from sennit.names.name import MAX_POINTERS, ROOT, Name, read_name
from sennit.names.wire import Writer

LONG = ".".join(["a" * 63] * 3 + ["b" * 61]) + "."


def test_a_name_is_its_octets() -> None:
    name = Name("WWW.example.org")

    assert name.wire == b"\3WWW\7example\3org\0"
    assert name.key == b"\3www\7example\3org\0"
    assert str(name) == "WWW.example.org."
    assert name.labels == (b"WWW", b"example", b"org")
    assert len(name) == 3
    assert name == Name("www.EXAMPLE.org.")
    assert hash(name) == hash(Name("www.example.org"))
    assert name != "www.example.org."
    assert repr(name) == "Name('WWW.example.org.')"
    assert str(Name(".")) == "."
    assert Name(".") == ROOT
    assert ROOT.is_root
    assert bool(ROOT)


def test_names_are_copied_and_pickled() -> None:
    name = Name("a.Example.")
    for other in (pickle.loads(pickle.dumps(name)), copy.copy(name), copy.deepcopy(name)):
        assert other.wire == name.wire


@pytest.mark.parametrize(
    ("text", "wire", "said"),
    [
        (r"a\.b.example", b"\3a.b\7example\0", r"a\.b.example."),
        (r"\097.example.", b"\1a\7example\0", "a.example."),
        (r"a\000b.", b"\3a\0b\0", r"a\000b."),
        (r"\\\"\;\(\)\@\$.", b'\x07\\";()@$\0', r"\\\"\;\(\)\@\$."),
        (r"\255.", b"\1\xff\0", r"\255."),
        (r"a\ b.", b"\3a b\0", r"a\032b."),
        (r"x\..", b"\2x.\0", r"x\.."),
        ("_sip._TCP.example.", b"\4_sip\4_TCP\7example\0", "_sip._TCP.example."),
        ("*.example.", b"\1*\7example\0", "*.example."),
    ],
)
def test_escapes_stand_for_any_octet(text: str, wire: bytes, said: str) -> None:
    """RFC 1035 §5.1."""
    assert Name(text).wire == wire
    assert str(Name(text)) == said
    assert Name(said).wire == wire


@pytest.mark.parametrize(
    "text",
    [
        "",
        "..",
        "a..b",
        ".a",
        "a\\",
        r"a\25",
        r"a\256",
        r"a\2x5",
        "a" * 64,
        LONG.replace("b", "bb", 2),
    ],
)
def test_text_that_is_no_name_is_refused(text: str) -> None:
    """HARDENING dns-2: 63 octets a label, 255 a name."""
    with pytest.raises(PresentationError):
        Name(text)
    with pytest.raises(ValueError):
        Name(text)


def test_the_longest_name_is_taken() -> None:
    assert len(Name(LONG).wire) == 255
    with pytest.raises(PresentationError):
        Name("c." + LONG)
    with pytest.raises(PresentationError):
        Name("c", Name(LONG))


def test_text_without_a_dot_at_its_end_is_completed_by_an_origin() -> None:
    origin = Name("example.org.")

    assert Name("www", origin) == Name("www.example.org.")
    assert Name("www.", origin) == Name("www.")
    assert Name("@", origin) is not None
    assert Name("@", origin) == origin
    assert Name("@").wire == b"\1@\0"
    assert Name("www.example.org.").relative_to(origin) == "www"
    assert origin.relative_to(origin) == "@"
    assert Name("www.example.com.").relative_to(origin) == "www.example.com."
    assert Name("www.Example.org.").relative_to(origin) == "www.Example.org."
    assert Name("www.org.").relative_to(ROOT) == "www.org"
    assert Name("notexample.org.").relative_to(origin) == "notexample.org."


def test_names_that_are_not_ascii_are_encoded() -> None:
    """RFC 5890; the package ``idna`` is there when the tests run."""
    pytest.importorskip("idna")
    assert str(Name("bücher.example")) == "xn--bcher-kva.example."
    with pytest.raises(PresentationError):
        Name("\u2024\ufe0f.example")


def test_relations_of_names_go_by_labels() -> None:
    org, example, www = Name("org."), Name("example.org."), Name("www.Example.org.")

    assert www.is_below(example)
    assert www.is_below(www)
    assert www.is_below(ROOT)
    assert not example.is_below(www)
    assert not Name("badexample.org.").is_below(example)
    assert not Name(r"x\007example.org.").is_below(example)
    assert www.parent == example
    assert [str(each) for each in www.ancestors()] == [
        "www.Example.org.",
        "Example.org.",
        "org.",
        ".",
    ]
    assert www.child(b"a").labels[0] == b"a"
    assert www.rebased(example, org) == Name("www.org.")
    assert Name("*.org.").is_wildcard
    assert not Name("*a.org.").is_wildcard
    with pytest.raises(DNSUsageError):
        _ = ROOT.parent
    for label in (b"", b"a" * 64):
        with pytest.raises(DNSUsageError):
            www.child(label)
        with pytest.raises(DNSUsageError):
            Name.from_labels([label])
    with pytest.raises(DNSUsageError):
        Name.from_labels([b"a" * 63] * 4)
    with pytest.raises(DNSUsageError):
        Name(LONG).child(b"a")
    with pytest.raises(DNSUsageError):
        www.rebased(Name("com."), org)
    with pytest.raises(DNSUsageError):
        www.rebased(example, Name(LONG))


def test_names_sort_in_canonical_order() -> None:
    """The example of RFC 4034 §6.1."""
    ordered = [
        "example.",
        "a.example.",
        "yljkjljk.a.example.",
        "Z.a.example.",
        "zABC.a.EXAMPLE.",
        "z.example.",
        r"\001.z.example.",
        "*.z.example.",
        r"\200.z.example.",
    ]
    names = [Name(text) for text in ordered]

    assert sorted(names, key=lambda name: name.key) != names
    assert sorted(names) == names
    assert names[0] < names[1] <= names[1]
    assert names[1] > names[0] >= names[0]


@given(NAMES, NAMES)
def test_a_name_comes_back_in_both_forms(name: Name, origin: Name) -> None:
    assert Name(str(name)).wire == name.wire
    assert Name.from_wire(name.wire).wire == name.wire
    assert Name.from_labels(name.labels).wire == name.wire
    assert Name(name.relative_to(origin), origin).wire == name.wire
    assert (name < origin) == (name.canonical < origin.canonical)


@given(st.text(max_size=30) | st.text("a.\\0129@ ", max_size=30))
def test_no_text_raises_anything_but_a_presentation_error(text: str) -> None:
    try:
        name = Name(text)
    except PresentationError:
        return
    assert Name(str(name)).wire == name.wire


@settings(max_examples=300)
@given(st.binary(max_size=40), st.integers(0, 39))
def test_no_octets_raise_anything_but_a_format_error(wire: bytes, position: int) -> None:
    """HARDENING dns-1, dns-2."""
    try:
        name, end = read_name(wire, position, {})
    except MessageFormatError as error:
        assert error.rule.startswith("RFC ")  # noqa: PT017 - only where there is one
        return
    assert position < end <= len(wire)
    assert Name.from_wire(name.wire) == name


@pytest.mark.parametrize(
    "wire",
    [
        b"\xc0\x00",  # to itself
        b"\xc0\x02\xc0\x00",  # to what comes later
        b"\1a\xc0\x00",  # to its own beginning
        b"\1a\xc0\x04\1b\xc0\x00",  # two that lead to each other
        b"\xff\xff",
    ],
)
def test_a_pointer_only_goes_back(wire: bytes) -> None:
    """HARDENING dns-1."""
    for position in range(len(wire) - 1):
        if wire[position] >= 0xC0 or position == 0:
            with pytest.raises(MessageFormatError):
                read_name(wire, position, {})


def test_pointers_are_counted() -> None:
    """HARDENING dns-1 and defaults 21: sixteen for one name."""
    wire = b"\0" + b"".join([(0xC000 | max(0, 2 * at - 1)).to_bytes(2, "big") for at in range(40)])

    name, end = read_name(wire, 1 + 2 * (MAX_POINTERS - 1), {})
    assert (name.wire, end) == (b"\0", 1 + 2 * MAX_POINTERS)
    with pytest.raises(MessageFormatError, match="16 compression pointers"):
        read_name(wire, 1 + 2 * MAX_POINTERS, {})


@pytest.mark.parametrize(
    "wire",
    [
        b"\x40a\0",
        b"\x80a\0",
        b"\x41" + bytes(10),
        b"\1",
        b"\1a",
        b"\3ab",
        b"",
        b"\xc0",
        b"\1a" * 127 + b"\1\0",
        (b"\x3f" + b"a" * 63) * 4 + b"\0",
    ],
)
def test_octets_that_are_no_name_are_refused(wire: bytes) -> None:
    """HARDENING dns-2."""
    with pytest.raises(MessageFormatError):
        Name.from_wire(wire)


def test_a_name_made_too_long_by_a_pointer_is_refused() -> None:
    """HARDENING dns-2."""
    wire = Name(LONG).wire + b"\1a\xc0\x00"
    with pytest.raises(MessageFormatError, match="257 octets"):
        read_name(wire, 255, {})


def test_octets_behind_a_name_are_no_part_of_it() -> None:
    for wire in (b"\0\0", b"\1a\0\1b\0"):
        with pytest.raises(MessageFormatError):
            Name.from_wire(wire)


@settings(max_examples=60)
@given(st.lists(NAMES, max_size=12))
def test_what_a_writer_compresses_is_read_again(names: list[Name]) -> None:
    writer = Writer()
    for name in names:
        writer.name(name)

    wire, seen, position = bytes(writer.out), dict[int, Name](), 0
    for name in names:
        found, position = read_name(wire, position, seen)
        assert found == name
    assert position == len(wire)
    assert len(wire) <= sum(len(each.wire) for each in names) + len(names)


def test_a_writer_compresses_without_regard_to_case_and_keeps_the_first() -> None:
    writer = Writer()
    for text in ("www.Example.org.", "mail.example.ORG.", "org.", "."):
        writer.name(Name(text))

    assert bytes(writer.out) == b"\3www\7Example\3org\0\4mail\xc0\x04\xc0\x0c\0"


def test_no_pointer_leads_beyond_its_reach() -> None:
    writer = Writer()
    writer.out += bytes(0x4000)
    writer.name(Name("a.example."))
    writer.name(Name("a.example."))

    assert bytes(writer.out[0x4000:]) == b"\1a\7example\0" * 2
