"""From the octets of a query to the octets of its answer, whatever carries them.

`Serving` is what all transports of one server share: the responder, the keys, the cookies, the
limits. `Serving.read` says what is to be done with a query: the octets of a reply, nothing, or
an `Asked`, whose `answer` asks the responder, and gives octets, nothing, or what is to be waited
for. What the responder gives is finished here: OPT where the query had one (RFC 6891 §7),
with a cookie, the server's name, the connection's idle time and padding as the client asked
for them; TC where it is too long; the signature where the query had one (RFC 8945 §5.3).

Nothing here does I/O or looks at a clock: the time comes in with each query.

Sources: RFC 1035 §4, RFC 4035 §3, RFC 5001 (NSID), RFC 6891, RFC 7828 (keep-alive), RFC 7830
and 8467 (padding), RFC 7873 §5 (cookies), RFC 8945 §5 (TSIG), RFC 4892 (server's identity).
"""

from __future__ import annotations

from contextlib import aclosing
from inspect import isawaitable
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from sennit.names.codes import Opcode, Rcode, RRClass, RRType
from sennit.names.edns import EDNS, Option
from sennit.names.message import Message, Record
from sennit.names.name import Name
from sennit.names.request import Request
from sennit.names.serving.queries import (
    COOKIE,
    KEEPALIVE,
    NSID,
    PADDING,
    error_reply,
    read_query,
    truncated_reply,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping

    from sennit.names.interfaces import Answer, IResponder
    from sennit.names.limits import ServerLimits
    from sennit.names.serving.cookies import Cookies
    from sennit.names.tsig import Key, Verified

    Octets: TypeAlias = "bytes | None"
    Found: TypeAlias = "Awaitable[Answer] | AsyncIterator[Message | bytes]"
    Answers: TypeAlias = "Answer | Found"

__all__ = ["BLOCK", "Asked", "FunctionResponder", "Serving", "give_all_up", "give_up"]

BLOCK: Final = 468
"""Answers are padded to a multiple of so many octets (RFC 8467 §4.1)."""

_FORMERR: Final = int(Rcode.FORMERR)
_SERVFAIL: Final = int(Rcode.SERVFAIL)
_REFUSED: Final = int(Rcode.REFUSED)
_BADCOOKIE: Final = int(Rcode.BADCOOKIE)
_QUERY: Final = int(Opcode.QUERY)
_IN: Final = int(RRClass.IN)
_CH: Final = int(RRClass.CH)
_TXT: Final = int(RRType.TXT)
_AXFR: Final = int(RRType.AXFR)
_ENCRYPTED: Final = frozenset({"tls", "https"})


class Serving:
    """What the transports of one server share.

    Args:
        responder: Knows the answers.
        limits: Sizes.
        keys: Keys of TSIG by name; a query that is signed with another one is refused.
        cookies: Makes server cookies; without it clients get none.
        nsid: The server's name, for clients that ask for it.
        identity: Text that is told of the server in class CH, by the name that is asked, such
            as ``version.bind``; all else there is refused.
        wall_clock: Seconds since the epoch, for the signatures of long answers; when left out
            the time of the query is that of all of them.
    """

    def __init__(
        self,
        responder: IResponder,
        *,
        limits: ServerLimits,
        keys: Mapping[Name, Key] | None = None,
        cookies: Cookies | None = None,
        nsid: bytes = b"",
        identity: Mapping[str, str] | None = None,
        wall_clock: Callable[[], float] | None = None,
    ) -> None:
        self.responder = responder
        self.limits = limits
        self.wall_clock = wall_clock
        self.keys: Mapping[Name, Key] = keys if keys is not None else {}
        self.cookies = cookies
        self.nsid = nsid
        self.identity = {Name(name): text for name, text in (identity or {}).items()}

    def read(self, wire: bytes, peer: Any, transport: str, now: float) -> bytes | Asked | None:
        """What is to be done with a query.

        Args:
            wire: Its octets.
            peer: Who asks. (`Any`: as `socket` names it.)
            transport: ``udp``, ``tcp``, ``tls`` or ``https``.
            now: Seconds since the epoch.

        Returns:
            The octets of a reply; ``None`` for no reply at all; or what to go on with.
        """
        message = read_query(wire)
        if not isinstance(message, Message):
            return message
        asked = Asked(self, Request(message, wire, peer, transport), now)
        return asked.prepared()


class Asked:
    """A query that can be answered.

    Attributes:
        request: As responders get it.
        proved: Whether the client has shown that its address is its own, by a cookie or a
            signature; no rate holds for it then.
    """

    __slots__ = ("_now", "_options", "_padded", "_serving", "_verified", "proved", "request")

    def __init__(self, serving: Serving, request: Request, now: float) -> None:
        self._serving = serving
        self._now = now
        self._options: list[Option] = []
        self._padded = False
        self._verified: Verified | None = None
        self.request = request
        self.proved = False

    # ── before the responder ──────────────────────────────────────────────────

    def prepared(self) -> bytes | Asked | None:
        """This query, once all is seen to that is no responder's affair; or the reply to it."""
        request = self.request
        message = request.message
        serving = self._serving
        datagrams = request.transport == "udp"
        edns = message.edns
        if datagrams:
            request.max_size = 512 if edns is None else min(edns.payload, serving.limits.payload)
        if message.tsig is not None:
            refusal = self._verify(message)
            if refusal is not None:
                return refusal
        if edns is not None and edns.options:
            refusal = self._take_options(edns.options)
            if refusal is not None:
                return refusal
        if not message.questions:
            return self.finish(message.reply())  # a cookie was all that it asked for
        question = message.questions[0]
        if question.rdclass != _IN:
            return self.finish(self._other_class())
        if datagrams and question.rdtype == _AXFR and message.opcode == _QUERY:
            return self.finish(message.reply(_FORMERR))  # RFC 5936 §4.2
        return self

    def _verify(self, message: Message) -> bytes | None:
        """See that the signature is right; the reply where it is not (RFC 8945 §5.2)."""
        # Hardly a query is signed.
        from sennit.names.errors import TSIGError
        from sennit.names.tsig import error_answer, verify

        request, keys = self.request, self._serving.keys
        try:
            verified = verify(request.wire, message, keys, int(self._now))
        except TSIGError as error:
            return error_answer(message, error, keys, int(self._now))
        self._verified = verified
        request.key = verified.key.name
        self.proved = True
        return None

    def _take_options(self, options: tuple[Option, ...]) -> bytes | None:
        """Note what a client asks for in EDNS; the reply where an option cannot be."""
        serving = self._serving
        request = self.request
        seen: set[int] = set()
        for each in options:
            code = each.code
            if code in seen:
                continue
            seen.add(code)
            if code == COOKIE:
                refusal = self._take_cookie(each.data)
                if refusal is not None:
                    return refusal
            elif code == NSID:
                if serving.nsid:
                    self._options.append(Option(NSID, serving.nsid))
            elif code == KEEPALIVE:
                # In a datagram it says nothing (RFC 7828 §3.2.1).
                if request.transport in ("tcp", "tls"):
                    if each.data:
                        return self.finish(request.message.reply(_FORMERR))
                    tenths = min(int(serving.limits.idle * 10), 0xFFFF)
                    self._options.append(Option(KEEPALIVE, tenths.to_bytes(2, "big")))
            elif code == PADDING:
                # In clear there is nothing to hide (RFC 7830 §6).
                self._padded = request.transport in _ENCRYPTED
        return None

    def _take_cookie(self, data: bytes) -> bytes | None:
        size = len(data)
        request = self.request
        if size != 8 and not 16 <= size <= 40:
            return self.finish(request.message.reply(_FORMERR))  # RFC 7873 §5.2.2
        cookies = self._serving.cookies
        peer = request.peer
        if cookies is None or not isinstance(peer, tuple):
            return None
        host = str(peer[0])  # pyright: ignore[reportUnknownArgumentType]  # a socket's address
        client, server = data[:8], data[8:]
        good = bool(server) and cookies.check(client, server, host, self._now)
        if good and cookies.fresh_enough(server, self._now):
            self._options.append(Option(COOKIE, data))
        else:
            made = cookies.make(client, host, self._now)
            self._options.append(Option(COOKIE, client + made))
        self.proved |= good
        if cookies.required and not self.proved and request.transport == "udp":
            return self.finish(request.message.reply(_BADCOOKIE))  # RFC 7873 §5.2.3
        return None

    def _other_class(self) -> Message:
        """An answer in CH where it is configured; REFUSED for all else (dns-4)."""
        message = self.request.message
        question = message.questions[0]
        text = self._serving.identity.get(question.name)
        if (
            question.rdclass != _CH
            or text is None
            or question.rdtype not in (_TXT, int(RRType.ANY))
            or message.opcode != _QUERY
        ):
            return message.reply(_REFUSED)
        from sennit.names.rdata.basic import TXT

        octets = text.encode()
        strings = tuple(octets[at : at + 255] for at in range(0, len(octets), 255)) or (b"",)
        reply = message.reply()
        reply.answers.append(Record(question.name, _TXT, 0, TXT(strings), _CH))
        return reply

    # ── the responder ─────────────────────────────────────────────────────────

    def answer(self) -> Octets | Found:
        """Ask the responder: octets to send, nothing, or what it gave to be waited for.

        That goes to `later`, or to `several` where it has an ``__aiter__``; or to `give_up`.
        """
        try:
            # `Any`: one of several, of which each is asked what it is.
            found: Any = self._serving.responder.respond(self.request)
            if found is None or isinstance(found, (Message, bytes)):
                return self.finish(found)
        except Exception as error:
            return self._failed(error)
        if hasattr(found, "__aiter__") or isawaitable(found):
            return found  # type: ignore[no-any-return]  # as was just seen
        return self._failed(TypeError(f"a responder gives messages, not {found!r}"))

    async def only(self, found: Found) -> Octets:
        """The one message of an answer; where there are several, that they are to be had by TCP."""
        if isawaitable(found):
            return await self.later(found)
        only: bytes | None = None
        async with aclosing(self.several(found)) as messages:
            async for each in messages:
                if only is not None:
                    return self.finish(truncated_reply(self.request.wire))
                only = each
        return only

    async def later(self, found: Awaitable[Answer]) -> Octets:
        """Wait for an answer that is one message."""
        try:
            return self.finish(await found)
        except Exception as error:
            return self._failed(error)

    async def several(self, found: AsyncIterator[Message | bytes]) -> AsyncGenerator[bytes]:
        """The messages of an answer, each finished; it ends where one cannot be made."""
        first = True
        signer = None
        verified = self._verified
        if verified is not None:
            from sennit.names.tsig import Signer

            signer = Signer(verified.key, verified.mac)
        try:
            async for each in found:
                wire = self._finished(each, more=not first)
                first = False
                # A transfer may last longer than signatures are good for (RFC 8945 §5.2.3).
                yield wire if signer is None else signer.sign(wire, int(self._time()))
        except Exception as error:
            self._report(error)
            if first:
                yield self._server_failure()
            # Else the client has part of it, and sees that the end is missing.
        finally:
            close = getattr(found, "aclose", None)
            if close is not None:
                await close()

    def _time(self) -> float:
        clock = self._serving.wall_clock
        return self._now if clock is None else clock()

    def _failed(self, error: Exception) -> bytes:
        self._report(error)
        return self._server_failure()

    def _report(self, error: BaseException) -> None:
        from sennit.core._faultlog import log_bug

        name = type(self._serving.responder).__qualname__
        log_bug(name, self.request.peer, "respond", error)

    def _server_failure(self) -> bytes:
        return self.finish(self.request.message.reply(_SERVFAIL)) or b""

    # ── after the responder ───────────────────────────────────────────────────

    def finish(self, answer: Answer) -> Octets:
        """The octets of an answer that is one message."""
        if answer is None:
            return None
        wire = self._finished(answer)
        verified = self._verified
        if verified is None:
            return wire
        from sennit.names.tsig import sign

        return sign(wire, verified.key, int(self._now), request_mac=verified.mac)[0]

    def _finished(self, answer: Message | bytes, *, more: bool = False) -> bytes:
        request = self.request
        room = request.max_size
        if self._verified is not None:
            room -= self._verified.key.record_size
        if isinstance(answer, bytes):
            if request.message.edns is not None and not more and answer[10:12] == b"\0\0":
                # A transfer's first message has an OPT as any answer (RFC 6891 §6.1.1).
                payload, do = self._serving.limits.payload, request.message.edns.dnssec_ok
                opt = EDNS(payload, dnssec_ok=do, options=self._options)
                answer = answer[:10] + b"\0\1" + answer[12:] + opt.write(0)
            if len(answer) <= room:
                return answer
            return truncated_reply(request.wire) or error_reply(request.wire, _SERVFAIL)
        asked = request.message.edns
        given = answer.edns
        rcode = answer.rcode
        if asked is None or more:
            answer.edns = None
            if rcode > 15:
                answer.rcode = _SERVFAIL  # there is no room for it to be said
            try:
                return answer.to_wire(room)
            finally:
                answer.edns, answer.rcode = given, rcode
        options = (*given.options, *self._options) if given is not None else self._options
        opt = EDNS(self._serving.limits.payload, dnssec_ok=asked.dnssec_ok, options=options)
        answer.edns = opt
        try:
            wire = answer.to_wire(room)
            return _padded(wire, len(opt.write(0)), room) if self._padded else wire
        finally:
            # It may be one that the responder keeps.
            answer.edns = given


class FunctionResponder:
    """A function in the place of a responder.

    Args:
        respond: It.
    """

    def __init__(self, respond: Callable[[Request], Answers]) -> None:
        self.respond = respond

    def __repr__(self) -> str:
        return f"<FunctionResponder of {self.respond!r}>"


def give_up(found: Found) -> None:
    """Nobody will wait for what a responder gave."""
    # A coroutine that was never begun would be missed by Python.
    end = getattr(found, "close", None) or getattr(found, "cancel", None)
    if end is not None:
        end()


def give_all_up(unbegun: dict[int, Found]) -> None:
    """Likewise, of all that was not begun."""
    while unbegun:
        give_up(unbegun.popitem()[1])


def _padded(wire: bytes, opt: int, room: int) -> bytes:
    """A message whose last record is an OPT of so many octets, with padding in that."""
    missing = -(len(wire) + 4) % BLOCK
    missing = min(missing, room - len(wire) - 4)
    if missing < 0:
        return wire
    at = len(wire) - opt + 9  # RDLENGTH, behind name, type, class and TTL
    length = int.from_bytes(wire[at : at + 2], "big") + 4 + missing
    option = PADDING.to_bytes(2, "big") + missing.to_bytes(2, "big") + bytes(missing)
    return wire[:at] + length.to_bytes(2, "big") + wire[at + 2 :] + option
