"""Chooses and opens the encoder of a film.

Whatever its result could depend on besides frames and options is fixed, the number of threads above all: the same film
gives the same packets on every machine with the same libraries.
"""

import dataclasses
import difflib
import os
import struct
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from memgan.errors import ConfigError, brief
from memgan.video.options import VideoOptions
from memgan.video.pyav import load_av

_THREADS = 8
"""Of encoders whose result depends on the number."""
_UNKNOWN = 2
"""What FFmpeg says of primaries, transfer and matrix that a film does not tell."""


@dataclasses.dataclass(frozen=True)
class _Kind:
    """What is known of an encoder."""

    quality: float | None = None
    """Default of ``crf``: hardly any loss. ``None``: the encoder has no such dial."""
    quality_option: str = "crf"
    """Its name; ``qscale``: the scale of FFmpeg's own encoders, 1 to 31."""
    worst: float = 51
    """Greatest ``crf``."""
    preset: str | None = None
    """Default; ``None``: it has none."""
    fixed: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """What makes its result independent of the machine, and keeps it quiet."""
    lossless: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Instead of a quality of 0."""
    lossless_bits: int = 16
    """With deeper samples it loses something all the same."""
    params: str | None = None
    """Option that takes the library's own settings, ``name=value:...``."""
    mastering: tuple[str, str] | None = None
    """Its names for the mastering display and the content light level."""


_KINDS = {
    "libx264": _Kind(16, "crf", 51, "medium", {}, {"qp": "0"}, 10, "x264-params", ("mastering-display", "cll")),
    "libx265": _Kind(
        18,
        "crf",
        51,
        "medium",
        {"x265-params": "log-level=none:pools=4:frame-threads=3:wpp=1"},
        {"x265-params": "lossless=1"},
        12,
        "x265-params",
        ("master-display", "max-cll"),
    ),
    "libsvtav1": _Kind(
        20,
        "crf",
        63,
        "8",
        {"svtav1-params": "lp=4"},
        {"svtav1-params": "lossless=1", "crf": "1"},
        8,
        "svtav1-params",
        ("mastering-display", "content-light"),
    ),
    "libvpx-vp9": _Kind(20, "crf", 63, None, {"b": "0", "row-mt": "1", "cpu-used": "2"}, {"lossless": "1"}),
    "libvpx": _Kind(8, "crf", 63, None, {"b": "20M", "cpu-used": "2"}),
    "ffv1": _Kind(fixed={"level": "3", "g": "1", "slicecrc": "1"}),
    "h264_nvenc": _Kind(18, "cq", 51, "p5", {"rc": "vbr", "b": "0"}, {"tune": "lossless"}),
    "hevc_nvenc": _Kind(18, "cq", 51, "p5", {"rc": "vbr", "b": "0"}, {"tune": "lossless"}),
    "av1_nvenc": _Kind(20, "cq", 51, "p5", {"rc": "vbr", "b": "0"}),
    "prores_ks": _Kind(),
    "dnxhd": _Kind(),
    **{name: _Kind() for name in ("huffyuv", "ffvhuff", "utvideo", "v210", "rawvideo", "png", "qtrle")},
}
_ANY = _Kind(2, "qscale", 31)
_BETTER = {"prores": "prores_ks"}
"""Where a codec has several encoders, and the first is not the best."""


_PROFILES = {
    "prores_ks": {name: str(number) for number, name in enumerate(("apco", "apcs", "apcn", "apch", "ap4h", "ap4x"))},
    "dnxhd": {
        **{"yuv422p": "dnxhr_hq", "yuv422p10le": "dnxhr_hqx"},
        **{"yuv444p10le": "dnxhr_444", "gbrp10le": "dnxhr_444"},
    },
}
"""Kinds of a codec by what its files call them, or by the format of their frames."""


@dataclasses.dataclass(frozen=True)
class Encoder:
    """An encoder and its settings."""

    name: str
    """As FFmpeg calls it, ``libx264``."""
    codec: str
    """What it makes, ``h264``."""
    pixel_format: str
    options: Mapping[str, str]
    """All that it is given, besides the size, rate and colors of the film."""

    @property
    def can_tell_mastering(self) -> bool:
        """Whether it writes the mastering display and the content light level."""
        return _KINDS.get(self.name, _ANY).mastering is not None


def choose_encoder(codec: str, pixel_format: str, options: VideoOptions, tag: str = "") -> Encoder:
    """The encoder for a film in ``codec`` with frames of ``pixel_format``.

    Args:
        codec: FFmpeg's name of it.
        pixel_format: FFmpeg's name of that.
        options: how the film is to be written.
        tag: what the film's file calls the codec, four letters.

    Raises:
        ConfigError: if there is none, or if it cannot keep what the frames have.
    """
    found = _find(codec, options)
    kind = _KINDS.get(found.name, _ANY)
    settings = dict(kind.fixed)
    if options.crf is not None and kind.quality is None:
        raise ConfigError(f"--crf is {options.crf:g}, but {found.name} has no such dial; leave it out.")
    if options.crf is not None and options.crf > kind.worst:
        raise ConfigError(f"--crf is {options.crf:g}; {found.name} allows 0 to {kind.worst:g}: lower is better.")
    quality = kind.quality if options.crf is None else options.crf
    bits = max(component.bits for component in load_av().VideoFormat(pixel_format).components)
    if quality == 0 and kind.lossless and bits > kind.lossless_bits:
        raise ConfigError(
            f"--crf is 0, but {found.name} loses something of {bits} bit all the same; choose --video-codec ffv1 or "
            "hevc, or a --crf of 1 or more."
        )
    if quality == 0 and kind.lossless:
        for name, value in kind.lossless.items():
            settings[name] = f"{settings[name]}:{value}" if name == kind.params and name in settings else value
    elif quality is not None and kind.quality_option == "qscale":
        settings.update({"flags": "+qscale", "global_quality": str(round(quality * 118))})  # 118: FF_QP2LAMBDA
    elif quality is not None:
        settings[kind.quality_option] = f"{quality:g}"
    if options.preset is not None and kind.preset is None:
        raise ConfigError(f"--preset is {options.preset!r}, but {found.name} has no presets; leave it out.")
    if kind.preset is not None:
        settings["preset"] = options.preset or kind.preset
    written = _pixel_format(found, pixel_format)
    profiles = _PROFILES.get(found.name, {})
    if profile := profiles.get(tag, profiles.get(written)):
        settings["profile"] = profile
    return Encoder(found.name, found.canonical_name, written, settings)


def _find(codec: str, options: VideoOptions) -> Any:
    """The encoder that is asked for, as PyAV describes it."""
    av = load_av()
    wanted = codec if options.codec == "auto" else options.codec
    name = options.encoder or _BETTER.get(wanted, wanted)
    try:
        found = av.codec.Codec(name, "w")
        if found.type != "video":
            raise ValueError(name)
    except ValueError as error:
        if options.encoder is None:
            raise ConfigError(
                f"nothing that is installed writes {wanted}; choose another codec, such as --video-codec h264."
            ) from error
        raise ConfigError(
            f"--video-encoder is {name!r}, which is not there; {_close_names(name)}, or leave it out."
        ) from error
    if options.encoder and options.codec != "auto" and found.canonical_name != options.codec:
        raise ConfigError(
            f"--video-encoder {name} writes {found.canonical_name}, not the {options.codec} of --video-codec; leave "
            "one out."
        )
    return found


def _close_names(name: str) -> str:
    av = load_av()
    names = []
    for each in sorted(av.codec.codecs_available):
        try:
            found = av.codec.Codec(each, "w")
        except ValueError:
            continue
        if found.type == "video":
            names.append(found.name)
    close = difflib.get_close_matches(name, names, 4, 0.5) or ["libx264", "libx265", "libsvtav1", "ffv1"]
    return f"choose {', '.join(close)}"


def _pixel_format(found: Any, pixel_format: str) -> str:
    """The format in which an encoder takes the frames without loss."""
    allowed: list[str] = [each.name for each in found.video_formats or ()]
    plain = pixel_format.replace("yuvj", "yuv")  # the same with a range of its own, which is told besides
    if not allowed or pixel_format in allowed:
        return pixel_format
    if plain in allowed:
        return plain
    for name in allowed:
        if _kind_of_samples(name) == _kind_of_samples(plain):
            return name
    raise ConfigError(
        f"{found.name} cannot write frames of the format {pixel_format} without loss; choose another codec, such as "
        "--video-codec ffv1, or hevc for more than 8 bit."
    )


def _kind_of_samples(pixel_format: str) -> tuple[object, ...]:
    """The same for formats that hold the same samples, whatever their order."""
    found = load_av().VideoFormat(pixel_format)
    bits = tuple(sorted(component.bits for component in found.components))
    return found.is_rgb, found.has_palette, bits, found.chroma_width(8), found.chroma_height(8)


@dataclasses.dataclass(frozen=True)
class Look:
    """What a film says about its frames besides their samples, as FFmpeg counts it."""

    range: int = 0
    matrix: int = _UNKNOWN
    primaries: int = _UNKNOWN
    transfer: int = _UNKNOWN
    chroma_place: str = "unspecified"
    aspect: Fraction | None = None
    """Width of a pixel over its height; ``None``: not told."""
    mastering_display: bytes = b""
    """``AVMasteringDisplayMetadata``; empty: not told."""
    light_level: bytes = b""
    """``AVContentLightMetadata``."""
    is_interlaced: bool = False

    @classmethod
    def of(cls, frame: Any, *, chroma_place: str | None = None, aspect: Fraction | None = None) -> "Look":
        """Of the first frame of a film, an ``av.VideoFrame``."""
        types = load_av().sidedata.sidedata.Type
        data = {each.type: bytes(each) for each in frame.side_data}
        return cls(
            range=int(frame.color_range),
            matrix=int(frame.colorspace),
            primaries=int(frame.color_primaries),
            transfer=int(frame.color_trc),
            chroma_place=chroma_place or "unspecified",
            aspect=aspect or None,
            mastering_display=data.get(types.MASTERING_DISPLAY_METADATA, b""),
            light_level=data.get(types.CONTENT_LIGHT_LEVEL, b""),
            is_interlaced=bool(frame.interlaced_frame),
        )


def open_encoder(
    encoder: Encoder, size: tuple[int, int], rate: Fraction, look: Look, *, has_global_header: bool
) -> Any:
    """An encoder that is ready for frames, an ``av.VideoCodecContext``. Its time base is ``1 / rate``.

    Args:
        size: (width, height) of the frames as they are coded, before any rotation.
        has_global_header: whether the container keeps what a decoder needs first in its own header.

    Raises:
        ConfigError: if it does not take these settings.
    """
    av = load_av()
    context = av.CodecContext.create(encoder.name, "w")
    prepare(context, encoder, size, rate, look)
    context.time_base = 1 / rate
    if has_global_header:
        context.flags |= av.codec.context.Flags.global_header
    try:
        context.open()
    except (av.error.FFmpegError, ValueError) as error:
        given = " ".join(f"{name}={value}" for name, value in encoder.options.items())
        raise ConfigError(
            f"{encoder.name} does not take frames of {size[0]}x{size[1]} {encoder.pixel_format} with {given} "
            f"({brief(error)}); change --crf, --preset or --video-encoder, or choose --video-codec ffv1."
        ) from error
    return context


def prepare(context: Any, encoder: Encoder, size: tuple[int, int], rate: Fraction, look: Look) -> None:
    """Give an ``av.VideoCodecContext`` that is not open yet its settings."""
    os.environ.setdefault("SVT_LOG", "1")  # errors only; it has no other switch
    context.width, context.height = size
    context.pix_fmt = encoder.pixel_format
    context.framerate = rate
    context.color_range, context.colorspace = look.range, look.matrix
    context.color_primaries, context.color_trc = look.primaries, look.transfer
    if look.aspect:
        context.sample_aspect_ratio = look.aspect
    context.thread_count = _THREADS
    context.thread_type = "FRAME" if encoder.name.startswith("libx26") else "AUTO"  # x264: no slices
    context.options = {**encoder.options, **_described(encoder, look)}


def _sound_instructions(encoder: Encoder) -> list[str]:
    """Settings that keep an encoder off instructions of the processor with which it goes wrong.

    With those of 512 bits, x264 (core 165) reads memory that it has not set, where it looks ahead over B frames:
    the result is another one each time, though no worse.
    """
    if encoder.name != "libx264":
        return []
    import torch  # knows the processor, on every system

    return ["asm=AVX2"] if torch.backends.cpu.get_cpu_capability().startswith(("AVX512", "AMX")) else []


def _described(encoder: Encoder, look: Look) -> dict[str, str]:
    """Options that tell an encoder what it writes about the frames."""
    options = {"chroma_sample_location": look.chroma_place}
    if look.is_interlaced and encoder.name in ("libx264", "mpeg2video", "mpeg4"):
        options["flags"] = encoder.options.get("flags", "") + "+ildct+ilme"
    kind = _KINDS.get(encoder.name, _ANY)
    if kind.params is not None and kind.mastering is not None:
        settings = [encoder.options.get(kind.params, ""), *_sound_instructions(encoder)]
        settings += [f"{kind.mastering[0]}={_display(look, encoder.name)}"] if _display(look, encoder.name) else []
        if look.light_level:
            settings.append("{}={},{}".format(kind.mastering[1], *struct.unpack_from("II", look.light_level)))
        if any(settings):
            options[kind.params] = ":".join(each for each in settings if each)
    return options


def _display(look: Look, encoder: str) -> str:
    """The mastering display as the libraries spell it: ``G(x,y)B(x,y)R(x,y)WP(x,y)L(max,min)``."""
    if len(look.mastering_display) < 88:
        return ""
    numbers = struct.unpack_from("22i", look.mastering_display)
    has_primaries, has_luminance = struct.unpack_from("ii", look.mastering_display, 80)
    if not (has_primaries and has_luminance) or 0 in numbers[1:20:2]:
        return ""
    red, green, blue, white = (
        [Fraction(*numbers[place : place + 2]) for place in (4 * each, 4 * each + 2)] for each in range(4)
    )
    darkest, brightest = Fraction(*numbers[16:18]), Fraction(*numbers[18:20])
    steps = (1, 1) if encoder == "libsvtav1" else (50000, 10000)  # SVT-AV1 takes the values themselves

    def pair(name: str, values: list[Fraction], step: int) -> str:
        shown = (f"{float(value):.6g}" if step == 1 else str(round(value * step)) for value in values)
        return f"{name}({','.join(shown)})"

    return "".join(
        (
            *(pair(name, place, steps[0]) for name, place in (("G", green), ("B", blue), ("R", red), ("WP", white))),
            pair("L", [brightest, darkest], steps[1]),
        )
    )
