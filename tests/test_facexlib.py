import hashlib
import io
import threading

import numpy as np
import pytest
import torch

from memgan.errors import ChecksumError, ConfigError, StateMismatchError, WeightsError, WeightsNotFoundError
from memgan.faces import create_detector, facexlib_adapter
from memgan.faces.anchors import anchor_centers_and_sides
from memgan.faces.facexlib_adapter import FACEXLIB_WEIGHTS, FacexlibRetinaFace, FacexlibWeights, find_weights

NAME = "retinaface_mobile0.25"
FILE = FACEXLIB_WEIGHTS[NAME].filename


def register(monkeypatch, data, url=None):
    """Make ``data`` the published file."""

    class Registered(FacexlibWeights):
        @property
        def url(self):
            return url or "file:///nowhere/" + self.filename

    weights = Registered("mobile0.25", FILE, hashlib.sha256(data).hexdigest())
    monkeypatch.setitem(FACEXLIB_WEIGHTS, NAME, weights)


def saved(state):
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def state():
    """Random weights for facexlib's own network, named as files trained in parallel name them."""
    torch.manual_seed(0)
    network = facexlib_adapter._build("mobile0.25")
    return {f"module.{key}": value for key, value in network.state_dict().items()}


@pytest.fixture
def folder(monkeypatch, tmp_path, state):
    data = saved(state)
    register(monkeypatch, data)
    (tmp_path / FILE).write_bytes(data)
    monkeypatch.setattr(facexlib_adapter, "_facexlib_folders", lambda: [])
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    return tmp_path


def test_weights_from_a_folder_reach_the_network(folder, state):
    network = FacexlibRetinaFace(NAME, weights_dir=folder)
    loaded = network._network.state_dict()
    assert all(torch.equal(loaded[key.removeprefix("module.")], value) for key, value in state.items())


def test_outputs_are_one_row_per_anchor_and_equal_facexlibs_network(folder):
    network = FacexlibRetinaFace(NAME, weights_dir=folder)
    image = np.random.default_rng(0).integers(0, 256, (50, 75, 3)).astype(np.uint8)
    locations, scores, points = network(image)
    count = len(anchor_centers_and_sides(50, 75))
    assert locations.shape == (count, 4) and scores.shape == (count,) and points.shape == (count, 10)
    mean = torch.tensor([104.0, 117.0, 123.0]).view(1, 3, 1, 1)
    batch = torch.from_numpy(image[:, :, ::-1].copy()).permute(2, 0, 1)[None].float() - mean
    with torch.no_grad():
        expected = network._network(batch)
    assert np.allclose(locations, expected[0][0], atol=1e-5) and np.allclose(points, expected[2][0], atol=1e-5)
    assert np.allclose(scores, expected[1][0, :, 1], atol=1e-6)


def test_the_detector_uses_it(folder):
    detector = create_detector(NAME, weights_dir=folder)
    assert isinstance(detector._network, FacexlibRetinaFace)
    assert detector.detect(np.zeros((64, 64, 3), np.uint8)) == []


def test_threads_get_their_own_results(folder):
    network = FacexlibRetinaFace(NAME, weights_dir=folder)
    generator = np.random.default_rng(1)
    images = [generator.integers(0, 256, (40 + 9 * n, 64 + 5 * n, 3)).astype(np.uint8) for n in range(4)]
    expected = [network(image) for image in images]
    wrong = []

    def work(start):
        for turn in range(8):
            index = (start + turn) % 4
            found = network(images[index])
            if not all(np.allclose(a, b, atol=1e-5) for a, b in zip(found, expected[index], strict=True)):
                wrong.append(index)

    threads = [threading.Thread(target=work, args=(start,)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_facexlibs_own_folder_and_the_cache_are_searched(folder, monkeypatch):
    elsewhere = folder / "site"
    elsewhere.mkdir()
    monkeypatch.setattr(facexlib_adapter, "_facexlib_folders", lambda: [elsewhere])
    (folder / FILE).rename(elsewhere / FILE)
    assert find_weights(NAME, offline=True) == elsewhere / FILE
    cache = folder / "hub" / "facexlib"
    cache.mkdir(parents=True)
    (elsewhere / FILE).rename(cache / FILE)
    assert find_weights(NAME, offline=True) == cache / FILE


def test_facexlibs_folder_is_the_packages():
    (folder,) = facexlib_adapter._facexlib_folders()
    assert folder.parts[-2:] == ("facexlib", "weights") and folder.parent.is_dir()


def test_download_is_checked_and_moved(folder, monkeypatch):
    data = (folder / FILE).read_bytes()
    source = folder / "published.pth"
    source.write_bytes(data)
    register(monkeypatch, data, source.as_uri())
    target = folder / "new" / "place"
    assert find_weights(NAME, weights_dir=target).read_bytes() == data
    assert [path.name for path in target.iterdir()] == [FILE]
    (target / FILE).unlink()
    source.write_bytes(data[:-100])
    with pytest.raises(ChecksumError, match="expected"):
        find_weights(NAME, weights_dir=target)
    assert not list(target.iterdir())


def test_failed_download_names_the_way_out(folder, monkeypatch):
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    with pytest.raises(WeightsNotFoundError, match=r"cannot download.*weights_dir.*embedded"):
        find_weights(NAME, weights_dir=folder / "empty")


def test_offline_never_downloads(folder, monkeypatch):
    monkeypatch.setattr(facexlib_adapter, "_download", lambda *_: pytest.fail("went online"))
    with pytest.raises(WeightsNotFoundError, match="offline"):
        find_weights(NAME, weights_dir=folder / "empty", offline=True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(WeightsNotFoundError, match="offline"):
        find_weights(NAME, weights_dir=folder / "empty")


def test_another_file_is_refused_before_it_is_opened(folder, monkeypatch):
    (folder / FILE).write_bytes(b"something else")
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("opened an unchecked file"))
    with pytest.raises(ChecksumError, match="delete it"):
        FacexlibRetinaFace(NAME, weights_dir=folder)


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"no pickle", WeightsError),
        (saved(["a list"]), StateMismatchError),
        (saved({"a": 1}), StateMismatchError),
        (saved({"body.weight": torch.zeros(3)}), StateMismatchError),
    ],
)
def test_files_that_hold_something_else(folder, monkeypatch, content, error):
    register(monkeypatch, content)
    (folder / FILE).write_bytes(content)
    with pytest.raises(error, match=r"facexlib's own file|delete it"):
        FacexlibRetinaFace(NAME, weights_dir=folder)


def test_code_in_a_file_is_not_run(folder, monkeypatch, tmp_path):
    marker = tmp_path / "executed"

    class Payload:
        def __reduce__(self):
            return marker.touch, ()

    data = saved({"a": Payload()})
    register(monkeypatch, data)
    (folder / FILE).write_bytes(data)
    with pytest.raises(WeightsError):
        FacexlibRetinaFace(NAME, weights_dir=folder)
    assert not marker.exists()


def test_unknown_names():
    with pytest.raises(ConfigError, match=r"'x'.*retinaface_resnet50"):
        FacexlibRetinaFace("x")
    with pytest.raises(ConfigError, match=r"'x'.*retinaface_mobile0.25"):
        find_weights("x")


@pytest.mark.slow
def test_resnet50_builds_and_runs(monkeypatch, tmp_path):
    network = facexlib_adapter._build("resnet50")
    data = saved(network.state_dict())
    weights = FacexlibWeights("resnet50", "detection_Resnet50_Final.pth", hashlib.sha256(data).hexdigest())
    monkeypatch.setitem(FACEXLIB_WEIGHTS, "retinaface_resnet50", weights)
    (tmp_path / weights.filename).write_bytes(data)
    locations, _, _ = FacexlibRetinaFace("retinaface_resnet50", weights_dir=tmp_path)(np.zeros((64, 64, 3), np.uint8))
    assert len(locations) == len(anchor_centers_and_sides(64, 64))
