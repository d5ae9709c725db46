"""Writes films: frames are encoded anew, everything else of the input is copied packet by packet."""

import dataclasses
import heapq
import io
import itertools
import os
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from memgan.errors import FilmError, OutputError, brief
from memgan.runtime.records import FileState, digest
from memgan.version import __version__
from memgan.video.containers import abandon, file_metadata, film_stream, open_result, opened
from memgan.video.copying import Span, other_packets
from memgan.video.encoders import Look
from memgan.video.encoding import SegmentEncoder
from memgan.video.film import Film
from memgan.video.frame import Frame
from memgan.video.matroska import tell_aspect
from memgan.video.options import VideoOptions
from memgan.video.plan import FirstFrame, Plan
from memgan.video.pyav import fraction, load_av
from memgan.video.segments import FRAMES, SegmentFolder, disk_errors, timed

_REPORT = "nothing is lost: its segments stay; try --container mkv, and report it."

_MOST_UNEVEN = Fraction(1, 4)
"""Of a frame's time, in frames, where a container has no times."""


def check_output(
    film: Film, path: str | os.PathLike[str], options: VideoOptions, size: tuple[int, int] | None = None
) -> list[str]:
    """Make sure that a result can be written, before the work begins. Writes nothing.

    Args:
        film: the input.
        path: of the result.
        options: how it is to be written.
        size: (width, height) of the result as it is shown; ``None``: the input's.

    Returns:
        What is lost or changed all the same, in sentences.

    Raises:
        ConfigError: if nothing writes that codec, or its encoder does not take the frames or an option.
        FilmError: if the container does not hold a track.
        OutputError: if ``path`` is a folder or a device.
    """
    plan = Plan.of(film, path, options, size)
    look = Look(aspect=plan.aspect)
    encoder = plan.open_encoder(look)
    track = plan.track(look, encoder.extradata or b"", is_steady=True)
    encoder.encode(None)  # SVT-AV1 complains of one that is dropped without an end
    with opened(plan.source) as source:
        metadata = file_metadata(source.metadata, {}, plan.container)
        chapters = source.chapters()
        output, _ = open_result(
            io.BytesIO(), source, plan.container, plan.copies, track, metadata=metadata, chapters=chapters
        )
        abandon(output)
    return list(plan.notes)


class FilmWriter:
    """Writes the frames of a film, and what goes along with them, into a new file.

    Frames are kept in segments beside the result until the last one is there: a run that was killed goes on with the
    segment in which it was, and the result is the same, byte by byte, as that of a run that was not. Then the segments
    and the other tracks are joined, and only a whole file gets the name of the result. For use in a ``with`` statement.
    One process writes a result at a time. Memory does not grow with the number of frames.

    Args:
        film: the input.
        path: of the result; missing folders are made.
        options: how it is written.
        size: (width, height) of the result as it is shown; ``None``: the input's. Frames of another size are resized.
        key: what else the frames depend on, such as a digest of how they are restored.
        start: number of the first frame.
        stop: of the one after the last; ``None``: to the end.
        cut: the other tracks too are cut to the times of these frames. If frames before them are left out, all times
            are moved so that the first frame is shown at zero.
        metadata: added to that of the file.

    Raises:
        ConfigError, FilmError, OutputError: as :func:`check_output` says; OutputError also if another process writes
            the same result, or the disk is full.
    """

    def __init__(
        self,
        film: Film,
        path: str | os.PathLike[str],
        options: VideoOptions,
        *,
        size: tuple[int, int] | None = None,
        key: str = "",
        start: int = 0,
        stop: int | None = None,
        cut: bool = False,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        self._path = Path(path)
        self._plan = Plan.of(film, path, options, size)
        self.metadata = dict(metadata or {})
        """What is added to that of the file when it is finished."""
        self._is_cut_before, self._is_cut_after = cut and start > 0, cut and stop is not None
        self.notes = list(self._plan.notes)
        """What is lost or changed, in sentences."""
        self._folder = SegmentFolder(self._path, self._digest(options, size, key, start, stop, cut))
        self._segments = self._folder.found()
        self._num_found = sum(segment.frames for segment in self._segments)
        self._count = 0
        self._end = 0
        self._first_place: Fraction | None = None
        self._last_place = -1
        self._first: FirstFrame | None = None
        self._encoding: SegmentEncoder | None = None

    def _digest(self, options: VideoOptions, size: object, key: str, *range_: object) -> str:
        av = load_av()
        return digest(
            {
                "input": dataclasses.asdict(FileState.of(self._plan.source, os.path.abspath(self._plan.source))),
                "options": dataclasses.asdict(options),
                "encoder": dataclasses.asdict(self._plan.encoder),
                "has_global_header": self._plan.container.has_global_header,
                "libraries": [av.__version__, sorted(av.library_versions.items())],
                "rest": [size, key, range_, FRAMES, __version__],
            }
        )

    @property
    def next_is_written(self) -> bool:
        """Whether an earlier run has written the next frame already: it need not be restored, only given."""
        return self._count < self._num_found

    @property
    def num_written(self) -> int:
        """Frames at the beginning that an earlier run has written."""
        return self._num_found

    @property
    def segment_frames(self) -> int:
        """Frames in a segment."""
        return FRAMES

    @property
    def folder(self) -> Path:
        """Where the segments are until the result is there; what else this film needs again may lie there too."""
        return self._folder.folder

    def discard(self) -> None:
        """Delete the segments: the result is made in another way."""
        self._folder.remove()

    def write(self, frame: Frame) -> None:
        """Write the next frame: all of them, each later than the one before.

        Raises:
            OutputError: if the disk is full; the segments that are done stay.
            FilmError: if the container has no times of frames, and they come unevenly.
        """
        if self._first is None:
            self._first = FirstFrame.of(frame, self._plan)
            self.notes += self._first.losses(self._plan)
        if self._plan.container.muxer == "avi":
            self._check_even(frame)
        self._end = self._plan.end_of(frame.pts)
        if not self.next_is_written:
            with disk_errors(self._path):
                if self._encoding is None:
                    self._encoding = SegmentEncoder(self._plan, self._first.look, self._folder, self._count)
                self._encoding.write(frame)
                if self._encoding.frames == FRAMES:
                    self._close_segment(self._encoding)
        self._count += 1

    def _check_even(self, frame: Frame) -> None:
        """Refuse a frame that AVI, which counts frames, could not show at its own time."""
        exact = frame.pts * self._plan.time_base * self._plan.rate
        self._first_place = exact if self._first_place is None else self._first_place
        place = round(exact - self._first_place)
        if place <= self._last_place or abs(exact - self._first_place - place) > _MOST_UNEVEN:
            raise FilmError(
                f"{self._plan.source} does not show its frames evenly (frame {self._count}), and AVI has no times of "
                "frames; write another type of file, with --container mkv."
            )
        self._last_place = place

    def _close_segment(self, encoding: SegmentEncoder) -> None:
        segment = encoding.close()
        self._encoding = None
        if self._segments and segment.extradata != self._segments[0].extradata:
            raise OutputError(
                f"{self._plan.encoder.name} began anew in another way after {self._count} frames, so that {self._path} "
                "cannot be joined; choose another encoder with --video-encoder."
            )
        self._segments.append(segment)

    def finish(self, progress: Callable[[int], object] | None = None) -> list[str]:
        """Make the result of the frames that were written, and of the other tracks of the input.

        Args:
            progress: called with the number of frames that are in the result, as it grows.

        Returns:
            What was wrong with the input, in sentences.

        Raises:
            OutputError: if it cannot be written, or if what was written reads back otherwise; the segments stay.
            FilmError: if there are no frames.
        """
        if self._first is None:
            raise FilmError(f"{self._plan.source} has no frames that can be read; give a film.")
        if self._count < self._num_found:
            raise OutputError(
                f"{self._path}: an earlier run has written more frames than this one has read; delete "
                f"{self._folder.folder} and try again."
            )
        part = self._folder.folder / "film.part"
        with disk_errors(self._path):
            if self._encoding is not None:
                self._close_segment(self._encoding)
            try:
                problems = self._join(part, self._first, progress or _ignore)
                self._check(part)
                os.replace(part, self._path)
                (progress or _ignore)(self._count)
            finally:
                part.unlink(missing_ok=True)
        self._folder.remove()
        return problems

    def _join(self, part: Path, first: FirstFrame, progress: Callable[[int], object]) -> list[str]:
        """Write the file; gives what was wrong with the input."""
        av = load_av()
        plan, segments = self._plan, self._segments
        track = plan.track(first.look, segments[0].extradata, is_steady=self._is_steady())
        track = dataclasses.replace(track, has_dolby_vision=first.has_dolby_vision)
        span = self._span()
        problems: list[str] = []
        with opened(plan.source) as source, open(part, "w+b") as file:
            output, streams = open_result(
                file,
                source,
                plan.container,
                plan.copies,
                track,
                metadata=file_metadata(source.metadata, self.metadata, plan.container),
                chapters=span.chapters(source.chapters()),
            )
            film = streams[film_stream(source).index]
            packets = heapq.merge(
                self._film_packets(film, span, progress),
                other_packets(source, streams, span, problems),
                key=lambda pair: pair[0],
            )
            try:
                for _, packet in packets:
                    output.mux(packet)
                output.close()
            except av.error.FFmpegError as error:
                if not isinstance(error, OSError):
                    raise OutputError(
                        f"{self._path} cannot be written ({brief(error)}); try --container mkv."
                    ) from error
                raise
            finally:
                abandon(output)
            self._tell_aspect(file)
            file.flush()
            os.fsync(file.fileno())
        return problems

    def _tell_aspect(self, file: BinaryIO) -> None:
        """Say the shape of pixels in the container: not every codec does."""
        plan = self._plan
        if not plan.container.is_matroska or plan.aspect in (None, 1):
            return
        is_webm = plan.container.muxer == "webm"
        if not tell_aspect(file, *plan.size, plan.aspect or Fraction(1), is_webm=is_webm):
            self.notes.append(f"the shape of pixels, {plan.aspect}, is left out: the file has no room for it.")

    def _is_steady(self) -> bool:
        """Whether frames follow each other at one rate, as well as the time base can say it."""
        if self._plan.says_rate:
            return True
        gaps = [segment.steps for segment in self._segments if segment.steps is not None]
        gaps += [(after.first - before.last,) * 2 for before, after in itertools.pairwise(self._segments)]
        if not gaps:
            return True
        low, high = min(low for low, _ in gaps), max(high for _, high in gaps)
        return high - low <= 1 and low <= 1 / self._plan.rate / self._plan.time_base <= high

    def _span(self) -> Span:
        base = self._plan.time_base
        return Span(
            begin=self._segments[0].first * base if self._is_cut_before or self._plan.begins_at_zero else None,
            end=self._end * base if self._is_cut_after else None,
        )

    def _film_packets(
        self, stream: Any, span: Span, progress: Callable[[int], object]
    ) -> Iterator[tuple[Fraction, Any]]:
        av = load_av()
        base = self._plan.time_base
        shift = span.shift(base)
        usual = self._plan.usual if self._plan.says_rate else None
        for number, ((pts, is_key, data), dts, duration) in enumerate(timed(self._segments, self._end)):
            progress(number)
            packet = av.Packet(data)
            packet.pts, packet.dts, packet.duration = pts - shift, dts - shift, usual or duration
            packet.time_base, packet.is_keyframe, packet.stream = base, is_key, stream
            yield (dts - shift) * base, packet

    def _check(self, part: Path) -> None:
        """Make sure that a file has the frames that were written, at their times."""
        base, shift = self._plan.time_base, self._span().shift(self._plan.time_base)
        tolerance = self._plan.container.unit or 0
        expected = timed(self._segments, self._end, has_data=False)
        with opened(part) as written:
            stream = film_stream(written)
            unit = fraction(stream.time_base) or Fraction(1)
            for packet in written.demux(stream):
                if packet.size == 0:
                    continue
                following = next(expected, None)
                if following is None or packet.pts is None:
                    raise OutputError(f"{self._path} would have other frames than were written; {_REPORT}")
                wanted = (following.packet.pts - shift) * base
                if abs(packet.pts * unit - wanted) > tolerance:
                    raise OutputError(
                        f"{self._path} would show a frame at {float(packet.pts * unit):.6f} s that belongs "
                        f"at {float(wanted):.6f} s; {_REPORT}"
                    )
        if next(expected, None) is not None:
            raise OutputError(f"{self._path} would have fewer frames than were written; {_REPORT}")

    def __enter__(self) -> "FilmWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Let others in. What is not finished stays as segments."""
        if self._encoding is not None:
            self._encoding.discard()
            self._encoding = None
        self._folder.close()


def _ignore(number: int) -> None:
    """Tells nobody."""
