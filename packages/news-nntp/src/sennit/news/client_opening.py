"""How a client's connection begins: greeting, capabilities, reading, TLS, login, compression.

In that order, since each makes what was known before void (RFC 3977 §5.3, RFC 4642 §2.2, RFC 4643
§2.2, RFC 8054 §2.2.2). TLS that was asked for is never skipped; a password is not shown to who
listens, unless that is allowed by name.

Sources: RFC 3977 §5 (greeting, CAPABILITIES, MODE READER), RFC 4642 (STARTTLS), RFC 4643 (AUTHINFO
USER and SASL), RFC 8054 (COMPRESS). Not here: what is said afterwards (``client.py``).
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

from sennit.core.auth.sasl.channel import channel_of
from sennit.core.auth.sasl.client import ABORT, ClientIdentity, Reply, authenticate, choose
from sennit.core.errors import LoginDenied, TLSError, UsageError
from sennit.news.client_connection import refusal, shown
from sennit.news.client_engine import ClientEngine, Command, command
from sennit.news.client_replies import Capabilities
from sennit.news.errors import NNTPProtocolError, NNTPUsageError, TryLaterError
from sennit.news.grammar import MAX_COMMAND

if TYPE_CHECKING:
    from sennit.core.auth.sasl.channel import Channel
    from sennit.core.transport.tls import ClientTLS
    from sennit.news.client_connection import NNTPClientProtocol, Response

__all__ = ["Address", "ask_capabilities", "log_in", "open_session", "parse_url"]

PORT: Final = 119
TLS_PORT: Final = 563
"""Of NNTP within TLS from the first octet on (RFC 4642 §1)."""


class Address:
    """Where a server is, and as whom one comes there.

    Attributes:
        endpoint: For `sennit.core.connect`.
        host: Whose certificate is expected.
        user: Out of the URL; empty where it has none.
        password: Likewise; ``None`` where it has none.
        secure: Whether TLS comes first.
        path: What stands behind the host: a group, or an article.
    """

    __slots__ = ("endpoint", "host", "password", "path", "secure", "user")

    def __init__(
        self,
        endpoint: str,
        host: str,
        *,
        user: str = "",
        password: str | None = None,
        secure: bool = False,
        path: str = "",
    ) -> None:
        self.endpoint = endpoint
        self.host = host
        self.user = user
        self.password = password
        self.secure = secure
        self.path = path


def parse_url(url: str) -> Address:
    """Take a URL apart: ``nntp://user:password@host:port/``, or ``nntps:`` (RFC 5538 §3).

    Any endpoint of core's (``unix:run/news.sock``) is good, too.

    Raises:
        NNTPUsageError: It is none.
    """
    scheme = url.partition(":")[0].lower()
    if scheme not in ("nntp", "nntps", "news", "snews"):
        if ":" not in url:
            raise NNTPUsageError(f"write nntp://HOST or nntps://HOST, not {url[:80]!r}")
        return Address(url, "", secure=scheme.startswith("tls"))
    try:
        parts = urlsplit(url)
        port = parts.port
        host = parts.hostname or ""
    except ValueError as error:
        raise NNTPUsageError(f"not a URL: {error}") from error
    if not host:
        raise NNTPUsageError(f"a URL without a host: write {scheme}://HOST/")
    secure = scheme in ("nntps", "snews")
    if port is None:
        port = TLS_PORT if secure else PORT
    where = f"[{host}]" if ":" in host else host
    return Address(
        f"{'tls' if secure else 'tcp'}://{where}:{port}",
        host,
        user=unquote(parts.username or ""),
        password=None if parts.password is None else unquote(parts.password),
        secure=secure,
        path=unquote(parts.path.removeprefix("/")),
    )


# ── from the greeting on ──────────────────────────────────────────────────────


async def open_session(
    protocol: NNTPClientProtocol,
    *,
    starttls: ClientTLS | None,
    host: str,
    identity: ClientIdentity | None,
    reader: bool,
    compress: bool,
) -> tuple[Capabilities, bool, bool]:
    """Do all that comes before the first command.

    Gives what the server can, whether one may post, and whether a login has succeeded.

    Args:
        protocol: The connection, which stands.
        starttls: What to believe when TLS begins in the middle; ``None`` for no such thing.
        host: Whose certificate is expected then.
        identity: Who logs in, where the server offers that; ``None`` for nobody.
        reader: Whether a server that has both modes is asked for that of readers.
        compress: Whether all is deflated, where the server can.

    Raises:
        TryLaterError: The server has no time (400).
        NNTPReplyError: It does not talk to us (502), or refuses what was asked for.
        TLSError: It cannot TLS, or its certificate is not believed.
        LoginDenied: It does not believe the password.
    """
    greeting = await protocol.greeting
    if greeting.code == 400:
        raise TryLaterError(f"the server takes nobody now: {shown(greeting.text)}")
    if greeting.code not in (200, 201):
        raise refusal(greeting.code, greeting.text, "connecting")
    may_post = greeting.code == 200
    known = await ask_capabilities(protocol)
    if reader and ("MODE-READER" in known or not known.known):
        # Before TLS, which no mode is changed under, and whose beginning does not undo it (RFC 4642
        # §2.2.2). Over TLS from the first octet on, whoever offers it is taken at its word.
        response = await protocol.request(command("MODE READER", alone=True))
        if response.code in (200, 201):
            may_post = response.code == 200
        elif known.known or response.code == 502:
            raise refusal(response.code, response.octets, "MODE READER")
        # Where nothing is known a 500 says that it has one mode.
        known = await ask_capabilities(protocol)
    if starttls is not None:
        await _start_tls(protocol, starttls, host)
        known = await ask_capabilities(protocol)
    logged_in = identity is not None and "AUTHINFO" in known
    if identity is not None and logged_in:
        await log_in(protocol, known, identity)
        known = await ask_capabilities(protocol)
    if compress and known.has("COMPRESS", "DEFLATE"):
        response = await protocol.request(
            Command(b"COMPRESS DEFLATE\r\n", "COMPRESS", alone=True, deflates=True)
        )
        if response.code == 206:
            known = await ask_capabilities(protocol)
    if "READER" in known:
        # That is about this very session; a greeting may have come before the login.
        may_post = "POST" in known
    return known, may_post, logged_in


async def ask_capabilities(protocol: NNTPClientProtocol) -> Capabilities:
    """Ask what the server can (RFC 3977 §5.2); servers older than that do not know the command."""
    response = await protocol.request(command("CAPABILITIES"))
    if response.code == 101:
        return Capabilities(response.lines)
    if response.code in (480, 500, 502, 503):
        return Capabilities()
    raise refusal(response.code, response.octets, "CAPABILITIES")


async def _start_tls(protocol: NNTPClientProtocol, tls: ClientTLS, host: str) -> None:
    # Whether it is offered is not asked: who stands between may have taken it out (RFC 8143 §3.4).
    response = await protocol.request(
        Command(b"STARTTLS\r\n", "STARTTLS", alone=True, hands_over=True)
    )
    if response.code != 382:
        raise TLSError(
            f"TLS was asked for, and the server says {response.code} {response.text}",
            "STARTTLS is refused",
        )
    engine = ClientEngine(protocol.limits, greeted=True)
    await protocol.start_tls(tls, engine, server_hostname=host or None)


# ── login ─────────────────────────────────────────────────────────────────────


async def log_in(
    protocol: NNTPClientProtocol, known: Capabilities, identity: ClientIdentity
) -> None:
    """Log in by the best that both sides have: SASL, else name and password (RFC 4643).

    Servers may know other users by SASL than by name and password (INN's do). So where the password
    would be shown either way, it is shown with the name; and where SASL does not know the name,
    before it has heard anything of the password, that is tried next. A wrong password costs one
    try, and not two.

    Raises:
        LoginDenied: The server refuses them.
        NNTPReplyError: It does not let anybody log in now.
        NNTPUsageError: The password would be shown to whoever listens.
        UsageError: There is no mechanism in common.
    """
    channel = channel_of(protocol.transport)
    may_show = channel.private or identity.in_clear
    by_name = identity.password is not None and known.has("AUTHINFO", "USER")
    if known.mechanisms:
        plain = by_name and identity.mechanisms is None and not identity.act_as
        try:
            mechanism = choose(identity, known.mechanisms, channel)
        except UsageError:
            if not (by_name and may_show):
                raise
        else:
            another = plain and may_show and mechanism.startswith("SCRAM-")
            if not (plain and mechanism in ("PLAIN", "LOGIN")) and await _by_sasl(
                protocol, known, identity, channel, another=another
            ):
                return
    if identity.password is None or (known.known and not by_name):
        raise NNTPUsageError("the server offers no way to log in by what there is")
    if not may_show:
        raise NNTPUsageError(
            "the password would be shown to whoever listens: "
            "use nntps://, or tls='starttls', or allow in_clear"
        )
    await _by_password(protocol, identity.name, identity.password)


async def _by_password(protocol: NNTPClientProtocol, user: str, password: str) -> None:
    response = await protocol.request(_secret("USER", user))
    if response.code == 381:
        response = await protocol.request(_secret("PASS", password))
    _check_login(response, "the name or the password is wrong")


def _secret(word: str, text: str) -> Command:
    """AUTHINFO with an argument in which blanks are allowed (RFC 4643 §2.3.1)."""
    octets = text.encode("utf-8", "surrogateescape")
    if not octets or any(octet in octets for octet in (b"\r", b"\n", b"\0")):
        raise NNTPUsageError(f"nothing, or CR, LF or NUL, for AUTHINFO {word}")
    line = b"AUTHINFO %b %b\r\n" % (word.encode(), octets)
    if len(line) > MAX_COMMAND:
        raise NNTPUsageError(f"AUTHINFO {word} of more than {MAX_COMMAND} octets")
    return Command(line, f"AUTHINFO {word}", alone=True)


def _check_login(response: Response, why: str) -> None:
    if response.code in (281, 283):
        return
    if response.code == 481:
        raise LoginDenied(why, response.text)
    raise refusal(response.code, response.octets, "AUTHINFO")


async def _by_sasl(
    protocol: NNTPClientProtocol,
    known: Capabilities,
    identity: ClientIdentity,
    channel: Channel,
    *,
    another: bool,
) -> bool:
    """The exchange of RFC 4643 §2.4, base64 both ways, ``=`` for what is empty.

    False, instead of an error, when there is another way and the name alone was refused.
    """
    codes: list[int] = []

    async def talk(mechanism: str | None, data: bytes | None) -> Reply:
        word = b"" if data is None else b64encode(data) or b"="
        if mechanism == ABORT:
            line = b"*"
        elif mechanism is None:
            line = word or b"="
        else:
            line = (b"AUTHINFO SASL %b %b" % (mechanism.encode(), word)).rstrip()
            if len(line) + 2 > MAX_COMMAND:
                # Too long for a command: the server asks for it (RFC 4643 §2.4.1).
                reply = await say(b"AUTHINFO SASL %b" % mechanism.encode())
                if reply.kind != "challenge" or reply.data:
                    return reply
                line = word
        return await say(line)

    async def say(line: bytes) -> Reply:
        response = await protocol.request(Command(line + b"\r\n", "AUTHINFO SASL", alone=True))
        codes.append(response.code)
        if response.code == 281:
            return Reply("success")
        if response.code in (283, 383):
            word = response.octets.strip()
            try:
                answer = b"" if word == b"=" else b64decode(word, validate=True)
            except Base64Error as error:
                if response.code == 383:
                    # The exchange is given up in its own words first (RFC 4643 §2.4.2).
                    await protocol.request(Command(b"*\r\n", "AUTHINFO SASL", alone=True))
                raise NNTPProtocolError(f"not base64: {word[:64]!r}", "RFC 4643 §2.4") from error
            return Reply("challenge" if response.code == 383 else "success", answer)
        if response.code in (481, 482):
            return Reply("failure", text=response.text)
        raise refusal(response.code, response.octets, "AUTHINFO SASL")

    try:
        await authenticate(identity, known.mechanisms, channel, talk)
    except LoginDenied:
        if another and len(codes) == 1:
            return False
        raise
    return True
