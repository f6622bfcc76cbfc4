"""Files fetched and sent by the client, to and from paths, open files and coroutines.

`get` and `put` move whole files: they know the size before, look at it afterwards, keep the time
of the last change, go on where an earlier try ended, and compare hashes where that is asked for
and the server can (HASH). `open_reader` and `open_writer` give the octets to whoever wants to
read or write them himself.

Sources: RFC 959 §4.1.3, RFC 3659 §3 (MDTM), §4 (SIZE), §5 (REST); draft-somers-ftp-mfxx (MFMT),
draft-bryan-ftpext-hash (HASH).
Not here: how a transfer begins and ends (``client_control.py``).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncIterable
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

from sennit.ftp.ascii import FromNetwork, ToNetwork
from sennit.ftp.client_control import Control, is_unknown
from sennit.ftp.client_data import BATCH
from sennit.ftp.client_engine import Command
from sennit.ftp.errors import (
    DifferentError,
    FTPPermanentError,
    FTPProtocolError,
    FTPUsageError,
    TransferError,
)
from sennit.ftp.listing import parse_time_value, time_value
from sennit.ftp.local_files import (
    SLACK,
    Destination,
    descriptor_of,
    in_thread,
    is_pipe,
    pieces_of,
    write_all,
)
from sennit.ftp.replies import hash_of, size_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable
    from typing import IO, TypeAlias

    from sennit.core.interfaces import Buffer
    from sennit.ftp.client_data import Transfer

    OnProgress: TypeAlias = Callable[[int, int | None], object]
    Path: TypeAlias = str | os.PathLike[str]

__all__ = ["Reader", "Transfers", "Writer"]

_HASHES: Final = {"sha-256": 64, "sha-512": 128, "sha-1": 40, "md5": 32}
"""Those that servers are asked for, and how many hexadecimal digits each has."""


class Reader:
    """A file of the server, read from (made by `FTPClient.open_reader`).

    Attributes:
        size: Octets of the whole file; ``None`` where the server does not tell.
    """

    def __init__(self, transfer: Transfer, size: int | None) -> None:
        self._transfer = transfer
        self.size = size

    async def read(self) -> bytes:
        """The next octets, up to 1 MiB; nothing at the end."""
        return await self._transfer.receive()

    def __aiter__(self) -> Reader:
        return self

    async def __anext__(self) -> bytes:
        data = await self.read()
        if not data:
            raise StopAsyncIteration
        return data


class Writer:
    """A file of the server, written to (made by `FTPClient.open_writer`)."""

    def __init__(self, transfer: Transfer) -> None:
        self._transfer = transfer

    async def write(self, data: Buffer) -> None:
        """Send octets, when there is room for them."""
        await self._transfer.data.send(data)


class Transfers(Control):
    """What `FTPClient` does with files."""

    # ── what the server knows of a file ───────────────────────────────────────

    async def size(self, path: str) -> int | None:
        """Octets of a file (SIZE); ``None`` where the server has no such command.

        Raises:
            FTPPermanentError: There is no such file.
        """
        command = Command("SIZE", path)
        async with self._lock:
            await self.set_type(False)
            try:
                return size_of(await self._ask(command))
            except FTPPermanentError as error:
                if is_unknown(error):
                    return None
                raise

    async def modified(self, path: str) -> float | None:
        """POSIX seconds of a file's last change (MDTM); ``None`` where the server cannot say."""
        try:
            reply = await self.command("MDTM", path)
        except FTPPermanentError as error:
            if is_unknown(error):
                return None
            raise
        seconds = parse_time_value(reply.lines[-1].strip(" "))
        if seconds is None:
            raise FTPProtocolError(f"not a time: {reply.text[:40]!r}", "RFC 3659 §3.3")
        return seconds

    async def set_modified(self, path: str, modified: float) -> bool:
        """Say when a file was last changed (MFMT); whether the server has that."""
        if "MFMT" not in self.features:
            return False
        await self.command("MFMT", f"{time_value(modified)} {path}")
        return True

    async def hash(self, path: str, algorithm: str = "sha-256") -> str:
        """The hash of a file as its server computes it, hexadecimal.

        Args:
            path: The file.
            algorithm: ``sha-256``, ``sha-512``, ``sha-1`` or ``md5``.

        Raises:
            FTPPermanentError: The server has no such command, or no such file.
        """
        if algorithm not in _HASHES:
            raise FTPUsageError(f"hashes are {', '.join(_HASHES)}; not {algorithm!r}")
        command = Command("HASH", path)
        command.octets()
        async with self._lock:
            if "HASH" not in self.features:
                word = f"X{algorithm.replace('-', '').upper()}"  # XSHA256
                return hash_of(await self._ask(Command(word, path)), _HASHES[algorithm])
            await self.set_type(False)
            await self._ask(Command("OPTS", f"HASH {algorithm.upper()}"))
            return hash_of(await self._ask(command), _HASHES[algorithm])

    # ── fetching ──────────────────────────────────────────────────────────────

    async def get(
        self,
        remote: str,
        local: Path | IO[bytes],
        *,
        resume: bool = False,
        ascii: bool = False,  # noqa: A002 - FTP's word
        keep_time: bool = True,
        check: str | None = None,
        on_progress: OnProgress | None = None,
        follow: bool = True,
    ) -> int:
        """Fetch a file.

        A path gets it whole or not at all: it comes into a file beside, which is renamed when
        all is there.

        Args:
            remote: Which.
            local: Where to: a path, or a file open for writing.
            resume: Go on with ``LOCAL.part``, or behind what an open file has, and leave what
                came if it does not come to its end. Without ``LOCAL.part``, go on with what is
                at `local`, unless it is longer than the server's file or was last changed
                before that was: such is fetched anew.
            ascii: Translate ends of lines (type A).
            keep_time: Give it the server's time of last change.
            check: Compare hashes afterwards: ``sha-256``, say.
            on_progress: Called with the octets that are there, and those of the whole file.
            follow: Replace what a link leads to that is at `local`, and not the link.

        Returns:
            Octets that it has now.

        Raises:
            FTPReplyError: The server says no.
            TransferError: Not all of it came, or something else.
            OSError: It cannot be written here.
        """
        if ascii and (resume or check):
            raise FTPUsageError("lines of another length: no resume, no check in type A")
        Command("RETR", remote)  # what cannot be said fails before a file is made
        if not isinstance(local, (str, os.PathLike)):
            return await self._get_open(remote, local, resume, ascii, check, on_progress)
        begun: list[Destination] = []  # also by a thread whose end a cancellation has overtaken
        try:
            await in_thread(
                lambda: begun.append(Destination.open(local, resume=resume, follow=follow))
            )
            destination = begun[0]
            doubtful = False
            if destination.found is not None:
                changed = await self._time_of(remote)
                doubtful = changed is not None and changed > destination.found + SLACK

            async def write(data: Buffer) -> None:
                await in_thread(destination.write, data)

            async def begin(useful: bool) -> None:
                await in_thread(destination.begin, useful)

            async def read_back(at: int) -> bytes:
                return await in_thread(destination.read_back, at, BATCH)

            octets = await self._fetch(
                remote,
                write,
                begin,
                read_back,
                offset=destination.offset,
                doubtful=doubtful,
                ascii_type=ascii,
                check=check,
                on_progress=on_progress,
            )
            modified = await self._time_of(remote) if keep_time else None
            await in_thread(destination.finish, modified)
        except BaseException as error:
            for each in begun:
                # What is wrong already gets no better by going on with it.
                await in_thread(each.give_up, isinstance(error, DifferentError))
            raise
        return octets

    async def _get_open(
        self,
        remote: str,
        file: IO[bytes],
        resume: bool,
        ascii_type: bool,
        check: str | None,
        on_progress: OnProgress | None,
    ) -> int:
        """`get` into a file that the caller has opened."""
        begin = file.seek(0, os.SEEK_END) if resume else 0
        real = descriptor_of(file) is not None

        async def write(data: Buffer) -> None:
            # What has no descriptor is memory, mostly: a thread would only cost.
            if real:
                await in_thread(write_all, file, data)
            else:
                write_all(file, data)

        async def begin_at(useful: bool) -> None:
            if not useful:
                file.seek(0)
                file.truncate()

        async def read_back(at: int) -> bytes:
            end = file.tell()
            file.seek(at)
            data = file.read(min(BATCH, max(0, end - at)))
            file.seek(end)
            return data

        return await self._fetch(
            remote,
            write,
            begin_at,
            read_back,
            offset=begin,
            ascii_type=ascii_type,
            check=check,
            on_progress=on_progress,
        )

    async def _fetch(
        self,
        remote: str,
        write: Callable[[Buffer], Awaitable[None]],
        begin: Callable[[bool], Awaitable[None]],
        read_back: Callable[[int], Awaitable[bytes]],
        *,
        offset: int,
        ascii_type: bool,
        check: str | None,
        on_progress: OnProgress | None,
        doubtful: bool = False,
    ) -> int:
        """Fetch a file from `offset` on; the octets that are there then."""
        total = None if ascii_type else await self._size_or_none(remote)
        # What is there may be of another file; it stays until the right one comes.
        useless = offset != 0 and (doubtful or total is None or offset > total)
        if useless:
            offset = 0
        done = offset
        digest = None if check is None else await _digest_of(check, offset, read_back)
        cut = False
        if not (offset and offset == total):
            lines = FromNetwork() if ascii_type else None
            command = Command("RETR", remote)
            async with self.transfer(command, offset=offset, ascii_type=ascii_type) as transfer:
                waiting: list[bytes] = []
                size = 0
                if offset or useless:
                    await begin(not useless)
                if on_progress is not None:
                    on_progress(done, total)
                while True:
                    data = await transfer.receive()
                    came = len(data)
                    if lines is not None:
                        data = lines.convert(data) if came else lines.finish()
                    if data:
                        waiting.append(data)
                        size += len(data)
                    if size >= BATCH or (size and not came):
                        batch = waiting[0] if len(waiting) == 1 else b"".join(waiting)
                        waiting.clear()
                        if digest is not None:
                            digest.update(batch)
                        await write(batch)
                        done += size
                        size = 0
                        if on_progress is not None:
                            on_progress(done, total)
                    if not came:
                        break
                cut = transfer.cut
        await self._verify(remote, done, total, cut=cut, ascii_type=ascii_type)
        if digest is not None and check is not None:
            await self._compare(remote, check, digest.hexdigest())
        return done

    async def _verify(
        self, remote: str, done: int, total: int | None, *, cut: bool, ascii_type: bool
    ) -> None:
        """Whether a file has come whole."""
        if total is None or ascii_type:
            if cut:
                raise TransferError("TLS ended without its end, and nobody can say the size")
            return
        if done != total:
            # It may have grown, or been replaced, meanwhile.
            again = await self._size_or_none(remote)
            if done != again:
                raise TransferError(f"{done} octets came of {again if again else total}")

    async def _compare(self, remote: str, check: str, ours: str) -> None:
        theirs = await self.hash(remote, check)
        if theirs != ours:
            raise DifferentError(f"{check} is {ours} here, {theirs} there")

    async def _size_or_none(self, remote: str) -> int | None:
        """The size where the server tells: one that refuses may still give the file."""
        try:
            return await self.size(remote)
        except FTPPermanentError:
            return None

    async def _time_of(self, remote: str) -> float | None:
        if self.features and "MDTM" not in self.features:
            return None
        try:
            return await self.modified(remote)
        except (FTPPermanentError, FTPProtocolError):
            return None  # the file has come: its time is not worth a failure

    @asynccontextmanager
    async def open_reader(self, path: str, offset: int = 0) -> AsyncGenerator[Reader, None]:
        """Read a file as it comes: ``async with ftp.open_reader(path) as reader``.

        Who leaves the block before the end gives the rest up. Nothing else can be asked over
        this connection within the block.

        Args:
            path: Which.
            offset: Octet to begin at.

        Raises:
            FTPReplyError: The server says no.
            TransferError: It did not come to its end.
        """
        if offset < 0:
            raise FTPUsageError("octets of a file are counted from 0")
        command = Command("RETR", path)
        size = await self._size_or_none(path)
        async with self.transfer(command, offset=offset) as transfer:
            yield Reader(transfer, size)
        if transfer.finished:
            done = offset + transfer.octets
            await self._verify(path, done, size, cut=transfer.cut, ascii_type=False)

    # ── sending ───────────────────────────────────────────────────────────────

    async def put(
        self,
        local: Path | IO[bytes] | AsyncIterable[Buffer],
        remote: str,
        *,
        resume: bool = False,
        ascii: bool = False,  # noqa: A002 - FTP's word
        append: bool = False,
        keep_time: bool = True,
        check: str | None = None,
        on_progress: OnProgress | None = None,
    ) -> int:
        """Send a file.

        Args:
            local: A path, an open file (sent from where it stands), or what gives octets.
            remote: What it is called there.
            resume: Go on behind what is there, where that is not longer.
            ascii: Translate ends of lines (type A).
            append: Write behind what is there (APPE).
            keep_time: Tell the server its time of last change, of a path; it may not let us.
            check: Compare hashes afterwards: ``sha-256``, say; of a path.
            on_progress: Called with the octets that have left, and those of the whole file.

        Returns:
            Octets that the server has been sent, those that were there included.

        Raises:
            FTPReplyError: The server says no.
            TransferError: It did not take all.
            OSError: The file cannot be read here.
        """
        if (ascii or append) and (resume or check):
            raise FTPUsageError("resume and check are for whole files of type I")
        Command("STOR", remote)
        if isinstance(local, (str, os.PathLike)):
            with open(local, "rb") as file:
                modified = os.fstat(file.fileno()).st_mtime
                if is_pipe(file):
                    if resume or check:
                        raise FTPUsageError(f"resume and check need a file: {local!s} is none")
                    pieces = pieces_of(file)
                    return await self._send_stream(pieces, remote, ascii, append, on_progress)
                octets = await self._send(file, remote, resume, ascii, append, 0, on_progress)
                if check is not None:

                    async def read(at: int) -> bytes:
                        return await in_thread(os.pread, file.fileno(), BATCH, at)

                    digest = await _digest_of(check, octets, read)
                    await self._compare(remote, check, digest.hexdigest())
            if keep_time and not append:
                # The file is there: who may leave files and change none has done all he can.
                with suppress(FTPPermanentError):
                    await self.set_modified(remote, modified)
            return octets
        if check is not None:
            raise FTPUsageError("check needs a path: what was sent cannot be read again")
        if not isinstance(local, AsyncIterable) and is_pipe(local):
            local = pieces_of(local)  # a pipe: nobody knows its size, nor can go back in it
        if isinstance(local, AsyncIterable):
            if resume:
                raise FTPUsageError("resume needs a file: a stream has no middle to begin at")
            return await self._send_stream(local, remote, ascii, append, on_progress)
        opened = local
        begin = opened.tell()
        if descriptor_of(opened) is None:
            # Memory: read where it stands.
            size = max(0, opened.seek(0, os.SEEK_END) - begin) if resume else 0
            offset = await self._resumed(remote, size)
            opened.seek(begin + offset)
            pieces = pieces_of(opened)
            return await self._send_stream(pieces, remote, ascii, append, on_progress, offset)
        return await self._send(opened, remote, resume, ascii, append, begin, on_progress)

    async def _resumed(self, remote: str, size: int) -> int:
        """How much of a file the server has; 0 where that is longer than ours or unknown."""
        there = (await self._size_or_none(remote)) or 0 if size else 0
        return there if there <= size else 0

    async def _send(
        self,
        file: IO[bytes],
        remote: str,
        resume: bool,
        ascii_type: bool,
        append: bool,
        begin: int,
        on_progress: OnProgress | None,
    ) -> int:
        """Send a file of the system from the octet `begin` on."""
        size = max(0, os.fstat(file.fileno()).st_size - begin)
        offset = await self._resumed(remote, size if resume else 0)
        if offset and offset == size:
            return size
        if ascii_type:
            file.seek(begin)
            pieces = pieces_of(file)
            return await self._send_stream(pieces, remote, True, append, on_progress)
        done = offset
        async with self._storing(remote, append=append, offset=offset) as transfer:
            if on_progress is not None:
                on_progress(done, size)
            while done < size:
                piece = min(BATCH, size - done)
                sent = await transfer.data.send_file(file, begin + done, piece)
                done += sent
                if on_progress is not None:
                    on_progress(done, size)
                if sent < piece:
                    break  # it has become shorter: what there is has been sent
        if not append:
            await self._check_sent(remote, done)
        return done

    async def _send_stream(
        self,
        source: AsyncIterable[Buffer],
        remote: str,
        ascii_type: bool,
        append: bool,
        on_progress: OnProgress | None,
        offset: int = 0,
    ) -> int:
        """Send what comes from elsewhere; it was begun at `offset`."""
        done = offset
        lines = ToNetwork() if ascii_type else None
        async with self._storing(
            remote, append=append, offset=offset, ascii_type=ascii_type
        ) as transfer:
            async for piece in source:
                await transfer.data.send(piece if lines is None else lines.convert(piece))
                done += len(piece)
                if on_progress is not None:
                    on_progress(done, None)
        if not (append or ascii_type):
            await self._check_sent(remote, done)
        return done

    @asynccontextmanager
    async def _storing(
        self, remote: str, *, append: bool = False, offset: int = 0, ascii_type: bool = False
    ) -> AsyncGenerator[Transfer, None]:
        if offset and self.features and "REST" not in self.features:
            # Who cannot begin in the middle can go on at the end, and that is where we are.
            append, offset = True, 0
        command = Command("APPE" if append else "STOR", remote)
        async with self.transfer(
            command, sending=True, offset=offset, ascii_type=ascii_type
        ) as transfer:
            yield transfer

    async def _check_sent(self, remote: str, done: int) -> None:
        there = await self._size_or_none(remote)
        if there is not None and there != done:
            raise TransferError(f"{done} octets were sent, {there} are there")

    @asynccontextmanager
    async def open_writer(
        self, path: str, offset: int = 0, *, append: bool = False
    ) -> AsyncGenerator[Writer, None]:
        """Write a file piece by piece: ``async with ftp.open_writer(path) as writer``.

        At the end of the block the server has it; a block that raises gives it up.

        Args:
            path: Which.
            offset: Octet of an existing file from which on it is written anew.
            append: Write behind what is there.

        Raises:
            FTPReplyError: The server says no.
            TransferError: It did not take all.
        """
        if offset < 0 or (offset and append):
            raise FTPUsageError("begin at an octet from 0, or append")
        async with self._storing(path, append=append, offset=offset) as transfer:
            yield Writer(transfer)


async def _digest_of(name: str, octets: int, read: Callable[[int], Awaitable[bytes]]) -> Any:
    """The hash of the first octets of something; hashlib's object (`Any`: its type is private)."""
    if name not in _HASHES:
        raise FTPUsageError(f"hashes are {', '.join(_HASHES)}; not {name!r}")
    # Two of them are for servers that know no better; nobody is kept out by them.
    digest = hashlib.new(name.replace("-", ""), usedforsecurity=False)
    at = 0
    while at < octets and (data := await read(at)):
        digest.update(data[: octets - at])
        at += len(data)
    return digest
