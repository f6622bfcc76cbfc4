"""What commands show people: tables and bars.

Tables are drawn for a terminal and plain for what reads them on.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

from sennit.core.errors import MissingExtraError

try:
    import click
except ImportError as error:  # pragma: no cover - tested in a process without it
    raise MissingExtraError(__name__, "sennit-core", "cli") from error

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["harmless", "show_table", "transfer_bars"]

_DRAWN: Final = 500
"""Rows of a table that is drawn; longer ones stand in columns."""


def harmless(value: object) -> str:
    """A value as text without control characters, on one line."""
    from sennit.core.ops.records import escape

    return escape(str(value))


def show_table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows, control characters escaped; ``-`` stands for ``None``."""
    cells = [["-" if cell is None else harmless(cell) for cell in row] for row in rows]
    if sys.stdout.isatty() and len(cells) <= _DRAWN:
        try:
            from rich.box import ROUNDED
            from rich.console import Console
            from rich.table import Table
            from rich.text import Text
        except ImportError:
            pass  # columns will do
        else:
            table = Table(*heads, box=ROUNDED, header_style="bold")
            for row in cells:
                table.add_row(*(Text(cell) for cell in row))
            Console().print(table)
            return
    lines = [list(heads), *cells]
    widths = [max(len(row[column]) for row in lines) for column in range(len(heads))]
    for row in lines:
        click.echo("  ".join(map(str.ljust, row, widths)).rstrip())


def transfer_bars() -> Any:
    """Bars of octets on standard error, with speed and time left: rich's `Progress`.

    What they are called is shown as it is given: escape it. (`Any`: rich is loaded here alone.)
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
