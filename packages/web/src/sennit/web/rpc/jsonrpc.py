"""JSON-RPC 2.0 over HTTP: functions served, and functions called.

::

    rpc = JSONRPC()

    @rpc.method
    async def add(a: int, b: int) -> int:
        return a + b

    site.put_child("rpc", rpc)

    async with JSONRPCClient("http://localhost:8080/rpc") as client:
        total = await client.call("add", 1, 2)

A POST carries one call or a batch of them. Calls of a batch are worked on side by
side; answers keep the calls' order. Whatever the calls came to, the status is 200,
and 204 where nobody awaits an answer.

Sources: JSON-RPC 2.0; "JSON-RPC over HTTP" (a draft, as practised) for media types.
Not here: calls over a WebSocket, in both directions (``jsonrpc_peer.py``); reading and
writing messages (``json_grammar.py``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sennit.core.deferred import gather
from sennit.web.errors import WebProtocolError, WebUsageError
from sennit.web.request import Request
from sennit.web.resource import Resource
from sennit.web.response import Response
from sennit.web.rpc.conversion import JSON_VALUES
from sennit.web.rpc.errors import INTERNAL_ERROR, INVALID_REQUEST, PARSE_ERROR, RPCError
from sennit.web.rpc.exposing import Methods
from sennit.web.rpc.json_grammar import (
    Answer,
    Call,
    read_json,
    sort_message,
    write_call,
    write_error,
    write_result,
)
from sennit.web.rpc.kinds import is_list
from sennit.web.rpc.limits import RPCLimits
from sennit.web.rpc.posting import PostingCaller, check_posted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sennit.core.deferred import Outcome
    from sennit.web.rpc.json_grammar import Identity

__all__ = ["JSONRPC", "JSONRPCBatch", "JSONRPCClient", "answer_to", "plain_call", "work_on"]

MEDIA_TYPES: Final = ("application/json", "application/json-rpc", "application/jsonrequest")
"""What calls and answers may be called."""


class JSONRPC(Resource):
    """Functions that others may call; a resource.

    Args:
        methods: The functions, where others serve them too.
        limits: What one message may be.

    Attributes:
        methods: The functions.
    """

    leaf = True

    def __init__(self, methods: Methods | None = None, *, limits: RPCLimits | None = None) -> None:
        self.methods = Methods() if methods is None else methods
        self.limits = limits or RPCLimits()
        self.method = self.methods.method
        self.add_object = self.methods.add_object

    async def render_post(self, request: Request) -> Response:
        """Work on what was posted."""
        check_posted(request, MEDIA_TYPES)
        content = await request.read(self.limits.message)
        answer = await work_on(content, self.methods, self.limits, {Request: request})
        if answer is None:
            return Response(b"", 204)
        return Response(answer, headers=[(b"content-type", b"application/json")])


async def work_on(
    content: bytes, methods: Methods, limits: RPCLimits, given: Mapping[type, object]
) -> bytes | None:
    """Work on a message of calls; the answer, or ``None`` where nobody awaits one.

    Args:
        content: The message.
        methods: What may be called.
        limits: What it may be.
        given: What parameters annotated with these types get.
    """
    try:
        found = read_json(content, depth=limits.depth, digits=limits.digits)
    except WebProtocolError as error:
        return write_error(None, RPCError(PARSE_ERROR, str(error)))
    if not is_list(found):
        return await answer_to(sort_message(found), methods, given)
    messages = found
    if not messages:
        return write_error(None, RPCError(INVALID_REQUEST, "a batch of no calls"))
    if len(messages) > limits.batch:
        problem = f"a batch of more than {limits.batch} calls"
        return write_error(None, RPCError(INVALID_REQUEST, problem))
    answers = await gather(*(answer_to(sort_message(each), methods, given) for each in messages))
    told = [each for each in answers if each is not None]
    return b"[%b]" % b",".join(told) if told else None


async def answer_to(
    message: Call | Answer | bytes, methods: Methods, given: Mapping[type, object]
) -> bytes | None:
    """Work on one message; its answer, or ``None`` where nobody awaits one."""
    if isinstance(message, bytes):
        return message
    if isinstance(message, Answer):
        return write_error(
            message.identity, RPCError(INVALID_REQUEST, "an answer to what was not asked")
        )
    try:
        result = await methods.call(
            JSON_VALUES, message.method, message.positional, message.named, given
        )
    except RPCError as error:
        return _refusal(message.identity, error) if message.awaited else None
    if not message.awaited:
        return None
    try:
        return write_result(message.identity, result)
    except ValueError as problem:
        # Half of a surrogate pair, say, or more digits than Python writes: other calls of the
        # batch have their answers all the same.
        return _failure(message.identity, problem, f"in the result of {message.method!r:.200}")


def _refusal(identity: Identity, error: RPCError) -> bytes:
    try:
        told = RPCError(error.code, error.message, JSON_VALUES.simplify(error.data))
        return write_error(identity, told)
    except (ValueError, TypeError) as problem:
        return _failure(identity, problem, f"in the data of {error!r:.200}")


def _failure(identity: Identity, problem: Exception, where: str) -> bytes:
    """The answer to a call whose function gave what cannot be sent: that is logged."""
    from sennit.core.reactor.lifecycle import log_error

    log_error(problem, where)
    return write_error(identity, RPCError(INTERNAL_ERROR, "internal error"))


# ── the asking side ───────────────────────────────────────────────────────────


class JSONRPCClient(PostingCaller):
    """Calls functions at a URL.

    Args:
        url: Where they are.
        client: What to send by: a `Client`, whose cookies and login are for its calls too,
            or a `Pool`; a pool of its own when left out.
        headers: Of every request.
        timeouts: How long to wait; the pool's own times when left out.
        limits: What one message may be.
    """

    _wire = JSON_VALUES
    _content_type = b"application/json"
    _wanted = MEDIA_TYPES
    _last = 0
    """The identity of the call before."""

    async def _ask(self, method: str, positional: Sequence[Any], named: Mapping[str, Any]) -> Any:
        self._last = identity = self._last + 1
        message = plain_call(method, positional, named, identity)
        answer = _answer_in(self._read(await self._post(message)))
        if answer.identity != identity and not (answer.identity is None and answer.error):
            raise WebProtocolError("an answer to another call", "JSON-RPC 2.0 §5")
        if answer.error is not None:
            raise answer.error
        return answer.result

    async def notify(self, method: str, /, *arguments: Any, **named: Any) -> None:
        """Call a function without awaiting what comes of it.

        Raises:
            WebUsageError: An argument cannot be sent.
        """
        await self._post(plain_call(method, arguments, named, None))

    def batch(self) -> JSONRPCBatch:
        """Calls that leave together: see `JSONRPCBatch`."""
        return JSONRPCBatch(self)

    def _read(self, content: bytes) -> Any:
        return read_json(content, depth=self.limits.depth, digits=self.limits.digits)


class JSONRPCBatch:
    """Calls that leave in one message.

    ::

        batch = client.batch()
        batch.call("add", 1, 2)
        batch.notify("log", "twice")
        [total] = await batch.send()
        total.unwrap()

    Args:
        client: Whose.
    """

    def __init__(self, client: JSONRPCClient) -> None:
        self._client = client
        self._messages: list[bytes] = []
        self._awaited: list[int] = []

    def call(self, method: str, /, *arguments: Any, **named: Any) -> None:
        """Add a call.

        Raises:
            WebUsageError: There are too many, or an argument cannot be sent.
        """
        identity = len(self._awaited)
        self._add(plain_call(method, arguments, named, identity))
        self._awaited.append(identity)

    def notify(self, method: str, /, *arguments: Any, **named: Any) -> None:
        """Add a call whose outcome nobody awaits.

        Raises:
            WebUsageError: There are too many, or an argument cannot be sent.
        """
        self._add(plain_call(method, arguments, named, None))

    def _add(self, message: bytes) -> None:
        most = self._client.limits.batch
        if len(self._messages) >= most:
            raise WebUsageError(f"a batch of more than {most} calls")
        self._messages.append(message)

    async def send(self) -> list[Outcome[Any]]:
        """Send them; what became of each `call`, in their order.

        Raises:
            RPCError: The batch as a whole was refused.
            WebProtocolError: What came back is no answer to it.
        """
        from sennit.core.deferred import Outcome

        if not self._messages:
            return []
        content = await self._client._post(b"[%b]" % b",".join(self._messages))
        if not self._awaited:
            return []
        found = self._client._read(content)
        if not is_list(found):
            error = _answer_in(found).error
            raise error or WebProtocolError("one answer to a batch", "JSON-RPC 2.0 §6")
        answers = [_answer_in(each) for each in found]
        known = {each.identity: each for each in answers}
        # True and 1.0 are 1 to a dict: what matters is that each was answered once.
        if len(answers) != len(known) or known.keys() != set(self._awaited):
            raise WebProtocolError("other answers than there were calls", "JSON-RPC 2.0 §6")
        return [Outcome(known[each].result, known[each].error) for each in self._awaited]


def plain_call(
    method: str, positional: Sequence[Any], named: Mapping[str, Any], identity: Identity
) -> bytes:
    """A call as it leaves.

    Raises:
        WebUsageError: An argument cannot be sent.
    """
    try:
        arguments = [JSON_VALUES.simplify(each) for each in positional]
        keywords = {name: JSON_VALUES.simplify(each) for name, each in named.items()}
    except (ValueError, TypeError) as error:
        raise WebUsageError(f"an argument cannot be sent: {error!s:.200}") from error
    return write_call(method, arguments, keywords, identity)


def _answer_in(value: Any) -> Answer:
    """The answer that a message is.

    Raises:
        WebProtocolError: It is none.
    """
    found = sort_message(value)
    if not isinstance(found, Answer):
        raise WebProtocolError("what came back is no answer", "JSON-RPC 2.0 §5")
    return found
