"""Restorers on degraded and on real faces: scores, seeds, targets, and what is refused."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from torch import Tensor

from memgan.degradation import Degradation, degrade_seeded
from memgan.errors import ConfigError, DataError, ShapeError
from memgan.evaluation import (
    EvaluatedFace,
    Metric,
    MetricInfo,
    MetricSet,
    evaluate,
    evaluate_real,
    face_seed,
    frechet_distance,
    kernel_distance,
    psnr,
    result_table,
    ssim,
)
from memgan.image import Picture, load_picture, save_picture, to_tensor
from memgan.runtime.atomic_file import write_json
from memgan.runtime.progress import ProgressBar


def contrast(pictures: Tensor) -> Tensor:
    return pictures.flatten(1).std(1)


def colors(pictures: Tensor) -> Tensor:
    return pictures.mean((2, 3))


def own(name: str, kind: Literal["paired", "single", "sets"], compute: Callable[..., Tensor], **info: Any) -> Metric:
    return Metric(name, MetricInfo(kind, False, "my formula", **info), compute)


PAIRED = MetricSet((own("psnr", "paired", psnr, unit="dB"), own("ssim", "paired", ssim)))
ALL = MetricSet((own("psnr", "paired", psnr), own("fd_enlite0", "sets", colors), own("niqe", "single", contrast)))
KERNEL = own("kd_enlite0", "sets", colors, distance="kernel")


def same(degraded: Tensor) -> Tensor:
    return degraded


def write(folder: Path, *names: str, seed: int = 0) -> Path:
    random = np.random.default_rng(seed)
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        small = random.integers(0, 256, (6, 6, 3), dtype=np.uint8)
        save_picture(Picture(np.kron(small, np.ones((8, 8, 1), np.uint8))), folder / name)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "faces", "b.png", "a.png", "more/c.png")


def truths(folder: Path) -> Tensor:
    names = ("a.png", "b.png", "more/c.png")
    return torch.stack([to_tensor(load_picture(folder / name).rgb) for name in names])


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int | None]]:
    """Faces done and in all, of every progress bar that is not hidden."""
    found: list[tuple[int, int | None]] = []

    class Recorded(ProgressBar):
        def advance(self, count: int = 1, note: str | None = None) -> None:
            super().advance(count, note)
            if not self._hidden:
                found.append((self._done, self._total))

    monkeypatch.setattr("memgan.evaluation.run.ProgressBar", Recorded)
    return found


def test_a_perfect_and_an_idle_restorer(folder: Path) -> None:
    clean = truths(folder)
    result = evaluate({"idle": same, "perfect": lambda degraded: clean}, folder, metrics=PAIRED, size_px=48)
    assert [face.name for face in result.faces] == ["a.png", "b.png", "more/c.png"]
    before, idle, perfect = (result.summary(name) for name in ("input", "idle", "perfect"))
    assert idle["ssim"].mean == pytest.approx(before["ssim"].mean, abs=2e-3)  # only rounded
    assert perfect["ssim"].mean == pytest.approx(1, abs=1e-6) and perfect["psnr"].mean > 100
    assert before["psnr"].mean == pytest.approx(np.mean([face.scores["input"]["psnr"] for face in result.faces]))
    assert before["psnr"].std is None
    assert result.ratio("perfect")["ssim"] == pytest.approx(1 / before["ssim"].mean)
    assert result.difference("perfect")["ssim"] == pytest.approx(1 - before["ssim"].mean)
    assert evaluate(None, folder, metrics=PAIRED, size_px=48).summary() == before


def test_the_degradation_is_that_of_the_name_and_seed(folder: Path) -> None:
    seen: list[EvaluatedFace] = []
    options = {"metrics": PAIRED, "size_px": 48, "on_face": seen.append}
    first = evaluate(same, folder, batch_size=2, **options)
    face = to_tensor(load_picture(folder / "more" / "c.png").rgb)
    degraded = degrade_seeded(face[None], [face_seed("c.png", 0)], settings=Degradation().at_size(48))[0]
    assert torch.equal(seen[2].images["input"], degraded)
    assert torch.equal(seen[2].images["truth"], face)
    assert (seen[2].index, seen[2].total, seen[2].name, seen[2].seed) == (2, 3, "more/c.png", 0)
    alone = evaluate(same, folder / "more", **options)
    assert alone.faces[0].scores == first.faces[2].scores  # whatever else is evaluated, and in which folder
    assert face_seed("c.png", 1) != face_seed("c.png", 0) != face_seed("b.png", 0)
    assert 0 <= face_seed("c.png", 0) < 2**63
    mild = Degradation((0, 0), (1, 1), (0, 0), (100, 100))
    better = evaluate(same, folder, settings=mild, **options)
    assert better.summary()["ssim"].mean > first.summary()["ssim"].mean + 0.1


def test_spread_over_seeds(folder: Path) -> None:
    both = evaluate(same, folder, seeds=(4, 7), metrics=ALL, size_px=48, batch_size=2)
    single = [evaluate(same, folder, seeds=(seed,), metrics=ALL, size_px=48) for seed in (4, 7)]
    assert both.num_faces == 3 and len(both.faces) == 6 and both.seeds == [4, 7]
    for name in ("psnr", "niqe", "fd_enlite0"):
        values = [result.summary("restored")[name].mean for result in single]
        spread = both.summary("restored")[name]
        assert spread.mean == pytest.approx(np.mean(values), rel=1e-6)
        assert spread.std == pytest.approx(np.std(values, ddof=1), rel=1e-4) and spread.std > 0


def test_targets_and_whole_sets(folder: Path) -> None:
    clean = truths(folder)
    seen: list[EvaluatedFace] = []
    half = {"half": lambda degraded: degraded / 2}
    result = evaluate(half, folder, metrics=ALL, size_px=48, batch_size=2, on_face=seen.append)
    assert result.target == {"niqe": pytest.approx(contrast(clean).mean().item(), rel=1e-5)}
    assert result.num_target == 3 and result.target_name == "truth"
    degraded = torch.stack([face.images["input"] for face in seen])
    expected = frechet_distance(colors(degraded), colors(clean))
    assert result.summary()["fd_enlite0"].mean == pytest.approx(expected, rel=1e-5)
    restored = result.summary("half")
    assert restored["fd_enlite0"].mean > expected
    assert result.ratio_to_target("half") == {"niqe": pytest.approx(restored["niqe"].mean / result.target["niqe"])}
    assert any("biased upwards" in note for note in result.notes)  # 3 pictures for 3 features
    one = evaluate(half, folder / "more", metrics=ALL, size_px=48)
    assert "fd_enlite0" not in one.summary() and any("at least 2" in note for note in one.notes)


def test_pairs_and_strangers_in_the_kernel_distance(folder: Path, tmp_path: Path) -> None:
    metrics = MetricSet((KERNEL, own("mine", "sets", colors)))
    seen: list[EvaluatedFace] = []
    result = evaluate(same, folder, metrics=metrics, seeds=(4, 7), size_px=48, batch_size=2, on_face=seen.append)
    for seed in (4, 7):
        degraded = torch.stack([face.images["input"] for face in seen if face.seed == seed])
        expected = kernel_distance(colors(degraded), colors(truths(folder)), pairs=True)
        assert result.distances[seed]["input"]["kd_enlite0"] == pytest.approx(expected, rel=1e-4)
        frechet = frechet_distance(colors(degraded), colors(truths(folder)))
        assert result.distances[seed]["input"]["mine"] == pytest.approx(frechet, rel=1e-4)
    assert not any("kd_enlite0" in note for note in result.notes)
    reference = write(tmp_path / "good", *(f"{number}.png" for number in range(5)), seed=1)
    real = evaluate_real(same, folder, reference, metrics=metrics, size_px=48)
    good = torch.stack([to_tensor(load_picture(reference / f"{number}.png").rgb) for number in range(5)])
    expected = kernel_distance(colors(truths(folder)), colors(good))
    assert real.summary()["kd_enlite0"].mean == pytest.approx(expected, rel=1e-4)


def test_sets_compared_with_other_people(folder: Path, tmp_path: Path, calls: list[tuple[int, int | None]]) -> None:
    others = write(tmp_path / "good", *(f"{number}.png" for number in range(5)), seed=1)
    metrics = MetricSet((own("fd_enlite0", "sets", colors, published="FID"), KERNEL))
    seen: list[EvaluatedFace] = []
    result = evaluate(
        {"half": lambda degraded: degraded / 2},
        folder,
        others=others,
        metrics=metrics,
        size_px=48,
        batch_size=2,
        show_progress=True,
        on_face=seen.append,
    )
    assert calls[-1] == (6, 6)  # as many others as faces
    assert list(result.metrics) == ["fd_enlite0", "fd_enlite0_to_others", "kd_enlite0", "kd_enlite0_to_others"]
    assert result.metrics["fd_enlite0_to_others"].published is None
    good = torch.stack([to_tensor(load_picture(others / f"{number}.png").rgb) for number in (0, 1, 3)])
    clean, degraded, half = (torch.stack([face.images[name] for face in seen]) for name in ("truth", "input", "half"))
    for distance, name in ((frechet_distance, "fd_enlite0"), (kernel_distance, "kd_enlite0")):
        floor, before, after = (distance(colors(faces), colors(good)) for faces in (clean, degraded, half))
        label = f"{name}_to_others"
        assert result.target[label] == pytest.approx(floor, rel=1e-4)
        assert result.summary()[label].mean == pytest.approx(before, rel=1e-4)
        assert result.summary("half")[label].mean == pytest.approx(after, rel=1e-4)
        share = result.share_above_target("half")
        assert share[label] == pytest.approx((after - floor) / (before - floor), rel=1e-3) and set(share) > {label}
    assert result.ratio_to_target("half") == {}
    plain = evaluate(same, folder, metrics=metrics, size_px=48)
    assert list(plain.metrics) == ["fd_enlite0", "kd_enlite0"] and not plain.share_above_target("restored")


def test_real_faces_and_a_reference(folder: Path, tmp_path: Path, calls: list[tuple[int, int | None]]) -> None:
    reference = write(tmp_path / "good", *(f"{number}.png" for number in range(5)), seed=1)
    seen: list[EvaluatedFace] = []
    result = evaluate_real(
        lambda given: given * 0.5,
        folder,
        reference,
        metrics=ALL,
        size_px=48,
        batch_size=2,
        show_progress=True,
        on_face=seen.append,
    )
    assert calls[-1] == (8, 8) and result.num_target == 5 and result.target_name == "reference"
    assert set(result.summary()) == {"niqe", "fd_enlite0"}  # there is no truth
    assert torch.equal(torch.stack([face.images["input"] for face in seen]), truths(folder))  # not degraded
    assert "truth" not in seen[0].images
    assert result.ratio("restored")["niqe"] == pytest.approx(0.5, abs=0.01)
    good = torch.stack([to_tensor(load_picture(reference / f"{number}.png").rgb) for number in range(5)])
    expected = frechet_distance(colors(truths(folder)), colors(good))
    assert result.summary()["fd_enlite0"].mean == pytest.approx(expected, rel=1e-5)
    without = evaluate_real(same, folder, metrics=ALL, size_px=48)
    assert set(without.summary()) == {"niqe"} and without.target == {}
    assert "fd_enlite0: left out, because there are no reference pictures to compare with" in without.notes
    assert "LFW" not in result_table(result) and "reference" in result_table(result)


def test_limit_progress_and_rounding(folder: Path, calls: list[tuple[int, int | None]]) -> None:
    seen: list[EvaluatedFace] = []
    result = evaluate(
        {"rounded": lambda degraded: degraded * 0.37},
        folder,
        metrics=PAIRED,
        size_px=48,
        limit=2,
        seeds=(0, 1),
        batch_size=1,
        show_progress=True,
        on_face=seen.append,
    )
    assert [face.name for face in result.faces] == ["a.png", "b.png"] * 2
    assert calls == [(1, 4), (2, 4), (3, 4), (4, 4)]
    counts = (seen[0].images["rounded"] + 1) * 127.5
    torch.testing.assert_close(counts, counts.round(), atol=1e-4, rtol=0)  # as it would be saved
    loud: list[EvaluatedFace] = []
    evaluate(lambda degraded: degraded * 9, folder, metrics=PAIRED, size_px=48, on_face=loud.append)
    assert len(calls) == 4  # hidden by default
    assert loud[0].images["restored"].abs().max() == 1


def test_what_a_restorer_may_return(folder: Path) -> None:
    def in_place(degraded: Tensor) -> tuple[Tensor, None]:
        return degraded.mul_(0.5).double(), None

    seen: list[EvaluatedFace] = []
    evaluate({"tuple": in_place}, folder, metrics=PAIRED, size_px=48, on_face=seen.append)
    face = seen[0].images
    assert face["tuple"].dtype == torch.float32
    torch.testing.assert_close(face["tuple"], face["input"] / 2, atol=1 / 127, rtol=0)
    with pytest.raises(ShapeError, match="crop returned"):
        evaluate({"crop": lambda degraded: degraded[..., :24]}, folder, metrics=PAIRED, size_px=48)
    with pytest.raises(ShapeError, match="NoneType"):
        evaluate(lambda degraded: None, folder, metrics=PAIRED, size_px=48)
    with pytest.raises(DataError, match=r"broken .* finite"):
        evaluate({"broken": lambda degraded: degraded * math.nan}, folder, metrics=PAIRED, size_px=48)
    for bad in ({"input": same}, {"gfpgan": "gfpgan"}):
        with pytest.raises(ConfigError, match="callable"):
            evaluate(bad, folder, metrics=PAIRED)


def test_evaluation_names_what_is_wrong(folder: Path, tmp_path: Path) -> None:
    for options in ({"limit": 0}, {"batch_size": 0}, {"seeds": ()}, {"seeds": (1, 1)}):
        with pytest.raises(ConfigError, match=next(iter(options))):
            evaluate(same, folder, metrics=PAIRED, size_px=48, **options)
    with pytest.raises(DataError, match="No pictures"):
        (tmp_path / "empty").mkdir()
        evaluate(same, tmp_path / "empty", metrics=PAIRED)
    save_picture(Picture(np.zeros((32, 48, 3), np.uint8)), folder / "d.png")
    for judge in (evaluate, evaluate_real):
        with pytest.raises(DataError, match=r"d\.png is 48 x 32"):
            judge(same, folder, metrics=PAIRED, size_px=48)


def test_undefined_values_stay_out_of_means_and_of_json(folder: Path, tmp_path: Path) -> None:
    def sometimes(pictures: Tensor) -> Tensor:
        values = contrast(pictures)
        values[0] = math.nan
        return values

    clean = truths(folder)
    metrics = MetricSet((own("psnr", "paired", psnr), own("niqe", "single", sometimes)))
    result = evaluate({"perfect": lambda degraded: clean}, folder, metrics=metrics, size_px=48)
    known = [face.scores["input"]["niqe"] for face in result.faces[1:]]
    assert result.summary()["niqe"].mean == pytest.approx(np.mean(known))
    write_json(tmp_path / "all.json", result.to_dict() | {"endless": math.inf})
    report = json.loads((tmp_path / "all.json").read_text(), parse_constant=pytest.fail)
    assert report["faces"][0]["scores"]["input"]["niqe"] is None and report["endless"] is None
    assert report["means"]["input"]["niqe"]["mean"] == pytest.approx(np.mean(known))
    assert report["num_faces"] == 3 and report["metrics"]["psnr"]["region"] == "whole"
