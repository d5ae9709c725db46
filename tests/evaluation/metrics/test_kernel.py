"""The kernel distance against its definition, and what it is for: few pictures."""

import itertools

import pytest
import torch
from torch import Tensor

from memgan.errors import DataError, ShapeError
from memgan.evaluation import frechet_distance, kernel_distance


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


def test_bad_features_are_named() -> None:
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
