"""Load generators for benchmarks: what strikes a server from a process of its own.

Each function here makes a `Load`. A load first warms the server up, then does a
counted amount of work and returns how many operations that was; it raises when
the server does anything else than expected, so that no broken server can win.
Only the server's CPU time is measured, so a load has to be fair, not fast; still
none of them is the bottleneck by much.

What the server has to do for each:

=================  ==============================================================
`echo`             send back every octet
`stream_in`        discard what comes, close when the client's end arrives
`stream_out`       read 8 octets (a big-endian count), send so many, close
`accept_one`       send one octet to each new connection and close it
`accept_echo`      as `echo`; each connection lives for one octet
`idle`             keep connections open that say nothing
`requests`         answer each HTTP/1.1 request, with content or without, keep the connection
`http2_requests`   the same over HTTP/2, by prior knowledge or, over TLS, agreed on
`tls_handshakes`   one TLS handshake per connection, close at the client's end
`tls_stream_in`    as `stream_in` under TLS
`tls_stream_out`   as `stream_out` under TLS
`udp_echo`         send back every datagram to whoever sent it
`dns_queries`      answer DNS queries over UDP for names that were made with `dns_names`
=================  ==============================================================

All of them speak to 127.0.0.1 and end by themselves.
"""

from __future__ import annotations

import random
import re
import select
import shutil
import socket
import ssl
import subprocess
import tempfile
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "Load",
    "LoadError",
    "accept_echo",
    "accept_one",
    "dns_names",
    "dns_queries",
    "echo",
    "http2_requests",
    "idle",
    "requests",
    "stream_in",
    "stream_out",
    "tls_handshakes",
    "tls_stream_in",
    "tls_stream_out",
    "udp_echo",
]

HOST: Final = "127.0.0.1"
TIMEOUT: Final = 30.0
"""Seconds without a sign of life after which a server counts as broken."""
MEBIBYTE: Final = 1 << 20


class LoadError(Exception):
    """The server did something else than it should have."""


class Load(Protocol):
    """Work for a server, done in a process of its own.

    Attributes:
        operation: What is counted, in the singular: ``echo``, ``MiB``.
        describe: One line for the table's heading.
    """

    operation: str
    describe: str

    def warm_up(self, port: int) -> None:
        """Do a little of the work, uncounted."""
        ...

    def run(self, port: int) -> int:
        """Do the work; return the number of operations."""
        ...


class _Counted:
    """A load that is one function of port and amount."""

    def __init__(
        self,
        operation: str,
        describe: str,
        amount: int,
        work: Callable[[int, int], int],
        *,
        warm: int | None = None,
    ) -> None:
        self.operation = operation
        self.describe = describe
        self._amount = amount
        self._warm = max(1, amount // 10) if warm is None else warm
        self._work = work

    def warm_up(self, port: int) -> None:
        self._work(port, self._warm)

    def run(self, port: int) -> int:
        return self._work(port, self._amount)


def _connect(port: int, source: int = 1) -> socket.socket:
    """Connect from 127.0.0.`source`: many sources, so that no port runs out."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.settimeout(TIMEOUT)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if source > 1:
        # IP_BIND_ADDRESS_NO_PORT: the port is chosen when the destination is known.
        sock.setsockopt(socket.IPPROTO_IP, 24, 1)
        sock.bind((f"127.0.0.{source}", 0))
    sock.connect((HOST, port))
    return sock


def echo(*, connections: int = 64, size: int = 1024, operations: int = 100_000) -> Load:
    """Ping-pong of `size` octets on each of `connections`; an operation is one echo."""

    def work(port: int, amount: int) -> int:
        message = b"x" * size
        poller = select.epoll()
        socks: dict[int, socket.socket] = {}
        missing: dict[int, int] = {}
        try:
            for _ in range(connections):
                sock = _connect(port)
                sock.setblocking(False)
                socks[sock.fileno()] = sock
                missing[sock.fileno()] = size
                poller.register(sock.fileno(), select.EPOLLIN)
            done, sent = 0, 0
            for sock in socks.values():
                sock.send(message)
                sent += 1
            while done < amount:
                ready = poller.poll(TIMEOUT, connections)
                if not ready:
                    raise LoadError(f"no echo within {TIMEOUT:.0f} s after {done} echoes")
                for fd, _ in ready:
                    sock = socks[fd]
                    data = sock.recv(65536)
                    if not data:
                        raise LoadError(f"the server closed a connection after {done} echoes")
                    left = missing[fd] - len(data)
                    if left > 0:
                        missing[fd] = left
                        continue
                    if left < 0:
                        raise LoadError("the server sent more than it got")
                    missing[fd] = size
                    done += 1
                    if sent < amount:
                        sent += 1
                        if sock.send(message) != size:
                            raise LoadError("the kernel did not take one message at once")
            return done
        finally:
            for sock in socks.values():
                sock.close()
            poller.close()

    return _Counted(
        "echo", f"{connections} connections x {size} octets, ping-pong", operations, work
    )


def udp_echo(*, clients: int = 64, size: int = 512, operations: int = 100_000) -> Load:
    """Ping-pong of datagrams of `size` octets from each of `clients`; an operation is one echo."""

    def work(port: int, amount: int) -> int:
        message = b"x" * size
        poller = select.epoll()
        socks: dict[int, socket.socket] = {}
        try:
            for _ in range(clients):
                sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                sock.connect((HOST, port))
                sock.setblocking(False)
                socks[sock.fileno()] = sock
                poller.register(sock.fileno(), select.EPOLLIN)
            done = sent = 0
            for sock in list(socks.values())[:amount]:
                sock.send(message)
                sent += 1
            while done < amount:
                # Loopback loses nothing while the socket's buffer has room for all of these.
                ready = poller.poll(TIMEOUT, clients)
                if not ready:
                    raise LoadError(f"no echo within {TIMEOUT:.0f} s after {done} echoes")
                for fd, _ in ready:
                    sock = socks[fd]
                    if sock.recv(65536) != message:
                        raise LoadError("the server sent back something else")
                    done += 1
                    if sent < amount:
                        sent += 1
                        sock.send(message)
            return done
        finally:
            for sock in socks.values():
                sock.close()
            poller.close()

    return _Counted("echo", f"{clients} clients x {size} octets, ping-pong", operations, work)


def _send_all(sock: socket.socket, mebibytes: int, chunk: int) -> None:
    piece = memoryview(bytes(chunk))
    left = mebibytes * MEBIBYTE
    while left:
        sent = piece[:left] if left < chunk else piece
        sock.sendall(sent)
        left -= len(sent)


def _receive_all(sock: socket.socket, mebibytes: int) -> None:
    want, got = mebibytes * MEBIBYTE, 0
    buffer = bytearray(256 * 1024)
    while count := sock.recv_into(buffer):
        got += count
    if got != want:
        raise LoadError(f"asked for {want} octets, got {got}")


def stream_in(*, mebibytes: int = 1024, chunk: int = 65536) -> Load:
    """Send to the server over one connection; an operation is one MiB."""

    def work(port: int, amount: int) -> int:
        with _connect(port) as sock:
            _send_all(sock, amount, chunk)
            sock.shutdown(socket.SHUT_WR)
            if sock.recv(1):
                raise LoadError("the server should only have closed")
        return amount

    return _Counted("MiB", f"one connection, {chunk} octets a piece, received", mebibytes, work)


def stream_out(*, mebibytes: int = 1024) -> Load:
    """Have the server send over one connection; an operation is one MiB."""

    def work(port: int, amount: int) -> int:
        with _connect(port) as sock:
            sock.sendall((amount * MEBIBYTE).to_bytes(8, "big"))
            _receive_all(sock, amount)
        return amount

    return _Counted("MiB", "one connection, sent", mebibytes, work)


def accept_one(*, operations: int = 10_000, concurrency: int = 32) -> Load:
    """Connect, read one octet, then the end; an operation is one connection."""
    return _accepts(operations, concurrency, client_first=False)


def accept_echo(*, operations: int = 10_000, concurrency: int = 32) -> Load:
    """Connect, send one octet, read it back, close; an operation is one connection."""
    return _accepts(operations, concurrency, client_first=True)


def _accepts(operations: int, concurrency: int, *, client_first: bool) -> Load:
    def work(port: int, amount: int) -> int:
        done = 0
        while done < amount:
            # A batch at a time, so that the server has several to accept in one turn.
            batch = min(concurrency, amount - done)
            socks = [_connect(port, 2 + (done + n) % 200) for n in range(batch)]
            try:
                if client_first:
                    for sock in socks:
                        sock.sendall(b"!")
                for sock in socks:
                    if len(sock.recv(2)) != 1:
                        raise LoadError("the server should have sent one octet")
                    if not client_first and sock.recv(1):
                        raise LoadError("the server should have closed after one octet")
            finally:
                for sock in socks:
                    sock.close()
            done += batch
        return done

    how = "one octet echoed, closed by the client" if client_first else "one octet sent, closed"
    return _Counted("connection", f"accept, {how}; {concurrency} at a time", operations, work)


class _Idle:
    """Connections that say nothing, or nothing more, held until the process ends."""

    operation = "connection"

    def __init__(self, connections: int, warm: int, ask: bytes) -> None:
        after = " after a request each" if ask else ""
        self.describe = f"{connections} idle connections{after}"
        self._ask = ask
        self._connections = connections
        self._warm = warm
        self._held: list[socket.socket] = []

    def _open(self, port: int, count: int) -> None:
        for n in range(count):
            sock = _connect(port, 2 + n % 200)
            self._held.append(sock)
            if self._ask:
                sock.sendall(self._ask)
                if not sock.recv(65536):
                    raise LoadError("the server closed a connection")

    def warm_up(self, port: int) -> None:
        self._open(port, self._warm)

    def run(self, port: int) -> int:
        self._open(port, self._connections)
        return self._connections


def idle(*, connections: int = 5000, warm: int = 500, ask: bytes = b"") -> Load:
    """Open connections and keep them; for ``measure="memory"``. An operation is one of them.

    With `ask` each first says that, and takes what is answered to it.
    """
    return _Idle(connections, warm, ask)


def requests(
    *,
    connections: int = 64,
    seconds: int = 3,
    operations: int = 30_000,
    path: str = "/",
    post: int = 0,
    pure: bool = False,
) -> Load:
    """Ask for `path` over connections that are kept; an operation is one answer.

    With `post` it is a POST with so many octets of content.

    With wrk where it is installed, for `seconds`; else, or if `pure`, with a
    generator in Python that makes `operations` requests.
    """
    wrk = None if pure else shutil.which("wrk")
    what = f"POST {path} with {post:,} octets" if post else f"GET {path}"
    describe = f"{what} over {connections} kept connections"
    if wrk is None:
        return _Counted(
            "request", describe + " (Python)", operations, _http_work(connections, path, post)
        )

    def work(port: int, amount: int) -> int:
        with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
            command = [wrk, "-t1", f"-c{connections}", f"-d{amount}s"]
            if post:
                script.write(f"wrk.method = 'POST'\nwrk.body = string.rep('x', {post})\n")
                script.flush()
                command += ["-s", script.name]
            ran = subprocess.run(
                [*command, f"http://{HOST}:{port}{path}"],
                capture_output=True,
                text=True,
                check=True,
                timeout=amount + TIMEOUT,
            )
        if "Socket errors" in ran.stdout or "Non-2xx" in ran.stdout:
            raise LoadError(f"wrk saw errors:\n{ran.stdout}")
        counted = re.search(r"(\d+) requests in", ran.stdout)
        if counted is None or counted[1] == "0":
            raise LoadError(f"wrk got no answer:\n{ran.stdout}")
        return int(counted[1])

    return _Counted("request", describe + " (wrk)", seconds, work, warm=1)


def dns_names(count: int) -> list[str]:
    """Names that a server of `dns_queries` has: ``h0.example.org`` and so on."""
    return [f"h{each}.example.org" for each in range(count)]


def dns_queries(
    names: int,
    *,
    dnssec: bool = False,
    seconds: int = 2,
    rcode: str = "NOERROR",
    echo: bool = False,
) -> Load:
    """Ask for the addresses of `names` names over UDP with dnsperf; an operation is one answer.

    With `dnssec` the queries have EDNS and DO. Where there are many names 50 000 are asked for,
    spread over all. With `echo` what comes back need not be an answer.
    """
    kind = "A with DO" if dnssec else "A"
    describe = f"{kind} over UDP, {names:,} names, 100 queries under way (dnsperf)"

    def work(port: int, amount: int) -> int:
        asked = dns_names(names)
        asked = asked[:: max(1, names // 50_000)]
        random.Random(1).shuffle(asked)
        with tempfile.NamedTemporaryFile("w", suffix=".queries") as queries:
            queries.writelines(f"{each} A\n" for each in asked)
            queries.flush()
            command = ["dnsperf", "-s", HOST, "-p", str(port), "-d", queries.name]
            command += ["-l", str(amount), "-c", "8", "-q", "100"] + (["-D"] if dnssec else [])
            ran = subprocess.run(
                command, capture_output=True, text=True, check=True, timeout=amount + TIMEOUT
            )
        completed = re.search(r"Queries completed:\s+(\d+)", ran.stdout)
        good = re.search(rf"{rcode} \d+ \(100.00%\)", ran.stdout)
        if completed is None or completed[1] == "0" or not (good or echo):
            raise LoadError(f"dnsperf did not get the answers:\n{ran.stdout}\n{ran.stderr[-2000:]}")
        return int(completed[1])

    return _Counted("query", describe, seconds, work, warm=1)


def http2_requests(
    *,
    connections: int = 4,
    streams: int = 32,
    operations: int = 20_000,
    path: str = "/",
    size: int = 0,
    tls: bool = False,
) -> Load:
    """Ask for `path` on `streams` streams side by side of each connection (h2load).

    With `size` it is an error if an answer has not so many octets of content.
    """
    url = "https" if tls else "http"

    def work(port: int, amount: int) -> int:
        command = ["h2load", f"-n{amount}", f"-c{connections}", f"-m{streams}", "-t1"]
        if size > MEBIBYTE >> 1:
            # Windows as browsers open them, so that they are not what is measured.
            command += ["-w24", "-W24"]
        ran = subprocess.run(
            [*command, f"{url}://{HOST}:{port}{path}"],
            capture_output=True,
            text=True,
            check=True,
            timeout=4 * TIMEOUT,
        )
        if f"{amount} succeeded" not in ran.stdout or f"{amount} 2xx" not in ran.stdout:
            raise LoadError(f"h2load saw errors:\n{ran.stdout}")
        content = re.search(r"\((\d+)\) data", ran.stdout)
        if size and (content is None or int(content[1]) != size * amount):
            raise LoadError(f"h2load got other content:\n{ran.stdout}")
        return amount

    over = "TLS" if tls else "TCP"
    describe = f"GET {path} over {connections} connections of HTTP/2, {streams} streams, {over}"
    return _Counted("request", f"{describe} (h2load)", operations, work)


def _http_work(connections: int, path: str, size: int) -> Callable[[int, int], int]:
    """Make a keep-alive load; answers need a Content-Length."""

    def answer_length(head: bytes) -> int:
        if not head.startswith(b"HTTP/1.1 2"):
            raise LoadError(f"unexpected answer {head[:64]!r}")
        found = re.search(rb"\r\ncontent-length:[ \t]*(\d+)", head, re.IGNORECASE)
        if found is None:
            raise LoadError("an answer without Content-Length")
        return int(found[1])

    def work(port: int, amount: int) -> int:
        head = f"{'POST' if size else 'GET'} {path} HTTP/1.1\r\nHost: {HOST}:{port}\r\n"
        if size:
            head += f"Content-Length: {size}\r\n"
        ask = f"{head}\r\n".encode("ascii") + b"x" * size
        poller = select.epoll()
        socks: dict[int, socket.socket] = {}
        pending: dict[int, bytes] = {}
        try:
            for _ in range(connections):
                sock = _connect(port)
                socks[sock.fileno()] = sock
                pending[sock.fileno()] = b""
                poller.register(sock.fileno(), select.EPOLLIN)
            done, sent = 0, 0
            for sock in socks.values():
                sock.sendall(ask)
                sent += 1
            while done < amount:
                ready = poller.poll(TIMEOUT, connections)
                if not ready:
                    raise LoadError(f"no answer within {TIMEOUT:.0f} s after {done} requests")
                for fd, _ in ready:
                    data = socks[fd].recv(65536)
                    if not data:
                        raise LoadError(f"the server closed a connection after {done} requests")
                    data = pending[fd] + data
                    end = data.find(b"\r\n\r\n") + 4
                    if end < 4 or len(data) < end + answer_length(data[:end]):
                        pending[fd] = data
                        continue
                    pending[fd] = b""
                    done += 1
                    if sent < amount:
                        sent += 1
                        socks[fd].sendall(ask)
            return done
        finally:
            for sock in socks.values():
                sock.close()
            poller.close()

    return work


def _tls(sock: socket.socket, session: ssl.SSLSession | None = None) -> ssl.SSLSocket:
    return _CONTEXT.wrap_socket(sock, server_hostname="localhost", session=session)


def _unverifying() -> ssl.SSLContext:
    # Only the server is measured; whose certificate it is does not matter here.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


_CONTEXT: Final = _unverifying()


def tls_handshakes(*, operations: int = 500, resume: bool = False) -> Load:
    """Handshake, one octet echoed, close; an operation is one handshake.

    The server echoes. With `resume` each connection offers the session of the one
    before, and it is an error if the server resumes none.
    """

    def work(port: int, amount: int) -> int:
        session: ssl.SSLSession | None = None
        resumed = 0
        for _ in range(amount):
            with _tls(_connect(port), session) as sock:
                sock.sendall(b"!")
                if sock.recv(1) != b"!":
                    raise LoadError("the server should have echoed one octet")
                resumed += bool(sock.session_reused)
                if resume:
                    session = sock.session
        if resume and amount > 1 and not resumed:
            raise LoadError("the server resumed no session")
        return amount

    how = "resumed handshakes" if resume else "full handshakes"
    return _Counted("handshake", f"{how}, one octet echoed, one after another", operations, work)


def tls_stream_in(*, mebibytes: int = 256, chunk: int = 65536) -> Load:
    """Send to the server under TLS; an operation is one MiB."""

    def work(port: int, amount: int) -> int:
        with _tls(_connect(port)) as sock:
            _send_all(sock, amount, chunk)
            _end_tls(sock)
        return amount

    return _Counted("MiB", f"one TLS connection, {chunk} octets a piece, received", mebibytes, work)


def _end_tls(sock: ssl.SSLSocket) -> None:
    """Send close_notify and wait until the server has taken everything and closed."""
    try:
        rest = sock.unwrap()
        while rest.recv(4096):
            pass
    except (ssl.SSLError, ConnectionError):
        # A server may drop the connection where it should have said good-bye first.
        pass


def tls_stream_out(*, mebibytes: int = 256) -> Load:
    """Have the server send under TLS; an operation is one MiB."""

    def work(port: int, amount: int) -> int:
        with _tls(_connect(port)) as sock:
            sock.sendall((amount * MEBIBYTE).to_bytes(8, "big"))
            try:
                _receive_all(sock, amount)
            except ssl.SSLEOFError as error:
                raise LoadError("the server ended without close_notify") from error
        return amount

    return _Counted("MiB", "one TLS connection, sent", mebibytes, work)
