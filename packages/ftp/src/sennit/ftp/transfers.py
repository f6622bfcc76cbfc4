"""What passes over the server's data connections: files either way, and listings.

A `Transfer` is one command's: it asks the store, says that it begins (150), has its data
connection come or goes for it, moves the octets, and says how it went. Files in type I leave by
``sendfile``; uploads are written in batches of `Limits.window` octets, the next coming while one
is written. A transfer that stands still for `Limits.progress` seconds, the store's own work not
counted, is ended with 426.

Sources: RFC 959 §3, §4.1.3, §5.4 (replies); RFC 1123 §4.1.2.9 (STOU); RFC 3659 §5 (REST), §7
(MLSD); RFC 4217 §9, §10.
Elsewhere: data connections (``data.py``), files (``store/``), lines of listings (``listing.py``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

from sennit.core._waiting import is_cancellation
from sennit.core.commit import commit
from sennit.core.errors import ConnectionLost
from sennit.ftp.ascii import FromNetwork, ToNetwork
from sennit.ftp.data import connect_to_client
from sennit.ftp.errors import FileUnavailableError, RestartError, StoreError, TransferError
from sennit.ftp.listing import fact_lines, list_lines, name_lines
from sennit.ftp.lookups import leave
from sennit.ftp.paths import written
from sennit.ftp.progress import ProgressWatch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Sequence
    from typing import TypeVar

    from sennit.core.interfaces import Buffer
    from sennit.ftp.data import DataConnection, DataPort
    from sennit.ftp.events import TransferAsked
    from sennit.ftp.interfaces import Entry, IDrainingWriter, IReader, IWriter
    from sennit.ftp.server import FTPServerProtocol

    T = TypeVar("T")

__all__ = ["UPLOADS", "Transfer"]

UPLOADS: Final = frozenset({"STOR", "APPE", "STOU"})
BLOCK: Final = 256 * 1024
"""Octets read at a time where the kernel does not send them by itself."""


class Transfer:
    """One transfer.

    Args:
        session: Whose.
        event: What is wanted.
        port: Where the client may connect to; ``None`` in active mode.

    Attributes:
        octets: How many have passed, as they travel.
        code: Of the reply that ended it; 0 while it goes on.
        trouble: Why it went wrong, as the client was told; empty if it did not.
    """

    def __init__(
        self, session: FTPServerProtocol, event: TransferAsked, port: DataPort | None
    ) -> None:
        self._session = session
        self._event = event
        self._port = port
        self._connection: DataConnection | None = None
        self._watch: ProgressWatch | None = None
        self._stalled = False
        self._stored = False
        self.code = 0
        self.trouble = ""
        self._sent = 0

    @property
    def verb(self) -> str:
        """Its command."""
        return self._event.verb

    @property
    def octets(self) -> int:
        connection = self._connection
        if connection is None or self._event.verb not in UPLOADS:
            return self._sent
        return connection.received

    async def run(self) -> None:
        """All of it, to its reply; never fails but by being cancelled, or by a bug."""
        engine = self._session.engine
        code, text = 226, "Done"
        try:
            verb = self._event.verb
            if verb == "RETR":
                await self._retrieve()
            elif verb in UPLOADS:
                text = await self._store()
            else:
                await self._list()
        except StoreError as error:
            code, text = error.code, str(error)
        except (TransferError, ConnectionLost) as error:
            code = 425 if self._connection is None else 426
            text = "No progress" if self._stalled else _first_line(error)
        except BaseException as error:
            code = 451
            if is_cancellation(error):
                # An abort that comes while a whole file is made to last comes too late.
                code, text = (226, "Done") if self._stored else (426, "Aborted")
                if not self._session.gone:
                    engine.reply(code, text)
            raise
        finally:
            self.code = code
            if code != 226:
                self.trouble = text
            self._clear()
        engine.reply(code, text)

    def _clear(self) -> None:
        if self._watch is not None:
            self._watch.stop()
        if self._connection is not None and self.code != 226:
            self._connection.abort()
        if self._port is not None:
            self._port.close()

    # ── the connection ────────────────────────────────────────────────────────

    async def _connect(self, text: str, *, hold: bool = False) -> DataConnection:
        """Say that it begins, and have the data connection.

        Args:
            text: What is said.
            hold: Say it with what comes next, if the client has connected already.
        """
        session = self._session
        event = self._event
        limits = session.limits
        uploads = event.verb in UPLOADS
        if event.protected and session.tls is None:
            raise TransferError("there is no TLS to protect it by")
        if self._port is not None:
            self._port.receive = uploads and not event.protected
        session.engine.mark(150, text)
        if not (hold and self._port is not None and self._port.came()):
            session.flush()
        if event.target is not None:
            connection = session.new_connection(plain=not event.protected)
            await connect_to_client(
                session.reactor,
                connection,
                event.target,
                session.local,
                limits.data_connection,
            )
        elif self._port is not None:
            connection = await self._port.connection(limits.data_connection)
        else:
            raise TransferError("PASV or EPSV comes first")
        if connection.closed:
            raise TransferError("the data connection has gone")
        if event.protected:
            if uploads:
                # What comes right behind the handshake is not to be lost.
                connection.receive()
            tls = session.tls
            assert tls is not None
            try:
                await connection.start_tls(
                    tls, limits.data_connection, must_resume=session.must_resume
                )
            except BaseException:
                connection.abort()
                raise
        self._connection = connection
        if uploads and not event.protected:
            connection.receive()
        if event.verb != "RETR":
            self._begin_watch(connection)
        return connection

    def _begin_watch(self, connection: DataConnection) -> None:
        """See from time to time whether it moves."""
        session = self._session
        self._watch = ProgressWatch(
            session.reactor,
            session.limits.progress,
            lambda: (connection.mark(), self._sent),
            lambda: self._give_up(connection),
        )

    def _give_up(self, connection: DataConnection) -> None:
        self._stalled = True
        connection.abort("timeout")

    async def _of_store(self, work: Awaitable[T]) -> T:
        """Wait for the store: that nothing moves meanwhile is not the client's doing."""
        watch = self._watch
        if watch is None:
            return await work
        watch.excused = True
        try:
            return await work
        finally:
            watch.excused = False

    # ── out ───────────────────────────────────────────────────────────────────

    async def _retrieve(self) -> None:
        event = self._event
        reader = await self._session.store.open_reader(event.path)
        try:
            size = reader.entry.size
            if event.ascii:
                await self._send_text(reader, size)
            else:
                if event.offset > size:
                    raise RestartError
                await self._send(reader, size)
        finally:
            reader.close()

    async def _send(self, reader: IReader, size: int) -> None:
        event = self._event
        offset = event.offset
        end = size if event.end is None else min(event.end, size)
        count = max(end - offset, 0)
        file = reader.file
        # The mark of a file that leaves at once leaves with its last reply.
        hold = file is not None and not event.protected
        connection = await self._connect(f"Here come {count} octets", hold=hold)
        transport = connection.transport
        if not count:
            pass
        elif file is not None:
            leaving = transport.sendfile(file, offset, count)
            if not leaving.fired:
                self._session.flush()
                self._begin_watch(connection)
            self._sent = sent = await leaving
            if sent < count:
                raise TransferError("the file has become shorter")
        else:
            self._begin_watch(connection)
            while count:
                data = await self._of_store(reader.read(offset, min(count, BLOCK)))
                if not data:
                    raise TransferError("the file has become shorter")
                transport.write(data)
                await transport.writable()
                offset += len(data)
                count -= len(data)
                self._sent += len(data)
        await connection.finish()

    async def _send_text(self, reader: IReader, size: int) -> None:
        """Type A: what is skipped (REST) is counted as it travels (RFC 3659 §5.2)."""
        skip = self._event.offset
        left = None if self._event.end is None else max(self._event.end - skip, 0)
        converter = ToNetwork()
        connection = await self._connect("Here comes text")
        transport = connection.transport
        offset = 0
        self._begin_watch(connection)
        while left is None or left > 0:
            data = await self._of_store(reader.read(offset, BLOCK))
            if not data:
                break
            offset += len(data)
            text = converter.convert(data)
            if skip:
                text, skip = text[skip:], max(skip - len(text), 0)
            if left is not None:
                text = text[:left]
                left -= len(text)
            if text:
                transport.write(text)
                self._sent += len(text)
                await transport.writable()
        if skip:
            raise RestartError  # found out only now: it takes reading all of it
        await connection.finish()

    # ── in ────────────────────────────────────────────────────────────────────

    async def _store(self) -> str:
        event = self._event
        if event.ascii and event.offset:
            raise RestartError("An upload goes on in TYPE I alone")
        unique = event.verb == "STOU"
        writer = await self._session.store.open_writer(
            event.path,
            offset=event.offset if event.verb == "STOR" else 0,
            append=event.verb == "APPE",
            unique=unique,
            size=event.size,
        )
        done = False
        converter = FromNetwork() if event.ascii else None
        try:
            name = written(writer.path)
            connection = await self._connect(f"FILE: {name}" if unique else "Send it")
            await self._receive(connection, writer, converter)
            if self._watch is not None:
                self._watch.excused = True
            async with commit():
                await writer.commit()
                done = self._stored = True
            await connection.finish()
        finally:
            if not done:
                await self._leave(writer, converter)
        return f"Done, as {name}" if unique else "Done"

    async def _receive(
        self, connection: DataConnection, writer: IWriter, converter: FromNetwork | None
    ) -> None:
        drains = None
        if converter is None and getattr(writer, "drains", False):
            drains = cast("IDrainingWriter", writer)
        while pieces := await connection.take():
            drain = connection.drain() if drains is not None else None
            if drains is None or drain is None:
                await self._to_store(writer, pieces, converter)
            else:
                try:
                    await self._of_store(drains.write_on(pieces, drain.take))
                finally:
                    drain.end()
            connection.give_back(pieces)
        if converter is not None and (last := converter.finish()):
            await writer.write([last])

    async def _leave(self, writer: IWriter, converter: FromNetwork | None) -> None:
        """The rest does not come. Where a part is kept the client goes on behind all that came."""
        connection = self._connection
        try:
            if connection is not None and writer.keeps and (rest := connection.rest()):
                await self._to_store(writer, rest, converter)
        finally:
            await writer.abort()

    async def _to_store(
        self, writer: IWriter, pieces: Sequence[Buffer], converter: FromNetwork | None
    ) -> None:
        if converter is not None:
            pieces = [converter.convert(piece) for piece in pieces]
        await self._of_store(writer.write(pieces))

    # ── listings ──────────────────────────────────────────────────────────────

    async def _list(self) -> None:
        event = self._event
        store = self._session.store
        batches = store.list_directory(event.path)
        rest: AsyncIterator[Sequence[Entry]] | None = batches
        try:
            try:
                first = await _next_batch(batches)
            except FileUnavailableError:
                if event.verb == "MLSD" or event.pattern is not None:
                    raise
                # It may be a file, of which LIST and NLST tell likewise.
                entry = await store.stat(event.path)
                if entry.kind == "dir":
                    raise
                self._event.prefix = event.prefix.removesuffix(entry.name + "/")
                first, rest = [entry], None
            await self._send_entries(first, rest)
        finally:
            await leave(batches)

    async def _send_entries(
        self, first: Sequence[Entry] | None, rest: AsyncIterator[Sequence[Entry]] | None
    ) -> None:
        event = self._event
        connection = await self._connect("Here is what there is")
        transport = connection.transport
        matches = 0
        while first is not None:
            entries: Sequence[Entry] = first
            if event.pattern is not None:
                matching = event.pattern.matches
                entries = [each for each in entries if matching(each.name)]
                matches += len(entries)
                if matches > self._session.limits.max_matches:
                    raise StoreError("More names match than are told")
            if text := self._lines(entries):
                transport.write(text)
                self._sent += len(text)
                await transport.writable()
            if rest is None:
                break
            first = await self._of_store(_next_batch(rest))
        await connection.finish()

    def _lines(self, entries: Sequence[Entry]) -> bytes:
        event = self._event
        if event.verb == "MLSD":
            return fact_lines(entries, event.facts)
        if event.verb == "NLST":
            return name_lines(entries, event.prefix)
        return list_lines(entries, self._session.wall_clock())


async def _next_batch(batches: AsyncIterator[Sequence[Entry]]) -> Sequence[Entry] | None:
    try:
        return await batches.__anext__()
    except StopAsyncIteration:
        return None


def _first_line(error: BaseException) -> str:
    text = str(error).partition("\n")[0]
    return text[:1].upper() + "".join(each for each in text[1:200] if each.isprintable())
