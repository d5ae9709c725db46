"""Faces out of folders, tar archives and files."""

import io
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch

from memgan.errors import ConfigError, DataError
from memgan.image import Picture, encode_picture, save_picture
from memgan.image.collection import PictureSource
from memgan.training.data.clean_faces import FaceSet


def picture(number: int, width: int = 32, height: int = 32) -> Picture:
    rgb = np.random.default_rng(number).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Picture(rgb)


def write_tar(path: Path, names: list[str], mode: str = "w", **size: int) -> Path:
    with tarfile.open(path, mode) as archive:
        for number, name in enumerate(names):
            suffix = Path(name).suffix
            data = encode_picture(picture(number, **size), suffix) if suffix in (".png", ".webp") else b"text"
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "faces"
    (folder / "sub").mkdir(parents=True)
    (folder / ".hidden").mkdir()
    for number, name in enumerate(["c.png", "a.PNG", "sub/b.png", ".hidden/d.png"]):
        save_picture(picture(number), folder / name)
    (folder / "index.csv").write_text("file")
    return folder


def test_a_folder_in_the_order_of_names(folder: Path) -> None:
    faces = FaceSet(folder, size_px=32)
    assert faces.names == ["a.PNG", "c.png", "sub/b.png"]
    assert len(faces) == 3
    for index, number in enumerate([1, 0, 2]):
        face = faces[index]
        assert face.shape == (3, 32, 32) and face.dtype == torch.uint8
        assert np.array_equal(face.permute(1, 2, 0).numpy(), picture(number).rgb)
    assert torch.equal(faces[-1], faces[2])
    for index in (3, -4):
        with pytest.raises(IndexError):
            faces[index]
    assert len(list(faces)) == 3  # iteration ends


def test_a_tar_gives_what_a_folder_gives(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "faces.tar", ["./b.png", "a.png", "notes.txt", "._b.png", "x/c.png"])
    faces = FaceSet([path], size_px=32)
    assert faces.names == ["a.png", "b.png", "x/c.png"]
    for index, number in enumerate([1, 0, 4]):
        assert np.array_equal(faces[index].permute(1, 2, 0).numpy(), picture(number).rgb)


def test_several_sources_follow_each_other(tmp_path: Path, folder: Path) -> None:
    tar = write_tar(tmp_path / "t.tar", ["z.png"])
    assert FaceSet([str(tar), folder, folder / "c.png"]).names == ["z.png", "a.PNG", "c.png", "sub/b.png", "c.png"]


def test_a_set_travels_to_other_processes(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "faces.tar", ["a.png", "b.png"])
    faces = FaceSet(path, size_px=32)
    assert torch.equal(pickle.loads(pickle.dumps(faces))[1], faces[1])
    (batch,) = torch.utils.data.DataLoader(faces, batch_size=2)
    assert torch.equal(batch, torch.stack([faces[0], faces[1]]))


@pytest.mark.parametrize("cache", [False, True])
def test_faces_are_the_caller_s_own(folder: Path, cache: bool) -> None:
    faces = FaceSet(folder, size_px=32, cache=cache)
    first = faces[0].clone()
    faces[0].zero_()
    assert torch.equal(faces[0], first)


def test_the_cache_needs_the_file_once(folder: Path) -> None:
    faces = FaceSet(folder, size_px=32, cache=True)
    first = faces[0]
    (folder / "a.PNG").unlink()
    assert torch.equal(faces[0], first)
    assert len(pickle.dumps(FaceSet(folder))) < 2000


def test_resizing_is_anti_aliased(tmp_path: Path) -> None:
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    save_picture(Picture(stripes), tmp_path / "stripes.png")
    face = FaceSet(tmp_path, size_px=16)[0].float()
    assert face.shape == (3, 16, 16)
    assert (face[..., 2:-2] - 127.5).abs().max() < 8  # without: all black or white
    assert FaceSet(tmp_path, size_px=128)[0].shape == (3, 128, 128)


def test_bad_sources_are_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for source in (tmp_path / "empty", []):
        with pytest.raises(DataError, match="No pictures"):
            FaceSet(source)
    with pytest.raises(DataError, match="nowhere"):
        FaceSet(tmp_path / "nowhere")
    (tmp_path / "text.bin").write_text("text" * 500)
    packed = write_tar(tmp_path / "t.tar.gz", ["a.png"], "w:gz")
    for source in (tmp_path / "text.bin", packed):
        with pytest.raises(DataError, match="unpack"):
            FaceSet(source)
    with pytest.raises(ConfigError, match="size_px"):
        FaceSet(tmp_path, size_px=4)


def test_bad_faces_are_named(tmp_path: Path) -> None:
    save_picture(picture(0, 40, 32), tmp_path / "wide.png")
    with pytest.raises(DataError, match=r"wide\.png is 40 x 32"):
        FaceSet(tmp_path)[0]
    data = (tmp_path / "wide.png").read_bytes()
    (tmp_path / "wide.png").write_bytes(data[:200])
    with pytest.raises(DataError, match=r"wide\.png"):
        PictureSource(tmp_path).read(0)
    faces = FaceSet(tmp_path)
    (tmp_path / "wide.png").unlink()
    with pytest.raises(DataError, match=r"wide\.png"):
        faces[0]
