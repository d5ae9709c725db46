"""Films that are written: times, tracks, tags and samples against those of the input, and runs that are broken off."""

import hashlib
import json
import shutil
import struct
import subprocess
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from clips import HLG, PQ, SDR, make_clip, pictures

from memgan.errors import ConfigError, FilmError, OutputError
from memgan.video import writer as writer_module
from memgan.video.encoders import Look
from memgan.video.film import open_film
from memgan.video.options import VideoOptions
from memgan.video.plan import FirstFrame, Plan
from memgan.video.planes import layout_of
from memgan.video.pyav import fraction
from memgan.video.writer import FilmWriter, check_output

av = pytest.importorskip("av")

AUTO = VideoOptions()
FAST = VideoOptions(preset="ultrafast")
LOSSLESS = VideoOptions(crf=0, preset="ultrafast")
UNEVEN = (1000, 1500, 3700, 4000, 5300, 9000, 9100, 9150, 12000, 13000, 13500, 14000)
"""Times of frames of a variable rate that do not begin at zero, in units of ..."""
UNIT = Fraction(1, 12800)


def write(
    source: Path, target: Path, options: VideoOptions = AUTO, *, frames: int | None = None, **details: Any
) -> tuple[int, list[str], list[str]]:
    """Write all frames of a film, or the first of them without an end as a run that is killed.

    Returns:
        How many had been written before, the notes, and the problems.
    """
    with open_film(source) as film, FilmWriter(film, target, options, **details) as writer:
        found = 0
        for number, frame in enumerate(film.frames(details.get("start", 0), details.get("stop"))):
            if number == frames:
                return found, writer.notes, []
            found += writer.next_is_written
            writer.write(frame)
        return found, writer.notes, writer.finish()


class Timed(NamedTuple):
    pts: Fraction | None
    dts: Fraction | None
    duration: Fraction
    digest: str


def packets(path: Path) -> dict[int, list[Timed]]:
    """Of each track: times in seconds, and digests, by pts."""
    found: dict[int, list[Timed]] = {}
    with av.open(str(path)) as source:
        for packet in source.demux():
            if packet.dts is None and not packet.size:
                continue
            unit = fraction(packet.time_base)
            times = (None if time is None else time * unit for time in (packet.pts, packet.dts))
            digest = hashlib.md5(bytes(packet)).hexdigest()
            found.setdefault(packet.stream_index, []).append(Timed(*times, (packet.duration or 0) * unit, digest))
    return {index: sorted(each, key=lambda packet: packet.pts or 0) for index, each in found.items()}


def film_times(path: Path) -> list[Fraction]:
    """Times of the frames, in seconds."""
    with open_film(path) as film:
        return [frame.pts * frame.time_base for frame in film.frames()]


def samples(path: Path) -> list[str]:
    """A digest of each frame's samples."""
    with open_film(path) as film:
        return [hashlib.md5(_samples(frame.av_frame)).hexdigest() for frame in film.frames()]


def _samples(frame: Any) -> bytes:
    """All samples, of transparency too, without what fills the rows."""
    kind = np.uint8 if frame.format.components[0].bits <= 8 else np.uint16
    planes = [np.frombuffer(plane, kind).reshape(plane.height, -1)[:, : plane.width] for plane in frame.planes]
    return b"".join(plane.tobytes() for plane in planes)


def others(path: Path) -> list[list[Timed]]:
    """The packets of what is no video, by track."""
    with av.open(str(path)) as source:
        kinds = [stream.type for stream in source.streams]
    return [each for index, each in sorted(packets(path).items()) if kinds[index] in ("audio", "subtitle")]


def probed(path: Path) -> list[Mapping[str, Any]]:
    """The tracks as ffprobe shows them."""
    if shutil.which("ffprobe") is None:
        pytest.skip("ffprobe is not installed")
    command = ["ffprobe", "-v", "error", "-show_streams", "-show_chapters", "-of", "json", str(path)]
    shown: list[Mapping[str, Any]] = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)[
        "streams"
    ]
    return shown


TAGS = (
    *("codec_name", "width", "height", "pix_fmt", "color_range", "color_space", "color_transfer", "color_primaries"),
    *("chroma_location", "sample_aspect_ratio", "display_aspect_ratio", "time_base", "start_time", "disposition"),
    *("duration", "nb_frames", "side_data_list", "codec_type", "sample_rate", "channels"),
)


def tags(path: Path, names: Sequence[str] = TAGS) -> list[dict[str, Any]]:
    return [{name: stream.get(name) for name in names} for stream in probed(path)]


@pytest.mark.parametrize(
    ("ending", "codec", "pix_fmt", "colors"),
    [
        ("mp4", "h264", "yuv420p", SDR),
        ("mp4", "hevc", "yuv420p10le", HLG),
        ("mp4", "av1", "yuv420p", SDR),
        ("mov", "h264", "yuv422p", SDR),
        ("mov", "hevc", "yuv420p", {}),
        ("mkv", "h264", "yuv420p10le", PQ),
        ("mkv", "ffv1", "yuv422p10le", HLG),
        ("mkv", "av1", "yuv420p10le", PQ),
        ("webm", "vp9", "yuv420p", SDR),
    ],
)
@pytest.mark.parametrize("pts", [None, UNEVEN], ids=["steady", "uneven"])
def test_times_and_tags_are_those_of_the_input(
    tmp_path: Path, ending: str, codec: str, pix_fmt: str, colors: Mapping[str, int], pts: Sequence[int] | None
) -> None:
    source = make_clip(
        tmp_path / f"in.{ending}",
        codec=codec,
        pix_fmt=pix_fmt,
        pts=pts,
        time_base=UNIT if pts else None,
        rotation=90 if ending != "webm" else 0,
        aspect=Fraction(4, 3),
        colors=colors,
    )
    target = tmp_path / f"out.{ending}"
    assert write(source, target) == (0, [], [])
    assert film_times(target) == film_times(source) and len(film_times(target)) == 12
    assert tags(target) == tags(source)


@pytest.mark.parametrize(("ending", "codec"), [("avi", "mpeg4"), ("ts", "mpeg2video"), ("ts", "h264"), ("m4v", "h264")])
def test_other_containers(tmp_path: Path, ending: str, codec: str) -> None:
    options = {"bf": "0"} if ending == "avi" else {}  # it cannot say when frames out of order are shown
    audio_codec = "aac" if ending == "m4v" else "mp2"
    source = make_clip(tmp_path / f"in.{ending}", codec=codec, options=options, audio=1, audio_codec=audio_codec)
    target = tmp_path / f"out.{ending}"
    assert write(source, target) == (0, [], [])
    assert film_times(target) == film_times(source) and len(film_times(target)) == 12
    assert others(target) == others(source) and len(others(target)) == 1


def test_avi_counts_frames_from_the_first_one_on(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "in.mp4", codec="mpeg4", audio=1, pts=range(100, 112), time_base=Fraction(1, 25))
    target = tmp_path / "out.avi"
    assert write(source, target)[0] == 0
    assert film_times(target) == [Fraction(number, 25) for number in range(12)]
    with av.open(str(target)) as result:
        assert result.streams.video[0].average_rate == 25


def test_avi_refuses_uneven_frames_at_the_first_one(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "in.mp4", pts=UNEVEN, time_base=UNIT)
    with pytest.raises(FilmError, match=r"does not show its frames evenly \(frame 1\).*--container mkv"):
        write(source, tmp_path / "out.avi")
    assert not (tmp_path / "out.avi").exists()


def test_the_remedy_for_a_codec_is_not_the_container_that_refused_it(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "in.avi", codec="wmv2", container="avi")
    with pytest.raises(FilmError, match=r"'wmv2' codec\); choose another --video-codec, such as h264\.$"):
        write(source, tmp_path / "out.mkv")


@pytest.mark.parametrize(
    ("ending", "options"),
    [
        ("mkv", VideoOptions(codec="ffv1")),
        ("mkv", VideoOptions(encoder="libvpx-vp9", crf=60)),
        ("mkv", FAST),
        ("webm", VideoOptions(encoder="libvpx-vp9", crf=60)),
    ],
)
def test_matroska_tells_the_shape_of_pixels(tmp_path: Path, ending: str, options: VideoOptions) -> None:
    source = make_clip(tmp_path / "in.mp4", size=(88, 66), aspect=Fraction(16, 11), colors=PQ)
    target = tmp_path / f"out.{ending}"
    write(source, target, options)
    with av.open(str(target)) as result:
        stream = result.streams.video[0]
        assert fraction(stream.sample_aspect_ratio) == Fraction(16, 11)
        result.seek(200_000)
        assert next(result.decode(stream)).width == 88
    assert film_times(target) == film_times(source) and len(film_times(target)) == 12
    again = tmp_path / f"again.{ending}"
    write(source, again, options)
    assert again.read_bytes() == target.read_bytes()


def test_sound_that_no_file_takes_is_not_left_out(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "my film.wmv", audio=1, audio_codec="adpcm_ms", container="avi")
    with (
        open_film(source) as film,
        pytest.raises(FilmError, match=r"\(audio, adpcm_ms\) does not go into .*-i 'my film.wmv'"),
    ):
        check_output(film, tmp_path / "out.mkv", AUTO)


def test_transparency_that_the_decoder_does_not_read_is_not_promised(tmp_path: Path) -> None:
    plain, source, target = make_clip(tmp_path / "a.webm", codec="vp9"), tmp_path / "in.webm", tmp_path / "out.webm"
    with av.open(str(plain)) as film, av.open(str(source), "w") as output:
        stream = output.add_stream_from_template(film.streams.video[0])
        stream.metadata["alpha_mode"] = "1"
        for packet in film.demux(video=0):
            if packet.size:
                packet.stream = stream
                output.mux(packet)
    notes = write(source, target, VideoOptions(crf=60))[1]
    assert notes == ["transparency is left out: the decoder of vp9 does not read it."]
    with av.open(str(target)) as result:
        assert "alpha_mode" not in {key.lower() for key in result.streams.video[0].metadata}


def test_tracks_of_matroska_are_copied(tmp_path: Path) -> None:
    files = [("a.ttf", "font/ttf", bytes(range(256))), ("b.txt", "text/plain", b"hello")]
    source = make_clip(
        tmp_path / "in.mkv",
        audio=2,
        subtitles=2,
        chapters=2,
        attachments=files,
        metadata={"title": "A film", "FOO": "bar"},
    )
    target = tmp_path / "out.mkv"
    write(source, target, metadata={"comment": "restored"})
    assert others(target) == others(source) and [len(track) > 0 for track in others(target)] == [True] * 4
    with av.open(str(source)) as before, av.open(str(target)) as after:
        assert after.chapters() == before.chapters() and len(after.chapters()) == 2
        for one, other in zip(before.streams, after.streams, strict=True):
            assert (other.type, other.disposition) == (one.type, one.disposition)
            known = {key: value for key, value in one.metadata.items() if key != "DURATION"}
            assert known.items() <= other.metadata.items()
        assert [(stream.name, stream.mimetype, stream.data) for stream in after.streams.attachments] == files
        kept = {key.lower(): value for key, value in after.metadata.items()}
        assert (kept["title"], kept["foo"], kept["comment"]) == ("A film", "bar", "restored")


@pytest.mark.parametrize("ending", ["mp4", "mov"])
def test_tracks_of_mp4_are_copied(tmp_path: Path, ending: str) -> None:
    notes = {"title": "A film", "comment": "mine"}
    cover = ending == "mp4"
    source = make_clip(
        tmp_path / f"in.{ending}",
        audio=2,
        subtitles=1,
        chapters=2,
        cover=cover,
        metadata=notes,
        pts=UNEVEN,
        time_base=UNIT,
    )
    target = tmp_path / f"out.{ending}"
    assert write(source, target, metadata={"comment": "restored"}) == (0, [], [])
    assert others(target) == others(source) and len(others(target)) == 3
    with av.open(str(source)) as before, av.open(str(target)) as after:
        for one, other in zip(before.streams, after.streams, strict=True):
            assert (other.type, other.disposition, other.metadata) == (one.type, one.disposition, one.metadata)
        titles = [
            [
                (
                    each["start"] * fraction(each["time_base"]),
                    each["end"] * fraction(each["time_base"]),
                    each["metadata"],
                )
                for each in chapters
            ]
            for chapters in (before.chapters(), after.chapters())
        ]
        assert titles[0] == titles[1] and len(titles[0]) == 2
        assert after.metadata["title"] == "A film" and after.metadata["comment"] == "mine\nrestored"
    if cover:
        with av.open(str(source)) as before, av.open(str(target)) as after:
            covers = [[bytes(p) for p in each.demux(each.streams.video[1]) if p.size] for each in (before, after)]
        assert covers[0] == covers[1] and len(covers[0]) == 1


def test_a_cover_goes_into_matroska(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "in.mp4", cover=True)
    write(source, tmp_path / "out.mkv", VideoOptions(container="mkv"))
    with av.open(str(source)) as before, av.open(str(tmp_path / "out.mkv")) as after:
        covers = [[bytes(p) for p in each.demux(each.streams.video[1]) if p.size] for each in (before, after)]
        assert after.streams.video[1].disposition == av.stream.Disposition.attached_pic
    assert covers[0] == covers[1] and len(covers[0]) == 1


def test_keys_of_phones_stay(tmp_path: Path) -> None:
    """MP4 keeps them in another place than titles and the like."""
    keys = {"com.apple.quicktime.make": "Phone", "location": "+48.1000+011.6000/"}
    source = make_clip(tmp_path / "in.mov", metadata=keys, container_options={"movflags": "use_metadata_tags"})
    write(source, tmp_path / "out.mov", metadata={"comment": "restored"})
    with av.open(str(tmp_path / "out.mov")) as after:
        assert {**keys, "comment": "restored"}.items() <= after.metadata.items()


@pytest.mark.parametrize(
    ("codec", "pix_fmt", "options"),
    [
        ("h264", "yuv420p", LOSSLESS),
        ("h264", "yuv420p10le", LOSSLESS),
        ("h264", "yuvj420p", LOSSLESS),
        ("hevc", "yuv420p10le", LOSSLESS),
        ("h264", "yuv444p", VideoOptions(codec="hevc", crf=0, preset="ultrafast")),
        ("h264", "yuv420p10le", VideoOptions(codec="ffv1", container="mkv")),
        ("av1", "yuv420p", VideoOptions(crf=0, preset="10")),
        ("vp9", "yuv420p", VideoOptions(crf=0)),
        ("ffv1", "gbrp10le", AUTO),
        ("ffv1", "yuva420p", AUTO),
        ("ffv1", "gray10le", AUTO),
    ],
)
def test_without_loss_frames_stay_bit_for_bit(tmp_path: Path, codec: str, pix_fmt: str, options: VideoOptions) -> None:
    ending = "mkv" if codec in ("ffv1", "vp9") else "mp4"
    source = make_clip(tmp_path / f"in.{ending}", pictures(5, (70, 50)), codec=codec, pix_fmt=pix_fmt)
    target = tmp_path / f"out.{'mkv' if options.container == 'mkv' else ending}"
    write(source, target, options)
    assert samples(target) == samples(source) and len(samples(target)) == 5


@pytest.mark.parametrize(("codec", "ending"), [("ffv1", "mkv"), ("vp9", "webm"), ("av1", "mp4"), ("mpeg4", "avi")])
def test_odd_sizes(tmp_path: Path, codec: str, ending: str) -> None:
    source = make_clip(tmp_path / f"in.{ending}", 3, codec=codec, size=(67, 51))
    write(source, tmp_path / f"out.{ending}")
    with open_film(tmp_path / f"out.{ending}") as film:
        assert (film.info.width, film.info.height) == (67, 51) and len(list(film.frames())) == 3
    with open_film(source) as film, pytest.raises(ConfigError, match=r"libx264 does not take frames of 67x51 .*ffv1"):
        check_output(film, tmp_path / "b.mp4", VideoOptions(codec="h264"))


def test_one_frame(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "in.mp4", 1)
    write(source, tmp_path / "out.mp4")
    assert film_times(tmp_path / "out.mp4") == [0] and tags(tmp_path / "out.mp4") == tags(source)


def test_upscaled(tmp_path: Path) -> None:
    """The size is the one that is shown: a film that lies on its side is coded the other way round."""
    source = make_clip(tmp_path / "in.mp4", 3, size=(96, 64), rotation=90)
    write(source, tmp_path / "out.mp4", FAST, size=(128, 192))
    with open_film(tmp_path / "out.mp4") as film:
        assert (film.info.width, film.info.height, film.info.rotation) == (128, 192, 90)
        assert (film.info.coded_width, film.info.coded_height) == (192, 128)
        assert len(list(film.frames())) == 3


MASTERING = "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50)"


@pytest.mark.parametrize("codec", ["hevc", "h264", "av1"])
def test_side_data_of_hdr(tmp_path: Path, codec: str) -> None:
    params = {"x265-params": f"log-level=none:pools=none:frame-threads=1:master-display={MASTERING}:max-cll=1000,400"}
    source = make_clip(tmp_path / "in.mp4", 3, codec="hevc", pix_fmt="yuv420p10le", colors=PQ, options=params)
    target = tmp_path / "out.mp4"
    write(source, target, VideoOptions(codec=codec))
    kinds = av.sidedata.sidedata.Type
    for kind in (kinds.MASTERING_DISPLAY_METADATA, kinds.CONTENT_LIGHT_LEVEL):
        told = []
        for path in (source, target):
            with open_film(path) as film:
                told.append([bytes(data) for data in next(iter(film.frames())).av_frame.side_data if data.type == kind])
        assert len(told[0]) == 1
        numbers = [_numbers(each[0]) for each in told]
        assert numbers[1] == pytest.approx(numbers[0], rel=0.02)  # AV1 has steps of its own


@pytest.mark.parametrize("ending", ["mp4", "mkv"])
@pytest.mark.parametrize("codec", ["hevc", "av1"])
def test_side_data_of_hdr_in_the_container(tmp_path: Path, codec: str, ending: str) -> None:
    source = make_clip(tmp_path / "in.mp4", 3, codec=codec, pix_fmt="yuv420p10le", colors=PQ)
    display = struct.pack(">I4s8H2I", 32, b"mdcv", *(13250, 34500, 7500, 3000, 34000, 16000, 15635, 16450), 10**7, 50)
    _insert(source, display + struct.pack(">I4s2H", 12, b"clli", 1000, 400))
    target = tmp_path / f"out.{ending}"
    write(source, target, VideoOptions(container=ending))
    (before,), (after,) = (
        [{each["side_data_type"]: each for each in stream["side_data_list"]} for stream in probed(path)]
        for path in (source, target)
    )
    assert set(after) == set(before) == {"Mastering display metadata", "Content light level metadata"}
    for kind, told in before.items():
        for name in set(told) - {"side_data_type"}:
            assert Fraction(after[kind][name]) == Fraction(told[name])


def _insert(film: Path, boxes: bytes) -> None:
    """Put boxes into the description of the first track of an MP4 whose index is at its end."""
    data = bytearray(film.read_bytes())
    low, high = 0, len(data)
    outer = []
    for kind, skipped in ((b"moov", 8), (b"trak", 8), (b"mdia", 8), (b"minf", 8), (b"stbl", 8), (b"stsd", 16)):
        while data[low + 4 : low + 8] != kind:
            low += int.from_bytes(data[low : low + 4], "big")
            assert low < high
        outer.append(low)
        low, high = low + skipped, low + int.from_bytes(data[low : low + 4], "big")
    end = low + int.from_bytes(data[low : low + 4], "big")
    for place in (*outer, low):
        size = int.from_bytes(data[place : place + 4], "big") + len(boxes)
        data[place : place + 4] = size.to_bytes(4, "big")
    data[end:end] = boxes
    film.write_bytes(data)


def test_side_data_that_a_codec_does_not_know_is_named(tmp_path: Path) -> None:
    params = {"x265-params": f"log-level=none:pools=none:frame-threads=1:master-display={MASTERING}"}
    source = make_clip(tmp_path / "in.mkv", 2, codec="hevc", pix_fmt="yuv420p10le", colors=PQ, options=params)
    _, notes, _ = write(source, tmp_path / "out.mkv", VideoOptions(codec="ffv1"))
    assert notes == ["the mastering display and the light levels are left out: ffv1 cannot write them."]
    _, notes, _ = write(tmp_path / "in.mkv", tmp_path / "out.mkv", VideoOptions(codec="av1"))
    assert notes == []


def _numbers(data: bytes) -> list[float]:
    """Ratios of a mastering display, or levels of light."""
    whole = [int.from_bytes(data[place : place + 4], "little") for place in range(0, len(data), 4)]
    if len(whole) < 22:
        return [float(number) for number in whole[:2]]
    return [above / below for above, below in zip(whole[:20:2], whole[1:20:2], strict=True)]


@pytest.mark.parametrize(
    ("ending", "codec"), [("mp4", "h264"), ("mkv", "hevc"), ("mkv", "av1"), ("mkv", "ffv1"), ("ts", "h264")]
)
def test_a_killed_run_goes_on_and_gives_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str, codec: str
) -> None:
    monkeypatch.setattr(writer_module, "FRAMES", 5)
    audio = {"audio": 1, "audio_codec": "mp2" if ending == "ts" else "aac"}
    source = make_clip(tmp_path / f"in.{ending}", pictures(12), codec=codec, pts=UNEVEN, time_base=UNIT, **audio)
    whole, broken = tmp_path / f"whole.{ending}", tmp_path / f"broken.{ending}"
    write(source, whole)
    for frames, done in ((3, 0), (7, 0), (11, 5), (None, 10)):
        assert not broken.exists()
        assert write(source, broken, frames=frames)[0] == done
    assert broken.read_bytes() == whole.read_bytes()
    assert film_times(whole) == film_times(source)
    assert {each.name for each in tmp_path.iterdir()} == {source.name, whole.name, broken.name}


def test_segments_of_another_way_are_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "FRAMES", 4)
    source, target = make_clip(tmp_path / "in.mp4"), tmp_path / "out.mp4"
    write(source, target, frames=9, key="a")
    assert write(source, target, frames=6, key="b")[0] == 0
    assert write(source, target, FAST, frames=6, key="a")[0] == 0
    assert write(source, target, frames=9, key="a")[0] == 8
    (segment,) = tmp_path.glob(".out.mp4.segments/*/00000004")
    if segment.exists():  # one that is cut off is not taken either
        segment.write_bytes(segment.read_bytes()[:-1])
    assert write(source, target, key="a")[0] == 4
    assert film_times(target) == film_times(source) and not list(tmp_path.glob(".*"))


def test_one_process_at_a_time(tmp_path: Path) -> None:
    source, target = make_clip(tmp_path / "in.mp4", 2), tmp_path / "out.mp4"
    refused = pytest.raises(OutputError, match="is being written by another process; wait")
    with open_film(source) as film, FilmWriter(film, target, AUTO), refused:
        FilmWriter(film, target, AUTO)
    assert not list(tmp_path.glob(".*"))
    write(source, target)


class _FullDisk:
    """A file that takes a number of bytes."""

    def __init__(self, file: Any, room: int) -> None:
        self._file, self._room = file, room

    def write(self, data: bytes) -> int:
        self._room -= len(data)
        if self._room < 0:
            raise OSError(28, "No space left on device")
        written: int = self._file.write(data)
        return written

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> "_FullDisk":
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()


@pytest.mark.parametrize("room", [0, 1000])
@pytest.mark.parametrize("what", ["segments", "writer"])
def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, room: int) -> None:
    """What is done stays, and nothing has the name of the result."""
    monkeypatch.setattr(writer_module, "FRAMES", 4)
    source, target = make_clip(tmp_path / "in.mp4", audio=1), tmp_path / "out.mp4"
    write(source, target, frames=5)
    with monkeypatch.context() as patch:

        def narrow(path: Any, mode: str = "r") -> Any:
            return _FullDisk(open(path, mode), room) if "w" in mode else open(path, mode)

        patch.setattr(f"memgan.video.{what}.open", narrow, raising=False)
        with pytest.raises(OutputError, match=r"out.mp4 cannot be written \(No space left on device\).*goes on"):
            write(source, target)
    assert not target.exists() and not list(tmp_path.glob(".*/*/*.part"))
    assert write(source, target)[0] == (12 if what == "writer" else 4)
    assert film_times(target) == film_times(source)


def test_an_old_result_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    source, target = make_clip(tmp_path / "in.mp4"), tmp_path / "out.mp4"
    target.write_bytes(b"old")
    write(source, target, frames=5)
    assert target.read_bytes() == b"old"
    write(source, target)
    assert film_times(target) == film_times(source)


def test_what_reads_back_otherwise_is_no_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = make_clip(tmp_path / "in.mp4"), tmp_path / "out.mp4"
    film_packets = FilmWriter._film_packets
    monkeypatch.setattr(FilmWriter, "_film_packets", lambda *given: list(film_packets(*given))[:-1])
    with pytest.raises(OutputError, match="fewer frames than were written"):
        write(source, target)
    assert not target.exists()


@pytest.mark.parametrize(
    ("ending", "options"),
    [("mkv", {}), ("ts", {}), ("mp4", {"movflags": "faststart"}), ("mp4", {"movflags": "frag_keyframe"})],
)
def test_a_film_that_breaks_off(tmp_path: Path, ending: str, options: Mapping[str, str]) -> None:
    """What is left of it is written, of all tracks."""
    codec = "mp2" if ending == "ts" else "aac"
    encoder = {"g": "5"}
    source = make_clip(
        tmp_path / f"in.{ending}", 30, options=encoder, audio=1, audio_codec=codec, container_options=options
    )
    data = source.read_bytes()
    source.write_bytes(data[: len(data) * 2 // 3])
    target = tmp_path / f"out.{ending}"
    write(source, target, FAST)
    assert film_times(target) == film_times(source) and 5 < len(film_times(target)) < 30
    (before,), (after,) = others(source), others(target)
    assert [packet.pts for packet in after] == [packet.pts for packet in before][: len(after)] and len(after) > 5


@pytest.mark.parametrize("ending", ["mp4", "mkv"])
def test_a_range_of_frames(tmp_path: Path, ending: str) -> None:
    """The first one is shown at zero, and the other tracks are cut to its time."""
    source = make_clip(tmp_path / f"in.{ending}", 50, audio=1, subtitles=1, chapters=4)
    target = tmp_path / f"out.{ending}"
    write(source, target, FAST, start=20, stop=45, cut=True)
    assert film_times(target) == [Fraction(number, 25) for number in range(25)]
    (before, _), (after, lines) = others(source), others(target)
    kept = [packet for packet in before if Fraction(20, 25) <= packet.pts < Fraction(45, 25)]
    assert [packet.digest for packet in after] == [packet.digest for packet in kept] and len(kept) > 40
    shifts = {packet.pts - other.pts for packet, other in zip(kept, after, strict=True)}
    assert max(shifts) - min(shifts) == 0 and abs(min(shifts) - Fraction(20, 25)) < Fraction(1, 1000)
    assert lines and all(0 <= line.pts < 1 for line in lines)
    with av.open(str(target)) as film:
        ends = [
            float(each[name] * fraction(each["time_base"])) for each in film.chapters() for name in ("start", "end")
        ]
    assert ends == pytest.approx([0, 0.2, 0.2, 0.7, 0.7, 1.0], abs=0.001)


def test_a_range_from_the_beginning_keeps_its_times(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "in.mp4", pts=UNEVEN, time_base=UNIT, audio=1)
    write(source, tmp_path / "out.mp4", stop=5, cut=True)
    assert film_times(tmp_path / "out.mp4") == film_times(source)[:5]
    (before,), (after,) = others(source), others(tmp_path / "out.mp4")
    assert [packet[:2] for packet in after] == [packet[:2] for packet in before[: len(after)]]
    assert 0 < len(after) < len(before)


@pytest.mark.parametrize(
    ("ending", "details", "options", "message"),
    [
        (
            "mkv",
            {"subtitles": 1},
            VideoOptions(container="mp4"),
            r"track 1 \(subtitle, .*\) does not go .*--container mkv",
        ),
        ("mkv", {"audio": 1}, VideoOptions(container="webm", codec="av1"), r"track 1 \(audio, aac\).*--container mkv"),
        (
            "mkv",
            {"attachments": [("a.ttf", "font/ttf", b"x")]},
            VideoOptions(container="mp4"),
            r"attachment.*--container mkv",
        ),
        ("mp4", {"subtitles": 1}, VideoOptions(container="mkv"), r"subtitle.*leave --container out.*\.mp4"),
        ("mp4", {}, VideoOptions(container="webm"), r"do not go together into a file of the type .webm"),
    ],
)
def test_what_a_container_does_not_hold_is_refused(
    tmp_path: Path, ending: str, details: Mapping[str, Any], options: VideoOptions, message: str
) -> None:
    source = make_clip(tmp_path / f"in.{ending}", 2, **details)
    with open_film(source) as film, pytest.raises(FilmError, match=message):
        check_output(film, tmp_path / f"out.{options.container}", options)
    assert [each.name for each in tmp_path.iterdir()] == [source.name]


def test_tracks_that_nothing_holds_are_named(tmp_path: Path) -> None:
    """Rounded times too."""
    source = make_clip(tmp_path / "in.mp4", 2, pts=[0, 7], time_base=UNIT)
    with open_film(source) as film:
        (note,) = check_output(film, tmp_path / "out.mkv", VideoOptions(container="mkv"))
    assert note == "times are rounded to 1/1000 s, as files of the type .mkv have them."
    write(source, tmp_path / "out.mkv", VideoOptions(container="mkv"))
    assert film_times(tmp_path / "out.mkv") == [0, Fraction(1, 1000)]


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "in.mp4", 2)
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "file").write_text("")
    with open_film(source) as film:
        with pytest.raises(OutputError, match="is the film itself"):
            check_output(film, source, AUTO)
        with pytest.raises(OutputError, match="is a folder"):
            check_output(film, tmp_path / "folder.mp4", AUTO)
        with pytest.raises(OutputError, match="cannot be written"):
            FilmWriter(film, tmp_path / "file" / "out.mp4", AUTO)


def test_no_frames_are_no_film(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "in.mp4", 2)
    refused = pytest.raises(FilmError, match="no frames")
    with open_film(source) as film, FilmWriter(film, tmp_path / "out.mp4", AUTO) as writer, refused:
        writer.finish()
    assert [each.name for each in tmp_path.iterdir()] == [source.name]


def test_what_frames_carry_and_an_encoder_does_not_write_is_named(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "in.mp4", 1)
    carried = frozenset(("DOVI_METADATA", "DYNAMIC_HDR_PLUS", "A53_CC", "SEI_UNREGISTERED"))
    with open_film(source) as film:
        told = {}
        for codec in ("h264", "av1", "ffv1"):
            plan = Plan.of(film, tmp_path / "out.mkv", VideoOptions(codec=codec, container="mkv"), None)
            told[codec] = " ".join(FirstFrame(Look(), carried).losses(plan))
            assert not list(FirstFrame.of(next(iter(film.frames())), plan).losses(plan))
    assert all("Dolby Vision" in each and "HDR10+" in each for each in told.values())
    assert [codec for codec, each in told.items() if "captions" in each] == ["av1", "ffv1"]


@pytest.mark.parametrize(("codec", "pix_fmt", "colors"), [("h264", "yuv420p", SDR), ("hevc", "yuv420p10le", HLG)])
def test_only_what_was_changed_is_changed(tmp_path: Path, codec: str, pix_fmt: str, colors: Mapping[str, int]) -> None:
    source = make_clip(tmp_path / "in.mp4", 3, codec=codec, pix_fmt=pix_fmt, colors=colors)
    target = tmp_path / "out.mp4"
    changed = np.zeros((64, 96), bool)
    changed[20:40, 30:60] = True
    with open_film(source) as film, FilmWriter(film, target, LOSSLESS) as writer:
        for frame in film.frames():
            rgb = frame.rgb()
            rgb[changed] //= 2
            writer.write(frame.with_changes(rgb, changed))
        writer.finish()
    with open_film(source) as film, open_film(target) as result:
        pairs = [
            [layout_of(pix_fmt).views(frame.av_frame) for frame in pair]
            for pair in zip(film.frames(), result.frames(), strict=True)
        ]
    assert len(pairs) == 3
    for before, after in pairs:
        for step, one, other in zip((1, 2, 2), before, after, strict=True):
            inside = changed[::step, ::step]
            assert np.array_equal(one[~inside], other[~inside])
        assert (after[0][changed] < before[0][changed]).mean() > 0.9
