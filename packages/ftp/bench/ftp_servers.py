"""Servers of FTP for benchmarks: the peers, and ours; all show the files of `ftp_load.root`.

Each logs nothing. Twisted has no TLS for FTP.
"""

from __future__ import annotations

import logging
import os
import pwd
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftp_load import PASSWORD, USER, root, shared_folder

from packages.ftp.tests.interop.peers import SYSTEM_USER, vsftpd_settings
from tools.benchmark import Benchmark, certificate, main
from tools.peers import unpacked

if TYPE_CHECKING:
    from ftp_load import FTPLoad

    from tools.benchmark import Measure, Ready

__all__ = ["run", "table"]

VSFTPD = str(unpacked("vsftpd", "usr/sbin/vsftpd") or "vsftpd")


def _nothing(descriptor: object) -> None:
    pass


def _pem() -> Path:
    """Certificate and key in one file."""
    chain, key = certificate()
    both = Path(chain).with_name("both.pem")
    if not both.exists():
        part = both.with_suffix(f".{os.getpid()}")
        part.write_bytes(Path(key).read_bytes() + Path(chain).read_bytes())
        part.chmod(0o600)
        part.rename(both)
    return both


def serve_ours(ready: Ready, *, tls: bool) -> None:
    """Ours with its defaults: what is stored is on the disk before it is acknowledged."""
    from sennit.core import Reactor, ServerTLS, serve
    from sennit.core import run as run_reactor
    from sennit.core.auth.checkers import MemoryUsers
    from sennit.core.auth.portal import Portal
    from sennit.ftp.server import FTPServerFactory
    from sennit.ftp.store.realm import DirectoryRealm

    factory = FTPServerFactory(
        Portal(DirectoryRealm(root()), [MemoryUsers({USER: PASSWORD})]),
        tls=ServerTLS(*certificate()) if tls else None,
        tls_mode="required" if tls else "off",
    )

    async def serve_it(reactor: Reactor) -> None:
        async with serve("tcp://127.0.0.1:0", factory) as server:
            ready(server.port)
            await server.wait_closed()

    run_reactor(serve_it)


def serve_pyftpdlib(ready: Ready, *, tls: bool) -> None:
    """Pyftpdlib as its tutorial has it."""
    logging.basicConfig(level=logging.WARNING)
    authorizers: Any = import_module("pyftpdlib.authorizers")
    handlers: Any = import_module("pyftpdlib.handlers")
    servers: Any = import_module("pyftpdlib.servers")
    authorizer = authorizers.DummyAuthorizer()
    authorizer.add_user(USER, PASSWORD, str(root()), perm="elradfmwMT")
    handler = handlers.TLS_FTPHandler if tls else handlers.FTPHandler
    handler.authorizer = authorizer
    if tls:
        handler.certfile = str(_pem())
        handler.tls_control_required = handler.tls_data_required = True
    server = servers.FTPServer(("127.0.0.1", 0), handler)
    server.max_cons = 0
    ready(server.socket.getsockname()[1])
    server.serve_forever()


def serve_twisted(ready: Ready) -> None:
    """Twisted's server, whose users have homes below a folder."""
    from twisted.internet import reactor

    ftp: Any = import_module("twisted.protocols.ftp")
    portal: Any = import_module("twisted.cred.portal")
    checkers: Any = import_module("twisted.cred.checkers")
    users = checkers.InMemoryUsernamePasswordDatabaseDontUse()
    users.addUser(USER, PASSWORD)
    realm = ftp.FTPRealm(str(root()), userHome=str(root().parent))
    # Homes are named as users: ours is the one that all servers show.
    home: Any = import_module("twisted.python.filepath").FilePath(str(root()))

    def home_of(_avatar: object) -> Any:
        return home

    realm.getHomeDirectory = home_of
    factory = ftp.FTPFactory(portal.Portal(realm, [users]))
    factory.allowAnonymous = False
    factory.userAnonymous = "nobody"
    chosen: Any = reactor
    port = chosen.listenTCP(0, factory, interface="127.0.0.1")
    ready(port.getHost().port)
    chosen.run()


def vsftpd_command(port: int, folder: Path, *, tls: bool) -> list[str]:
    """Vsftpd with a process for each session, as it always has."""
    settings = vsftpd_settings(folder, root(), port, _pem() if tls else None)
    (folder / "conf").write_text(settings)
    return [VSFTPD, str(folder / "conf")]


def table(
    name: str,
    load: FTPLoad,
    *,
    tls: bool = False,
    twisted: bool = True,
    vsftpd: bool = True,
    stores: bool = False,
    measure: Measure = "cpu",
) -> Benchmark:
    """Everybody who can do it, ours with its bound to pyftpdlib's.

    Where something is stored, ours is there once more with an ``fsync`` that does nothing: it
    shows what the promise costs, and is no way to run it.
    """
    made = Benchmark(name, load=load, measure=measure, references=("vsftpd", "pyftpdlib"))

    @made.server("sennit")
    def sennit(ready: Ready) -> None:
        serve_ours(ready, tls=tls)

    if stores:

        @made.server("no-fsync")
        def no_fsync(ready: Ready) -> None:
            os.fsync = _nothing  # type: ignore[assignment]  # in this process alone
            serve_ours(ready, tls=tls)

    if vsftpd:

        @made.program("vsftpd", program=VSFTPD)
        def vsftpd_(port: int, folder: Path) -> list[str]:
            return vsftpd_command(port, folder, tls=tls)

    @made.server("pyftpdlib", requires=["pyftpdlib"])
    def pyftpdlib(ready: Ready) -> None:
        serve_pyftpdlib(ready, tls=tls)

    if twisted and not tls:

        @made.server("twisted", requires=["twisted"])
        def twisted_(ready: Ready) -> None:
            serve_twisted(ready)

    if measure == "cpu":
        made.at_most("sennit", 1.0, of="pyftpdlib")
    return made


def run(*benchmarks: Benchmark, many: int = 0) -> None:
    """Run a file's benchmarks with the files there; `many` as of `ftp_load.shared_folder`."""
    system = pwd.getpwnam(SYSTEM_USER)
    with shared_folder((system.pw_uid, system.pw_gid), many):
        main(*benchmarks)
