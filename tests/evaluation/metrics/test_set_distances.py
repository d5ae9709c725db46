"""Distances of sets: Frechet against closed forms and scipy, kernel against its definition and on few pictures."""

import itertools

import numpy as np
import pytest
import torch
from scipy import linalg
from torch import Tensor

from memgan.errors import DataError, ShapeError
from memgan.evaluation import frechet_distance, kernel_distance
from memgan.evaluation.metrics.set_distances import small_sample_note


def sample(count: int, mean: list[float], root: Tensor, seed: int = 0) -> Tensor:
    """Features whose mean and covariance (root root') are exactly the ones asked for."""
    draws = torch.randn(count, len(mean), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    draws = draws - draws.mean(0)
    white = draws @ torch.linalg.inv(torch.linalg.cholesky(draws.T @ draws / (count - 1))).T
    return white @ root.T.double() + torch.tensor(mean, dtype=torch.float64)


def by_square_root(a: Tensor, b: Tensor) -> float:
    first, second = (np.cov(x.double().numpy(), rowvar=False) for x in (a, b))
    step = (a.double().mean(0) - b.double().mean(0)).numpy()
    return float(step @ step + np.trace(first + second - 2 * linalg.sqrtm(first @ second).real))


def test_gaussians_with_a_closed_form() -> None:
    a = sample(50, [1.0, 2.0, -1.0], torch.diag(torch.tensor([1.0, 2.0, 3.0])))
    b = sample(70, [0.0, 4.0, -1.0], torch.diag(torch.tensor([2.0, 0.5, 3.0])), seed=1)
    # Of diagonal covariances: squared distance of the means plus that of the standard deviations.
    assert frechet_distance(a, b) == pytest.approx((1 + 4 + 0) + (1 + 2.25 + 0), abs=1e-9)


@pytest.mark.parametrize(("first", "second"), [(400, 300), (400, 12), (9, 11)])
def test_equal_to_the_matrix_square_root(first: int, second: int) -> None:
    generator = torch.Generator().manual_seed(3)
    mix = torch.randn(2, 8, 8, generator=generator)
    a = torch.randn(first, 8, generator=generator) @ mix[0]
    b = torch.randn(second, 8, generator=generator) @ mix[1] + 0.4
    assert frechet_distance(a, b) == pytest.approx(by_square_root(a, b), rel=1e-8)
    assert frechet_distance(b, a) == pytest.approx(frechet_distance(a, b), rel=1e-9)


def test_fewer_pictures_than_features() -> None:
    # Two pictures each, on crossing lines: no covariance is regular, and the square roots are known.
    a = torch.tensor([[1.0, 0, 0, 0, 0], [-1, 0, 0, 0, 0]])
    b = torch.tensor([[0.0, 3, 0, 0, 0], [0, -3, 0, 0, 0]])
    assert frechet_distance(a, b) == pytest.approx(2 + 18)
    assert frechet_distance(a, 3 * a) == pytest.approx((3 - 1) ** 2 * 2)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)
    # The bias that the note warns of: of one distribution, the fewer the further.
    draws = torch.randn(1200, 64, generator=torch.Generator().manual_seed(1))
    few, many = frechet_distance(draws[:20], draws[20:40]), frechet_distance(draws[:600], draws[600:])
    assert few > 5 * many > 0
    note = small_sample_note(20, 64)
    assert note is not None and "biased upwards" in note and "20" in note and "64" in note
    assert small_sample_note(65, 64) is None


def test_far_from_the_origin_nothing_is_lost() -> None:
    a = sample(40, [0.0, 0.0], torch.eye(2))
    assert frechet_distance(a + 1e6, a + 1e6 + 1e-3) == pytest.approx(2e-6, rel=1e-2)


def test_bad_features_of_the_frechet_distance_are_named() -> None:
    good = torch.zeros(3, 4)
    for bad in (good[:, :3], good[0]):
        with pytest.raises(ShapeError, match="needed"):
            frechet_distance(good, bad)
    with pytest.raises(DataError, match="at least 2"):
        frechet_distance(good, good[:1])
    with pytest.raises(DataError, match="finite"):
        frechet_distance(good, good.log() * 0)


def draws(count: int, seed: int, shift: float = 0.0, size: int = 16) -> Tensor:
    return torch.randn(count, size, generator=torch.Generator().manual_seed(seed)) + shift


def by_definition(a: Tensor, b: Tensor, pairs: bool) -> float:
    def kernel(x: Tensor, y: Tensor) -> float:
        return float((torch.dot(x.double(), y.double()) / len(x) + 1) ** 3)

    def mean(values: list[float]) -> float:
        return sum(values) / len(values)

    within = [mean([kernel(x, y) for x, y in itertools.permutations(one, 2)]) for one in (a, b)]
    across = [kernel(x, y) for i, x in enumerate(a) for j, y in enumerate(b) if not (pairs and i == j)]
    return sum(within) - 2 * mean(across)


@pytest.mark.parametrize("pairs", [False, True])
def test_equal_to_the_definition(pairs: bool) -> None:
    a, b = draws(6, 0), draws(6, 1, 0.5)
    assert kernel_distance(a, b, pairs=pairs) == pytest.approx(by_definition(a, b, pairs), rel=1e-9)
    assert kernel_distance(b, a, pairs=pairs) == pytest.approx(kernel_distance(a, b, pairs=pairs), rel=1e-9)
    assert kernel_distance(a, draws(9, 2)) == pytest.approx(by_definition(a, draws(9, 2), False), rel=1e-9)


def test_few_pictures_give_on_average_what_many_give() -> None:
    alike = [kernel_distance(draws(20, 2 * i), draws(20, 2 * i + 1)) for i in range(200)]
    apart = [kernel_distance(draws(20, 2 * i), draws(20, 2 * i + 1, 0.5)) for i in range(200)]
    many = kernel_distance(draws(4000, 900), draws(4000, 901, 0.5))
    assert min(alike) < 0 and abs(sum(alike) / 200) < 0.05 * many
    assert sum(apart) / 200 == pytest.approx(many, rel=0.1)
    # The Frechet distance does not.
    assert frechet_distance(draws(20, 0), draws(20, 1)) > 4 * frechet_distance(draws(4000, 900), draws(4000, 901))


def test_pairs_do_not_count_how_near_each_is_to_its_own() -> None:
    near, shuffled = [], []
    for seed in range(100):
        a = draws(20, seed)
        b = a + 0.1 * draws(20, 1000 + seed)
        near.append(kernel_distance(a, b, pairs=True))
        shuffled.append(kernel_distance(a, b))
    assert abs(sum(near) / 100) < 0.02 < -sum(shuffled) / 100


def test_bad_features_of_the_kernel_distance_are_named() -> None:
    good = draws(4, 0)
    for bad in (good[0], draws(4, 0, size=3)):
        with pytest.raises(ShapeError, match="needed"):
            kernel_distance(good, bad)
    with pytest.raises(ShapeError, match="N = M"):
        kernel_distance(good, good[:3], pairs=True)
    with pytest.raises(DataError, match="at least 2"):
        kernel_distance(good, good[:1])
    with pytest.raises(DataError, match="finite"):
        kernel_distance(good, good * float("nan"))
