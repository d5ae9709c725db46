"""Faces of frame after frame: the network's batches, what is carried, and paste-back."""

import numpy as np
import pytest
import torch
from fakes import FakeDetector, FakeNetwork, face_at, scene

from memgan import MemGANRestorer
from memgan.video.frame_restorer import FaceWork, FrameRestorer, FrameWork
from memgan.video.view import FilmView


def made(
    max_batch: int = 1, every: int = 1, steadiness: float = 0.0, **options: object
) -> tuple[FakeNetwork, FrameRestorer]:
    """A network that makes faces brighter, and what runs it."""
    network = FakeNetwork(1.0, 0.2)
    restorer = MemGANRestorer(
        network=network, detector=FakeDetector(), device="cpu", upscale=1, color_lock=False, grain=0, **options
    )
    view = FilmView()
    return network, FrameRestorer(
        restorer.pipeline, restorer.options, view, max_batch=max_batch, every=every, steadiness=steadiness
    )


def work(index: int, *faces: FaceWork) -> FrameWork[np.ndarray]:
    frame = scene(seed=index)
    return FrameWork(index, frame, list(faces), frame.size // 3)


def face(track: int = 0, *, is_key: bool = True, weight: float = 1.0, runs: bool = True) -> FaceWork:
    return FaceWork(face_at(60 + 30 * track, 60, 48), track, weight, is_key=is_key, runs=runs)


def ran(restorer: FrameRestorer, works: list[FrameWork[np.ndarray]]) -> list[FrameWork[np.ndarray]]:
    for one in works:
        restorer.prepare(one, one.source)
    return list(restorer.settle(restorer.run(works)))


def test_frames_come_in_order_and_share_batches() -> None:
    network, restorer = made(max_batch=3)
    works = [work(0, face()), work(1), work(2, face(), face(1)), work(3), work(4, face())]
    assert ran(restorer, works) == works
    assert [len(batch) for batch in network.batches] == [3, 1]
    assert all(one.output is not None for each in works for one in each.faces)


def test_frames_without_faces_do_not_wait() -> None:
    network, restorer = made(max_batch=8)
    taken = []

    def given() -> object:
        for index in range(3):
            taken.append(index)
            yield work(index)

    for count, _ in enumerate(restorer.settle(restorer.run(given())), 1):  # type: ignore[arg-type]
        assert len(taken) == count
    assert not network.batches


def test_carried_faces_get_the_key_faces_around_them() -> None:
    network, restorer = made()
    works = [work(index, face(is_key=index % 3 == 0)) for index in range(8)]
    assert ran(restorer, works) == works
    assert len(network.batches) == 3
    keys = [[key.frame for key in each.faces[0].keys] for each in works]
    assert keys == [[], [0, 3], [0, 3], [], [3, 6], [3, 6], [], [6]]


def test_nothing_is_carried_across_a_gap() -> None:
    _, restorer = made()
    pattern = [True, False, None, True, False]
    works = [work(index, *([] if is_key is None else [face(is_key=is_key)])) for index, is_key in enumerate(pattern)]
    assert ran(restorer, works) == works
    assert [[key.frame for key in each.faces[0].keys] if each.faces else None for each in works] == [
        [],
        [0],
        None,
        [],
        [3],
    ]


def test_a_frame_waits_for_the_next_key_faces_of_all_its_tracks() -> None:
    _, restorer = made()
    works = [
        work(0, face(0), face(1)),
        work(1, face(0, is_key=False), face(1, is_key=False)),
        work(2, face(0), face(1, is_key=False)),
        work(3, face(0, is_key=False), face(1)),
        work(4, face(0)),
    ]
    for one in works:
        restorer.prepare(one, one.source)
    taken: list[int] = []

    def given() -> object:
        for one in works:
            taken.append(one.index)
            yield one

    order = [(one.index, max(taken)) for one in restorer.settle(restorer.run(given()))]  # type: ignore[arg-type]
    assert order == [(0, 0), (1, 3), (2, 3), (3, 4), (4, 4)]


def flickering(count: int, every: int = 1) -> list[FrameWork[np.ndarray]]:
    """A face that stands still before a camera whose noise does not."""
    works = [work(index, face(is_key=index % every == 0)) for index in range(count)]
    for one in works:
        noise = np.random.default_rng(one.index).normal(0, 4, one.source.shape)
        one.source = np.clip(scene() + noise, 0, 255).astype(np.uint8)
    return works


def shown(restorer: FrameRestorer, one: FrameWork[np.ndarray]) -> np.ndarray:
    canvas = one.source.copy()
    restorer.compose(one, one.source, canvas)
    return canvas


@pytest.mark.parametrize("every", [1, 2, 3])
def test_steady_faces_wait_for_those_after_them_and_no_longer(every: int) -> None:
    _, restorer = made(every=every, steadiness=0.9)
    works = flickering(30, every)
    for one in works:
        restorer.prepare(one, one.source)
    taken: list[int] = []

    def given() -> object:
        for one in works:
            taken.append(one.index)
            yield one

    waited = [max(taken) - one.index for one in restorer.settle(restorer.run(given()))]  # type: ignore[arg-type]
    assert len(waited) == 30 and max(waited) == restorer.delay
    assert restorer.delay == {1: 4, 2: 7, 3: 5}[every] and made(every=every)[1].delay == every - 1


def test_without_steadiness_every_frame_is_for_itself() -> None:
    _, restorer = made()
    alone = [ran(restorer, [one])[0].faces[0].output for one in flickering(6)]
    together = [one.faces[0].output for one in ran(restorer, flickering(6))]
    for first, second in zip(alone, together, strict=True):
        np.testing.assert_array_equal(first, second)
    _, steady = made(steadiness=0.9)
    outputs = [one.faces[0].output for one in ran(steady, flickering(6))]
    change, before = (np.abs(np.diff(np.stack(some).astype(float), axis=0)).mean() for some in (outputs, together))
    assert change < 0.6 * before


@pytest.mark.parametrize("every", [1, 2, 3])
def test_whoever_goes_on_shows_the_same(every: int) -> None:
    _, restorer = made(every=every, steadiness=0.9)
    kept = {}

    def keep(index: int, keys: object) -> None:
        kept[index] = {track: list(some) for track, some in keys.items()}  # type: ignore[attr-defined]

    works = flickering(18, every)
    for one in works:
        restorer.prepare(one, one.source)
    whole = [shown(restorer, one) for one in restorer.settle(restorer.run(works), keep=keep)]
    for begin in (1, 8, 11, 17):
        rest = flickering(18, every)[begin:]
        for one in rest:
            restorer.prepare(one, one.source)
        again = [shown(restorer, one) for one in restorer.settle(restorer.run(rest), kept[begin])]
        for first, second in zip(whole[begin:], again, strict=True):
            np.testing.assert_array_equal(first, second)
        assert all(len(some) <= 5 for some in kept[begin].values())


def test_the_face_is_pasted_and_the_rest_stays() -> None:
    _, restorer = made()
    (done,) = ran(restorer, [work(0, face())])
    canvas = done.source.copy()
    changed, faces = restorer.compose(done, done.source, canvas)
    np.testing.assert_array_equal(changed, (canvas != done.source).any(axis=2))
    assert changed[60, 60] and not changed[:30].any() and faces[0].strength == 1
    assert canvas[55:65, 55:65].mean() == pytest.approx(done.source[55:65, 55:65].mean() + 0.2 * 127.5, abs=1)


def test_strength_scales_the_change() -> None:
    changes = []
    for weight in (1.0, 0.5):
        _, restorer = made()
        (done,) = ran(restorer, [work(0, face(weight=weight))])
        canvas = done.source.copy()
        restorer.compose(done, done.source, canvas)
        changes.append(canvas[50:70, 50:70].astype(float) - done.source[50:70, 50:70])
    assert changes[1].mean() == pytest.approx(changes[0].mean() / 2, abs=0.5)


def test_faces_that_are_not_needed_are_not_cut_out() -> None:
    network, restorer = made()
    (done,) = ran(restorer, [work(0, face(runs=False))])
    canvas = done.source.copy()
    changed, faces = restorer.compose(done, done.source, canvas)
    assert not changed.any() and not faces and not network.batches


def test_grain_differs_from_frame_to_frame_and_is_the_same_again() -> None:
    _, restorer = made()
    seeds = [ran(restorer, [work(index, face(track))])[0].faces[0].aligned for index, track in ((0, 0), (1, 0), (0, 1))]
    numbers = [aligned.grain_seed for aligned in seeds if aligned is not None]
    assert len(set(numbers)) == 3
    (again,) = ran(restorer, [work(1, face())])
    assert again.faces[0].aligned is not None and again.faces[0].aligned.grain_seed == numbers[1]


def test_a_colorless_frame_stays_so() -> None:
    network, restorer = made()
    gray = np.repeat(scene()[:, :, :1], 3, axis=2)
    one = FrameWork(0, gray, [face()], gray.size // 3)
    tint = torch.tensor([0.3, 0.0, -0.3])[:, None, None]
    network.forward = lambda image: (image + tint, None)  # type: ignore[method-assign]
    (done,) = ran(restorer, [one])
    canvas = gray.copy()
    changed, _ = restorer.compose(done, gray, canvas)
    assert changed.any()
    np.testing.assert_array_equal(canvas[:, :, 0], canvas[:, :, 2])
