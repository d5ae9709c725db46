"""Working ahead in threads: order, exceptions, an early end and bounds; nothing depends on how long things take."""

import contextlib
import threading
from types import SimpleNamespace

import numpy as np
import pytest
from fakes import FakeDetector, FakeNetwork, face_at, scene

from memgan import MemGANRestorer
from memgan.runtime.prefetch import prefetch

PATIENCE = 20  # seconds that a test waits for what must come, before it fails
PICTURES = [scene(90 + i, 130 - i, seed=i) for i in range(6)]


def threads_of_ours():
    return [thread for thread in threading.enumerate() if thread.name.startswith("memgan-prefetch")]


@pytest.fixture(autouse=True)
def _no_thread_is_left():
    yield
    assert threads_of_ours() == []


# -- the iterator ----------------------------------------------------------------------------------------------------


def test_items_come_in_order():
    assert list(prefetch(prefetch(range(100)))) == list(range(100))
    assert list(prefetch([])) == []


def test_the_next_item_is_made_while_one_is_used():
    begun = [threading.Event() for _ in range(4)]

    def items():
        for i, event in enumerate(begun):
            event.set()
            yield i

    with contextlib.closing(prefetch(items())) as numbers:
        for number in numbers:
            assert number == 3 or begun[number + 1].wait(PATIENCE)


def test_only_one_item_is_made_ahead():
    made = []
    numbers = prefetch(made.append(i) or i for i in range(100))
    for _ in range(3):
        next(numbers)
    numbers.close()
    assert len(made) <= 4


def test_an_exception_comes_in_its_place():
    def items():
        yield 1
        yield 2
        raise KeyError("third")

    numbers = prefetch(prefetch(items()))
    assert [next(numbers), next(numbers)] == [1, 2]
    with pytest.raises(KeyError, match="third"):
        next(numbers)


def test_closing_ends_the_thread_and_what_it_went_through():
    ended = threading.Event()

    def items():
        try:
            while True:
                yield 0
        finally:
            ended.set()

    numbers = prefetch(items())
    assert next(numbers) == 0 and threads_of_ours()
    numbers.close()
    assert ended.is_set() and threads_of_ours() == []


# -- the pipeline ----------------------------------------------------------------------------------------------------


def restorer(network=None, detector=None, **options):
    detector = detector or FakeDetector(face_at(60, 50, 40))
    return MemGANRestorer(
        network=network or FakeNetwork(0.5, 0.3), detector=detector, device="cpu", upscale=1, max_batch=1, **options
    )


def test_results_are_those_of_working_one_by_one():
    one_by_one = list(restorer().restore_batch(PICTURES, overlap=False))
    overlapped = list(restorer().restore_batch(iter(PICTURES), overlap=True))
    assert len(overlapped) == len(PICTURES)
    for first, second in zip(one_by_one, overlapped, strict=True):
        np.testing.assert_array_equal(first.image, second.image)
        np.testing.assert_array_equal(first.faces[0].restored, second.faces[0].restored)


def test_on_a_cpu_nothing_overlaps_unless_it_is_asked_for():
    users = set()

    class Watching(FakeDetector):
        def detect(self, image):
            users.add(threading.current_thread())
            return super().detect(image)

    model = restorer(detector=Watching(face_at(60, 50, 40)))
    list(model.restore_batch(PICTURES))
    list(model.restore_batch(PICTURES[:1], overlap=True))
    assert users == {threading.current_thread()}
    list(model.restore_batch(PICTURES, overlap=True))
    assert len(users) == 2


def test_three_pictures_are_worked_on_at_once():
    """Pasting the first waits for the network to see the second, which waits for the detector to see the third."""
    detected, restored = [[threading.Event() for _ in PICTURES] for _ in range(2)]
    came = []

    class Detector(FakeDetector):
        def detect(self, image):
            detected[len(self.seen)].set()
            return super().detect(image)

    class Network(FakeNetwork):
        def forward(self, image):
            number = len(self.batches)
            restored[number].set()
            if number + 1 < len(PICTURES):
                came.append(detected[number + 1].wait(PATIENCE))
            return super().forward(image)

    finished = []

    def embed(face):  # is asked about every face, before and after, when it is to be pasted
        number = len(finished) // 2
        if number + 1 < len(PICTURES):
            came.append(restored[number + 1].wait(PATIENCE))
        finished.append(face)
        return np.ones(3)

    model = restorer(Network(0.5), Detector(face_at(60, 50, 40)), identity=embed)
    assert len(list(model.restore_batch(PICTURES, overlap=True))) == len(PICTURES)
    assert came and all(came)


@pytest.mark.parametrize("overlap", [False, True])
def test_pictures_before_a_bad_one_are_not_lost(overlap):
    model = MemGANRestorer(
        network=FakeNetwork(0.5), detector=FakeDetector(face_at(60, 50, 40)), device="cpu", upscale=1, max_batch=8
    )
    results = model.restore_batch([*PICTURES[:2], np.full((50, 50), np.nan), PICTURES[3]], overlap=overlap)
    assert [next(results).image.shape[0] for _ in range(2)] == [90, 91]
    with pytest.raises(ValueError, match="NaN"):
        next(results)


@pytest.mark.parametrize("part", ["detector", "network", "mask"])
def test_a_part_that_fails_is_heard_of_at_its_picture(part):
    seen = []

    def fail_at_the_third(*_):
        seen.append(1)
        if len(seen) == 3:
            raise RuntimeError(part)

    class Detector(FakeDetector):
        def detect(self, image):
            if part == "detector":
                fail_at_the_third()
            return super().detect(image)

    class Network(FakeNetwork):
        def forward(self, image):
            if part == "network":
                fail_at_the_third()
            return super().forward(image)

    def mask(face):
        if part == "mask":
            fail_at_the_third()
        return np.ones(face.shape[:2])

    results = restorer(Network(0.5), Detector(face_at(60, 50, 40)), mask=mask).restore_batch(PICTURES, overlap=True)
    assert [next(results).image.shape[0] for _ in range(2)] == [90, 91]
    with pytest.raises(RuntimeError, match=part):
        next(results)


def test_leaving_early_stops_reading():
    read = []

    def endless():
        while True:
            read.append(1)
            yield PICTURES[0]

    results = restorer().restore_batch(endless(), overlap=True)
    next(results)
    results.close()
    assert threads_of_ours() == []
    # The one that was given, one in the network, one that waits for it, one with its faces being found, one in between.
    assert len(read) <= 6


def test_leaving_early_does_not_wait_for_a_full_batch(monkeypatch):
    """Without a face no batch is ever full: the stream ends with the picture that is being read."""
    read = []
    closing = threading.Event()

    class Told(threading.Event):
        def set(self):
            super().set()
            closing.set()

    monkeypatch.setattr("memgan.restoration.pipeline.threading", SimpleNamespace(Event=Told))

    def endless():
        while True:
            read.append(1)
            if len(read) == 4:
                assert closing.wait(PATIENCE)
            yield PICTURES[0]

    class FirstOnly(FakeDetector):
        def detect(self, image):
            return super().detect(image) if not self.seen else []

    results = restorer(detector=FirstOnly(face_at(60, 50, 40))).restore_batch(endless(), overlap=True)
    next(results)
    results.close()
    assert len(read) <= 5
