"""Other colors and light: what stays and what changes."""

import torch

from memgan.training.data.augmentation import _color_matrix, jitter_colors


def lightness(image: torch.Tensor) -> torch.Tensor:
    return (image * torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(-3)


def test_turning_the_hue_keeps_lightness_and_gray() -> None:
    colors = torch.rand(3, 100, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    for radians, saturation in ((0.4, 1.0), (3.0, 0.5), (-2.0, 2.0)):
        turned = _color_matrix(radians, saturation) @ colors
        weights = torch.tensor([0.299, 0.587, 0.114], dtype=torch.float64)
        torch.testing.assert_close(weights @ turned, weights @ colors, rtol=0, atol=1e-5)  # T.871 rounds its figures
        gray = _color_matrix(radians, saturation) @ torch.ones(3, dtype=torch.float64)
        torch.testing.assert_close(gray, torch.ones(3, dtype=torch.float64), rtol=0, atol=1e-5)
    torch.testing.assert_close(_color_matrix(0.0, 1.0) @ colors, colors)
    red = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)
    assert _color_matrix(2.0, 1.0)[:, 0].argmax() != 0 and _color_matrix(0.0, 0.0) @ red @ red < 0.3


def test_each_picture_has_its_own_draw_and_black_stays_black() -> None:
    image = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(2)) * 1.6 - 0.8
    both = jitter_colors(image.expand(2, -1, -1, -1), torch.Generator().manual_seed(3))
    assert both.shape == (2, 3, 16, 16) and both.dtype == image.dtype and both.abs().max() <= 1
    assert (both[0] - both[1]).abs().mean() > 0.02 < (both[0] - image[0]).abs().mean()
    assert torch.equal(both, jitter_colors(image.expand(2, -1, -1, -1), torch.Generator().manual_seed(3)))
    assert jitter_colors(-torch.ones(4, 3, 8, 8), torch.Generator().manual_seed(4)).max() == -1
    assert jitter_colors(image[:0], torch.Generator()).shape == (0, 3, 16, 16)


def test_dim_light_and_strong_colors_are_among_them() -> None:
    gray = torch.zeros(64, 3, 8, 8)
    light = lightness(jitter_colors(gray, torch.Generator().manual_seed(5))).mean((1, 2))
    assert light.min() < -0.35 and light.max() > 0.05
    skin = torch.tensor([0.6, 0.2, 0.0]).view(1, 3, 1, 1).expand(64, 3, 8, 8)
    colors = jitter_colors(skin, torch.Generator().manual_seed(6))
    strength = colors.amax(1) - colors.amin(1)
    assert strength.min() < 0.3 and strength.max() > 0.9
