"""Settles how a film is written, from what its file says, before its first frame."""

import dataclasses
import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

from memgan.errors import OutputError
from memgan.video.containers import Container, Copies, FilmTrack, choose_copies, chosen_container, film_stream, opened
from memgan.video.encoders import Encoder, Look, choose_encoder, open_encoder
from memgan.video.film import Film
from memgan.video.frame import Frame
from memgan.video.options import VideoOptions
from memgan.video.pyav import fraction

_DEFAULT_RATE = Fraction(25)
_CAPTIONS = ("libx264", "libx265", "mpeg2video", "h264_nvenc", "hevc_nvenc")
"""Encoders that write the captions of ATSC A/53."""
_GREATEST = 65535
"""Numerator of a rate that every encoder takes."""
_FASTEST = 240
"""Frames per second; beyond, a film with uneven times has given their unit as its rate."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is known of a result before its first frame."""

    source: Path
    encoder: Encoder
    container: Container
    copies: Copies
    shown_size: tuple[int, int]
    size: tuple[int, int]
    """Of the frames as they are coded, before any rotation."""
    time_base: Fraction
    rate: Fraction
    has_same_codec: bool
    says_rate: bool
    """Whether the result is to name its rate, steady or not, since the input does so in a file of the same type."""
    begins_at_zero: bool
    """Whether the first frame is shown at zero whatever the input says, with what is heard from then on."""
    end: int | None
    """When the input ends, in its time base, if it says so."""
    aspect: Fraction | None
    chroma_place: str | None
    display_matrix: tuple[int, ...] | None
    notes: tuple[str, ...]

    @classmethod
    def of(
        cls, film: Film, path: str | os.PathLike[str], options: VideoOptions, size: tuple[int, int] | None
    ) -> "Plan":
        """Of the result at ``path`` of a film, shown in that size (width, height); ``None``: the film's.

        Raises:
            ConfigError, FilmError, OutputError: as ``check_output`` says.
        """
        _check_place(Path(path), Path(film.path))
        info = film.info
        container = chosen_container(Path(film.path), Path(path), options)
        with opened(Path(film.path)) as source:
            stream = film_stream(source)
            context = stream.codec_context
            encoder = choose_encoder(context.codec.canonical_name, info.pixel_format, options, context.codec_tag)
            has_same_codec = encoder.codec == context.codec.canonical_name
            copies = choose_copies(source, container)
            time_base, aspect = info.time_base, fraction(stream.sample_aspect_ratio)
            end = None if stream.duration is None else stream.duration + (stream.start_time or 0)
            rate = _plain_rate(fraction(stream.average_rate) or fraction(stream.guessed_rate) or _DEFAULT_RATE)
            has_same_type = container.muxer in source.format.name.split(",")
            says_rate = container.is_matroska and has_same_type and bool(stream.average_rate)
            tags = {key.lower(): value for key, value in stream.metadata.items()}
            has_hidden_alpha = tags.get("alpha_mode") == "1" and not info.pixel_format.startswith("yuva")
        notes = list(copies.notes)
        if has_hidden_alpha:
            notes.append(f"transparency is left out: the decoder of {context.codec.canonical_name} does not read it.")
        if container.muxer == "avi":  # which knows the order of frames, not their times
            encoder = dataclasses.replace(encoder, options={**encoder.options, "bf": "0"})
            container = dataclasses.replace(container, unit=1 / rate)
        if container.unit is not None and (time_base / container.unit).denominator > 1 and not has_same_type:
            notes.append(f"times are rounded to {container.unit} s, as files of the type {container.ending} have them.")
        shown_size = (info.width, info.height) if size is None else size
        coded_size = shown_size if info.rotation % 180 == 0 else shown_size[::-1]
        return cls(
            source=Path(film.path),
            encoder=encoder,
            container=container,
            copies=copies,
            shown_size=shown_size,
            size=coded_size,
            time_base=time_base,
            rate=rate,
            has_same_codec=has_same_codec,
            says_rate=says_rate,
            begins_at_zero=container.muxer == "avi" and not has_same_type,
            end=end,
            aspect=aspect,
            chroma_place=info.chroma_location,
            display_matrix=info.display_matrix,
            notes=tuple(notes),
        )

    @property
    def usual(self) -> int:
        """How long a frame is shown at the film's rate."""
        return max(1, round(1 / self.rate / self.time_base))

    def end_of(self, pts: int) -> int:
        """When the frame ceases to be shown that is shown last, at ``pts``.

        Not what the container says of that frame: MP4 says how long frames are decoded, which is something else.
        """
        is_last = self.end is not None and pts < self.end < pts + 2 * self.usual
        return self.end if self.end is not None and is_last else pts + self.usual

    def open_encoder(self, look: Look) -> Any:
        """An encoder for frames that look so."""
        return open_encoder(
            self.encoder, self.size, self.rate, look, has_global_header=self.container.has_global_header
        )

    def track(self, look: Look, extradata: bytes, *, is_steady: bool) -> FilmTrack:
        """The track of the frames."""
        return FilmTrack(
            self.encoder, self.size, look, self.time_base, self.rate, is_steady, extradata, self.display_matrix
        )


class FirstFrame(NamedTuple):
    """What the first frame tells of the film."""

    look: Look
    side_data: frozenset[str]
    """Names of what goes along with its samples, as PyAV has them."""

    @classmethod
    def of(cls, frame: Frame, plan: Plan) -> "FirstFrame":
        """What this frame tells."""
        look = Look.of(frame.av_frame, chroma_place=plan.chroma_place, aspect=plan.aspect)
        return cls(look, frozenset(each.type.name for each in frame.av_frame.side_data))

    @property
    def has_dolby_vision(self) -> bool:
        """Whether the film has it; its result has not."""
        return bool(self.side_data & {"DOVI_METADATA", "DOVI_RPU_BUFFER"})

    def losses(self, plan: Plan) -> Iterator[str]:
        """What the result will not have."""
        name = plan.encoder.name
        if self.has_dolby_vision:
            yield "Dolby Vision is left out: it describes the frames as they were; the HDR on which it builds stays."
        if "DYNAMIC_HDR_PLUS" in self.side_data:
            yield "HDR10+ is left out, which no encoder of FFmpeg writes; the HDR on which it builds stays."
        if "A53_CC" in self.side_data and name not in _CAPTIONS:
            yield f"the captions inside the frames are left out: {name} cannot write them."
        tells = bool(self.look.mastering_display or self.look.light_level)
        if tells and not plan.encoder.can_tell_mastering and not plan.has_same_codec:
            yield f"the mastering display and the light levels are left out: {name} cannot write them."


def _plain_rate(rate: Fraction) -> Fraction:
    """A rate that every encoder takes, in frames per second."""
    plain = min(Fraction(rate), Fraction(_FASTEST)).limit_denominator(1001)
    return plain if 0 < plain.numerator <= _GREATEST else Fraction(max(1, round(plain)))


def _check_place(path: Path, film: Path) -> None:
    if path.exists() and path.samefile(film):
        raise OutputError(f"{path} is the film itself, which its result must not replace; choose another name.")
    if path.is_dir():
        raise OutputError(f"{path} is a folder; choose another name for the result.")
    if path.exists() and not path.is_file():
        raise OutputError(f"{path} is a device or a pipe, which a film must not replace; choose another name.")
