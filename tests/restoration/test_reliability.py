"""What a restorer expects of its own pictures: maps of the error, and what is kept, shared and refused."""

import copy
import dataclasses
import pickle
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fakes import FakeDetector, FakeNetwork, face_at, scene
from tiny import ESTIMATOR_CONFIG, estimator, register_small
from torch import Tensor

from memgan import MemGANRestorer, draw_heat_map, hub
from memgan.errors import ConfigError, StateMismatchError, WeightsError, WeightsNotFoundError
from memgan.network.reliability import ReliabilityEstimate, ReliabilityNet
from memgan.restoration import pipeline
from memgan.restoration.inference import to_batch
from memgan.restoration.result import RestoredFace

LARGE, SMALL = face_at(50, 60, 60), face_at(115, 60, 44)


@pytest.fixture
def registered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path, Path]:
    return register_small(tmp_path / "home", monkeypatch)


def restorer(weights: Any = "small", **options: Any) -> MemGANRestorer:
    options = {"upscale": 1, "detector": FakeDetector(LARGE, SMALL), "dtype": "float32", "device": "cpu", **options}
    return MemGANRestorer(weights, **options)


def expected(face: RestoredFace) -> tuple[np.ndarray, float, float]:
    known = face.expected_error, face.reliability, face.expected_identity_distance
    assert known[0] is not None and known[1] is not None and known[2] is not None
    return known  # type: ignore[return-value]


def said_by(path: Path, face: RestoredFace, picture: np.ndarray, fidelity: float) -> ReliabilityEstimate:
    """What the network of a file says of one face."""
    before, after = (to_batch([image], torch.device("cpu")) for image in (face.crop, picture))
    return hub.read_reliability(path).build()(before, after, torch.tensor([float(fidelity)]))


def assert_alike(one: RestoredFace, other: RestoredFace) -> None:
    for left, right in zip(expected(one), expected(other), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("fidelity", [0, 0.3, 1])
def test_it_is_what_the_network_of_the_file_says(registered: tuple[Path, Path, Path], fidelity: float) -> None:
    own = restorer(color_lock=False)
    for face in own.restore(scene(), fidelity=fidelity, reliability=True).faces:
        wanted = said_by(registered[2], face, face.restored, fidelity)
        error, sure, distance = expected(face)
        assert error.shape == (32, 32) and error.dtype == np.float32
        assert sure == pytest.approx(1 - wanted.risk.item(), abs=1e-5)
        assert distance == pytest.approx(wanted.identity_distance.item(), abs=1e-5)
        blocks = wanted.expected_error[0].numpy()
        # A block's number is that of its middle, from which the map goes evenly to the next one, and not beyond.
        np.testing.assert_allclose(error[[0, 0, -1, -1], [0, -1, 0, -1]], blocks.ravel(), rtol=1e-5)
        np.testing.assert_allclose(error[:8, :8], blocks[0, 0], rtol=1e-5)
        step = (blocks[0, 1] - blocks[0, 0]) / 16
        np.testing.assert_allclose(error[0, 8:24], blocks[0, 0] + step * (np.arange(16) + 0.5), rtol=1e-5)


def test_it_speaks_of_the_picture_of_the_network(registered: tuple[Path, Path, Path]) -> None:
    plain = restorer(color_lock=False).restore(scene(), reliability=True).faces
    for options, call in (({}, {}), ({}, {"weight": 0.25}), ({"grain": 1.0}, {"weight": 0})):
        for face, known in zip(
            restorer(**options).restore(scene(), reliability=True, **call).faces, plain, strict=True
        ):
            assert not np.array_equal(face.restored, known.restored)
            assert_alike(face, known)


def test_each_face_has_its_setting_of_the_dial(registered: tuple[Path, Path, Path]) -> None:
    own = restorer()
    mixed = own.restore(scene(), fidelity={1: 1}, reliability=True).faces
    vivid, faithful = (own.restore(scene(), fidelity=f, reliability=True).faces for f in (0, 1))
    assert_alike(mixed[0], vivid[0])
    assert_alike(mixed[1], faithful[1])
    assert abs(expected(vivid[1])[1] - expected(faithful[1])[1]) > 1e-3


def test_a_face_has_the_same_numbers_in_any_batch(registered: tuple[Path, Path, Path]) -> None:
    own = restorer()
    pictures = [scene(seed=seed) for seed in range(4)]
    alone = [own.restore(picture, reliability=True).faces for picture in pictures]
    for size in (1, 3, 8):
        own.options = dataclasses.replace(own.options, max_batch=size)
        for result, faces in zip(own.restore_batch(pictures, reliability=True), alone, strict=True):
            for face, known in zip(result.faces, faces, strict=True):
                assert_alike(face, known)


def test_pictures_are_the_same_with_it(registered: tuple[Path, Path, Path]) -> None:
    own = restorer()
    with_it, without = own.restore(scene(), reliability=True), own.restore(scene())
    np.testing.assert_array_equal(with_it.image, without.image)
    for face in without.faces:
        assert (face.expected_error, face.reliability, face.expected_identity_distance) == (None, None, None)


def test_the_restorer_has_a_setting_that_calls_override(registered: tuple[Path, Path, Path]) -> None:
    own = restorer(reliability=True)
    assert own.options.reliability and own.restore(scene()).faces[0].expected_error is not None
    assert own.restore(scene(), reliability=False).faces[0].expected_error is None
    assert next(own.restore_batch([scene()])).faces[1].reliability is not None
    with pytest.raises(ConfigError, match="reliability is 'yes'"):
        restorer(reliability="yes")


def test_enhance_neither_gives_nor_makes_it(registered: tuple[Path, Path, Path]) -> None:
    own = restorer(reliability=True)
    registered[2].unlink()
    assert len(own.enhance(scene())) == 3 and len(own.enhance_batch([scene()])) == 1


def test_faces_that_the_network_did_not_restore_have_none(
    registered: tuple[Path, Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = iter([1.0, 0.5])
    monkeypatch.setattr(pipeline, "sharpness", lambda crop: next(found))
    sharp, restored = restorer().restore(scene(), reliability=True).faces
    assert (sharp.strength, sharp.expected_error, sharp.reliability) == (0, None, None)
    assert sharp.expected_identity_distance is None
    assert restored.strength == 0.5 and restored.expected_error is not None


# -- weights -------------------------------------------------------------------------------------------------------


def test_who_never_asks_reads_no_file(registered: tuple[Path, Path, Path]) -> None:
    content = registered[2].read_bytes()
    registered[2].unlink()
    own = restorer()
    own.restore(scene())
    with pytest.raises(WeightsNotFoundError, match="small-reliability"):
        own.restore(scene(), reliability=True)
    registered[2].write_bytes(content)  # what failed is tried again
    assert own.restore(scene(), reliability=True).faces[0].reliability is not None


@pytest.mark.parametrize("make", [lambda files: str(files[0]), lambda files: hub.read(files[0])])
def test_weights_without_an_estimator(registered: tuple[Path, Path, Path], make: Callable[[Any], Any]) -> None:
    own = restorer(make(registered))
    own.restore(scene(), reliability=False)
    for call in (
        lambda: own.restore(scene(), reliability=True),
        lambda: own.restore_batch([scene()], reliability=True),
        lambda: restorer(make(registered), reliability=True),
        lambda: restorer(None, network=FakeNetwork(), reliability=True),
        lambda: restorer("small-faithful", reliability=True),
    ):
        with pytest.raises(ConfigError, match=r"no weights that estimate its errors: leave reliability out, or use"):
            call()


def test_a_network_that_was_exchanged_has_none(registered: tuple[Path, Path, Path]) -> None:
    own = restorer()
    own.pipeline.network = FakeNetwork(0.5, size=32)
    own.restore(scene())
    with pytest.raises(ConfigError, match="no weights that estimate"):
        own.restore(scene(), reliability=True)


def replaced(path: Path, monkeypatch: pytest.MonkeyPatch, network: ReliabilityNet, digests: dict[str, str]) -> None:
    """Another file in the place of the registered one."""
    hub.save_reliability(path, network.config, network.state_dict(), digests)
    spec = dataclasses.replace(hub.REGISTRY[path.stem], sha256=hub.sha256_of(path))
    monkeypatch.setitem(hub.REGISTRY, path.stem, spec)


def test_weights_that_do_not_belong_here_are_named(
    registered: tuple[Path, Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    digests = hub.read_reliability(registered[2]).calibrated_for
    replaced(registered[2], monkeypatch, estimator(), {**digests, "small": "0" * 64})
    with pytest.raises(WeightsError, match="not calibrated for the registered weights 'small'"):
        restorer().restore(scene(), reliability=True)
    larger = ReliabilityNet(dataclasses.replace(ESTIMATOR_CONFIG, image_size=64))
    replaced(registered[2], monkeypatch, larger, digests)
    with pytest.raises(StateMismatchError, match="faces of 64 px, and these have 32"):
        restorer().restore(scene(), reliability=True)
    wild = estimator()
    with torch.no_grad():
        for parameter in wild.parameters():
            parameter.mul_(1e30)  # finite, as files have to be; the products are not
    replaced(registered[2], monkeypatch, wild, digests)
    with pytest.raises(WeightsError, match="not finite"):
        restorer().restore(scene(), reliability=True)


# -- shared, copied, moved -----------------------------------------------------------------------------------------


def test_copies_estimate_the_same(registered: tuple[Path, Path, Path]) -> None:
    own = restorer(reliability=True)
    wanted = own.restore(scene()).faces
    for other in (pickle.loads(pickle.dumps(own)), copy.copy(own), copy.deepcopy(own)):
        for face, known in zip(other.restore(scene()).faces, wanted, strict=True):
            assert_alike(face, known)


def test_threads_read_the_weights_once(registered: tuple[Path, Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    read, results = [], {}
    begun, may_end = threading.Event(), threading.Event()
    load = hub.reliability.load_reliability_of

    def slow(spec: hub.WeightSpec) -> hub.ReliabilityCheckpoint:
        read.append(spec.name)
        begun.set()
        assert may_end.wait(30)
        return load(spec)

    monkeypatch.setattr("memgan.restoration.restorer.load_reliability_of", slow)
    own = restorer(threads=1)

    def work(number: int) -> None:
        results[number] = own.restore(scene(), reliability=True).faces[0]

    workers = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for worker in workers:
        worker.start()
    assert begun.wait(30)
    assert own.restore(scene()).faces[0].expected_error is None  # who does not ask does not wait
    may_end.set()
    for worker in workers:
        worker.join(30)
    assert read == ["small"] and len(results) == 3
    for face in results.values():
        assert_alike(face, results[0])


def test_it_computes_in_float32_whatever_the_program_has_set(registered: tuple[Path, Path, Path]) -> None:
    own = restorer()
    wanted = own.restore(scene(), reliability=True).faces[0]
    torch.set_default_dtype(torch.float64)
    try:
        with torch.autocast("cpu", torch.bfloat16):
            assert_alike(own.restore(scene(), reliability=True).faces[0], wanted)
            assert_alike(restorer(reliability=True).restore(scene()).faces[0], wanted)
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize(
    "options",
    [pytest.param({"backend": "onnx"}, marks=pytest.mark.slow), {"dtype": "bfloat16"}, {"self_ensemble": True}],
)
def test_it_sees_the_picture_of_any_form_of_the_network(
    registered: tuple[Path, Path, Path], options: dict[str, Any]
) -> None:
    if "backend" in options:
        pytest.importorskip("onnx")
    for face in restorer(color_lock=False, **options).restore(scene(), fidelity=0.5, reliability=True).faces:
        wanted = said_by(registered[2], face, face.restored, 0.5)
        assert expected(face)[1] == pytest.approx(1 - wanted.risk.item(), abs=1e-5)


def test_batches_are_halved_where_memory_ends(
    registered: tuple[Path, Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    own = restorer()
    wanted = [face for seed in range(3) for face in own.restore(scene(seed=seed), reliability=True).faces]
    sizes: list[int] = []
    forward = ReliabilityNet.forward

    def small(self: ReliabilityNet, degraded: Tensor, restored: Tensor, fidelity: Tensor) -> ReliabilityEstimate:
        sizes.append(len(degraded))
        if len(degraded) > 2:
            raise torch.cuda.OutOfMemoryError("too large")
        return forward(self, degraded, restored, fidelity)

    monkeypatch.setattr(ReliabilityNet, "forward", small)
    results = list(own.restore_batch([scene(seed=seed) for seed in range(3)], reliability=True))
    assert sizes == [6, 3, 1, 1, 1, 1, 1, 1]
    for face, known in zip([face for result in results for face in result.faces], wanted, strict=True):
        assert_alike(face, known)


class Seen(Exception):
    """Ends an estimate."""


def test_the_network_follows_the_device(registered: tuple[Path, Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the restorer's were moved; ``meta`` computes nothing."""
    estimates = restorer().pipeline.estimator
    assert estimates is not None
    seen: list[set[str]] = []

    def end(self: ReliabilityNet, *given: Tensor) -> ReliabilityEstimate:
        seen.append({tensor.device.type for tensor in (*self.state_dict().values(), *given)})
        raise Seen

    monkeypatch.setattr(ReliabilityNet, "forward", end)
    face = np.zeros((32, 32, 3), np.uint8)
    for name in ("meta", "cpu", "meta"):
        with pytest.raises(Seen):
            estimates.estimate([face], [face], 0, device=torch.device(name))
    assert seen == [{"meta"}, {"cpu"}, {"meta"}]


# -- the picture of it ---------------------------------------------------------------------------------------------


def face_with(error: np.ndarray | None, gray: int = 128) -> RestoredFace:
    side = 512 if error is None else len(error)
    return RestoredFace(
        LARGE.box_xyxy,
        LARGE.landmarks,
        0.9,
        crop=np.zeros((side, side, 3), np.uint8),
        crop_from_image=np.eye(2, 3),
        restored=np.full((side, side, 3), gray, np.uint8),
        mask=np.ones((side, side), np.float32),
        strength=1.0,
        expected_error=error,
    )


def test_colors_mean_the_same_in_every_map() -> None:
    """The same level has the same color, whatever else is in the map; a higher one is lighter; all above 20 alike."""
    levels = np.linspace(0, 20, 21, dtype=np.float32)
    rows = {}
    for most in (20, 60):
        error = np.full((64, 64), most, np.float32)
        error[0, :21] = levels
        rows[most] = draw_heat_map(face_with(error))[0, :21]
    np.testing.assert_array_equal(rows[20], rows[60])
    brightness = rows[20].astype(float) @ (0.299, 0.587, 0.114)
    assert brightness[-1] > brightness[0] and (np.diff(brightness[4:]) > 0).all()
    above = np.full((64, 64), 20, np.float32)
    above[:, 32:] = 200
    drawn = draw_heat_map(face_with(above))
    assert (drawn == drawn[0, 0]).all()


def test_what_is_sure_stays_gray_and_the_face_is_seen_through() -> None:
    sure, made_up = (draw_heat_map(face_with(np.full((64, 64), level, np.float32)))[32, 32] for level in (0, 20))
    assert np.ptp(sure.astype(int)) <= 3 and np.ptp(made_up.astype(int)) > 60
    dark, light = (draw_heat_map(face_with(np.full((64, 64), 20, np.float32), gray))[32, 32] for gray in (0, 255))
    assert (light.astype(int) > dark).all()


def test_the_legend_is_at_the_bottom_and_shows_the_whole_scale() -> None:
    drawn = draw_heat_map(face_with(np.zeros((512, 512), np.float32)))
    assert drawn.shape == (512, 512, 3) and drawn.dtype == np.uint8
    assert (drawn[:468] == drawn[0, 0]).all()  # nothing else is covered
    bar = drawn[481, 24:488]
    wanted = draw_heat_map(face_with(np.linspace(0, 20, 464, dtype=np.float32)[None].repeat(464, 0)))[0]
    np.testing.assert_array_equal(bar, wanted)
    assert (drawn[490:512] > 180).any(axis=(0, 2)).sum() > 60  # numbers
    small = draw_heat_map(face_with(np.zeros((64, 64), np.float32)))
    assert (small == small[0, 0]).all()


def test_a_face_without_estimate_has_no_map() -> None:
    with pytest.raises(ConfigError, match="restore it with reliability=True"):
        draw_heat_map(face_with(None))
