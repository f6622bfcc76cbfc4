"""Programs that people run under a parent: openssl over its streams, script over a terminal."""

from __future__ import annotations

import asyncio
import base64
import shutil

import pytest

from sennit.core.endpoint.connect import open_stream
from sennit.core.process import open_process, run_process

pytestmark = pytest.mark.interop


def needs(program: str) -> pytest.MarkDecorator:
    """Skip where a program is not there."""
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"{program} is not installed")


@needs("openssl")
async def test_openssl_encodes_what_it_is_sent() -> None:
    data = bytes(range(256)) * 1000
    async with await open_stream("process:openssl?arg=enc&arg=-base64&arg=-A") as stream:

        async def send() -> None:
            # Beside the reading: who writes all first waits for a program that waits for him.
            await stream.send_all(data)
            await stream.send_eof()

        sending = asyncio.ensure_future(send())
        encoded = b"".join([piece async for piece in stream])
        await sending
    assert base64.b64decode(encoded) == data
    result = await run_process(["openssl", "dgst", "-sha256", "-r"], input=b"", check=True)
    assert result.stdout.startswith(b"e3b0c44298fc1c149afbf4c8996fb924")


@needs("script")
async def test_script_records_a_terminal_within_a_terminal() -> None:
    command = ["script", "-qec", "stty size; tty", "/dev/null"]
    async with open_process(command, pty=True) as process:
        assert process.stdout is not None
        assert await process.stdout.read_line() == b"24 80"
        assert (await process.stdout.read_line()).startswith(b"/dev/pts/")
        assert (await process.wait()).success


@needs("stty")
async def test_stty_changes_the_terminal_it_is_given() -> None:
    async with open_process(["sh", "-c", "stty -echo; echo off; read x; echo $x"], pty=True) as it:
        assert it.stdin is not None
        assert it.stdout is not None
        assert await it.stdout.read_line() == b"off"
        await it.stdin.send_all(b"unseen\n")
        assert await it.stdout.read_line() == b"unseen"
