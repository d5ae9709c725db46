import sys
import tracemalloc

import cv2
import numpy as np
import pytest
from fakes import grain_of
from skimage import data

from memgan.errors import ImageError, ShapeError
from memgan.faces import FFHQ_TEMPLATE, Face, align, paste, soft_mask
from memgan.faces.warp import invert_affine, rescale_affine, warp

UPSCALES = [1, 2, 2.5]
# Name: (width of the face's crop in picture pixels / 512, rotation, where its center is in the 512 px picture).
PLACES = {
    "upright": (0.45, 0, (223, 120)),
    "rotated": (0.6, 33, (240, 260)),
    "upside down": (0.8, 171, (256, 250)),
    "partly outside": (0.7, -20, (20, 480)),
    "very small": (0.05, 12, (300, 200)),
    "very large": (4.0, 8, (256, 256)),
}


@pytest.fixture(scope="module")
def astronaut():
    return data.astronaut()


def face_at(scale, degrees, center):
    angle = np.deg2rad(degrees)
    linear = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return Face(np.zeros(4), FFHQ_TEMPLATE @ linear.T + np.array(center) - linear @ (255.5, 255.5), 1.0)


def enlarged(image, upscale):
    size = int(image.shape[1] * upscale), int(image.shape[0] * upscale)
    return cv2.resize(image, size, interpolation=cv2.INTER_LANCZOS4)


@pytest.mark.parametrize("upscale", UPSCALES)
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_identity_changes_nothing(astronaut, upscale, place, dtype):
    aligned = align(astronaut, face_at(*PLACES[place]))
    canvas = enlarged(astronaut, upscale).astype(dtype) * (257 if dtype == np.uint16 else 1)
    result = paste(canvas, aligned.crop, aligned.crop_from_image, upscale, crop=aligned.crop)
    assert result.dtype == dtype and np.array_equal(result, canvas)


@pytest.mark.parametrize("upscale", UPSCALES)
@pytest.mark.parametrize("place", PLACES)
def test_identity_by_replacement_on_a_smooth_picture(upscale, place):
    """Without the shortcut for unchanged pixels the geometry alone has to hold: to rounding inside, exactly outside."""
    y, x = np.mgrid[:512, :512]
    channels = [128 + 90 * np.sin(x / 60), 128 + 90 * np.sin(y / 70), 128 + 90 * np.sin((x - y) / 80)]
    image = np.rint(np.stack(channels, -1)).astype(np.uint8)
    aligned = align(image, face_at(*PLACES[place]))
    canvas = enlarged(image, upscale)
    result = paste(canvas, aligned.crop, aligned.crop_from_image, upscale)
    difference = np.abs(result.astype(int) - canvas)
    inside = corners_inside(aligned.crop_from_image, upscale, canvas.shape)
    assert difference[~inside].max(initial=0) == 0
    # Crop, canvas and result are rounded to whole levels, each half a level. The outermost pixels are left out: there
    # the mirrored border has a kink, and interpolation rounds it.
    # OpenCV 4 rounds the weights of interpolation to 1/32 pixel, which a strong enlargement shows as one level more.
    most = 2 if int(cv2.__version__.split(".")[0]) >= 5 else 3
    edge = int(np.ceil(upscale * max(2, 2 * PLACES[place][0])))
    assert difference[edge:-edge, edge:-edge].max() <= most and difference.mean() < 0.9


def corners_inside(crop_from_image, upscale, shape):
    """(H, W) bool: canvas pixels whose center lies in the crop."""
    matrix = invert_affine(rescale_affine(invert_affine(crop_from_image), upscale, upscale))
    y, x = np.mgrid[: shape[0], : shape[1]]
    places = np.stack([x, y], -1) @ matrix[:, :2].T + matrix[:, 2]
    return ((places > -0.5 - 1e-6) & (places < 511.5 + 1e-6)).all(-1)


@pytest.mark.parametrize("upscale", UPSCALES)
@pytest.mark.parametrize("place", ["rotated", "upside down", "very small", "very large"])
@pytest.mark.parametrize("with_crop", [False, True])
def test_a_spot_lands_where_it_belongs(upscale, place, with_crop):
    """The center of gravity of a bright spot, to a tenth of a pixel of the canvas."""
    image = np.full((512, 512, 3), 60, np.uint8)
    aligned = align(image, face_at(*PLACES[place]))
    spot = np.array((246.0, 262.0))
    y, x = np.mgrid[:512, :512]
    radius = {"very small": 30, "very large": 6}.get(place, 12)
    glow = 180 * np.exp(-((x - spot[0]) ** 2 + (y - spot[1]) ** 2) / 2 / radius**2)
    restored = np.rint(60 + glow[:, :, None]).astype(np.uint8).repeat(3, 2)
    canvas = enlarged(image, upscale)
    crop = aligned.crop if with_crop else None
    result = paste(canvas, restored, aligned.crop_from_image, upscale, crop=crop)[:, :, 0].astype(float) - 60
    canvas_from_crop = rescale_affine(invert_affine(aligned.crop_from_image), upscale, upscale)
    expected = canvas_from_crop[:, :2] @ spot + canvas_from_crop[:, 2]
    y, x = np.mgrid[: canvas.shape[0], : canvas.shape[1]]
    found = np.array([(x * result).sum(), (y * result).sum()]) / result.sum()
    assert np.abs(found - expected).max() < 0.1


def test_a_changed_face_replaces_the_old_one(astronaut):
    """Noise of the input must not shine through, whichever way it is pasted."""
    noisy = np.clip(astronaut + np.random.default_rng(0).normal(0, 25, astronaut.shape), 0, 255).astype(np.uint8)
    aligned = align(noisy, face_at(1.0, 15, (256, 256)))
    restored = cv2.GaussianBlur(align(astronaut, face_at(1.0, 15, (256, 256))).crop, (0, 0), 2)
    plain = paste(noisy, restored, aligned.crop_from_image)
    informed = paste(noisy, restored, aligned.crop_from_image, crop=aligned.crop)
    assert np.abs(plain[150:350, 150:350].astype(int) - informed[150:350, 150:350]).mean() < 0.3


def test_upscale_may_differ_by_axis():
    image = np.full((301, 203, 3), 50, np.uint8)
    canvas = np.full((752, 507, 3), 50, np.uint8)
    aligned = align(image, face_at(0.3, 0, (100, 150)))
    restored = aligned.crop.copy()
    restored[255:257, 255:257] = 250
    result = paste(canvas, restored, aligned.crop_from_image, (507 / 203, 752 / 301)).astype(float)[:, :, 0] - 50
    y, x = np.mgrid[:752, :507]
    found = (x * result).sum() / result.sum(), (y * result).sum() / result.sum()
    assert found == pytest.approx(((100 + 0.5) * 507 / 203 - 0.5, (150 + 0.5) * 752 / 301 - 0.5), abs=0.1)


def test_rounding_clipping_and_untouched_inputs():
    canvas = np.full((512, 512, 3), 250, np.uint8)
    aligned = align(canvas, face_at(1.0, 0, (255.5, 255.5)))
    white = np.full((512, 512, 3), 255, np.uint8)
    before = canvas.copy()
    result = paste(canvas, white, aligned.crop_from_image, crop=aligned.crop)
    assert result[256, 256].tolist() == [255, 255, 255] and result[0, 0].tolist() == [250, 250, 250]
    assert result.min() == 250 and np.array_equal(canvas, before) and not np.shares_memory(result, canvas)
    half = paste(canvas, white, aligned.crop_from_image, mask=np.full((512, 512), 0.5, np.float32))
    assert half[256, 256, 0] in (252, 253)  # 252.5, not truncated to anything lower
    deep = paste(canvas.astype(np.uint16) * 257, white, aligned.crop_from_image, crop=aligned.crop)
    assert deep[256, 256].tolist() == [65535] * 3


def test_outside_the_picture_nothing_happens():
    canvas = np.zeros((100, 100, 3), np.uint8)
    white = np.full((512, 512, 3), 255, np.uint8)
    aligned = align(canvas, face_at(0.2, 0, (900, 900)))
    assert not paste(canvas, white, aligned.crop_from_image).any()


def test_mask_is_soft_and_closed():
    mask = soft_mask(512)
    assert mask.dtype == np.float32 and mask.min() == 0 and mask.max() == 1
    assert mask[256, 256] == 1 and not mask[[0, -1]].any() and not mask[:, [0, -1]].any()
    assert np.abs(np.diff(mask, axis=0)).max() < 0.05 and np.array_equal(mask, mask[::-1, ::-1])
    assert not mask.flags.writeable and soft_mask(512) is mask and soft_mask(64).shape == (64, 64)


def test_bad_arrays_are_named():
    canvas, face = np.zeros((50, 50, 3), np.uint8), np.zeros((64, 64, 3), np.uint8)
    matrix = np.eye(2, 3)
    with pytest.raises(ShapeError, match="canvas"):
        paste(canvas[:, :, 0], face, matrix)
    with pytest.raises(ShapeError, match="restored"):
        paste(canvas, face[:32], matrix)
    with pytest.raises(ShapeError, match="crop"):
        paste(canvas, face, matrix, crop=face[:32, :32])
    with pytest.raises(ShapeError, match="mask"):
        paste(canvas, face, matrix, mask=np.zeros((9, 9)))
    with pytest.raises(ImageError, match="float64"):
        paste(canvas.astype(float), face, matrix)
    with pytest.raises(ImageError, match="restored face has dtype"):
        paste(canvas, face.astype(np.float32), matrix)


# -- large faces -----------------------------------------------------------------------------------------------------


def noisy_canvas(side, dtype=np.uint8):
    generator = np.random.default_rng(3)
    picture = cv2.resize(data.astronaut(), (side, side), interpolation=cv2.INTER_CUBIC)
    noisy = np.clip(picture + generator.normal(0, 9, (side, side, 1)), 0, 255).astype(np.uint8)
    return noisy.astype(dtype) * (257 if dtype == np.uint16 else 1)


@pytest.mark.parametrize("grain", [0.0, 1.0])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("degrees", [0, 17])
def test_a_face_in_strips_is_that_in_one_piece(monkeypatch, grain, dtype, degrees):
    canvas = noisy_canvas(700, dtype)
    small = noisy_canvas(350)
    aligned = align(small, face_at(0.5, degrees, (170, 180)))
    restored = cv2.GaussianBlur(aligned.crop, (0, 0), 3)
    alpha = np.full((700, 700), 255, dtype)
    alpha[:, :150] = 0
    options = {"crop": aligned.crop, "grain": grain, "alpha": alpha}
    whole = paste(canvas, restored, aligned.crop_from_image, 2, **options)
    for limit in ("_WHOLE_PIXELS", "_STRIP_PIXELS"):
        monkeypatch.setattr(sys.modules[paste.__module__], limit, 2**15)
    strips = paste(canvas, restored, aligned.crop_from_image, 2, **options)
    difference = np.abs(whole.astype(int) - strips)
    level = 257 if dtype == np.uint16 else 1
    # OpenCV 5 computes the places of pixels in single precision, from the first row of a strip.
    assert difference.max() <= level and difference.mean() < 0.001 * level
    assert np.abs(whole.astype(int) - canvas).max() > 5 * level


@pytest.mark.parametrize("strip", [21, 64, 250])
def test_grain_is_the_same_in_strips(strip):
    generator = np.random.default_rng(0)
    before = generator.normal(120, 9, (300, 200)).astype(np.float32)
    after = np.full_like(before, 120)
    amount = np.zeros_like(before)
    amount[40:250, 30:150] = 1
    whole, strips = grain_of(before, after, amount, 5), grain_of(before, after, amount, 5, strip=strip)
    np.testing.assert_allclose(strips, whole, rtol=0, atol=1e-4)
    assert whole.std() > 3
    few = np.ones_like(before)
    few[2::4, 2:5] = 0  # 225 pixels, too few for every fourth one
    whole, strips = grain_of(before, after, few), grain_of(before, after, few, strip=strip)
    np.testing.assert_allclose(strips, whole, rtol=0, atol=1e-4)


def test_memory_does_not_grow_with_a_face(monkeypatch):
    """70 bytes for each pixel of the square would be 100 MB."""
    for limit in ("_WHOLE_PIXELS", "_STRIP_PIXELS"):
        monkeypatch.setattr(sys.modules[paste.__module__], limit, 2**16)
    canvas = np.full((1200, 1200, 3), 90, np.uint8)
    canvas[::2] += 9
    face = np.full((64, 64, 3), 200, np.uint8)
    matrix = np.array([[64 / 1200, 0, 0], [0, 64 / 1200, 0]])
    tracemalloc.start()
    try:
        paste(canvas, face, matrix, crop=np.full_like(face, 90), grain=1.0, inplace=True)
        assert tracemalloc.get_traced_memory()[1] < 30e6
    finally:
        tracemalloc.stop()
    assert abs(canvas[500:700, 500:700].astype(int) - 200).max() < 30


@pytest.mark.parametrize("scale", [0.9, 0.75, 0.6, 0.4, 1.3])
def test_the_quick_way_to_resample_is_nearly_the_exact_one(scale):
    detail = np.random.default_rng(0).normal(0, 1, (200, 200, 3)).astype(np.float32)
    detail = 100 * cv2.GaussianBlur(detail, (0, 0), 1.5)
    stripes = np.where(np.arange(200) % 2, 100, -100).astype(np.float32) * np.ones((200, 1), np.float32)
    matrix = np.array([[scale, 0.02, 3.3], [-0.02, scale, 1.7]])
    side = int(180 * scale)
    inner = np.s_[8:-8, 8:-8]
    exact, quick = (warp(detail, matrix, side, side, cv2.BORDER_REFLECT_101, exact=way)[inner] for way in (True, False))
    if scale > 1:
        np.testing.assert_array_equal(exact, quick)
    else:
        assert np.abs(exact - quick).std() < 0.15 * exact.std()
        # What is too fine for the target leaves hardly more of a pattern than in the exact way.
        left = [
            warp(stripes, matrix, side, side, cv2.BORDER_REFLECT_101, exact=way)[inner].std() for way in (True, False)
        ]
        assert left[1] < 1.6 * left[0] + 5
