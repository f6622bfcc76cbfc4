"""Our server in a process of its own, for clients of others: ``serving.py FOLDER MODE``.

It says its port on a line of its own and serves until it is ended. Modes are ``plain``,
``explicit`` (TLS is required, data connections must resume the session), ``lenient`` (they need
not) and ``implicit``. Those with TLS allow CCC.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from packages.ftp.tests.interop.peers import PASSWORD, USER, Certificate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sennit.core.reactor.base import Reactor


__all__ = ["Served", "serve_in_process"]

ROOT = Path(__file__).resolve().parents[4]


@dataclass
class Served:
    """Our server, as who speaks to it knows it.

    Attributes:
        port: Its port of 127.0.0.1.
        mode: ``plain``, ``explicit``, ``lenient`` or ``implicit``.
        files: What its user sees as root.
        authority: File of who issued its certificate.
    """

    port: int
    mode: str
    files: Path
    authority: Path

    def folder(self, name: str) -> Path:
        """A new folder in its root."""
        made = self.files / name
        made.mkdir()
        return made


def serve_in_process(folder: Path, mode: str) -> Iterator[Served]:
    """Run it; it has to end with nothing said about errors."""
    files = folder / "files"
    files.mkdir()
    certificate = Certificate(folder)
    log = folder / "log"
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, __file__, str(folder), mode],
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=errors,
        )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert line, log.read_text(errors="replace")
        yield Served(int(line), mode, files, certificate.authority)
        process.terminate()
        assert process.wait(10) in (0, -15)
        assert "Traceback" not in log.read_text(errors="replace"), log.read_text(errors="replace")
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def main() -> None:
    """Serve until it is ended."""
    from sennit.core import ServerTLS, run, serve
    from sennit.core.auth.checkers import MemoryUsers
    from sennit.core.auth.portal import Portal
    from sennit.ftp.server import FTPServerFactory
    from sennit.ftp.store.realm import DirectoryRealm

    folder, mode = Path(sys.argv[1]), sys.argv[2]
    tls = None if mode == "plain" else ServerTLS(str(folder / "server.pem"))
    factory = FTPServerFactory(
        Portal(DirectoryRealm(folder / "files", keep_broken=True), [MemoryUsers({USER: PASSWORD})]),
        tls=tls,
        tls_mode="off" if tls is None else "required",
        must_resume=mode != "lenient",
        clear_control=True,
        site=True,
    )
    scheme = "tls" if mode == "implicit" else "tcp"

    async def serve_it(reactor: Reactor) -> None:
        async with serve(f"{scheme}://127.0.0.1:0", factory, tls=tls) as server:
            print(server.port, flush=True)
            await server.wait_closed()

    run(serve_it)


if __name__ == "__main__":
    main()
