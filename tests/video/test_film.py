"""Films of all kinds, whole and broken: which frames they give, when, and what is said of the rest."""

import subprocess
import sys
import wave
import weakref
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from clips import HLG, PQ, SDR, make_clip, picture, pictures
from PIL import Image

from memgan.errors import FilmError, MissingDependencyError
from memgan.video.film import Film, _display_matrix, open_film
from memgan.video.frame import Frame
from memgan.video.orientation import orientation_of
from memgan.video.pyav import load_av

av = pytest.importorskip("av")


def read(path: Path, *numbers: Any) -> tuple[Film, list[Frame]]:
    with open_film(path) as film:
        return film, list(film.frames(*numbers))


def seconds(frames: list[Frame]) -> list[Fraction]:
    return [frame.pts * frame.time_base for frame in frames]


def looks_like(frame: Frame, number: int, size: tuple[int, int] = (96, 64)) -> bool:
    """Whether a frame is the one of that number of ``pictures``, and not its neighbor."""
    rgb = frame.rgb()
    errors = [np.abs(rgb.astype(int) - picture(other, *size)).mean() for other in (number, number + 1)]
    return errors[0] < 12 and errors[0] < errors[1]


@pytest.mark.parametrize(
    ("codec", "ending"),
    [
        *(("h264", "mp4"), ("h264", "mkv"), ("hevc", "mp4"), ("hevc", "mov"), ("vp9", "webm"), ("av1", "mp4")),
        *(("ffv1", "mkv"), ("mpeg4", "avi"), ("mpeg2video", "ts")),
    ],
)
def test_every_frame_comes_in_order(tmp_path: Path, codec: str, ending: str) -> None:
    """Also with frames that are coded out of order."""
    film, frames = read(make_clip(tmp_path / f"film.{ending}", 12, codec=codec))
    assert [frame.index for frame in frames] == list(range(12))
    assert [time - seconds(frames)[0] for time in seconds(frames)] == [Fraction(number, 25) for number in range(12)]
    assert all(looks_like(frame, frame.index) for frame in frames)
    assert frames[0].is_key and not film.problems
    assert film.info.codec == codec and film.info.average_rate == 25 and film.info.time_base == frames[0].time_base
    assert (film.info.width, film.info.height, film.info.bits) == (96, 64, 8)
    assert film.info.num_frames_hint in (None, 12) and film.path == tmp_path / f"film.{ending}"


@pytest.mark.parametrize("ending", ["mp4", "mkv"])
@pytest.mark.parametrize("first", [0, 7])
def test_times_are_those_of_the_film(tmp_path: Path, ending: str, first: int) -> None:
    """Variable rates, and films that begin late."""
    times = [first + time for time in (0, 1, 2, 5, 6, 9, 10, 11, 15, 16, 17, 30)]
    _, frames = read(make_clip(tmp_path / f"film.{ending}", 12, pts=times, time_base=Fraction(1, 50)))
    assert seconds(frames) == [Fraction(time, 50) for time in times]
    with av.open(str(tmp_path / f"film.{ending}")) as container:
        assert [(frame.pts, frame.duration) for frame in container.decode(video=0)] == [
            (frame.pts, frame.duration) for frame in frames
        ]
    assert all(frame.av_frame.pts == frame.pts and frame.av_frame.time_base == frame.time_base for frame in frames)


def test_edit_lists_are_followed(tmp_path: Path) -> None:
    """A film whose first five frames a player decodes, and does not show."""
    path = make_clip(tmp_path / "film.mp4", 12)
    data = bytearray(path.read_bytes())
    start = data.index(b"elst")
    entry = start + 12  # of one edit: duration, first time of the media, rate
    time_scale = 12800
    first = int.from_bytes(data[entry + 4 : entry + 8], "big")
    data[entry + 4 : entry + 8] = (first + 5 * time_scale // 25).to_bytes(4, "big")
    path.write_bytes(data)
    film, frames = read(path)
    assert len(frames) == 7 and seconds(frames)[0] == 0 and looks_like(frames[0], 5)
    assert not film.problems


@pytest.mark.parametrize(("start", "stop"), [(0, 3), (4, 9), (5, None), (11, 20), (12, None)])
def test_a_range_of_frames(tmp_path: Path, start: int, stop: int | None) -> None:
    path = make_clip(tmp_path / "film.mp4", 12)
    _, whole = read(path)
    film, part = read(path, start, stop)
    assert [frame.index for frame in part] == list(range(start, min(stop or 12, 12)))
    for frame in part:
        assert frame.pts == whole[frame.index].pts and np.array_equal(frame.rgb(), whole[frame.index].rgb())
    assert not film.problems


def test_frames_can_be_read_again_and_at_the_same_time(tmp_path: Path) -> None:
    with open_film(make_clip(tmp_path / "film.mp4", 6)) as film:
        pairs = list(zip(film.frames(), film.frames()))
        assert len(pairs) == 6 and all(first.pts == second.pts for first, second in pairs)
        rest = film.frames()
        next(rest)
    assert list(rest) == [], "it is closed with the film"


def test_frames_are_not_kept(tmp_path: Path) -> None:
    """However long the film is, only the one that is looked at is alive, and the one before."""
    with open_film(make_clip(tmp_path / "film.mkv", 100, codec="mpeg4", size=(32, 32))) as film:
        alive: weakref.WeakSet[Frame] = weakref.WeakSet()
        for frame in film.frames():
            alive.add(frame)
            assert len(alive) <= 2
    assert frame.index == 99


def test_tags_of_an_hlg_film(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "film.mov", 3, codec="hevc", pix_fmt="yuv420p10le", colors=HLG, rotation=90)
    film, frames = read(path)
    info = film.info
    assert (info.pixel_format, info.bits, frames[0].bits) == ("yuv420p10le", 10, 10)
    assert (info.range, info.matrix, info.primaries, info.transfer) == (1, 9, 9, 18)
    assert info.is_hdr and info.chroma_location == "left"
    assert (info.width, info.height, info.rotation) == (64, 96, 90)
    assert info.display_matrix == (0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30)
    assert frames[0].rgb().dtype == np.uint16


@pytest.mark.parametrize("degrees", [0, 90, -90, 180])
def test_rotation_beside_side_data_that_pyav_does_not_know(degrees: int) -> None:
    class Odd:
        rotation = degrees  # counterclockwise

        @property
        def side_data(self) -> None:
            raise ValueError("99 is not a valid Type")

    assert orientation_of(_display_matrix(Odd())).rotation == -degrees % 360


@pytest.mark.parametrize("site", ["left", "center", "topleft", "top", "bottomleft", "bottom"])
def test_chroma_location(tmp_path: Path, site: str) -> None:
    options = {"chroma_sample_location": site}
    film, _ = read(make_clip(tmp_path / "film.mp4", 1, pix_fmt="yuv420p10le", colors=PQ, options=options))
    assert film.info.chroma_location == site


def test_pixels_that_are_not_square(tmp_path: Path) -> None:
    film, _ = read(make_clip(tmp_path / "film.mp4", 2, aspect=Fraction(4, 3), colors=SDR))
    assert film.info.sample_aspect_ratio == Fraction(4, 3) and not film.info.is_hdr
    assert (film.info.width, film.info.height) == (96, 64)


@pytest.mark.parametrize(("codec", "pixel_format"), [("ffv1", "yuv420p"), ("h264", "yuv444p"), ("ffv1", "yuv422p10le")])
def test_odd_sizes(tmp_path: Path, codec: str, pixel_format: str) -> None:
    film, frames = read(make_clip(tmp_path / "film.mkv", 2, codec=codec, pix_fmt=pixel_format, size=(51, 37)))
    assert (film.info.width, film.info.height) == (51, 37) and frames[0].rgb().shape == (37, 51, 3)


def test_one_frame(tmp_path: Path) -> None:
    film, frames = read(make_clip(tmp_path / "film.mp4", 1))
    assert len(frames) == 1 and frames[0].duration and not film.problems


def test_other_tracks_do_not_matter(tmp_path: Path) -> None:
    files = [("font.ttf", "application/x-truetype-font", b"font")]
    path = make_clip(tmp_path / "film.mkv", 5, audio=2, subtitles=2, chapters=2, attachments=files)
    film, frames = read(path)
    assert len(frames) == 5 and not film.problems and not film.notes


def test_a_cover_picture_is_not_the_film(tmp_path: Path) -> None:
    film, frames = read(make_clip(tmp_path / "film.mp4", 5, cover=True))
    assert len(frames) == 5 and film.info.codec == "h264" and not film.problems


def test_a_second_video_track_is_named(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "one.mkv", 3)
    with av.open(str(source)) as film, av.open(str(tmp_path / "two.mkv"), "w") as output:
        streams = [output.add_stream_from_template(film.streams.video[0]) for _ in range(2)]
        for packet in film.demux(video=0):
            if packet.size:
                for stream in streams:
                    packet.stream = stream
                    output.mux(packet)
    film, frames = read(tmp_path / "two.mkv")
    assert len(frames) == 3 and film.notes == ["the film has 2 video tracks; only the first is restored"]


def test_titles_that_are_not_utf8(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "film.mkv", 2, metadata={"title": "Caf@"})
    path.write_bytes(path.read_bytes().replace(b"Caf@", b"Caf\xe9"))
    assert len(read(path)[1]) == 2


def test_names_that_look_like_addresses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_clip(tmp_path / "film.mp4", 2).rename(tmp_path / "http:film 100%.mp4")
    monkeypatch.chdir(tmp_path)
    assert len(read(Path("http:film 100%.mp4"))[1]) == 2


def interlaced(path: Path) -> Path:
    return make_clip(path, 6, codec="mpeg2video", options={"flags": "+ildct+ilme", "bf": "0"})


def test_an_interlaced_film_is_named(tmp_path: Path) -> None:
    film, frames = read(interlaced(tmp_path / "film.mpg"))
    assert len(frames) == 6
    assert film.notes == ["the film is interlaced; its frames are restored as they are, with both fields"]


def test_frames_without_times_follow_evenly(tmp_path: Path) -> None:
    film, frames = read(make_clip(tmp_path / "film.h264", 8, container="h264"))
    assert seconds(frames) == [Fraction(number, 25) for number in range(8)]
    assert film.notes == ["8 frames are without a time of their own; they follow evenly"]


def test_frames_of_another_size_are_scaled(tmp_path: Path) -> None:
    first = make_clip(tmp_path / "first.ts", 4).read_bytes()
    second = make_clip(tmp_path / "second.ts", 4, size=(192, 128), pts=[4, 5, 6, 7]).read_bytes()
    (tmp_path / "both.ts").write_bytes(first + second)
    film, frames = read(tmp_path / "both.ts")
    assert len(frames) == 8 and all(frame.rgb().shape == (64, 96, 3) for frame in frames)
    assert "4 frames are of another size and scaled to 96×64" in film.notes
    assert (np.diff([frame.pts for frame in frames]) > 0).all()


@pytest.mark.parametrize("ending", ["mp4", "mkv", "avi"])
def test_what_is_there_of_a_truncated_film_is_read(tmp_path: Path, ending: str) -> None:
    options = {"container_options": {"movflags": "faststart"}} if ending == "mp4" else {}
    path = make_clip(tmp_path / f"film.{ending}", 60, codec="mpeg4" if ending == "avi" else "h264", **options)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    film, frames = read(path)
    assert 5 < len(frames) < 50 and all(looks_like(frame, frame.index) for frame in frames[:5])
    assert film.problems[-1].startswith("the film breaks off after ")
    assert read(path, 0, 3)[0].problems == [], "nobody has looked at its end"


def test_a_frame_that_is_cut_off_takes_none_along(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "film.mp4", 20, container_options={"movflags": "faststart"})
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        last = max(packet.pos + packet.size for packet in packets)
        shown = [packet.pts * packet.time_base for packet in packets if packet.pos + packet.size < last]
    path.write_bytes(path.read_bytes()[: last - 20])
    film, frames = read(path)
    assert seconds(frames) == sorted(shown) and len(shown) == 19
    assert film.problems[0] == "1 frame is unreadable and left out"


def test_broken_packets_are_left_out_and_counted(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "film.mkv", 40, codec="ffv1")
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        broken = [bytes(packets[number]) for number in (11, 20, 21)]
    data = path.read_bytes()
    for packet in broken:
        assert data.count(packet) == 1
        data = data.replace(packet, packet[:20] + bytes(byte ^ 0x5A for byte in packet[20:]))
    path.write_bytes(data)
    film, frames = read(path)
    kept = [number for number in range(40) if number not in (11, 20, 21)]
    assert seconds(frames) == [Fraction(number, 25) for number in kept]
    assert film.problems == ["3 frames are unreadable and left out"]
    list(film.frames())
    assert len(film.problems) == 1, "said once, however often the film is read"


def test_damaged_frames_are_counted(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "film.mp4", pictures(40), options={"g": "10"})
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 200] = bytes(byte ^ 0x5A for byte in data[middle : middle + 200])
    path.write_bytes(data)
    film, frames = read(path)
    assert 20 < len(frames) <= 40
    assert any(problem.endswith(("are restored", "is restored", "left out")) for problem in film.problems)


def test_without_an_index_the_remedy_is_named(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "film.mp4", 30)
    path.write_bytes(path.read_bytes()[:-1500])
    with pytest.raises(FilmError, match=r"film\.mp4 has no index \(moov\).*repair it"):
        open_film(path)


@pytest.mark.parametrize("kind", [".png", ".jpg", ".webp", ".bmp", ".tiff", ".gif", ".avif"])
def test_a_picture_called_mp4(tmp_path: Path, kind: str) -> None:
    Image.fromarray(picture(0, 64, 48)).save(tmp_path / f"picture{kind}")
    (tmp_path / f"picture{kind}").rename(tmp_path / "film.mp4")
    with pytest.raises(FilmError, match=r"film\.mp4 is a picture, whatever its name says"):
        open_film(tmp_path / "film.mp4")


def write_sound(path: Path) -> None:
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(bytes(8000))


def write_list(path: Path) -> None:
    make_clip(path.parent / "other.mkv", 2)
    path.write_text("ffconcat version 1.0\nfile other.mkv\n")


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: None, "does not exist"),
        (lambda path: path.mkdir(), "is a folder"),
        (lambda path: path.write_bytes(b""), "is empty"),
        (lambda path: path.write_bytes(b"no film " * 200), "is no film that FFmpeg can read"),
        (lambda path: make_clip(path, 0), "has no video track"),
        (lambda path: make_clip(path, 0, container="matroska", audio=1), "cannot be restored: it has no frames"),
        (write_sound, "has no video track: it has audio only"),
        (write_list, "is a list of films or a playlist"),
    ],
    ids=["missing", "folder", "empty", "text", "zero-mp4", "zero-mkv", "sound", "list"],
)
def test_what_is_no_film(tmp_path: Path, write: Any, message: str) -> None:
    write(tmp_path / "film.mp4")
    with pytest.raises(FilmError, match=message) as caught:
        open_film(tmp_path / "film.mp4")
    assert "film.mp4" in str(caught.value) and "give" in str(caught.value)


def test_encrypted_films_are_refused(tmp_path: Path) -> None:
    key = "00112233445566778899aabbccddeeff"
    options = {"encryption_scheme": "cenc-aes-ctr", "encryption_key": key, "encryption_kid": key}
    with pytest.raises(FilmError, match="is encrypted"):
        open_film(make_clip(tmp_path / "film.mp4", 5, container_options=options))


def test_colors_that_cannot_be_converted_are_refused(tmp_path: Path) -> None:
    ictcp = {"range": 1, "matrix": 14, "primaries": 9, "transfer": 16}
    with pytest.raises(FilmError, match=r"matrix 14.*out_color_matrix=bt709"):
        open_film(make_clip(tmp_path / "film.mkv", 1, codec="hevc", pix_fmt="yuv420p10le", colors=ictcp))


def test_without_pyav_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'memgan\[video\]'"):
        load_av()
    monkeypatch.undo()
    monkeypatch.setattr(av, "__version__", "16.0.1")
    with pytest.raises(MissingDependencyError, match=r"17\.1 or later; 16\.0\.1 is installed"):
        load_av()


def test_ffmpeg_never_waits_for_python_to_take_its_messages() -> None:
    """Freeing an encoder whose threads have something to say would never end; torchvision switches messages on."""
    av.logging.set_level(av.logging.ERROR)
    assert load_av().logging.get_level() is None


def test_ffprobe_agrees(tmp_path: Path) -> None:
    """Another program counts the same frames at the same times."""
    path = make_clip(tmp_path / "film.mkv", 12, codec="hevc", pts=[3, 4, 5, 9, 10, 11, 20, 21, 22, 23, 24, 40])
    command = ["ffprobe", "-v", "error", "-select_streams", "v", "-show_entries", "frame=pts", "-of", "csv=p=0", path]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except FileNotFoundError:
        pytest.skip("ffprobe is not installed")
    assert [int(line.strip(",")) for line in done.stdout.split()] == [frame.pts for frame in read(path)[1]]
