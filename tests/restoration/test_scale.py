"""Many pictures, many threads, little memory."""

import gc
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from fakes import FakeDetector, FakeNetwork, face_at, scene
from tiny import save_tiny_weights

from memgan import MemGANRestorer
from memgan.errors import ConfigError, ImageError


class FindsBright:
    """Each picture has its own faces, under its white marks; pictures without any have none."""

    def detect(self, image):
        marks = np.argwhere(image.min(axis=2) > 250).astype(float)
        faces = []
        while len(marks):
            near = np.abs(marks - marks[0]).max(axis=1) < 8
            y, x = marks[near].mean(axis=0)
            faces.append(face_at(x, y, 40))
            marks = marks[~near]
        return faces


def picture(i, num_faces):
    image = np.minimum(scene(100 + 7 * i, 190 - 5 * i, seed=i), 200)
    for face in range(num_faces):
        image[40 + i : 43 + i, 30 + 30 * face : 33 + 30 * face] = 255
    return image


PICTURES = [picture(i, num_faces) for i, num_faces in enumerate([1, 3, 0, 2, 4, 1, 1, 2])]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return save_tiny_weights(tmp_path_factory.mktemp("weights") / "tiny.safetensors")


def restorer(network, **options):
    return MemGANRestorer(network=network, device="cpu", **{"detector": FindsBright(), "upscale": 1, **options})


# -- batches ---------------------------------------------------------------------------------------------------------


def test_pictures_of_any_size_share_the_batches_of_the_network():
    network = FakeNetwork(0.5, 0.3)
    results = restorer(network, max_batch=5).enhance_batch(PICTURES)
    assert [len(batch) for batch in network.batches] == [5, 1, 5, 3]
    for image, (cropped, restored, whole) in zip(PICTURES, results, strict=True):
        alone = restorer(FakeNetwork(0.5, 0.3)).enhance(image)
        assert len(cropped) == len(restored) == len(alone[0])
        for a, b in zip((*cropped, *restored, whole), (*alone[0], *alone[1], alone[2]), strict=True):
            np.testing.assert_array_equal(a, b)


def test_a_batch_takes_the_options_of_enhance():
    model = restorer(FakeNetwork(0.5))
    results = model.enhance_batch(PICTURES, only_center_face=True, paste_back=False)
    assert [len(result[0]) for result in results] == [1, 1, 0, 1, 1, 1, 1, 1]
    assert all(result[2] is None for result in results)
    assert [len(result[1]) for result in model.enhance_batch(PICTURES[:2], has_aligned=True)] == [1, 1]
    assert model.enhance_batch([]) == []


def test_a_real_network_gives_the_same_in_a_batch_to_one_level(weights):
    model = MemGANRestorer(weights, 1, detector=FindsBright(), device="cpu")
    for image, result in zip(PICTURES, model.restore_batch(PICTURES)):
        assert np.abs(result.image.astype(int) - model.restore(image).image).max() <= 1


def test_pictures_are_read_only_as_far_ahead_as_a_batch_needs():
    read = []

    def stream():
        for i in range(1000):
            read.append(i)
            yield PICTURES[3]  # two faces

    results = restorer(FakeNetwork(), max_batch=4).restore_batch(stream())
    next(results)
    assert len(read) == 2
    next(results), next(results)
    assert len(read) == 4


def test_a_bad_picture_in_a_batch_is_named():
    with pytest.raises(ImageError, match="NaN"):
        restorer(FakeNetwork()).enhance_batch([PICTURES[0], np.full((50, 50), np.nan)])


# -- threads ---------------------------------------------------------------------------------------------------------


def test_eight_threads_are_equal_to_serial_bit_for_bit(weights):
    """Mixed sizes, depths and channels; network, detector, color lock and grain are those of users."""
    mixed = [*PICTURES, PICTURES[1][:, :, 0], PICTURES[4].astype(np.uint16) * 257, PICTURES[3].astype(float)]
    model = MemGANRestorer(weights, 1.5, detector=FindsBright(), device="cpu")
    serial = [model.enhance(image) for image in mixed]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(model.enhance, mixed * 4))
    for i, result in enumerate(together):
        expected = serial[i % len(mixed)]
        for a, b in zip((*result[0], *result[1], result[2]), (*expected[0], *expected[1], expected[2]), strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_eight_threads_with_the_embedded_detector(weights):
    from skimage import data

    astronaut = data.astronaut()
    pictures = [np.ascontiguousarray(astronaut[: 300 + 20 * i, 40 : 440 - 10 * i]) for i in range(8)]
    model = MemGANRestorer(weights, 1, device="cpu")
    serial = [model.enhance(image)[2] for image in pictures]
    with ThreadPoolExecutor(8) as pool:
        for i, result in enumerate(pool.map(lambda image: model.enhance(image)[2], pictures * 4)):
            np.testing.assert_array_equal(result, serial[i % 8])


# -- memory ----------------------------------------------------------------------------------------------------------


def test_out_of_memory_halves_the_chunk_and_goes_on(monkeypatch):
    released = []
    monkeypatch.setattr("memgan.restoration.inference.release_memory", released.append)

    class Small(FakeNetwork):
        def forward(self, image):
            if len(image) > 2:
                raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
            return super().forward(image)

    network = Small(0.5, 0.3)
    results = restorer(network, max_batch=8).enhance_batch(PICTURES)
    assert {len(batch) for batch in network.batches} <= {1, 2}
    assert released
    for result, expected in zip(results, restorer(FakeNetwork(0.5, 0.3)).enhance_batch(PICTURES), strict=True):
        np.testing.assert_array_equal(result[2], expected[2])


def test_out_of_memory_for_one_face_is_not_hidden():
    class Full(FakeNetwork):
        def forward(self, image):
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.cuda.OutOfMemoryError):
        restorer(Full()).enhance(PICTURES[1])


@pytest.mark.parametrize("dtype", ["bfloat16", torch.bfloat16])
def test_bfloat16_runs_on_the_cpu_and_stays_close(dtype, weights):
    model = MemGANRestorer(weights, 1, detector=FakeDetector(face_at(70, 60)), device="cpu")
    fast = MemGANRestorer(weights, 1, detector=FakeDetector(face_at(70, 60)), device="cpu", dtype=dtype)
    difference = np.abs(model.enhance(PICTURES[0])[2].astype(int) - fast.enhance(PICTURES[0])[2])
    assert difference.max() > 0 and difference.mean() < 1


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"dtype": "float16"}, "float16.*CUDA"),
        ({"dtype": "int8"}, "int8.*bfloat16"),
        ({"half": True, "dtype": "bfloat16"}, "contradict"),
    ],
)
def test_types_of_numbers_that_are_not_allowed(options, named):
    with pytest.raises(ConfigError, match=named):
        restorer(FakeNetwork(), **options)


def test_close_lets_go_of_everything():
    network, detector = FakeNetwork(), FakeDetector(face_at(70, 60))
    references = [weakref.ref(network), weakref.ref(detector)]
    with restorer(network, detector=detector) as model:
        model.enhance(PICTURES[0])
    del network, detector
    gc.collect()
    assert [reference() for reference in references] == [None, None]
    with pytest.raises(ConfigError, match="closed"):
        model.enhance(PICTURES[0])
    model.close()


@pytest.mark.slow
def test_memory_is_flat_over_a_thousand_calls(weights):
    """Resident memory after 1,000 calls, with faces and without, is that after the first 100, to 8 MB."""
    from pathlib import Path

    statm = Path("/proc/self/statm")
    if not statm.exists():
        pytest.skip("needs /proc")

    def resident_mb():
        gc.collect()
        return int(statm.read_text().split()[1]) * 4096 / 1e6

    model = MemGANRestorer(weights, 1, detector=FindsBright(), device="cpu")
    for i in range(1000):
        if i == 100:
            before = resident_mb()
        model.enhance(PICTURES[i % len(PICTURES)])
    assert resident_mb() - before < 8
