"""Clips whose motion is known, and what is measured of films of them."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from fakes import FakeDetector, FakeNetwork, face_at, scene

from memgan import MemGANRestorer
from memgan.errors import DataError
from memgan.image import Picture, save_picture
from memgan.video import known_motion
from memgan.video.known_motion import FACE_PX, SIZE, bar, cut, degraded, known_clips, mouth, still
from memgan.video.measure import ClipScores, MeasuredClip, SteadinessMeter, steadiness_table, write_strips

pytest.importorskip("av")
FACE = cv2.GaussianBlur(scene(FACE_PX, FACE_PX, seed=3), (0, 0), 2)
OTHER = cv2.GaussianBlur(scene(FACE_PX, FACE_PX, seed=4), (0, 0), 2)
INNER = np.s_[60:-60, 60:-60]


@pytest.fixture(autouse=True)
def _short_clips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_motion, "NUM_FRAMES", 20)


def test_the_face_is_where_the_motion_says() -> None:
    clip = still("still", FACE, 1)
    assert len(clip.truth) == 20 and clip.truth[0].shape == (SIZE[1], SIZE[0], 3)
    assert np.abs(np.diff(np.stack(clip.frame_from_face), axis=0)[:, :, 2]).max() > 1  # it moves
    for face in clip.in_face(clip.truth):
        assert np.abs(face[INNER].astype(float) - FACE[INNER]).mean() < 1
    for face in clip.true_faces():
        assert np.abs(face[INNER].astype(float) - FACE[INNER]).mean() < 1
    second = np.diff(np.stack(clip.frame_from_face), 2, axis=0)
    assert np.abs(second[:, :, 2]).max() < 12  # and smoothly, even at this pace
    again, other = still("still", FACE, 1), still("still", FACE, 2)
    np.testing.assert_array_equal(clip.truth[7], again.truth[7])
    assert (clip.truth[7] != other.truth[7]).any()


@pytest.mark.parametrize("make", [mouth, bar])
def test_what_changes_is_marked(make: object) -> None:
    clip = make("clip", FACE, 1)  # type: ignore[operator]
    assert any(mask is not None for mask in clip.changing)
    for face, mask in zip(clip.faces, clip.changing, strict=True):
        differs = (np.abs(face.astype(int) - FACE) > 8).any(axis=2)
        if mask is None:
            assert not differs.any()
        else:  # below a mouth that opens, the chin moves a little too
            assert (differs & ~mask).sum() <= (0.5 * differs.sum() if make is mouth else 0)


def test_a_cut_shows_the_other_face() -> None:
    clip = cut("cut", FACE, OTHER, 1)
    assert clip.cut == 10
    np.testing.assert_array_equal(clip.faces[9], FACE)
    np.testing.assert_array_equal(clip.faces[10], OTHER)


def test_poor_films_are_poor_and_the_same_again() -> None:
    clip = still("still", scene(FACE_PX, FACE_PX), 1)
    poor, again, good = degraded(clip, 5), degraded(clip, 5), degraded(clip, 5, blur=0.1, shrink=1, noise=0, crf=12)
    np.testing.assert_array_equal(poor, again)
    error, least = (np.abs(np.stack(film).astype(float) - clip.truth).mean() for film in (poor, good))
    assert error > 1.3 * least


@pytest.mark.slow
def test_clips_of_all_kinds(tmp_path: Path) -> None:
    for number in range(6):
        save_picture(Picture(scene(64, 64, seed=number)), tmp_path / f"{number}.png")
    clips = list(known_clips(tmp_path, 0))
    assert [clip.name for clip, _ in clips] == ["still a", "still b", "mouth", "bar", "cut"]
    assert all(len(film) == len(clip.truth) == 20 for clip, film in clips)
    (tmp_path / "0.png").unlink()
    with pytest.raises(DataError, match=r"5 faces.*6 are needed"):
        next(known_clips(tmp_path, 0))


class Flicker(FakeNetwork):
    """Adds other noise to each face."""

    def forward(self, image):  # type: ignore[no-untyped-def]
        import torch

        self.batches.append(image)
        noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(len(self.batches)))
        return torch.nn.functional.avg_pool2d(image + 0.3 * noise, 3, 1, 1), None


@pytest.mark.slow
def test_a_steadier_film_has_better_scores(tmp_path: Path) -> None:
    pytest.importorskip("dlib")
    pytest.importorskip("stlpips_pytorch")
    network = Flicker(size=512)
    detector = FakeDetector(face_at(SIZE[0] / 2, SIZE[1] / 2, 460))
    restorer = MemGANRestorer(network=network, detector=detector, device="cpu", grain=0)
    clip = still("still", FACE, 1)
    measured = SteadinessMeter(restorer.pipeline, restorer.options).measure(clip, clip.truth, (0.0, 0.9))
    assert list(measured.scores) == ["truth", "input", "steadiness 0", "steadiness 0.9"]
    assert len(network.batches) == 20  # once for both
    truth, given, alone, held = measured.scores.values()
    assert truth == given and truth.psnr > 90 and truth.st_lpips < 1e-4 and truth.identity < 1e-4
    assert held.temporal_error < 0.75 * alone.temporal_error and held.psnr > alone.psnr + 1
    assert truth.ghost_error is None and truth.cut_error is None and held.jitter is None
    assert {strip.shape for strip in measured.strips.values()} == {(20 * 4, 4 * 512 + 3 * 6, 3)}
    write_strips([measured], tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["00 still, eyes.png", "00 still, hair.png"]


def test_the_table_has_every_film_and_the_means() -> None:
    scores = [ClipScores(1.0, 0.5, 30.0, 0.1, 0.2, ghost, None) for ghost in (4.0, None)]
    clips = [MeasuredClip(name, {"truth": one}, {}) for name, one in zip("ab", scores, strict=True)]
    lines = steadiness_table(clips).splitlines()
    assert len(lines) == 4 and lines[3].split() == [
        "mean",
        "truth",
        "1.00",
        "0.50",
        "30.00",
        "0.1000",
        "0.2000",
        "4.00",
    ]
