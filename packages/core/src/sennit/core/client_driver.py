"""`ClientEngineProtocol`: the mirror of ``driver.py``, for the side that asks.

::

    class MailClient(ClientEngineProtocol[ClientEngine, Command, Event, Reply]):
        def __init__(self) -> None:
            super().__init__(ClientEngine())

    client = await connect("tcp://mail:143", MailClient)
    reply = await client.request(Noop())

* `request(command)` gives a Deferred of the reply: the event that `Ends` the
  command's exchange, or what `combine` makes of it and the parts that came before.
  Raise in `combine` to fail the request (a reply that refuses).
* `converse(command)` gives the inbox of the exchange instead, for replies that are
  read as they come.
* Commands are sent at once where the engine allows (``can_send``), else when it
  does; replies to one exchange are told apart by their order.
* Cancelling a request that has not left forgets it. One that has left is given up
  by the engine if the protocol has a way, else its reply is thrown away when it comes.
* `unsolicited` is a stream of what nobody asked for. Before it is asked for the
  first time such events are dropped; override `event_received` to see them all.
* When the connection goes, everything that waits fails with `ConnectionLost`; a
  peer that breaks a rule fails what waits in that exchange with its `ProtocolError`.

Not here: the server's side (``driver.py``); connecting (``sennit.core.endpoint``).
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from sennit.core._driver import BLOCKED, FINISHING, GONE, PRESSED
from sennit.core._handover import Handover
from sennit.core._inbox import Inbox, weight_of
from sennit.core.deferred import Deferred, fail, shield
from sennit.core.engine import (
    CONNECTION,
    NEED_DATA,
    Belongs,
    ClientEngine,
    Ends,
    Interrupts,
    NoEvent,
    PeerFault,
)
from sennit.core.errors import ConnectionAborted, ConnectionDone, LimitReachedError, UsageError

if TYPE_CHECKING:
    from sennit.core._driver import Clock
    from sennit.core.errors import ConnectionLost

__all__ = ["ClientEngineProtocol"]

# `Any`: commands and events are the engine's own; the other parameters name them.
EngineT = TypeVar("EngineT", bound=ClientEngine[Any, Any])
CommandT = TypeVar("CommandT")
EventT = TypeVar("EventT")
ReplyT = TypeVar("ReplyT")


class _Request:
    """A command and who waits for its reply.

    Attributes:
        exchange: Its exchange once it has left; ``None`` before.
        abandoned: Whether nobody waits any more.
    """

    __slots__ = ("abandoned", "command", "done", "exchange", "inbox", "parts", "size")

    def __init__(self, command: Any, done: Deferred[Any] | None, inbox: Inbox[Any] | None) -> None:
        self.command = command
        self.done = done
        self.inbox = inbox
        self.exchange: int | None = None
        self.abandoned = False
        self.parts: list[Any] = []
        self.size = 0


class ClientEngineProtocol(Handover[EngineT], Generic[EngineT, CommandT, EventT, ReplyT]):
    """A client's side of one connection.

    Args:
        engine: A fresh engine, from now on this object's own.
        clock: Tells the time and calls back; found by itself when left out.

    Attributes:
        max_requests: Requests that may wait to be sent.
        max_reply: Octets of the parts of one reply that `request` collects.
    """

    max_requests: int = 1000
    max_reply: int = 16 * 1024 * 1024

    # Replies are taken, and read, even while the way out is full: a server that
    # cannot say its replies does not read requests either.
    _blocked = BLOCKED & ~PRESSED
    _server_side = False
    _unsolicited: Inbox[EventT] | None = None
    _finished: Deferred[None] | None = None
    _unasked = False  # the last reply was one to nothing

    def __init__(self, engine: EngineT, *, clock: Clock | None = None) -> None:
        super().__init__(engine, clock=clock)
        self._to_send: deque[_Request] = deque()
        self._open: dict[int, deque[_Request]] = {}

    # ── what protocols may override ───────────────────────────────────────────

    def combine(self, command: CommandT, parts: list[EventT], end: EventT) -> ReplyT:
        """Make the reply of a request; what this raises, the request fails with.

        Args:
            command: What was asked.
            parts: The events that belonged to the exchange, save the last.
            end: The last. It is the reply, unless a subclass says otherwise.
        """
        # Without parts of interest the last event is the reply: EventT and ReplyT are one.
        return cast("ReplyT", end)

    def event_received(self, event: EventT) -> None:
        """The peer said something that nobody asked for."""
        inbox = self._unsolicited
        if inbox is not None:
            self._waiting += weight_of(event)
            inbox.put(event)

    def interrupted(self, event: EventT) -> Exception:
        """What a request fails with that the peer has reset."""
        return ConnectionAborted(f"the peer gave the request up: {event!r}", "reset")

    # ── asking ────────────────────────────────────────────────────────────────

    def request(self, command: CommandT) -> Deferred[ReplyT]:
        """Send a command, now or when the engine allows; fires with its reply.

        Fails with:
            ConnectionLost: The connection went first.
            ProtocolError: The peer broke a rule.
            ValueError: The engine refuses the command, or too many wait already.
        """
        done: Deferred[ReplyT] = Deferred(lambda _: self._give_up(asked))
        asked = _Request(command, done, None)
        error = self._ask(asked)
        if error is not None:
            return fail(error)
        return done

    def converse(self, command: CommandT) -> Inbox[EventT]:
        """Send a command, and give the inbox in which its exchange's events arrive.

        Raises:
            ConnectionLost: The connection has gone.
            ValueError: The engine refuses the command, or too many wait already.
        """
        inbox: Inbox[EventT] = Inbox(self)
        error = self._ask(_Request(command, None, inbox))
        if error is not None:
            raise error
        return inbox

    def abandon(self, inbox: Inbox[EventT]) -> None:
        """Nobody reads an inbox of `converse` any more: what there is and still comes is dropped.

        Otherwise what nobody takes would stop the connection's reading, and all behind it.
        """
        for asked in [*self._to_send, *(each for queue in self._open.values() for each in queue)]:
            if asked.inbox is inbox:
                asked.inbox = None
                self._give_up(asked)
                break
        while inbox:
            inbox.take()

    @property
    def unsolicited(self) -> Inbox[EventT]:
        """What nobody asked for, from the first time on that this is asked for."""
        if self._unsolicited is None:
            self._unsolicited = Inbox(self)
            if self._held & GONE:
                self._unsolicited.close()
        return self._unsolicited

    @property
    def busy(self) -> bool:
        """Whether a reply is awaited."""
        return bool(self._open or self._to_send)

    def close(self) -> Deferred[None]:
        """Say good-bye if the protocol has words for it; fires when the connection has gone."""
        finished = self.finished()
        self.drain()
        return finished

    def finished(self) -> Deferred[None]:
        """Fires when the connection has gone."""
        if self._finished is None:
            self._finished = Deferred()
            if self._held & GONE:
                self._finished.callback(None)
        return shield(self._finished)

    def _ask(self, asked: _Request) -> Exception | None:
        if self._held & GONE:
            return self._lost or ConnectionDone()
        if self._held & FINISHING or self._draining:
            return ConnectionDone("the connection is being closed")
        if len(self._to_send) >= self.max_requests:
            return UsageError(f"{len(self._to_send)} requests wait already")
        self._to_send.append(asked)
        return self._send_requests(asked)

    def _send_requests(self, asked: _Request | None = None) -> Exception | None:
        """Send what the engine allows; the error of `asked`, if it is refused."""
        waiting = self._to_send
        sent = False
        refused: Exception | None = None
        while waiting and not self._held & (PRESSED | BLOCKED):
            first = waiting[0]
            try:
                if not self.engine.can_send(first.command):
                    break
                waiting.popleft()
                exchange = self.engine.send_command(first.command)
            except Exception as error:
                if waiting and waiting[0] is first:
                    waiting.popleft()
                if first is asked:
                    refused = error
                else:
                    self._fail(first, error)
                continue
            first.exchange = exchange
            self._open.setdefault(exchange, deque()).append(first)
            sent = True
        if sent:
            self.flush()
        return refused

    def _give_up(self, asked: _Request) -> None:
        """A request was cancelled."""
        asked.abandoned = True
        if asked.exchange is None:
            if asked in self._to_send:
                self._to_send.remove(asked)
            return
        queue = self._open.get(asked.exchange)
        if queue is None or self._held & (GONE | FINISHING):
            return
        if queue[-1] is asked and self.engine.cancel(asked.exchange):
            queue.pop()
            if not queue:
                del self._open[asked.exchange]
        asked.parts.clear()
        self.proceed()

    @staticmethod
    def _fail(asked: _Request, error: BaseException) -> None:
        if asked.inbox is not None:
            asked.inbox.fail(error)
        if asked.done is not None and not asked.done.fired and not asked.abandoned:
            asked.done.errback(error)

    # ── turns ─────────────────────────────────────────────────────────────────

    def _turn(self) -> None:
        """Take events from the engine until there are none, then send."""
        self._turning = True
        engine = self.engine
        event: Any = None
        try:
            for _ in range(self.max_events):
                event = engine.next_event()
                if type(event) is NoEvent:
                    break
                self._received(event)
                engine = self.engine
                if self._held & self._blocked:
                    event = None
                    break
            else:
                event = None
                self._ask_for_turn()
            self._send_requests()
            pieces = engine.data_to_send()
            if pieces:
                self._send(pieces)
        except Exception as error:
            self._engine_failed(error)
            return
        finally:
            self._turning = False
        if event is not NEED_DATA or self._held | self._waiting or self._reading_paused:
            self._after(event)

    def _received(self, event: Any) -> None:
        """Give an event to who waits for it."""
        if isinstance(event, PeerFault):
            self._fault(event)
            return
        if not isinstance(event, (Belongs, Interrupts)):
            self.event_received(cast("EventT", event))
            return
        exchange: int = getattr(event, "exchange", CONNECTION)
        queue = self._open.get(exchange)
        if queue is None:
            # The end of something that was given up, or a reply to nothing.
            self._unasked = True
            return
        asked = queue[0]
        if isinstance(event, (Ends, Interrupts)):
            self._unasked = False
            queue.popleft()
            if not queue:
                del self._open[exchange]
        if isinstance(event, Interrupts):
            self._fail(asked, self.interrupted(cast("EventT", event)))
        elif asked.inbox is not None:
            self._waiting += weight_of(event)
            asked.inbox.put(event)
        elif isinstance(event, Ends):
            self._reply(asked, event)
        elif not asked.abandoned:
            self._collect(asked, event)

    def _collect(self, asked: _Request, event: Any) -> None:
        asked.size += weight_of(event)
        asked.parts.append(event)
        if asked.size > self.max_reply:
            asked.parts.clear()
            self._fail(
                asked,
                LimitReachedError(f"a reply of more than {self.max_reply} octets", "limit:reply"),
            )
            asked.abandoned = True
            self._abort("limit:reply")

    def _reply(self, asked: _Request, end: Any) -> None:
        done = asked.done
        if asked.abandoned or done is None or done.fired:
            return
        try:
            reply = self.combine(asked.command, asked.parts, end)
        except Exception as error:
            done.errback(error)
        else:
            done.callback(reply)

    def _fault(self, event: PeerFault) -> None:
        if event.exchange == CONNECTION:
            queues = list(self._open.values())
            self._open.clear()
            failed = [asked for queue in queues for asked in queue]
        else:
            queue = self._open.get(event.exchange)
            failed = [queue.popleft()] if queue else []
            if queue is not None and not queue:
                del self._open[event.exchange]
        if not failed:
            from sennit.core._faultlog import log_fault

            log_fault(type(self).__qualname__, self._peer(), event.error.rule, event.error)
        for asked in failed:
            self._fail(asked, event.error)

    # ── the driver's side ─────────────────────────────────────────────────────

    def resume_writing(self) -> None:
        """There is room again: more requests may leave."""
        super().resume_writing()
        if self._to_send and not self._turning:
            self._send_requests()

    def _taken_ahead(self) -> bool:
        # A reply in clear behind the one that agrees to TLS was put there by somebody else.
        return self._unasked

    def _given_away(self, error: ConnectionLost) -> None:
        self._went(error)

    def _went(self, error: ConnectionLost) -> None:
        waiting = [asked for queue in self._open.values() for asked in queue]
        waiting.extend(self._to_send)
        self._open.clear()
        self._to_send.clear()
        for asked in waiting:
            self._fail(asked, error)
        if self._unsolicited is not None:
            self._unsolicited.close()
        if self._finished is not None and not self._finished.fired:
            self._finished.callback(None)
