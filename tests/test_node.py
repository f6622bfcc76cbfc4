"""A whole node as a process: up, talked to, and brought down by signals."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path
from typing import IO, TYPE_CHECKING

import pytest
import trustme

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).resolve().parent.parent
LIMIT = 20.0
"""Seconds after which anything here has failed."""

ECHO = '[service.echo]\ntype = "echo"\nlisten = ["tcp://127.0.0.1:0"]\n'
SENNIT = [sys.executable, "-m", "sennit.core.service.cli"]


class Node:
    """A `sennit` process."""

    def __init__(
        self, *arguments: str, cwd: Path, stdout: int | IO[bytes] = subprocess.PIPE
    ) -> None:
        self.process = subprocess.Popen(
            [*SENNIT, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.PIPE,
            cwd=cwd,
        )
        self.table: list[str] = []
        self.log: list[str] = []
        self._logged = threading.Condition()
        self._timer = threading.Timer(LIMIT, self.process.kill)
        self._timer.start()
        self._reader = threading.Thread(target=self._read_log)
        self._reader.start()

    def _read_log(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._logged:
                self.log.append(line.decode().rstrip("\n"))
                self._logged.notify_all()

    def wait_ready(self) -> Node:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            text = line.decode().rstrip("\n")
            if text == "ready":
                return self
            self.table.append(text)
        self.wait()
        raise AssertionError(f"never ready: {self.table} {self.log}")

    def wait_logged(self, words: str) -> None:
        with self._logged:
            assert self._logged.wait_for(lambda: any(words in line for line in self.log), LIMIT), (
                self.log
            )

    def address(self, scheme: str = "tcp") -> tuple[str, int]:
        found = re.search(rf"{scheme}://([\d.]+):(\d+)", "\n".join(self.table))
        assert found is not None, self.table
        return found[1], int(found[2])

    def connect(self) -> socket.socket:
        return socket.create_connection(self.address(), timeout=LIMIT)

    def signal(self, signum: int) -> None:
        self.process.send_signal(signum)

    def wait(self) -> int:
        status = self.process.wait(LIMIT)
        self._timer.cancel()
        self._reader.join(LIMIT)
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()
        return status

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.wait()


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Callable[..., Node]]:
    """Start nodes; whatever still runs at the end is killed."""
    nodes: list[Node] = []

    def start(
        text: str, *options: str, ready: bool = True, stdout: int | IO[bytes] = subprocess.PIPE
    ) -> Node:
        (tmp_path / "sennit.toml").write_text(text)
        node = Node("up", *options, cwd=tmp_path, stdout=stdout)
        nodes.append(node)
        return node.wait_ready() if ready else node

    yield start
    for node in nodes:
        node.close()


def echoed(sock: socket.socket, data: bytes) -> bytes:
    sock.sendall(data)
    received = b""
    while len(received) < len(data):
        piece = sock.recv(65536)
        if not piece:
            break
        received += piece
    return received


# ── up and down ───────────────────────────────────────────────────────────────


def test_a_node_says_where_it_is_and_what_to_try(up: Callable[..., Node]) -> None:
    node = up(ECHO + '[service.local]\ntype = "echo"\nlisten = ["unix:local.sock"]\n')

    host, port = node.address()
    first, second = (line.split() for line in node.table)
    assert first == ["echo", "echo", f"tcp://{host}:{port}", "nc", host, str(port)]
    assert second[:2] == ["local", "echo"]
    assert second[2].endswith("/local.sock")
    with node.connect() as sock:
        assert echoed(sock, b"hello\n") == b"hello\n"


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_status_0(up: Callable[..., Node], signum: int) -> None:
    """HARDENING fault-4: listeners closed, exit 0."""
    node = up(ECHO + '[service.local]\ntype = "echo"\nlisten = ["unix:local.sock"]\n')
    address = node.address()

    node.signal(signum)

    assert node.wait() == 0
    assert not any("Traceback" in line for line in node.log), node.log
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address, timeout=LIMIT)
    cwd = Path(str(node.process.args[-1]))  # type: ignore[index]  # a list, as given above
    assert not (cwd / "local.sock").exists()


def test_what_came_before_the_signal_still_goes_back(up: Callable[..., Node]) -> None:
    node = up(ECHO)

    with node.connect() as sock:
        assert echoed(sock, b"before") == b"before"
        node.signal(signal.SIGTERM)
        assert sock.recv(100) == b""

    assert node.wait() == 0


def stuck(node: Node) -> socket.socket:
    """A connection that cannot end by itself: its peer sends, and never reads."""
    sock = node.connect()
    sock.setblocking(False)
    sent = 0
    try:
        while sent < 64 * 1024 * 1024:
            sent += sock.send(b"x" * 65536)
            time.sleep(0)
    except BlockingIOError:
        pass
    # Full in our direction; the server has more to write than the kernel takes.
    return sock


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_it_at_once(up: Callable[..., Node], signum: int) -> None:
    """HARDENING fault-5: exit code 128+n."""
    node = up(ECHO)
    with stuck(node):
        node.signal(signal.SIGTERM)
        node.wait_logged("SIGTERM: no new connections")

        assert signalled_until_it_ends(node, signum) == 128 + signum


def signalled_until_it_ends(node: Node, signum: int) -> int:
    deadline = time.monotonic() + LIMIT
    while node.process.poll() is None and time.monotonic() < deadline:
        # The first ones come within the moment in which they count as one signal.
        node.signal(signum)
        try:
            node.process.wait(0.05)
        except subprocess.TimeoutExpired:
            continue
    return node.wait()


def test_a_connection_that_does_not_end_is_aborted_when_the_time_is_over(
    up: Callable[..., Node],
) -> None:
    """HARDENING, defaults 26."""
    node = up(ECHO, "--drain", "0.2")
    with stuck(node):
        begun = time.monotonic()
        node.signal(signal.SIGTERM)

        assert node.wait() == 0
        assert time.monotonic() - begun < 10


HANGS = """
from sennit.core.plugin import ServicePlugin
from sennit.core.service.config import Listen, ServiceConfig, listen_on
from sennit.core.service.tree import Service

class Config(ServiceConfig, frozen=True, kw_only=True):
    listen: list[Listen] = listen_on("tcp://127.0.0.1:0")

class Hangs(Service):
    def close_doors(self, drain):
        print("hangs", flush=True)
        while True:
            pass

it = ServicePlugin("hangs", "Hang", config=Config, build=lambda config, context: Hangs("h"))
"""


@pytest.fixture
def hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service type that keeps the loop from turning once it is to end."""
    folder = tmp_path / "plugins"
    info = folder / "x_hangs-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: x-hangs\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[sennit.services]\nhangs = x_hangs:it\n")
    (folder / "x_hangs.py").write_text(HANGS)
    monkeypatch.setenv("PYTHONPATH", str(folder))


@pytest.mark.usefixtures("hangs")
def test_a_second_signal_ends_even_a_loop_that_does_not_turn(up: Callable[..., Node]) -> None:
    """HARDENING fault-5."""
    node = up('[service.h]\ntype = "hangs"\n')
    node.signal(signal.SIGTERM)
    assert node.process.stdout is not None
    assert node.process.stdout.readline() == b"hangs\n"

    assert signalled_until_it_ends(node, signal.SIGINT) == 130


@pytest.mark.usefixtures("hangs")
def test_a_loop_that_does_not_turn_is_ended_when_the_time_is_over(
    up: Callable[..., Node], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """HARDENING, defaults 26: finish within the limit, then abort."""
    (tmp_path / "plugins/sitecustomize.py").write_text(
        "import sennit.core.service.runner as runner\nrunner.LEFTOVER = 0.1\n"
    )
    node = up('[service.h]\ntype = "hangs"\n', "--drain", "0.1")
    node.signal(signal.SIGTERM)

    assert node.wait() == 1
    assert node.log[-1] == "sennit: did not end in time; the loop does not turn"


def test_one_service_runs_from_options(tmp_path: Path) -> None:
    node = Node("echo", "--listen", "tcp://127.0.0.1:0", cwd=tmp_path)
    try:
        node.wait_ready()
        with node.connect() as sock:
            assert echoed(sock, b"x") == b"x"
        node.signal(signal.SIGTERM)
        assert node.wait() == 0
    finally:
        node.close()


@pytest.fixture
def authority(tmp_path: Path) -> trustme.CA:
    """Who has signed the certificate of 127.0.0.1 in ``cert.pem`` and ``key.pem``."""
    made = trustme.CA(key_type=trustme.KeyType.ECDSA)
    leaf = made.issue_cert("127.0.0.1", key_type=trustme.KeyType.ECDSA)
    (tmp_path / "cert.pem").write_bytes(b"".join(each.bytes() for each in leaf.cert_chain_pems))
    leaf.private_key_pem.write_to_path(tmp_path / "key.pem")
    return made


ECHO_TLS = """
[tls.main]
certificate = "cert.pem"
key = "key.pem"

[service.echo]
type = "echo"
listen = [{url = "tls://127.0.0.1:0", tls = "main"}]
"""


def test_a_service_is_offered_over_tls(up: Callable[..., Node], authority: trustme.CA) -> None:
    node = up(ECHO_TLS)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(context)
    raw = socket.create_connection(node.address("tls"), timeout=LIMIT)
    with context.wrap_socket(raw, server_hostname="127.0.0.1") as sock:
        assert echoed(sock, b"hush") == b"hush"
        node.signal(signal.SIGTERM)
        assert sock.recv(1) == b""
    assert node.wait() == 0
    assert not any("ERROR" in line for line in node.log)


def test_an_idle_connection_is_closed(up: Callable[..., Node]) -> None:
    node = up(ECHO + "idle = 0.05\n")

    with node.connect() as sock:
        assert echoed(sock, b"x") == b"x"
        assert sock.recv(1) == b""


def test_a_service_manager_that_asked_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, up: Callable[..., Node]
) -> None:
    """sd_notify(3)."""
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(path)
        manager.settimeout(LIMIT)
        monkeypatch.setenv("NOTIFY_SOCKET", path)
        node = up(ECHO)
        assert manager.recv(100) == b"READY=1\nSTATUS=serving"
        node.signal(signal.SIGTERM)
        assert manager.recv(100) == b"STOPPING=1"
        assert node.wait() == 0


# ── nothing half-started ──────────────────────────────────────────────────────


def test_a_port_in_use_leaves_nothing_half_started(up: Callable[..., Node], tmp_path: Path) -> None:
    """HARDENING fault-19."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        node = up(
            '[service.first]\ntype = "echo"\nlisten = ["unix:first.sock"]\n'
            f'[service.second]\ntype = "echo"\nlisten = ["tcp://127.0.0.1:{port}"]\n',
            ready=False,
        )

        assert node.wait() == 2

    assert "\n".join(node.log) == (
        "sennit: sennit.toml:6: [service.second] listen[0]: "
        f'found "tcp://127.0.0.1:{port}", which is in use: another program listens there; '
        "end that one, or choose another port"
    )
    assert not (tmp_path / "first.sock").exists()


def test_starting_twice_names_every_place_that_is_taken(
    up: Callable[..., Node], tmp_path: Path
) -> None:
    """HARDENING fault-19: start twice."""
    with (
        socket.create_server(("127.0.0.1", 0)) as one,
        socket.create_server(("::1", 0), family=socket.AF_INET6) as two,
    ):
        text = (
            '[service.a]\ntype = "echo"\n'
            f'listen = ["tcp://127.0.0.1:{one.getsockname()[1]}", "tcp://127.0.0.1:0"]\n'
            f'[service.b]\ntype = "echo"\nlisten = ["tcp://[::1]:{two.getsockname()[1]}"]\n'
        )
        node = up(text, ready=False)
        assert node.wait() == 2

    assert node.log[0] == "sennit: 2 problems"
    assert [line.partition(" found")[0] for line in node.log[1:]] == [
        "  sennit.toml:3: [service.a] listen[0]:",
        "  sennit.toml:6: [service.b] listen[0]:",
    ]


def test_a_unix_socket_that_is_served_is_not_taken_away(
    up: Callable[..., Node], tmp_path: Path
) -> None:
    """HARDENING fault-19: a stale socket is replaced only when dead."""
    text = '[service.local]\ntype = "echo"\nlisten = ["unix:local.sock"]\n'
    first = up(text)
    second = up(text, ready=False)

    assert second.wait() == 2
    assert "which is in use" in second.log[0]
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(LIMIT)
        sock.connect(str(tmp_path / "local.sock"))
        assert echoed(sock, b"still there") == b"still there"

    first.process.kill()
    first.wait()
    assert (tmp_path / "local.sock").exists()
    third = up(text)
    third.signal(signal.SIGTERM)
    assert third.wait() == 0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (ECHO + "idel = 1\n", "sennit.toml:4: [service.echo] idel: found an unknown key"),
        (ECHO + 'idle = "x"\n', "sennit.toml:4: [service.echo] idle: expected a number"),
        ('[service.n]\ntype = "gopher"\n', 'type: found "gopher"'),
        (ECHO + "[", "sennit.toml:4: not TOML"),
        (
            '[service.s]\ntype = "echo"\nlisten = [{url = "tls://127.0.0.1:0", tls = "x"}]\n',
            "sennit.toml:3: [service.s] listen[0].tls",
        ),
        (ECHO + '[tls.m]\ncertificate = "c.pem"\nkey = "k.pem"\n', "sennit.toml:5: [tls.m]"),
    ],
)
def test_a_broken_file_gives_one_message_and_status_2(
    up: Callable[..., Node], text: str, words: str
) -> None:
    node = up(text, ready=False)

    assert node.wait() == 2
    assert words in "\n".join(node.log)
    assert not any("Traceback" in line for line in node.log)


# ── output nobody reads ───────────────────────────────────────────────────────


def test_a_full_standard_output_stops_nothing(up: Callable[..., Node], tmp_path: Path) -> None:
    """HARDENING fault-14: the server goes on."""
    reading, writing = os.pipe()
    try:
        os.set_blocking(writing, False)
        try:
            while True:
                os.write(writing, b"x" * 65536)
        except BlockingIOError:
            pass
        os.set_blocking(writing, True)
        node = up(
            '[service.local]\ntype = "echo"\nlisten = ["unix:local.sock"]\n',
            ready=False,
            stdout=writing,
        )
        with connect_when_there(tmp_path / "local.sock") as sock:
            assert echoed(sock, b"serves") == b"serves"
        node.signal(signal.SIGTERM)
        assert node.wait() == 0
    finally:
        os.close(reading)
        os.close(writing)


def connect_when_there(path: Path) -> socket.socket:
    """Its `ready` cannot be read, so all that is left is to try."""
    deadline = time.monotonic() + LIMIT
    while True:
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(LIMIT)
        try:
            sock.connect(str(path))
        except OSError:
            sock.close()
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return sock


def test_output_into_a_closed_pipe_is_no_error(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [*SENNIT, "services"],
            stdout=writing,
            stderr=subprocess.PIPE,
            timeout=LIMIT,
            check=False,
            cwd=tmp_path,
        )
    finally:
        os.close(writing)

    assert done.stderr == b""


# ── new ───────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("options", [[], ["--service", "dns"]])
def test_a_new_node_works_as_it_stands(tmp_path: Path, options: list[str]) -> None:
    subprocess.run(
        [*SENNIT, "new", "n", *options],
        cwd=tmp_path,
        check=True,
        timeout=LIMIT,
        capture_output=True,
    )
    file = tmp_path / "n/sennit.toml"
    # The file's own ports are fixed; a test takes what is free.
    file.write_text(re.sub(r"((?:tcp|udp)://127\.0\.0\.1:)\d+", r"\g<1>0", file.read_text()))

    node = Node("up", str(file), cwd=tmp_path)
    try:
        node.wait_ready()
        node.signal(signal.SIGTERM)
        assert node.wait() == 0
    finally:
        node.close()


# ── the demo ──────────────────────────────────────────────────────────────────


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Node]:
    """The demo node, on free ports, its probes at a Unix socket."""
    pytest.importorskip("sennit.web.plugin", exc_type=ImportError)
    folder = tmp_path / "node"
    shutil.copytree(ROOT / "examples/node", folder, ignore=shutil.ignore_patterns("run"))
    file = folder / "sennit.toml"
    text = file.read_text().replace("tcp://127.0.0.1:9090", "unix:probe.sock")
    file.write_text(re.sub(r"((?:tcp|udp)://127\.0\.0\.1:)\d+", r"\g<1>0", text))
    (folder / "public/large.bin").write_bytes(os.urandom(1 << 20) * 32)
    node = Node("up", str(file), cwd=tmp_path)
    try:
        yield node.wait_ready()
    finally:
        node.close()


def port_of(node: Node, name: str) -> int:
    for line in node.table:
        if line.startswith(name):
            found = re.search(r"://127\.0\.0\.1:(\d+)", line)
            assert found is not None
            return int(found[1])
    raise AssertionError(node.table)


@pytest.mark.interop
@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_gets_the_demos_page_and_a_range(demo: Node) -> None:
    url = f"http://127.0.0.1:{port_of(demo, 'site')}"

    page = subprocess.run(
        ["curl", "-sS", f"{url}/"], capture_output=True, timeout=LIMIT, check=True
    )
    part = subprocess.run(
        ["curl", "-sS", "-r", "0-4", f"{url}/hello.txt"],
        capture_output=True,
        timeout=LIMIT,
        check=True,
    )

    assert page.stdout == (ROOT / "examples/node/public/index.html").read_bytes()
    assert part.stdout == b"Hello"


@pytest.mark.interop
@pytest.mark.skipif(shutil.which("nc") is None, reason="nc is not installed")
def test_nc_echoes(demo: Node) -> None:
    with subprocess.Popen(
        ["nc", "127.0.0.1", str(port_of(demo, "echo"))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as nc:
        assert nc.stdin is not None
        assert nc.stdout is not None
        nc.stdin.write(b"hello\n")
        nc.stdin.flush()
        assert nc.stdout.readline() == b"hello\n"
        nc.kill()


def test_the_demo_echoes_datagrams(demo: Node) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(LIMIT)
        (second,) = re.findall(r"^echo .*\n +udp://127\.0\.0\.1:(\d+)", "\n".join(demo.table), re.M)
        sock.connect(("127.0.0.1", int(second)))
        sock.send(b"hello")
        assert sock.recv(100) == b"hello"


def test_the_demo_answers_dns_over_udp_tcp_and_https(demo: Node) -> None:
    line = next(number for number, each in enumerate(demo.table) if each.startswith("names"))
    udp, tcp = (int(re.findall(r":(\d+)", each)[0]) for each in demo.table[line : line + 2])
    label = b"".join(bytes((len(each),)) + each for each in (b"www", b"demo", b"example"))
    query = bytes.fromhex("2a2a01000001000000000000") + label + bytes.fromhex("0000010001")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(LIMIT)
        sock.connect(("127.0.0.1", udp))
        sock.send(query)
        answer = sock.recv(1000)
    with socket.create_connection(("127.0.0.1", tcp), timeout=LIMIT) as sock:
        sock.sendall(len(query).to_bytes(2, "big") + query)
        piece = sock.recv(1000)
    request = urllib.request.Request(
        f"http://127.0.0.1:{port_of(demo, 'site')}/dns-query",
        data=query,
        headers={"content-type": "application/dns-message"},
    )
    with urllib.request.urlopen(request, timeout=LIMIT) as response:
        content = response.read()
    # An alias and the address that it leads to.
    assert answer[:8] == query[:2] + bytes.fromhex("858000010002")
    assert answer.endswith(socket.inet_aton("192.0.2.80"))
    assert (piece[2:], content) == (answer, answer)


@pytest.mark.interop
@pytest.mark.skipif(shutil.which("dig") is None, reason="dig is not installed")
@pytest.mark.parametrize(
    ("name", "rdtype", "words"),
    [
        ("web.demo.example", "AAAA", "2001:db8::80"),
        ("who.people.demo.example", "A", "192.0.2.90"),
        ("host-7.demo.example", "A", "192.0.2.7"),
        ("_submission._tcp.demo.example", "SRV", "0 5 587 mail.demo.example."),
        ("web.demo.example", "HTTPS", '1 . alpn="h2"'),
        ("localhost", "A", "127.0.0.1"),
    ],
)
def test_dig_gets_what_the_demos_zone_has(demo: Node, name: str, rdtype: str, words: str) -> None:
    server = ["@127.0.0.1", "-p", str(port_of(demo, "names"))]
    for program in (["dig"], [*SENNIT, "dig"]):
        found = subprocess.run(
            [*program, *server, name, rdtype, "+short"],
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=True,
        )
        assert found.stdout == words + "\n"


@pytest.mark.interop
@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_demo_gives_the_sites_files_by_ftp(demo: Node) -> None:
    url = f"ftp://127.0.0.1:{port_of(demo, 'files')}/hello.txt"
    for program in (["curl", "-sS", url], [*SENNIT, "ftp", "get", url, "-"]):
        found = subprocess.run(program, capture_output=True, timeout=LIMIT, check=True)
        assert found.stdout == (ROOT / "examples/node/public/hello.txt").read_bytes()


def test_the_demo_keeps_what_is_posted(demo: Node, tmp_path: Path) -> None:
    url = f"nntp://127.0.0.1:{port_of(demo, 'groups')}/"

    def news(*arguments: str) -> str:
        return subprocess.run(
            [*SENNIT, "news", *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=True,
        ).stdout

    (tmp_path / "post.txt").write_text(
        "From: ann@example.org\nNewsgroups: local.test\nSubject: First\n\nHello.\n"
    )
    news("post", url, str(tmp_path / "post.txt"))
    assert "local.announce" in news("list", url)
    assert "First" in news("read", url, "local.test")
    assert (tmp_path / "node/run/news.db").exists()


def test_the_demo_tells_what_to_try_with_each_service(demo: Node) -> None:
    table = "\n".join(demo.table)
    for words in (
        r"^site +web +http://127\.0\.0\.1:(\d+) +curl http://127\.0\.0\.1:\1/$",
        r"^echo +echo +tcp://127\.0\.0\.1:(\d+) +nc 127\.0\.0\.1 \1$",
        r"^ +udp://127\.0\.0\.1:(\d+) +nc -u 127\.0\.0\.1 \1$",
        r"^names +dns +udp://127\.0\.0\.1:(\d+) +sennit dig @127\.0\.0\.1 -p \1 demo\.example",
        r"^files +ftp +ftp://127\.0\.0\.1:(\d+) +sennit ftp ls ftp://127\.0\.0\.1:\1/$",
        r"^groups +news +nntp://127\.0\.0\.1:(\d+) +sennit news list nntp://127\.0\.0\.1:\1/$",
        r"^socks +socks +tcp://127\.0\.0\.1:(\d+) +curl --socks5-hostname 127\.0\.0\.1:\1 ",
    ):
        assert re.search(words, table, re.MULTILINE), table


def test_the_demo_is_asked_how_it_is_and_told_to_end(demo: Node, tmp_path: Path) -> None:
    def ask(command: str, *options: str) -> str:
        file = str(tmp_path / "node/sennit.toml")
        return subprocess.run(
            [*SENNIT, command, file, *options],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=True,
        ).stdout

    shown = ask("status")
    for name in ("site", "echo", "socks"):
        assert re.search(rf"^{name} +\w+ +running", shown, re.MULTILINE), shown
    with demo.connect() as sock:
        sock.settimeout(LIMIT)
        assert "127.0.0.1" in ask("connections", "--service", "echo")
    assert ask("drain") == "the node ends\n"
    assert demo.wait() == 0
    assert not (tmp_path / "node/run/admin.sock").exists()


def test_probes_of_the_demo_are_answered(demo: Node, tmp_path: Path) -> None:
    def get(path: str) -> bytes:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(LIMIT)
            sock.connect(str(tmp_path / "node/probe.sock"))
            sock.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
            received = b""
            while piece := sock.recv(65536):
                received += piece
        return received

    assert get("/livez").startswith(b"HTTP/1.1 200 ")
    assert get("/readyz").startswith(b"HTTP/1.1 200 ")
    assert b"sennit_connections_active" in get("/metrics")


def test_a_download_under_way_finishes_after_the_signal(demo: Node, tmp_path: Path) -> None:
    """HARDENING fault-4: requests in flight are finished."""
    expected = (tmp_path / "node/public/large.bin").read_bytes()
    with socket.create_connection(("127.0.0.1", port_of(demo, "site")), timeout=LIMIT) as sock:
        sock.sendall(b"GET /large.bin HTTP/1.1\r\nHost: x\r\n\r\n")
        received = bytearray(sock.recv(65536))
        demo.signal(signal.SIGTERM)
        demo.wait_logged("SIGTERM: no new connections")
        while piece := sock.recv(65536):
            received += piece

    head, _, body = bytes(received).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert body == expected
    assert demo.wait() == 0


def test_the_demo_checks() -> None:
    pytest.importorskip("sennit.web.plugin", exc_type=ImportError)
    subprocess.run(
        [*SENNIT, "check", str(ROOT / "examples/node/sennit.toml")],
        check=True,
        timeout=LIMIT,
        capture_output=True,
    )
