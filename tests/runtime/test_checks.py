"""Checks of what callers choose: numbers of numpy and torch are numbers, and what is none is a clear error."""

from typing import Any

import numpy as np
import pytest
import torch

from memgan.errors import ConfigError
from memgan.restoration.options import RestoreOptions
from memgan.runtime.checks import check_choice, check_int, check_number, check_switch


@pytest.mark.parametrize("value", [4, np.int64(4), np.uint8(4), np.array(4), torch.tensor(4)])
def test_whole_numbers_of_any_library(value: Any) -> None:
    number = check_int("max_batch", value, 1)
    assert number == 4 and type(number) is int
    assert type(RestoreOptions(max_batch=value).max_batch) is int


@pytest.mark.parametrize("value", [True, np.bool_(True), torch.tensor(True), 4.0, np.float32(4), "4", None, 0, [4]])
def test_what_is_no_whole_number(value: Any) -> None:
    with pytest.raises(ConfigError, match="max_batch"):
        check_int("max_batch", value, 1)


@pytest.mark.parametrize("value", [0.5, np.float32(0.5), np.float16(0.5), np.array(0.5), torch.tensor(0.5)])
def test_numbers_of_any_library(value: Any) -> None:
    number = check_number("weight", value, 0, 1)
    assert number == 0.5 and type(number) is float
    assert type(RestoreOptions(weight=value, upscale=np.int64(2)).weight) is float


@pytest.mark.parametrize("value", [np.array([0.5]), np.ones((3, 3)), torch.ones(2), True, np.bool_(False), 10**400, 1j])
def test_what_is_no_number(value: Any) -> None:
    with pytest.raises(ConfigError, match="weight") as caught:
        check_number("weight", value, 0, 1)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("value", "expected"), [(True, True), (np.bool_(False), False), (1, True), (None, False), (torch.tensor(1), True)]
)
def test_switches(value: Any, expected: bool) -> None:
    assert check_switch("has_aligned", value) is expected


@pytest.mark.parametrize("value", ["no", b"", np.array([True]), object()])
def test_what_is_no_switch(value: Any) -> None:
    with pytest.raises(ConfigError, match="has_aligned"):
        RestoreOptions(has_aligned=value)


@pytest.mark.parametrize("value", [np.ones((512, 512)), ["soft"], None, 3])
def test_what_is_no_choice(value: Any) -> None:
    with pytest.raises(ConfigError, match="allowed are soft, hard") as caught:
        check_choice("mask", value, ("soft", "hard"))
    assert len(str(caught.value)) < 400


def test_indices_of_faces() -> None:
    assert RestoreOptions(face_index=np.array([0, 2])).face_index == (0, 2)
    assert RestoreOptions(face_index=1).face_index == (1,)
    for wrong in (-1, (0, 1.5), ("a",)):
        with pytest.raises(ConfigError, match="face_index"):
            RestoreOptions(face_index=wrong)
