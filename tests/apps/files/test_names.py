"""Names of results are a function of the input's name and the options."""

from pathlib import PurePath, PurePosixPath, PureWindowsPath

import pytest

from memgan.apps.files.names import face_name, film_name, labels, page_mark, picture_name, result_suffix


@pytest.mark.parametrize(
    ("name", "ext", "mark", "expected"),
    [
        ("a.jpg", "auto", "", "a.jpg"),
        ("A.JPG", "auto", "", "A.JPG"),
        ("a.jpg", "png", "", "a.jpg.png"),
        ("a.jpg.png", "png", "", "a.jpg.png"),
        ("a.jpeg", "jpg", "", "a.jpeg"),  # the same type
        ("sub/a.tiff", "tif", "_new", "sub/a_new.tiff"),
        ("a.jpg", "auto", "_new", "a_new.jpg"),
        ("a.jpg", "webp", "_new", "a_new.jpg.webp"),
        ("a.tif", "jpg", "_p0003", "a_p0003.tif.jpg"),
        ("scan", "auto", "", "scan.png"),
        ("a.b.c", "auto", "", "a.b.c.png"),
        ("a.", "auto", "", "a..png"),
    ],
)
def test_whole_pictures(name: str, ext: str, mark: str, expected: str) -> None:
    path = PurePath(name)
    assert picture_name(path, result_suffix(path, ext), mark) == PurePath("restored_imgs", expected)


@pytest.mark.parametrize(
    ("name", "suffix", "mark", "expected"),
    [
        ("a.mp4", ".mp4", "", "a.mp4"),
        ("sub/A.MOV", ".mov", "_new", "sub/A_new.MOV"),
        ("a.mp4", ".mkv", "", "a.mp4.mkv"),
        ("a.m4v", ".mp4", "_new", "a_new.m4v.mp4"),
        ("clip", ".mkv", "", "clip.mkv"),
        ("a.jpeg", ".mp4", "", "a.jpeg.mp4"),
    ],
)
def test_films(name: str, suffix: str, mark: str, expected: str) -> None:
    assert film_name(PurePath(name), suffix, mark) == PurePath("restored_videos", expected)


def test_faces_of_inputs_that_differ_in_their_suffix_stay_apart() -> None:
    names = ["a.jpg", "a.png", "a.jpg.png", "a", "a.jpg_00", "A.jpg"]
    found = [face_name("cmp", PurePath(name), index) for name in names for index in (0, 1, 100)]
    assert len(set(found)) == len(found)
    assert found[:3] == [PurePath("cmp", f"a.jpg_{index}.png") for index in ("00", "01", "100")]
    assert face_name("cmp", PurePath("d/a.gif"), 2, page_mark(3), "_x") == PurePath("cmp/d/a.gif_p0003_02_x.png")


def test_aligned_faces_keep_their_names() -> None:
    assert face_name("cmp", PurePath("a.jpg_00.png"), None) == PurePath("cmp/a.jpg_00.png")
    assert face_name("cmp", PurePath("a.jpg"), None, end="_x") == PurePath("cmp/a_x.jpg.png")


def test_folders_are_told_apart_by_the_ends_of_their_paths() -> None:
    folders = [PurePosixPath(path) for path in ("/a/in", "/b/in", "/b/out", "/c/b/in", "/")]
    expected = ["a/in", "b/in", "out", "c/b/in", "."]
    found = labels(folders)
    assert [str(found[folder]) for folder in folders] == ["a/in", "/b/in".lstrip("/"), "out", "c/b/in", "."] == expected
    assert len({str(label) for label in found.values()}) == 5


def test_folders_that_are_the_same_but_for_case_differ_at_their_drives() -> None:
    folders = [PureWindowsPath("C:/in"), PureWindowsPath("D:/In"), PureWindowsPath("//server/share/in")]
    assert [label.as_posix() for label in labels(folders).values()] == ["C/in", "D/In", "share/in"]
