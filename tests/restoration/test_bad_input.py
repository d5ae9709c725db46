"""What callers and users get wrong: each mistake has an error of this library that names it and the way out."""

import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from fakes import FakeDetector, FakeNetwork, face_at, scene
from safetensors.torch import save_file
from tiny import save_tiny_weights

from memgan import MemGANRestorer
from memgan.apps.cli import main as cli
from memgan.errors import ImageError, MemGANError, WeightsError, WeightsNotFoundError
from memgan.image import load_picture


@pytest.fixture
def restorer():
    return MemGANRestorer(network=FakeNetwork(0.5), detector=FakeDetector(face_at(50, 50)), device="cpu")


def with_value(value: float, dtype: type = np.float32) -> np.ndarray:
    image = scene().astype(dtype)
    image[5, 5, 1] = value
    return image


# What is given, and what the message has to say: what it was, what is allowed, what to do.
ARRAYS = {
    "nothing": (None, "NoneType", "numpy array", "path of a file"),
    "a path": ("photo.jpg", "photo.jpg", "does not exist", "check the path"),
    "a Path": (Path("photo.jpg"), "photo.jpg", "does not exist", "check the path"),
    "a path of nothing": ("a\0b", "cannot be a path|does not exist", "path", "check the path"),
    "a list": ([[1, 2], [3, 4]], "list", "numpy array", "path of a file"),
    "a batch of tensors": (torch.zeros(2, 3, 64, 64), r"\(2, 3, 64, 64\)", r"\(H, W, 3\)", "one by one"),
    "a tensor of -1 to 1": (torch.linspace(-1, 1, 64 * 64).view(64, 64), "-1 to 1", r"0\.\.1", "rescale"),
    "a sparse tensor": (torch.zeros(64, 64, 3).to_sparse(), "sparse_coo", "dense", "to_dense"),
    "a tensor of no values": (torch.zeros(3, 64, 64, device="meta"), "on meta", "dense", r"cpu\(\)"),
    "integers in a tensor": (torch.zeros(3, 64, 64, dtype=torch.int64), "int64", "uint8", "value_range"),
    "no dimension": (np.array(7, np.uint8), r"\(\)", r"\(H, W\)", "one by one"),
    "empty": (np.zeros((0, 0, 3), np.uint8), "0 x 0", "16", "enlarge"),
    "no rows": (np.zeros((0, 64, 3), np.uint8), "64 x 0", "16", "enlarge"),
    "one pixel": (np.zeros((1, 1, 3), np.uint8), "1 x 1", "16", "enlarge"),
    "one row": (np.zeros((1, 500), np.uint8), "500 x 1", "16", "enlarge"),
    "70000 wide": (np.zeros((20, 70000, 3), np.uint8), "70000 x 20", "65535", "shrink"),
    "70000 high": (np.zeros((70000, 20), np.uint8), "20 x 70000", "65535", "shrink"),
    "too many pixels": (np.broadcast_to(np.uint8(0), (17000, 17000, 3)), "17000 x 17000", "268435456", "shrink"),
    "five channels": (np.zeros((64, 64, 5), np.uint8), r"\(64, 64, 5\)", r"\(H, W, 4\)", "channels last"),
    "channels first": (np.zeros((3, 64, 64), np.uint8), r"\(3, 64, 64\)", r"\(H, W, 3\)", "channels last"),
    "a batch": (np.zeros((2, 64, 64, 3), np.uint8), r"\(2, 64, 64, 3\)", r"\(H, W, 3\)", "one by one"),
    "int64": (np.zeros((64, 64, 3), np.int64), "int64", "uint8", "astype"),
    "complex": (np.zeros((64, 64, 3), np.complex64), "complex64", "float32", "astype"),
    "objects": (np.full((64, 64, 3), None, object), "object", "uint8", "astype"),
    "NaN": (with_value(np.nan), "NaN", "finite", r"0\.\.255"),
    "infinite": (with_value(np.inf, np.float64), "infinite", "finite", r"0\.\.255"),
    "negative": (with_value(-9), "-9", r"0\.\.255", "rescale"),
    "too bright": (with_value(400), "400", r"0\.\.255", "rescale"),
    "0 to 1": (scene().astype(np.float32) / 255, r"0\.\.1", r"0\.\.255", "multiply"),
    "0 to 1, resampled": (scene().astype(np.float32) / 200 - 0.1, r"0\.\.1", r"0\.\.255", "value_range=1"),
}


@pytest.mark.parametrize("has_aligned", [False, True])
@pytest.mark.parametrize("case", ARRAYS)
def test_arrays(case, has_aligned, restorer):
    image, given, allowed, remedy = ARRAYS[case]
    with pytest.raises(ImageError, match=given) as error:
        restorer.enhance(image, has_aligned=has_aligned)
    assert error.match(allowed) and error.match(remedy)
    assert restorer.network.batches == [] and restorer.detector.seen == []


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_floats_that_count_0_to_255_are_no_mistake(dtype, restorer):
    expected = restorer.enhance(scene())[2]
    np.testing.assert_array_equal(restorer.enhance(scene().astype(dtype))[2], expected)


def png(image: np.ndarray) -> bytes:
    return cv2.imencode(".png", image)[1].tobytes()


FILES = {
    "empty": (b"", "0 bytes"),
    "text": (b"Dear diary, today I looked at a picture.", "not a picture"),
    "truncated PNG": (png(scene())[:-2000], "truncated"),
    "truncated JPEG": (cv2.imencode(".jpg", scene())[1].tobytes()[:1500], "truncated"),
    "header only": (png(scene())[:20], "not a picture|truncated"),
    "one pixel": (png(np.zeros((1, 1, 3), np.uint8)), "1 x 1"),
    "70000 wide": (png(np.zeros((16, 70000), np.uint8)), "70000 x 16"),
    "a video's first bytes": (b"\x00\x00\x00\x20ftypisom" + bytes(500), "not a picture"),
}


@pytest.mark.parametrize("case", FILES)
def test_files(case, tmp_path):
    data, given = FILES[case]
    path = tmp_path / "picture.png"
    path.write_bytes(data)
    with pytest.raises(ImageError, match=given) as error:
        load_picture(path)
    assert str(path) in str(error.value)


def test_folders_and_missing_files(tmp_path):
    with pytest.raises(ImageError, match="folder"):
        load_picture(tmp_path)
    with pytest.raises(ImageError, match="does not exist"):
        load_picture(tmp_path / "missing.png")


def test_bad_files_among_good_ones_on_the_command_line(tmp_path, monkeypatch, capsys):
    """One bad file of each kind in the middle: all are named, all others restored, and the status says so."""
    monkeypatch.setattr(
        "memgan.restoration.restorer.create_detector", lambda name, **options: FakeDetector(face_at(50, 50))
    )
    folder = tmp_path / "in"
    folder.mkdir()
    for number, (data, _) in enumerate(FILES.values()):
        (folder / f"bad{number}.png").write_bytes(data)
    (folder / "folder.png").mkdir()
    for name in ("a_first.png", "z_last.png"):
        (folder / name).write_bytes(png(scene()))
    weights = save_tiny_weights(tmp_path / "tiny.safetensors")
    arguments = ["restore", str(folder), "-o", str(tmp_path / "out"), "--weights", str(weights), "--device", "cpu"]
    assert cli.main(arguments) == 1
    err = capsys.readouterr().err
    assert "Traceback" not in err
    assert [f"bad{number}.png: skipped" in err for number in range(len(FILES))] == [True] * len(FILES)
    assert sorted(path.name for path in (tmp_path / "out" / "restored_imgs").iterdir()) == ["a_first.png", "z_last.png"]


def foreign(path: Path) -> None:
    save_file({"weight": torch.zeros(3)}, path)


def cut_off(path: Path) -> None:
    save_tiny_weights(path)
    path.write_bytes(path.read_bytes()[:-100])


def huge_header(path: Path) -> None:
    path.write_bytes(struct.pack("<Q", 2**60) + b"{}")


def other_network(path: Path) -> None:
    from safetensors.torch import load_file

    config_from = save_tiny_weights(path.with_name("whole.safetensors"))
    state = load_file(config_from)
    from memgan import hub

    config = hub.load(config_from).config
    hub.save(path, config, {name: tensor for name, tensor in state.items() if not name.startswith("decoder")})


WEIGHTS = {
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_bytes(b"weights " * 50),
    "zeros": lambda path: path.write_bytes(bytes(4096)),
    "cut off": cut_off,
    "huge header": huge_header,
    "of another program": foreign,
    "pickled": lambda path: torch.save({"params_ema": {}}, path),
    "without decoder": other_network,
}


@pytest.mark.parametrize("case", WEIGHTS)
def test_weight_files(case, tmp_path, capsys):
    path = tmp_path / "model.safetensors"
    WEIGHTS[case](path)
    with pytest.raises(WeightsError):
        MemGANRestorer(path, detector=FakeDetector(), device="cpu")
    (tmp_path / "a.png").write_bytes(png(scene()))
    arguments = ["restore", str(tmp_path / "a.png"), "-o", str(tmp_path / "out"), "--weights", str(path)]
    assert cli.main([*arguments, "--device", "cpu"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("memgan: error: ") and len(err) > 60 and "Traceback" not in err
    assert "model.safetensors" in err or "tiny" in err


def test_folders_and_pictures_instead_of_weights(tmp_path):
    with pytest.raises(WeightsNotFoundError, match="safetensors"):
        MemGANRestorer(tmp_path, detector=FakeDetector(), device="cpu")
    picture = tmp_path / "a.png"
    picture.write_bytes(png(scene()))
    with pytest.raises(WeightsError, match=r"a\.png"):
        MemGANRestorer(picture, detector=FakeDetector(), device="cpu")


def test_every_mistake_is_caught_by_one_exception(restorer):
    for image, *_ in ARRAYS.values():
        with pytest.raises(MemGANError):
            restorer.enhance(image)
