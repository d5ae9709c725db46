"""Restored faces, averaged over the frames before and after."""

from collections.abc import Iterable

import cv2
import numpy as np
import pytest
from fakes import scene

from memgan.video.carry import KeyFace
from memgan.video.steadier import Steadier

SIZE = 256
SHARP = scene(SIZE, SIZE, seed=5)
BLURRED = cv2.GaussianBlur(SHARP, (0, 0), 2)
STEPS = (1, 3)


def moved(image: np.ndarray, x: float) -> np.ndarray:
    matrix = np.float64([[1, 0, x], [0, 1, 0]])
    return cv2.warpAffine(image, matrix, (SIZE, SIZE), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)


def error(first: np.ndarray, second: np.ndarray) -> float:
    """Mean difference without the edges, in levels."""
    inner = slice(24, -24)
    return float(np.abs(first.astype(float) - second)[inner, inner].mean())


def drawn(seed: int) -> np.ndarray:
    """The sharp face as a network draws it anew in each frame."""
    noise = cv2.GaussianBlur(np.random.default_rng(seed).normal(0, 1, SHARP.shape), (0, 0), 1)
    return np.clip(SHARP + 10 * noise, 0, 255).astype(np.uint8)


def steadied(keys: Iterable[KeyFace], steadiness: float = 0.9) -> list[KeyFace]:
    steadier = Steadier(steadiness, STEPS)
    return [shown for key in keys for shown in steadier.add(key)] + steadier.finish()


def shown(crops: Iterable[np.ndarray], outputs: Iterable[np.ndarray]) -> list[np.ndarray]:
    keys = [KeyFace(index, crop, output) for index, (crop, output) in enumerate(zip(crops, outputs, strict=True))]
    return [key.output for key in steadied(keys)]


@pytest.mark.parametrize("x", [0.0, 0.6])
def test_what_is_drawn_anew_in_each_frame_is_averaged_out(x: float) -> None:
    crops = [moved(BLURRED, x * number) for number in range(10)]
    outputs = [moved(drawn(number), x * number) for number in range(10)]
    held = shown(crops, outputs)
    for number in (0, 5, 9):
        truth = moved(SHARP, x * number)
        assert error(held[number], truth) < 0.75 * error(outputs[number], truth)
    for before, now in ((0, 1), (4, 5), (8, 9)):
        change = error(moved(held[before], x), held[now])
        assert change < 0.4 * error(moved(outputs[before], x), outputs[now])


def test_every_face_comes_back_in_its_order_as_soon_as_it_can() -> None:
    steadier = Steadier(0.9, STEPS)
    frames = []
    for number in range(8):
        key = KeyFace(10 + number, BLURRED, drawn(number))
        found = steadier.add(key)
        assert [one.frame for one in found] == ([6 + number] if number >= steadier.reach else [])
        frames += [one.frame for one in found]
    frames += [one.frame for one in steadier.finish()]
    assert steadier.reach == 4 and frames == list(range(10, 18))


def test_without_steps_faces_stay_as_they_are() -> None:
    key = KeyFace(3, BLURRED, drawn(0))
    steadier = Steadier(0.9, ())
    assert steadier.add(key) == [key] and steadier.add(key)[0].output is key.output and not steadier.finish()


def test_only_faces_within_reach_count() -> None:
    keys = [KeyFace(number, moved(BLURRED, 0.3 * number), moved(drawn(number), 0.3 * number)) for number in range(14)]
    whole, part = steadied(keys), steadied(keys[5:])
    for before, after in zip(whole[9:], part[4:], strict=True):
        np.testing.assert_array_equal(before.output, after.output)
    assert (whole[8].output != part[3].output).any()


def test_what_changes_is_shown_at_once_and_not_before() -> None:
    crops, outputs = [BLURRED] * 10, [SHARP] * 10
    crop, output = BLURRED.copy(), SHARP.copy()
    crop[100:140, 60:200] = output[100:140, 60:200] = 20
    crops[5:], outputs[5:] = [crop] * 5, [output] * 5
    held = shown(crops, outputs)
    part = np.s_[108:132, 70:190]
    for number in range(10):
        assert np.abs(held[number][part].astype(int) - outputs[number][part]).max() <= 2
        assert error(held[number], outputs[number]) < 1.5


def test_another_scene_is_shown_at_once() -> None:
    turned = slice(None, None, -1)
    crops = [BLURRED] * 5 + [BLURRED[turned, turned].copy()] * 5
    outputs = [SHARP] * 5 + [SHARP[turned, turned].copy()] * 5
    for held, output in zip(shown(crops, outputs), outputs, strict=True):
        assert error(held, output) < 1


def test_a_change_of_the_output_alone_comes_in() -> None:
    """Such as that of lids that hardly show in the input."""
    output = SHARP // 2
    output[100:140, 100:160] += 60
    outputs = [SHARP // 2] * 5 + [output] * 5
    for held, wanted in zip(shown([BLURRED] * 10, outputs), outputs, strict=True):
        part = np.s_[112:128, 112:148]
        assert np.abs(held[part].astype(float) - wanted[part]).mean() < 2


def test_what_changes_slowly_does_not_lag() -> None:
    """By a level a frame, in the output alone: what a mean of the frames before would be late with, or never show."""
    outputs = []
    for number in range(20):
        output = SHARP // 2
        output[80:180, 80:180] += np.uint8(number)
        outputs.append(output)
    held = shown([BLURRED] * 20, outputs)
    part = np.s_[100:160, 100:160]
    for number in range(4, 16):
        assert abs((held[number][part].astype(float) - outputs[number][part]).mean()) < 0.2


def test_light_does_not_lag() -> None:
    """A fade: everything becomes lighter by two levels a frame."""
    crops, outputs = ([face // 2 + np.uint8(2 * number) for number in range(20)] for face in (BLURRED, SHARP))
    for held, output in zip(shown(crops, outputs), outputs, strict=True):
        assert np.abs(held.astype(float) - output).mean() < 1


def test_the_mean_keeps_its_fine_detail() -> None:
    outputs = [drawn(number) for number in range(9)]
    held = shown([BLURRED] * 9, outputs)[4]

    def energy(picture: np.ndarray) -> float:
        gray = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)
        return float(np.square(gray - cv2.GaussianBlur(gray, (0, 0), 2))[24:-24, 24:-24].mean())

    mean = np.mean(outputs, axis=0).round().astype(np.uint8)
    assert energy(mean) < 0.85 * energy(outputs[4]) and energy(held) > 0.9 * energy(outputs[4])
