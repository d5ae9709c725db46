"""Pairs for the estimator of errors, its fit, and its calibration."""

import itertools
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import TINY_MOBILE, write_faces
from torch import Tensor

from memgan import hub
from memgan.degradation.random_draw import RandomDraw
from memgan.errors import ConfigError, DataError
from memgan.hub import weight_file
from memgan.image import load_picture, to_tensor
from memgan.network.model import build_memgan
from memgan.network.reliability import ERROR_KNOTS, ReliabilityConfig, ReliabilityNet, block_error
from memgan.training import reliability
from memgan.training.reliability import (
    DAMAGE,
    PairMaker,
    Pairs,
    calibrate,
    chunks_in,
    damaged,
    fit,
    held_out_faces,
    is_held_out,
    main,
    monotone_means,
    platt,
    read_pairs,
    write_pairs,
)

TINY = ReliabilityConfig(name="tiny", image_size=64, stem_channels=4, channels=8, blocks=1)


def described(faces: Tensor) -> Tensor:
    """In place of dlib's descriptor: mean colors."""
    return faces.mean((2, 3))


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """Arguments of :class:`PairMaker`: twelve faces, and two ends of a dial."""
    folder = tmp_path_factory.mktemp("given")
    torch.manual_seed(0)
    state = build_memgan(TINY_MOBILE).state_dict()
    weights = weight_file.save(folder / "vivid.safetensors", TINY_MOBILE, state, {"license": "free"})
    moved = {n: t if n.startswith("memory.") else t + 0.02 * torch.randn_like(t) for n, t in state.items()}
    faithful = weight_file.save(folder / "faithful.safetensors", TINY_MOBILE, moved)
    faces = [write_faces(folder / "faces", count=12)]
    return {"faces": faces, "weights": str(weights), "faithful": str(faithful), "describe": described}


def test_what_a_pair_is(given: dict[str, object]) -> None:
    maker = PairMaker(**given, per_face=3)
    pairs = maker.chunk(1)
    assert maker.num_chunks == 2 and len(set(pairs.names)) == 4 and len(pairs.names) == 12
    assert pairs.degraded.shape == pairs.restored.shape == (12, 64, 64, 3)
    assert pairs.degraded.dtype == pairs.restored.dtype == np.uint8
    assert set(pairs.kinds) <= set(DAMAGE) and set(pairs.fidelity) <= {0, 0.25, 0.5, 0.75, 1}
    folder = Path(str(given["faces"][0]))  # type: ignore[index]
    row = next(row for row, kind in enumerate(pairs.kinds) if kind != "aged")
    truth = to_tensor(load_picture(folder / str(pairs.names[row])).rgb)[None]
    restored = to_tensor(pairs.restored[row])[None]
    torch.testing.assert_close(torch.from_numpy(pairs.error[row]), block_error(restored, truth)[0])
    assert pairs.distance[row] == pytest.approx(float((described(restored) - described(truth)).norm()), abs=1e-6)
    names = {str(name) for chunk in (0, 1) for name in maker.chunk(chunk).names}
    assert len(names) == 12


def test_half_of_the_faces(given: dict[str, object]) -> None:
    even, odd = ({str(n) for n in PairMaker(**given, half=half).chunk(0).names} for half in ("even", "odd"))
    assert len(even) == len(odd) == 6 and not even & odd
    assert sorted(even | odd)[0] in even


def test_the_kinds_of_damage() -> None:
    face = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 1.6 - 0.8
    change = {}
    for kind in DAMAGE:
        made = [damaged(face, kind, seed) for seed in range(12)]
        assert torch.equal(made[0][1], damaged(face, kind, 0)[1])
        assert all(torch.equal(truth, face) for truth, _ in made) or kind == "aged"
        change[kind] = float(np.mean([float((degraded - truth).abs().mean()) for truth, degraded in made]))
    assert change["mild"] < change["eq14"] < change["strong"]


def test_shares_of_damage() -> None:
    draw = RandomDraw(torch.Generator().manual_seed(0))
    found = Counter(reliability._drawn(DAMAGE, draw) for _ in range(2000))
    assert sum(DAMAGE.values()) == pytest.approx(1)
    assert all(found[kind] == pytest.approx(2000 * share, rel=0.2) for kind, share in DAMAGE.items())


def test_pairs_are_made_once_and_continue(given: dict[str, object], tmp_path: Path) -> None:
    write_pairs(tmp_path, **given, per_face=1)
    first, second = chunks_in(tmp_path)
    bytes_of_second, time_of_first = second.read_bytes(), first.stat().st_mtime_ns
    second.unlink()
    write_pairs(tmp_path, **given, per_face=1)
    assert second.read_bytes() == bytes_of_second and first.stat().st_mtime_ns == time_of_first
    with pytest.raises(DataError, match="other weights, settings or seeds"):
        write_pairs(tmp_path, **given, per_face=1, seed=1)


def test_the_dial_needs_its_other_end(given: dict[str, object]) -> None:
    alone = {**given, "faithful": None}
    with pytest.raises(ConfigError, match="no registered faithful partner; give one by --faithful"):
        PairMaker(**alone)
    assert list(PairMaker(**alone, settings=[0]).made_by["calibrated_for"]) == ["vivid"]


def made_up(folder: Path, chunks: int = 4, scale: float = 1.0) -> Path:
    """Pairs whose error is what was changed, and whose distance follows from it; a third of each setting."""
    draw = np.random.default_rng(0)
    folder.mkdir()
    for number in range(chunks):
        degraded = draw.integers(60, 190, (24, 4, 4, 3)).astype(np.uint8).repeat(16, 1).repeat(16, 2)
        change = draw.exponential(12, (24, 4, 4)).clip(0, 60)
        restored = (degraded + change.repeat(16, 1).repeat(16, 2)[..., None]).astype(np.uint8)
        distance = (0.3 + 0.02 * (change.mean((1, 2)) - 12)).astype(np.float32)
        pairs = Pairs(
            np.array([f"{number}-{row}.png" for row in range(24)]),
            np.array(["eq14"] * 24),
            degraded,
            restored,
            np.resize(np.float32([0, 0.5, 1]), 24),
            (scale * (change + 1)).astype(np.float32),
            distance,
        )
        made_by = {"calibrated_for": {"vivid": "a", "faithful": "b"}, "license": "free"}
        np.savez(folder / f"{number:05}.npz", made_by=np.array(json.dumps(made_by)), **pairs._asdict())
    return folder


def test_fit_and_calibration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It learns to see what was changed; pairs with three times the error triple what it expects."""
    pairs, weights = made_up(tmp_path / "pairs"), tmp_path / "tiny.safetensors"
    monkeypatch.setattr(sys, "argv", ["reliability", "fit", str(pairs), "-o", str(weights), "--epochs", "8"])
    main()
    assert "ROC area of the risk" in capsys.readouterr().out
    found = hub.read_reliability(weights)
    assert found.calibrated_for == {"vivid": "a", "faithful": "b"} and found.metadata["license"] == "free"
    judged = [face for _, face in held_out_faces(found.build(), pairs)]
    expected, true = (np.concatenate([getattr(face, f) for face in judged]) for f in ("expected_error", "true_error"))
    assert len(judged) > 3 and np.corrcoef(expected, true)[0, 1] > 0.9

    others = made_up(tmp_path / "others", scale=3.0)
    monkeypatch.setattr(sys, "argv", ["reliability", "calibrate", str(weights), str(others)])
    main()
    calibrated = hub.read_reliability(weights)
    assert json.loads(calibrated.metadata["calibration"])["license"] == "free"
    judged = [face for _, face in held_out_faces(calibrated.build(), others)]
    expected, true = (np.concatenate([getattr(face, f) for face in judged]) for f in ("expected_error", "true_error"))
    assert expected.mean() == pytest.approx(true.mean(), rel=0.15)
    for name, tensor in found.state.items():
        assert torch.equal(tensor, calibrated.state[name]) or name.startswith("calibration.")


def test_a_fit_is_the_same_again(tmp_path: Path) -> None:
    pairs = made_up(tmp_path / "pairs", chunks=1)
    first, again = (fit(pairs, TINY, epochs=1).state_dict() for _ in range(2))
    assert all(torch.equal(tensor, again[name]) for name, tensor in first.items())
    other = fit(pairs, TINY, epochs=1, seed=1).state_dict()
    assert not torch.equal(other["look_at_made.weight"], first["look_at_made.weight"])


def test_held_out_faces_are_not_fitted(tmp_path: Path) -> None:
    pairs = made_up(tmp_path / "pairs", chunks=2)
    kept = fit(pairs, TINY, epochs=1).state_dict()
    for path in chunks_in(pairs):
        with np.load(path) as file:
            fields = dict(file)
        held_out = is_held_out(fields["names"])
        assert 0 < held_out.sum() < 6
        fields["error"][held_out] = 99
        np.savez(path, **fields)
    again = fit(pairs, TINY, epochs=1).state_dict()
    assert all(torch.equal(tensor, again[name]) for name, tensor in kept.items())
    assert {face.true_error.max() for _, face in held_out_faces(ReliabilityNet(TINY), pairs)} == {99}


def test_what_is_held_out_is_a_twelfth() -> None:
    assert is_held_out(np.array([f"{i}.png" for i in range(6000)])).mean() == pytest.approx(1 / 12, rel=0.1)


def test_calibration_needs_every_setting_and_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = made_up(tmp_path / "pairs", chunks=1)
    path = chunks_in(pairs)[0]
    with np.load(path) as file:
        fields = dict(file)
    fields["fidelity"][fields["fidelity"] == 0.5] = 1
    np.savez(path, **fields)
    network = ReliabilityNet(TINY).eval().requires_grad_(False)
    with pytest.raises(DataError, match=r"no pairs of the setting 0\.5"):
        calibrate(network, pairs)
    weights = hub.save_reliability(tmp_path / "a.safetensors", TINY, network.state_dict(), {"other": "c"})
    monkeypatch.setattr(sys, "argv", ["reliability", "calibrate", str(weights), str(pairs)])
    with pytest.raises(ConfigError, match="give pairs of the same weights"):
        main()


def test_monotone_means() -> None:
    raw = np.arange(12.0)
    knots, means = monotone_means(raw, raw**2, 4)
    assert knots == pytest.approx([1, 4, 7, 10], abs=1e-3)
    assert means == pytest.approx([5 / 3, 50 / 3, 149 / 3, 302 / 3])
    _, pooled = monotone_means(np.arange(8.0), np.array([1.0, 1, 5, 5, 3, 3, 9, 9]), 4)
    assert pooled.tolist() == [1, 4, 4, 9]
    knots, means = monotone_means(np.ones(3), np.array([1.0, 2, 3]), ERROR_KNOTS)  # fewer than knots, and all alike
    assert (np.diff(knots) > 0).all() and (np.diff(means) >= 0).all() and len(knots) == ERROR_KNOTS


def test_platt_finds_slope_and_offset() -> None:
    draw = np.random.default_rng(0)
    odds = draw.normal(size=20000) * 2
    is_positive = draw.random(20000) < 1 / (1 + np.exp(-(0.5 * odds - 1)))
    assert platt(odds, is_positive) == pytest.approx((0.5, -1), abs=0.06)
    slope, offset = platt(np.zeros(50), np.zeros(50, bool))
    assert slope == pytest.approx(1, abs=0.01) and 1 / (1 + np.exp(-offset)) == pytest.approx(1 / 52, rel=0.05)
    assert platt(odds, odds < 0)[0] == 0  # never the other way round


@pytest.mark.slow
def test_two_processes_make_the_same_pairs(given: dict[str, object], tmp_path: Path) -> None:
    faces, weights = given["faces"], given["weights"]
    command = [sys.executable, "-m", "memgan.training.reliability", "pairs", str(faces[0]), "--weights", str(weights)]  # type: ignore[index]
    command += ["--settings", "0", "--limit", "9", "--per-face", "1", "--jobs", "2", "-o", str(tmp_path / "two")]
    subprocess.run(command, check=True, capture_output=True)
    alone = PairMaker(faces, str(weights), settings=[0], per_face=1, limit=9)  # type: ignore[arg-type]
    for number, path in enumerate(chunks_in(tmp_path / "two")):
        for ours, theirs in itertools.zip_longest(alone.chunk(number), read_pairs(path)):
            assert np.array_equal(ours, theirs)
