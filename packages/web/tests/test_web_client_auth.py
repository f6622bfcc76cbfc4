"""Logins of the client: challenges are read with care, and answered as the RFCs have it."""

from __future__ import annotations

import asyncio
import hashlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sennit.web.client.auth import Auth, BasicAuth, BearerAuth, DigestAuth, auth_of
from sennit.web.client.challenges import Challenge, parse_challenges, parse_parameters
from sennit.web.client.urls import URL

URL_ = URL("http://www.example.org/dir/index.html")


def sha(text: str, name: str = "sha256") -> str:
    return hashlib.new(name, text.encode()).hexdigest()


def first(auth: Auth, method: str = "GET", url: URL = URL_) -> bytes | None:
    return asyncio.run(auth.authorize(method, url))


def second(auth: Auth, *fields: bytes, url: URL = URL_) -> bytes | None:
    return asyncio.run(auth.answer("GET", url, parse_challenges(fields)))


# ── challenges ────────────────────────────────────────────────────────────────


def test_challenges_of_one_field_share_their_comma_with_parameters() -> None:
    """The example of RFC 9110 §11.6.1."""
    found = parse_challenges(
        [b'Basic realm="simple", Newauth realm="apps", type=1, title="Login to \\"apps\\""']
    )
    assert found == [
        Challenge("basic", "", {"realm": "simple"}),
        Challenge("newauth", "", {"realm": "apps", "type": "1", "title": 'Login to "apps"'}),
    ]


def test_challenges_come_in_every_shape() -> None:
    assert parse_challenges([b"Negotiate"]) == [Challenge("negotiate", "", {})]
    assert parse_challenges([b"Negotiate YII==, , Basic realm=x"]) == [
        Challenge("negotiate", "YII==", {}),
        Challenge("basic", "", {"realm": "x"}),
    ]
    assert parse_challenges([b"Basic", b'BASIC realm = "a b" ']) == [
        Challenge("basic", "", {}),
        Challenge("basic", "", {"realm": "a b"}),
    ]
    assert parse_challenges([b"A, B, C x=y"]) == [
        Challenge("a", "", {}),
        Challenge("b", "", {}),
        Challenge("c", "", {"x": "y"}),
    ]


def test_what_stands_before_a_mistake_is_taken() -> None:
    assert parse_challenges([b'Basic realm="a", Digest nonce="x'])[0].parameters == {"realm": "a"}
    assert parse_challenges([b"", b"=", b"\x00", b'"']) == []
    assert parse_challenges([b'Digest realm="a" b'])[0].parameters == {"realm": "a"}


def test_of_a_parameter_that_comes_twice_the_first_counts() -> None:
    assert parse_parameters(b'a=1, A="2", nextnonce="n"') == {"a": "1", "nextnonce": "n"}


def test_challenges_without_end_are_cut_short() -> None:
    assert len(parse_challenges([b"A," * 10_000])) == 32
    many = b"Digest " + b",".join(b"a%d=b" % each for each in range(10_000))
    assert len(parse_challenges([many])[0].parameters) == 64


@given(st.lists(st.binary(max_size=80), max_size=4))
def test_no_octets_make_the_parser_raise(fields: list[bytes]) -> None:
    parse_challenges(fields)
    for field in fields:
        parse_parameters(field)


# ── Basic and Bearer ──────────────────────────────────────────────────────────


def test_basic_sends_name_and_password_at_once() -> None:
    """RFC 7617 §2, and its example in UTF-8."""
    assert first(BasicAuth("Aladdin", "open sesame")) == b"Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="
    assert first(BasicAuth("test", "123£")) == b"Basic dGVzdDoxMjPCow=="
    assert second(BasicAuth("a", "b"), b"Basic realm=x") is None


def test_names_and_passwords_that_cannot_be_sent_are_refused() -> None:
    """HARDENING h1-25."""
    for name, password in (("a:b", "c"), ("a\r\n", "b"), ("a", "b\0"), ("a\n", "b")):
        with pytest.raises(ValueError, match="control"):
            BasicAuth(name, password)
    with pytest.raises(ValueError, match="control"):
        DigestAuth("a\r\nX: y", "b")
    for token in ("a b", "a\r\nb", "", "ä"):
        with pytest.raises(ValueError, match="bearer"):
            BearerAuth(token)


def test_a_bearer_token_is_renewed_once_when_it_is_refused() -> None:
    given: list[str | None] = []

    async def renew(before: str | None) -> str:
        given.append(before)
        return f"token{len(given)}"

    auth = BearerAuth(renew)
    assert first(auth) == b"Bearer token1"
    assert first(auth) == b"Bearer token1"
    assert second(auth) == b"Bearer token2"
    assert given == [None, "token1"]
    same = BearerAuth(lambda before: "same")
    first(same)
    assert second(same) is None
    assert second(BearerAuth("fixed")) is None


def test_no_login_is_shown_by_repr() -> None:
    for auth in (BasicAuth("u", "secret"), BearerAuth("secret"), DigestAuth("u", "secret")):
        assert "secret" not in repr(auth)


def test_a_pair_is_basic() -> None:
    assert isinstance(auth_of(("a", "b")), BasicAuth)
    assert auth_of(None) is None


# ── Digest ────────────────────────────────────────────────────────────────────

NONCE = "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v"
CNONCE = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"
_CHALLENGE = (
    b'Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm=%b, '
    b'nonce="' + NONCE.encode() + b'", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"'
)


def mufasa(**options: bool) -> DigestAuth:
    return DigestAuth("Mufasa", "Circle of Life", make_nonce=lambda: CNONCE, **options)


def test_digest_proves_the_examples_of_its_rfc() -> None:
    """RFC 7616 §3.9.1."""
    answer = second(mufasa(), _CHALLENGE % b"SHA-256", _CHALLENGE % b"MD5")
    assert answer is not None
    assert b"753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1" in answer
    assert parse_challenges([answer])[0] == Challenge(
        "digest",
        "",
        {
            "username": "Mufasa",
            "realm": "http-auth@example.org",
            "uri": "/dir/index.html",
            "algorithm": "SHA-256",
            "nonce": NONCE,
            "nc": "00000001",
            "cnonce": CNONCE,
            "qop": "auth",
            "response": "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1",
            "opaque": "FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS",
        },
    )
    assert second(mufasa(), _CHALLENGE % b"MD5") is None
    answer = second(mufasa(allow_md5=True), _CHALLENGE % b"MD5")
    assert answer is not None
    assert b'response="8ca523f5e9506fed4657c9700eebdbec"' in answer


def test_digest_hides_the_name_where_it_is_asked_to() -> None:
    """RFC 7616 §3.4.4; the hash is that of the example in §3.9.2, as its erratum corrects it."""
    auth = DigestAuth(
        "Jäsøn Doe",
        "Secret, or not?",
        make_nonce=lambda: "NTg6RKcb9boFIAS3KrFK9BGeh+niz/sm",
    )
    answer = second(
        auth,
        b'Digest realm="api@example.org", qop="auth", algorithm=SHA-512-256, '
        b'nonce="5TsQWLVdgBdmrQ0XsxbDODV+57QdFR34I9HAbC/RVvkK", '
        b'opaque="HRPCssKJSGjCrkzDg8OhwpzCiGPChXYjwrI2QmXDnsOS", charset=UTF-8, userhash=true',
        url=URL("http://api.example.org/doe.json"),
    )
    assert answer is not None
    said = parse_challenges([answer])[0].parameters
    assert said["username"] == "793263caabb707a56211940d90411ea4a575adeccb7e360aeb624ed06ece9b0b"
    key = sha("Jäsøn Doe:api@example.org:Secret, or not?", "sha512_256")
    action = sha("GET:/doe.json", "sha512_256")
    proof = f"{key}:{said['nonce']}:00000001:{said['cnonce']}:auth:{action}"
    assert said["response"] == sha(proof, "sha512_256")
    assert said["userhash"] == "true"


def test_a_name_beyond_ascii_is_written_as_rfc_8187_has_it() -> None:
    answer = second(
        DigestAuth("Jäsøn", "x"),
        b'Digest realm="r", qop="auth", algorithm=SHA-256, nonce="n", charset=UTF-8',
    )
    assert answer is not None
    assert b"username*=UTF-8''J%C3%A4s%C3%B8n" in answer


def test_digest_goes_on_with_the_nonce_it_has_and_counts() -> None:
    auth = mufasa()
    assert first(auth) is None
    second(auth, _CHALLENGE % b"SHA-256")
    again = first(auth)
    assert again is not None
    assert b"nc=00000002" in again
    assert first(auth, url=URL("http://elsewhere.example/")) is None


def test_a_stale_nonce_is_replaced_and_a_wrong_password_is_not_tried_again() -> None:
    auth = mufasa()
    second(auth, _CHALLENGE % b"SHA-256")
    fresh = b'Digest realm="r", qop=auth, algorithm=SHA-256, nonce="fresh", stale=TRUE'
    answer = second(auth, fresh)
    assert answer is not None
    assert b'nonce="fresh", nc=00000001' in answer
    assert second(auth, b'Digest realm="r", qop=auth, algorithm=SHA-256, nonce="fresh"') is None
    assert first(auth) is None


def test_the_next_nonce_of_a_server_is_used() -> None:
    """RFC 7616 §3.5."""
    auth = mufasa()
    second(auth, _CHALLENGE % b"SHA-256")
    auth.accepted(URL_, b'nextnonce="next", qop=auth')
    answer = first(auth)
    assert answer is not None
    assert b'nonce="next", nc=00000001' in answer
    auth.accepted(URL_, None)
    auth.accepted(URL("http://other.example/"), b'nextnonce="x"')


def test_a_session_key_holds_as_long_as_its_nonce() -> None:
    """RFC 7616 §3.4.2: A1 of a -sess algorithm is made of the first nonces."""
    nonces = iter(("one", "two", "three"))
    auth = DigestAuth("u", "p", make_nonce=lambda: next(nonces))
    challenge = b'Digest realm="r", qop=auth, algorithm=SHA-256-sess, nonce="n"'
    one, two = second(auth, challenge), first(auth)
    assert one is not None
    assert two is not None
    key = sha(sha("u:r:p") + ":n:one")
    wanted = sha(f"{key}:n:00000002:two:auth:{sha('GET:/dir/index.html')}")
    assert wanted.encode() in two


def test_the_strongest_hash_that_is_offered_is_taken() -> None:
    answer = second(
        mufasa(allow_md5=True),
        _CHALLENGE % b"MD5",
        _CHALLENGE % b"SHA-512-256",
        _CHALLENGE % b"SHA-256",
    )
    assert answer is not None
    assert b"algorithm=SHA-512-256" in answer


@pytest.mark.parametrize(
    "challenge",
    [
        b'Basic realm="x"',
        b'Digest realm="r", algorithm=SHA-256, nonce="n"',
        b'Digest realm="r", qop="auth-int", algorithm=SHA-256, nonce="n"',
        b'Digest realm="r", qop="auth", algorithm=SHA-1, nonce="n"',
        b'Digest realm="r", qop="auth", nonce="n"',
        b'Digest qop="auth", algorithm=SHA-256, nonce="n"',
        b'Digest realm="r", qop="auth", algorithm=SHA-256',
    ],
)
def test_a_challenge_that_proves_nothing_is_let_be(challenge: bytes) -> None:
    assert second(mufasa(), challenge) is None


@given(st.lists(st.binary(max_size=60), max_size=3))
def test_no_challenge_makes_the_answer_more_than_one_line(fields: list[bytes]) -> None:
    """HARDENING h1-25: what a server quotes does not become a second header."""
    base = b'Digest realm="r", qop="auth", algorithm=SHA-256, nonce="n"'
    for field in fields:
        answer = second(mufasa(), base + b', opaque="' + field + b'"')
        if answer is not None:
            assert re.fullmatch(rb"[\t -~\x80-\xff]*", answer)


def test_origins_without_end_are_not_remembered() -> None:
    auth = mufasa()
    for port in range(1, 1200):
        second(auth, _CHALLENGE % b"SHA-256", url=URL(f"http://h.example:{port}/"))
    assert len(auth._spaces) <= 1000
