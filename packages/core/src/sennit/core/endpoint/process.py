"""``process:``, the endpoint that is a program: its standard input and output, as a stream.

``process:/usr/bin/openssl?arg=s_client&arg=-connect&arg=example.org%3A443`` names the
program and, one ``arg`` each, its arguments; what would end them in a URL is written with
percent signs (RFC 3986 §2.1). A program without a slash is looked for in PATH. ``cwd`` says
where it begins. What it says of errors goes where ours does.

The connection owns the program: when it has gone the program sees the end of its input,
and is ended (SIGTERM, then SIGKILL) if that does not move it within five seconds, or at
once after an abort.

One cannot listen there: a program is started, it does not come.
"""

from __future__ import annotations

import os
from contextvars import copy_context

from sennit.core.deferred import Deferred, fail
from sennit.core.errors import ConnectionAborted, SpawnError
from sennit.core.protocol import ProcessProtocol, adapt_factory
from sennit.core.transport.pipes import Ends, PipeTransport
from sennit.core.transport.process import GRACE, spawn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sennit.core.endpoint.parse import Endpoint
    from sennit.core.interfaces import IStreamProtocol
    from sennit.core.protocol import ProtocolFactory
    from sennit.core.reactor.base import Reactor
    from sennit.core.reactor.calls import DelayedCall
    from sennit.core.transport.process import ProcessTransport
    from sennit.core.transport.reaping import ProcessStatus
    from sennit.core.transport.stream import SocketTransport

__all__ = ["ProcessStream", "command_of", "connect"]


def command_of(endpoint: Endpoint) -> list[bytes]:
    """The program and its arguments."""
    from urllib.parse import unquote_to_bytes

    words = [endpoint.path]
    given = endpoint.options.get("arg")
    if given is not None:
        words += given.split("\n")  # which no URL holds: it joins what was given several times
    return [unquote_to_bytes(word) for word in words]


class ProcessStream(PipeTransport):
    """A stream transport over the standard input and output of a program.

    ``get_extra_info("process")`` is the program's `ProcessTransport`.
    """

    __slots__ = ("process",)

    process: ProcessTransport

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """``process``, ``pid``, ``reactor``."""
        if name == "process":
            return self.process
        if name == "pid":
            return self.process.pid
        return super().get_extra_info(name, default)


class _Owner(ProcessProtocol):
    """Sees to it that the program ends when its connection has."""

    _timer: DelayedCall | None = None

    def process_ended(self, status: ProcessStatus) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def connection_gone(self, transport: SocketTransport) -> None:
        process = transport.get_extra_info("process")
        if process.ended:
            return
        if transport.close_reason == "clean":
            reactor: Reactor = transport.get_extra_info("reactor")
            self._timer = reactor.call_later(GRACE, process.terminate)
        else:
            process.terminate()


def connect(
    endpoint: Endpoint,
    factory: ProtocolFactory,
    *,
    reactor: Reactor,
    timeout: float,
    local_address: tuple[str, int] | None = None,
) -> Deferred[Any]:
    """Start the program and give a protocol its standard streams (`schemes`).

    Fails with `SpawnError` when it cannot be started.
    """
    from urllib.parse import unquote_to_bytes

    command = command_of(endpoint)
    cwd = endpoint.options.get("cwd")
    owner = _Owner()
    try:
        their_in, our_out = os.pipe()
        try:
            our_in, their_out = os.pipe()
        except OSError:
            os.close(their_in)
            os.close(our_out)
            raise
    except OSError as error:
        return fail(SpawnError(endpoint.path, f"no pipes: {error.strerror}", error.errno))
    try:
        starting = spawn(
            reactor,
            owner,
            command,
            cwd=None if cwd is None else unquote_to_bytes(cwd),
            process_group=0,
            descriptors={0: their_in, 1: their_out, 2: "inherit"},
        )
    except BaseException:
        for fd in (our_in, our_out):
            os.close(fd)
        raise
    finally:
        # `spawn` has given them to the child, or to the helper that becomes it.
        os.close(their_in)
        os.close(their_out)

    context = copy_context() or None

    def runs(process: ProcessTransport) -> IStreamProtocol:
        protocol = None
        try:
            protocol = adapt_factory(factory)(None)
        finally:
            if protocol is None:
                os.close(our_in)
                os.close(our_out)
                process.terminate()
        if protocol is None:
            raise ConnectionAborted("the factory refused the connection", "refused")
        transport = ProcessStream(
            reactor, Ends(our_in, our_out), protocol, owner=owner, context=context
        )
        transport.process = process
        transport.start()
        return protocol

    def failed(error: BaseException) -> IStreamProtocol:
        os.close(our_in)
        os.close(our_out)
        raise error

    return starting.add_callbacks(runs, failed)
