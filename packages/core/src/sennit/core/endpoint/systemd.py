"""``systemd:web``: sockets that a service manager opened and hands over (sd_listen_fds(3)).

The manager passes descriptors from 3 on and says so in the environment:
``LISTEN_FDS`` how many, ``LISTEN_PID`` for which process, ``LISTEN_FDNAMES`` their
names (``FileDescriptorName=`` in the socket unit). ``systemd:web`` takes all
descriptors named ``web`` as one listener; ``systemd:`` the only name there is;
``systemd:3`` the one with that number. ``tls+systemd:`` lays TLS over them.

The variables are taken out of the environment when they are first read, and the descriptors
are closed to children, so that no child takes them for its own. What is
said for another process is left alone. Each use has a duplicate: a listener that
closes, on reload for instance, does not lose the socket.
"""

from __future__ import annotations

import os
import socket

from sennit.core.endpoint.listen import check_listening
from sennit.core.errors import ConfigError
from sennit.core.transport.listening import Listener

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import MutableMapping
    from typing import Any, Final

    from sennit.core.endpoint.parse import Endpoint
    from sennit.core.interfaces import IPeerLimits
    from sennit.core.protocol import ProtocolFactory
    from sennit.core.reactor.base import Reactor

__all__ = ["FIRST", "Activation", "activation", "listen_systemd"]

FIRST: Final = 3
"""The first descriptor that is passed (SD_LISTEN_FDS_START)."""
MAX_DESCRIPTORS: Final = 1024
"""More than that is a mistake."""


class Activation:
    """What a service manager has passed to this process.

    Args:
        environ: The environment; what was read is removed from it.
        pid: Of this process.

    Attributes:
        descriptors: Number and name of each, in order.
        problem: Why there are none, for people; empty when there are some.
    """

    def __init__(self, environ: MutableMapping[str, str], pid: int) -> None:
        self.descriptors: list[tuple[int, str]] = []
        self.problem = "no service manager has passed sockets (LISTEN_FDS is not set)"
        count = environ.get("LISTEN_FDS")
        if count is None:
            return
        whom = environ.get("LISTEN_PID", "")
        if whom != str(pid):
            self.problem = f"the sockets are for process {whom or 'unknown'}, this one is {pid}"
            return
        names = environ.get("LISTEN_FDNAMES", "")
        for name in ("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "LISTEN_PIDFDID"):
            environ.pop(name, None)
        if not count.isascii() or not count.isdigit() or not 0 < int(count[:6]) <= MAX_DESCRIPTORS:
            self.problem = f"LISTEN_FDS is {count!r}, no number from 1 to {MAX_DESCRIPTORS}"
            return
        given = names.split(":") if names else []
        for at in range(int(count)):
            # As sd_listen_fds_with_names(3): who gives no names calls all of them unknown.
            name = given[at] if at < len(given) else "unknown"
            self.descriptors.append((FIRST + at, name))
        self.problem = ""

    def close_to_children(self) -> None:
        """No child inherits the descriptors."""
        for fd, _ in self.descriptors:
            try:
                os.set_inheritable(fd, False)
            except OSError:
                pass  # told when it is used

    @property
    def names(self) -> list[str]:
        """The names there are, each once."""
        return list(dict.fromkeys(name for _, name in self.descriptors))

    def named(self, name: str) -> list[int]:
        """The descriptors of a name; of the only name there is when it is empty.

        Raises:
            ConfigError: There is none, or it is not said which.
        """
        if not self.descriptors:
            raise ConfigError(f"cannot listen on systemd:{name}: {self.problem}")
        names = self.names
        if not name:
            if len(names) > 1:
                raise ConfigError(
                    f"cannot listen on systemd: say which, there are {', '.join(names)}"
                )
            name = names[0]
        found = [fd for fd, each in self.descriptors if each == name]
        if not found and name.isdigit():
            found = [fd for fd, _ in self.descriptors if str(fd) == name]
        if not found:
            raise ConfigError(f"cannot listen on systemd:{name}: there are {', '.join(names)}")
        return found


_activation: Activation | None = None


def activation() -> Activation:
    """What was passed to this process, read once."""
    global _activation
    if _activation is None:
        _activation = Activation(os.environ, os.getpid())
        _activation.close_to_children()
    return _activation


def listen_systemd(
    endpoint: Endpoint,
    factory: ProtocolFactory,
    *,
    reactor: Reactor,
    limits: IPeerLimits | None,
    paused: bool,
) -> Any:  # Any: a listener of streams, or of datagrams
    """The schemes ``systemd`` and ``tls+systemd``."""
    shown = f"systemd:{endpoint.path}"
    sockets: list[socket.socket] = []
    try:
        for fd in activation().named(endpoint.path):
            copy = -1
            try:
                copy = os.dup(fd)
                sockets.append(socket.socket(fileno=copy))
            except OSError as error:
                if copy >= 0:
                    os.close(copy)  # it is no socket, and nobody's
                raise OSError(
                    error.errno, f"cannot listen on {shown}: descriptor {fd}: {error.strerror}"
                ) from error
        kinds = {sock.type for sock in sockets}
        if kinds == {socket.SOCK_DGRAM} and not endpoint.secure:
            return _listen_datagrams(reactor, sockets, factory, paused)
        for sock in sockets:
            check_listening(sock, shown)
        return Listener(reactor, sockets, factory, limits=limits, paused=paused)
    except BaseException:
        for sock in sockets:
            sock.close()
        raise


def _listen_datagrams(
    reactor: Reactor, sockets: list[socket.socket], factory: Any, paused: bool
) -> Any:  # Any: `serve` is typed for streams
    """Sockets for datagrams, as ``udp:`` has them; of the Unix kind or not."""
    from sennit.core.transport.udp import DatagramListener

    families = {sock.family == getattr(socket, "AF_UNIX", None) for sock in sockets}
    if len(families) > 1:
        raise ConfigError("sockets of Unix and of the internet have one name: give them two")
    for sock in sockets:
        sock.setblocking(False)
    if families == {True}:
        from sennit.core.transport.unix_datagrams import UnixDatagramTransport

        return DatagramListener(
            reactor, sockets, factory, transport=UnixDatagramTransport, paused=paused, scoped=True
        )
    return DatagramListener(reactor, sockets, factory, paused=paused, scoped=True)
