"""A restorer in other processes: forks, pickles, copies, and how many threads it starts."""

import copy
import json
import multiprocessing
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import forks
import numpy as np
import pytest
import torch
from fakes import FakeDetector, FakeNetwork, face_at, scene
from forks import picture_of
from tiny import FAST_CONFIG, TINY_MOBILE, save_tiny_weights, trained

from memgan import MemGANRestorer, hub
from memgan.errors import ChecksumError, ConfigError, WeightsError
from memgan.network.model import build_memgan
from memgan.runtime import threads

SCRIPT = Path(forks.__file__)
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join([str(SCRIPT.parents[1]), str(SCRIPT.parent)])}
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    return save_tiny_weights(tmp_path / "tiny.safetensors")


def make(weights: Any, **options: Any) -> MemGANRestorer:
    return MemGANRestorer(weights, detector=FakeDetector(face_at(70, 60)), device="cpu", upscale=1, **options)


# -- forks -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("forks")
    weights = hub.save(folder / "tiny.safetensors", FAST_CONFIG, trained().state_dict())
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(weights), str(folder)],
        env={**ENVIRONMENT, "OMP_NUM_THREADS": "2"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    return found


@needs_fork
@pytest.mark.slow
@pytest.mark.skipif(threads.usable_cores() < 2, reason="needs two cores")
@pytest.mark.parametrize("case", forks.CASES)
def test_forks_work_or_refuse_at_once(case: str, outcomes: dict[str, str]) -> None:
    if case == "at work":
        assert "forked while" in outcomes[case] and "spawn" in outcomes[case]
    else:
        assert outcomes[case] == "same"


@needs_fork
def test_a_fork_works_with_one_thread_and_a_new_session(weights: Path) -> None:
    """The quick half: what changes in a child, without the libraries' threads that a child would wait for."""
    restorer = MemGANRestorer(weights, device="cpu", upscale=1)
    session = restorer.detector._network._session
    first, (read, write) = session._session, os.pipe()
    pid = os.fork()
    if pid == 0:
        session.run(None, {"input": np.zeros((1, 3, 32, 32), np.float32)})
        told = session._session is not first, threads.is_forked(), threads.default_threads()
        os.write(write, json.dumps(told).encode())
        os._exit(0)
    assert json.loads(os.read(read, 99)) == [True, True, 1]
    os.waitpid(pid, 0)
    assert not session._forked and not threads.is_forked()


def test_a_fork_cannot_use_its_parents_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    restorer = make(None, network=FakeNetwork())
    restorer.pipeline.made_in = os.getpid() + 1
    picture_of(restorer)  # on the CPU it can
    restorer.pipeline.home = torch.device("cuda")
    with pytest.raises(ConfigError, match=r"cuda.*spawn"):
        restorer.enhance(scene())


# -- pickles and copies ----------------------------------------------------------------------------------------------


def test_what_travels_is_the_name_of_the_weights(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(weights.parent)
    restorer = make("tiny.safetensors", threads=1, grain=0.1, min_face_size=3, dtype="bfloat16")
    restorer.upscale = 1.5
    data = pickle.dumps(restorer)
    assert len(data) < 10_000
    monkeypatch.chdir("/")
    sent = pickle.loads(data)
    assert sent.options == restorer.options and sent.pipeline.threads == 1 and sent.pipeline.dtype == torch.bfloat16
    np.testing.assert_array_equal(picture_of(sent), picture_of(restorer))
    np.testing.assert_array_equal(picture_of(pickle.loads(pickle.dumps(sent))), picture_of(restorer))


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_copies(copied: Any, weights: Path) -> None:
    restorer = make(weights)
    other = copied(restorer)
    other.upscale = 2
    assert restorer.upscale == 1 and other.network is not restorer.network
    expected = picture_of(restorer)
    restorer.close()
    other.upscale = 1
    np.testing.assert_array_equal(picture_of(other), expected)


def test_networks_and_checkpoints_of_the_caller_travel_themselves(weights: Path) -> None:
    for given in ({"network": FakeNetwork(0.5, 0.3)}, {"weights": hub.load(weights)}):
        restorer = make(**{"weights": None, **given})
        weights.unlink(missing_ok=True)
        np.testing.assert_array_equal(picture_of(pickle.loads(pickle.dumps(restorer))), picture_of(restorer))


def test_exchanged_parts_travel(weights: Path) -> None:
    restorer = make(weights, mask=_left_half)
    restorer.pipeline.network = FakeNetwork(0.2, 0.5)
    restorer.pipeline.mask = None
    restorer.pipeline.detector = FakeDetector(face_at(50, 50))
    sent = pickle.loads(pickle.dumps(restorer))
    assert sent.pipeline.mask is None and isinstance(sent.network, FakeNetwork)
    np.testing.assert_array_equal(picture_of(sent), picture_of(restorer))


def _left_half(face: np.ndarray) -> np.ndarray:
    return np.repeat((np.arange(len(face)) < len(face) / 2)[None].astype(float), len(face), axis=0)


def test_other_weights_of_that_name_are_refused(weights: Path) -> None:
    restorer = make(weights)
    data = pickle.dumps(restorer)
    hub.save(weights, TINY_MOBILE, build_memgan(TINY_MOBILE).state_dict())
    with pytest.raises(ChecksumError, match=r"tiny\.safetensors"):
        pickle.loads(data)
    with pytest.raises(WeightsError, match="has changed since"):
        pickle.dumps(restorer)


class Named(MemGANRestorer):
    """A subclass with a constructor and an attribute of its own."""

    def __init__(self, name: str, weights: Path) -> None:
        super().__init__(weights, detector=FakeDetector(), device="cpu")
        self.name = name


def test_subclasses_keep_what_they_are(weights: Path) -> None:
    sent = copy.deepcopy(Named("first", weights))
    assert type(sent) is Named and sent.name == "first" and len(sent.enhance(scene())) == 3


def test_closed_restorers_stay_closed(weights: Path) -> None:
    restorer = make(weights)
    restorer.close()
    sent = pickle.loads(pickle.dumps(restorer))
    sent.close()
    assert sent.options == restorer.options
    with pytest.raises(ConfigError, match="closed"):
        sent.enhance(scene())


@pytest.mark.slow
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_other_start_methods(method: str, weights: Path) -> None:
    restorer = make(weights, dtype="float32")  # what "auto" becomes is the other process's own affair
    with multiprocessing.get_context(method).Pool(1) as pool:
        np.testing.assert_array_equal(pool.apply(picture_of, (restorer,)), picture_of(restorer))


# -- threads ---------------------------------------------------------------------------------------------------------

COUNT = """
import os, sys, pathlib, cv2, numpy, torch, PIL.Image
from memgan import MemGANRestorer
def running():
    return len(os.listdir("/proc/self/task"))
photo = cv2.resize(cv2.imread(sys.argv[1]), None, fx=0.3, fy=0.3)
before = running()
restorer = MemGANRestorer(sys.argv[2], device="cpu", threads=int(sys.argv[3]), dtype="float32")
assert restorer.restore(photo).faces
print(before, running(), torch.get_num_threads(), cv2.getNumThreads())
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").is_dir() or threads.usable_cores() < 2, reason="needs Linux, two cores")
@pytest.mark.parametrize("number", [1, 2])
def test_as_many_threads_as_asked_for_in_all_three_libraries(number: int, weights: Path) -> None:
    photo = SCRIPT.parents[1] / "examples" / "photos" / "video_call.jpg"
    environment = {**ENVIRONMENT, "OMP_NUM_THREADS": "2" if number == 1 else "1", "OPENBLAS_NUM_THREADS": "1"}
    environment.pop("OPENCV_FOR_THREADS_NUM", None)  # as conftest.py sets it
    done = subprocess.run(
        [sys.executable, "-c", COUNT, str(photo), str(weights), str(number)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    before, after, of_torch, of_opencv = map(int, done.stdout.split())
    assert (after == before) if number == 1 else (after >= before + 2)  # of onnxruntime, and of OpenCV or torch
    assert of_torch == 3 - number and of_opencv == threads.usable_cores()  # afterwards as before


@pytest.mark.parametrize("number", [0, -1, 1.5, "two", True])
def test_threads_that_are_none(number: Any) -> None:
    with pytest.raises(ConfigError, match="threads"):
        make(None, network=FakeNetwork(), threads=number)


def test_a_number_of_threads_is_shared_out_and_given_back() -> None:
    before = torch.get_num_threads(), threads.cv2.getNumThreads()
    seen: list[tuple[int, int]] = []

    def look(face: np.ndarray) -> np.ndarray:
        seen.append((torch.get_num_threads(), threads.cv2.getNumThreads()))
        return np.ones(3)

    make(None, network=FakeNetwork(), identity=look, threads=np.int64(1)).enhance(scene())
    assert set(seen) == {(1, 1)} and (torch.get_num_threads(), threads.cv2.getNumThreads()) == before


def test_worker_processes_have_one_thread_unless_they_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    monkeypatch.setattr(threads, "usable_cores", lambda: 3)
    assert threads.default_threads() == 3
    monkeypatch.setattr(multiprocessing, "parent_process", lambda: object())
    assert threads.default_threads() == 1
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert threads.default_threads() == 3
    monkeypatch.setattr(threads, "_loaded_in", os.getpid() + 1)
    assert threads.default_threads() == 1


@pytest.mark.parametrize(
    ("groups", "files", "expected"),
    [
        ("0::/", {"sys/fs/cgroup/cpu.max": "150000 100000"}, 1.5),
        ("0::/", {"sys/fs/cgroup/cpu.max": "max 100000"}, float("inf")),
        ("0::/a/b", {"sys/fs/cgroup/a/b/cpu.max": "max 100000", "sys/fs/cgroup/a/cpu.max": "400000 100000"}, 4),
        (
            "3:cpuacct,cpu:/a\n0::/",
            {
                "sys/fs/cgroup/cpuacct,cpu/a/cpu.cfs_quota_us": "50000",
                "sys/fs/cgroup/cpuacct,cpu/a/cpu.cfs_period_us": "100000",
            },
            0.5,
        ),
        (
            "1:cpu:/",
            {"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000"},
            float("inf"),
        ),
        ("2:memory:/", {"sys/fs/cgroup/memory/cpu.max": "1 1"}, float("inf")),
        (None, {}, float("inf")),
    ],
)
def test_quotas_of_control_groups(groups: str | None, files: dict[str, str], expected: float, tmp_path: Path) -> None:
    if groups is not None:
        files = {"proc/self/cgroup": groups, **files}
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text + "\n")
    assert threads._quota(tmp_path) == expected


def test_a_setting_of_the_process_returns_when_the_last_block_ends() -> None:
    value = [4]
    setting = threads.ProcessSetting(lambda: value[0], lambda new: value.__setitem__(0, new))
    first, second = setting.held(1), setting.held(2)
    first.__enter__()
    assert value == [1]
    second.__enter__()
    assert value == [2]
    first.__exit__(None, None, None)
    assert value == [2]
    second.__exit__(None, None, None)
    assert value == [4]
    with setting.held(1):
        value[0] = 7  # what the program sets meanwhile stays
    assert value == [7]
