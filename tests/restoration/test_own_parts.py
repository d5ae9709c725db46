"""Parts of the caller's own: what detectors, masks, embeddings and upsamplers may do and give."""

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from fakes import FakeDetector, FakeNetwork, face_at, scene
from PIL import Image

from memgan import MemGANRestorer
from memgan.errors import ConfigError, ImageError
from memgan.faces import Face
from memgan.image import Picture
from memgan.restoration.spandrel_upsampler import SpandrelUpsampler


class Upsampler:
    """Gives what a function makes of a picture."""

    def __init__(self, make: Callable[[np.ndarray, float], Any]) -> None:
        self.make = make

    def enhance(self, img: np.ndarray, outscale: float) -> Any:
        return self.make(img, outscale)


class Painter(FakeDetector):
    """A detector that draws where it has found something."""

    def detect(self, image: np.ndarray) -> list[Face]:
        faces = super().detect(image)
        image[:] = 0
        return faces


def blackened(face: np.ndarray) -> np.ndarray:
    face[:] = 0
    return np.ones(face.shape[:2])


def restorer(**options: Any) -> MemGANRestorer:
    given = {"network": FakeNetwork(0.5), "detector": FakeDetector(face_at(70, 60)), "upscale": 1, "device": "cpu"}
    return MemGANRestorer(**{**given, **options})


def enlarged(image: np.ndarray, outscale: float) -> np.ndarray:
    return cv2.resize(image, None, fx=outscale, fy=outscale, interpolation=cv2.INTER_NEAREST)


@pytest.mark.parametrize(
    ("own", "plain"),
    [
        ({"detector": Painter(face_at(70, 60))}, {}),
        ({"mask": blackened}, {"mask": lambda face: np.ones(face.shape[:2])}),
        ({"identity": lambda face: blackened(face)[0]}, {"identity": lambda face: np.ones(4)}),
    ],
)
def test_what_they_write_into_what_they_get_is_not_seen(own: dict[str, Any], plain: dict[str, Any]) -> None:
    picture = Picture(scene())
    before = picture.rgb.copy()
    result, expected = restorer(**own).restore(picture), restorer(**plain).restore(picture)
    np.testing.assert_array_equal(result.image, expected.image)
    np.testing.assert_array_equal(result.restored_faces, expected.restored_faces)
    np.testing.assert_array_equal(result.cropped_faces, expected.cropped_faces)
    np.testing.assert_array_equal(picture.rgb, before)


@pytest.mark.parametrize("score", [float("nan"), float("inf"), None, "0.9"])
def test_a_score_is_a_number(score: Any) -> None:
    face = face_at(70, 60)
    odd = Face(face.box_xyxy, face.landmarks, score)
    for threshold in (None, 0.5):
        with pytest.raises(ConfigError, match="the detector gave"):
            restorer(detector=FakeDetector(odd), score_threshold=threshold).restore(scene())
    with pytest.raises(ImageError, match="face 0 is"):
        restorer().restore(scene(), faces=[odd])


@pytest.mark.parametrize("faces", [face_at(70, 60), 7])
def test_faces_are_several(faces: Any) -> None:
    with pytest.raises(ImageError, match=r"faces is .*give several, such as \[face\]"):
        restorer().restore(scene(), faces=faces)


@pytest.mark.parametrize(
    "make",
    [
        lambda image, outscale: (enlarged(image, outscale), "RGB"),
        enlarged,  # no sequence around it
        lambda image, outscale: [torch.from_numpy(enlarged(image, outscale))],
        lambda image, outscale: torch.from_numpy(enlarged(image, outscale)),
        lambda image, outscale: (enlarged(image, outscale).astype(np.float32),),
    ],
)
@pytest.mark.parametrize("upscale", [0.125, 3])
def test_pictures_of_upsamplers(make: Callable[..., Any], upscale: float) -> None:
    """Of whatever size: pictures that are given have at least 16 pixels a side, results may have less."""
    image = np.full((48, 64, 3), (20, 120, 220), np.uint8)
    result = restorer(detector=FakeDetector(), upscale=upscale, bg_upsampler=Upsampler(make)).enhance(image)[2]
    assert result.shape == (int(48 * upscale), int(64 * upscale), 3) and (result == image[0, 0]).all()


@pytest.mark.parametrize(
    "given", [None, (), (None,), {}, 7, "picture", (Image.new("RGB", (64, 48)),), (np.zeros((4, 4, 3), np.uint8),)]
)
def test_what_is_no_picture_is_the_upsamplers_fault(given: Any) -> None:
    model = restorer(bg_upsampler=Upsampler(lambda image, outscale: given))
    with pytest.raises(ImageError, match=r"background upsampler Upsampler gave .* first item is the enlarged picture"):
        model.enhance(scene())


def test_results_may_be_longer_than_inputs() -> None:
    long = np.full((16, 40000, 3), 77, np.uint8)
    result = restorer(detector=FakeDetector(), upscale=2, bg_upsampler=Upsampler(enlarged)).enhance(long)[2]
    assert result.shape == (32, 80000, 3) and (result == 77).all()


def test_the_upsampler_of_networks_refuses_what_would_not_fit_before_its_work() -> None:
    upsampler = SpandrelUpsampler.__new__(SpandrelUpsampler)  # without a network: nothing may run
    upsampler.scale = 4
    with pytest.raises(ImageError, match="20000 x 20000"):
        upsampler.enhance(np.zeros((5000, 5000, 3), np.uint8))
    with pytest.raises(ImageError, match="0 x 0"):
        upsampler.enhance(np.zeros((20, 20, 3), np.uint8), 0.01)


@pytest.mark.parametrize("one", [scene(), scene()[:, :, 0], torch.zeros(3, 64, 64), "a.jpg", b"a", Picture(scene()), 7])
def test_one_picture_is_no_batch(one: Any) -> None:
    model = restorer()
    with pytest.raises(ConfigError, match="images is"):
        model.enhance_batch(one)
    with pytest.raises(ConfigError, match="images is"):
        model.restore_batch(one)


def test_a_stack_of_pictures_is_a_batch() -> None:
    stack = np.stack([scene(), scene(seed=1)])
    for images in (stack, torch.from_numpy(stack)):
        for result, image in zip(restorer().restore_batch(images), stack, strict=True):
            np.testing.assert_array_equal(result.image, restorer().restore(image).image)
