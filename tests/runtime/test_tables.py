"""Tables: columns of plain text."""

import os

import pytest

from memgan.runtime import tables
from memgan.runtime.tables import text_table


def test_columns() -> None:
    rows = [["lpips", "0.25"], ["[red]psnr[/] :smile:", "23.512"]]
    assert text_table(["metric", "x"], rows).splitlines() == [
        "metric                     x",
        "lpips                   0.25",
        "[red]psnr[/] :smile:  23.512",
    ]


def test_without_a_head() -> None:
    assert text_table([], [["file", "a.pth"], ["size", "1 MB"]], left=2) == "file  a.pth\nsize  1 MB"
    assert text_table([], [["a", "b"], ["c", "d"]], left=2, indent=3) == "   a  b\n   c  d"
    assert text_table([], []) == ""


def test_no_color_and_no_limit_of_width(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "20")
    assert text_table(["", "value"], [["x" * 500, "1.5"]]).splitlines()[1] == "x" * 500 + "    1.5"


def test_a_terminal_is_not_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables.os, "get_terminal_size", lambda stream: os.terminal_size((30, 10)))
    monkeypatch.setattr(tables.sys, "stdout", open(os.devnull))  # noqa: SIM115 (monkeypatch puts it back)
    lines = text_table(["name", "value"], [["words " * 20, "12.5"]]).splitlines()
    assert max(map(len, lines)) <= 30 and "".join(lines).count("words") == 20 and "12.5" in lines[1]


def test_rows_have_as_many_cells_as_there_are_columns() -> None:
    with pytest.raises(ValueError, match="longer"):
        text_table(["a", "b"], [["1", "2", "3"]])
