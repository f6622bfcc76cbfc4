"""Hashes of passwords: known answers, second implementations, bounds, and when one is replaced."""

from __future__ import annotations

import hashlib
import os
import shutil
import statistics
import subprocess
import threading
import time

import pytest

from sennit.core.auth.hashes import (
    Argon2Policy,
    HashError,
    ScryptPolicy,
    argon2id,
    check_form,
    kind_of,
    scrypt,
    verify,
)
from sennit.core.auth.passwords import (
    HashingThreads,
    InlineHashing,
    PasswordHasher,
    scram_keys_of,
)
from sennit.core.auth.sasl.grammar import MalformedError
from sennit.core.auth.shacrypt import sha_crypt
from sennit.core.errors import LoginUnavailableError, UsageError

CHEAP = Argon2Policy(memory=64, passes=1)
SHADOW = (
    "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnI"
    "FNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1"
)


def hasher(**options: object) -> PasswordHasher:
    return PasswordHasher(CHEAP, iterations=4096, threads=InlineHashing(), **options)  # type: ignore[arg-type]  # options are passed through


def test_scrypt_gives_the_rfcs_answer() -> None:
    """RFC 7914 §12."""
    made = scrypt(b"pleaseletmein", b"SodiumChloride", 14, 8, 1, 64)
    assert made.hex().startswith("7023bdcb3afd7348461c06cd81fd38eb")


def test_argon2id_gives_the_answer_of_the_reference_programs_test() -> None:
    """The reference implementation's own vector (version 0x13, t=2, m=2^16, p=1)."""
    made = argon2id(b"password", b"somesalt", 65_536, 2, 1, 32)
    assert made.hex() == "09316115d5cf24ed5a15a31a3ba326e5cf32edc24702987c02b6566f61913cf7"


@pytest.mark.parametrize(
    ("password", "line"),
    [
        (b"Hello world!", "$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5"),
        (
            b"Hello world!",
            "$5$rounds=10000$saltstringsaltst$3xv.VbSCBX41eDL9L3voZredZ0Hv1E5p5WCsbCF7tH/",
        ),
        (
            b"Hello world!",
            SHADOW,
        ),
    ],
)
def test_sha_crypt_gives_the_answers_that_c_libraries_give(password: bytes, line: str) -> None:
    """Drepper, "Unix crypt using SHA-256 and SHA-512"; as OpenSSL and the C library say."""
    if line.startswith("$5$rounds"):
        assert sha_crypt(password, line).startswith("$5$rounds=10000$saltstringsaltst$")
        assert verify(password, sha_crypt(password, line))
    else:
        assert sha_crypt(password, line) == line
        assert verify(password, line)
    assert not verify(b"hello world!", line)


@pytest.mark.parametrize("length", [1, 15, 16, 31, 32, 33, 63, 64, 65, 130])
@pytest.mark.parametrize("option", ["-5", "-6"])
def test_sha_crypt_agrees_with_openssl(length: int, option: str) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    password = "a" * length
    said = subprocess.run(
        ["openssl", "passwd", option, "-salt", "abcdefgh", "-stdin"],
        input=password + "\n",
        capture_output=True,
        text=True,
        timeout=10,
        check=True,
    ).stdout.strip()
    assert sha_crypt(password.encode(), said) == said


def test_pbkdf2_is_verified_in_both_ways_of_writing_it() -> None:
    digest = hashlib.pbkdf2_hmac("sha256", b"secret", b"\xfb" * 16, 1000)
    from base64 import b64encode

    salt, made = (b64encode(each).decode().rstrip("=") for each in (b"\xfb" * 16, digest))
    assert verify(b"secret", f"$pbkdf2-sha256$i=1000${salt}${made}")
    dotted = f"$pbkdf2-sha256$1000${salt}${made}".replace("+", ".")
    assert verify(b"secret", dotted)
    assert not verify(b"Secret", dotted)


@pytest.mark.parametrize("line", ["$2x$04$" + "a" * 53, "$2b$04$" + "z" * 53])
def test_what_the_library_of_bcrypt_refuses_is_a_broken_hash(line: str) -> None:
    """A kind that it does not know, a salt with bits left over: no internal error of a login."""
    pytest.importorskip("bcrypt")
    with pytest.raises(HashError):
        verify(b"secret", line)


def test_bcrypt_is_verified_where_its_library_is_installed() -> None:
    bcrypt = pytest.importorskip("bcrypt")
    line = bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode()
    assert verify(b"secret", line)
    assert not verify(b"secret2", line)


@pytest.mark.parametrize("policy", [CHEAP, ScryptPolicy(log_n=4)], ids=["argon2id", "scrypt"])
def test_a_new_hash_is_verified_and_has_the_phc_form(policy: Argon2Policy | ScryptPolicy) -> None:
    line = policy.hash(b"secret", os.urandom(16))
    assert kind_of(line) == policy.kind
    assert verify(b"secret", line)
    assert not verify(b"secret ", line)
    assert not verify(b"secret", policy.dummy(os.urandom(48)))


@pytest.mark.parametrize(
    "line",
    [
        "",
        "secret",
        "$argon2id$v=19$m=64,t=1,p=1$AAAA",
        "$argon2id$v=19$m=999999999,t=1,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA",
        "$argon2id$v=19$m=64,t=999999,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA",
        "$argon2id$v=16$m=64,t=1,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA",
        "$scrypt$ln=30,r=8,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA",
        "$pbkdf2-sha256$999999999$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA",
        "$6$rounds=9999999$x$" + "a" * 86,
        "$5$x$short",
        "$1$abc$def",
        "$2b$31$" + "a" * 53,
        "SCRAM-SHA-256$1:AA==$AA==:AA==",
    ],
)
def test_what_is_no_hash_or_asks_for_too_much_is_refused_uncomputed(line: str) -> None:
    began = time.process_time()
    with pytest.raises(HashError):
        check_form(line)
    with pytest.raises((HashError, ValueError)):
        verify(b"secret", line)
    assert time.process_time() - began < 0.5


def test_an_entry_may_have_keys_of_scram_beside_its_hash() -> None:
    made = hasher(scram=["SCRAM-SHA-256", "SCRAM-SHA-1"])
    entry = made.make_entry("secret")

    assert [each.mechanism for each in scram_keys_of(entry)] == ["SCRAM-SHA-1", "SCRAM-SHA-256"]
    assert made.verify("secret", entry)
    assert not made.needs_upgrade(entry)
    keys_alone = entry.split(" ")[1]
    assert made.verify("secret", keys_alone)
    assert made.needs_upgrade(keys_alone)


def test_an_entry_that_has_keys_keeps_their_kind_when_it_is_replaced() -> None:
    old = hasher(scram=["SCRAM-SHA-512"]).make_entry("old")
    new = hasher().make_entry("new", old)
    assert [each.mechanism for each in scram_keys_of(new)] == ["SCRAM-SHA-512"]


def test_passwords_are_the_same_on_every_keyboard() -> None:
    """RFC 4013: composed and decomposed, wide and narrow."""
    made = hasher()
    entry = made.make_entry("\u00e9\uff21")
    assert made.verify("e\u0301A", entry)


@pytest.mark.parametrize("password", ["", "a\0b", "x" * 1025, "x" * 1_048_576, "\ud800"])
def test_an_odd_password_is_refused_unhashed(password: str) -> None:
    """HARDENING core-15 (CVE-2014-9016)."""
    made = PasswordHasher(Argon2Policy(), threads=InlineHashing())
    entry = CHEAP.hash(b"x", bytes(16))
    began = time.process_time()
    assert not made.verify(password, entry)
    with pytest.raises(MalformedError):
        made.make_entry(password)
    assert time.process_time() - began < 0.05


@pytest.mark.parametrize(
    "old",
    [
        SHADOW,
        Argon2Policy(memory=8, passes=1).hash(b"Hello world!", bytes(16)),
        ScryptPolicy(log_n=4).hash(b"Hello world!", bytes(16)),
    ],
    ids=["SHA-crypt", "cheaper", "another kind"],
)
async def test_an_old_hash_is_replaced_when_the_password_is_right(old: str) -> None:
    made = hasher()
    good, better = await made.check(b"Hello world!", old)
    assert good
    assert better is not None
    assert made.verify("Hello world!", better)
    assert await made.check(b"Hello world!", better) == (True, None)
    assert await made.check(b"hello world!", old) == (False, None)
    assert await made.check(b"hello world!", None) == (False, None)


def test_an_unknown_user_costs_what_a_wrong_password_costs() -> None:
    """HARDENING core-14, scaled: 150 tries each, interleaved, medians within 10 %."""
    made = PasswordHasher(Argon2Policy(memory=512, passes=2), threads=InlineHashing())
    entry = made.make_entry("right")
    wrong: list[float] = []
    unknown: list[float] = []
    ratio = 0.0
    for attempt in range(4):
        for _ in range(150):
            for found, times in ((entry, wrong), (None, unknown)):
                began = time.thread_time_ns()
                assert not made.verify("wrong", found)
                times.append(time.thread_time_ns() - began)
        # A busy machine may blur one series; a real difference stays in all of them.
        ratio = statistics.median(unknown) / statistics.median(wrong)
        if 0.9 < ratio < 1.1:
            return
        if attempt < 3:
            wrong.clear()
            unknown.clear()
    raise AssertionError(f"an unknown user takes {ratio:.3f} times as long")


async def test_hashing_is_done_in_threads_of_its_own_and_a_crowd_is_sent_away() -> None:
    threads = HashingThreads(1, max_waiting=2)
    release = threading.Event()
    names: list[str] = []

    def slow() -> int:
        names.append(threading.current_thread().name)
        assert release.wait(10)
        return 7

    import asyncio

    calls = [asyncio.ensure_future(threads.run(slow))]
    # Only when the thread has taken the first one do two more fit behind it.
    while not names:
        await asyncio.sleep(0)
    calls += [asyncio.ensure_future(threads.run(slow)) for _ in range(2)]
    await asyncio.sleep(0)
    try:
        with pytest.raises(LoginUnavailableError):
            await threads.run(slow)
    finally:
        release.set()
    assert await asyncio.gather(*calls) == [7, 7, 7]
    assert all(name.startswith("sennit-hash") for name in names)
    threads.close()


def test_policies_and_mechanisms_that_cannot_be_are_refused() -> None:
    with pytest.raises(UsageError):
        Argon2Policy(memory=4)
    with pytest.raises(UsageError):
        ScryptPolicy(log_n=40)
    with pytest.raises(UsageError):
        PasswordHasher(CHEAP, scram=["SCRAM-MD5"])
