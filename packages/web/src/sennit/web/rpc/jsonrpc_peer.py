"""JSON-RPC 2.0 over a connection of messages, such as a WebSocket: either side may call the other.

::

    async def serve_calls(ws):                      # the server's handler of a WebSocket
        await JSONRPCPeer(ws, methods).run()

    async with JSONRPCPeer(ws, methods) as server:  # the client
        total = await server.call("add", 1, 2)

An exposed function with a parameter annotated ``JSONRPCPeer`` is given the peer that
called it, and may call back.

Calls are worked on side by side, `RPCLimits.in_flight` of them; one more is refused at
once (-32000) and not left waiting, since what it waits for may be an answer behind it.
When the connection ends, calls that await an answer fail with `ConnectionLost`, and
functions that are at work are cancelled.

Sources: JSON-RPC 2.0. Not here: calls over HTTP (``jsonrpc.py``).
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from typing import TYPE_CHECKING, Any

from sennit.core.deferred import Deferred, gather
from sennit.core.errors import ConnectionLost, UsageError
from sennit.web.errors import WebError, WebProtocolError
from sennit.web.rpc.calling import Caller
from sennit.web.rpc.conversion import JSON_VALUES
from sennit.web.rpc.errors import INVALID_REQUEST, PARSE_ERROR, TOO_BUSY, RPCError
from sennit.web.rpc.exposing import Methods
from sennit.web.rpc.json_grammar import Answer, Call, read_json, sort_message, write_error
from sennit.web.rpc.jsonrpc import answer_to, plain_call
from sennit.web.rpc.kinds import is_list
from sennit.web.rpc.limits import RPCLimits

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Coroutine, Mapping, Sequence
    from typing import Protocol, Self

    class IMessages(Protocol):
        """A connection of messages: a WebSocket, or what is like one."""

        def __aiter__(self) -> AsyncIterator[str | bytes]:
            """Messages of the other side, up to the end of the connection."""
            ...

        def send(self, data: str, /) -> Awaitable[object]:
            """Send one, and wait for room."""
            ...


__all__ = ["JSONRPCPeer"]


class JSONRPCPeer(Caller):
    """One side of a conversation in which both may call.

    Args:
        messages: The connection; who made it closes it.
        methods: What the other side may call; nothing when left out.
        limits: What it may ask for at once.
        given: What parameters of functions annotated with these types get, besides this
            object; the `Request` that became a WebSocket, for one.
    """

    given_to_methods = True

    def __init__(
        self,
        messages: IMessages,
        methods: Methods | None = None,
        *,
        limits: RPCLimits | None = None,
        given: Mapping[type, object] | None = None,
    ) -> None:
        super().__init__(JSON_VALUES)
        self.methods = Methods() if methods is None else methods
        self.limits = limits or RPCLimits()
        self._messages = messages
        self._given = {JSONRPCPeer: self, **(given or {})}
        self._identities = itertools.count(1)
        self._awaited: dict[object, Deferred[Answer]] = {}
        self._working: set[asyncio.Task[None]] = set()
        self._running: asyncio.Task[None] | None = None
        self._ended = False
        self._told = False
        self._busy = 0  # calls that are worked on

    # ── asking ────────────────────────────────────────────────────────────────

    async def _ask(self, method: str, positional: Sequence[Any], named: Mapping[str, Any]) -> Any:
        if self._ended:
            raise ConnectionLost("the connection has ended", "clean")
        identity = next(self._identities)
        message = plain_call(method, positional, named, identity)
        done = self._awaited[identity] = Deferred()
        try:
            await self._send(message)
            answer = await done
        finally:
            del self._awaited[identity]
        if answer.error is not None:
            raise answer.error
        return answer.result

    async def notify(self, method: str, /, *arguments: Any, **named: Any) -> None:
        """Call a function of the other side without awaiting what comes of it.

        Raises:
            WebUsageError: An argument cannot be sent.
            ConnectionLost: The connection has ended (a WebSocket: `WebSocketClosedError`).
        """
        await self._send(plain_call(method, arguments, named, None))

    async def _send(self, message: bytes) -> None:
        await self._messages.send(message.decode("utf-8"))

    # ── answering ─────────────────────────────────────────────────────────────

    async def run(self) -> None:
        """Take messages until the connection ends. It may be run once.

        Raises:
            UsageError: It runs, or has run.
        """
        if self._ended or (self._running and self._running is not asyncio.current_task()):
            raise UsageError("a peer runs once")
        self._running = asyncio.current_task()
        try:
            async for message in self._messages:
                self._take(message)
                # Functions at work are fewer than that: what waits are answers that the
                # other side does not read, so it shall not be read either.
                while len(self._working) > 2 * self.limits.in_flight:
                    await asyncio.wait(self._working, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._ended = True
            for task in self._working:
                task.cancel()
            if self._working:
                await asyncio.wait(self._working)
            lost = ConnectionLost("the connection ended before the answer", "clean")
            for done in list(self._awaited.values()):
                if not done.fired:
                    done.errback(lost)

    async def __aenter__(self) -> Self:
        """Run beside the block, which may call."""
        self._running = asyncio.get_running_loop().create_task(self.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        running = self._running
        if running is not None:
            running.cancel()
            await asyncio.wait([running])
            if not running.cancelled() and (error := running.exception()) is not None:
                raise error

    def _take(self, message: str | bytes) -> None:
        content = message if isinstance(message, bytes) else message.encode("utf-8")
        if len(content) > self.limits.message:
            problem = f"a message of more than {self.limits.message} octets"
            self._work(self._say(write_error(None, RPCError(INVALID_REQUEST, problem))))
            return
        try:
            found = read_json(content, depth=self.limits.depth, digits=self.limits.digits)
        except WebProtocolError as error:
            self._work(self._say(write_error(None, RPCError(PARSE_ERROR, str(error)))))
            return
        if is_list(found):
            if not 0 < len(found) <= self.limits.batch:
                problem = f"a batch has 1 to {self.limits.batch} calls"
                self._work(self._say(write_error(None, RPCError(INVALID_REQUEST, problem))))
                return
            # Answers in a batch have come by now; what remains are calls, or nonsense.
            sorted_ = [sort_message(each) for each in found]
            left = [each for each in sorted_ if not self._is_answer(each)]
            if left:
                self._admit(left, batch=True)
            return
        single = sort_message(found)
        if not self._is_answer(single):
            self._admit([single], batch=False)

    def _is_answer(self, message: Call | Answer | bytes) -> bool:
        """Whether it was an answer; then whoever awaits it has it.

        One that nobody awaits is dropped, and never answered: two sides that answer each
        other's errors would never end.
        """
        if not isinstance(message, Answer):
            return False
        done = self._awaited.get(message.identity)
        if done is not None and not done.fired and type(message.identity) is int:
            done.callback(message)
        return True

    def _admit(self, messages: list[Call | Answer | bytes], *, batch: bool) -> None:
        if not self._busy or self._busy + len(messages) <= self.limits.in_flight:
            self._busy += len(messages)
            self._work(self._answer(messages, batch=batch))
            return
        refused: list[bytes] = []
        for each in messages:
            if isinstance(each, bytes):
                refused.append(each)
            elif isinstance(each, Call) and each.awaited:
                refused.append(write_error(each.identity, RPCError(TOO_BUSY, "too many calls")))
        if refused:
            self._work(self._say(b"[%b]" % b",".join(refused) if batch else refused[0]))
        elif not self._told:
            self._told = True
            logging.getLogger("sennit.web").info(
                "A notification was dropped: more than %d calls at once (in_flight)",
                self.limits.in_flight,
            )

    async def _answer(self, messages: list[Call | Answer | bytes], *, batch: bool) -> None:
        try:
            work = [answer_to(each, self.methods, self._given) for each in messages]
            answers = await gather(*work)
        finally:
            self._busy -= len(messages)
        told = [each for each in answers if each is not None]
        if told:
            await self._say(b"[%b]" % b",".join(told) if batch else told[0])

    async def _say(self, message: bytes) -> None:
        # Where the other side has gone `run` is about to learn of it.
        with contextlib.suppress(ConnectionLost, WebError):
            await self._send(message)

    def _work(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._working.add(task)
        task.add_done_callback(self._working.discard)
