"""Progress: a bar on a terminal, lines in a log file, nothing where it is hidden."""

import io
import itertools
import sys

import pytest

from memgan.runtime.progress import ProgressBar, print_line


class Terminal(io.StringIO):
    """Standard error that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def on_terminal(monkeypatch: pytest.MonkeyPatch, kind: str = "xterm") -> Terminal:
    """Standard error; not a fixture, whose stream pytest would replace when the test begins."""
    stream = Terminal()
    monkeypatch.setenv("TERM", kind)
    monkeypatch.setattr(sys, "stderr", stream)
    return stream


def clock(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Each look at the clock is so many seconds after the one before."""
    times = itertools.count(0.0, seconds)
    monkeypatch.setattr("tqdm.std.time", lambda: next(times))


def count_to(total: int, **options: object) -> None:
    with ProgressBar(total, **options) as bar:  # type: ignore[arg-type]
        for _ in range(total):
            bar.advance()


def test_a_log_file_gets_a_line_a_minute_and_the_last(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock(monkeypatch, 25.0)
    count_to(8, unit="pictures", title="faces")
    lines = [line.strip() for line in capsys.readouterr().err.split("\n") if line.strip()]
    assert [line.split("| ")[1].split()[0] for line in lines] == ["3/8", "5/8", "7/8", "8/8"]
    assert lines[0].startswith("faces: ") and "25.00s/ pictures" in lines[0]


def test_what_earlier_runs_have_done_and_notes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock(monkeypatch, 100.0)
    with ProgressBar(1000, unit="steps", start=500) as bar:
        bar.advance(note="loss 0.5")
    err = capsys.readouterr().err
    assert "501/1000" in err and "loss 0.5" in err


def test_a_short_run_writes_nothing_into_a_log_file(capsys: pytest.CaptureFixture[str]) -> None:
    count_to(2)
    assert capsys.readouterr().err == ""


def test_bytes_are_counted_in_millions(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    clock(monkeypatch, 100.0)
    with ProgressBar(unit="B") as bar:
        bar.advance(25_000_000)
    assert "25.0M/?" in capsys.readouterr().err


def test_hidden_means_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = on_terminal(monkeypatch)
    clock(monkeypatch, 100.0)
    count_to(3, hidden=True)
    assert terminal.getvalue() == ""


def test_no_standard_error_is_no_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    print_line("nobody reads this")
    count_to(3)


def test_a_terminal_gets_a_bar_and_lines_above_it(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = on_terminal(monkeypatch)
    with ProgressBar(3, unit="pictures", title="[x]") as bar:
        bar.advance()
        print_line("[red] " + "long " * 40)
        bar.advance(2)
    text = terminal.getvalue()
    assert "3/3" in text and "[x]" in text
    assert "\r[red] " + "long " * 40 + "\n" in text, "a line is neither broken nor mixed with the bar"


def test_a_bar_ends_with_its_block(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = on_terminal(monkeypatch)
    with pytest.raises(ValueError, match="x"), ProgressBar(3):
        raise ValueError("x")
    assert terminal.getvalue().endswith("\n")


def test_a_dumb_terminal_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = on_terminal(monkeypatch, "dumb")
    clock(monkeypatch, 100.0)
    count_to(1)
    assert terminal.getvalue().count("1/1") >= 1 and "█" not in terminal.getvalue()


def test_a_line_without_a_bar(capsys: pytest.CaptureFixture[str]) -> None:
    print_line("[red] so")
    assert capsys.readouterr().err == "[red] so\n"
