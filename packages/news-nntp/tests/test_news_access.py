"""Who may do what."""

from __future__ import annotations

import pytest

from sennit.core.address import InternetAddress
from sennit.news.access import NOBODY, Access, AccessRules
from sennit.news.errors import NNTPProtocolError


def test_an_access_says_which_groups() -> None:
    access = Access("*,!secret.*", "misc.*")

    assert access.reads
    assert access.posts
    assert not access.reads_all
    assert access.may_read("comp.lang.c")
    assert not access.may_read("secret.board")
    assert access.may_post(["misc.test"])
    # A crosspost has to be allowed in all of its groups.
    assert not access.may_post(["misc.test", "comp.lang.c"])


def test_one_reads_all_and_posts_nothing_unless_told() -> None:
    assert Access().reads_all
    assert not Access().posts
    assert not Access().may_post(["misc.test"])
    assert Access("*", "*").may_post(["any.group"])
    assert not NOBODY.reads
    assert not NOBODY.may_read("misc.test")


def test_an_access_can_be_given_a_name() -> None:
    access = Access("misc.*", "misc.*", transit=True, approve=True).named("alice")

    assert access.name == "alice"
    assert access.approve
    assert access.transit
    assert access.may_post(["misc.test"])
    assert "alice" in repr(access)


def test_what_is_no_wildmat_is_refused() -> None:
    with pytest.raises(NNTPProtocolError):
        Access("[a-z]")


def test_the_first_rule_that_has_the_address_decides() -> None:
    one, two, rest = Access(name="one"), Access(name="two"), Access(name="rest")
    rules = AccessRules([("10.1.0.0/16", one), ("10.0.0.0/8,loopback", two)], rest)

    assert rules.of(InternetAddress("10.1.2.3", 1)) is one
    assert rules.of(InternetAddress("::ffff:10.1.2.3", 1)) is one
    assert rules.of(InternetAddress("10.2.2.3", 1)) is two
    assert rules.of(InternetAddress("127.0.0.1", 1)) is two
    assert rules.of(InternetAddress("192.0.2.1", 1)) is rest
    assert rules.of(None) is rest
    assert AccessRules().of(None) is NOBODY
