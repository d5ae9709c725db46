"""The loss against the grids of up-sampling."""

import pytest
import torch

from memgan.training.losses.pixel import checkerboard_distance


def test_a_grid_is_seen_and_other_errors_are_not() -> None:
    generator = torch.Generator().manual_seed(3)
    target = torch.rand(2, 3, 128, 128, generator=generator) * 2 - 1
    noise = 0.1 * torch.randn(2, 3, 128, 128, generator=generator)
    cell = torch.tensor([[1.0, -1.0], [-1.0, 1.0]])
    board = 0.1 * cell.repeat(64, 64)
    assert float(checkerboard_distance(target + board, target)) == pytest.approx(0.01, rel=1e-4)
    assert (
        float(checkerboard_distance(target + noise, target)) < 0.07 * 0.01
    )  # as strong, but without a place in the grid
    assert float(checkerboard_distance(target + 0.3, target)) == pytest.approx(0, abs=1e-9)
    half = torch.cat([board[:, :64], -board[:, 64:]], 1)  # the sign may differ from block to block
    assert float(checkerboard_distance(target + half, target)) == pytest.approx(0.01, rel=1e-4)
    wide = 0.1 * torch.cat([cell.repeat(64, 4), -cell.repeat(64, 4)], 1).repeat(1, 8)  # the sign turns every 8 px
    # One of the three grids repeats so.
    assert float(checkerboard_distance(target + wide, target)) == pytest.approx(0.01 / 3, rel=1e-3)
    patch = torch.zeros(128, 128)
    patch[32:48, 64:80] = board[32:48, 64:80]  # along an edge, say
    share = 16**2 / 128**2
    assert (
        float(checkerboard_distance(target + patch, target)) > 0.01 * share / 3
    )  # by the finest of three grids in full
    assert float(checkerboard_distance((target + board)[..., :30, :45], target[..., :30, :45])) == pytest.approx(
        0.01, rel=1e-4
    )
