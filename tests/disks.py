"""Folders that cannot be written, for the tests of downloads: what a full disk and a read-only one do."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest


def _mounted(folder: Path, *options: str) -> bool:
    if sys.platform != "linux" or os.geteuid() != 0:
        return False
    return subprocess.run(["mount", *options, str(folder)], capture_output=True).returncode == 0


@contextlib.contextmanager
def small(folder: Path, size: str = "512k") -> Iterator[Path]:
    """Make ``folder`` a file system of so many bytes; skips the test where that cannot be."""
    folder.mkdir(exist_ok=True)
    if not _mounted(folder, "-t", "tmpfs", "-o", f"size={size}", "tmpfs"):
        pytest.skip("only the superuser of Linux may mount a small file system, and not in every container")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@contextlib.contextmanager
def read_only(folder: Path) -> Iterator[Path]:
    """Forbid writing into ``folder`` and what is in it; skips the test where that cannot be."""
    if os.geteuid() == 0:  # permissions do not bind the superuser
        if not _mounted(folder, "--bind", "-o", "ro", str(folder)):
            pytest.skip("the superuser may write everywhere, and here may not mount a read-only folder")
        try:
            yield folder
        finally:
            subprocess.run(["umount", "-l", str(folder)], check=True)
        return
    folders = [folder, *(path for path in folder.rglob("*") if path.is_dir() and not path.is_symlink())]
    for path in folders:
        path.chmod(0o555)
    try:
        yield folder
    finally:
        for path in folders:
            path.chmod(0o755)
