"""Locks and keys of articles (RFC 8315)."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sennit.news.locks import key_of, lock_of, opens

KEY = b"sha256:qv1VXHYiCGjkX/N1nhfYKcAeUn8bCVhrWhoKuBSnpMA="
LOCK = b"sha256:s/pmK/3grrz++29ce2/mQydzJuc7iqHn1nqcJiQTPMc="


def test_keys_come_out_of_a_secret_and_locks_out_of_keys() -> None:
    """RFC 8315 §5."""
    assert key_of(b"ExampleSecret", "", b"<12345@mid.example>") == KEY
    assert lock_of(KEY) == LOCK


def test_every_user_and_every_article_has_a_key_of_its_own() -> None:
    keys = {
        key_of(secret, user, message_id)
        for secret in (b"a", b"b")
        for user in ("", "ann", "ünn")
        for message_id in (b"<1@x>", b"<2@x>")
    }
    assert len(keys) == 12


OLD = b"sha1:bNXHc6ohSmeHaRHHW56BIWZJt+4="
OLD_LOCK = lock_of(OLD)


@pytest.mark.parametrize(
    ("keys", "locks", "fits"),
    [
        (KEY, LOCK, True),
        (b"sha256:xxxx " + KEY, b"sha256:yyyy\t" + LOCK + b" md5:zzzz", True),
        (b"(mine)" + KEY + b"(too)", b"(of (me)) " + LOCK, True),
        (KEY.replace(b"sha256", b"SHA256"), LOCK.replace(b"sha256", b"Sha256"), True),
        (OLD, LOCK + b" " + OLD_LOCK, True),
        (OLD.replace(b"sha1", b"sha256"), OLD_LOCK, False),
        (KEY, LOCK[:-2], False),
        (KEY[:-2], LOCK, False),
        (LOCK, LOCK, False),
        (KEY, KEY, False),
        (b"md5:" + KEY[7:], b"md5:" + LOCK[7:], False),
        (KEY, LOCK.replace(b":", b": "), False),
        (b"x" + KEY, LOCK, False),
        (KEY + b",", LOCK, False),
        (b"", LOCK, False),
        (KEY, b"", False),
        (None, LOCK, False),
        (KEY, None, False),
    ],
)
def test_a_key_fits_a_lock_of_its_scheme(
    keys: bytes | None, locks: bytes | None, fits: bool
) -> None:
    """RFC 8315 §3.5; in what order they stand says nothing."""
    assert opens(keys, locks) is fits


@given(keys=st.binary(), locks=st.binary())
def test_no_octets_raise(keys: bytes, locks: bytes) -> None:
    assert not opens(keys, locks)
    assert opens(keys.replace(b"(", b"") + b" " + KEY, locks + b" " + LOCK) in (True, False)


def test_many_elements_take_no_time_and_only_the_first_hundred_count() -> None:
    many = b" ".join(b"sha256:%d" % each for each in range(100_000))
    began = time.process_time()

    assert not opens(many, many)
    assert not opens(many + b" " + KEY, LOCK)
    assert not opens(b"a" * 1_000_000, b"sha256:" + b"a" * 1_000_000 + b"!")
    assert not opens(b" a:b)" * 200_000, b" a:b)" * 200_000)
    assert not opens(b"sha256:" + b"a" * 1_000_000, b" sha256:aa" * 100_000)

    assert time.process_time() - began < 0.1
