"""JSON reports: replaced all at once."""

import os
from pathlib import Path

import pytest

from memgan.errors import OutputError
from memgan.runtime.atomic_file import write_json


def test_json_is_written_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "report.json"
    write_json(file, {"a": (1, 2.5)})
    before = file.read_text()
    with pytest.raises(TypeError):
        write_json(file, {"a": object()})
    with monkeypatch.context() as patch, pytest.raises(OutputError, match="disc is full"):
        patch.setattr("os.replace", lambda *names: (_ for _ in ()).throw(OSError(28, "disc is full")))
        write_json(file, {"a": 3})
    assert file.read_text() == before and list(tmp_path.iterdir()) == [file]
    with pytest.raises(OutputError, match="nowhere"):
        write_json(tmp_path / "nowhere" / "report.json", {})


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no such files")
def test_a_file_never_replaces_a_device_or_a_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(OutputError, match="a device or a pipe"):
        write_json(pipe, {})
    assert pipe.is_fifo() and list(tmp_path.iterdir()) == [pipe]
