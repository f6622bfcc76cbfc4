"""How a client begins: URLs, greetings, modes, STARTTLS, logins, compression, and bad servers."""

from __future__ import annotations

import asyncio
import zlib
from base64 import b64decode, b64encode
from typing import TYPE_CHECKING, Any

import pytest
from news_scripts import NAME, READER, USER_ONLY, Script, certificates, play, serving, talking

from sennit.core.auth.sasl.client import ClientIdentity, SASLError
from sennit.core.endpoint.listen import serve
from sennit.core.errors import (
    ConnectError,
    ConnectionLost,
    LoginDenied,
    ProtocolError,
    TLSError,
    UsageError,
)
from sennit.core.stream import stream_handler
from sennit.news.client import NNTPClient
from sennit.news.client_opening import parse_url
from sennit.news.errors import (
    NNTPPermanentError,
    NNTPProtocolError,
    NNTPTransientError,
    NNTPUsageError,
    TryLaterError,
)
from sennit.news.limits import ClientLimits

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sennit.core.stream import Stream
    from sennit.core.testing.clock import Clock
    from sennit.core.transport.tls import ServerTLS

LOGIN = b"101 c\r\nVERSION 2\r\nREADER\r\nAUTHINFO USER SASL\r\nSASL SCRAM-SHA-256 PLAIN\r\n.\r\n"


# ── URLs ──────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("url", "endpoint", "login", "path"),
    [
        ("nntp://news.example", "tcp://news.example:119", ("", None), ""),
        ("nntp://news.example/", "tcp://news.example:119", ("", None), ""),
        ("NNTPS://news.example/a.b/5", "tls://news.example:563", ("", None), "a.b/5"),
        ("news://u:p%40%3a@[::1]:1119/", "tcp://[::1]:1119", ("u", "p@:"), ""),
        ("snews://u@h:5", "tls://h:5", ("u", None), ""),
        ("unix:run/news.sock", "unix:run/news.sock", ("", None), ""),
        ("tls://h:563", "tls://h:563", ("", None), ""),
    ],
)
def test_urls_are_taken_apart(
    url: str, endpoint: str, login: tuple[str, str | None], path: str
) -> None:
    address = parse_url(url)
    assert (address.endpoint, (address.user, address.password), address.path) == (
        endpoint, login, path,
    )  # fmt: skip
    assert address.secure is endpoint.startswith("tls")


@pytest.mark.parametrize(
    "url", ["news.example", "nntp://", "nntp://h:x/", "nntp://[::1/", "nntp:h"]
)
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(NNTPUsageError):
        parse_url(url)


# ── greetings and modes ───────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("greeting", "error"),
    [
        (b"400 full\r\n", TryLaterError),
        (b"502 not you\r\n", NNTPPermanentError),
        (b"220 smtp.example ESMTP\r\n", NNTPProtocolError),
        (b"\0", NNTPProtocolError),
        (b"", ConnectionLost),
    ],
)
def test_a_server_that_does_not_want_us_is_told_apart(
    greeting: bytes, error: type[Exception]
) -> None:
    async def main(_: Clock) -> None:
        async def greet(stream: Stream) -> None:
            await stream.send_all(greeting + b"\r\n" if greeting == b"\0" else greeting)

        async with serving(greet) as url:
            with pytest.raises(error):
                await NNTPClient.connect(url)

    play(main)


def test_nobody_waits_for_a_greeting_for_ever() -> None:
    async def main(clock: Clock) -> None:
        async def silent(stream: Stream) -> None:
            await stream.wait_closed()

        async def dribble(stream: Stream) -> None:
            for _ in range(200):
                await stream.send_all(b"2")
                await asyncio.sleep(30)

        for script in (silent, dribble):
            async with serving(script) as url:
                with pytest.raises((ConnectError, ConnectionLost)):
                    await NNTPClient.connect(url)
                assert clock.time() <= 121

    play(main)


@pytest.mark.parametrize(
    ("greeting", "capabilities", "may_post"),
    [
        (b"200 hi\r\n", READER, True),
        (b"201 hi\r\n", READER, True),
        (b"200 hi\r\n", b"101 c\r\nVERSION 2\r\nREADER\r\n.\r\n", False),
        (b"200 hi\r\n", b"101 c\r\nVERSION 2\r\nIHAVE\r\n.\r\n", True),
        (b"201 hi\r\n", b"101 c\r\nVERSION 2\r\nIHAVE\r\n.\r\n", False),
        (b"201 hi\r\n", b"500 what?\r\n", False),
    ],
)
def test_whether_one_may_post_is_known(
    greeting: bytes, capabilities: bytes, may_post: bool
) -> None:
    """RFC 3977 §3.4.2: what CAPABILITIES says of a reader's session counts."""

    async def main(_: Clock) -> None:
        async with talking({b"CAPABILITIES": capabilities}, greeting=greeting) as (news, _script):
            assert news.may_post is may_post

    play(main)


@pytest.mark.parametrize(
    ("reader", "capabilities", "answer", "asked"),
    [
        (True, b"101 c\r\nVERSION 2\r\nMODE-READER\r\nIHAVE\r\n.\r\n", b"201 hi\r\n", True),
        (False, b"101 c\r\nVERSION 2\r\nMODE-READER\r\nIHAVE\r\n.\r\n", b"201 hi\r\n", False),
        (True, READER, b"200 hi\r\n", False),
        (True, b"500 what?\r\n", b"200 hi\r\n", True),
        (True, b"500 what?\r\n", b"500 what?\r\n", True),
    ],
)
def test_the_mode_of_readers_is_asked_for_where_there_is_another(
    reader: bool, capabilities: bytes, answer: bytes, asked: bool
) -> None:
    """RFC 3977 §5.3."""

    async def main(_: Clock) -> None:
        replies = {b"CAPABILITIES": [capabilities, READER], b"MODE READER": answer}
        async with talking(replies, reader=reader) as (news, script):
            assert bool(script.commands(b"MODE READER")) is asked
            if asked:
                assert "READER" in news.capabilities

    play(main)


def test_a_server_that_refuses_readers_is_left() -> None:
    async def main(_: Clock) -> None:
        replies = {
            b"CAPABILITIES": b"101 c\r\nVERSION 2\r\nMODE-READER\r\n.\r\n",
            b"MODE READER": b"502 no readers\r\n",
        }
        async with serving(Script(replies)) as url:
            with pytest.raises(NNTPPermanentError, match="MODE READER: 502 no readers"):
                await NNTPClient.connect(url)

    play(main)


# ── TLS ───────────────────────────────────────────────────────────────────────


def starting_tls(
    context: ServerTLS, then: Callable[[Stream], Awaitable[None]], tail: bytes = b""
) -> Callable[[Stream], Awaitable[None]]:
    """What answers STARTTLS."""

    async def start(stream: Stream) -> None:
        await stream.send_all(b"382 go on\r\n" + tail)
        await stream.start_tls(context, server_side=True)
        await then(stream)

    return start


TLS_OFFERED = b"101 c\r\nVERSION 2\r\nSTARTTLS\r\nREADER\r\n.\r\n"


def test_tls_begins_where_it_was_asked_for_and_what_was_known_is_asked_again() -> None:
    async def main(_: Clock) -> None:
        server, client = certificates()
        inside = Script({b"DATE": b"111 19990623135624\r\n"}, greeting=b"")
        outside = Script({b"CAPABILITIES": TLS_OFFERED, b"STARTTLS": starting_tls(server, inside)})
        async with (
            serving(outside) as url,
            NNTPClient.connect(url, tls=client, server_hostname=NAME) as news,
        ):
            assert "OVER" in news.capabilities
            await news.date()
        assert outside.heard == [b"CAPABILITIES", b"STARTTLS"]
        assert inside.heard == [b"CAPABILITIES", b"DATE", b"QUIT"]

    play(main)


def test_tls_from_the_beginning_is_that_of_nntps() -> None:
    async def main(_: Clock) -> None:
        server, client = certificates()
        script = Script({b"DATE": b"111 19990623135624\r\n"})
        async with serving(script, tls=server) as url:
            async with NNTPClient.connect(url, tls=client, server_hostname=NAME) as news:
                await news.date()
            with pytest.raises(TLSError):
                await NNTPClient.connect(url, tls=client, server_hostname="other.example")
            with pytest.raises(NNTPUsageError):
                await NNTPClient.connect(url, tls="starttls")

    play(main)


def test_the_mode_of_readers_comes_before_tls() -> None:
    """RFC 4642 §2.2.2: no mode is changed over TLS."""

    async def main(_: Clock) -> None:
        server, client = certificates()
        inside = Script({}, greeting=b"")
        switching = b"101 c\r\nVERSION 2\r\nMODE-READER\r\n.\r\n"
        outside = Script(
            {
                b"CAPABILITIES": [switching, TLS_OFFERED],
                b"MODE READER": b"200 hi\r\n",
                b"STARTTLS": starting_tls(server, inside),
            }
        )
        async with (
            serving(outside) as url,
            NNTPClient.connect(url, tls=client, server_hostname=NAME),
        ):
            pass
        assert outside.heard == [b"CAPABILITIES", b"MODE READER", b"CAPABILITIES", b"STARTTLS"]
        assert inside.heard == [b"CAPABILITIES", b"QUIT"]

    play(main)


def test_tls_is_tried_where_it_is_not_offered() -> None:
    """RFC 8143 §3.4: who stands between may have taken the offer away."""

    async def main(_: Clock) -> None:
        server, client = certificates()
        inside = Script({b"DATE": b"111 19990623135624\r\n"}, greeting=b"")
        outside = Script({b"CAPABILITIES": READER, b"STARTTLS": starting_tls(server, inside)})
        async with (
            serving(outside) as url,
            NNTPClient.connect(url, tls=client, server_hostname=NAME) as news,
        ):
            await news.date()

    play(main)


@pytest.mark.parametrize(
    "replies",
    [
        {b"CAPABILITIES": READER, b"STARTTLS": b"500 what?\r\n"},
        {b"CAPABILITIES": TLS_OFFERED, b"STARTTLS": b"580 cannot\r\n"},
        {b"CAPABILITIES": b"500 what?\r\n", b"STARTTLS": b"502 no\r\n"},
    ],
)
def test_tls_that_was_asked_for_is_never_skipped(replies: dict[bytes, Any]) -> None:
    """HARDENING, defaults 11: nothing is said in clear where TLS was wanted."""

    async def main(_: Clock) -> None:
        script = Script(replies)
        async with serving(script) as url:
            with pytest.raises(TLSError):
                await NNTPClient.connect(url, tls="starttls", user="u", password="secret")
        assert not any(b"AUTHINFO" in line or b"secret" in line for line in script.heard)

    play(main)


def test_octets_behind_the_agreement_on_tls_end_the_connection() -> None:
    """HARDENING nntp-3, the client's side: what was put there in clear is never taken for TLS's."""

    async def main(_: Clock) -> None:
        server, client = certificates()
        inside = Script(greeting=b"")
        forged = b"101 c\r\nAUTHINFO USER\r\n.\r\n"
        outside = Script(
            {b"CAPABILITIES": TLS_OFFERED, b"STARTTLS": starting_tls(server, inside, forged)}
        )
        async with serving(outside) as url:
            with pytest.raises(ProtocolError):
                await NNTPClient.connect(url, tls=client, server_hostname=NAME)
        assert inside.heard == []

    play(main)


def test_another_ones_certificate_is_not_believed_after_starttls() -> None:
    async def main(_: Clock) -> None:
        server, client = certificates()
        inside = Script(greeting=b"")
        outside = Script({b"CAPABILITIES": TLS_OFFERED, b"STARTTLS": starting_tls(server, inside)})
        async with serving(outside) as url:
            with pytest.raises(TLSError):
                await NNTPClient.connect(url, tls=client, server_hostname="other.example")
        assert inside.heard == []

    play(main)


@pytest.mark.parametrize("tls", ["yes", "STARTTLS"])
def test_another_word_for_tls_is_refused(tls: str) -> None:
    async def main(_: Clock) -> None:
        with pytest.raises(NNTPUsageError):
            await NNTPClient.connect("nntp://10.0.0.1", tls=tls)

    play(main)


# ── logins ────────────────────────────────────────────────────────────────────


def test_a_name_and_a_password_log_in_where_that_is_allowed() -> None:
    """RFC 4643 §2.3: blanks in passwords are part of them."""

    async def main(_: Clock) -> None:
        replies = {
            b"CAPABILITIES": [USER_ONLY, READER],
            b"AUTHINFO USER": b"381 more\r\n",
            b"AUTHINFO PASS": b"281 welcome\r\n",
        }
        async with talking(replies, user="fred", password="fl int", in_clear=True) as (
            news,
            script,
        ):
            assert news.logged_in
        assert script.heard[1:3] == [b"AUTHINFO USER fred", b"AUTHINFO PASS fl int"]

    play(main)


def test_a_login_in_the_url_is_used() -> None:
    async def main(_: Clock) -> None:
        script = Script({b"CAPABILITIES": USER_ONLY, b"AUTHINFO USER": b"281 welcome\r\n"})
        async with serving(script) as url:
            url = url.replace("//", "//fred:x%20y@")
            async with NNTPClient.connect(url, in_clear=True):
                pass
            with pytest.raises(NNTPUsageError, match="one of them is missing"):
                await NNTPClient.connect(url.replace(":x%20y", ""))
        assert script.heard[1] == b"AUTHINFO USER fred"

    play(main)


def test_a_password_is_not_shown_to_who_listens() -> None:
    """HARDENING, defaults 13."""

    async def main(_: Clock) -> None:
        for capabilities in (USER_ONLY, b"101 c\r\nAUTHINFO SASL\r\nSASL PLAIN\r\n.\r\n"):
            script = Script({b"CAPABILITIES": capabilities})
            async with serving(script) as url:
                with pytest.raises(UsageError, match=r"in_clear"):
                    await NNTPClient.connect(url, user="fred", password="flint")
            assert script.heard == [b"CAPABILITIES"]

    play(main)


@pytest.mark.parametrize(
    ("user_reply", "pass_reply", "error"),
    [
        (b"481 no\r\n", b"", LoginDenied),
        (b"381 more\r\n", b"481 no\r\n", LoginDenied),
        (b"483 first TLS\r\n", b"", NNTPTransientError),
        (b"381 more\r\n", b"502 already\r\n", NNTPPermanentError),
        (b"200 what\r\n", b"", NNTPProtocolError),
    ],
)
def test_a_login_that_fails_says_why(
    user_reply: bytes, pass_reply: bytes, error: type[Exception]
) -> None:
    async def main(_: Clock) -> None:
        replies = {
            b"CAPABILITIES": USER_ONLY,
            b"AUTHINFO USER": user_reply,
            b"AUTHINFO PASS": pass_reply,
        }
        async with serving(Script(replies)) as url:
            with pytest.raises(error) as failed:
                await NNTPClient.connect(url, user="fred", password="flint", in_clear=True)
        assert "flint" not in str(failed.value)

    play(main)


@pytest.mark.parametrize("bad", ["a\r\nQUIT", "a\nb", "a\0", "", "x" * 600])
def test_a_password_that_is_not_one_line_is_never_sent(bad: str) -> None:
    async def main(_: Clock) -> None:
        for user, password in ((bad, "x"), ("x", bad)):
            script = Script({b"CAPABILITIES": USER_ONLY, b"AUTHINFO USER": b"381 more\r\n"})
            async with serving(script) as url:
                with pytest.raises(ValueError, match=r"."):
                    await NNTPClient.connect(url, user=user, password=password, in_clear=True)
            assert not any(each.startswith(b"AUTHINFO PASS") for each in script.heard)
            assert b"QUIT" not in script.heard

    play(main)


def test_the_best_mechanism_of_sasl_is_taken() -> None:
    """RFC 4643 §2.4: SCRAM before all that shows the password; the server has to prove itself."""

    async def main(_: Clock) -> None:
        script = Script(
            {b"CAPABILITIES": LOGIN, b"AUTHINFO SASL SCRAM-SHA-256": b"281 welcome\r\n"}
        )
        async with serving(script) as url:
            with pytest.raises(SASLError):
                # A success that was not proved.
                await NNTPClient.connect(url, user="fred", password="flint")
        (line,) = script.commands(b"AUTHINFO SASL SCRAM-SHA-256")
        assert b64decode(line.split()[3]).startswith(b"n,,n=fred,r=")

    play(main)


def test_plain_is_used_where_it_is_allowed_and_its_challenge_may_be_empty() -> None:
    async def main(_: Clock) -> None:
        capabilities = b"101 c\r\nVERSION 2\r\nAUTHINFO SASL\r\nSASL PLAIN\r\n.\r\n"
        secret = "x" * 400  # with its name too long for one command

        async def challenge(stream: Stream) -> None:
            await stream.send_all(b"383 =\r\n")
            line = await stream.read_until(b"\r\n")
            assert b64decode(line) == b"\0fred\0" + secret.encode()
            await stream.send_all(b"281 welcome\r\n")

        replies = {
            b"CAPABILITIES": capabilities,
            b"AUTHINFO SASL PLAIN": challenge,
            b"AUTHINFO SASL PLAIN " + b64encode(b"\0fred\0flint"): b"281 welcome\r\n",
        }
        for password in ("flint", secret):
            async with talking(replies, user="fred", password=password, in_clear=True) as (
                news,
                _script,
            ):
                assert news.logged_in

    play(main)


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (b"481 no\r\n", LoginDenied),
        (b"482 what\r\n", LoginDenied),
        (b"383 !!!\r\n", NNTPProtocolError),
        (b"383 " + b64encode(b"r=short,s=x,i=1") + b"\r\n", SASLError),
        (b"283 " + b64encode(b"v=forged") + b"\r\n", SASLError),
        (b"502 already\r\n", NNTPPermanentError),
    ],
)
def test_a_server_that_cannot_prove_itself_is_left(reply: bytes, error: type[Exception]) -> None:
    """HARDENING core-17."""

    async def main(_: Clock) -> None:
        script = Script({b"CAPABILITIES": LOGIN, b"AUTHINFO SASL": reply, b"*": b"481 ended\r\n"})
        async with serving(script) as url:
            with pytest.raises(error):
                await NNTPClient.connect(url, user="fred", password="flint")
            # RFC 4643 §2.4.2: what is not understood is given up by the word for that.
            assert (b"*" in script.heard) is reply.startswith(b"383")

    play(main)


BOTH = b"101 c\r\nVERSION 2\r\nAUTHINFO USER SASL\r\nSASL %b\r\n.\r\n"


def test_a_password_is_tried_once_and_by_name_where_sasl_does_not_know_the_name() -> None:
    """INN's SASL has users of its own, and says so before it has heard of a password."""

    def hear(mechanism: bytes, reply: bytes, *, in_clear: bool = True) -> list[bytes]:
        async def main(_: Clock) -> list[bytes]:
            replies = {
                b"CAPABILITIES": BOTH % mechanism,
                b"AUTHINFO SASL": reply,
                b"AUTHINFO USER fred": b"381 more\r\n",
                b"AUTHINFO PASS": b"481 no\r\n",
            }
            script = Script(replies)
            async with serving(script) as url:
                with pytest.raises((LoginDenied, UsageError)):
                    await NNTPClient.connect(url, user="fred", password="flint", in_clear=in_clear)
            return [line.split()[1] for line in script.commands(b"AUTHINFO")]

        return play(main)

    assert hear(b"SCRAM-SHA-256", b"481 user not found\r\n") == [b"SASL", b"USER", b"PASS"]
    assert hear(b"SCRAM-SHA-256", b"481 no\r\n", in_clear=False) == [b"SASL"]
    assert hear(b"PLAIN", b"481 no\r\n") == [b"USER", b"PASS"]
    assert hear(b"PLAIN", b"481 no\r\n", in_clear=False) == []
    assert hear(b"GSSAPI", b"481 no\r\n") == [b"USER", b"PASS"]


async def test_a_password_that_sasl_has_refused_is_not_tried_again() -> None:
    async def challenge(stream: Stream) -> None:
        nonce = b64decode(script.heard[-1].split()[3]).partition(b"r=")[2]
        await stream.send_all(b"383 %b\r\n" % b64encode(b"r=%bx,s=eA==,i=4096" % nonce))
        await stream.read_until(b"\r\n")
        await stream.send_all(b"481 no\r\n")

    script = Script({b"CAPABILITIES": BOTH % b"SCRAM-SHA-256", b"AUTHINFO SASL": challenge})
    async with serve("tcp://127.0.0.1:0", stream_handler(script)) as server:
        with pytest.raises(LoginDenied):
            await NNTPClient.connect(
                f"nntp://127.0.0.1:{server.port}/", user="fred", password="flint", in_clear=True
            )
    assert len(script.commands(b"AUTHINFO")) == 1


def test_an_identity_without_anything_in_common_is_told() -> None:
    async def main(_: Clock) -> None:
        async with serving(Script({b"CAPABILITIES": LOGIN})) as url:
            with pytest.raises(UsageError):
                await NNTPClient.connect(url, identity=ClientIdentity("fred", token="t"))
        async with serving(Script({b"CAPABILITIES": USER_ONLY})) as url:
            with pytest.raises(UsageError):
                await NNTPClient.connect(url, identity=ClientIdentity("fred", token="t"))

    play(main)


def test_a_login_that_is_asked_for_later_is_given_once_and_the_command_again() -> None:
    """RFC 4643 §2.1: 480."""

    async def main(_: Clock) -> None:
        replies = {
            b"AUTHINFO USER": b"281 welcome\r\n",
            b"GROUP": [b"480 who?\r\n", b"211 0 1 0 a\r\n", b"480 who?\r\n"],
            b"CAPABILITIES": [READER, USER_ONLY, READER],
        }
        script = Script(replies)
        async with (
            serving(script) as url,
            NNTPClient.connect(url, user="fred", password="x", in_clear=True) as news,
        ):
            news.capabilities = type(news.capabilities)([b"AUTHINFO USER"])
            assert not news.logged_in
            await news.group("a")
            assert news.logged_in
            with pytest.raises(NNTPTransientError, match="480"):
                await news.group("a")
        assert len(script.commands(b"AUTHINFO")) == 1

    play(main)


def test_who_has_no_login_is_told_that_one_is_wanted() -> None:
    async def main(_: Clock) -> None:
        async with talking({b"GROUP": b"480 who?\r\n"}) as (news, _script):
            with pytest.raises(NNTPTransientError, match="GROUP: 480"):
                await news.group("a")

    play(main)


# ── compression ───────────────────────────────────────────────────────────────


def deflating(text: bytes) -> Callable[[Stream], Awaitable[None]]:
    """What answers COMPRESS, and one deflated command."""

    async def answer(stream: Stream) -> None:
        await stream.send_all(b"206 active\r\n")
        inflate = zlib.decompressobj(wbits=-15)
        deflate = zlib.compressobj(wbits=-15)
        heard = b""
        replies = [READER, text]
        while replies:
            while not heard.endswith(b"\r\n"):
                heard += inflate.decompress(await stream.receive_some())
            heard = b""
            reply = deflate.compress(replies.pop(0)) + deflate.flush(zlib.Z_SYNC_FLUSH)
            await stream.send_all(reply)
        await stream.wait_closed()

    return answer


COMPRESSING = b"101 c\r\nVERSION 2\r\nREADER\r\nCOMPRESS DEFLATE\r\n.\r\n"


def test_all_is_deflated_where_that_was_asked_for_and_the_server_can() -> None:
    """RFC 8054 §2.2."""

    async def main(_: Clock) -> None:
        text = b"100 help\r\n" + b"a long line of help, again and again\r\n" * 10_000 + b".\r\n"
        replies = {b"CAPABILITIES": COMPRESSING, b"COMPRESS DEFLATE": deflating(text)}
        async with serving(Script(replies)) as url:
            limits = ClientLimits(max_ratio=2000)
            news = await NNTPClient.connect(url, compress=True, limits=limits)
            assert len(await news.help()) == 10_000
            news.abort()
            news = await NNTPClient.connect(url)
            assert news.capabilities.has("COMPRESS", "DEFLATE")
            await news.aclose()

    play(main)


@pytest.mark.parametrize(
    "text", [b"100 help\r\n" + b"\0" * (8 << 20) + b"\r\n.\r\n", b"100 x\r\n" + b"A" * (4 << 20)]
)
def test_what_is_deflated_too_much_is_refused(text: bytes) -> None:
    """HARDENING, defaults 18: a ratio of 100 after the first MiB."""

    async def main(_: Clock) -> None:
        replies = {b"CAPABILITIES": COMPRESSING, b"COMPRESS DEFLATE": deflating(text)}
        async with serving(Script(replies)) as url:
            limits = ClientLimits(max_block=1 << 30)
            news = await NNTPClient.connect(url, compress=True, limits=limits)
            with pytest.raises(NNTPProtocolError) as refused:
                await news.help()
            assert refused.value.rule == "limit:ratio"

    play(main)


def test_what_is_not_deflated_ends_the_connection() -> None:
    async def main(_: Clock) -> None:
        replies = {
            b"CAPABILITIES": COMPRESSING,
            b"COMPRESS DEFLATE": b"206 active\r\n\xff\xff\xff\xff",
        }
        async with serving(Script(replies)) as url:
            with pytest.raises(NNTPProtocolError, match="not deflated"):
                await NNTPClient.connect(url, compress=True)

    play(main)


def test_a_server_that_refuses_compression_is_used_without() -> None:
    async def main(_: Clock) -> None:
        replies = {
            b"CAPABILITIES": COMPRESSING,
            b"COMPRESS": b"403 no\r\n",
            b"STAT": b"223 1 <1@x>\r\n",
        }
        async with talking(replies, compress=True) as (news, _script):
            assert await news.stat() == (1, b"<1@x>")

    play(main)
