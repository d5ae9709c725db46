"""The command as a process of its own: streams that are closed, broken or of few characters, and no home."""

import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import pytest
from fakes import scene

from memgan.apps.cli import main as cli
from memgan.image import load_picture

ROOT = Path(__file__).parents[3]
RESULTS = "\u7d50\u679c"


def environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name != "HOME"}
    return {**kept, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "cp1252", **more}


def save(folder: Path) -> Path:
    (folder / "\u5199\u771f.png").write_bytes(cv2.imencode(".png", scene())[1].tobytes())
    return folder


def test_a_process_without_any_stream_does_its_work(tmp_path: Path) -> None:
    """As a service or a program of Windows without a console has none."""
    save(tmp_path)
    command = f"'{sys.executable}' -m memgan restore . -o {RESULTS} --device cpu <&- >&- 2>&-"
    assert subprocess.run(["sh", "-c", command], cwd=tmp_path, env=environment(), check=False).returncode == 0
    assert load_picture(tmp_path / RESULTS / "restored_imgs" / "\u5199\u771f.png").rgb.shape == (120, 160, 3)


def test_a_dry_run_is_light_and_speaks_to_every_console(tmp_path: Path) -> None:
    code = (
        "import sys; from memgan.apps.cli.main import main\n"
        f"status = main(['restore', '.', '-o', '{RESULTS}', '--dry-run'])\n"
        "print({'torch', 'cv2'} & set(sys.modules)); sys.exit(status)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=save(tmp_path), env=environment(), capture_output=True, check=True
    )
    assert done.stdout.decode("cp1252").splitlines() == [
        "\\u5199\\u771f.png -> \\u7d50\\u679c/restored_imgs/\\u5199\\u771f.png",
        "set()",
    ]


class Broken(io.StringIO):
    """Standard output of a process whose disk is full, or whose reader has left."""

    error: OSError

    def write(self, text: str) -> int:
        raise self.error


@pytest.mark.parametrize(("error", "status"), [(BrokenPipeError(32, "Broken pipe"), 0), (OSError(28, "No space"), 1)])
def test_only_a_lost_result_is_a_failure(
    error: OSError, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stream = Broken()
    stream.error = error
    monkeypatch.setattr(sys, "stdout", stream)
    assert cli.main(["models"]) == status
    assert ("No space" in capsys.readouterr().err) == bool(status)


@pytest.mark.parametrize("error", [BrokenPipeError(32, "Broken pipe"), OSError(28, "No space")])
def test_the_work_counts_not_what_is_said_of_it(
    error: OSError, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def run(args: Any) -> int:
        print("done")
        print("a warning", file=sys.stderr)
        (tmp_path / "done").touch()
        return 0

    stream = Broken()
    stream.error = error
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, stream)
    monkeypatch.setattr("memgan.apps.cli.restore.run", run)
    assert cli.main(["restore", "a.png", "-o", str(tmp_path)]) == 0 and (tmp_path / "done").exists()
