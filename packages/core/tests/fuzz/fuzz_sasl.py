"""No octets make a mechanism raise, or either side believe what was not shown or proved."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sennit.core.auth.credentials import ProvenCredentials
from sennit.core.auth.sasl.anonymous import AnonymousServer
from sennit.core.auth.sasl.cram_md5 import CramMD5Client, CramMD5Server
from sennit.core.auth.sasl.events import (
    Challenge,
    CredentialsGiven,
    Failed,
    KeysNeeded,
    SaltedPasswordNeeded,
    SecretNeeded,
    Succeeded,
)
from sennit.core.auth.sasl.external import ExternalServer
from sennit.core.auth.sasl.grammar import MalformedError, decode_base64, encode_base64
from sennit.core.auth.sasl.keys import ScramKeys
from sennit.core.auth.sasl.login import LoginClient, LoginServer
from sennit.core.auth.sasl.oauth import OAuthBearerServer, XOAuth2Server
from sennit.core.auth.sasl.plain import PlainServer
from sennit.core.auth.sasl.scram import ScramClient, ScramServer

if TYPE_CHECKING:
    from sennit.core.auth.sasl.engine import ClientExchange, ServerExchange

SEEDS = (
    b"\x00\0tim\0tanstaaftanstaaf",
    b"\x00Ursel\0Kurt\0xipj3plmq",
    b"\x07n,,n=user,r=abc\nc=biws,r=abcdef,p=AAAA",
    b"\x08p=tls-exporter,a=boss,n=us=2Cer,r=abc\nc=biws,r=abcdef,p=AAAA",
    b"\x05n,a=user,\x01host=h\x01port=143\x01auth=Bearer vF9d==\x01\x01\n\x01",
    b"\x06user=u\x01auth=Bearer vF9d==\x01\x01",
    b"\x02\ntim b913a602c7eda7a495b4e6e7334d3890",
    b"\x01tim\ntanstaaf",
    b"\x40r=abcdef,s=MDEyMzQ1Njc=,i=4096\nv=AAAA",
    b"\x40e=other-error",
    b"QUJD",
)

KEYS = ScramKeys("SCRAM-SHA-256", b"0123456789abcdef", 4096, bytes(32), bytes(32))
BINDINGS = {"tls-exporter": b"x" * 32}


def _server(which: int) -> ServerExchange:
    made: tuple[ServerExchange, ...] = (
        PlainServer(),
        LoginServer(),
        CramMD5Server("n", "h"),
        ExternalServer(None),
        AnonymousServer(),
        OAuthBearerServer(),
        XOAuth2Server(),
        ScramServer("SCRAM-SHA-256", "def", b"s" * 32),
        ScramServer("SCRAM-SHA-256-PLUS", "def", b"s" * 32, bindings=BINDINGS),
    )
    return made[which % len(made)]


def _client(which: int) -> ClientExchange:
    made: tuple[ClientExchange, ...] = (
        ScramClient("SCRAM-SHA-256", "user", "pencil", "abc"),
        CramMD5Client("u", "p"),
        LoginClient("u", "p"),
    )
    return made[which % len(made)]


def _feed_server(server: ServerExchange, messages: list[bytes]) -> None:
    for message in messages:
        event = server.receive(message)
        if isinstance(event, KeysNeeded):
            assert event.name
            event = server.supply(KEYS)
        elif isinstance(event, SecretNeeded):
            event = server.supply("a password that nobody has")
        if isinstance(event, CredentialsGiven):
            # Nobody here knows the keys, so nothing can have been proved.
            assert not isinstance(event.credentials, ProvenCredentials)
            assert "\0" not in event.act_as + event.credentials.name
            event = server.reject("no")
        if not isinstance(event, Challenge):
            assert isinstance(event, Failed)
            return


def _feed_client(client: ClientExchange, challenges: list[bytes]) -> None:
    client.start()
    for challenge in challenges:
        event = client.receive(challenge)
        if isinstance(event, SaltedPasswordNeeded):
            assert 4096 <= event.iterations <= 1_000_000
            event = client.supply(b"not what the server knows")
        if isinstance(event, Failed):
            return
        assert not isinstance(event, Succeeded)
    if client.mutual:
        assert isinstance(client.finish(), Failed)


def fuzz(data: bytes) -> None:
    """The first octet picks side and mechanism, line ends part the messages."""
    try:
        assert encode_base64(decode_base64(data)) == data
    except MalformedError:
        pass
    which, rest = (data[0], data[1:]) if data else (0, b"")
    messages = rest.split(b"\n")
    if which < 64:
        _feed_server(_server(which), messages)
    else:
        _feed_client(_client(which), messages)
