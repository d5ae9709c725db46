"""Windows, areas and places of interest."""

import pytest
import torch

from memgan.faces.align import FFHQ_SIZE_PX, FFHQ_TEMPLATE
from memgan.network.decoder import Window
from memgan.training.window import (
    COMPONENTS,
    FOCUS_SHIFT,
    Area,
    Focus,
    draw_focus,
    draw_window,
    random_area,
    smallest_side,
    valid_area,
)


def test_window_scale_and_margin() -> None:
    generator = torch.Generator().manual_seed(0)
    assert draw_window(None, 32, 512, generator) is None and draw_window(8, 64, 64, generator) is None
    for _ in range(50):
        window = draw_window(12, 32, 512, generator)
        assert 0 <= window.top <= 20 and 0 <= window.left <= 20 and window.size == 12
    seen, drawn = torch.zeros(2, 32), 1000
    for _ in range(drawn):
        window = draw_window(12, 32, 512, generator)
        for axis, start in enumerate((window.top, window.left)):
            seen[axis, start : start + 12] += 1 / drawn
    # The border has its turn: of squares that begin anywhere it is in a twelfth as many as the middle.
    assert seen.min() > 0.3 * seen.max()
    assert valid_area(Window(32, 0, 4, 12), 512, 32) == Area(0, 32, 160, 128)
    assert valid_area(Window(32, 20, 20, 12), 512, 32) == Area(32, 32, 160, 160)
    assert valid_area(None, 512, 32) == Area(0, 0, 512, 512)


def test_windows_and_crops_around_eyes_and_mouth() -> None:
    generator = torch.Generator().manual_seed(0)
    assert draw_focus(0.0, generator) is None
    drawn = [draw_focus(0.5, generator) for _ in range(400)]
    found = [focus for focus in drawn if focus is not None]
    assert 150 < len(found) < 250
    left, right, _, *mouth = FFHQ_TEMPLATE / FFHQ_SIZE_PX
    for component, place in zip(COMPONENTS, (left, right, sum(mouth) / 2), strict=True):
        assert component == pytest.approx(tuple(place), abs=1e-3)
    near = [
        min(range(3), key=lambda index: abs(right - COMPONENTS[index][0]) + abs(down - COMPONENTS[index][1]))
        for right, down in found
    ]
    assert set(near) == {0, 1, 2}
    for (right, down), index in zip(found, near, strict=True):
        assert abs(right - COMPONENTS[index][0]) <= FOCUS_SHIFT and abs(down - COMPONENTS[index][1]) <= FOCUS_SHIFT
    image = torch.zeros(1, 3, 512, 512)
    for focus in found:
        window = draw_window(24, 64, 512, generator, focus)
        region = valid_area(window, 512, 16).within(window, 512)
        crop = random_area(region.crop(image), 128, generator, focus.within(region, 512))
        assert region.left + crop.left + 64 == pytest.approx(focus.right * 512, abs=24)
        assert region.top + crop.top + 64 == pytest.approx(focus.down * 512, abs=24)
    corner = Focus(0.01, 0.99)
    assert draw_window(24, 64, 512, generator, corner) == Window(64, 40, 0, 24)
    assert random_area(image, 128, generator, corner.within(Area(0, 0, 512, 512), 512)) == Area(384, 0, 128, 128)


def test_every_window_leaves_the_smallest_side() -> None:
    generator = torch.Generator().manual_seed(0)
    assert smallest_side(None, 64, 512, 16) == 512 and smallest_side(24, 64, 64, 16) == 64
    side = smallest_side(24, 64, 512, 16)
    areas = [valid_area(draw_window(24, 64, 512, generator), 512, 16) for _ in range(200)]
    assert side == 160 == min(min(area.height, area.width) for area in areas)
