"""Restorers of other libraries by name."""

import sys
from pathlib import Path

import pytest
import torch

from memgan.errors import ConfigError
from memgan.evaluation import import_restorer


def test_restorers_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_restorers.py").write_text("def half(x):\n    return x / 2\nclass Net:\n    half = half\nfour = 4\n")
    monkeypatch.chdir(tmp_path)
    name, restore = import_restorer("my_restorers:half")
    assert name == "half" and restore(torch.ones(1)).item() == 0.5
    assert import_restorer("mine=my_restorers:Net.half")[0] == "mine"
    for bad in ("my_restorers", ":half", "my_restorers:", "name="):
        with pytest.raises(ConfigError, match="module:callable"):
            import_restorer(bad)
    for bad, named in (("nowhere_xyz:f", "nowhere_xyz"), ("my_restorers:third", "third"), ("my_restorers:four", "int")):
        with pytest.raises(ConfigError, match=named):
            import_restorer(bad)
    assert str(tmp_path) not in sys.path
