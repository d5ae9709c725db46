"""The estimate of how sharp a face is: what is sharp, what is not, and what does not count."""

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest

from memgan import MemGANRestorer
from memgan.degradation import Degradation, degrade_seeded
from memgan.faces.align import align
from memgan.faces.sharpness import band_energies, sharpness
from memgan.image import load_picture, to_tensor
from memgan.image.tensors import to_uint8

PHOTO = Path(__file__).parents[2] / "examples" / "photos" / "prints_on_a_table.jpg"


@pytest.fixture(scope="module")
def restorer():
    return MemGANRestorer(device="cpu", upscale=1)


@pytest.fixture(scope="module")
def degraded(restorer):
    """The largest face of a blurred, noisy photograph."""
    rgb = load_picture(PHOTO).rgb
    return align(rgb, restorer.detect(PHOTO)[0]).crop


@pytest.fixture(scope="module")
def sharp(restorer, degraded):
    """The same face after restoration: the repository has no other sharp face of 512 px."""
    return restored(restorer, degraded)


def restored(restorer, face):
    """By default options; both are (512, 512, 3) RGB."""
    return restorer.restore(face[:, :, ::-1], has_aligned=True).faces[0].restored


def jpeg(face, quality):
    return cv2.imdecode(cv2.imencode(".jpg", face, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_COLOR)


def noisy(face, sigma, seed=0):
    noise = np.random.default_rng(seed).normal(0, sigma, face.shape)
    return np.clip(np.rint(face + noise), 0, 255).astype(np.uint8)


def enlarged(face, side):
    small = cv2.resize(face, (side, side), interpolation=cv2.INTER_AREA)
    return cv2.resize(small, (512, 512), interpolation=cv2.INTER_CUBIC)


SHARP = {
    "as it is": lambda face: face,
    "mirrored": lambda face: face[:, ::-1].copy(),
    "JPEG 90": lambda face: jpeg(face, 90),
    "JPEG 80": lambda face: jpeg(face, 80),
    "a trace of noise": lambda face: noisy(face, 1.0),
    "dark": lambda face: (face * 0.5).astype(np.uint8),
    "black and white": lambda face: np.repeat(cv2.cvtColor(face, cv2.COLOR_RGB2GRAY)[:, :, None], 3, axis=2),
    "other colors": lambda face: face[:, :, ::-1].copy(),
    "retouched": lambda face: cv2.bilateralFilter(face, 9, 15, 5),
    "before a blurred wall": lambda face: behind(face, cv2.GaussianBlur(face, (0, 0), 9)),
}
DEGRADED = {
    "blurred": lambda face: cv2.GaussianBlur(face, (0, 0), 1.5),
    "of 200 px": lambda face: enlarged(face, 200),
    "of 80 px": lambda face: enlarged(face, 80),
    "noisy": lambda face: noisy(face, 8),
    "grainy": lambda face: noisy(face, 8)[:, :, :1].repeat(3, axis=2),
    "JPEG 10": lambda face: jpeg(face, 10),
    "JPEG 3": lambda face: jpeg(face, 3),
    "flat": lambda face: np.full_like(face, 128),
    "very blurred": lambda face: cv2.GaussianBlur(face, (0, 0), 25),
    "very noisy": lambda face: noisy(face, 50),
    "of 20 px": lambda face: enlarged(face, 20),
}


def behind(face, background):
    """The face in the middle, something else around it."""
    kept = face.copy()
    kept[:60], kept[:, :60], kept[:, 452:] = background[:60], background[:, :60], background[:, 452:]
    return kept


@pytest.mark.parametrize("look", SHARP)
def test_sharp_faces_are_left_alone(sharp, look):
    assert sharpness(SHARP[look](sharp)) == 1


@pytest.mark.parametrize("damage", DEGRADED)
def test_degraded_faces_are_restored_in_full(sharp, damage):
    assert sharpness(DEGRADED[damage](sharp)) == 0


def test_faces_degraded_by_eq_14_are_restored_in_full(sharp):
    batch = to_tensor(sharp.copy())[None].expand(24, -1, -1, -1)
    assert {sharpness(face) for face in to_uint8(degrade_seeded(batch, range(24)))} == {0}
    nothing = Degradation(blur_sigma=(0, 0), downscale=(1, 1), noise_sigma=(0, 0), jpeg_quality=(100, 100))
    assert sharpness(to_uint8(degrade_seeded(batch[:1], [0], settings=nothing))[0]) == 1


@pytest.mark.parametrize(
    "damaged",
    [
        [lambda face, sigma=sigma: cv2.GaussianBlur(face, (0, 0), sigma) for sigma in np.linspace(0.3, 1.1, 41)],
        [lambda face, sigma=sigma: noisy(face, sigma) for sigma in np.linspace(0.5, 8, 31)],
    ],
    ids=["blur", "noise"],
)
def test_from_sharp_to_degraded_nothing_jumps(sharp, damaged):
    values = np.array([sharpness(one(sharp)) for one in damaged])
    assert values[0] == 1 and values[-1] == 0 and ((values > 0) & (values < 1)).any()
    assert (np.diff(values) <= 0.01).all(), values


def test_the_photograph_itself_is_degraded(degraded):
    assert sharpness(degraded) == 0


def test_crops_of_other_sizes_are_not_judged(sharp):
    assert sharpness(cv2.resize(sharp, (256, 256))) is None


def test_what_the_estimate_sees_is_the_same_in_the_mirror(sharp):
    np.testing.assert_allclose(band_energies(sharp[:, ::-1].copy()), band_energies(sharp), atol=1e-4)


def test_a_degraded_face_comes_out_as_without_the_estimate(restorer, degraded, sharp):
    options = dataclasses.replace(restorer.options, skip_sharp=False, has_aligned=True)
    (face,) = restorer.pipeline.restore(degraded[:, :, ::-1], options).faces
    assert face.sharpness is None and face.strength == 1
    np.testing.assert_array_equal(face.restored, restored(restorer, degraded))


def test_a_restored_face_is_not_restored_again(restorer, sharp):
    """Bit for bit, and in a photograph too; 40 dB is what is asked for."""
    (again,) = restorer.restore(sharp[:, :, ::-1], has_aligned=True).faces
    assert again.strength == 0 and again.sharpness == 1
    np.testing.assert_array_equal(again.restored, again.crop)
    photo = np.full((700, 900, 3), 90, np.uint8)
    photo[100:612, 200:712] = sharp[:, :, ::-1]
    done = restorer.restore(photo, faces=restorer.detect(photo))
    assert len(done.faces) == 1 and done.faces[0].strength == 0
    np.testing.assert_array_equal(done.image, photo)
