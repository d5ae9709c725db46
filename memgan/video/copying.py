"""Copies the tracks of a film that are not encoded anew, all of them or a part in time."""

import dataclasses
from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any

from memgan.errors import brief
from memgan.video.containers import film_stream, is_cover
from memgan.video.pyav import fraction, load_av


@dataclasses.dataclass(frozen=True)
class Span:
    """The part of the input that is copied, in seconds; ``None``: all from the beginning, all to the end."""

    begin: Fraction | None
    end: Fraction | None

    def shift(self, time_base: Fraction) -> int:
        """What is taken off all times of a track."""
        return 0 if self.begin is None else round(self.begin / time_base)

    def has(self, time: Fraction) -> bool:
        """Whether it contains a time."""
        return (self.begin is None or time >= self.begin) and (self.end is None or time < self.end)

    def chapters(self, chapters: list[Any]) -> list[Any]:
        """The chapters that are shown in it."""
        found = []
        for chapter in chapters:
            base = fraction(chapter["time_base"]) or Fraction(1)
            low = chapter["start"] if self.begin is None else max(chapter["start"], self.shift(base))
            high = chapter["end"] if self.end is None else min(chapter["end"], round(self.end / base))
            if low < high or (self.begin, self.end) == (None, None):
                found.append({**chapter, "start": low - self.shift(base), "end": high - self.shift(base)})
        return found


def other_packets(
    source: Any, streams: Mapping[int, Any], span: Span, problems: list[str]
) -> Iterator[tuple[Fraction, Any]]:
    """The packets of all tracks besides the frames, in the order of the input.

    Args:
        source: the input, opened by PyAV.
        streams: those of the result, by the index of the input's.
        span: which part is copied.
        problems: takes what is wrong with the input.

    Yields:
        Each packet, as one of its stream of the result, with its time there in seconds.
    """
    av = load_av()
    film = film_stream(source)
    inputs = [source.streams[index] for index in streams if index != film.index]
    inputs = [stream for stream in inputs if stream.type != "attachment"]
    begun = {stream.index for stream in inputs if stream.type != "video"}
    time = Fraction(0)
    packets = source.demux(inputs) if inputs else iter(())
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            return
        except (av.error.FFmpegError, ValueError) as error:
            problems.append(f"the other tracks end at {float(time):.3f} s, where the file is damaged ({brief(error)}).")
            return
        if packet.dts is None and packet.size == 0:  # the end
            continue
        stream, unit = packet.stream, fraction(packet.time_base) or Fraction(1)
        if not is_cover(stream):
            moment = packet.pts if packet.dts is None else packet.dts
            time = time if moment is None else moment * unit
            shown = time if packet.pts is None else packet.pts * unit
            if packet.is_keyframe and span.has(shown):
                begun.add(stream.index)
            if stream.index not in begun or not span.has(shown):
                continue
            shift = span.shift(unit)
            packet.pts = None if packet.pts is None else packet.pts - shift
            packet.dts = None if packet.dts is None else packet.dts - shift
        packet.stream = streams[stream.index]
        yield time - (span.begin or 0), packet
