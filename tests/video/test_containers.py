"""Types of files: which one a result has, and what is kept of the words in one."""

from pathlib import Path

import pytest

from memgan.video.containers import chosen_container, container_of, file_metadata, film_metadata
from memgan.video.options import VideoOptions

AUTO = VideoOptions()


@pytest.mark.parametrize(
    ("name", "options", "ending"),
    [
        *(("a.mp4", AUTO, ".mp4"), ("a.MOV", AUTO, ".mov"), ("a.m4v", AUTO, ".m4v"), ("a.m2ts", AUTO, ".m2ts")),
        *(("a.wmv", AUTO, ".mkv"), ("a.flv", AUTO, ".mkv"), ("a", AUTO, ".mkv"), ("a.webm", AUTO, ".webm")),
        ("a.mp4", VideoOptions(container="mkv"), ".mkv"),
        ("a.mkv", VideoOptions(container="mov"), ".mov"),
    ],
)
def test_endings(name: str, options: VideoOptions, ending: str) -> None:
    assert container_of(name, options).ending == container_of(Path("folder", name), options).ending == ending


def test_a_name_says_what_a_result_is() -> None:
    assert chosen_container(Path("a.mp4"), Path("b.mkv"), AUTO).muxer == "matroska"
    assert chosen_container(Path("a.mp4"), Path("b.mkv"), VideoOptions(container="mov")).muxer == "mov"
    assert chosen_container(Path("a.mp4"), Path("b.result"), AUTO).muxer == "mp4"


def test_words_of_a_file() -> None:
    mp4, mkv = container_of("a.mp4", AUTO), container_of("a.mkv", AUTO)
    given = {"major_brand": "isom", "ENCODER": "x", "COMMENT": "mine", "Location": "here", "creation_time": "2020"}
    kept = {"COMMENT": "mine\nours", "Location": "here", "creation_time": "2020"}
    assert file_metadata(given, {"comment": "ours"}, mkv) == kept
    assert file_metadata(given, {}, mp4) == {"comment": "mine", "Location": "here", "creation_time": "2020"}
    assert file_metadata({"comment": ""}, {"comment": "ours"}, mp4) == {"comment": "ours"}


def test_words_of_the_frames() -> None:
    mp4, mkv = container_of("a.mp4", AUTO), container_of("a.mkv", AUTO)
    given = {"language": "eng", "handler_name": "h", "name": "Main", "BPS-eng": "1", "NUMBER_OF_FRAMES": "2"}
    assert film_metadata(given, mp4) == {"language": "eng", "handler_name": "h", "title": "Main"}
    assert film_metadata(given, mkv) == {"language": "eng", "title": "Main"}
