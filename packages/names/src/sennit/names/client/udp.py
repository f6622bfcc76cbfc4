"""One question to one server over UDP, guarded against answers of others.

Each exchange has a socket of its own, from a port chosen at random, and an id chosen at random,
both out of ``secrets``. The socket is connected, so that the kernel drops what comes from other
addresses and ports; what has another id, another question or is no message is dropped here
while the wait goes on. After `MAX_BAD` of those somebody is guessing, and the exchange fails
with `SpoofedError`: the caller asks again over TCP, where guessing does not help.

Leaving the exchange in any way (answer, time-out, cancellation) closes its socket.

Sources: RFC 5452 §4, §9 (forged answers), RFC 6056 (ports), RFC 1035 §4.2.1, RFC 6891 §6.2.5.
Not here: retries, other servers, TCP behind a truncated answer (``exchange.py``).
"""

from __future__ import annotations

import errno
import secrets
import time
from typing import TYPE_CHECKING, Any, Final

from sennit.core.deferred import Deferred
from sennit.core.errors import ConnectError
from sennit.core.reactor.base import current_reactor
from sennit.core.transport.listening import is_numeric
from sennit.names.client_engine import is_answer
from sennit.names.errors import (
    DNSUsageError,
    LookupTimeoutError,
    MessageFormatError,
    SpoofedError,
    TSIGError,
    UnreachableError,
)
from sennit.names.message import Message

if TYPE_CHECKING:
    from collections.abc import Callable

    from sennit.core.interfaces import IDatagramTransport
    from sennit.core.reactor.base import Reactor
    from sennit.names.tsig import Key, Verifier

__all__ = ["MAX_BAD", "TIMEOUT", "exchange_udp"]

TIMEOUT: Final = 5.0
"""Seconds that an answer may take (HARDENING fault-8)."""
MAX_BAD: Final = 20
"""Answers that do not fit after which the exchange fails (HARDENING dns-8)."""
_PORTS: Final = range(1024, 65536)
"""Where questions leave from (RFC 5452 §9.2: as large a range as is practicable)."""
_PORT_TRIES: Final = 10
"""Ports tried before the system chooses: so many taken ones in a row are no accident."""


async def exchange_udp(
    message: Message,
    server: tuple[str, int],
    *,
    timeout: float = TIMEOUT,
    key: Key | None = None,
    match_case: bool = False,
    local_address: str | None = None,
    received: Callable[[bytes], object] | None = None,
    reactor: Reactor | None = None,
) -> Message:
    """Send a question to a server, and wait for its answer.

    Args:
        message: The question. Its id is not used: each exchange has its own.
        server: Address in digits (a name would have to be looked up) and port.
        timeout: Seconds until `LookupTimeoutError`; it is sent once.
        key: Sign the question with it, and take answers alone that are signed with it.
        match_case: Drop answers that do not repeat the letters of the question in the
            case they were sent in (where that was chosen at random).
        local_address: Address to send from; the system's choice when left out.
        received: Called with the octets of the answer.
        reactor: The current one when left out.

    Returns:
        The answer, whatever it says, with the id it came with; `TC` in its flags says that it
        was cut.

    Raises:
        LookupTimeoutError: None came in time.
        SpoofedError: Too many came that were none.
        TSIGError: The server does not take the signature, or signs wrongly itself.
        UnreachableError: There is no way to the server, or nobody listens there.
        DNSUsageError: `server` is no address in digits and a port.
    """
    host, port = server
    if not is_numeric(host):
        raise DNSUsageError(f"{host!r} is no address: a server is asked at an address in digits")
    turns = reactor if reactor is not None else current_reactor()
    wire = secrets.token_bytes(2) + message.to_wire()[2:]
    verifier: Verifier | None = None
    if key is not None:
        from sennit.names.tsig import Verifier, sign

        wire, mac = sign(wire, key, int(time.time()))
        verifier = Verifier(key, mac)
    asked = _Asked(message, wire[:2], match_case, verifier, received)
    timer = turns.call_later(timeout, asked.time_out, server, timeout)
    try:
        await _open(turns, asked, host, port, local_address)
        asked.send(wire)
        return await asked.done
    finally:
        timer.cancel()
        asked.close()


async def _open(
    reactor: Reactor, asked: _Asked, host: str, port: int, local_address: str | None
) -> None:
    """Connect a socket from a random port."""
    here = local_address or ("::" if ":" in host else "0.0.0.0")
    for left in range(_PORT_TRIES, -1, -1):
        chosen = secrets.choice(_PORTS) if left else 0
        try:
            await reactor.connect_udp(lambda: asked, host, port, local_address=(here, chosen))
        except ConnectError as error:
            taken = any(
                isinstance(each, OSError) and each.errno in (errno.EADDRINUSE, errno.EACCES)
                for each in error.attempts
            )
            if not taken or not left:
                raise UnreachableError(str(error)) from error
        else:
            return


class _Asked:
    """The protocol of one exchange's socket.

    Attributes:
        done: Fires with the answer.
    """

    def __init__(
        self,
        message: Message,
        number: bytes,
        match_case: bool,
        verifier: Verifier | None,
        received: Callable[[bytes], object] | None,
    ) -> None:
        self.done: Deferred[Message] = Deferred()
        self._message = message
        self._number = number
        self._match_case = match_case
        self._verifier = verifier
        self._received = received
        self._unverified: TSIGError | None = None
        self._bad = 0
        self._transport: IDatagramTransport | None = None

    def connection_made(self, transport: Any) -> None:
        """Datagrams may be sent. (`Any`: it may be asyncio's own.)"""
        self._transport = transport

    def send(self, wire: bytes) -> None:
        """Send the question."""
        if self._transport is not None and not self.done.called:
            self._transport.sendto(wire)

    def datagram_received(self, data: bytes, peer: object) -> None:
        """Something came from the server's address and port."""
        del peer  # the kernel sees to it
        if self.done.called:
            return
        if data[:2] == self._number and (answer := self._read(data)) is not None:
            if self._received is not None:
                self._received(data)
            self.done.callback(answer)
            return
        if self.done.called:
            return
        self._bad += 1
        if self._bad >= MAX_BAD:
            self.done.errback(
                SpoofedError(f"{self._bad} answers came that do not fit the question")
            )

    def _read(self, data: bytes) -> Message | None:
        """The answer that this is; ``None`` if it is none."""
        try:
            answer = Message.from_wire(data)
        except MessageFormatError:
            return None
        if not is_answer(answer, self._message, match_case=self._match_case):
            return None
        if self._verifier is not None:
            try:
                self._verifier.verify(data, answer, int(time.time()))
            except TSIGError as error:
                # Anybody can send one that is wrong: the right one may still come (RFC 8945
                # §5.3). That the server refuses ours, which it says unsigned, ends the wait.
                self._unverified = error
                if answer.rcode and answer.tsig is not None:
                    self.done.errback(error)
                return None
        return answer

    def error_received(self, exc: OSError) -> None:
        """Nobody listens there, or there is no way."""
        if not self.done.called:
            error = UnreachableError(f"the server cannot be reached: {exc.strerror or exc}")
            error.__cause__ = exc
            self.done.errback(error)

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is closed."""

    def pause_writing(self) -> None:
        """One datagram does not wait."""

    def resume_writing(self) -> None:
        """Nor is it waited for."""

    def time_out(self, server: tuple[str, int], timeout: float) -> None:
        """Nobody answered."""
        if not self.done.called:
            self.done.errback(
                self._unverified
                or LookupTimeoutError(
                    f"no answer from {server[0]} port {server[1]} in {timeout:g} s"
                )
            )

    def close(self) -> None:
        """Give the socket back."""
        if self._transport is not None:
            self._transport.abort()
        if not self.done.called:
            self.done.cancel()
        self.done.add_errback(lambda _: None)
