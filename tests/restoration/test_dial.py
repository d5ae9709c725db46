"""The fidelity dial: what lies between two sets of weights, what is kept, and faces that have settings of their own."""

import copy
import dataclasses
import json
import pickle
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fakes import FakeDetector, FakeNetwork, face_at, scene
from PIL import Image
from tiny import FAITHFUL_CONFIG, FAST_CONFIG, faithful_state, register_small, trained

from memgan import MemGANRestorer, hub
from memgan.apps.cli.main import main
from memgan.errors import ConfigError, StateMismatchError, WeightsError, WeightsNotFoundError
from memgan.hub.average import check_partner, interpolated
from memgan.hub.registry import faithful_partner
from memgan.network.fast import FastMemGAN
from memgan.network.model import build_memgan
from memgan.restoration import dial as dial_module
from memgan.restoration.dial import KEPT_NETWORKS
from memgan.restoration.self_check import SelfCheck, weights_digest

LARGE, SMALL = face_at(50, 60, 60), face_at(115, 60, 44)


@pytest.fixture
def registered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """The files of the registered weights ``small``, which have a faithful partner."""
    return register_small(tmp_path / "home", monkeypatch)[:2]


def restorer(weights: Any = "small", **options: Any) -> MemGANRestorer:
    options = {"upscale": 1, "detector": FakeDetector(LARGE, SMALL), "dtype": "float32", "device": "cpu", **options}
    return MemGANRestorer(weights, **options)


def of_two(files: tuple[Path, Path], fidelity: float, **options: Any) -> MemGANRestorer:
    """A restorer whose one set of weights is the mean that the dial should make."""
    vivid, faithful = map(hub.read, files)
    return restorer(hub.Checkpoint(vivid.config, interpolated(vivid.state, faithful.state, fidelity)), **options)


def faces(result: Any) -> list[np.ndarray]:
    return list(result.restored_faces)


# -- numbers between -----------------------------------------------------------------------------------------------


def test_every_tensor_lies_between_and_the_ends_are_the_files(registered: tuple[Path, Path]) -> None:
    vivid, faithful = (hub.read(path).state for path in registered)
    for share in (0, 1):
        assert all(interpolated(vivid, faithful, share)[n].equal((vivid, faithful)[share][n]) for n in vivid)
    quarter = interpolated(vivid, faithful, 0.25)
    assert quarter.keys() == vivid.keys()
    for name, tensor in quarter.items():
        wanted = 0.75 * vivid[name].double() + 0.25 * faithful[name].double()
        torch.testing.assert_close(tensor.double(), wanted, rtol=1e-6, atol=1e-6)
        assert not name.endswith(".slots") or tensor.equal(vivid[name])


def test_weights_that_are_no_partners_are_refused() -> None:
    vivid = hub.Checkpoint(FAST_CONFIG, trained().state_dict())
    check_partner(vivid, hub.Checkpoint(FAITHFUL_CONFIG, faithful_state()))
    state = faithful_state()
    slots = next(name for name in state if name.endswith(".slots"))
    with pytest.raises(StateMismatchError, match="memory's slots"):
        check_partner(vivid, hub.Checkpoint(FAITHFUL_CONFIG, {**state, slots: state[slots] + 1e-3}))
    warmer = dataclasses.replace(FAITHFUL_CONFIG, memory_temperature=FAST_CONFIG.memory_temperature * 2)
    with pytest.raises(StateMismatchError, match="memory_temperature"):
        check_partner(vivid, hub.Checkpoint(warmer, state))
    with pytest.raises(StateMismatchError, match="not in both"):
        check_partner(vivid, hub.Checkpoint(FAITHFUL_CONFIG, {n: t for n, t in state.items() if n != slots}))


def test_only_names_have_partners(registered: tuple[Path, Path]) -> None:
    assert faithful_partner("small") == "small-faithful"
    for other in ("small-faithful", str(registered[0]), registered[0], hub.read(registered[0]), "nowhere"):
        assert faithful_partner(other) is None
    assert faithful_partner(None) == hub.REGISTRY[hub.DEFAULT_NAME].faithful


# -- the restorer --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fidelity", [0, 0.3, 1])
def test_the_setting_is_that_mean_of_the_weights(registered: tuple[Path, Path], fidelity: float) -> None:
    wanted = of_two(registered, fidelity).restore(scene())
    own = restorer()
    result = own.restore(scene(), fidelity=fidelity)
    np.testing.assert_array_equal(result.image, wanted.image)
    np.testing.assert_array_equal(restorer(fidelity=fidelity).restore(scene()).image, wanted.image)
    np.testing.assert_array_equal(own.enhance(scene(), fidelity=fidelity)[2], wanted.image)
    np.testing.assert_array_equal(own.enhance_batch([scene()], fidelity=fidelity)[0][2], wanted.image)
    assert [face.fidelity for face in result.faces] == [fidelity, fidelity]
    said = result.picture.notes.restoration if result.picture is not None else None
    assert said is not None and f"fidelity: {fidelity}," in said
    if fidelity:
        vivid = own.restore(scene()).image
        assert vivid is not None and not np.array_equal(result.image, vivid)


def test_who_never_moves_the_dial_reads_one_file(registered: tuple[Path, Path]) -> None:
    registered[1].unlink()
    own = restorer()
    own.restore(scene(), fidelity=0)
    own.restore(scene(), fidelity={1: 0})
    with pytest.raises(WeightsNotFoundError, match="small-faithful"):
        own.restore(scene(), fidelity=0.5)
    hub.save(registered[1], FAITHFUL_CONFIG, faithful_state(), half=True)  # what failed is tried again
    assert own.restore(scene(), fidelity=0.5).faces[0].fidelity == 0.5


def test_a_partner_that_does_not_fit_is_named(registered: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    state = {n: t + 1 if n.endswith(".slots") else t for n, t in faithful_state().items()}
    hub.save(registered[1], FAITHFUL_CONFIG, state)
    spec = dataclasses.replace(hub.REGISTRY["small-faithful"], sha256=hub.sha256_of(registered[1]))
    monkeypatch.setitem(hub.REGISTRY, spec.name, spec)
    with pytest.raises(WeightsError, match="small-faithful differ"):
        restorer().restore(scene(), fidelity=0.5)


def test_faces_of_one_picture_with_settings_of_their_own(registered: tuple[Path, Path]) -> None:
    own = restorer()
    result = own.restore(scene(), fidelity={1: 0.5}, weight={0: 0.25})
    assert [(face.fidelity, face.strength) for face in result.faces] == [(0, 0.25), (0.5, 1)]
    np.testing.assert_array_equal(faces(result)[0], faces(own.restore(scene(), weight=0.25))[0])
    np.testing.assert_array_equal(faces(result)[1], faces(own.restore(scene(), fidelity=0.5))[1])
    assert result.picture is not None and result.picture.notes.restoration is not None
    assert "strength: 0.25 to 1, fidelity: 0 to 0.5" in result.picture.notes.restoration
    half = restorer(fidelity=0.5).restore(scene(), fidelity={0: 0.0})
    assert [face.fidelity for face in half.faces] == [0, 0.5]  # the others have the restorer's


def test_each_setting_of_a_batch_is_one_run(registered: tuple[Path, Path]) -> None:
    own, sizes = restorer(), []
    network = FastMemGAN.forward

    def counted(self: FastMemGAN, image: torch.Tensor, **how: Any) -> Any:
        sizes.append(len(image))
        return network(self, image, **how)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FastMemGAN, "forward", counted)
        results = list(own.restore_batch([scene(seed=i) for i in range(3)], fidelity={1: 1}))
    assert sizes == [3, 3]
    for i, result in enumerate(results):
        for face, alone in zip(result.faces, own.restore(scene(seed=i), fidelity={1: 1}).faces, strict=True):
            assert np.abs(face.restored.astype(int) - alone.restored).max() <= 1


@pytest.mark.parametrize("name", ["fidelity", "weight"])
@pytest.mark.parametrize("given", [1.5, -0.1, float("nan"), True, "much", {0: 2}, {-1: 0.5}, {"a": 0.5}])
def test_settings_that_are_not_allowed(registered: tuple[Path, Path], name: str, given: Any) -> None:
    with pytest.raises(ConfigError, match=name):
        restorer().restore(scene(), **{name: given})


@pytest.mark.parametrize("name", ["fidelity", "weight"])
def test_a_face_that_is_not_there_costs_its_picture_only(registered: tuple[Path, Path], name: str) -> None:
    own = restorer()
    with pytest.raises(ConfigError, match=f"{name} names face 2, .* faces 0 to 1"):
        own.restore(scene(), **{name: {2: 0.5}})
    items: list[Any] = [(scene(), None), (scene(), [LARGE])]
    first, second = own.restore_batch(items, raise_errors=False, **{name: {1: 0.5}})
    assert first.error is None and len(first.faces) == 2
    assert isinstance(second.error, ConfigError) and not second.faces


@pytest.mark.parametrize("make", [lambda files: str(files[0]), lambda files: hub.read(files[0])])
def test_one_set_of_weights_has_no_dial(registered: tuple[Path, Path], make: Callable[[Any], Any]) -> None:
    own = restorer(make(registered))
    own.restore(scene(), fidelity=0)
    for call in (
        lambda: own.restore(scene(), fidelity=0.5),
        lambda: own.restore(scene(), fidelity={0: 0.5}),
        lambda: own.restore_batch([scene()], fidelity=1),
        lambda: own.check(fidelity=1),
        lambda: restorer(make(registered), fidelity=0.5),
        lambda: restorer(None, network=FakeNetwork(), fidelity=0.5),
    ):
        with pytest.raises(ConfigError, match="no second set"):
            call()


def test_a_network_that_was_exchanged_has_no_dial(registered: tuple[Path, Path]) -> None:
    own = restorer()
    own.pipeline.network = FakeNetwork(0.5, size=32)
    own.restore(scene())
    with pytest.raises(ConfigError, match="no second set"):
        own.restore(scene(), fidelity=0.5)


def test_copies_have_the_dial_and_its_setting(registered: tuple[Path, Path]) -> None:
    own = restorer(fidelity={1: 0.5})
    wanted = own.restore(scene()).image
    for other in (pickle.loads(pickle.dumps(own)), copy.copy(own), copy.deepcopy(own)):
        assert other.options.fidelity == own.options.fidelity
        np.testing.assert_array_equal(other.restore(scene()).image, wanted)


# -- what is kept --------------------------------------------------------------------------------------------------


def test_the_last_networks_are_kept_and_no_more(registered: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[float] = []

    def counted(vivid: Any, faithful: Any, share: float) -> Any:
        made.append(share)
        return interpolated(vivid, faithful, share)

    monkeypatch.setattr(dial_module, "interpolated", counted)
    own = restorer()
    pictures = {f: own.restore(scene(), fidelity=f).image for f in (0.2, 0.4, 0.6)}
    own.restore(scene(), fidelity=0)
    for fidelity in (0.2, 0.4, 0.6, 0.2):
        np.testing.assert_array_equal(own.restore(scene(), fidelity=fidelity).image, pictures[fidelity])
    assert made == [0.2, 0.4, 0.6] and KEPT_NETWORKS == 3
    own.restore(scene(), fidelity=0.8)  # in the place of the one used longest ago
    own.restore(scene(), fidelity=0.2)
    np.testing.assert_array_equal(own.restore(scene(), fidelity=0.4).image, pictures[0.4])
    assert made == [0.2, 0.4, 0.6, 0.8, 0.4]


def test_threads_that_want_the_same_setting_make_it_once(
    registered: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[float] = []
    begun, may_end = threading.Event(), threading.Event()

    def slow(vivid: Any, faithful: Any, share: float) -> Any:
        made.append(share)
        begun.set()
        assert share != 0.5 or may_end.wait(30)
        return interpolated(vivid, faithful, share)

    monkeypatch.setattr(dial_module, "interpolated", slow)
    own, results = restorer(threads=1), {}

    def work(number: int) -> None:
        results[number] = own.restore(scene(), fidelity=0.5).image

    workers = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for worker in workers:
        worker.start()
    assert begun.wait(30)
    assert own.restore(scene(), fidelity=0.25).faces[0].fidelity == 0.25  # others do not wait
    may_end.set()
    for worker in workers:
        worker.join(30)
    assert sorted(made) == [0.25, 0.5] and len(results) == 3
    wanted = of_two(registered, 0.5).restore(scene()).image
    assert all(np.array_equal(image, wanted) for image in results.values())


def test_the_ends_are_checked_under_their_own_digests(registered: tuple[Path, Path]) -> None:
    own = restorer()
    digests = {fidelity: own.check(fidelity).weights for fidelity in (0, 0.5, 1)}
    for fidelity, path in zip((0, 1), registered, strict=True):
        checkpoint = hub.read(path)
        assert digests[fidelity] == weights_digest(build_memgan(checkpoint.config, checkpoint.state))
    assert len(set(digests.values())) == 3
    assert own.check(1).is_right


def test_before_the_first_face_the_device_is_checked_with_the_ends(
    registered: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[str] = []

    def settled(self: SelfCheck, device: torch.device, dtype: torch.dtype) -> torch.dtype:
        checked.append(self._trained.config.name)
        return torch.float32

    monkeypatch.setattr(SelfCheck, "settled", settled)
    own = restorer(dtype="bfloat16")
    for fidelity, wanted in ((0, ["small"]), (0.5, ["small"]), (1, ["small-faithful"])):
        checked.clear()
        image = own.restore(scene(), fidelity=fidelity).image
        assert checked == wanted
        np.testing.assert_array_equal(image, of_two(registered, fidelity).restore(scene()).image)  # in float32


def test_another_backend_exports_each_setting(registered: tuple[Path, Path]) -> None:
    pytest.importorskip("onnx")
    own, plain = restorer(backend="onnx"), restorer()
    for fidelity in (0, 0.5, 1, 0.5):
        one, other = (each.restore(scene(), fidelity=fidelity).restored_faces for each in (own, plain))
        assert np.abs(np.stack(one).astype(int) - np.stack(other)).max() <= 1
    assert len(list((registered[0].parent / "onnx").glob("*.onnx"))) == 3


def test_networks_follow_the_device(registered: tuple[Path, Path]) -> None:
    """As if the network were moved; ``meta`` computes nothing."""
    own = restorer()
    dial = own.pipeline.dial
    assert dial is not None
    here, there = (dial.at(0.5, torch.device(name)).network for name in ("cpu", "meta"))
    for network, name in ((here, "cpu"), (there, "meta")):
        assert {tensor.device.type for tensor in network.state_dict().values()} == {name}
    assert dial.at(0.5, torch.device("cpu")).network is here


def test_evidence_is_that_of_the_vivid_end(registered: tuple[Path, Path]) -> None:
    own = restorer()
    one, other = (own.restore(scene(), fidelity=f, evidence=True).faces[0].evidence for f in (0, 1))
    assert one is not None and other is not None and one.keys() == other.keys()
    assert all(np.array_equal(one[scale], other[scale]) for scale in one)


# -- the command ---------------------------------------------------------------------------------------------------


def test_the_command_has_it(
    registered: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("memgan.restoration.restorer.create_detector", lambda *_, **__: FakeDetector(LARGE, SMALL))
    source, out = tmp_path / "a.png", tmp_path / "out"
    Image.fromarray(scene()).save(source)
    command = ["restore", str(source), "-o", str(out), "--weights", "small", "--dtype", "float32", "-q"]
    report = tmp_path / "report.json"
    dialed = [*command, "--fidelity", "1=0.5", "-w", "0=0.25", "--report", str(report)]
    assert main(dialed) == 0
    told = json.loads(report.read_text())
    assert told["options"]["fidelity"] == {"1": 0.5}
    (row,) = told["pictures"]
    assert [(face["fidelity"], face["strength"]) for face in row["faces"]] == [(0, 0.25), (0.5, 1)]
    assert row["weights"]["faithful_sha256"] == hub.sha256_of(registered[1])
    wanted = restorer(color="rgb").restore(scene(), fidelity={1: 0.5}, weight={0: 0.25})
    np.testing.assert_array_equal(np.array(Image.open(out / "restored_imgs" / "a.png")), wanted.image)
    assert b"fidelity: 0 to 0.5" in (out / "restored_imgs" / "a.png").read_bytes()

    statuses = []
    for words in (dialed, [*command, "--fidelity", "0.5"]):  # another setting is another result
        assert main([*words, "--skip-existing", "--report", str(report)]) == 0
        statuses.append(json.loads(report.read_text())["pictures"][0]["status"])
    assert statuses == ["existing", "restored"]
    assert main([*command, "--fidelity", "2=0.5"]) == 1
    assert "names face 2" in capsys.readouterr().err
    command[command.index("small")] = str(registered[0])
    assert main([*command, "--fidelity", "0.5"]) == 2
    assert "no second set" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["2", "0=2", "0=0.5,0=1", "0=0.5,1", "=1", "0=", "-1=0.5", "nan"])
@pytest.mark.parametrize("word", ["--fidelity", "--weight"])
def test_words_that_are_no_setting(word: str, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["restore", "a.png", "-o", "out", f"{word}={text}"])
    assert stop.value.code == 2 and f"{text} is no number from 0 to 1" in capsys.readouterr().err


def test_the_lists_of_weights_name_the_partner(
    registered: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models"]) == 0
    assert "0 to 1; small-faithful is the faithful end" in capsys.readouterr().out
    assert main(["info", "small", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["weights"]["faithful"] == "small-faithful"
