"""Opens films and reads their frames, one after the other, whatever is wrong with some of them."""

import contextlib
import dataclasses
import os
import re
from collections.abc import Generator, Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from memgan.errors import FilmError, brief
from memgan.video.coding import FULL, LIMITED, RESIZE_FLAGS, Coding, colors_of, siting_of
from memgan.video.formats import PICTURE_BRANDS
from memgan.video.frame import Frame
from memgan.video.orientation import Orientation, orientation_of
from memgan.video.planes import known_layout, layout_of
from memgan.video.pyav import fraction, load_av, open_container, reformatted

PICTURES = ("gif", "apng", "ico", "image2")
"""FFmpeg's names of what is no film, besides those that end in ``_pipe``."""
LISTS = ("concat", "hls", "dash", "imf", "sdp", "rtsp")
"""FFmpeg's names of texts that name films elsewhere: a file must not make others be read."""

PACKED_422 = ("yuyv422", "uyvy422", "yvyu422")

TRANSFER_PQ, TRANSFER_HLG = 16, 18  # FFmpeg's AVColorTransferCharacteristic (ITU-T H.273)
SITES: dict[tuple[float, float], str] = {
    **{(0, 0.5): "left", (0, 0): "topleft", (0, 1): "bottomleft"},
    **{(0.5, 0.5): "center", (0.5, 0): "top", (0.5, 1): "bottom"},
}
"""FFmpeg's names of where chroma lies."""
DISPLAY_MATRICES = {
    turn: (a << 16, b << 16, 0, -b << 16, a << 16, 0, 0, 0, 1 << 30)
    for turn, (a, b) in {-90: (0, 1), 90: (0, -1), 180: (-1, 0), -180: (-1, 0)}.items()
}
"""Of turns, in degrees counterclockwise as PyAV gives them."""


@dataclasses.dataclass(frozen=True)
class FilmInfo:
    """What a film is. Colors are numbers of FFmpeg's enumerations, which are those of ITU-T H.273."""

    width: int
    """In pixels, upright, as ``Frame.rgb`` is."""
    height: int
    coded_width: int
    """In pixels, before frames are turned upright."""
    coded_height: int
    time_base: Fraction
    """Unit of times, in seconds."""
    average_rate: Fraction | None
    """Frames per second."""
    num_frames_hint: int | None
    """What the container says. It may be wrong."""
    duration: float | None
    """In seconds, as the container says it."""
    codec: str
    """FFmpeg's name, such as ``h264``."""
    pixel_format: str
    """FFmpeg's name of that of the frames, such as ``yuv420p10le``."""
    bits: int
    range: int
    """0: not tagged, 1: limited, 2: full."""
    matrix: int
    primaries: int
    transfer: int
    chroma_location: str | None
    """``left``, ``center``, ``topleft``, ``top``, ``bottomleft`` or ``bottom``; ``None``: chroma is not subsampled.
    Most codecs have a place of their own for films that are not tagged; otherwise these are read as ``center``."""
    rotation: int
    """0, 90, 180 or 270: degrees clockwise that turn a frame upright."""
    display_matrix: tuple[int, ...] | None
    """The nine numbers that say so, as FFmpeg has them."""
    sample_aspect_ratio: Fraction
    """Width of a pixel over its height, as it is coded; 1 if the film does not say."""

    @property
    def is_hdr(self) -> bool:
        return self.transfer in (TRANSFER_PQ, TRANSFER_HLG)


class Film:
    """A film on disk. Made by ``open_film``; use it as a context manager."""

    path: Path
    info: FilmInfo
    problems: list[str]
    """What is damaged, as far as is known. It grows while frames are read, at the latest when they end."""
    notes: list[str]
    """What is odd, and no damage; it grows too."""

    def __init__(self, path: Path, info: FilmInfo, coding: Coding, orientation: Orientation) -> None:
        self.path, self.info, self.problems, self.notes = path, info, [], []
        self._coding, self._orientation = coding, orientation
        self._readers: list[Generator[Frame, None, None]] = []

    def __enter__(self) -> "Film":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Ends all iterators over its frames."""
        while self._readers:
            self._readers.pop().close()

    def frames(self, start: int = 0, stop: int | None = None) -> Iterator[Frame]:
        """Its frames in the order in which they are shown, from ``start``, counted from 0, to the one before ``stop``.

        Memory stays the same however long the film is. Every call decodes from the beginning of the film: frames
        cannot be counted otherwise. What cannot be decoded is left out, counted, and added to ``problems``.

        Raises:
            FilmError: if the file cannot be opened any more.
        """
        reader = self._frames(start, stop)
        self._readers.append(reader)
        return reader

    def _frames(self, start: int, stop: int | None) -> Generator[Frame, None, None]:
        count = _Count()
        step = round(1 / (self.info.average_rate or 25) / self.info.time_base) or 1
        last: int | None = None
        try:
            with _opened(self.path) as container:
                stream = _film_stream(container)
                for index, av_frame in enumerate(_decoded(container, stream, count)):
                    if index == stop:
                        break
                    pts = self._time(av_frame, last, step, count)
                    last = pts
                    count.end = (pts + (av_frame.duration or step)) * self.info.time_base
                    if index >= start:
                        yield self._frame(index, pts, av_frame, count)
                else:
                    count.missing = _missing_end(container, stream, count)
        finally:
            for found, known in ((count.problems(), self.problems), (count.notes(self.info), self.notes)):
                known.extend(one for one in found if one not in known)

    def _time(self, av_frame: Any, last: int | None, step: int, count: "_Count") -> int:
        """When a frame is shown. Where the film does not say, or says that it is not later, frames follow evenly."""
        pts: int | None = av_frame.pts
        if pts is None or (last is not None and pts <= last):
            count.untimed += 1
            pts = 0 if last is None else last + (1 if pts == last else step)
        return pts

    def _frame(self, index: int, pts: int, av_frame: Any, count: "_Count") -> Frame:
        info = self.info
        size = (info.coded_width, info.coded_height)
        if (av_frame.width, av_frame.height, av_frame.format.name) != (*size, info.pixel_format):
            if (av_frame.width, av_frame.height) != size:
                count.resized += 1
            av_frame = _converted(av_frame, info.pixel_format, *size)
        av_frame.pts, av_frame.time_base = pts, info.time_base
        return Frame(
            index=index,
            pts=pts,
            time_base=info.time_base,
            duration=av_frame.duration or None,
            is_key=av_frame.key_frame,
            av_frame=av_frame,
            coding=self._coding,
            orientation=self._orientation,
        )


@dataclasses.dataclass
class _Count:
    """What one reading of a film has met."""

    unreadable: int = 0
    damaged: int = 0
    damaged_packets: int = 0
    untimed: int = 0
    resized: int = 0
    is_interlaced: bool = False
    packets: int = 0
    is_encrypted: bool = False
    end: Fraction = Fraction(0)
    """In seconds, of the last frame."""
    missing: Fraction | None = None
    """Where the film should end, in seconds, if it ends before."""
    error: str | None = None

    def problems(self) -> Iterator[str]:
        if self.unreadable:
            yield f"{_frames_are(self.unreadable)} unreadable and left out"
        if damaged := max(self.damaged, self.damaged_packets):
            yield f"{_frames_are(damaged)} damaged; what the decoder makes of them is restored"
        if self.error:
            yield f"the film cannot be read beyond {float(self.end):.2f} seconds: {self.error}"
        elif self.missing:
            yield f"the film breaks off after {float(self.end):.2f} of {float(self.missing):.2f} seconds"

    def notes(self, info: FilmInfo) -> Iterator[str]:
        if self.untimed:
            yield f"{_frames_are(self.untimed)} without a time of their own; they follow evenly"
        if self.resized:
            yield f"{_frames_are(self.resized)} of another size and scaled to {info.coded_width}×{info.coded_height}"
        if self.is_interlaced:
            yield "the film is interlaced; its frames are restored as they are, with both fields"


def _frames_are(number: int) -> str:
    return "1 frame is" if number == 1 else f"{number} frames are"


def open_film(path: str | os.PathLike[str]) -> Film:
    """Opens a film and decodes its first frame, to say what it is.

    The first video track that is no cover picture is taken. ``Film.notes`` names others.

    Raises:
        FilmError: if it is no film, has no picture track or no frames, is encrypted, a picture, or a list of films.
        MissingDependencyError: if PyAV is not installed.
    """
    path = Path(path)
    with _opened(path) as container:
        stream = _film_stream(container)
        count = _Count()
        av_frame = next(_decoded(container, stream, count), None)
        if count.is_encrypted:
            raise FilmError(f"{path} is encrypted; give a copy that plays without a key")
        if av_frame is None:
            found = f"none of its {count.packets} frames can be decoded" if count.packets else "it has no frames"
            raise FilmError(f"{path} cannot be restored: {found}; give a film that plays")
        film = _film(path, container, stream, av_frame)
        others = [other for other in container.streams.video if other.index != stream.index and not _is_cover(other)]
        if others:
            film.notes.append(f"the film has {len(others) + 1} video tracks; only the first is restored")
    return film


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """A film's container, closed at the end."""
    av = load_av()
    if not path.exists():
        raise FilmError(f"{path} does not exist; give the path of a film")
    if path.is_dir():
        raise FilmError(f"{path} is a folder; give the path of a film")
    try:
        container = open_container(path)
    except (av.error.FFmpegError, OSError) as error:
        raise FilmError(_why_not(path, error.strerror or str(error))) from error
    with container:
        name = container.format.name
        is_picture = name in PICTURES or name.endswith("_pipe")
        if is_picture or container.metadata.get("major_brand") in PICTURE_BRANDS:
            raise FilmError(f"{path} is a picture, whatever its name says; give it a picture's ending, or give a film")
        if name in LISTS:
            raise FilmError(f"{path} is a list of films or a playlist ({name}), not a film; give the films themselves")
        yield container


def _why_not(path: Path, error: str) -> str:
    with contextlib.suppress(OSError), open(path, "rb") as file:
        start = file.read(12)
        if not start:
            return f"{path} is empty; give a film"
        if start[4:8] == b"ftyp":
            return (
                f"{path} has no index (moov), as where a recording or a copy was broken off; copy it anew, or "
                "repair it with a tool such as untrunc"
            )
    return f"{path} is no film that FFmpeg can read ({error}); give a film that plays"


def _film_stream(container: Any) -> Any:
    """The first video track that is no cover picture."""
    path = container.name.removeprefix("file:")
    streams = [stream for stream in container.streams.video if not _is_cover(stream)]
    if not streams:
        kinds = sorted({stream.type for stream in container.streams if stream.type != "video"})
        held = f"it has {' and '.join(kinds)} only" if kinds else "it has no tracks"
        raise FilmError(f"{path} has no video track: {held}; give a film")
    if streams[0].codec_context is None:
        raise FilmError(f"{path} is coded in a way that FFmpeg cannot decode; convert it, to H.264 for example")
    streams[0].thread_type = "AUTO"
    return streams[0]


def _is_cover(stream: Any) -> bool:
    disposition = load_av().stream.Disposition
    return bool(stream.disposition & (disposition.attached_pic | disposition.timed_thumbnails))


def _decoded(container: Any, stream: Any, count: _Count) -> Iterator[Any]:
    """Frames of PyAV in the order in which they are shown. What cannot be read is counted and left out."""
    av = load_av()
    # The last one is empty: the decoder then gives what it still holds.
    packets = _whole_end(container.demux(stream), count)
    while count.error is None:
        try:
            packet = next(packets, None)
            if packet is None:
                return
        except (av.error.FFmpegError, OSError) as error:
            count.error, packet = error.strerror or brief(error), None
        if packet is not None and packet.size:
            count.packets += 1
            count.damaged_packets += packet.is_corrupt
            count.is_encrypted |= packet.has_sidedata("encryption_info")
        try:
            frames = stream.decode(packet)
        except av.error.FFmpegError:
            count.unreadable += 1
            continue
        for frame in frames:
            count.damaged += frame.is_corrupt
            count.is_interlaced |= frame.interlaced_frame
            yield frame


def _whole_end(packets: Iterator[Any], count: _Count) -> Iterator[Any]:
    """Packets without one at the end that is damaged: cut off, it would take the frames before it along.

    Decoders that work in threads give up what they still hold at an error in the last packet.
    """
    damaged = None
    for packet in packets:
        if damaged is not None and packet.size:
            yield damaged
        elif damaged is not None:
            count.unreadable += 1
        damaged = packet if packet.is_corrupt and packet.size else None
        if damaged is None:
            yield packet


def _missing_end(container: Any, stream: Any, count: _Count) -> Fraction | None:
    """Where a film should end, in seconds, if it ends before: its end was lost."""
    time_base = fraction(stream.time_base) or Fraction(1)
    end = ((stream.start_time or 0) + stream.duration) * time_base if stream.duration else None
    if container.format.name.startswith("mov"):  # durations are no help where an edit list leaves frames out
        listed = len(getattr(stream, "index_entries", ()))
        return (end or count.end) if count.packets < listed else None
    if end is None:
        end = next((_seconds(text) for name, text in stream.metadata.items() if name.startswith("DURATION")), None)
    if end is None and len(container.streams) == 1 and container.duration:
        end = Fraction((container.start_time or 0) + container.duration, 1_000_000)
    rate = fraction(stream.average_rate) or Fraction(25)
    return end if end and end - count.end > max(3 / rate, Fraction(1, 4)) else None


def _seconds(text: str) -> Fraction | None:
    """Of a time as Matroska's tags have it, such as 00:01:02.500000000."""
    found = re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d+)?)", text)
    return int(found[1]) * 3600 + int(found[2]) * 60 + Fraction(found[3]) if found else None


def _film(path: Path, container: Any, stream: Any, av_frame: Any) -> Film:
    """What the container and the first frame say of a film."""
    notes = []
    name = av_frame.format.name
    layout = layout_of(name)
    if layout is None:
        bits = max(part.bits for part in av_frame.format.components)
        common = "yuv422p" if name in PACKED_422 else "gbrp" if bits <= 8 else "gbrp16le"
        notes.append(f"the film's pixel format, {name}, is read as {common}")
        av_frame = _converted(av_frame, common, av_frame.width, av_frame.height)
        name = common
        layout = known_layout(name)
    matrix, is_full_range = colors_of(av_frame)
    if matrix is None and not layout.is_rgb:
        raise FilmError(
            f"{path} has colors of a kind that is not supported (matrix {av_frame.colorspace} of ITU-T H.273); convert "
            "it, for example by ffmpeg -vf scale=out_color_matrix=bt709 -colorspace bt709"
        )
    coding = Coding(layout, matrix or 1, is_full_range)
    coding = dataclasses.replace(coding, siting=siting_of(av_frame, coding))
    display_matrix = _display_matrix(av_frame)
    orientation = orientation_of(display_matrix)
    width, height = orientation.size(av_frame.width, av_frame.height)
    time_base = fraction(stream.time_base) or Fraction(1, 1000)
    duration = stream.duration * time_base if stream.duration else Fraction(container.duration or 0, 1_000_000)
    info = FilmInfo(
        width=width,
        height=height,
        coded_width=av_frame.width,
        coded_height=av_frame.height,
        time_base=time_base,
        average_rate=fraction(stream.average_rate),
        num_frames_hint=stream.frames or None,
        duration=float(duration) or None,
        codec=stream.codec_context.codec.canonical_name,
        pixel_format=name,
        bits=coding.bits,
        range=FULL if name.startswith("yuvj") else int(av_frame.color_range),
        matrix=int(av_frame.colorspace),
        primaries=int(av_frame.color_primaries),
        transfer=int(av_frame.color_trc),
        chroma_location=SITES.get(coding.siting) if 2 in layout.subsampling else None,
        rotation=orientation.rotation,
        display_matrix=display_matrix,
        sample_aspect_ratio=fraction(stream.sample_aspect_ratio) or Fraction(1),
    )
    film = Film(path, info, coding, orientation)
    film.notes.extend(notes)
    return film


def _display_matrix(av_frame: Any) -> tuple[int, ...] | None:
    try:
        data = av_frame.side_data.get("DISPLAYMATRIX")
    except ValueError:  # before version 19 PyAV knows no side data that is newer than itself
        return DISPLAY_MATRICES.get(av_frame.rotation)
    return None if data is None else tuple(np.frombuffer(data, np.int32).tolist())


def _converted(av_frame: Any, pixel_format: str, width: int, height: int) -> Any:
    """A frame of PyAV in another pixel format and size."""
    matrix, is_full_range = colors_of(av_frame)
    color_range = FULL if is_full_range else LIMITED
    becomes_rgb = pixel_format.startswith("gbr") and not av_frame.format.is_rgb
    converted = reformatted(
        av_frame,
        width=width,
        height=height,
        format=pixel_format,
        src_colorspace=matrix,
        dst_colorspace=matrix,
        src_color_range=color_range,
        dst_color_range=FULL if becomes_rgb else color_range,
        interpolation=RESIZE_FLAGS,
    )
    # The scaler tags what it was told, also where the film says nothing.
    converted.colorspace = 0 if becomes_rgb else av_frame.colorspace
    converted.color_range = FULL if becomes_rgb else av_frame.color_range
    return converted
