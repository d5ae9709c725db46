"""``import_prior``: what it writes and what it refuses."""

from pathlib import Path

import pytest
import torch
from ir_writer import tiny_random_face, wheel
from safetensors import safe_open
from safetensors.torch import load_file
from stylegan2_reference import rosinality

from memgan.errors import ConfigError, OutputError, WeightsNotFoundError
from memgan.training import priors
from memgan.training.priors.mobile import convert_random_face, digest
from memgan.training.priors.stylegan2 import read_stylegan2


def metadata(path: Path) -> dict[str, str]:
    with safe_open(path, "pt") as stream:
        return stream.metadata()


def test_import_of_a_stylegan2_prior(tmp_path):
    source, out = tmp_path / "g.pt", tmp_path / "new" / "prior.safetensors"
    torch.save({"g_ema": rosinality()}, source)
    assert priors.import_prior("stylegan2", source, out, max_size=32) == out
    stored, expected = load_file(out), read_stylegan2(source, max_size=32)
    assert set(stored) == set(expected)
    assert all(torch.equal(stored[key], expected[key]) for key in expected)
    about = metadata(out)
    assert (about["family"], about["image_size"], about["source"]) == ("stylegan2", "32", "g.pt")
    assert len(about["source_sha256"]) == 64 and "non-commercial" in about["license"]
    assert [path.name for path in out.parent.iterdir()] == ["prior.safetensors"]


def test_import_of_a_mobile_prior(tmp_path, monkeypatch):
    files, expected = tiny_random_face(levels=2)
    monkeypatch.setattr(priors, "convert_random_face", lambda given: convert_random_face(given, levels=2))
    out = priors.import_prior("mobile", wheel(tmp_path / "rf.whl", files), tmp_path / "mobile.safetensors")
    assert set(load_file(out)) == set(expected)
    about = metadata(out)
    assert (about["family"], about["source"]) == ("mobile", "rf.whl")
    assert about["source_sha256"] == digest(files)


def test_import_refuses_and_leaves_what_was_there(tmp_path):
    out = tmp_path / "prior.safetensors"
    out.write_bytes(b"old")
    for kind, source, target, message in (
        ("stylegan3", None, out, "mobile, stylegan2"),
        ("stylegan2", None, out, "needs a source"),
        ("mobile", None, tmp_path / "prior.pth", r"must end in \.safetensors"),
    ):
        with pytest.raises(ConfigError, match=message):
            priors.import_prior(kind, source, target)
    with pytest.raises(ConfigError, match="max_size is 100"):
        priors.import_prior("stylegan2", "x.pt", out, max_size=100)
    with pytest.raises(WeightsNotFoundError):
        priors.import_prior("stylegan2", tmp_path / "absent.pt", out)
    torch.save({"g_ema": rosinality()}, tmp_path / "g.pt")
    blocked = tmp_path / "folder.safetensors"
    blocked.mkdir()
    for target in (blocked, out / "below.safetensors"):
        with pytest.raises(OutputError, match="cannot be written"):
            priors.import_prior("stylegan2", tmp_path / "g.pt", target)
    assert out.read_bytes() == b"old"
    assert not [path for path in tmp_path.iterdir() if path.name.endswith(".tmp")]
