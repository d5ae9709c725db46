"""Pairs of a picture and its faces, errors that cost one picture only, the grain of each face, and checked options."""

import dataclasses

import numpy as np
import pytest
import torch
from fakes import FakeDetector, FakeNetwork, face_at, scene

from memgan import MemGANRestorer
from memgan.errors import ConfigError, ImageError
from memgan.restoration.options import RestoreOptions

FOUND, KNOWN = face_at(70, 60), face_at(110, 50, 50)


def restorer(network=None, **options):
    options = {"upscale": 1, "detector": FakeDetector(FOUND), **options}
    return MemGANRestorer(network=network or FakeNetwork(0.5, 0.3), device="cpu", **options)


# -- pictures and their faces -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("overlap", [False, True])
def test_a_batch_takes_the_faces_of_each_picture(overlap):
    model = restorer()
    box = (90.0, 30.0, 130.0, 80.0)
    items = [(scene(), [KNOWN, box]), (scene(), None), scene(seed=1), (scene(), [])]
    results = list(model.restore_batch(items, overlap=overlap))
    assert [len(result.faces) for result in results] == [2, 1, 1, 0]
    assert len(model.detector.seen) == 2  # only where no faces were given
    np.testing.assert_array_equal(results[0].faces[0].box_xyxy, KNOWN.box_xyxy)
    np.testing.assert_array_equal(results[0].faces[1].box_xyxy, box)
    np.testing.assert_array_equal(results[3].image, scene())
    for item, result in zip(items, results, strict=True):
        image, faces = item if isinstance(item, tuple) else (item, None)
        np.testing.assert_array_equal(result.image, restorer().restore(image, faces=faces).image)


def test_given_faces_share_the_batches_of_the_network():
    network = FakeNetwork(0.5)
    items = [(scene(seed=i), [KNOWN]) for i in range(6)]
    assert len(list(restorer(network, max_batch=4).restore_batch(items))) == 6
    assert [len(batch) for batch in network.batches] == [4, 2]


def test_results_can_be_given_as_faces_again():
    model = restorer()
    first = model.restore(scene())
    again = model.restore(scene(), faces=first.faces)
    np.testing.assert_array_equal(first.image, again.image)


def test_neither_a_picture_nor_a_pair():
    with pytest.raises(ImageError):
        list(restorer().restore_batch([(scene(), None, None)]))


# -- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("overlap", [False, True])
def test_a_bad_picture_costs_only_itself(overlap, tmp_path):
    items = [scene(), tmp_path / "missing.png", (scene(), [(0, 0, 0, 0)]), np.full((50, 50), np.nan), scene(seed=1)]
    results = list(restorer().restore_batch(items, overlap=overlap, raise_errors=False))
    assert [type(result.error) for result in results] == [type(None), ImageError, ImageError, ImageError, type(None)]
    assert "missing.png" in str(results[1].error) and results[1].faces == [] and results[1].picture is None
    assert len(results[4].faces) == 1
    with pytest.raises(ImageError, match=r"missing\.png"):
        list(restorer().restore_batch(items, overlap=overlap))


def test_memory_that_is_too_small_for_a_face_costs_only_pictures_with_faces():
    class Full(FakeNetwork):
        def forward(self, image):
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    results = list(restorer(Full()).restore_batch([scene(), (scene(), [])], raise_errors=False))
    assert isinstance(results[0].error, torch.cuda.OutOfMemoryError)
    assert results[1].error is None and results[1].image is not None


def test_an_upsampler_that_gives_no_picture_costs_only_that_one():
    class Moody:
        def __init__(self):
            self.calls = 0

        def enhance(self, img, outscale):
            self.calls += 1
            return (img, None) if self.calls != 2 else (np.zeros((3, 3)), None)

    results = list(restorer(bg_upsampler=Moody()).restore_batch([scene()] * 3, raise_errors=False))
    assert [result.error is None for result in results] == [True, False, True]


def test_errors_that_concern_every_picture_are_raised():
    model = restorer(mask=lambda face: np.ones((3, 3)))
    with pytest.raises(ConfigError, match="mask has shape"):
        list(model.restore_batch([scene()], raise_errors=False))


def test_pictures_without_faces_wait_for_nobody():
    taken = []

    def pictures():
        for i in range(5):
            taken.append(i)
            yield scene(), []

    results = restorer().restore_batch(pictures())
    next(results)
    assert taken == [0]


# -- grain -----------------------------------------------------------------------------------------------------------


def test_the_grain_of_each_face_has_its_seed():
    class Smoothing(FakeNetwork):
        def forward(self, image):
            return torch.nn.functional.avg_pool2d(image, 9, 1, 4, count_include_pad=False), None

    noise = np.random.default_rng(0).normal(120, 12, (240, 320, 1)).repeat(3, 2)
    image = np.clip(noise, 0, 255).astype(np.uint8)
    face = face_at(160, 120, 160)
    model = restorer(Smoothing(), grain=1.0)
    results = {seed: model.restore(image, faces=[dataclasses.replace(face, grain_seed=seed)]) for seed in (0, 7)}
    assert results[7].faces[0].grain_seed == 7
    again = model.restore(image, faces=[dataclasses.replace(face, grain_seed=7)])
    np.testing.assert_array_equal(again.image, results[7].image)
    difference = results[0].image.astype(int) - results[7].image
    assert np.abs(difference[100:140, 130:190]).mean() > 1 and not difference[:20].any()
    np.testing.assert_array_equal(results[0].image, model.restore(image, faces=[face]).image)


# -- options ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("weight", 1.5),
        ("weight", None),
        ("upscale", 0),
        ("grain", "much"),
        ("score_threshold", -1),
        ("min_face_size", float("nan")),
        ("max_batch", 0),
        ("max_batch", 2.0),
        ("color", "hsv"),
    ],
)
def test_options_are_checked_in_one_place(option, value):
    with pytest.raises(ConfigError, match=option):
        RestoreOptions(**{option: value})


def test_a_restorer_holds_its_options_and_takes_others():
    model = restorer(grain=0.25, max_face_size=900)
    assert model.options == RestoreOptions(upscale=1.0, grain=0.25, max_face_size=900.0)
    model.options = dataclasses.replace(model.options, upscale=2)
    assert model.restore(scene()).image.shape == (240, 320, 3)
    model.upscale = 1.5
    assert model.options.upscale == 1.5 and model.restore(scene()).image.shape == (180, 240, 3)
    with pytest.raises(ConfigError, match="upscale"):
        model.upscale = 99
