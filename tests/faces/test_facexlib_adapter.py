"""facexlib's networks and weight files: found in one order, checked, and never unpickled with trust."""

import dataclasses
import hashlib
import io
import threading

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from memgan import hub
from memgan.errors import ChecksumError, ConfigError, StateMismatchError, WeightsError, WeightsNotFoundError
from memgan.faces import create_detector, facexlib_adapter
from memgan.faces.anchors import anchor_centers_and_sides
from memgan.faces.facexlib_adapter import FACEXLIB_WEIGHTS, FacexlibRetinaFace, build_network, find_weights

NAME = "retinaface_mobile0.25"
FILE = hub.REGISTRY[NAME].filename


def register(monkeypatch, data, url="file:///nowhere/file.pth", name=NAME):
    """Make ``data`` the published file."""
    sha256 = hashlib.sha256(data).hexdigest()
    spec = dataclasses.replace(hub.REGISTRY[name], sha256=sha256, size=len(data), urls=(url,))
    monkeypatch.setitem(hub.REGISTRY, name, spec)


def saved(state):
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def state():
    """Random weights for facexlib's own network, named as files trained in parallel name them."""
    torch.manual_seed(0)
    network = build_network(NAME)
    return {f"module.{key}": value for key, value in network.state_dict().items()}


@pytest.fixture
def folder(monkeypatch, tmp_path, state):
    data = saved(state)
    register(monkeypatch, data)
    (tmp_path / FILE).write_bytes(data)
    monkeypatch.setattr(facexlib_adapter, "_facexlib_folders", lambda: [])
    monkeypatch.setenv("MEMGAN_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("MEMGAN_MIRRORS", raising=False)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
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


def test_building_draws_no_random_number_and_is_float32_whatever_the_default_is(folder):
    image = np.random.default_rng(0).integers(0, 256, (50, 75, 3)).astype(np.uint8)
    expected, before = FacexlibRetinaFace(NAME, weights_dir=folder)(image), torch.random.get_rng_state()
    torch.set_default_dtype(torch.float64)
    try:
        found = FacexlibRetinaFace(NAME, weights_dir=folder)(image)
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))


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
    cache = folder / "home"
    cache.mkdir()
    (elsewhere / FILE).rename(cache / FILE)
    assert find_weights(NAME, offline=True) == cache / FILE


def test_a_half_download_of_facexlib_is_passed_over(folder, monkeypatch):
    elsewhere = folder / "site"
    elsewhere.mkdir()
    monkeypatch.setattr(facexlib_adapter, "_facexlib_folders", lambda: [elsewhere])
    data = (folder / FILE).read_bytes()
    register(monkeypatch, data, (folder / FILE).as_uri())
    (elsewhere / FILE).write_bytes(data[:1000])
    with pytest.warns(UserWarning, match="is not the published"):
        assert find_weights(NAME) == folder / "home" / FILE
    assert (elsewhere / FILE).read_bytes() == data[:1000]


def test_a_converted_file_is_preferred_and_nothing_unpickled(folder, state, monkeypatch):
    tensors = {key.removeprefix("module."): value.clone() for key, value in state.items()}
    safe = (folder / FILE).with_suffix(".safetensors")
    save_file(tensors, safe, metadata={"source_sha256": "of another file"})
    assert find_weights(NAME, weights_dir=folder) == folder / FILE
    save_file(tensors, safe, metadata={"source_sha256": hub.REGISTRY[NAME].sha256})
    (folder / FILE).unlink()
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("unpickled"))
    (folder / "home").mkdir()
    for weights_dir in (folder, None):
        loaded = FacexlibRetinaFace(NAME, weights_dir=weights_dir, offline=True)._network.state_dict()
        assert all(torch.equal(loaded[key], value) for key, value in tensors.items())
        safe = safe.rename(folder / "home" / safe.name)  # now for the cache
    safe.rename(folder / safe.name)
    safe = folder / safe.name
    safe.write_bytes(safe.read_bytes()[:-1])
    with pytest.raises(WeightsError, match="damaged"):
        find_weights(NAME, weights_dir=folder)


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
    assert [path.name for path in target.iterdir() if path.is_file()] == [FILE]
    (target / FILE).unlink()
    source.write_bytes(data[:-1] + b"!")
    with pytest.raises(ChecksumError, match="gives another file"):
        find_weights(NAME, weights_dir=target)
    assert not [path for path in target.iterdir() if path.is_file()]


def test_failed_download_names_the_way_out(folder):
    with pytest.raises(WeightsNotFoundError) as caught:
        find_weights(NAME, weights_dir=folder / "empty")
    for words in ("cannot be reached", "file:///nowhere/file.pth", f"put it at {folder / 'empty' / FILE}"):
        assert words in str(caught.value)


def test_offline_never_downloads(folder, monkeypatch):
    monkeypatch.setattr("memgan.hub.resolver.fetch", lambda *_, **__: pytest.fail("went online"))
    with pytest.raises(WeightsNotFoundError, match=r"offline mode.*put it at"):
        find_weights(NAME, weights_dir=folder / "empty", offline=True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(WeightsNotFoundError, match="offline"):
        find_weights(NAME)


def test_a_mirror_serves_them(folder, monkeypatch):
    monkeypatch.setenv("MEMGAN_MIRRORS", folder.as_uri())
    assert find_weights(NAME) == folder / "home" / FILE


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
    with pytest.raises(error, match=r"facexlib's own file|delete this one"):
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
    for name in ("x", "parsing_parsenet"):
        with pytest.raises(ConfigError, match=rf"'{name}'.*retinaface_resnet50"):
            FacexlibRetinaFace(name)
    with pytest.raises(ConfigError, match=r"'x'.*retinaface_mobile0.25.*parsing_bisenet"):
        find_weights("x")


@pytest.mark.parametrize("name", [name for name in FACEXLIB_WEIGHTS if name.startswith("parsing")])
def test_parsers_are_found_and_loaded(folder, monkeypatch, name):
    torch.manual_seed(1)
    published = {key: torch.rand_like(value.float()) for key, value in build_network(name).state_dict().items()}
    data = saved(published)
    register(monkeypatch, data, name=name)
    (folder / hub.REGISTRY[name].filename).write_bytes(data)
    loaded = facexlib_adapter.load_network(name, weights_dir=folder).state_dict()
    assert all(torch.equal(loaded[key].float(), value) for key, value in published.items() if "num_batches" not in key)


@pytest.mark.parametrize("name", FACEXLIB_WEIGHTS)
def test_nothing_of_facexlib_downloads(monkeypatch, name):
    for function in ("facexlib.utils.misc.load_file_from_url", "torch.hub.download_url_to_file"):
        monkeypatch.setattr(function, lambda *_, **__: pytest.fail("a download besides memgan's"))
    monkeypatch.setattr("facexlib.utils.load_file_from_url", lambda *_, **__: pytest.fail("the same"))
    assert sum(value.numel() for value in build_network(name).state_dict().values()) > 100_000


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in FACEXLIB_WEIGHTS if name.startswith("parsing")])
def test_parsers_run(name):
    with torch.inference_mode():
        assert build_network(name)(torch.zeros(1, 3, 512, 512))[0].shape == (1, 19, 512, 512)


@pytest.mark.slow
def test_resnet50_builds_and_runs(monkeypatch, tmp_path):
    data = saved(build_network("retinaface_resnet50").state_dict())
    register(monkeypatch, data, name="retinaface_resnet50")
    (tmp_path / hub.REGISTRY["retinaface_resnet50"].filename).write_bytes(data)
    locations, _, _ = FacexlibRetinaFace("retinaface_resnet50", weights_dir=tmp_path)(np.zeros((64, 64, 3), np.uint8))
    assert len(locations) == len(anchor_centers_and_sides(64, 64))
