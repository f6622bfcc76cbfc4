"""Runs ``sennit news``, and tells what it printed and what it failed with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
from click.testing import CliRunner

from sennit.core.errors import SennitError
from sennit.core.reactor.base import current_reactor
from sennit.news.commands import news

if TYPE_CHECKING:
    from collections.abc import Mapping


class Said:
    """What a command did.

    Attributes:
        status: What it ends with.
        out: What it printed.
        error: What it failed with, as people see it.
    """

    def __init__(self, status: int, out: str, error: str) -> None:
        self.status = status
        self.out = out
        self.error = error


def command(*arguments: str, stdin: bytes = b"", env: Mapping[str, str] | None = None) -> Said:
    """Run ``sennit news ARGUMENTS…`` in this thread."""
    runner = CliRunner()
    result = runner.invoke(
        news, list(arguments), input=stdin, env={"NNTPSERVER": None, **(env or {})},
        standalone_mode=False,
    )  # fmt: skip
    error = result.exception
    if error is not None and not isinstance(error, (SennitError, click.ClickException)):
        raise error
    text = error.format_message() if isinstance(error, click.ClickException) else str(error or "")
    status = result.return_value if isinstance(result.return_value, int) else int(bool(error))
    return Said(status, result.stdout, text)


async def elsewhere(*arguments: str, **options: Any) -> Said:
    """Run it in a thread, since it runs a reactor of its own."""
    said: Said = await current_reactor().defer_to_thread(command, *arguments, **options)
    return said
