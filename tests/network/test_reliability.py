"""The estimator of a restored face's error: what it takes and gives, its clues, and its calibration."""

import math

import pytest
import torch
from tiny import TINY_MOBILE
from torch import Tensor, nn

from memgan.errors import ConfigError, ShapeError, StateMismatchError
from memgan.network.config import preset
from memgan.network.cost import count_cost, count_operations
from memgan.network.reliability import (
    ERROR_KNOTS,
    MonotoneMap,
    RawEstimate,
    ReliabilityConfig,
    ReliabilityNet,
    band_clues,
    block_error,
    build_reliability,
    luma,
    piecewise_linear,
    setting_shares,
)

TINY = ReliabilityConfig(name="tiny", image_size=64, stem_channels=4, channels=8, blocks=2)


def network(config: ReliabilityConfig = TINY) -> ReliabilityNet:
    """One whose layers all do something."""
    torch.manual_seed(0)
    made = ReliabilityNet(config).eval().requires_grad_(False)
    for parameter in made.parameters():
        parameter.add_(0.05 * torch.randn_like(parameter))
    return made


def faces(count: int = 2, size: int = 64) -> Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.mark.parametrize("size", [16, 64, 80])
def test_shapes_and_ranges(size: int) -> None:
    given = faces(3, size)
    config = ReliabilityConfig(image_size=size, stem_channels=4, channels=8, blocks=1)
    error, distance, risk = network(config)(given, given.flip(-1), torch.tensor([0.0, 0.3, 1.0]))
    assert error.shape == (3, size // 16, size // 16) and distance.shape == risk.shape == (3,)
    assert error.dtype == distance.dtype == risk.dtype == torch.float32
    assert (error > 0).all() and (distance > 0).all() and ((risk > 0) & (risk < 1)).all()


def test_everything_given_counts() -> None:
    net, given, made = network(), faces(1), faces(2)[1:]
    first = net(given, made, torch.zeros(1))
    for other in (net(made, made, torch.zeros(1)), net(given, given, torch.zeros(1)), net(given, made, torch.ones(1))):
        assert not any(torch.equal(a, b) for a, b in zip(first, other, strict=True))


def test_a_face_has_the_same_estimate_in_every_batch_and_under_autocast() -> None:
    net, given, made, dial = network(), faces(3), faces(3).flip(-1), torch.tensor([0.0, 0.25, 1.0])
    together = net(given, made, dial)
    for row in range(3):
        part = slice(row, row + 1)
        for one, all_of_them in zip(net(given[part], made[part], dial[part]), together, strict=True):
            torch.testing.assert_close(one, all_of_them[part], rtol=1e-5, atol=1e-6)
    with torch.autocast("cpu", torch.bfloat16):
        assert all(torch.equal(a, b) for a, b in zip(net(given, made, dial), together, strict=True))
    halves = net(given.half(), made.half(), dial.half())
    assert all(one.dtype == torch.float32 for one in halves)


@pytest.mark.parametrize(
    ("degraded", "restored", "fidelity"),
    [((2, 3, 64, 64), (1, 3, 64, 64), (2,)), ((1, 3, 32, 32), (1, 3, 32, 32), (1,)), ((1, 3, 64, 64),) * 2 + ((1, 1),)],
)
def test_other_shapes_are_refused(
    degraded: tuple[int, ...], restored: tuple[int, ...], fidelity: tuple[int, ...]
) -> None:
    with pytest.raises(ShapeError, match=r"needed: \(B, 3, 64, 64\) twice and \(B,\)"):
        network()(torch.zeros(degraded), torch.zeros(restored), torch.zeros(fidelity))


def test_the_published_size_is_a_small_share_of_the_restorer() -> None:
    class Pair(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = ReliabilityNet(ReliabilityConfig())

        def forward(self, image: Tensor) -> Tensor:
            return self.net(image, image, image.new_zeros(len(image))).expected_error

    cost = count_operations(Pair(), 512)
    restorer = count_cost(preset("memgan-mobile-512"))[-1]
    assert cost.multiply_adds < 0.03 * restorer.multiply_adds
    assert cost.num_parameters < 500_000


def test_configuration_round_trip() -> None:
    assert ReliabilityConfig.from_json(TINY.to_json()) == TINY


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"image_size": 72}, "image_size is 72; allowed: multiples of 16 up to 1024"),
        ({"image_size": 2048}, "multiples of 16 up to 1024"),
        ({"image_size": 64.0}, "image_size is 64.0"),
        ({"channels": 0}, "channels is 0; allowed: whole numbers from 1 to 512"),
        ({"blocks": True}, "blocks is True"),
        ({"name": ""}, "name is ''"),
    ],
)
def test_values_out_of_range_are_named(changes: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        ReliabilityConfig(**changes)


def test_files_of_other_kinds_are_named() -> None:
    with pytest.raises(ConfigError, match="Unknown configuration fields"):
        ReliabilityConfig.from_json(TINY_MOBILE.to_json())


def test_loading_is_strict() -> None:
    state = network().state_dict()
    assert torch.equal(build_reliability(TINY, state).look_at_made.weight, state["look_at_made.weight"])
    del state["look_at_made.weight"]
    with pytest.raises(StateMismatchError, match=r"do not fit tiny: 1 missing \['look_at_made.weight'\]"):
        build_reliability(TINY, state)


def test_luma_and_the_error_of_blocks() -> None:
    colors = torch.tensor([[1.0, -1, -1], [-1, 1, -1], [-1, -1, 1], [1, 1, 1]]).view(4, 3, 1, 1).expand(4, 3, 32, 32)
    assert luma(colors)[:, 0, 0, 0].tolist() == pytest.approx([76.245, 149.685, 29.07, 255], abs=1e-3)
    truth = torch.zeros(1, 3, 32, 32)
    made = truth.clone()
    made[..., :16, :8] += 10 / 127.5
    made[..., 16:, 16:] -= 4 / 127.5
    torch.testing.assert_close(block_error(made, truth)[0], torch.tensor([[5.0, 0.0], [0.0, 4.0]]), rtol=0, atol=1e-4)


def test_clues_tell_which_band_has_detail() -> None:
    """Ripples of a period of 2 to 16 px are strongest in the band of their period, and in what was changed."""
    across = torch.arange(64)
    for band in range(4):
        ripple = torch.where((across // 2**band) % 2 == 0, 0.5, -0.5).expand(1, 3, 64, 64)
        clues = band_clues(torch.zeros_like(ripple), ripple)[0, :, 1, 1]
        given, made, changed = clues[:12].view(4, 3).T
        assert given.max() == given.min() == pytest.approx(math.log(0.25) - 1)  # nothing but the floor
        assert int(made.argmax()) == int(changed.argmax()) == band


def test_a_map_goes_through_its_points_and_is_increasing() -> None:
    knots, values = torch.tensor([0.0, 1.0, 3.0]), torch.tensor([1.0, 1.0, 5.0])
    x = torch.tensor([-2.0, 0.0, 0.5, 1.0, 2.0, 3.0, 4.0])
    assert piecewise_linear(x, knots, values).tolist() == [-1.0, 1.0, 1.0, 1.0, 3.0, 5.0, 6.0]


def test_calibration_changes_nothing_until_it_is_fitted_and_is_interpolated_between_settings() -> None:
    start = MonotoneMap(torch.linspace(-1, 4.5, ERROR_KNOTS))
    x, dial = torch.tensor([[-3.0, 0.2], [1.7, 9.0], [0.2, 2.0]]), torch.tensor([0.0, 0.3, 1.0])
    torch.testing.assert_close(start(x, setting_shares(dial)), x)
    knots = torch.linspace(0, 1, ERROR_KNOTS)
    for place in range(3):
        start.fit(place, knots, knots + place)
    torch.testing.assert_close(
        start(torch.full((5,), 0.4), setting_shares(torch.tensor([0, 0.25, 0.5, 0.75, 1]))),
        torch.tensor([0.4, 0.9, 1.4, 1.9, 2.4]),
    )


def test_risk_is_calibrated_by_slope_and_offset() -> None:
    calibration = network().calibration
    calibration.slope.copy_(torch.tensor([2.0, 1.0, 1.0]))
    calibration.offset.copy_(torch.tensor([0.0, 0.0, -1.0]))
    raw = RawEstimate(torch.zeros(3, 1, 1), torch.zeros(3), torch.ones(3))
    found = calibration(raw, torch.tensor([0.0, 0.25, 1.0])).risk
    assert found.tolist() == pytest.approx([1 / (1 + math.exp(-odds)) for odds in (2.0, 1.5, 0.0)], abs=1e-6)
