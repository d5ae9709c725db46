"""What of files and folders is taken, under which names, and what is left out and why."""

import os
import socket
import sys
import tracemalloc
from pathlib import Path

import pytest
from PIL import Image, features

from memgan.apps.files import inputs as module
from memgan.apps.files.film_content import has_film
from memgan.apps.files.inputs import CACHES, InputFile, Inputs, LeftOut, left_out_line
from memgan.runtime.records import FileState, Records, Row

SUFFIXES = (".jpg", ".png")
FILMS = (".mp4", ".ts")
PACKETS = (b"G" + bytes(187)) * 4


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    return folder


def taken(*paths: Path, recursive: bool = False, own: tuple[Path, ...] = ()) -> list[str]:
    found = Inputs(paths, SUFFIXES, recursive=recursive, own=own)
    return [one.name.as_posix() for one in found if isinstance(one, InputFile)]


def left_out(*paths: Path, recursive: bool = False, own: tuple[Path, ...] = ()) -> list[LeftOut]:
    return [one for one in Inputs(paths, SUFFIXES, recursive=recursive, own=own) if isinstance(one, LeftOut)]


def test_files_of_a_folder_are_taken_in_order(tmp_path: Path) -> None:
    touch(tmp_path, "b.png", "a.jpg", "C.JPG", "sub/a.jpg", "sub/sub/z.png", "n.txt", "z.cr2")
    assert taken(tmp_path) == ["C.JPG", "a.jpg", "b.png"]
    everything = ["C.JPG", "a.jpg", "b.png", "sub/a.jpg", "sub/sub/z.png"]
    assert taken(tmp_path, recursive=True) == everything
    inputs = Inputs([tmp_path], SUFFIXES, recursive=True)
    assert list(inputs) == list(inputs), "each loop looks anew"
    assert left_out_line(left_out(tmp_path)) == (
        "left out: file of another type: 2 (1 .txt, 1 .cr2); --dry-run lists them"
    )
    assert left_out_line([]) is None


def test_hidden_files_and_caches_of_other_programs_are_left_out(tmp_path: Path) -> None:
    hidden = (".thumbnails", ".git", ".Trash-1000", ".@__thumb", "@eaDir", "#recycle", "$RECYCLE.BIN", "__MACOSX")
    touch(tmp_path, "a.jpg", "._a.jpg", *(f"{name}/a.jpg" for name in hidden), "sub/.b.jpg")
    assert taken(tmp_path, recursive=True) == ["a.jpg"]
    missed = left_out(tmp_path, recursive=True)
    usual = [one.path.name for one in missed if one.is_usual]
    assert sorted(usual) == sorted((*hidden, "._a.jpg", ".b.jpg"))
    assert not any(one.is_problem for one in missed) and left_out_line(missed) is None
    assert all(name == name.lower() for name in CACHES)
    assert taken(tmp_path / ".git") == ["a.jpg"], "what is named on purpose is taken"


def test_links_are_taken_under_their_own_names(tmp_path: Path) -> None:
    touch(tmp_path, "in/.store/0a1b")
    for name in ("oma.jpg", "1944-05.jpg"):
        (tmp_path / "in" / name).symlink_to(".store/0a1b")
    assert taken(tmp_path / "in") == ["1944-05.jpg", "oma.jpg"]
    assert taken(tmp_path / "in" / "oma.jpg") == ["oma.jpg"]
    paths = [one.path for one in Inputs([tmp_path / "in"], SUFFIXES) if isinstance(one, InputFile)]
    assert paths == [tmp_path / "in" / "1944-05.jpg", tmp_path / "in" / "oma.jpg"]


def test_links_that_lead_nowhere_are_named(tmp_path: Path) -> None:
    touch(tmp_path, "in/a.jpg")
    (tmp_path / "in" / "loop.jpg").symlink_to("loop.jpg")
    (tmp_path / "in" / "gone.jpg").symlink_to("nothing.jpg")
    (tmp_path / "in" / "loop").symlink_to("loop")
    assert taken(tmp_path / "in", recursive=True) == ["a.jpg"]
    problems = {one.path.name: one.reason for one in left_out(tmp_path / "in", recursive=True) if one.is_problem}
    assert problems == dict.fromkeys(("gone.jpg", "loop.jpg"), "a link that leads nowhere; mend or delete it")
    (one,) = left_out(tmp_path / "in" / "loop.jpg")
    assert one.is_problem and "leads nowhere" in one.reason


def test_links_to_folders_are_followed_once(tmp_path: Path) -> None:
    touch(tmp_path, "in/sub/a.jpg", "elsewhere/b.jpg", "elsewhere/deep/c.jpg")
    links = {
        "in/again": "sub",
        "in/up": "..",
        "in/x": "../elsewhere",
        "in/y": "../elsewhere",
        "in/z": "../elsewhere/deep",
    }
    for name, target in links.items():
        (tmp_path / name).symlink_to(target)
    (tmp_path / "elsewhere" / "back").symlink_to("../in")
    assert taken(tmp_path / "in", recursive=True) == ["sub/a.jpg", "x/b.jpg", "x/deep/c.jpg"]
    assert taken(tmp_path / "in") == []


def test_what_is_no_regular_file_is_never_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # names of sockets have to be short
    os.mkfifo("pipe.jpg")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket.png")
        reasons = {one.path.name: one.reason for one in left_out(Path("."), Path("pipe.jpg"), Path("/dev/null"))}
    assert reasons["socket.png"] == "is a socket"
    assert reasons["null"] == "is a device; copy what it gives into a file"
    assert "is a named pipe" in reasons["pipe.jpg"]


def test_nothing_is_taken_twice(tmp_path: Path) -> None:
    touch(tmp_path, "d/a.jpg", "d/sub/b.jpg", "d/odd.txt")
    d = tmp_path / "d"
    expected = ["a.jpg", "sub/b.jpg"]
    for paths in ([d, d], [d, d / "a.jpg"], [d / "a.jpg", d], [d / "sub", d], [d, d / "sub" / "b.jpg", d / "sub"]):
        assert taken(*paths, recursive=True) == expected, paths
    assert taken(d, d / "sub", d / "odd.txt", d / "odd.txt") == ["a.jpg", "b.jpg", "odd.txt"]


def test_equal_names_get_those_of_their_folders_whatever_the_order(tmp_path: Path) -> None:
    touch(tmp_path, "x/a.jpg", "x/s/c.jpg", "y/a.jpg", "y/b.jpg", "y/s/c.jpg", "p/in/a.jpg", "q/in/a.jpg")
    x, y = tmp_path / "x", tmp_path / "y"
    assert taken(x, y, recursive=True) == ["x/a.jpg", "x/s/c.jpg", "y/a.jpg", "b.jpg", "y/s/c.jpg"]
    assert taken(x, y) == ["x/a.jpg", "y/a.jpg", "b.jpg"], "what is not looked into counts not"
    assert sorted(taken(y / "a.jpg", x)) == sorted(taken(x, y / "a.jpg")) == ["x/a.jpg", "y/a.jpg"]
    assert taken(y / "b.jpg", x / "a.jpg") == ["b.jpg", "a.jpg"]
    assert taken(tmp_path / "p" / "in", tmp_path / "q" / "in") == ["p/in/a.jpg", "q/in/a.jpg"]


def test_results_of_this_and_of_earlier_runs_are_no_inputs(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "out/restored_imgs/a.jpg", "out/mine/b.jpg", "old/restored_imgs/c.jpg", "old/cmp/c.png")
    own = (tmp_path / "out" / "restored_imgs",)
    Records(tmp_path / "old").append(Row(input=FileState("/c.jpg", 1, 1), status="restored"))
    assert taken(tmp_path, recursive=True, own=own) == ["a.jpg", "out/mine/b.jpg"]
    reasons = [(one.path.name, one.reason) for one in left_out(tmp_path, recursive=True, own=own)]
    assert ("cmp", "results of an earlier run") in reasons
    assert taken(tmp_path / "old" / "restored_imgs") == ["c.jpg"], "what is named on purpose is taken"
    (one,) = left_out(tmp_path / "out" / "restored_imgs" / "a.jpg", own=own)
    assert one.is_problem and "choose another output" in one.reason


def test_paths_that_give_nothing_are_problems(tmp_path: Path) -> None:
    touch(tmp_path, "empty/n.txt")
    missing, empty = tmp_path / "missing.jpg", tmp_path / "empty"
    found = left_out(missing, empty, Path("a\0b"))
    problems = [(one.path, one.reason) for one in found if one.is_problem]
    assert problems[0] == (missing, "does not exist; check the path")
    assert problems[1][0] == empty and "--recursive" in problems[1][1] and ".jpg" in problems[1][1]
    assert "cannot be read" in problems[2][1]


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_cannot_be_listed_is_named(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "closed/b.jpg")
    (tmp_path / "closed").chmod(0)
    try:
        found = left_out(tmp_path, recursive=True)
    finally:
        (tmp_path / "closed").chmod(0o755)
    assert [one.path.name for one in found if one.is_problem] == ["closed"]


def test_of_a_large_folder_only_a_part_is_held_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"{i:04d}{'x' * 100}.jpg" for i in range(1000)]
    for name in names:
        os.close(os.open(tmp_path / name, os.O_CREAT))
    peaks = []
    for at_once in (50, 1000):
        monkeypatch.setattr(module, "_AT_ONCE", at_once)
        expected = iter(names)
        tracemalloc.start()
        assert all(
            isinstance(one, InputFile) and one.name.name == next(expected) for one in Inputs([tmp_path], SUFFIXES)
        )
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert next(expected, None) is None
    assert peaks[0] < peaks[1] / 3


def test_the_time_for_a_name_does_not_grow_with_the_number_of_names(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{i}.jpg" for i in range(1000)))
    calls = 0

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1

    sys.setprofile(count)
    try:
        assert len(taken(tmp_path)) == 1000
    finally:
        sys.setprofile(None)
    assert calls < 1000 * 300


# -- films -----------------------------------------------------------------------------------------------------------


def kinds(*paths: Path, problem: str | None = None) -> list[tuple[str, str]]:
    """Name and kind of what is found."""
    return [
        (one.path.name, f"left out{': problem' * one.is_problem}")
        if isinstance(one, LeftOut)
        else (one.name.as_posix(), "film" if one.is_film else "picture")
        for one in Inputs(paths, SUFFIXES, films=FILMS, film_problem=problem)
    ]


def test_films_of_a_folder_are_found_by_their_suffix(tmp_path: Path) -> None:
    touch(tmp_path, "a.MP4", "b.jpg", "c.webm", "d.mp4.txt")
    assert kinds(tmp_path) == [
        ("a.MP4", "film"),
        ("b.jpg", "picture"),
        ("c.webm", "left out"),
        ("d.mp4.txt", "left out"),
    ]
    assert taken(tmp_path) == ["b.jpg"], "no films where none are asked for"


def test_a_suffix_of_films_and_programs_needs_the_content_of_a_film(tmp_path: Path) -> None:
    touch(tmp_path, "program.ts")
    (tmp_path / "film.ts").write_bytes(PACKETS)
    os.mkfifo(tmp_path / "pipe.ts")
    program = tmp_path / "program.ts"
    found = [("film.ts", "film"), ("pipe.ts", "left out"), ("program.ts", "left out")]
    assert kinds(tmp_path) == found
    assert kinds(program, tmp_path) == [("program.ts", "film"), *found], "a file that is named is never passed over"


def test_the_content_of_a_named_file_of_unknown_suffix_decides(tmp_path: Path) -> None:
    for name in ("film", "film.bak", "film.jpg"):
        (tmp_path / name).write_bytes(PACKETS)
    touch(tmp_path, "odd.bak")
    names = ("film", "film.bak", "film.jpg", "odd.bak")
    found = dict(kinds(*(tmp_path / name for name in names)))
    assert found == {"film": "film", "film.bak": "film", "film.jpg": "picture", "odd.bak": "picture"}
    assert dict(kinds(tmp_path))["film.bak"] == "left out", "of folders suffixes alone decide"


def test_where_films_cannot_be_read_those_that_are_named_are_problems(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4", "b.jpg")
    film = tmp_path / "a.mp4"
    assert kinds(tmp_path, problem="no") == [("a.mp4", "left out"), ("b.jpg", "picture")]
    for paths in ((film, tmp_path), (tmp_path, film)):
        assert ("a.mp4", "left out: problem") in kinds(*paths, problem="no")
    assert kinds(film, tmp_path) == [("a.mp4", "film"), ("b.jpg", "picture")], "taken once"


@pytest.mark.parametrize(
    "begin",
    [
        b"\0\0\0\x20ftypisom",
        b"\0\0\0\x14ftypqt  ",
        b"\0\0\0\x08wide\0\0\0\0mdat",
        b"\x1a\x45\xdf\xa3\x9fB\x86\x81\x01",
        b"RIFF\0\0\0\0AVI LIST",
        PACKETS,
        (bytes(4) + b"G" + bytes(187)) * 4,
        b"\0\0\x01\xba\x44",
        b"\0\0\x01\xb3\x14",
        b"0&\xb2u\x8ef\xcf\x11\xa6\xd9",
        b"FLV\x01\x05",
        b"OggS\0\x02",
        b"\x06\x0e\x2b\x34\x02\x05\x01\x01\x0d",
    ],
)
def test_films_by_their_first_bytes(tmp_path: Path, begin: bytes) -> None:
    (tmp_path / "file").write_bytes(begin)
    assert has_film(tmp_path / "file")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "AVIF", "JPEG2000"])
def test_pictures_are_no_films(tmp_path: Path, kind: str) -> None:
    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("Pillow was built without AVIF")
    Image.new("RGB", (64, 64), (71, 71, 71)).save(tmp_path / "file", kind)
    assert not has_film(tmp_path / "file")


@pytest.mark.parametrize(
    "begin", [b"", b"G", b"Good morning", b"\0\0\0\x18ftypheic", b"\0\0\0\x20ftypM4A ", b"RIFF\0\0\0\0WAVE"]
)
def test_other_files_are_no_films(tmp_path: Path, begin: bytes) -> None:
    (tmp_path / "file").write_bytes(begin)
    assert not has_film(tmp_path / "file")
    assert not any(map(has_film, (tmp_path, tmp_path / "missing", "a\0b")))
