"""The self-check: what a device computes wrong is seen before it restores anything, and what is right costs one run."""

import concurrent.futures
import json
import os
import pickle
import sys
import types
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fakes import FakeDetector, FakeNetwork, face_at, scene
from other_device import OtherDevice
from PIL import Image
from tiny import FAST_CONFIG, TINY, trained
from torch import Tensor
from torch.overrides import TorchFunctionMode

from memgan import MemGANRestorer, build_memgan, hub
from memgan.errors import ConfigError, DeviceError, WeightsError
from memgan.hub.resolver import embedded_dir
from memgan.network.model import MemGANOutput
from memgan.restoration import self_check
from memgan.restoration.self_check import AUTO_DB, FLOAT32_DB, MOST_DB, STATED_DB, SelfCheck, weights_digest
from memgan.runtime.device import computes_in_bfloat16

CPU = torch.device("cpu")
STORED = embedded_dir() / "self_check"
HAS_BFLOAT16 = computes_in_bfloat16(CPU)  # of the machine itself; within tests nothing has it
native_bfloat16 = pytest.param("bfloat16", marks=() if HAS_BFLOAT16 else pytest.mark.slow)
"""Where a CPU lacks the instructions, torch takes a minute for a face."""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own, and a process that knows nothing yet."""
    monkeypatch.setenv("MEMGAN_HOME", str(tmp_path / "home"))
    forget(monkeypatch)
    return tmp_path / "home"


def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a new process."""
    monkeypatch.setattr(self_check, "_measured", {})
    monkeypatch.setattr(self_check, "_warned", set())


@pytest.fixture
def bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor that computes in it."""
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True, raising=False)


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The number type of each check that is really run."""
    seen: list[str] = []
    compared = self_check._compared

    def counted(network: object, answer: object, device: object, dtype: torch.dtype, count: int) -> tuple[float, float]:
        seen.append(str(dtype).removeprefix("torch."))
        return compared(network, answer, device, dtype, count)

    monkeypatch.setattr(self_check, "_compared", counted)
    return seen


def checkpoint() -> hub.Checkpoint:
    return hub.Checkpoint(FAST_CONFIG, trained().state_dict())


def restorer(weights: object = None, **options: object) -> MemGANRestorer:
    weights = checkpoint() if weights is None else weights
    options = {"device": "cpu", "detector": FakeDetector(face_at(80, 60)), "upscale": 1, **options}
    return MemGANRestorer(weights, **options)


def noise(exact: Tensor, db: float) -> Tensor:
    """The picture with noise of so many dB."""
    return exact + torch.randn(exact.shape, generator=torch.Generator().manual_seed(0)) * 2 * 10 ** (-db / 20)


Damage = Callable[[Tensor, Tensor], Tensor]
WRONG: dict[str, Damage] = {
    "nan": lambda given, exact: torch.full_like(exact, torch.nan),
    "one number that is not finite": lambda given, exact: exact.index_fill(3, torch.tensor([5]), torch.inf),
    "zeros": lambda given, exact: torch.zeros_like(exact),
    "the degraded face": lambda given, exact: given,
    "channels swapped": lambda given, exact: exact.flip(1),
    "a pixel aside": lambda given, exact: exact.roll(1, 3),
    "noise": lambda given, exact: noise(exact, 35),
}


def break_in_bfloat16(model: MemGANRestorer, damage: Damage) -> None:
    """The device computes something else in bfloat16 from now on; else it is exact."""
    network, forward = model.network, model.network.forward

    def run(image: Tensor) -> MemGANOutput:
        with torch.autocast("cpu", enabled=False):
            exact = forward(image)
        return exact._replace(image=damage(image, exact.image)) if torch.is_autocast_enabled("cpu") else exact

    network.forward = run


# -- what is chosen --------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("bfloat16")
@pytest.mark.parametrize("asked", ["auto", None])
def test_auto_is_bfloat16_where_it_is_computed_in_and_right(asked: str | None, runs: list[str]) -> None:
    model = restorer(dtype=asked)
    break_in_bfloat16(model, lambda given, exact: exact)
    assert model.dtype == torch.bfloat16 and runs == []  # nothing is run for a restorer that is not used
    model.enhance(scene()[:20, :20])
    assert model.dtype == torch.bfloat16 and runs == ["bfloat16"]


@pytest.mark.usefixtures("bfloat16")
@pytest.mark.parametrize(
    "options", [{"dtype": "float32"}, {"backend": "onnx"}, {"network": FakeNetwork(), "weights": ""}], ids=str
)
def test_float32_by_the_cpu_stays_and_needs_no_check(options: dict, runs: list[str], home: Path) -> None:
    if "backend" in options:
        pytest.importorskip("onnx")
    if "network" in options:
        model = MemGANRestorer(network=FakeNetwork(), detector=FakeDetector(face_at(80, 60)), device="cpu")
    else:
        model = restorer(**options)
    model.enhance(scene())
    assert model.dtype == torch.float32 and runs == [] and not (home / "checks").exists()


@pytest.mark.usefixtures("bfloat16")
def test_a_stated_type_is_obeyed_for_a_callers_own_network(runs: list[str]) -> None:
    model = MemGANRestorer(
        network=FakeNetwork(), detector=FakeDetector(face_at(80, 60)), device="cpu", dtype="bfloat16"
    )
    model.enhance(scene())
    assert model.dtype == torch.bfloat16 and runs == []


@pytest.mark.usefixtures("bfloat16")
def test_a_picture_without_a_face_to_restore_needs_no_check(runs: list[str]) -> None:
    restorer(detector=FakeDetector()).enhance(scene())
    assert runs == []


# -- what is wrong ---------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("bfloat16")
@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_under_auto_becomes_float32_with_one_warning(name: str, runs: list[str]) -> None:
    expected = restorer(dtype="float32").enhance(scene())[1][0]
    models = [restorer(), restorer()]
    for model in models:
        break_in_bfloat16(model, WRONG[name])
    with pytest.warns(UserWarning, match=r"float32 is used here\..*bfloat16 by torch on .*wrong.*`memgan check`"):
        made = models[0].enhance(scene())[1][0]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.array_equal(models[1].enhance(scene())[1][0], expected)
    assert np.array_equal(made, expected)
    assert runs == ["bfloat16"] and {model.dtype for model in models} == {torch.float32}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_in_a_stated_type_is_refused(name: str) -> None:
    model = restorer(dtype="bfloat16")
    break_in_bfloat16(model, WRONG[name])
    with pytest.raises(DeviceError, match=r"In bfloat16 by torch .* wrong: .*Use dtype='float32'.*`memgan check`"):
        model.enhance(scene())


@pytest.mark.parametrize(
    ("dtype", "falls_back", "limit"),
    [
        (torch.bfloat16, True, AUTO_DB),
        (torch.bfloat16, False, STATED_DB),
        (torch.float16, False, STATED_DB),
        (torch.float32, True, FLOAT32_DB),
        (torch.float32, False, FLOAT32_DB),
    ],
)
@pytest.mark.parametrize("off", [-0.1, 0.0])
def test_the_limits(
    dtype: torch.dtype, falls_back: bool, limit: float, off: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    check = SelfCheck(trained(), falls_back=falls_back)
    monkeypatch.setattr(self_check, "_compared", lambda *_: (limit + off, 0.1))
    result = check.run(CPU, dtype)
    assert (result.limit, result.is_right) == (limit, off == 0)


@pytest.mark.parametrize("db", [30, 50, 70])
def test_the_distance_is_that_of_exact_pictures_although_the_answer_has_8_bits(db: float) -> None:
    exact = torch.rand(1, 3, 256, 256, generator=torch.Generator().manual_seed(1)) * 1.6 - 0.8
    levels = self_check._levels(exact[0])
    rounded = self_check.Answer(levels.round(), self_check._mean_square(levels.round() - levels), "stored")
    for answer in (rounded, self_check.Answer(levels, 0.0, "computed")):
        psnr = self_check._compared(lambda image: (noise(exact, db),), answer, CPU, torch.float32, 1)[0]
        assert psnr == pytest.approx(db, abs=0.2)
        assert self_check._compared(lambda image: (exact,), answer, CPU, torch.float32, 1)[0] == MOST_DB


def test_weights_whose_answer_is_not_finite_are_to_blame_themselves() -> None:
    state = trained().state_dict()
    damaged = {name: tensor.fill_(torch.nan) if name.endswith("bias") else tensor for name, tensor in state.items()}
    with pytest.raises(WeightsError, match="not finite although it ran in float32"):
        restorer(hub.Checkpoint(FAST_CONFIG, damaged), dtype="bfloat16").enhance(scene())


# -- verdicts are kept -----------------------------------------------------------------------------------------------


def settled(model: MemGANRestorer) -> torch.dtype:
    return model.pipeline.settled_dtype


def test_a_verdict_is_kept_for_other_processes(runs: list[str], monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    settled(restorer(dtype="bfloat16")), settled(restorer(dtype="bfloat16"))
    assert len(runs) == 1
    forget(monkeypatch)
    settled(restorer(dtype="bfloat16"))
    assert len(runs) == 1
    (path,) = (home / "checks").glob("*.json")
    kept = json.loads(path.read_text("utf-8"))
    assert kept["weights"] == weights_digest(trained()) and kept["versions"]["torch"] == torch.__version__
    assert (kept["dtype"], kept["device"], kept["answer"]) == ("bfloat16", "cpu", "computed")


@pytest.mark.parametrize("what", ["weights", "device", "torch", "memgan", "backend"])
def test_a_verdict_holds_for_nothing_else(what: str, runs: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    settled(restorer(dtype="bfloat16"))
    other = checkpoint()
    if what == "weights":
        next(iter(other.state.values())).add_(0.001)
    elif what == "device":
        monkeypatch.setattr(self_check, "device_name", lambda device: "another processor")
    elif what == "torch":
        monkeypatch.setattr(torch, "__version__", "9.0")
    elif what == "memgan":
        monkeypatch.setattr(self_check, "__version__", "9.0")
    model = restorer(other, dtype="bfloat16")
    if what == "backend":
        model.pipeline.self_check.backend = "another"
    settled(model)
    assert len(runs) == 2
    settled(restorer(other, dtype="bfloat16")) if what != "backend" else None
    assert len(runs) == 2


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"{}", b"\xff", b'{"psnr": "much"}', pytest.param(b"[" * 99999, id="deep")]
)
def test_a_damaged_verdict_is_made_anew(
    content: bytes, runs: list[str], monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    settled(restorer(dtype="bfloat16"))
    (path,) = (home / "checks").glob("*.json")
    whole = path.read_bytes()
    path.write_bytes(content)
    forget(monkeypatch)
    settled(restorer(dtype="bfloat16"))
    assert len(runs) == 2 and len(path.read_bytes()) == pytest.approx(len(whole), abs=40)


def test_without_a_cache_it_is_once_per_process(runs: list[str], monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    home.write_text("a file where the folder should be")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        settled(restorer(dtype="bfloat16")), settled(restorer(dtype="bfloat16"))
        assert len(runs) == 1
        forget(monkeypatch)
        settled(restorer(dtype="bfloat16"))
    assert len(runs) == 2


def test_verdicts_do_not_pile_up(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    monkeypatch.setattr(self_check, "KEPT_VERDICTS", 2)
    for version in "123":
        monkeypatch.setattr(self_check, "__version__", version)
        settled(restorer(dtype="bfloat16"))
    assert len(list((home / "checks").glob("*.json"))) == 2


def test_threads_and_processes_wait_for_the_one_that_checks(runs: list[str]) -> None:
    shared, others = restorer(dtype="bfloat16"), [restorer(dtype="bfloat16") for _ in range(2)]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:  # the lock is one of files: as between processes
        found = list(pool.map(settled, [shared, shared, *others]))
    assert found == [torch.bfloat16] * 4 and len(runs) == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_a_fork_checks_by_itself(runs: list[str]) -> None:
    model = restorer(dtype="bfloat16")
    pid = os.fork()
    if pid == 0:
        found = settled(model)
        os._exit(found != torch.bfloat16 or runs != ["bfloat16"])
    assert os.waitpid(pid, 0)[1] == 0
    settled(model)
    assert runs == []  # the child has kept its verdict


@pytest.mark.usefixtures("bfloat16")
def test_a_check_believes_nothing_and_renews_the_verdict(runs: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    model = restorer()
    right = model.network.forward
    break_in_bfloat16(model, WRONG["zeros"])
    with pytest.warns(UserWarning, match="float32 is used here"):
        model.enhance(scene())
    assert model.dtype == torch.float32
    model.network.forward = right  # as a new driver would
    result = model.check()
    assert result.is_right and result.seconds > 0 and runs == ["bfloat16"] * 2
    model.enhance(scene())
    forget(monkeypatch)
    settled(restorer())
    assert model.dtype == torch.bfloat16 and len(runs) == 2
    break_in_bfloat16(model, WRONG["nan"])
    assert not model.check().is_right and len(runs) == 3
    forget(monkeypatch)
    with pytest.warns(UserWarning, match="not finite"):
        assert settled(restorer()) == torch.float32
    assert len(runs) == 3


def test_a_check_sees_tensors_that_were_changed() -> None:
    model = restorer(dtype="bfloat16")
    first = model.check().weights
    with torch.no_grad():
        next(model.network.parameters()).add_(0.01)
    second = model.check()
    assert second.is_right and second.weights != first


def test_what_was_wrong_is_measured_again_before_it_is_refused(
    runs: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = restorer(dtype="bfloat16")
    break_in_bfloat16(model, WRONG["zeros"])
    with pytest.raises(DeviceError):
        model.enhance(scene())
    forget(monkeypatch)
    restorer(dtype="bfloat16").enhance(scene())
    assert len(runs) == 2


# -- other devices, other networks -----------------------------------------------------------------------------------


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One CUDA device that computes as the CPU does."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with OtherDevice():
        yield


@pytest.mark.usefixtures("cuda")
def test_another_device_is_checked_in_float32_too(runs: list[str], home: Path) -> None:
    model = restorer(device="cuda")
    assert len(model.enhance(scene())[1]) == 1 and runs == ["float32"]
    (path,) = (home / "checks").glob("*.json")
    assert json.loads(path.read_text("utf-8"))["device_name"] == "stand-in"


@pytest.mark.usefixtures("cuda")
def test_a_device_that_returns_the_degraded_face_is_refused() -> None:
    model = restorer(device="cuda")
    model.network.forward = lambda image: MemGANOutput(image, image)
    for _ in range(2):
        with pytest.raises(DeviceError, match=r"on stand-in .* wrong: .*device='cpu', or .*another build of torch"):
            model.enhance(scene())
    model.gfpgan.to("cpu")  # where float32 is right by definition
    assert len(model.enhance(scene())[1]) == 1


@pytest.mark.parametrize(("backend", "provider"), [("onnx", None), ("onnx", "GPU"), ("openvino", None)])
def test_what_another_library_computes_is_checked_but_for_onnxruntimes_float32(
    backend: str, provider: str | None, runs: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", types.ModuleType("openvino"))
    check = SelfCheck(trained(), backend, provider)
    assert check.settled(CPU, torch.float32) == torch.float32
    assert len(runs) == ((backend, provider) != ("onnx", None))
    result = check.run(CPU, torch.float32)
    assert (result.backend, result.provider) == (backend, provider)
    monkeypatch.setattr(self_check, "_compared", lambda *_: (10.0, 0.1))
    assert f"Use backend='torch', or install another version of {backend}" in check.run(CPU, torch.float32).verdict


@pytest.mark.usefixtures("bfloat16")
def test_an_exchanged_network_is_not_checked(runs: list[str]) -> None:
    model = restorer()
    model.pipeline.network = FakeNetwork(size=32)
    model.enhance(scene())
    assert runs == [] and model.dtype == torch.bfloat16


def test_a_network_of_the_callers_is_checked_when_that_is_asked_for() -> None:
    options = {"detector": FakeDetector(), "device": "cpu"}
    result = MemGANRestorer(network=build_memgan(TINY), **options).check()
    assert result.is_right and result.psnr == MOST_DB and result.answer == "computed"
    with pytest.raises(ConfigError, match="not for a FakeNetwork"):
        MemGANRestorer(network=FakeNetwork(), **options).check()


@pytest.mark.usefixtures("bfloat16")
def test_a_pickle_chooses_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    auto, stated = restorer(), restorer(dtype=torch.bfloat16)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False, raising=False)
    assert pickle.loads(pickle.dumps(auto)).dtype == torch.float32
    assert pickle.loads(pickle.dumps(stated)).dtype == torch.bfloat16
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True, raising=False)
    break_in_bfloat16(auto, WRONG["zeros"])
    with pytest.warns(UserWarning, match="float32 is used here"):
        auto.enhance(scene())
    del auto.network.forward  # which cannot travel
    assert pickle.loads(pickle.dumps(auto)).pipeline.dtype == torch.bfloat16


# -- the embedded weights --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def embedded() -> MemGANRestorer:
    return MemGANRestorer(device="cpu", detector=FakeDetector(), dtype="float32", skip_sharp=False, color_lock=False)


def test_the_stored_answer_is_that_of_the_embedded_weights_in_float32(embedded: MemGANRestorer) -> None:
    """Else: `memgan check --make weights/self_check/NAME.png`, then look at it before it is committed."""
    result = embedded.check()
    assert result.answer == "stored", "the weights are others; make their answer anew"
    assert result.psnr > 80 and result.is_right
    names = {spec.name for spec in hub.REGISTRY.values() if spec.embedded and spec.kind == "restorer"}
    assert {path.stem for path in STORED.iterdir()} == names | {"face"}
    assert sum(path.stat().st_size for path in STORED.iterdir()) < 600_000 * len(names)


def test_the_golden_crop_of_the_embedded_weights_in_float32(embedded: MemGANRestorer) -> None:
    """To one level in single values, which other processors may round otherwise."""
    face, answer = (np.asarray(Image.open(STORED / f"{name}.png")) for name in ("face", hub.DEFAULT_NAME))
    (made,) = embedded.enhance(face[:, :, ::-1], has_aligned=True)[1]
    difference = np.abs(made[:, :, ::-1].astype(int) - answer)
    assert difference.max() <= 1 and difference.mean() < 0.01
    assert np.abs(face.astype(int) - answer).mean() > 3  # it is a restoration


@pytest.mark.parametrize("dtype", [native_bfloat16])
def test_the_embedded_weights_in_bfloat16_keep_what_auto_promises(dtype: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = MemGANRestorer(device="cpu", detector=FakeDetector(), dtype=dtype)
        answer = self_check.stored_answer(weights_digest(model.network))
        psnr = self_check._compared(model.network, answer, CPU, torch.bfloat16, 1)[0]
    assert AUTO_DB + 5 < psnr < MOST_DB


class InTF32(TorchFunctionMode):
    """Products as recent GPUs take them by default: of numbers with 10 bits after the first."""

    products = ("conv2d", "linear", "matmul", "scaled_dot_product_attention")

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        if func.__name__ in self.products:
            args = tuple(self.cut(x) if isinstance(x, Tensor) else x for x in args)
        return func(*args, **(kwargs or {}))

    @staticmethod
    def cut(x: Tensor) -> Tensor:
        return ((x.contiguous().view(torch.int32) + 0x1000) & ~0x1FFF).view(torch.float32)


@pytest.mark.slow
def test_float32_with_products_in_tf32_is_right(embedded: MemGANRestorer) -> None:
    plain = build_memgan(embedded.network.config, embedded.network.state_dict()).eval()
    answer = self_check.stored_answer(weights_digest(plain))
    with InTF32():
        psnr = self_check._compared(plain, answer, CPU, torch.float32, 1)[0]
    assert FLOAT32_DB + 10 < psnr < MOST_DB


def test_a_file_that_the_package_lacks_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(self_check, "_folder", lambda: tmp_path)
    with pytest.raises(WeightsError, match=r"face\.png.*install memgan again"):
        restorer(dtype="bfloat16").check()
    (tmp_path / "other.png").write_bytes(b"no picture")
    with pytest.raises(WeightsError, match=r"other\.png.*install memgan again"):
        restorer(dtype="bfloat16").check()
