import subprocess
import sys

import cv2
import numpy as np
import pytest
from fakes import FakeDetector, FakeNetwork, face_at, scene

from memgan import MemGANRestorer
from memgan.errors import ImageError
from memgan.faces import paste
from memgan.restoration import background


class Upsampler:
    """Enlarges as OpenCV does; remembers the sizes that it saw."""

    def __init__(self, factor=None):
        self.factor, self.seen = factor, []

    def enhance(self, img, outscale):
        self.seen.append((img.shape[1], img.shape[0], outscale))
        scale = self.factor or outscale
        size = int(img.shape[1] * scale), int(img.shape[0] * scale)
        return cv2.resize(img, size, interpolation=cv2.INTER_CUBIC), "RGB"


def restorer(*faces, network=None, **options):
    network = network or FakeNetwork()
    return MemGANRestorer(network=network, detector=FakeDetector(*faces), device="cpu", **options)


def cut_out(dtype=np.uint8, color=255):
    """A disc of one color on transparent black, BGRA."""
    y, x = np.mgrid[:120, :160]
    peak = np.iinfo(dtype).max
    alpha = np.rint(np.clip(45.5 - np.hypot(y - 60, x - 80), 0, 1) * peak).astype(dtype)
    colors = np.where(alpha > 0, color * (peak // 255), 0).astype(dtype)
    return np.dstack([colors, colors, colors, alpha])


def on_white(bgra):
    opacity = bgra[:, :, 3:] / np.iinfo(bgra.dtype).max
    return (bgra[:, :, :3] * opacity) * 255 / np.iinfo(bgra.dtype).max + 255 * (1 - opacity)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("upscale", [0.5, 1, 1.5, 2])
@pytest.mark.parametrize("upsampler", [None, Upsampler(), Upsampler(4)])
@pytest.mark.parametrize("faces", [(), (face_at(80, 60, 60),), (face_at(120, 50, 80),)])
def test_cut_outs_get_no_fringe(dtype, upscale, upsampler, faces):
    """Neither by enlarging nor by a face that reaches over the edge, which the network hands on as it is."""
    result = restorer(*faces, upscale=upscale, bg_upsampler=upsampler).enhance(cut_out(dtype))[2]
    assert result.shape == (int(120 * upscale), int(160 * upscale), 4) and result.dtype == dtype
    assert on_white(result).min() > 254.5


def test_a_changed_face_leaves_hidden_pixels_and_transparency_alone():
    image = cut_out(color=100)
    result = restorer(face_at(120, 50, 80), network=FakeNetwork(1.0, 0.3), upscale=1, color_lock=False)
    out = result.enhance(image)[2]
    np.testing.assert_array_equal(out[:, :, 3], image[:, :, 3])
    hidden = image[:, :, 3] == 0
    assert (out[hidden] == 0).all()
    changed = out[:, :, 0][image[:, :, 3] > 200]
    assert changed.max() > 130 and changed.min() >= 100  # 0.3 of 2: 38 levels lighter, nowhere darker


def test_what_the_network_sees_of_a_cut_out_has_no_hidden_color():
    image = cut_out(color=200)
    for options in ({}, {"has_aligned": True}):
        cropped = restorer(face_at(120, 50, 80)).enhance(image, **options)[0]
        assert (cropped[0] == 200).all()


def test_grain_comes_from_what_is_seen_of_the_surroundings():
    """A face cleaned of its noise in a noisy cut-out gets it back, as in the uncut photograph."""
    noisy = np.clip(128 + np.random.default_rng(1).normal(0, 8, (200, 200, 1)), 0, 255).astype(np.uint8).repeat(3, 2)
    matrix = np.array([[1.0, 0, -60], [0, 1.0, -60]])
    crop, clean = noisy[60:140, 60:140].copy(), np.full((80, 80, 3), 128, np.uint8)
    alpha = np.zeros((200, 200), np.uint8)
    alpha[:, :130] = 255
    hidden = noisy.copy()
    hidden[alpha == 0] = 0

    def noise_of(canvas, alpha):
        return paste(canvas, clean, matrix, crop=crop, alpha=alpha, grain=1.0)[85:115, 85:115].std()

    expected = noise_of(noisy, None)
    assert expected > 4
    assert noise_of(hidden, alpha) == pytest.approx(expected, rel=0.2)
    np.testing.assert_array_equal(paste(hidden, clean, matrix, crop=crop, alpha=alpha)[:, 130:], 0)


@pytest.mark.parametrize(("upscale", "whole"), [(2, 2), (2.5, 3), (1, 1), (0.5, 1)])
def test_large_pictures_reach_an_upsampler_in_parts(monkeypatch, upscale, whole):
    image = cv2.GaussianBlur(scene(150, 210), (0, 0), 1.5)
    at_once = restorer(upscale=upscale, bg_upsampler=Upsampler()).enhance(image)[2].astype(int)
    monkeypatch.setattr(background, "_MAX_PART", 64)
    upsampler = Upsampler()
    result = restorer(upscale=upscale, bg_upsampler=upsampler).enhance(image)[2]
    assert len(upsampler.seen) == 3 * 4 and max(upsampler.seen)[0] == 128 and upsampler.seen[0][2] == whole
    difference = np.abs(result - at_once)
    assert difference.max() <= 8 and difference.mean() < 0.5


def test_parts_are_smaller_the_more_they_are_enlarged(monkeypatch):
    monkeypatch.setattr(background, "_MAX_PART", 64)
    monkeypatch.setattr(background, "_MAX_ENLARGED_PART", 256)
    upsampler = Upsampler()
    restorer(upscale=8, bg_upsampler=upsampler).enhance(scene(80, 70))
    assert max(upsampler.seen)[:2] == (32 + 32 + 6, 80)


def test_results_beyond_the_limit_of_inputs():
    """More pixels than a picture that is given may have; and what is too large is refused before the work."""
    image = np.zeros((4100, 4100), np.uint8)
    image[2047:2051, 2047:2051] = 255  # where four parts meet

    class Repeating(Upsampler):
        def enhance(self, img, outscale):
            self.seen.append(img.shape)
            return img.repeat(outscale, axis=0).repeat(outscale, axis=1), None

    upsampler = Repeating()
    result = restorer(upscale=2, bg_upsampler=upsampler).enhance(image)[2]
    assert result.shape == (8200, 8200) and result.size > 2**26
    np.testing.assert_array_equal(result[4090:4110, 4090:4110], image[2045:2055, 2045:2055].repeat(2, 0).repeat(2, 1))
    upsampler.seen.clear()
    with pytest.raises(ImageError, match=f"16400 x 16400.*{2**28}"):
        restorer(upscale=4, bg_upsampler=upsampler).enhance(image)
    assert not upsampler.seen


MEASURE = """
import resource, sys
import numpy as np
import torch
from memgan.restoration.background import enlarge
from memgan.restoration.spandrel_upsampler import SpandrelUpsampler
from memgan.image import Picture

upsampler = SpandrelUpsampler(sys.argv[1], device="cpu")
upsampler._model._call_fn = lambda model, image: torch.nn.functional.interpolate(image, scale_factor=4)
picture = Picture(np.full((4000, 6000, 3), 77, np.uint8))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
result = enlarge(picture, (int(sys.argv[2]) * 6000, int(sys.argv[2]) * 4000), float(sys.argv[2]), upsampler)
assert result.rgb.min() == result.rgb.max() == 77
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.slow
def test_memory_of_24_megapixels_with_a_network_that_makes_four_times_the_side(tmp_path):
    """The result's own bytes and what a part takes; the picture at four times its side would take 1,152 MB."""
    import torch
    from spandrel.architectures.ESRGAN import ESRGAN

    torch.save(ESRGAN(num_filters=8, num_blocks=1, scale=4).state_dict(), tmp_path / "x4.pth")
    command = [sys.executable, "-c", MEASURE, str(tmp_path / "x4.pth"), "2"]
    assert int(subprocess.run(command, check=True, capture_output=True, text=True).stdout) < 288 + 350
