"""Real FTP programs: servers on loopback with configurations made for a test, and clients.

A server is started by a method of `Peers`, greets before the method returns, and ends by the id of
its process. The servers are unpacked, not installed (`tools.peers`), with users of their own, which
the system does not know. A program that is missing skips the test, with the reason.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
import trustme

from sennit.core.testing.loopback import free_port
from tools.peers import unpacked

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = [
    "PASSWORD",
    "SYSTEM_USER",
    "USER",
    "Certificate",
    "Daemon",
    "Peers",
    "program",
    "run_tool",
    "vsftpd_settings",
]

USER: Final = "joe"
PASSWORD: Final = "s3cret pass"
HOST: Final = "127.0.0.1"
SYSTEM_USER: Final = "daemon"
"""Whose the files are on the disk: vsftpd wants a user of the system with a home that exists."""


def program(name: str) -> str:
    """Where an installed program is; the test is skipped where it is not."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def server_program(package: str, path: str) -> Path:
    """Where an unpacked program is; the test is skipped where it is not, or nobody is root."""
    found = unpacked(package, path)
    if found is None:
        pytest.skip(f"{package} is not unpacked ($SENNIT_PEERS)")
    if os.geteuid() != 0:
        pytest.skip(f"{package} lets users in only as root")
    return found


def _hashed() -> str:
    return run_tool("openssl", "passwd", "-6", "-stdin", stdin=PASSWORD).strip()


class Certificate:
    """A certificate for ``localhost`` and 127.0.0.1, and who issued it.

    Attributes:
        chain: File of certificate and key.
        authority: File of who issued it.
    """

    def __init__(self, folder: Path) -> None:
        issuer = trustme.CA()
        made = issuer.issue_cert("localhost", HOST)
        self.chain = folder / "server.pem"
        self.authority = folder / "authority.pem"
        made.private_key_and_cert_chain_pem.write_to_path(str(self.chain))
        issuer.cert_pem.write_to_path(str(self.authority))
        # Debian's servers of this kind refuse a key that others may read.
        self.chain.chmod(0o600)


def vsftpd_settings(
    folder: Path, root: Path, port: int, certificate: Path | None = None, *, implicit: bool = False
) -> str:
    """What vsftpd is told: its anonymous user may write below `root`, not in it.

    Args:
        folder: Where it may have files of its own.
        root: What the user sees.
        port: Where it listens.
        certificate: File of certificate and key: then TLS is required for control and data, and
            data connections must resume the control connection's session.
        implicit: TLS from the first octet on.
    """
    (folder / "empty").mkdir()
    yes = [
        "anonymous_enable", "no_anon_password", "write_enable", "anon_upload_enable",
        "anon_mkdir_write_enable", "anon_other_write_enable", "listen", "pasv_enable",
        "port_enable", "mdtm_write", "utf8_filesystem", "ascii_upload_enable",
        "ascii_download_enable",
    ]  # fmt: skip
    no = [
        "local_enable", "background", "seccomp_sandbox", "isolate", "isolate_network",
        "connect_from_port_20", "xferlog_enable", "anon_world_readable_only",
    ]  # fmt: skip
    other = {
        "listen_port": port,
        "listen_address": HOST,
        "ftp_username": SYSTEM_USER,
        "nopriv_user": "nobody",
        "anon_root": root,
        "secure_chroot_dir": folder / "empty",
        "anon_umask": "022",
        "file_open_mode": "0644",
        "vsftpd_log_file": folder / "log",
        "max_per_ip": 0,
    }
    if certificate is not None:
        yes += ["ssl_enable", "allow_anon_ssl", "force_anon_logins_ssl", "force_anon_data_ssl"]
        yes += ["require_ssl_reuse", "strict_ssl_read_eof"]
        other |= {"rsa_cert_file": certificate, "ssl_ciphers": "HIGH"}
        if implicit:
            yes.append("implicit_ssl")
    return (
        "".join(f"{each}=YES\n" for each in yes)
        + "".join(f"{each}=NO\n" for each in no)
        + "".join(f"{name}={value}\n" for name, value in other.items())
    )


@dataclass
class Daemon:
    """A server that runs.

    Attributes:
        name: The program.
        port: Its port of 127.0.0.1.
        files: A folder where its user may do everything.
        directory: What the user calls it: ``/``, or ``/pub``.
        user: Who may log in.
        password: With what.
        log: File of what it has printed.
        process: It itself.
    """

    name: str
    port: int
    files: Path
    directory: str
    user: str
    password: str
    log: Path
    process: subprocess.Popen[bytes]

    @property
    def output(self) -> str:
        """What it has printed so far."""
        return self.log.read_text(errors="replace")

    def stop(self) -> None:
        """End it, and wait until it has ended."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(5)


@dataclass
class Peers:
    """Starts servers, each in a folder of its own, and ends them.

    The folders lie where users without rights can get at them, which a test's own are not.
    """

    running: list[Daemon] = field(default_factory=list[Daemon])
    folder: Path = field(init=False)

    def __post_init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="sennit-ftp-"))
        self.folder.chmod(0o755)
        self._certificate: Certificate | None = None

    @property
    def certificate(self) -> Certificate:
        """What every server of this object shows."""
        if self._certificate is None:
            self._certificate = Certificate(self.folder)
        return self._certificate

    def vsftpd(self, *, tls: bool = False, implicit: bool = False) -> Daemon:
        """Vsftpd, whose anonymous user may write: any other it knows only from PAM.

        With `tls` it is required for control and data, and sessions must be resumed for data.
        """
        path = server_program("vsftpd", "usr/sbin/vsftpd")
        # The root of an anonymous user must not be writable, so that he gets a folder below it.
        folder, files = self._folders("vsftpd", "root/pub")
        port = free_port()
        certificate = self.certificate.chain if tls or implicit else None
        (folder / "conf").write_text(
            vsftpd_settings(folder, files.parent, port, certificate, implicit=implicit)
        )
        return self._start(
            "vsftpd",
            [path, folder / "conf"],
            folder,
            port,
            files,
            user="ftp",
            directory="/pub",
            greets=not implicit,
        )

    def proftpd(
        self,
        *,
        tls: bool = False,
        implicit: bool = False,
        required: str = "on",
        extra: str = "",
    ) -> Daemon:
        """ProFTPD, with a file of users; `tls` as of `vsftpd`, `extra` more of its settings.

        `required` is what has to pass over TLS where there is any, in its own words.
        """
        path = server_program("proftpd-core", "usr/sbin/proftpd")
        root = path.parents[2]
        modules: list[Path] = []
        for found in (root, root.parent / "proftpd-mod-crypto"):
            modules += (found / "usr/lib/proftpd").glob("*.so")
        folder, files = self._folders("proftpd")
        (folder / "modules").mkdir()
        for each in modules:
            if each.name in ("mod_tls.so", "mod_digest.so"):
                (folder / "modules" / each.name).symlink_to(each)
        system = pwd.getpwnam(SYSTEM_USER)
        ids = f"{system.pw_uid}:{system.pw_gid}"
        (folder / "users").write_text(f"{USER}:{_hashed()}:{ids}::{files}:\n")
        (folder / "users").chmod(0o600)
        port = free_port()
        lines = f"""
            ServerType standalone
            ServerName peer
            DefaultAddress {HOST}
            Port {port}
            UseIPv6 off
            UseReverseDNS off
            User {SYSTEM_USER}
            Group {SYSTEM_USER}
            AuthOrder mod_auth_file.c
            AuthUserFile {folder}/users
            RequireValidShell off
            DefaultRoot ~
            PidFile {folder}/pid
            ScoreboardFile {folder}/scoreboard
            ControlsSocket {folder}/controls
            DelayEngine off
            WtmpLog off
            TransferLog none
            SystemLog {folder}/log
            AllowOverwrite on
            AllowStoreRestart on
            AllowRetrieveRestart on
            MaxInstances 60
            ModulePath {folder}/modules
            LoadModule mod_digest.c
        """
        if tls or implicit:
            lines += f"""
            LoadModule mod_tls.c
            TLSEngine on
            TLSLog {folder}/tls
            TLSRequired {required}
            TLSECCertificateFile {self.certificate.chain}
            TLSECCertificateKeyFile {self.certificate.chain}
            {"TLSOptions UseImplicitSSL" if implicit else ""}
            """
        (folder / "conf").write_text(
            "".join(f"{line.strip()}\n" for line in (lines + extra).splitlines())
        )
        (folder / "conf").chmod(0o600)
        return self._start(
            "proftpd",
            [path, "-n", "-q", "-c", folder / "conf"],
            folder,
            port,
            files,
            greets=not implicit,
        )

    def pure_ftpd(self, *, tls: bool = False, words: Sequence[str] = ()) -> Daemon:
        """Pure-FTPd, with a database of users of its own; `words` are more of its command line."""
        path = server_program("pure-ftpd", "usr/sbin/pure-ftpd")
        folder, files = self._folders("pure-ftpd")
        # Written here, since its own tool has hashes that take two seconds each to make and check.
        system = pwd.getpwnam(SYSTEM_USER)
        line = f"{USER}:{_hashed()}:{system.pw_uid}:{system.pw_gid}::{files}/./{':' * 12}\n"
        (folder / "users").write_text(line)
        pure_pw = str(path.parents[1] / "bin/pure-pw")
        run_tool(pure_pw, "mkdb", str(folder / "pdb"), "-f", str(folder / "users"))
        port = free_port()
        command: list[str | Path] = [
            path, "-S", f"{HOST},{port}", "-l", f"puredb:{folder}/pdb", "-E", "-H", "-4",
            "-g", folder / "pid", "-u", "1", "-A", *words,
        ]  # fmt: skip
        if tls:
            command += ["-Y", "3", "-2", self.certificate.chain]
        return self._start("pure-ftpd", command, folder, port, files)

    def stop(self) -> None:
        """End all that run, and remove their folders."""
        while self.running:
            self.running.pop().stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _folders(self, name: str, root: str = "root") -> tuple[Path, Path]:
        folder = self.folder / f"{name}-{len(self.running)}"
        folder.mkdir()
        files = folder / root
        files.mkdir(parents=True)
        system = pwd.getpwnam(SYSTEM_USER)
        os.chown(files, system.pw_uid, system.pw_gid)
        return folder, files

    def _start(
        self,
        name: str,
        command: Sequence[str | Path],
        folder: Path,
        port: int,
        files: Path,
        *,
        user: str = USER,
        directory: str = "/",
        greets: bool = True,
    ) -> Daemon:
        log = folder / "output"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [str(each) for each in command],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        daemon = Daemon(name, port, files, directory, user, PASSWORD, log, process)
        self.running.append(daemon)
        deadline = time.monotonic() + 20
        while process.poll() is None and time.monotonic() < deadline:
            try:
                with socket.create_connection((HOST, port), timeout=10) as sock:
                    if not greets or sock.recv(4096).startswith(b"220"):
                        return daemon
            except OSError:
                time.sleep(0.02)  # refused at once while nobody listens yet
        daemon.stop()
        raise AssertionError(f"{name} does not greet:\n{daemon.output[-4000:]}")


def run_tool(
    name: str,
    *words: str,
    stdin: str = "",
    check: bool = True,
    timeout: float = 30,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> str:
    """Run a program, in a folder, and give what it printed, on both outputs."""
    done = subprocess.run(
        [program(name), *words],
        cwd=folder,
        env=os.environ | dict(environment or {}),
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
