"""Sets rows of cells into columns, as plain text."""

import io
import os
import sys
from collections.abc import Iterable, Sequence


def text_table(head: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1, indent: int = 0) -> str:
    """Columns two spaces apart, without frame or color.

    As wide as its cells need; on a terminal no wider than that, where long cells are folded.

    Args:
        head: titles of the columns; empty: none.
        rows: cells, as many in each row as there are columns.
        left: how many columns are set to the left, the first ones; the others hold numbers.
        indent: spaces before each line.

    Returns:
        Lines without spaces or a line break at their end.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    cells = [list(row) for row in rows]
    columns = list(zip(*([head] if head else []), *cells, strict=True))
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, show_header=bool(head), header_style="")
    for number in range(len(columns)):
        title = Text(head[number]) if head else ""
        table.add_column(title, justify="left" if number < left else "right", overflow="fold")
    for row in cells:
        table.add_row(*map(Text, row))
    text = io.StringIO()
    # All is said here, so that neither the environment nor a notebook changes what comes out.
    console = Console(file=text, width=_width() - indent, color_system=None, force_terminal=False, force_jupyter=False)
    console.print(table)
    lines = (line.rstrip() for line in text.getvalue().splitlines())
    return "\n".join(" " * indent + line if line else "" for line in lines).rstrip("\n")


def _width() -> int:
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or sys.maxsize
    except (OSError, ValueError, AttributeError):  # no terminal
        return sys.maxsize
