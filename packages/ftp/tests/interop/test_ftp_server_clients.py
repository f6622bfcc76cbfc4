"""curl, wget, lftp, tnftp, rclone and ftplib against our server, plain and over either TLS."""

from __future__ import annotations

import ftplib
import hashlib
import io
import os
import random
import signal
import socket
import ssl
import struct
import subprocess
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

import pytest

from packages.ftp.tests.interop.peers import PASSWORD, USER, program, run_tool

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from packages.ftp.tests.interop.serving import Served

pytestmark = pytest.mark.interop

BIG: Final = random.Random(1).randbytes(3_000_000)
NAME: Final = "Ünïcode näme €.txt"


def curl(served: Served, path: str, *words: str) -> str:
    """Run curl with a URL of the server; TLS must be there and verified."""
    scheme = "ftps" if served.mode == "implicit" else "ftp"
    url = f"{scheme}://localhost:{served.port}/{quote(path)}"
    command = ["-sS", "--max-time", "20", "-u", f"{USER}:{PASSWORD}"]
    if served.mode != "plain":
        command += ["--ssl-reqd", "--cacert", str(served.authority)]
    return run_tool("curl", *command, *words, url)


def test_curl_gets_and_resumes(served: Served, tmp_path: Path) -> None:
    folder = served.folder("curl-get")
    (folder / "big").write_bytes(BIG)
    target = tmp_path / "big"

    curl(served, f"{folder.name}/big", "-o", str(target))
    assert target.read_bytes() == BIG

    target.write_bytes(BIG[:1_234_567])
    curl(served, f"{folder.name}/big", "-C", "-", "-o", str(target))
    assert target.read_bytes() == BIG

    # A part of it ends with ABOR in mid-transfer.
    curl(served, f"{folder.name}/big", "-r", "1000-2999", "-o", str(target))
    assert target.read_bytes() == BIG[1000:3000]


def test_curl_puts_and_resumes(served: Served, tmp_path: Path) -> None:
    folder = served.folder("curl-put")
    source = tmp_path / "big"
    source.write_bytes(BIG)

    curl(served, f"{folder.name}/new/big", "--ftp-create-dirs", "-T", str(source))
    assert (folder / "new" / "big").read_bytes() == BIG

    (folder / "new" / "big").write_bytes(BIG[:777_777])
    curl(served, f"{folder.name}/new/big", "-C", "-", "-T", str(source))
    assert (folder / "new" / "big").read_bytes() == BIG

    curl(served, f"{folder.name}/new/big", "--append", "-T", str(source))
    assert (folder / "new" / "big").read_bytes() == BIG * 2


def test_curl_lists_renames_and_removes(served: Served) -> None:
    folder = served.folder("curl-names")
    (folder / NAME).write_bytes(b"x" * 12_345)
    (folder / "sub").mkdir()
    (folder / "old").touch()
    (folder / "gone").touch()

    listing = curl(served, f"{folder.name}/")
    names = curl(served, f"{folder.name}/", "--list-only").splitlines()
    line = next(each for each in listing.splitlines() if NAME in each)

    assert line.startswith("-rw")
    assert line.split()[4] == "12345"
    assert sorted(names) == sorted([NAME, "sub", "old", "gone"])

    curl(
        served, f"{folder.name}/", "--list-only",
        "-Q", "-RNFR old", "-Q", f"-RNTO sub/{NAME}", "-Q", "-DELE gone", "-Q", "-MKD made",
        "-Q", "-SITE CHMOD 600 sub",
    )  # fmt: skip
    assert sorted(each.name for each in folder.iterdir()) == sorted([NAME, "sub", "made"])
    assert (folder / "sub" / NAME).exists()


def test_curl_takes_text_and_active_connections(plain: Served, tmp_path: Path) -> None:
    folder = plain.folder("curl-active")
    (folder / "text").write_bytes(b"one\ntwo\n")
    source = tmp_path / "text"
    source.write_bytes(b"three\nfour\n")

    # Over a connection that the server makes, told by EPRT and by PORT; in type A curl takes the
    # CR away again.
    assert curl(plain, f"{folder.name}/text", "-P", "127.0.0.1", "--use-ascii") == "one\ntwo\n"
    assert curl(plain, f"{folder.name}/text", "-P", "-", "--disable-eprt") == "one\ntwo\n"
    assert curl(plain, f"{folder.name}/text", "--disable-epsv") == "one\ntwo\n"
    curl(plain, f"{folder.name}/up", "--use-ascii", "-T", str(source))
    assert (folder / "up").read_bytes() == b"three\nfour\n"


def test_curl_resumes_sessions_of_tls_1_2(explicit: Served) -> None:
    """It wants no tickets there, and offers a session by its id."""
    (explicit.folder("curl-tls") / "small").write_bytes(b"hello\n")

    assert curl(explicit, "curl-tls/small", "--tls-max", "1.2") == "hello\n"


def curl_goes_on(served: Served, source: Path, folder: str) -> None:
    curl(served, f"{folder}/big", "-C", "-", "-T", str(source))


def lftp_goes_on(served: Served, source: Path, folder: str) -> None:
    lftp(served, f'put -c "{source}" -o {folder}/big')


def lftp_mirrors_on(served: Served, source: Path, folder: str) -> None:
    lftp(served, f'mirror -R -c "{source.parent}" {folder}')


@pytest.mark.parametrize("go_on", [curl_goes_on, lftp_goes_on, lftp_mirrors_on])
def test_others_go_on_with_an_upload_that_a_reset_has_cut(
    plain: Served, tmp_path: Path, go_on: Callable[[Served, Path, str], None]
) -> None:
    folder = plain.folder(go_on.__name__)
    (tmp_path / "local").mkdir()
    source = tmp_path / "local" / "big"
    source.write_bytes(BIG)
    with ftplib.FTP() as client:
        client.connect("localhost", plain.port, timeout=20)
        client.login(USER, PASSWORD)
        client.voidcmd("TYPE I")
        data = client.transfercmd(f"STOR {folder.name}/big")
        data.sendall(BIG[:2_000_000])
        data.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        data.close()
        with pytest.raises(ftplib.error_temp, match="426"):
            client.voidresp()
        part = client.size(f"{folder.name}/big")
    assert part is not None
    assert 0 < part <= 2_000_000
    assert (folder / "big").read_bytes() == BIG[:part]

    go_on(plain, source, folder.name)

    assert hashlib.sha256((folder / "big").read_bytes()).digest() == hashlib.sha256(BIG).digest()
    assert os.listdir(folder) == ["big"]


@pytest.mark.parametrize("mode", ["active", "passive"])
@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_curl_takes_tls_off_the_control_connection(
    explicit: Served, lenient: Served, tmp_path: Path, mode: str, version: str
) -> None:
    """CCC, TLS ended by curl or left to the server to end.

    With the latter curl's library takes its session for one that may not be resumed.
    """
    served = explicit if mode == "active" else lenient
    folder = served.folder(f"curl-ccc-{mode}-{version}")
    source = tmp_path / "source"
    source.write_bytes(BIG)
    words = ["--ftp-ssl-ccc", "--ftp-ssl-ccc-mode", mode, "--tls-max", version, "-v"]

    curl(served, f"{folder.name}/big", *words, "-T", str(source))
    said = curl(served, f"{folder.name}/big", *words, "-o", str(tmp_path / "got"))

    assert (tmp_path / "got").read_bytes() == BIG
    assert "CCC" in said
    assert "200 End TLS" in said


def test_curl_is_told_that_a_password_is_wrong(served: Served) -> None:
    with pytest.raises(AssertionError, match="530"):
        curl(served, "", "-u", f"{USER}:nonsense")


def test_clear_logins_are_refused_where_tls_is_required(explicit: Served) -> None:
    session = ftplib.FTP(timeout=10)
    session.connect("127.0.0.1", explicit.port)
    with pytest.raises(ftplib.error_perm):
        session.login(USER, PASSWORD)
    session.close()


def wget(served: Served, folder: Path, path: str, *words: str) -> str:
    """Run wget in a folder; it has a scheme of its own for explicit TLS."""
    command = ["-nv", "--tries=1", "--timeout=20", f"--user={USER}", f"--password={PASSWORD}"]
    if served.mode != "plain":
        command.append(f"--ca-certificate={served.authority}")
    if served.mode == "implicit":
        command.append("--ftps-implicit")
    scheme = "ftp" if served.mode == "plain" else "ftps"
    url = f"{scheme}://localhost:{served.port}/{quote(path, safe='/*')}"
    for _ in range(4):
        try:
            return run_tool("wget", *command, *words, url, folder=folder)
        except AssertionError as error:
            # GnuTLS waits 50 ms for a ticket of TLS 1.3 and not longer, however busy the machine
            # is; wget then offers an empty session, and fails.
            if "Could not save SSL session data" not in str(error):
                raise
    return run_tool("wget", *command, *words, url, folder=folder)


def test_wget_gets_resumes_and_mirrors(served: Served, tmp_path: Path) -> None:
    folder = served.folder("wget")
    (folder / "big").write_bytes(BIG)
    (folder / "a" / "b").mkdir(parents=True)
    (folder / "a" / "b" / "deep").write_bytes(b"deep")
    (folder / "a" / "small").write_bytes(b"small")
    os.utime(folder / "a" / "small", (1_000_000_000, 1_000_000_000))

    (tmp_path / "big").write_bytes(BIG[:50_000])
    wget(served, tmp_path, f"{folder.name}/big", "-c")
    assert (tmp_path / "big").read_bytes() == BIG

    wget(served, tmp_path, f"{folder.name}/", "--mirror", "-nH", "--cut-dirs=1")
    assert (tmp_path / "a" / "b" / "deep").read_bytes() == b"deep"
    assert (tmp_path / "a" / "small").read_bytes() == b"small"
    assert (tmp_path / "a" / "small").stat().st_mtime // 86400 == 1_000_000_000 // 86400

    assert "small" in wget(served, tmp_path, f"{folder.name}/a/*", "-O", "-")


def lftp(served: Served, *commands: str) -> str:
    """Run commands in lftp; TLS must be there and verified."""
    settings = [
        "set net:max-retries 1", "set net:timeout 20", "set cmd:fail-exit true",
        "set ftp:prefer-epsv true",
    ]  # fmt: skip
    if served.mode == "plain":
        settings.append("set ftp:ssl-allow false")
    else:
        settings += [
            f"set ssl:ca-file {served.authority}",
            "set ftp:ssl-force true",
            "set ftp:ssl-protect-data true",
            "set ftp:ssl-protect-list true",
        ]
    scheme = "ftps" if served.mode == "implicit" else "ftp"
    where = f"{scheme}://localhost:{served.port}"
    script = "; ".join([*settings, f'open -u "{USER},{PASSWORD}" {where}', *commands, "bye"])
    return run_tool("lftp", "--norc", "-c", script)


def test_lftp_gets_puts_and_resumes(served: Served, tmp_path: Path) -> None:
    folder = served.folder("lftp")
    (folder / "big").write_bytes(BIG)
    (tmp_path / "up").write_bytes(BIG)
    (folder / "half").write_bytes(BIG[:1_000_001])
    (tmp_path / "half").write_bytes(BIG[:2_000_000])

    lftp(
        served, f"cd {folder.name}", f"lcd {tmp_path}", "get big", "put up",
        "get -c big -o half", "put -c up -o half", "mkdir new", "mv big new/moved", "rm up",
        "chmod 640 half",
    )  # fmt: skip

    assert (tmp_path / "big").read_bytes() == BIG
    assert (tmp_path / "half").read_bytes() == BIG
    assert (folder / "half").read_bytes() == BIG
    assert (folder / "half").stat().st_mode & 0o777 == 0o640
    assert (folder / "new" / "moved").read_bytes() == BIG
    assert sorted(each.name for each in folder.iterdir()) == ["half", "new"]


def test_lftp_takes_tls_off_the_control_connection(lenient: Served, tmp_path: Path) -> None:
    """CCC; with the control connection's TLS it has lost the session that data could resume."""
    folder = lenient.folder("lftp-ccc")
    source = tmp_path / "source"
    source.write_bytes(BIG)

    said = lftp(
        lenient,
        "set ftp:ssl-use-ccc true",
        "debug 6",
        f"cd {folder.name}",
        f'put "{source}" -o big',
        f'get big -o "{tmp_path / "got"}"',
    )

    assert (tmp_path / "got").read_bytes() == BIG
    assert "200 End TLS" in said


def test_lftp_mirrors_both_ways(served: Served, tmp_path: Path) -> None:
    folder = served.folder("lftp-mirror")
    source = tmp_path / "source"
    (source / "sub" / "empty").mkdir(parents=True)
    for number in range(10):
        (source / "sub" / f"{number} {NAME}").write_bytes(BIG[: number * 1000])
    os.utime(source / "sub" / f"3 {NAME}", (1_234_567_890, 1_234_567_890))
    (folder / "copy").mkdir()
    (folder / "copy" / "left over").touch()

    lftp(served, f'mirror -R --delete --parallel=3 "{source}" {folder.name}/copy')
    sent = {each.relative_to(folder / "copy") for each in (folder / "copy").rglob("*")}
    assert sent == {each.relative_to(source) for each in source.rglob("*")}
    assert (folder / "copy" / "sub" / f"3 {NAME}").stat().st_mtime == 1_234_567_890

    lftp(served, f'mirror --parallel=3 {folder.name}/copy "{tmp_path}/back"')
    for each in (source / "sub").glob("*.txt"):
        assert (tmp_path / "back" / "sub" / each.name).read_bytes() == each.read_bytes()
    assert (tmp_path / "back" / "sub" / f"3 {NAME}").stat().st_mtime == 1_234_567_890


def rclone(served: Served, *words: str) -> str:
    """Run rclone, whose remote ``:ftp:`` is the server."""
    command = ["--config", "", "--retries=1", "--low-level-retries=1", "--contimeout=20s"]
    hidden = run_tool("rclone", "obscure", PASSWORD).strip()
    environment = {
        "RCLONE_FTP_HOST": "localhost",
        "RCLONE_FTP_PORT": str(served.port),
        "RCLONE_FTP_USER": USER,
        "RCLONE_FTP_PASS": hidden,
    }
    if served.mode != "plain":
        environment |= {"SSL_CERT_FILE": str(served.authority)}
        which = "RCLONE_FTP_TLS" if served.mode == "implicit" else "RCLONE_FTP_EXPLICIT_TLS"
        environment[which] = "true"
    return run_tool("rclone", *command, *words, environment=environment)


def test_rclone_transfers_single_files(served: Served, tmp_path: Path) -> None:
    folder = served.folder("rclone-single")
    (tmp_path / "big").write_bytes(BIG)

    rclone(served, "copyto", str(tmp_path / "big"), f":ftp:{folder.name}/{NAME}")
    rclone(served, "copyto", f":ftp:{folder.name}/{NAME}", str(tmp_path / "back"))

    assert (folder / NAME).read_bytes() == BIG
    assert (tmp_path / "back").read_bytes() == BIG


def test_rclone_resumes_sessions_one_connection_at_a_time(explicit: Served, tmp_path: Path) -> None:
    """With several it offers the newest session of any of them, and is told what to do."""
    folder = explicit.folder("rclone-sessions")
    for number in range(12):
        (tmp_path / str(number)).write_bytes(BIG[: 1000 * number])
    several = ["--transfers=4", "--checkers=4"]
    one = ["--transfers=1", "--checkers=1"]

    with pytest.raises(AssertionError, match="resume_tls = false"):
        rclone(explicit, "copy", *several, str(tmp_path), f":ftp:{folder.name}/several")
    rclone(explicit, "copy", *one, str(tmp_path), f":ftp:{folder.name}/one")

    for number in range(12):
        assert (folder / "one" / str(number)).read_bytes() == BIG[: 1000 * number]


@pytest.mark.parametrize("which", ["plain", "lenient"])
def test_rclone_syncs_and_checks(
    which: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Over TLS its data connections resume the session of any of its control connections."""
    served: Served = request.getfixturevalue(which)
    folder = served.folder("rclone")
    source = tmp_path / "source"
    (source / "sub").mkdir(parents=True)
    for number in range(8):
        (source / "sub" / f"{number} {NAME}").write_bytes(BIG[: number * 10_000])
    (folder / "to").mkdir()
    (folder / "to" / "left over").touch()
    remote = f":ftp:{folder.name}/to"

    rclone(served, "sync", str(source), remote)
    rclone(served, "check", "--download", str(source), remote)
    listed = rclone(served, "lsf", "-R", "--format", "sp", remote).splitlines()
    rclone(served, "copy", remote, str(tmp_path / "back"))

    assert not (folder / "to" / "left over").exists()
    assert f"30000;sub/3 {NAME}" in listed
    assert (tmp_path / "back" / "sub" / f"7 {NAME}").read_bytes() == BIG[:70_000]

    rclone(served, "moveto", f"{remote}/sub/7 {NAME}", f"{remote}/moved")
    rclone(served, "purge", f"{remote}/sub")
    assert (folder / "to" / "moved").read_bytes() == BIG[:70_000]
    assert [each.name for each in (folder / "to").iterdir()] == ["moved"]


def tnftp(served: Served, folder: Path, *commands: str) -> str:
    """Give tnftp commands on its input; it shows every reply."""
    lines = [
        f"open 127.0.0.1 {served.port}",
        f'user {USER} "{PASSWORD}"',
        "binary",
        *commands,
        "quit",
    ]
    return run_tool("tnftp", "-n", "-v", "-i", stdin="\n".join([*lines, ""]), folder=folder)


def test_tnftp_does_what_it_can(plain: Served, tmp_path: Path) -> None:
    folder = plain.folder("tnftp")
    (folder / "big").write_bytes(BIG)
    (folder / "old").write_bytes(b"old")
    (tmp_path / "up").write_bytes(BIG)
    (tmp_path / "half").write_bytes(BIG[:1_500_000])
    os.utime(folder / "old", (1_234_567_890, 1_234_567_890))

    said = tnftp(
        plain, tmp_path, f"cd {folder.name}", "get big", "put up", "reget big half", "mkdir new",
        "rename old new/name", "mlsd", "ls", "nlist", "size big", "modtime new/name", "mlst new",
        "delete big", "append up up", "passive off", "get up again", "rmdir new", "chmod 600 up",
        "features", "remopts mlst type;size;", "site help", "rstatus", "system", "pwd",
    )  # fmt: skip

    assert (tmp_path / "big").read_bytes() == BIG
    assert (folder / "up").read_bytes() == BIG * 2
    assert (tmp_path / "again").read_bytes() == BIG * 2
    assert (folder / "new" / "name").read_bytes() == b"old"  # a directory in use stays
    assert not (folder / "big").exists()
    assert (folder / "up").stat().st_mode & 0o777 == 0o600
    for each in ("type=dir", f"{len(BIG)}", "drwx", "MLST", "UTF8", "REST STREAM"):
        assert each in said
    assert "not implemented" not in said


def test_tnftp_resumes_where_the_local_file_is_named_alike(plain: Served, tmp_path: Path) -> None:
    folder = plain.folder("tnftp-reget")
    (folder / "half").write_bytes(BIG)
    (tmp_path / "half").write_bytes(BIG[:1_500_000])

    tnftp(plain, tmp_path, f"cd {folder.name}", "reget half")

    assert (tmp_path / "half").read_bytes() == BIG


def test_tnftp_aborts_by_urgent_data(plain: Served, tmp_path: Path) -> None:
    """An interrupt has it say ABOR as urgent data; the session goes on."""
    folder = plain.folder("tnftp-abort")
    (folder / "huge").write_bytes(bytes(64_000_000))
    (folder / "small").write_bytes(b"small")
    os.mkfifo(tmp_path / "fifo")
    process = subprocess.Popen(
        [program("tnftp"), "-n", "-v", "-i"],
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        assert process.stdin is not None
        process.stdin.write(
            f'open 127.0.0.1 {plain.port}\nuser {USER} "{PASSWORD}"\nbinary\n'
            f"cd {folder.name}\nget huge fifo\n".encode()
        )
        process.stdin.flush()
        with (tmp_path / "fifo").open("rb") as fifo:
            # The transfer is under way, and stands while nobody reads on.
            assert len(fifo.read(100_000)) == 100_000
            process.send_signal(signal.SIGINT)
            while fifo.read(100_000):
                pass
        said, _ = process.communicate(b"get small\nquit\n", timeout=20)
    finally:
        process.kill()
        process.wait()

    assert b"426" in said
    assert b"226" in said.partition(b"426")[2]
    assert (tmp_path / "small").read_bytes() == b"small", said


class _Resuming(ftplib.FTP_TLS):
    """FTP over TLS whose data connections resume the session, which ftplib's do not."""

    def ntransfercmd(self, cmd: str, rest: int | str | None = None) -> tuple[ssl.SSLSocket, int]:
        conn, size = ftplib.FTP.ntransfercmd(self, cmd, rest)
        assert isinstance(self.sock, ssl.SSLSocket)
        wrapped = self.context.wrap_socket(
            conn, server_hostname="localhost", session=self.sock.session
        )
        return wrapped, size or 0


def ftplib_session(served: Served) -> ftplib.FTP:
    if served.mode == "plain":
        plain = ftplib.FTP(timeout=20)
        plain.connect("localhost", served.port)
        plain.login(USER, PASSWORD)
        return plain
    context = ssl.create_default_context(cafile=str(served.authority))
    session = _Resuming(context=context, timeout=20)
    session.connect("localhost", served.port)
    session.login(USER, PASSWORD)
    session.prot_p()
    return session


def test_ftplib_does_everything_that_it_knows(plain_or_explicit: Served) -> None:
    served = plain_or_explicit
    folder = served.folder("ftplib")
    session = ftplib_session(served)

    session.cwd(folder.name)
    session.storbinary("STOR big", io.BytesIO(BIG))
    session.storbinary("STOR big", io.BytesIO(BIG[2_000_000:]), rest=2_000_000)
    session.storlines("STOR text", io.BytesIO(b"one\ntwo\n"))
    got = bytearray()
    session.retrbinary("RETR big", got.extend, rest=1_000_000)
    lines: list[str] = []
    session.retrlines("RETR text", lines.append)

    assert (folder / "big").read_bytes() == BIG
    assert got == BIG[1_000_000:]
    assert (folder / "text").read_bytes() == b"one\ntwo\n"
    assert lines == ["one", "two"]
    assert session.mkd('a "quoted" name') == f'/{folder.name}/a "quoted" name'
    assert session.pwd() == f"/{folder.name}"
    session.voidcmd("TYPE I")
    assert session.size("big") == len(BIG)
    assert sorted(session.nlst()) == ['a "quoted" name', "big", "text"]
    facts = {name: each for name, each in session.mlsd(facts=["type", "size"]) if name[0] != "."}
    assert facts["big"] == {"type": "file", "size": str(len(BIG))}
    assert facts['a "quoted" name']["type"] == "dir"
    session.rename("text", 'a "quoted" name/moved')
    session.delete("big")
    with pytest.raises(ftplib.error_perm, match="550"):
        session.rmd('a "quoted" name')
    with pytest.raises(ftplib.error_perm, match="550"):
        session.retrbinary("RETR big", got.extend)
    session.quit()


def test_ftplib_aborts_by_urgent_data(plain: Served) -> None:
    """``ABOR`` comes as urgent data while the data connection is full (RFC 959 §4.1.3)."""
    folder = plain.folder("ftplib-abort")
    (folder / "huge").write_bytes(bytes(64_000_000))
    session = ftplib_session(plain)
    session.cwd(folder.name)
    session.voidcmd("TYPE I")

    conn = session.transfercmd("RETR huge")
    assert conn.recv(1000)
    assert session.abort().startswith("426")
    conn.close()
    assert session.voidresp().startswith("226")

    assert session.pwd() == f"/{folder.name}"
    got = bytearray()
    session.retrbinary("RETR huge", got.extend, rest=63_999_000)
    assert len(got) == 1000
    session.quit()


def test_data_without_the_session_of_the_control_connection_is_refused(explicit: Served) -> None:
    """Who has seen the port only, and not the session, gets nothing (RFC 4217 §10)."""
    folder = explicit.folder("stranger")
    (folder / "file").write_bytes(b"secret")
    context = ssl.create_default_context(cafile=str(explicit.authority))
    session = ftplib.FTP_TLS(context=context, timeout=20)
    session.connect("localhost", explicit.port)
    session.login(USER, PASSWORD)
    session.prot_p()

    conn = session.transfercmd(f"RETR {folder.name}/file")
    try:
        got = conn.recv(100)
    except OSError:
        got = b""
    conn.close()

    assert got == b""
    with pytest.raises(ftplib.error_temp, match="425"):
        session.voidresp()
    session.close()
