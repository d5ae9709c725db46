"""Freed memory that a process keeps, seen from outside: its resident size."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from memgan.apps.cli import main as cli
from memgan.runtime.allocator import keep_freed_memory

RESIDENT_AFTER = """
import os, sys
from memgan.runtime.allocator import keep_freed_memory
kept = len(sys.argv) > 1 and keep_freed_memory()
block = bytearray(200_000_000)
del block
pages = int(open("/proc/self/statm").read().split()[1])
print(kept, pages * os.sysconf("SC_PAGE_SIZE"))
"""
linux = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc")


def measured(*arguments: str, **environment: str) -> tuple[str, int]:
    root = Path(__file__).resolve().parents[2]
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    done = subprocess.run(
        [sys.executable, "-c", RESIDENT_AFTER, *arguments],
        env={**clean, "PYTHONPATH": str(root), **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    kept, resident = done.stdout.split()
    return kept, int(resident)


@linux
def test_freed_memory_stays_with_the_process() -> None:
    kept, with_it = measured("keep")
    _, without = measured()
    assert kept == "True"
    assert with_it - without > 150_000_000


@linux
def test_settings_of_the_user_count() -> None:
    kept, resident = measured("keep", MALLOC_TRIM_THRESHOLD_="131072")
    assert kept == "False" and resident < 150_000_000


def test_other_systems_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    assert not keep_freed_memory()


def test_only_the_program_itself_asks_for_it(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    asked = []
    monkeypatch.setattr("memgan.runtime.allocator.keep_freed_memory", lambda: asked.append(1))
    assert cli.main(["models"]) == 0 and not asked  # called by another program
    for command, times in (("models", 1), ("benchmark", 0)):
        asked.clear()
        monkeypatch.setattr(sys, "argv", ["memgan", command, *(["--size", "none"] if command == "benchmark" else [])])
        cli.main()
        assert len(asked) == times
    capsys.readouterr()
