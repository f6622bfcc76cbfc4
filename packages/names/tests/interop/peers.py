"""Real DNS programs: servers on loopback with configurations made for a test, and the tools.

A server is started by a method of `Peers` (the fixture ``peers``), waits until it answers, and
ends with the test, by the id of its process. A program that is not installed skips the test,
with the reason.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import pytest

from sennit.core.testing.loopback import free_port

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

__all__ = [
    "Daemon",
    "Peers",
    "Response",
    "Row",
    "ask",
    "delv",
    "dig",
    "drill",
    "kdig",
    "nsupdate",
    "program",
    "read_response",
    "run_tool",
]

_PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


def program(name: str) -> str:
    """Where a program is; the test is skipped where it is not."""
    found = shutil.which(name, path=_PATH)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


@dataclass
class Daemon:
    """A server that runs.

    Attributes:
        name: The program.
        host: Where it listens, over UDP and TCP.
        port: Its port there.
        folder: Its files: configuration, zones, what it printed (``output``).
        process: It itself.
        control: Port of its control channel (named: rndc, with ``rndc.conf`` in `folder`), or 0.
    """

    name: str
    host: str
    port: int
    folder: Path
    process: subprocess.Popen[bytes]
    control: int = 0

    @property
    def output(self) -> str:
        """What it has printed so far."""
        return (self.folder / "output").read_text(errors="replace")

    def memory(self) -> int:
        """Octets that it and its children keep resident."""
        total = 0
        for pid in (self.process.pid, *_children(self.process.pid)):
            with suppress(OSError), open(f"/proc/{pid}/smaps_rollup") as lines:
                total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
        return total * 1024

    def reload(self) -> None:
        """Make it read its files again (SIGHUP)."""
        self.process.send_signal(signal.SIGHUP)

    def rndc(self, *words: str) -> str:
        """Tell named something over its control channel, and give what it said."""
        return run_tool("rndc", "-c", str(self.folder / "rndc.conf"), *words)

    def stop(self, kind: int = signal.SIGTERM) -> None:
        """End it, and wait until it has ended."""
        if self.process.poll() is None:
            self.process.send_signal(kind)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(10)


def _children(pid: int) -> list[int]:
    with suppress(OSError), open(f"/proc/{pid}/task/{pid}/children") as file:
        return [int(each) for each in file.read().split()]
    return []


@dataclass
class Peers:
    """Starts servers, each in a folder of its own beneath `folder`, and ends them."""

    folder: Path
    running: list[Daemon] = field(default_factory=list[Daemon])

    def named(
        self,
        zones: Mapping[str, Path | str] | None = None,
        *,
        options: str = "",
        zone_options: str = "",
        extra: str = "",
        host: str = "127.0.0.1",
        port: int = 0,
        answers: str | None = None,
    ) -> Daemon:
        """BIND.

        Args:
            zones: Files of zones that it is primary of, or their text, by origin.
            options: More of the ``options`` block.
            zone_options: More of each zone's block: ``allow-update { any; };``.
            extra: More of the file: keys, zones of other kinds.
            host: Address.
            port: Port; 0 for a free one.
            answers: Name whose SOA is asked for until there is an answer; the first zone's
                origin when left out, or the root.
        """
        folder = self._folder("named")
        control = free_port(host)
        secret = "c2VjcmV0c2VjcmV0c2VjcmV0"
        key = f'key "rndc" {{ algorithm hmac-sha256; secret "{secret}"; }};\n'
        (folder / "rndc.conf").write_text(
            f'{key}options {{ default-key "rndc"; default-server {host};\n'
            f"default-port {control}; }};\n"
        )
        blocks = "".join(
            f'zone "{origin}" {{ type primary; file "{path}"; {zone_options} }};\n'
            for origin, path in self._zone_files(folder, zones).items()
        )
        port = port or free_port(host)
        (folder / "named.conf").write_text(
            f"{key}"
            f'controls {{ inet {host} port {control} allow {{ any; }} keys {{ "rndc"; }}; }};\n'
            f'options {{ directory "{folder}"; pid-file none; session-keyfile none;\n'
            f"listen-on port {port} {{ {host}; }}; listen-on-v6 {{ none; }};\n"
            "allow-transfer { any; }; notify no; minimal-responses no;\n"
            + ("" if "recursion" in options else "recursion no;\n")
            + ("" if "dnssec-validation" in options else "dnssec-validation no;\n")
            + f"{options} }};\n{blocks}{extra}\n"
        )
        return self._start(
            "named",
            [program("named"), "-g", "-n", "1", "-c", str(folder / "named.conf")],
            folder,
            host,
            port,
            answers or next(iter(zones or {}), "."),
            control=control,
        )

    def nsd(
        self,
        zones: Mapping[str, Path | str] | None = None,
        *,
        server: str = "",
        zone_options: str = "",
        extra: str = "",
        host: str = "127.0.0.1",
        port: int = 0,
        answers: str | None = None,
    ) -> Daemon:
        """NSD; arguments as in `named` (`server`: more of the ``server:`` clause)."""
        folder = self._folder("nsd")
        blocks = "".join(
            f'zone:\n name: "{origin}"\n zonefile: "{path}"\n'
            f" provide-xfr: 127.0.0.0/8 NOKEY\n{zone_options}\n"
            for origin, path in self._zone_files(folder, zones).items()
        )
        port = port or free_port(host)
        (folder / "nsd.conf").write_text(
            f'server:\n ip-address: {host}@{port}\n port: {port}\n do-ip6: no\n username: ""\n'
            f' chroot: ""\n zonesdir: "{folder}"\n pidfile: "{folder}/nsd.pid"\n'
            f' xfrdfile: "{folder}/xfrd.state"\n zonelistfile: "{folder}/zone.list"\n'
            f' xfrdir: "{folder}"\n database: ""\n rrl-ratelimit: 0\n hide-version: yes\n'
            f"{server}\nremote-control:\n control-enable: no\n{blocks}{extra}\n"
        )
        return self._start(
            "nsd",
            [program("nsd"), "-d", "-c", str(folder / "nsd.conf")],
            folder,
            host,
            port,
            answers or next(iter(zones or {}), "."),
        )

    def knotd(
        self,
        zones: Mapping[str, Path | str] | None = None,
        *,
        server: str = "",
        zone_options: str = "",
        extra: str = "",
        host: str = "127.0.0.1",
        port: int = 0,
        answers: str | None = None,
    ) -> Daemon:
        """Knot DNS; arguments as in `named`."""
        folder = self._folder("knotd")
        (folder / "db").mkdir()  # where journals are: it makes none by itself
        blocks = "".join(
            f'  - domain: "{origin}"\n    file: "{path}"\n    acl: open\n'
            f"    semantic-checks: off\n{zone_options}"
            for origin, path in self._zone_files(folder, zones).items()
        )
        port = port or free_port(host)
        (folder / "knot.conf").write_text(
            f'server:\n    listen: "{host}@{port}"\n    rundir: "{folder}"\n    udp-workers: 1\n'
            f"    tcp-workers: 1\n    background-workers: 1\n{server}"
            f'database:\n    storage: "{folder}/db"\n'
            "acl:\n  - id: open\n    action: [transfer, notify, update]\n"
            f"{extra}\nzone:\n{blocks}"
        )
        return self._start(
            "knotd",
            [program("knotd"), "-c", str(folder / "knot.conf")],
            folder,
            host,
            port,
            answers or next(iter(zones or {}), "."),
        )

    def unbound(
        self,
        *,
        server: str = "",
        extra: str = "",
        host: str = "127.0.0.1",
        port: int = 0,
        answers: str = "localhost",
    ) -> Daemon:
        """Unbound, a resolver that asks loopback addresses too.

        Args:
            server: More of the ``server:`` clause.
            extra: More clauses: ``stub-zone:``, ``forward-zone:``.
            host: Address.
            port: Port; 0 for a free one.
            answers: Name that is asked for until there is an answer.
        """
        folder = self._folder("unbound")
        port = port or free_port(host)
        (folder / "unbound.conf").write_text(
            f'server:\n interface: {host}@{port}\n port: {port}\n do-ip6: no\n username: ""\n'
            f' chroot: ""\n directory: "{folder}"\n pidfile: "{folder}/unbound.pid"\n'
            f" use-syslog: no\n do-daemonize: no\n num-threads: 1\n do-not-query-localhost: no\n"
            f" access-control: 127.0.0.0/8 allow\n verbosity: 1\n{server}\n"
            f"remote-control:\n control-enable: no\n{extra}\n"
        )
        return self._start(
            "unbound",
            [program("unbound"), "-d", "-p", "-c", str(folder / "unbound.conf")],
            folder,
            host,
            port,
            answers,
        )

    def stop(self) -> None:
        """End all that run."""
        while self.running:
            self.running.pop().stop()

    def _folder(self, name: str) -> Path:
        folder = self.folder / f"{name}-{len(self.running)}-{time.monotonic_ns() % 10**9}"
        folder.mkdir()
        return folder

    def _zone_files(self, folder: Path, zones: Mapping[str, Path | str] | None) -> dict[str, Path]:
        found: dict[str, Path] = {}
        for number, (origin, zone) in enumerate((zones or {}).items()):
            if isinstance(zone, str):
                path = folder / f"{number}.zone"
                path.write_text(zone)
                found[origin] = path
            else:
                found[origin] = zone
        return found

    def _start(
        self,
        name: str,
        command: list[str],
        folder: Path,
        host: str,
        port: int,
        answers: str,
        *,
        control: int = 0,
    ) -> Daemon:
        with (folder / "output").open("wb") as output:
            process = subprocess.Popen(
                command, cwd=folder, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
        daemon = Daemon(name, host, port, folder, process, control)
        self.running.append(daemon)
        deadline = time.monotonic() + 30
        while process.poll() is None and time.monotonic() < deadline:
            answer = ask(answers, 6, host, port, timeout=0.2)
            if answer is not None and answer[3] & 0xF in (0, 3, 5):
                return daemon
        daemon.stop()
        raise AssertionError(f"{name} does not answer:\n{daemon.output[-4000:]}")


def ask(
    name: str, rdtype: int, host: str, port: int, *, timeout: float = 2.0, flags: int = 0x0100
) -> bytes | None:
    """Send a plain query over UDP and give the octets of the answer; ``None`` for none in time."""
    labels = [each.encode() for each in name.rstrip(".").split(".") if each]
    wire = (
        b"\x2a\x2a"
        + flags.to_bytes(2, "big")
        + b"\0\1\0\0\0\0\0\0"
        + b"".join(bytes((len(each),)) + each for each in labels)
        + b"\0"
        + rdtype.to_bytes(2, "big")
        + b"\0\1"
    )
    with socket.socket(_family(host), socket.SOCK_DGRAM) as sock:
        sock.settimeout(timeout)
        sock.connect((host, port))
        try:
            sock.send(wire)
            answer = sock.recv(65535)
        except OSError:
            time.sleep(0.02)  # refused at once while nobody listens yet
            return None
    return answer if answer[:2] == wire[:2] else None


class Row(NamedTuple):
    """A record as tools print it: name in lower case, class IN unless it says otherwise."""

    name: str
    ttl: int
    type: str
    data: str


@dataclass
class Response:
    """What a tool printed of one message.

    Attributes:
        status: ``NOERROR``, ``NXDOMAIN``, …
        flags: ``qr``, ``aa``, …
        answer: Records of the section.
        authority: Records of the section.
        additional: Records of the section, without OPT.
        text: All that was printed.
    """

    status: str
    flags: frozenset[str]
    answer: list[Row]
    authority: list[Row]
    additional: list[Row]
    text: str

    @property
    def data(self) -> list[str]:
        """The data of the answer section's records, sorted."""
        return sorted(each.data for each in self.answer)


_STATUS = re.compile(r"(?:status|rcode): (\w+)")
_FLAGS = re.compile(r"[Ff]lags: ?([a-z ]*);")


def read_response(text: str) -> Response:
    """What dig, kdig or drill printed."""
    status = _STATUS.search(text)
    flags = _FLAGS.search(text)
    sections: dict[str, list[Row]] = {"answer": [], "authority": [], "additional": []}
    current: list[Row] | None = None
    for line in text.splitlines():
        if line.startswith(";;"):
            word = line.strip("; ").split(" ")[0].lower()
            current = sections.get(word) if "SECTION" in line else None
        elif current is not None and line and not line.startswith(";"):
            name, ttl, rdclass, rdtype, *data = line.split(None, 4)
            if rdclass in ("IN", "CH"):
                current.append(Row(name.lower(), int(ttl), rdtype, data[0].strip() if data else ""))
    return Response(
        status[1] if status else "",
        frozenset((flags[1] if flags else "").split()),
        sections["answer"],
        sections["authority"],
        sections["additional"],
        text,
    )


def run_tool(
    name: str,
    *words: str,
    stdin: str = "",
    check: bool = True,
    timeout: float = 20,
    folder: Path | None = None,
) -> str:
    """Run a program, in a folder, and give what it printed, on both outputs."""
    done = subprocess.run(
        [program(name), *words],
        cwd=folder,
        input=stdin.encode(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=timeout,
        check=False,
    )
    text = done.stdout.decode(errors="replace")
    if check and done.returncode:
        raise AssertionError(f"{name} {' '.join(words)}: {done.returncode}\n{text}")
    return text


def dig(
    server: tuple[str, int], name: str, rdtype: str = "A", *words: str, check: bool = True
) -> Response:
    """Ask a server with dig; `words` are such as ``+dnssec`` or ``+tcp``."""
    text = run_tool(
        "dig", "-p", str(server[1]), f"@{server[0]}", "+tries=1", "+time=5", "-q", name,
        "-t", rdtype, *words, check=check,
    )  # fmt: skip
    return read_response(text)


def kdig(server: tuple[str, int], name: str, rdtype: str = "A", *words: str) -> Response:
    """Ask a server with kdig."""
    text = run_tool(
        "kdig", f"@{server[0]}", "-p", str(server[1]), "+retry=0", "+time=5", *words,
        name, rdtype,
    )  # fmt: skip
    return read_response(text)


def drill(server: tuple[str, int], name: str, rdtype: str = "A", *words: str) -> Response:
    """Ask a server with drill."""
    text = run_tool("drill", "-p", str(server[1]), *words, name, f"@{server[0]}", rdtype)
    return read_response(text)


def delv(
    server: tuple[str, int], anchors: Path, root: str, name: str, rdtype: str = "A", *words: str
) -> str:
    """Ask a server with delv, which validates from `root` with the anchors of a file."""
    return run_tool(
        "delv", "-p", str(server[1]), f"@{server[0]}", "-a", str(anchors), f"+root={root}",
        *words, name, rdtype, check=False,
    )  # fmt: skip


def nsupdate(
    server: tuple[str, int], script: Sequence[str], *words: str, check: bool = True
) -> str:
    """Send what nsupdate's commands say; ``server`` and ``send`` are added."""
    lines = [f"server {server[0]} {server[1]}", *script, "send", ""]
    return run_tool("nsupdate", *words, stdin="\n".join(lines), check=check)
