import cv2
import numpy as np
import pytest
from fakes import scene

from memgan.image import resize
from memgan.restoration.tiles import enlarge_in_tiles


def repeated(scale):
    return lambda part: part.repeat(scale, axis=0).repeat(scale, axis=1)


@pytest.mark.parametrize(
    ("scale", "upscale"), [(1, 0.05), (1, 1), (2, 0.7), (2, 1.3), (2, 2), (4, 0.5), (4, 2), (4, 3.9)]
)
@pytest.mark.parametrize("tile", [16, 48, 1000])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_shrinking_by_tiles_is_shrinking_the_whole(scale, upscale, tile, dtype):
    rgb = scene(101, 143).astype(dtype) * (257 if dtype == np.uint16 else 1)
    size = max(1, int(143 * upscale)), max(1, int(101 * upscale))
    result = enlarge_in_tiles(rgb, size, repeated(scale), tile, 16)
    expected = resize(repeated(scale)(rgb), *size, cv2.INTER_AREA)
    assert result.dtype == dtype
    np.testing.assert_allclose(result.astype(int), expected.astype(int), atol=1)


@pytest.mark.parametrize(("scale", "upscale"), [(1, 1.5), (2, 2.5), (2, 3), (4, 6.3)])
def test_enlarging_further_than_the_network(scale, upscale):
    """Like one Lanczos filter over the whole picture; and no tile's edge is seen."""
    rgb = cv2.GaussianBlur(scene(101, 143), (0, 0), 1.5)
    size = int(143 * upscale), int(101 * upscale)

    def smooth(part):
        return resize(part, part.shape[1] * scale, part.shape[0] * scale, cv2.INTER_LANCZOS4)

    result = enlarge_in_tiles(rgb, size, smooth, 48, 16).astype(int)
    assert np.abs(result - enlarge_in_tiles(rgb, size, smooth, 1000, 16)).max() <= 1
    difference = np.abs(result - resize(rgb, *size, cv2.INTER_LANCZOS4))
    assert difference.max() <= 6 and difference.mean() < 0.5


def test_every_tile_is_seen_with_its_surroundings():
    seen = []

    def enlarge(part):
        seen.append(part.shape[:2])
        return part

    rgb = scene(100, 150)
    np.testing.assert_array_equal(enlarge_in_tiles(rgb, (150, 100), enlarge, 64, 16), rgb)
    assert seen == [(80, 80), (80, 96), (80, 38), (52, 80), (52, 96), (52, 38)]
