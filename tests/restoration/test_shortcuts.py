"""What is done to save time gives what the long way gives, and touches nothing that belongs to others."""

import sys

import cv2
import numpy as np
import pytest
from fakes import FakeDetector, FakeNetwork, face_at, grain_of, scene
from skimage import data

from memgan import MemGANRestorer
from memgan.faces import RetinaFaceDetector, align, harmonize, lock_color, paste
from memgan.faces.anchors import anchor_centers_and_sides
from memgan.faces.retinaface import network_input
from memgan.image import Picture, from_array, to_8bit, to_array
from memgan.restoration.postprocess import is_colorless

FACES = (face_at(150, 110, 180), face_at(330, 300, 120))


def restorer(*faces, **options):
    options = {"network": FakeNetwork(0.8, 0.1), "upscale": 1, "color": "rgb", **options}
    return MemGANRestorer(detector=FakeDetector(*(faces or FACES)), device="cpu", **options)


def noisy(seed=0):
    noise = np.random.default_rng(seed).normal(0, 9, (512, 512, 1))
    return np.clip(data.astronaut() + noise, 0, 255).astype(np.uint8)


# -- pasting ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_pasting_in_place_is_pasting(dtype):
    image = noisy()
    aligned = align(image, FACES[0])
    restored = cv2.GaussianBlur(aligned.crop, (0, 0), 3)
    canvas = image.astype(dtype) * (257 if dtype == np.uint16 else 1)
    before = canvas.copy()
    expected = paste(canvas, restored, aligned.crop_from_image, crop=aligned.crop, grain=0.5)
    np.testing.assert_array_equal(canvas, before)
    assert paste(canvas, restored, aligned.crop_from_image, crop=aligned.crop, grain=0.5, inplace=True) is canvas
    np.testing.assert_array_equal(canvas, expected)
    assert (canvas != before).mean() > 0.05


def test_strips_leave_no_seams(monkeypatch):
    image = noisy()
    aligned = align(image, FACES[0])
    restored = cv2.GaussianBlur(aligned.crop, (0, 0), 3)
    results = []
    for pixels in (1, 1000, 10**9):
        monkeypatch.setattr(sys.modules[paste.__module__], "_CACHED_PIXELS", pixels)
        results.append(paste(image, restored, aligned.crop_from_image, crop=aligned.crop, grain=1.0))
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])


@pytest.mark.parametrize("upscale", [1, 2])
def test_nothing_of_the_caller_is_changed_and_results_share_nothing(upscale):
    image, picture = noisy(), Picture(noisy())
    for given, kept in ((image, image), (picture, picture.rgb)):
        before = kept.copy()
        result = restorer(upscale=upscale, color_lock=False).restore(given)
        np.testing.assert_array_equal(kept, before)
        arrays = [
            kept,
            result.picture.rgb,
            *(getattr(f, n) for f in result.faces for n in ("crop", "restored", "mask")),
        ]
        for i, first in enumerate(arrays):
            assert not any(np.shares_memory(first, second) for second in arrays[:i])
            assert first.flags.writeable


# -- color and grain ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [256, 512, 1024])
def test_colors_are_locked_on_a_smaller_picture_to_rounding(size, monkeypatch):
    crop = cv2.resize(noisy(), (size, size))
    restored = cv2.GaussianBlur(crop, (0, 0), 2)
    restored = np.clip(restored * np.float32([1.1, 0.9, 1.0]) + np.float32([0, 9, -20]), 0, 255).astype(np.uint8)
    short = lock_color(restored, crop).astype(int)
    monkeypatch.setattr(harmonize, "_SMALL_SIGMA", 1e9)
    long = lock_color(restored, crop)
    difference = np.abs(short - long)
    assert difference.max() <= 1 and difference.mean() < 0.02
    assert np.abs(long.astype(int) - restored).mean() > 5  # there was something to lock


def test_sides_that_blocks_do_not_divide_take_the_long_way(monkeypatch):
    crop = noisy()[:301, :301]
    restored = 255 - crop
    short = lock_color(restored, crop)
    monkeypatch.setattr(harmonize, "_SMALL_SIGMA", 1e9)
    np.testing.assert_array_equal(short, lock_color(restored, crop))


def test_the_noise_of_a_large_picture_is_known_from_some_of_it(monkeypatch):
    generator = np.random.default_rng(0)
    before = generator.normal(120, 9, (900, 900)).astype(np.float32)
    after = np.full_like(before, 120)
    amount = np.zeros((900, 900), np.float32)
    amount[100:800, 100:800] = 1
    short = grain_of(before, after, amount)
    monkeypatch.setattr(harmonize, "_MAX_STEP", 1)
    long = grain_of(before, after, amount)
    assert long.std() > 3 and np.abs(short - long).max() < 0.5  # of a level


def test_surroundings_of_a_few_pixels_are_not_missed():
    """A large picture of which every fourth row and column lies in the face."""
    before = np.random.default_rng(0).normal(120, 9, (900, 900)).astype(np.float32)
    amount = np.ones((900, 900), np.float32)
    amount[2::4, 2] = 0  # 225 pixels
    given = grain_of(before, np.full_like(before, 120), amount)
    assert given is not None and np.isfinite(given).all() and given.std() > 3


def test_a_clean_photograph_is_not_filtered_any_further(monkeypatch):
    looked_at = []
    bands = harmonize._bands
    monkeypatch.setattr(harmonize, "_bands", lambda *planes: looked_at.append(planes) or bands(*planes))
    clean = cv2.GaussianBlur(scene(300, 300)[:, :, 0], (0, 0), 6).astype(np.float32)
    amount = np.zeros((300, 300), np.float32)
    amount[50:250, 50:250] = 1
    assert grain_of(clean, clean, amount) is None
    assert len(looked_at) == 1


# -- whole pictures --------------------------------------------------------------------------------------------------


def test_one_colored_pixel_is_color():
    gray = np.repeat(scene(100, 120)[:, :, :1], 3, axis=2)
    assert is_colorless(Picture(gray)) and is_colorless(from_array(gray[:, :, 0]))
    for place in ((0, 0), (17, 33), (99, 119)):
        colored = gray.copy()
        colored[place] += np.uint8([0, 0, 1])
        assert not is_colorless(Picture(colored))
    assert not is_colorless(Picture(scene(100, 120)))


def test_every_value_of_16_bit_is_rounded_to_the_nearest_of_8():
    values = np.arange(65536, dtype=np.uint16)
    for array in (values, values.reshape(256, 256), np.dstack([values.reshape(256, 256)] * 3)):
        expected = np.rint(array / 257).astype(np.uint8)
        given = to_8bit(array)
        assert given.shape == array.shape
        np.testing.assert_array_equal(given, expected)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("order", ["bgr", "rgb"])
def test_arrays_of_every_kind_keep_their_channels(dtype, channels, order):
    array = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (40, 50, channels), dtype)
    array.setflags(write=False)
    for given in (array, array[::-1, ::-2], np.asfortranarray(array)):
        picture = from_array(given, order)
        colors = given[:, :, :3] if order == "rgb" else given[:, :, :3][:, :, ::-1]
        np.testing.assert_array_equal(picture.rgb, np.broadcast_to(colors, picture.rgb.shape))
        assert picture.rgb.flags.c_contiguous and not np.shares_memory(picture.rgb, array)
        np.testing.assert_array_equal(to_array(picture, order), given if channels > 1 else given[:, :, 0])


def test_the_detectors_input_is_blue_green_red_less_the_mean():
    image = scene(30, 40)
    expected = (image[:, :, ::-1].astype(np.float64) - (104, 117, 123)).transpose(2, 0, 1)[None]
    given = network_input(image)
    assert given.dtype == np.float32 and given.flags.c_contiguous
    np.testing.assert_array_equal(given, expected)


def test_detection_sees_large_pictures_at_a_capped_size_and_anchors_are_kept_for_few_sizes():
    sides = []

    def sees_nothing(image):
        sides.append(max(image.shape[:2]))
        count = len(anchor_centers_and_sides(*image.shape[:2]))
        return np.zeros((count, 4), np.float32), np.zeros(count, np.float32), np.zeros((count, 10), np.float32)

    detector = RetinaFaceDetector(sees_nothing)
    assert detector.detect(np.zeros((1080, 1920, 3), np.uint8)) == []
    assert max(sides) == 1280 and sides.count(1280) == 1
    for width in range(700, 760):
        detector.detect(np.zeros((40, width, 3), np.uint8))
    kept = anchor_centers_and_sides.cache_info()
    assert kept.currsize <= kept.maxsize <= 32
    assert anchor_centers_and_sides(64, 64) is anchor_centers_and_sides(64, 64)
