"""Progress: a bar on a terminal, lines in a log file, nothing where it is hidden."""

import io
import sys

import pytest

from memgan.runtime import progress as module
from memgan.runtime.progress import ProgressBar, print_line


class Terminal(io.StringIO):
    """Standard error that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def on_terminal(monkeypatch: pytest.MonkeyPatch, kind: str = "xterm") -> Terminal:
    """Standard error; not a fixture, whose stream pytest would replace when the test begins."""
    stream = Terminal()
    monkeypatch.setenv("TERM", kind)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr(sys, "stderr", stream)
    return stream


def count_to(total: int, *, tick: float = 0.0, monkeypatch: pytest.MonkeyPatch, **options: object) -> None:
    """Count one by one; each takes ``tick`` seconds."""
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    with ProgressBar(total, **options) as bar:  # type: ignore[arg-type]
        for _ in range(total):
            now[0] += tick
            bar.advance()


def test_a_log_file_gets_a_line_for_each_twentieth_and_the_last(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    count_to(41, tick=11.0, monkeypatch=monkeypatch, unit="pictures", title="faces")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "faces: 3/41 pictures, 11.0 s each, 6:58 left, 0:33 elapsed"
    assert [line.split()[1] for line in lines] == [f"{done}/41" for done in (*range(3, 41, 3), 41)]


def test_a_long_run_gets_a_line_a_minute(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    with ProgressBar(1000, unit="steps", start=500) as bar:
        for _ in range(4):
            now[0] += 30
            bar.advance(note="loss 0.5")
    assert capsys.readouterr().err.splitlines() == [
        "502/1000 steps, 30.0 s each, 4:09:00 left, loss 0.5, 1:00 elapsed",
        "504/1000 steps, 30.0 s each, 4:08:00 left, loss 0.5, 2:00 elapsed",
    ]


def test_a_short_run_writes_nothing_into_a_log_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    count_to(2, tick=1.0, monkeypatch=monkeypatch)
    assert capsys.readouterr().err == ""


def test_bytes_are_megabytes(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    with ProgressBar(unit="B") as bar:
        now[0] = 10.0
        bar.advance(25_000_000)
    assert capsys.readouterr().err == "25.0 MB, 2.5 MB/s, 0:10 elapsed\n"


def test_hidden_means_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = on_terminal(monkeypatch)
    count_to(3, tick=100.0, monkeypatch=monkeypatch, hidden=True)
    assert terminal.getvalue() == ""


def test_no_standard_error_is_no_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    print_line("nobody reads this")
    count_to(3, tick=100.0, monkeypatch=monkeypatch)


def test_a_terminal_gets_a_bar_and_lines_above_it(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = on_terminal(monkeypatch)
    with ProgressBar(3, unit="pictures", title="[x]") as bar:
        bar.advance()
        print_line("[red] " + "long " * 40)
        with ProgressBar(2, unit="tiles") as inner:
            inner.advance(2)
        bar.advance(2)
    text = terminal.getvalue()
    assert "3/3 pictures" in text and "[x]" in text
    assert "[red] " + "long " * 40 in text, "a line is neither broken nor read as markup"
    assert "tiles" not in text, "one bar at a time"


def test_a_part_has_a_bar_below_and_leaves_the_other_one(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = on_terminal(monkeypatch)
    with ProgressBar(3, unit="films") as bar:
        with ProgressBar(20, unit="frames", title="a\n.mp4", is_part=True) as part:
            part.advance(10)
            part.advance(10, total=30)
            shown = module._shown
            assert shown is not None
            shown.refresh()
        assert module._shown is shown and len(shown.tasks) == 1
        bar.advance(3)
    text = terminal.getvalue()
    assert "20/30 frames" in text and "a\\n.mp4" in text and "3/3 films" in text
    assert module._shown is None


def test_a_part_of_nothing_is_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = on_terminal(monkeypatch)
    with ProgressBar(2, unit="frames", is_part=True) as bar:
        bar.advance(2)
    assert "2/2 frames" in terminal.getvalue() and module._shown is None


def test_items_that_differ_have_no_rate(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    count_to(1, tick=11.0, monkeypatch=monkeypatch, unit="films", is_even=False)
    assert capsys.readouterr().err == "1/1 films, 0:11 elapsed\n"


def test_a_bar_ends_with_its_block(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = on_terminal(monkeypatch)
    with pytest.raises(ValueError, match="x"), ProgressBar(3):
        raise ValueError("x")
    print_line("after it")
    assert terminal.getvalue().endswith("after it\n")


def test_a_dumb_terminal_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = on_terminal(monkeypatch, "dumb")
    count_to(1, tick=100.0, monkeypatch=monkeypatch)
    assert terminal.getvalue().startswith("1/1 items") and "\x1b" not in terminal.getvalue()


def test_a_line_without_a_bar(capsys: pytest.CaptureFixture[str]) -> None:
    print_line("[red] so")
    assert capsys.readouterr().err == "[red] so\n"


def test_a_limit_of_time_counts_what_it_suffices_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    with ProgressBar(300_000, unit="steps", start=5, seconds=180.0) as bar:
        for _ in range(17):
            now[0] += 10.0
            bar.advance(note="loss 2")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "7/23 steps, 10.0 s each, 2:40 left, loss 2, 0:20 elapsed"
    assert lines[-1] == "22/23 steps, 10.0 s each, 0:10 left, loss 2, 2:50 elapsed"
    with ProgressBar(8, unit="steps", seconds=180.0) as bar:  # its items run out first
        now[0] += 10.0
        bar.advance()
    assert capsys.readouterr().err.startswith("1/8 steps, 10.0 s each, 1:10 left")
