"""Sets rows of cells into columns, as plain text."""

import itertools
import os
import sys
import textwrap
from collections.abc import Iterable, Sequence

_GAP = "  "
_LEAST_WIDTH = 10  # of a folded column


def text_table(head: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1, indent: int = 0) -> str:
    """Columns two spaces apart; on a terminal the widest one is folded to what there is room for.

    Args:
        head: titles of the columns; empty: none.
        rows: cells, as many in each row as there are columns.
        left: how many columns are set to the left, the first ones; the others hold numbers.
        indent: spaces before each line.

    Returns:
        Lines without spaces or a line break at their end.
    """
    table = [head, *rows] if head else list(rows)
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    if widths:
        excess = indent + sum(widths) + len(_GAP) * (len(widths) - 1) - _terminal_width()
        widest = widths.index(max(widths))
        widths[widest] = min(widths[widest], max(widths[widest] - excess, _LEAST_WIDTH))
    lines = []
    for row in table:
        folded = [
            textwrap.wrap(cell, width, break_on_hyphens=False) if len(cell) > width else [cell]
            for cell, width in zip(row, widths, strict=True)
        ]
        for parts in itertools.zip_longest(*folded, fillvalue=""):
            sides = (str.ljust if column < left else str.rjust for column in itertools.count())
            cells = [side(part, width) for side, part, width in zip(sides, parts, widths, strict=False)]
            lines.append(f"{' ' * indent}{_GAP.join(cells)}".rstrip())
    return "\n".join(lines)


def _terminal_width() -> int:
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or sys.maxsize
    except (OSError, ValueError, AttributeError):  # no terminal
        return sys.maxsize
