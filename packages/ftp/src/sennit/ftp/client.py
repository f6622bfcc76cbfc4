"""`FTPClient`: one login at a server, and what one does with it.

::

    async with FTPClient.connect("ftps://user:password@files.example/inbox") as ftp:
        for entry in await ftp.ls():
            print(entry.name, entry.size)
        await ftp.get("report.pdf", "report.pdf", resume=True)

``ftp://`` is in clear unless ``tls="explicit"`` is given, which never goes on without TLS;
``ftpes://`` is the same in a URL, ``ftps://`` is TLS from the first octet. What a path means is
the server's affair: it is sent as it is given.

Sources: RFC 959 §4.1, RFC 3659 §7 (MLST, MLSD).
Elsewhere: the connection (``client_control.py``), files (``client_transfers.py``), whole trees
(``mirror.py``).
"""

from __future__ import annotations

import time
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING, Generic, TypeVar

from sennit.core.errors import ConnectionLost
from sennit.ftp.client_control import FTPClientProtocol, is_unknown
from sennit.ftp.client_engine import Command
from sennit.ftp.client_transfers import Reader, Transfers, Writer
from sennit.ftp.errors import (
    FTPPermanentError,
    FTPProtocolError,
    FTPReplyError,
    FTPUsageError,
)
from sennit.ftp.interfaces import Entry
from sennit.ftp.listing_reader import ListingReader, parse_fact_line
from sennit.ftp.replies import name_is_safe, quoted_path
from sennit.ftp.url import FTPURL, parse_url

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncGenerator, Generator, Sequence
    from types import TracebackType
    from typing import Any, Literal, Self

    from sennit.core.endpoint.tunnel import Via
    from sennit.core.transport.tls import ClientTLS
    from sennit.ftp.client_data import Transfer
    from sennit.ftp.limits import ClientLimits
    from sennit.ftp.mirror import Mirrored, OnStep

ClientT = TypeVar("ClientT", bound="FTPClient")

__all__ = ["FTPClient", "FTPClientProtocol", "Reader", "Writer"]


class FTPClient(Transfers):
    """One login at a server (see `connect`).

    Several coroutines may use it: one sequence of commands, a transfer say, goes on at a time,
    and the others wait. Two transfers side by side need two clients.

    Attributes:
        url: Where it is connected to, and who logged in.
        limits: What the server is allowed.
        features: What the server can do beyond RFC 959, by words in capitals (FEAT).
        welcome: The text of its greeting.
        skipped: Lines of the last listing that made no entry.
    """

    skipped = 0

    @classmethod
    def connect(
        cls,
        url: str | FTPURL,
        *,
        user: str | None = None,
        password: str | None = None,
        account: str | None = None,
        tls: Literal["explicit", "implicit"] | None = None,
        client_tls: ClientTLS | None = None,
        server_hostname: str | None = None,
        active: bool = False,
        limits: ClientLimits | None = None,
        via: Via | None = None,
    ) -> _Connecting[Self]:
        """Connect and log in: ``async with FTPClient.connect(…) as ftp``, or await it.

        Args:
            url: ``ftp://user:password@host:port/dir``; ``dir`` is gone to after the login.
            user: Who, where the URL does not say; ``anonymous`` where nobody does.
            password: Likewise.
            account: For servers that ask for one (ACCT).
            tls: ``explicit`` begins TLS by AUTH TLS or fails; ``implicit`` has it from the first
                octet. ``None``: what the URL's scheme says.
            client_tls: What to believe of the server; the system's authorities when left out.
            server_hostname: The name its certificate must carry, where that is not the URL's.
            active: Have the server open data connections (EPRT, PORT), from its address only.
            limits: What the server is allowed.
            via: A proxy, or several (see `sennit.core.connect`).

        Raises:
            FTPUsageError: The URL is none, or the arguments contradict each other.
        """
        where = parse_url(url) if isinstance(url, str) else url
        if user is not None:
            where = replace(where, user=user, password=password)
        elif password is not None:
            where = replace(where, password=password)
        for each in (where.user, where.password, account, where.path):
            Command("USER", each)  # what holds CR, LF or NUL fails before anything is opened
        scheme: str | None = {"ftps": "implicit", "ftpes": "explicit"}.get(where.scheme)
        if tls is not None and scheme not in (None, tls):
            raise FTPUsageError(f"{where.scheme}:// is {scheme} TLS, and tls says {tls}")
        mode = tls or scheme
        if client_tls is not None and mode is None:
            raise FTPUsageError("client_tls was given, and nothing says to use TLS: tls='explicit'")
        return _Connecting(
            cls(
                where,
                tls=mode,
                client_tls=client_tls,
                server_hostname=server_hostname,
                account=account,
                active=active,
                limits=limits,
                via=via,
            )
        )

    # ── directories ───────────────────────────────────────────────────────────

    async def iterate(self, path: str = "") -> AsyncGenerator[Sequence[Entry], None]:
        """What is in a directory, in batches as they come (MLSD, else LIST).

        Names that would lead elsewhere (``..``, a slash inside) are left out, and counted in
        `skipped` with the lines that cannot be read. Nothing else can be asked over this
        connection while one iterates; use ``contextlib.aclosing`` to end early.

        Args:
            path: Which; the current one when left out.

        Raises:
            FTPReplyError: The server says no.
        """
        argument = _no_option(path) or None
        Command("LIST", argument)
        if self.tells_facts or not self.features:
            begun = False
            try:
                async with aclosing(self._list(Command("MLSD", argument), facts=True)) as listed:
                    async for entries in listed:
                        begun = True
                        yield entries
                return
            except FTPPermanentError as error:
                if begun or not is_unknown(error):
                    raise
        async with aclosing(self._list(Command("LIST", argument), facts=False)) as listed:
            async for entries in listed:
                yield entries

    async def _list(
        self, command: Command, *, facts: bool
    ) -> AsyncGenerator[Sequence[Entry], None]:
        reader = ListingReader(time.time(), facts=facts, max_line=self.limits.max_listing_line)
        async with self.transfer(command, ascii_type=None if facts else True) as transfer:
            while data := await self._receive(transfer):
                if entries := reader.receive_data(data):
                    yield entries
            if transfer.cut:
                raise ConnectionLost("TLS ended without its end", "truncated")
            if entries := reader.finish():
                yield entries
            self.skipped = reader.skipped

    async def _receive(self, transfer: Transfer) -> bytes:
        """The next octets of a listing, which must have an end."""
        data = await transfer.receive()
        if transfer.octets > self.limits.max_listing:
            raise FTPProtocolError(
                f"a listing of more than {self.limits.max_listing} octets", "limit:max_listing"
            )
        return data

    def _hold(self, found: Sequence[object]) -> None:
        """Whether so many entries may be in memory."""
        if len(found) > self.limits.max_entries:
            raise FTPProtocolError(
                f"a listing of more than {self.limits.max_entries} entries", "limit:max_entries"
            )

    @property
    def tells_facts(self) -> bool:
        """Whether times and sizes in listings are exact (MLSD)."""
        return "MLST" in self.features or "MLSD" in self.features

    async def ls(self, path: str = "") -> list[Entry]:
        """What is in a directory, all at once; `iterate` is for huge ones.

        Raises:
            FTPReplyError: The server says no.
        """
        found: list[Entry] = []
        async with aclosing(self.iterate(path)) as batches:
            async for entries in batches:
                found += entries
                self._hold(found)
        return found

    async def names(self, path: str = "") -> list[str]:
        """Names in a directory (NLST), for servers of which nothing else can be read.

        A path that a server writes before each name is taken off; what would lead elsewhere is
        left out.

        Raises:
            FTPReplyError: The server says no.
        """
        rest = b""
        found: list[str] = []
        path = _no_option(path)
        prefix = f"{path.rstrip('/')}/" if path else ""
        async with self.transfer(Command("NLST", path or None), ascii_type=True) as transfer:
            while True:
                data = await self._receive(transfer)
                *lines, rest = (rest + data).split(b"\n")
                for line in lines if data else [*lines, rest]:
                    name = line.rstrip(b"\r").decode("utf-8", "surrogateescape")
                    name = name.removeprefix(prefix) if prefix else name
                    if name_is_safe(name):
                        found.append(name)
                if not data:
                    break
                self._hold(found)
                if len(rest) > self.limits.max_listing_line:
                    raise FTPProtocolError(
                        f"a name of more than {self.limits.max_listing_line} octets",
                        "limit:max_listing_line",
                    )
        return found

    async def stat(self, path: str) -> Entry:
        """What stands at a path: MLST, else SIZE and MDTM, which know files only.

        Raises:
            FTPReplyError: There is nothing, or the server does not tell.
        """
        name = path.rstrip("/").rpartition("/")[2]
        if not self.features or "MLST" in self.features:
            try:
                reply = await self.command("MLST", path)
            except FTPPermanentError as error:
                if not is_unknown(error):
                    raise
            else:
                for line in reply.lines[1:-1]:
                    entry = parse_fact_line(line)
                    if entry is not None:
                        entry.name = name
                        return entry
                raise FTPProtocolError(f"no facts in {reply.text[:80]!r}", "RFC 3659 §7.2")
        size = await self.size(path)
        modified = await self._time_of(path)
        if size is None and modified is None:
            raise FTPPermanentError(502, ["the server tells nothing of a single file"], "STAT")
        return Entry(name, "file", size=-1 if size is None else size, modified=modified or 0.0)

    async def cwd(self, path: str) -> None:
        """Go to a directory."""
        await self.command("CWD", path)

    async def pwd(self) -> str:
        """Where one is."""
        return quoted_path(await self.command("PWD"))

    async def mkdir(self, path: str) -> None:
        """Make a directory."""
        await self.command("MKD", path)

    async def rmdir(self, path: str) -> None:
        """Remove an empty directory."""
        await self.command("RMD", path)

    async def remove(self, path: str) -> None:
        """Remove a file."""
        await self.command("DELE", path)

    async def rename(self, source: str, target: str) -> None:
        """Give a file or directory another name."""
        renaming, to = Command("RNFR", source), Command("RNTO", target)
        async with self._lock:
            await self._ask(renaming)
            await self._ask(to)

    async def chmod(self, path: str, mode: int) -> None:
        """Set permission bits (SITE CHMOD), where the server has them."""
        if not 0 <= mode <= 0o7777:
            raise FTPUsageError(f"permission bits are from 0 to 0o7777, not {mode:#o}")
        await self.command("SITE", f"CHMOD {mode:03o} {path}")

    async def mirror(
        self,
        source: str | os.PathLike[str],
        target: str | os.PathLike[str],
        *,
        parallel: int = 4,
        delete: bool = False,
        retries: int = 3,
        on_step: OnStep | None = None,
    ) -> Mirrored:
        """Make a tree like another, one of them here and one at the server.

        Files of the same size and time are left alone. This connection lists; `parallel` more
        move files.

        Args:
            source: The original: text is a path of the server, a `pathlib.Path` one of ours.
            target: What is made like it; of the other kind.
            parallel: Files that are moved side by side.
            delete: Remove what the original does not have.
            retries: Tries after the first, of what may work later (a 4yz, a lost connection).
            on_step: Called with each `sennit.ftp.mirror.Step`.

        Returns:
            What came of it; failures of single files are told there.

        Raises:
            FTPReplyError: The tree cannot be listed.
            FTPUsageError: Both are of one kind.
            OSError: It cannot be read or written here.
        """
        from sennit.ftp.mirror import mirror

        upload = not isinstance(source, str)
        remote, local = (target, source) if upload else (source, target)
        if not isinstance(remote, str) or isinstance(local, str):
            raise FTPUsageError("a tree of the server is text, one of this machine a pathlib.Path")
        return await mirror(
            self,
            remote,
            local,
            upload=upload,
            parallel=parallel,
            delete=delete,
            retries=retries,
            on_step=on_step,
        )

    def another(self) -> _Connecting[Self]:
        """A further connection to the same server, with the same login."""
        return _Connecting(self._again())

    async def noop(self) -> None:
        """Say nothing, so that the server sees that one is there."""
        await self.command("NOOP")

    async def abort(self) -> None:
        """Give up the transfer that goes on, whoever began it: it fails there.

        Done when the server has said what it says to that; harmless where there is none.
        """
        if self._current is not None:
            # The server hears of it from who has the transfer, with ABOR where that is needed:
            # of several servers none answers ABOR while the data connection stands.
            self._current.abort()
        async with self._lock:
            pass


def _no_option(path: str) -> str:
    """A path that no server's ls takes for options."""
    return f"./{path}" if path.startswith("-") else path


class _Connecting(Generic[ClientT]):
    """A client that will be connected: awaited, or entered.

    Args:
        client: Which.
    """

    __slots__ = ("_client",)

    def __init__(self, client: ClientT) -> None:
        self._client = client

    def __await__(self) -> Generator[Any, Any, ClientT]:
        """Connect; the client, which is to be left by `FTPClient.quit`."""
        return self._connect().__await__()

    async def _connect(self) -> ClientT:
        client = self._client
        await client.open()
        if client.url.path:
            try:
                await client.cwd(client.url.path)
            except BaseException:
                client.disconnect()
                raise
        return client

    async def __aenter__(self) -> ClientT:
        """Connect."""
        return await self._connect()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Say good-bye, or leave at once when the block raised something that is no reply."""
        if error is None or isinstance(error, FTPReplyError):
            await self._client.quit()
        else:
            self._client.disconnect()
