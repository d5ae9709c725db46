"""How much memory a process may still take."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from memgan.runtime import free_memory as module
from memgan.runtime.free_memory import cgroup_room, free_memory


def group(folder: Path, limit: str, used: int, files: int, *, version_1: bool = False) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    names = ("memory.limit_in_bytes", "memory.usage_in_bytes") if version_1 else ("memory.max", "memory.current")
    entry = "total_inactive_file" if version_1 else "inactive_file"
    for name, text in zip((*names, "memory.stat"), (limit, str(used), f"anon 5\n{entry} {files}"), strict=True):
        (folder / name).write_text(text + "\n")


def test_the_least_room_of_all_groups_around_counts(tmp_path: Path) -> None:
    own = tmp_path / "cgroup"
    own.write_text("0::/a/b\n")
    root = tmp_path / "root"
    group(root / "a" / "b", "max", 10, 0)
    assert cgroup_room(root, own) is None
    group(root / "a", "1000", 700, 100)
    assert cgroup_room(root, own) == 1000 - (700 - 100)
    group(root, "500", 450, 0)  # a container sees its own group as the root
    assert cgroup_room(root, own) == 50
    group(root / "a" / "b", "300", 400, 0)
    assert cgroup_room(root, own) == 0


def test_groups_of_version_1(tmp_path: Path) -> None:
    own = tmp_path / "cgroup"
    own.write_text("9:cpu,cpuacct:/a\n5:memory:/a\n")
    group(tmp_path / "memory" / "a", "2000", 900, 200, version_1=True)
    assert cgroup_room(tmp_path, own) == 1300


def test_without_groups_nothing_is_known(tmp_path: Path) -> None:
    assert cgroup_room(tmp_path, tmp_path / "missing") is None


def test_the_least_of_all_limits_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_available", lambda: 900)
    monkeypatch.setattr(module, "cgroup_room", lambda *_: 700)
    monkeypatch.setattr(module, "_address_space", lambda: None)
    assert free_memory(torch.device("cpu")) == 700
    monkeypatch.setattr(module, "_address_space", lambda: 300)
    assert free_memory(torch.device("cpu")) == 300
    assert free_memory(torch.device("meta")) is None


@pytest.mark.slow
def test_a_limit_of_address_space_is_seen() -> None:
    code = "from memgan.runtime.free_memory import _address_space as room\nprint(room())"

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (64 << 30, 64 << 30))

    found = subprocess.run([sys.executable, "-c", code], preexec_fn=limit, capture_output=True, check=True, text=True)
    assert 16 << 30 < int(found.stdout) < 64 << 30
