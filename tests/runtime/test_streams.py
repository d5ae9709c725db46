"""Standard streams that are closed, full, gone, or of few characters lose no work."""

import errno
import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from memgan.runtime.progress import ProgressBar, print_line
from memgan.runtime.streams import LenientStream, drop_what_is_left, lenient_streams, open_missing_streams


@pytest.fixture
def broken_pipe() -> Iterator[io.TextIOWrapper]:
    """Text into a pipe that nobody reads."""
    reader, writer = os.pipe()
    os.close(reader)
    stream = open(writer, "w", buffering=1)  # noqa: SIM115
    yield stream
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    stream.close()


def test_what_can_be_written_is_written() -> None:
    text = io.StringIO()
    stream = LenientStream(text)
    print("a", "b", file=stream, flush=True)
    assert text.getvalue() == "a b\n" and stream.error is None and not stream.is_gone


def test_a_reader_that_has_left_is_no_error(broken_pipe: io.TextIOWrapper) -> None:
    stream = LenientStream(broken_pipe)
    for _ in range(3):
        print("x" * 10000, file=stream, flush=True)
    assert stream.is_gone and isinstance(stream.error, BrokenPipeError)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no full device")
def test_a_full_disk_is_remembered() -> None:
    with open("/dev/full", "w") as full:
        stream = LenientStream(full)
        print("x", file=stream, flush=True)
        os.dup2(os.open(os.devnull, os.O_WRONLY), full.fileno())
    assert isinstance(stream.error, OSError) and stream.error.errno == errno.ENOSPC and not stream.is_gone


def test_a_closed_stream_and_none_take_everything() -> None:
    closed = io.StringIO()
    closed.close()
    for stream in (LenientStream(closed), LenientStream(None)):
        print("x", file=stream, flush=True)
        assert not stream.isatty()
    assert LenientStream(None).is_gone and LenientStream(None).encoding == "utf-8"
    with pytest.raises(OSError, match="fileno"):
        LenientStream(None).fileno()


@pytest.mark.parametrize(
    ("encoding", "expected"),
    [("cp1252", "caf\xe9 \\u7d50\n"), ("ascii", "caf\\xe9 \\u7d50\n"), ("utf-8", "caf\xe9 \u7d50\n")],
)
def test_characters_that_the_console_lacks_become_escapes(encoding: str, expected: str) -> None:
    raw = io.BytesIO()
    stream = LenientStream(io.TextIOWrapper(raw, encoding, newline="\n"))
    print("caf\xe9 \u7d50", file=stream, flush=True)
    assert raw.getvalue().decode(encoding) == expected and stream.error is None


def test_streams_are_as_before_after_the_block(capsys: pytest.CaptureFixture[str]) -> None:
    before = sys.stdout, sys.stderr
    with pytest.raises(ValueError, match="x"), lenient_streams() as (out, err):
        assert (sys.stdout, sys.stderr) == (out, err)
        print("seen")
        raise ValueError("x")
    assert (sys.stdout, sys.stderr) == before and capsys.readouterr().out == "seen\n"


def test_a_bar_on_a_terminal_that_is_closed_meanwhile(
    monkeypatch: pytest.MonkeyPatch, broken_pipe: io.TextIOWrapper
) -> None:
    class Terminal(io.TextIOBase):
        def isatty(self) -> bool:
            return True

        def write(self, text: str) -> int:
            return broken_pipe.write(text)

        def flush(self) -> None:
            broken_pipe.flush()

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", Terminal())
    with ProgressBar(2) as bar:
        bar.advance()
        print_line("x" * 100)
        bar.advance()
    print_line("after it")


def test_a_log_file_that_is_full_ends_no_loop(monkeypatch: pytest.MonkeyPatch, broken_pipe: io.TextIOWrapper) -> None:
    monkeypatch.setattr(sys, "stderr", broken_pipe)
    monkeypatch.setattr("memgan.runtime.progress._SECONDS", 0)
    with ProgressBar(3) as bar:
        bar.advance()
        print_line("x")
        bar.advance(2)


def test_closed_files_of_the_process_are_opened_before_others_get_their_numbers() -> None:
    """In a child of fork, whose own streams are not needed."""
    child = os.fork()
    if child == 0:
        os.closerange(0, 3)
        open_missing_streams()
        os._exit(0 if os.open(os.devnull, os.O_RDONLY) > 2 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_what_a_broken_stream_still_holds_is_dropped(
    monkeypatch: pytest.MonkeyPatch, broken_pipe: io.TextIOWrapper
) -> None:
    monkeypatch.setattr(sys, "stdout", broken_pipe)
    monkeypatch.setattr(sys, "stderr", None)
    with pytest.raises(BrokenPipeError):
        print("x" * 100000, flush=True)
    drop_what_is_left()
    broken_pipe.flush()
