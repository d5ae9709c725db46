import cv2
import numpy as np
import pytest
from fakes import scene

from memgan.image import Picture, resize, resize_with_alpha, visible_8bit, visible_rgb
from memgan.image.collection import PictureSource

SIZES = [(240, 200), (180, 150), (60, 50), (300, 60), (97, 203)]


def disc(dtype=np.uint8, height=100, width=120, radius=30):
    """Opacity (H, W) of a disc with a smooth edge."""
    y, x = np.mgrid[:height, :width]
    inside = np.clip(radius + 0.5 - np.hypot(y - height / 2, x - width / 2), 0, 1)
    return np.rint(inside * np.iinfo(dtype).max).astype(dtype)


def laid_on(background, rgb, alpha):
    """What is seen on a background of one value, in levels of 255."""
    peak = np.iinfo(rgb.dtype).max
    opacity = alpha[:, :, None] / peak
    return (rgb * opacity + background / 255 * peak * (1 - opacity)) * 255 / peak


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_white_disc_stays_white_whatever_is_under_the_transparent_pixels(size, dtype):
    alpha = disc(dtype)
    rgb = np.where(alpha > 0, np.iinfo(dtype).max, 0).astype(dtype)[:, :, None].repeat(3, axis=2)
    resized, opacity = resize_with_alpha(rgb, alpha, *size)
    assert resized.shape == (size[1], size[0], 3) and resized.dtype == opacity.dtype == dtype
    assert 0 < np.count_nonzero(opacity) < opacity.size
    assert laid_on(255, resized, opacity).min() > 254.9
    assert (resized[opacity == 0] == 0).mean() > 0.9  # what is hidden stays what it was


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("background", [0, 90, 255])
def test_resizing_and_laying_on_a_background_may_be_exchanged(size, background):
    rgb, alpha = cv2.GaussianBlur(scene(100, 120), (0, 0), 2), disc()
    alpha[:, :50] //= 3  # partly transparent areas too
    resized, opacity = resize_with_alpha(rgb, alpha, *size)
    expected = resize(laid_on(background, rgb, alpha).astype(np.float32), *size)
    # Lanczos filters overshoot at the edge, and colors end at 0 and 255.
    difference = np.abs(laid_on(background, resized, opacity) - np.clip(expected, 0, 255))
    assert difference.mean() < 0.5 and np.percentile(difference, 99) < 4


@pytest.mark.parametrize("size", SIZES)
def test_opaque_pictures_are_resized_as_ever(size):
    rgb = scene(100, 120)
    for alpha in (None, np.full((100, 120), 255, np.uint8)):
        resized, opacity = resize_with_alpha(rgb, alpha, *size)
        np.testing.assert_array_equal(resized, resize(rgb, *size))
        assert opacity is None or opacity.min() == 255


def test_far_from_transparent_pixels_nothing_changes():
    rgb = scene(100, 120)
    resized, _ = resize_with_alpha(rgb, disc(), 240, 200)
    inside = disc(radius=20)[::-1].repeat(2, axis=0).repeat(2, axis=1) == 255
    np.testing.assert_array_equal(resized[inside], resize(rgb, 240, 200)[inside])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_networks_see_no_hidden_color(dtype):
    alpha = disc(dtype)
    rgb = scene(100, 120).astype(dtype) * (257 if dtype == np.uint16 else 1)
    black, noise = rgb.copy(), rgb.copy()
    black[alpha == 0] = 0
    noise[alpha == 0] = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (np.count_nonzero(alpha == 0), 3))
    shown = visible_rgb(Picture(black, alpha=alpha))
    np.testing.assert_array_equal(shown, visible_rgb(Picture(noise, alpha=alpha)))
    own = alpha >= np.iinfo(dtype).max / 8
    np.testing.assert_array_equal(shown[own], rgb[own])
    assert shown.dtype == dtype
    # The continuation has the colors of the edge that it continues: nothing darker, nothing lighter.
    low, high = rgb[own].min(axis=0), rgb[own].max(axis=0)
    assert (shown >= low).all() and (shown <= high).all()


def test_one_color_is_continued_as_it_is():
    rgb = np.full((70, 91, 3), (200, 30, 90), np.uint8)
    alpha = np.zeros((70, 91), np.uint8)
    alpha[33:36, 60:62] = (90, 255)
    rgb[alpha == 0] = 0
    assert (visible_rgb(Picture(rgb, alpha=alpha)) == (200, 30, 90)).all()


def test_pictures_without_anything_to_see_are_gray_and_opaque_ones_stay():
    rgb = scene()
    assert np.ptp(visible_rgb(Picture(rgb, alpha=np.zeros(rgb.shape[:2], np.uint8)))) == 0
    assert visible_rgb(Picture(rgb)) is rgb
    assert visible_rgb(Picture(rgb, alpha=np.full(rgb.shape[:2], 128, np.uint8))) is rgb
    assert visible_8bit(Picture(rgb.astype(np.uint16) * 257)).dtype == np.uint8


def test_faces_to_learn_from_show_no_hidden_color(tmp_path):
    bgra = np.dstack([np.full((64, 64, 3), 210, np.uint8), disc(height=64, width=64)])
    bgra[bgra[:, :, 3] == 0] = 0
    cv2.imwrite(str(tmp_path / "cutout.png"), bgra)
    assert (PictureSource(tmp_path).read(0) == 210).all()
