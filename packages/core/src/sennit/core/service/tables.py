"""What a person sees once a node is up: each service, where it is, what to try."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Row", "render"]


class Row(NamedTuple):
    """One service.

    Attributes:
        name: Its name.
        kind: Its type.
        urls: Where it can be reached.
        commands: What to try.
    """

    name: str
    kind: str
    urls: tuple[str, ...]
    commands: tuple[str, ...]


def render(rows: Sequence[Row], *, terminal: bool) -> list[str]:
    """The table's lines: drawn for a terminal, plain columns for anything else."""
    if terminal:
        try:
            return _drawn(rows)
        except ImportError:
            # No rich: columns will do.
            pass
    return _plain(rows)


def _cells(rows: Sequence[Row]) -> list[tuple[str, str, str, str]]:
    """One line per URL or command, the service named on the first."""
    cells: list[tuple[str, str, str, str]] = []
    for row in rows:
        count = max(len(row.urls), len(row.commands), 1)
        cells += [
            (
                row.name if index == 0 else "",
                row.kind if index == 0 else "",
                row.urls[index] if index < len(row.urls) else "",
                row.commands[index] if index < len(row.commands) else "",
            )
            for index in range(count)
        ]
    return cells


def _plain(rows: Sequence[Row]) -> list[str]:
    cells = _cells(rows)
    widths = [max((len(cell[column]) for cell in cells), default=0) for column in range(3)]
    lines: list[str] = []
    for name, kind, url, command in cells:
        columns = [text.ljust(width) for text, width in zip((name, kind, url), widths, strict=True)]
        lines.append("  ".join([*columns, command]).rstrip())
    return lines


def _drawn(rows: Sequence[Row]) -> list[str]:
    # Imported only for a terminal: drawing costs more to load than serving does.
    from rich.box import ROUNDED
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=ROUNDED, header_style="bold")
    table.add_column("service", style="bold cyan", no_wrap=True)
    table.add_column("type", no_wrap=True)
    table.add_column("listens on", no_wrap=True)
    table.add_column("try", style="green", overflow="fold")
    for cells in _cells(rows):
        table.add_row(*(Text(each) for each in cells))
    console = Console(force_terminal=True)
    with console.capture() as capture:
        console.print(table)
    return capture.get().rstrip("\n").split("\n")
