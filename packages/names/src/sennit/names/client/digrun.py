"""``sennit dig``, once its arguments are read: asks, and prints what comes.

Each question goes to its servers in turn, a number of times each, as dig(1) does. Exit statuses
are dig's too: 0 for any answer, 9 for none, 1 for a mistake in the arguments, 10 for a fault of
this program. What was asked is printed from the octets that came.
"""

from __future__ import annotations

import json
import secrets
import time
from contextlib import AsyncExitStack
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sennit.core.errors import SennitError
from sennit.core.reactor.base import current_reactor
from sennit.names._version import __version__
from sennit.names.client.digtext import message_json, message_lines, record_line
from sennit.names.client.exchange import padded
from sennit.names.client.resolvconf import RESOLV_CONF, ResolvConf, parse_resolv_conf
from sennit.names.client.servers import PORTS, Server, server_from_text
from sennit.names.client.stream import StreamClient, TLSProfile
from sennit.names.client.udp import exchange_udp
from sennit.names.codes import OptionCode, Rcode, RRType, type_text
from sennit.names.edns import EDNS, Option
from sennit.names.errors import (
    DNSError,
    DNSUsageError,
    LookupTimeoutError,
    SpoofedError,
    TransferError,
    UnreachableError,
)
from sennit.names.message import TC, Message, Question, Record
from sennit.names.name import Name
from sennit.names.rdata.address import AAAA, A
from sennit.names.rdata.basic import NS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sennit.core.transport.tls import ClientTLS
    from sennit.names.client.digging import Dig

    Say = Callable[[str], None]

__all__ = ["Digger"]

MAX_REFERRALS: Final = 30
"""Servers on the way from the root that +trace follows."""
NO_ANSWER: Final = 9


class _Target(NamedTuple):
    """Where a question goes: address, port, and how the user wrote it."""

    host: str
    port: int
    written: str
    url: str = ""


class _Heard(NamedTuple):
    """An answer.

    Attributes:
        message: What it says.
        size: Octets that came.
        seconds: How long it took.
        transport: ``UDP``, ``TCP``, ``TLS`` or ``HTTPS``.
        target: Who gave it.
    """

    message: Message
    size: int
    seconds: float
    transport: str
    target: _Target


class Digger:
    """Asks the questions of one command line.

    Args:
        say: Prints a line.
        arguments: As they were given, for the first line.
    """

    def __init__(self, say: Say, arguments: Sequence[str] = ()) -> None:
        self._say = say
        self._arguments = " ".join(arguments)
        self._cookie = secrets.token_bytes(8)
        self._kept: dict[tuple[str, int, str], StreamClient] = {}
        self._documents: list[Any] = []  # Any: JSON

    async def run(self, queries: Sequence[Dig]) -> int:
        """Ask them all; the exit status."""
        status = 0
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._close)
            for number, each in enumerate(queries):
                if each.command and not (each.json or each.short or number):
                    self._say(f"\n; <<>> sennit dig {__version__} <<>> {self._arguments}")
                    self._say(";; global options: +cmd")
                status = max(status, await self._one(each))
        if self._documents:
            shown = self._documents[0] if len(self._documents) == 1 else self._documents
            self._say(json.dumps(shown, indent=2))
        return status

    async def _close(self) -> None:
        while self._kept:
            await self._kept.popitem()[1].aclose()

    async def _one(self, dig: Dig) -> int:
        try:
            targets = await self._targets(dig)
            if dig.trace:
                return await self._trace(dig, targets)
            if dig.rdtype in (RRType.AXFR, RRType.IXFR):
                return await self._transfer(dig, targets)
            status = 0
            names = self._names(dig)
            for at, name in enumerate(names):
                asked = self._message(dig, name)
                heard = await self._ask_any(dig, asked, targets)
                if heard is None:
                    return NO_ANSWER
                found = heard.message.rcode == Rcode.NOERROR and heard.message.answers
                if found or at == len(names) - 1:
                    await self._show(dig, heard, asked.question)
                    break
            return status
        except DNSUsageError as error:
            self._say(f";; {error}")
            return 1

    # ── questions ─────────────────────────────────────────────────────────────

    def _names(self, dig: Dig) -> list[Name]:
        text = dig.name or "."
        whole = Name(text)
        if not dig.search or text.endswith("."):
            return [whole]
        conf = _configuration()
        ndots = conf.ndots if dig.ndots is None else dig.ndots
        longer = [Name(text, domain) for domain in conf.search]
        return [whole, *longer] if len(whole) - 1 >= ndots else [*longer, whole]

    def _message(self, dig: Dig, name: Name) -> Message:
        question = Question(name, dig.rdtype or int(RRType.A), dig.rdclass)
        message = Message(0, dig.flags, opcode=dig.opcode, questions=[question])
        if dig.edns or dig.dnssec:
            options = list(dig.options)
            if dig.cookie is not None:
                options.append(Option(OptionCode.COOKIE, dig.cookie or self._cookie))
            message.edns = EDNS(
                dig.payload,
                dnssec_ok=dig.dnssec or dig.validate,
                options=options,
                version=dig.edns_version,
                flags=dig.edns_flags,
            )
        if dig.padding:
            message = padded(message, dig.padding)
        return message

    async def _targets(self, dig: Dig) -> list[_Target]:
        """The addresses to ask."""
        given = dig.server
        if given is None:
            hosts = [(each, each) for each in _configuration().servers]
        elif "://" in given:
            server = server_from_text(given, port=dig.port)
            _take_server(dig, server)
            if server.url:
                return [_Target(server.host, server.port, given, server.url)]
            hosts = [(server.host, given)]
            dig.port = server.port
        else:
            hosts = await self._addresses(given.removeprefix("[").removesuffix("]"), dig.family)
        if dig.family:
            hosts = [each for each in hosts if (":" in each[0]) == (dig.family == 6)]
        if not hosts:
            raise DNSUsageError(f"no server with an address of IPv{dig.family} is known")
        port = dig.port or PORTS[dig.transport]
        return [
            _Target(host, port, written, _url(dig, host, port, given)) for host, written in hosts
        ]

    async def _addresses(self, given: str, family: int) -> list[tuple[str, str]]:
        try:
            ip_address(given.partition("%")[0])
        except ValueError:
            from sennit.core.resolver import SystemResolver

            try:
                found = await SystemResolver().addresses(given)
            except SennitError as error:
                raise DNSUsageError(f"the server {given!r} has no address: {error}") from error
            return [(each, given) for each in found]
        return [(given, given)]

    async def _ask_any(
        self, dig: Dig, message: Message, targets: Sequence[_Target]
    ) -> _Heard | None:
        """The first answer that a server gives; ``None`` where there is none."""
        problem = ""
        refused: _Heard | None = None
        for target in targets:
            for _ in range(dig.tries if dig.transport == "udp" else 1):
                try:
                    heard = await self._ask(dig, message, target)
                except LookupTimeoutError:
                    problem = f"communications error to {target.host}#{target.port}: timed out"
                    self._remark(dig, problem)
                    continue
                except (DNSError, SennitError, OSError) as error:
                    problem = f"communications error to {target.host}#{target.port}: {error}"
                    self._remark(dig, problem)
                    break
                if heard.message.rcode == Rcode.SERVFAIL and dig.next_on_servfail:
                    refused = refused or heard
                    break
                return heard
        if refused is None:
            if dig.json:
                self._documents.append({"error": problem})
            else:
                self._say("")
                self._say(";; no servers could be reached")
        return refused

    def _remark(self, dig: Dig, text: str) -> None:
        if not dig.json:
            self._say(f";; {text}")

    async def _ask(self, dig: Dig, message: Message, target: _Target) -> _Heard:
        if dig.show_query and not dig.json:
            for line in ["Sending:", *message_lines(message, dig.style)]:
                self._say(line if line != "Sending:" else ";; Sending:")
        sizes: list[int] = []
        clock = current_reactor()
        began = clock.time()

        def heard(answer: Message, transport: str) -> _Heard:
            return _Heard(answer, sizes[-1], clock.time() - began, transport, target)

        def received(wire: bytes) -> None:
            sizes.append(len(wire))

        if dig.transport == "udp":
            answer = await self._over_udp(dig, message, target, received)
            if answer is not None:
                return heard(answer, "UDP")
            began = clock.time()
            answer = await self._over_stream(dig, message, target, received, "tcp")
            return heard(answer, "TCP")
        answer = await self._over_stream(dig, message, target, received, dig.transport)
        return heard(answer, dig.transport.upper())

    async def _over_udp(
        self, dig: Dig, message: Message, target: _Target, received: Callable[[bytes], None]
    ) -> Message | None:
        """An answer over UDP; ``None`` where it is to be asked for over TCP."""
        asked = message
        for _ in range(2):
            try:
                answer = await exchange_udp(
                    asked,
                    (target.host, target.port),
                    timeout=dig.timeout,
                    key=dig.key,
                    local_address=dig.local,
                    received=received,
                )
            except SpoofedError as error:
                self._remark(dig, f"{error}, retrying in TCP mode.")
                return None
            if answer.flags & TC and not dig.ignore_cut:
                self._remark(dig, "Truncated, retrying in TCP mode.")
                return None
            option = None if answer.edns is None else answer.edns.option(OptionCode.COOKIE)
            if answer.rcode != Rcode.BADCOOKIE or not dig.bad_cookie or option is None:
                return answer
            self._remark(dig, "BADCOOKIE, retrying.")
            asked = _with_cookie(message, option)
        return None

    async def _over_stream(
        self,
        dig: Dig,
        message: Message,
        target: _Target,
        received: Callable[[bytes], None],
        transport: str,
    ) -> Message:
        if transport == "https":
            from sennit.names.client.https import HTTPSClient

            async with HTTPSClient(target.url, method=dig.method, tls=_tls(dig)) as https:
                return await https.exchange(
                    message, timeout=dig.timeout, key=dig.key, received=received
                )
        place = (target.host, target.port, transport)
        client = self._kept.pop(place, None)
        if client is None:
            client = StreamClient(
                place[:2],
                _profile(dig) if transport == "tls" else None,
                local_address=dig.local,
                reactor=None,
            )
        try:
            answer = await client.exchange(
                message, timeout=dig.timeout, key=dig.key, received=received
            )
        except BaseException:
            await client.aclose()
            raise
        if dig.keep_open:
            self._kept[place] = client
        else:
            await client.aclose()
        return answer

    # ── what is printed ───────────────────────────────────────────────────────

    async def _show(self, dig: Dig, heard: _Heard, asked: Question) -> None:
        message = heard.message
        verdict = await self._verdict(dig, heard, asked) if dig.validate and not dig.trace else ""
        if dig.json:
            document = message_json(message, size=heard.size)
            document["dateSeconds"] = int(time.time())
            document["serverAddress"] = heard.target.host
            document["serverPort"] = heard.target.port
            document["transport"] = heard.transport
            document["queryTime"] = round(heard.seconds * 1000)
            if verdict:
                document["validation"] = verdict
            self._documents.append(document)
            return
        if dig.short:
            for each in message.answers:
                text = each.rdata.to_text()
                if dig.trace:
                    text = f"{type_text(each.rdtype)} {text}"
                if dig.identify:
                    text += f" from server {heard.target.host} in {heard.seconds * 1000:.0f} ms."
                self._say(text)
            return
        style = dig.style
        style.client_cookie = (dig.cookie or self._cookie)[:8]
        if style.comments:
            self._say(";; Got answer:")
        for line in message_lines(message, style):
            self._say(line)
        if verdict:
            self._say(f";; VALIDATION: {verdict}")
        if dig.stats:
            self._stats(heard)
        elif dig.identify:
            where = f"{heard.target.host}#{heard.target.port}({heard.target.written})"
            milliseconds = f"{heard.seconds * 1000:.0f} ms"
            self._say(f";; Received {heard.size} bytes from {where} in {milliseconds}")
            self._say("")

    def _stats(self, heard: _Heard, more: str = "") -> None:
        target = heard.target
        self._say(f";; Query time: {heard.seconds * 1000:.0f} msec")
        where = target.url or f"{target.host}#{target.port}({target.written})"
        self._say(f";; SERVER: {where} ({heard.transport})")
        self._say(f";; WHEN: {time.strftime('%a %b %d %H:%M:%S %Z %Y')}")
        self._say(more or f";; MSG SIZE  rcvd: {heard.size}")
        self._say("")

    async def _verdict(self, dig: Dig, heard: _Heard, asked: Question) -> str:
        from sennit.names.dnssec.anchors import TrustAnchors
        from sennit.names.dnssec.validation import Validator

        text, file = dig.anchors
        anchors = TrustAnchors.from_text(text, file) if file else TrustAnchors.root()
        validator = Validator(anchors, now=time.time)

        async def fetch(name: Name, rdtype: int) -> Message:
            message = self._message(dig, name)
            message.questions[0].rdtype = rdtype
            return (await self._ask(dig, message, heard.target)).message

        verdict = await validator.validate(heard.message, asked, fetch)
        reason = f" ({verdict.reason})" if verdict.reason else ""
        return verdict.security.name.lower() + reason

    # ── transfers ─────────────────────────────────────────────────────────────

    async def _transfer(self, dig: Dig, targets: Sequence[_Target]) -> int:
        """AXFR and IXFR: records as they come."""
        from sennit.names.transfer.incoming import TransferIn

        target = targets[0]
        zone = Name(dig.name or ".")
        incremental = dig.rdtype == RRType.IXFR
        incoming = TransferIn(zone, dig.serial, incremental=incremental, rdclass=dig.rdclass)
        clock = current_reactor()
        began = clock.time()
        messages = records = size = 0
        first: Record | None = None
        client = StreamClient(
            (target.host, target.port),
            _profile(dig) if dig.transport == "tls" else None,
            local_address=dig.local,
        )
        listed: list[dict[str, Any]] = []

        def count(wire: bytes) -> None:
            nonlocal size
            size += len(wire)

        try:
            async with client:
                async for message in client.converse(
                    incoming.query(),
                    until=lambda each: incoming.receive(each, clock.time()),
                    timeout=dig.timeout,
                    key=dig.key,
                    received=count,
                ):
                    messages += 1
                    for each in message.answers:
                        records += 1
                        if dig.one_soa and first is not None and each == first:
                            continue
                        first = first or each
                        if dig.json:
                            listed += message_json(_holding(each))["answerRRs"]
                        else:
                            self._say(
                                each.rdata.to_text() if dig.short else record_line(each, dig.style)
                            )
        except (TransferError, LookupTimeoutError, UnreachableError, DNSError) as error:
            self._say("; Transfer failed.")
            self._say(f";; {error}")
            return NO_ANSWER
        if dig.json:
            self._documents.append({"QNAME": str(zone), "answerRRs": listed})
        elif dig.stats:
            transport = "TLS" if dig.transport == "tls" else "TCP"
            heard = _Heard(Message(), 0, clock.time() - began, transport, target)
            shown = f"{records} records (messages {messages}, bytes {size})"
            self._stats(heard, f";; XFR size: {shown}")
        return 0

    # ── from the root ─────────────────────────────────────────────────────────

    async def _trace(self, dig: Dig, targets: Sequence[_Target]) -> int:
        """Follow referrals from the root's servers, as the first server knows them."""
        name = Name(dig.name or ".")
        root = self._message(dig, Name("."))
        root.questions[0].rdtype = int(RRType.NS)
        root.flags |= 0x0100  # whoever knows the root's servers may be a resolver
        heard = await self._ask_any(dig, root, targets)
        message = self._message(dig, name)
        for step in range(MAX_REFERRALS):
            if heard is None:
                return NO_ANSWER
            await self._show(dig, heard, message.question)
            servers = _referral(heard.message, name, at_root=step == 0)
            if not servers:
                return 0
            following = await self._glue(dig, heard.message, servers, targets)
            if not following:
                self._remark(dig, f"no address of {', '.join(map(str, servers))} is known")
                return NO_ANSWER
            heard = await self._ask_any(dig, message, following)
        self._remark(dig, f"more than {MAX_REFERRALS} referrals")
        return NO_ANSWER

    async def _glue(
        self, dig: Dig, message: Message, servers: Sequence[Name], home: Sequence[_Target]
    ) -> list[_Target]:
        """Addresses of servers, out of the referral, else from the first server."""
        port = dig.port or PORTS[dig.transport]
        kinds = (A, AAAA) if not dig.family else (A,) if dig.family == 4 else (AAAA,)
        found = [
            _Target(each.rdata.address, port, str(each.name)[:-1])
            for each in message.additional
            if each.name in servers and isinstance(each.rdata, kinds)
        ]
        for name in servers if not found else ():
            asked = self._message(dig, name)
            asked.questions[0].rdtype = int(RRType.A if dig.family != 6 else RRType.AAAA)
            asked.flags |= 0x0100
            heard = await self._ask_any(dig, asked, home)
            if heard is None:
                continue
            found += [
                _Target(each.rdata.address, port, str(name)[:-1])
                for each in heard.message.answers
                if isinstance(each.rdata, kinds)
            ]
            if found:
                break
        return found


def _referral(message: Message, name: Name, *, at_root: bool) -> list[Name]:
    """Servers that an answer refers to; none where it is the end."""
    if at_root:
        return [each.rdata.target for each in message.answers if isinstance(each.rdata, NS)]
    if message.answers or message.rcode != Rcode.NOERROR:
        return []
    return [
        each.rdata.target
        for each in message.authority
        if isinstance(each.rdata, NS) and name.is_below(each.name)
    ]


def _holding(record: Record) -> Message:
    return Message(answers=[record])


def _with_cookie(message: Message, option: Option) -> Message:
    from copy import copy

    from sennit.names.client.cookies import with_option

    again = copy(message)
    again.edns = with_option(message.edns, option)
    return again


def _configuration() -> ResolvConf:
    """What ``/etc/resolv.conf`` says."""
    try:
        with open(RESOLV_CONF, encoding="utf-8", errors="replace") as file:
            return parse_resolv_conf(file.read())
    except OSError:
        return parse_resolv_conf("")


def _take_server(dig: Dig, server: Server) -> None:
    """What a URL says besides the address."""
    dig.transport = server.scheme
    dig.tls_verify = server.scheme in ("tls", "https") and not server.opportunistic
    dig.tls_name = server.name or dig.tls_name
    dig.tls_pins = server.pins


def _url(dig: Dig, host: str, port: int, given: str | None) -> str:
    if dig.transport != "https":
        return ""
    shown = dig.tls_name or given or host
    authority = f"[{shown}]" if ":" in shown else shown
    return f"https://{authority}:{port}{dig.path}"


def _profile(dig: Dig) -> TLSProfile:
    """As dig does: certificates count where +tls-ca or +tls-hostname says so, or a URL."""
    if not dig.tls_verify:
        return TLSProfile(opportunistic=True)
    return TLSProfile(dig.tls_name, pins=dig.tls_pins, tls=_tls(dig))


def _tls(dig: Dig) -> ClientTLS | None:
    """What is believed; ``None``: what the system believes."""
    if dig.tls_verify and dig.tls_ca is None:
        return None
    from sennit.core.transport.tls import ClientTLS

    if not dig.tls_verify:
        return ClientTLS(verify=False)
    return ClientTLS(trust=dig.tls_ca)
