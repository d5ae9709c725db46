"""Knows the files that films are written to: what each can hold, and how it is opened so that nothing changes."""

import contextlib
import dataclasses
import errno
import io
import math
import os
import shlex
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from memgan.errors import FilmError, brief
from memgan.video.encoders import Encoder, Look, prepare
from memgan.video.formats import result_suffix
from memgan.video.options import VideoOptions
from memgan.video.pyav import fraction, load_av, open_container

_REBUILT = frozenset(("major_brand", "minor_version", "compatible_brands", "encoder", "creation_time", "duration"))
"""Keys that containers write by themselves, or that were true of the input only."""
_STALE = ("encoder", "duration", "bps", "number_of_", "_statistics_", "alpha_mode")
"""Beginnings of keys that were true of the input's video only."""
_PLAIN_KEYS = frozenset(
    (
        *("title", "artist", "album_artist", "composer", "album", "date", "comment", "genre", "copyright", "grouping"),
        *("lyrics", "description", "synopsis", "show", "episode_id", "network", "keywords", "episode_sort", "track"),
        *("season_number", "media_type", "hd_video", "gapless_playback", "compilation", "disc", "timecode"),
    )
)
"""What MP4 and MOV keep without a table of keys."""
_LARGEST = 2**31 - 1
_BUFFER_BYTES = 1 << 20


@dataclasses.dataclass(frozen=True)
class Container:
    """A type of file."""

    ending: str
    muxer: str
    """As FFmpeg calls it."""
    unit: Fraction | None = None
    """To which it rounds times; ``None``: it keeps any."""
    has_global_header: bool = True
    """Whether what a decoder needs first stands in the file's header."""

    @property
    def is_mp4(self) -> bool:
        """Whether it is of the family of MP4 and MOV."""
        return self.muxer in ("mp4", "mov", "3gp", "3g2")

    @property
    def is_matroska(self) -> bool:
        """Whether it is of the family of Matroska."""
        return self.muxer in ("matroska", "webm")


_CONTAINERS = {
    container.ending: container
    for container in (
        *(Container(ending, "mp4") for ending in (".mp4", ".m4v")),
        *(Container(ending, "mov") for ending in (".mov", ".qt")),
        *(Container(f".{name}", name) for name in ("3gp", "3g2")),
        Container(".mkv", "matroska", Fraction(1, 1000)),
        Container(".webm", "webm", Fraction(1, 1000)),
        Container(".avi", "avi", has_global_header=False),
        *(
            Container(ending, "mpegts", Fraction(1, 90000), has_global_header=False)
            for ending in (".ts", ".mts", ".m2ts")
        ),
    )
}
_MATROSKA = _CONTAINERS[".mkv"]


def container_of(path: str | os.PathLike[str], options: VideoOptions) -> Container:
    """The type of the result of the film at ``path``: the input's, or Matroska where that cannot be written."""
    return _CONTAINERS[result_suffix(Path(path).suffix.lower(), options)]


def chosen_container(film: Path, path: Path, options: VideoOptions) -> Container:
    """The type of the result at ``path`` of the film at another: what the options say, or else its own ending."""
    if options.container == "auto" and path.suffix.lower() in _CONTAINERS:
        return _CONTAINERS[path.suffix.lower()]
    return container_of(film, options)


def opened(path: Path) -> Any:
    """A film, opened by PyAV.

    Raises:
        FilmError: if it cannot be read.
    """
    try:
        return open_container(path)
    except (load_av().error.FFmpegError, OSError) as error:
        raise FilmError(f"{path} cannot be read ({brief(error)}); give a film.") from error


def is_cover(stream: Any) -> bool:
    """Whether a stream is a picture that stands for the film."""
    disposition = load_av().stream.Disposition
    covers = disposition.attached_pic | disposition.timed_thumbnails
    return stream.type == "video" and bool(stream.disposition & covers)


def film_stream(source: Any) -> Any:
    """The stream of a film's frames: the first of video that is no cover picture.

    Raises:
        FilmError: if there is none.
    """
    for stream in source.streams:
        if stream.type == "video" and not is_cover(stream):
            return stream
    raise FilmError(f"{_path(source)} has no video track; give a film.")


def _path(source: Any) -> Path:
    return Path(source.name.removeprefix("file:"))


@dataclasses.dataclass(frozen=True)
class Copies:
    """Which streams of a film go along with its frames."""

    indices: tuple[int, ...]
    """Of those that are copied packet by packet, or whole."""
    covers: Mapping[int, bytes]
    """Cover pictures that become attachments."""
    notes: tuple[str, ...]


def choose_copies(source: Any, container: Container) -> Copies:
    """The streams of ``source``, an input of PyAV, besides its frames, that a container can hold.

    Raises:
        FilmError: if it cannot hold one, and another type of file can.
    """
    film, path = film_stream(source), _path(source)
    kept, notes, covers = [], [], {}
    chapters = source.chapters()
    own = _CONTAINERS.get(path.suffix.lower(), _MATROSKA)
    for stream in source.streams:
        if stream.index == film.index:
            continue
        what = f"track {stream.index} ({stream.type}, {_codec(stream)})"
        if container.is_mp4 and _is_mp4(source) and _is_rebuilt(stream, len(chapters)):
            continue
        if is_cover(stream) and container.muxer == "matroska":
            covers[stream.index] = _cover(path, stream.index)
            continue
        refused = _refusal(stream, container)
        if refused is None:
            kept.append(stream.index)
        elif stream.type != "data" and container.muxer != "matroska" and _refusal(stream, _MATROSKA) is None:
            raise FilmError(
                f"{path}: {what} does not go into a file of the type {container.ending} ({refused}); write "
                "another one with --container mkv, which holds it."
            )
        elif stream.type != "data" and own != container and _refusal(stream, own) is None:
            raise FilmError(
                f"{path}: {what} does not go into a file of the type {container.ending} ({refused}); leave "
                f"--container out, so that it becomes {own.ending} as the input."
            )
        elif stream.type == "audio":
            raise FilmError(
                f"{path}: {what} does not go into a file of the type {container.ending} ({refused}); convert the "
                f"sound first, for example by ffmpeg -i {shlex.quote(path.name)} -map 0 -c copy -c:a flac new.mkv."
            )
        else:
            notes.append(f"{what} is left out: no type of file that can be written holds it.")
    return Copies(tuple(kept), covers, tuple(notes))


def _is_rebuilt(stream: Any, num_chapters: int) -> bool:
    """Whether a track of MP4 has titles of chapters or time codes, which its writer makes anew from the metadata."""
    return stream.type == "data" and ("timecode" in stream.metadata or 0 < stream.frames == num_chapters)


def _codec(stream: Any) -> str:
    return stream.codec_context.name if stream.codec_context is not None else stream.name or "unknown"


def _cover(path: Path, index: int) -> bytes:
    with open_container(path) as source:
        return next((bytes(packet) for packet in source.demux(source.streams[index]) if packet.size), b"")


def _refusal(stream: Any, container: Container) -> str | None:
    """Why a container does not take a stream; ``None``: it does."""
    av = load_av()
    output = av.open(io.BytesIO(), "w", format=container.muxer, container_options=_fixed_options(container))
    try:
        copy_stream(output, stream, container)
        output.start_encoding()
    except (av.error.FFmpegError, ValueError) as error:
        return brief(error)
    finally:
        abandon(output)
    return None


def abandon(output: Any) -> None:
    """Close a file that nobody wants."""
    with contextlib.suppress(Exception):  # of a header that was refused, or of a disk that is full
        output.close()


def copy_stream(output: Any, stream: Any, container: Container) -> Any:
    """A stream of ``output`` like one of the input."""
    copied = output.add_stream_from_template(stream, opaque=True)
    copied.disposition = stream.disposition
    copied.metadata.clear()
    copied.metadata.update(_track_metadata(stream.metadata, container))
    if container.is_mp4 and stream.codec_context is not None and _is_mp4(stream.container):
        copied.codec_context.codec_tag = stream.codec_context.codec_tag
    return copied


def _is_mp4(source: Any) -> bool:
    return "mp4" in source.format.name.split(",")


def _track_metadata(metadata: Mapping[str, str], container: Container) -> dict[str, str]:
    found = {key: value for key, value in metadata.items() if key.lower() not in _REBUILT or key == "creation_time"}
    if "title" not in found and "name" in found:  # as MP4 calls it when it is read
        found["title"] = found.pop("name")
    if container.is_matroska:  # what MP4 says of itself
        for key in ("handler_name", "vendor_id"):
            found.pop(key, None)
    return found


def film_metadata(metadata: Mapping[str, str], container: Container) -> dict[str, str]:
    """What is kept of the metadata of a film's frames."""
    found = _track_metadata(metadata, container)
    return {key: value for key, value in found.items() if not key.lower().startswith(_STALE)}


def file_metadata(metadata: Mapping[str, str], added: Mapping[str, str], container: Container) -> dict[str, str]:
    """The metadata of the input's file, and more: what is there already under such a key stays before it."""
    found = {key: value for key, value in metadata.items() if key.lower() not in _REBUILT or key == "creation_time"}
    if container.is_mp4:  # Matroska has its keys in capitals
        found = {key.lower() if key.lower() in _PLAIN_KEYS else key: value for key, value in found.items()}
    for key, value in added.items():
        there = next((each for each in found if each.lower() == key.lower()), key)
        found[there] = f"{found[there]}\n{value}" if found.get(there) else value
    return found


def _fixed_options(container: Container) -> dict[str, str]:
    options = {"fflags": "+bitexact"}  # no random numbers, no names of programs
    options["max_interleave_delta"] = "1000000"  # packets come in order: no need to keep 10 s of them in memory
    if container.is_matroska or container.muxer == "avi":
        options["avoid_negative_ts"] = "disabled"  # which would move all tracks
    if container.is_matroska:
        options["default_mode"] = "passthrough"
    if container.ending in (".mts", ".m2ts"):
        options["mpegts_m2ts_mode"] = "1"
    if container.muxer == "mpegts":
        options["mpegts_copyts"] = "1"
    return options


def container_options(
    container: Container, time_bases: Sequence[Fraction], film_base: Fraction, metadata: Mapping[str, str]
) -> dict[str, str]:
    """Options with which a container keeps times and metadata as they are.

    Args:
        time_bases: of all streams.
        film_base: of the frames.
        metadata: of the file.
    """
    options = _fixed_options(container)
    if container.is_mp4:
        options["video_track_timescale"] = str(film_base.denominator)
        # The time at which a track starts is written in this unit.
        unit = math.lcm(1000, *(base.denominator for base in time_bases))
        options["movie_timescale"] = str(unit if unit <= _LARGEST else film_base.denominator)
        if any(key.lower() not in _PLAIN_KEYS | _REBUILT for key in metadata):
            options["movflags"] = "+use_metadata_tags"
    return options


@dataclasses.dataclass(frozen=True)
class FilmTrack:
    """The frames of a result, as its container describes them."""

    encoder: Encoder
    size: tuple[int, int]
    look: Look
    time_base: Fraction
    rate: Fraction
    """In frames per second, about."""
    is_steady: bool
    """Whether the frames come at that rate, one like the other."""
    extradata: bytes
    display_matrix: tuple[int, ...] | None = None
    has_dolby_vision: bool = False
    """Whether the input had it; the result has not."""


def open_result(
    file: Any,
    source: Any,
    container: Container,
    copies: Copies,
    track: FilmTrack,
    *,
    metadata: Mapping[str, str],
    chapters: Sequence[Any],
) -> tuple[Any, dict[int, Any]]:
    """A new file for a film and what goes along with it, with its header written.

    Args:
        file: a path, or a file that can be written and searched.
        source: the input, opened by PyAV.
        container: type of the new file.
        copies: of the input.
        track: the frames.
        metadata: of the file.
        chapters: as PyAV has them.

    Returns:
        The ``av.OutputContainer``, and its streams by the index of the input's.

    Raises:
        FilmError: if the container takes them one by one, but not together.
    """
    av = load_av()
    film = film_stream(source)
    bases = [base for stream in source.streams if (base := fraction(stream.time_base))]
    options = container_options(container, [track.time_base, *bases], track.time_base, metadata)
    output = av.open(file, "w", format=container.muxer, container_options=options, buffer_size=_BUFFER_BYTES)
    try:
        streams = {}
        for stream in source.streams:
            if stream.index == film.index:
                streams[stream.index] = _film_stream(output, film, container, track)
            elif stream.index in copies.indices:
                streams[stream.index] = copy_stream(output, stream, container)
            elif stream.index in copies.covers:
                _attach_cover(output, stream, copies.covers[stream.index])
        output.metadata.update(metadata)
        if chapters:
            output.set_chapters(list(chapters))
        output.start_encoding()
    except (av.error.FFmpegError, ValueError) as error:
        abandon(output)
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG):
            raise
        remedy = "write another one, with --container mkv or another --video-codec"
        if container.muxer == "matroska":
            remedy = "choose another --video-codec, such as h264"
        raise FilmError(
            f"{_path(source)}: its tracks do not go together into a file of the type {container.ending} "
            f"({brief(error)}); {remedy}."
        ) from error
    return output, streams


def _film_stream(output: Any, film: Any, container: Container, track: FilmTrack) -> Any:
    if track.encoder.codec == film.codec_context.codec.canonical_name and not track.has_dolby_vision:
        # The input's own description, with all that PyAV has no names for: HDR, stereo, spheres, color profiles.
        stream = output.add_stream_from_template(film, opaque=True)
        context = stream.codec_context
        context.extradata = track.extradata or None
        prepare(context, track.encoder, track.size, track.rate, track.look)
    else:
        stream = output.add_stream(track.encoder.name, rate=track.rate)
        stream.set_display_matrix(track.display_matrix)
        context = stream.codec_context
        prepare(context, track.encoder, track.size, track.rate, track.look)
        context.time_base = 1 / track.rate
    # AVI counts frames: of a finer time base it would make a rate of hundreds, and empty frames between.
    stream.time_base = 1 / track.rate if container.muxer == "avi" else track.time_base
    if container.is_mp4 and track.encoder.codec == "hevc":
        context.codec_tag = "hvc1"  # which Apple's players want; it says that the header has all that a decoder needs
    elif container.is_mp4 and track.encoder.codec == "prores" and _is_mp4(film.container):
        context.codec_tag = film.codec_context.codec_tag  # its kind
    if not track.is_steady:
        context.framerate = 0
    stream.disposition = film.disposition
    stream.metadata.clear()
    stream.metadata.update(film_metadata(film.metadata, container))
    return stream


def _attach_cover(output: Any, stream: Any, data: bytes) -> None:
    kinds = {"mjpeg": ("cover.jpg", "image/jpeg"), "png": ("cover.png", "image/png")}
    name, kind = kinds.get(_codec(stream), ("cover", "application/octet-stream"))
    output.add_attachment(stream.metadata.get("filename", name), stream.metadata.get("mimetype", kind), data)
