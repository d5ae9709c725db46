"""Says which command does the same as the page."""

import dataclasses
import shlex

from memgan.apps.files.restore_options import PartOptions
from memgan.restoration.options import RestoreOptions
from memgan.runtime.options import option_of
from memgan.runtime.per_face import PerFace, Setting
from memgan.video.options import VideoOptions

_DEFAULT = RestoreOptions(upscale=1)
_NOT_SAID = {"bg_upsampler", "bg_tile", "threads"}  # the first two where they are used; the last changes no result


def of_picture(name: str, options: RestoreOptions, parts: PartOptions, *, upsampled: bool = False) -> str:
    """The command that writes a picture as the page does."""
    words = _looks(options)
    if options.reliability:
        words.append("--reliability")
    if upsampled:
        words += _upsampler("realesrgan" if parts.bg_upsampler == "none" else parts.bg_upsampler, parts)
    return _command(name, words, parts)


def of_film(name: str, options: RestoreOptions, video: VideoOptions, parts: PartOptions) -> str:
    """The command that writes a film as the page does."""
    words = _looks(options)
    default = VideoOptions()
    if video.steadiness != default.steadiness:
        words += ["--steadiness", _number(video.steadiness)]
    if video.every != default.every:
        words += ["--every", str(video.every)]
    if parts.bg_upsampler != "none":
        words += _upsampler(parts.bg_upsampler, parts)
    return _command(name, words, parts)


def _upsampler(name: str, parts: PartOptions) -> list[str]:
    tile = [] if parts.bg_tile == PartOptions().bg_tile else ["--bg-tile", str(parts.bg_tile)]
    return ["--bg-upsampler", name, *tile]


def _looks(options: RestoreOptions) -> list[str]:
    words = []
    if options.face_index is not None:
        words += ["--face-index", ",".join(map(str, options.face_index))]
    for word, own, usual in (
        ("--weight", options.weight, _DEFAULT.weight),
        ("--fidelity", options.fidelity, _DEFAULT.fidelity),
    ):
        if own != usual:
            words += [word, _said(own)]
    if options.upscale != 1:
        words += ["--upscale", _number(options.upscale)]
    if not options.color_lock:
        words.append("--no-color-lock")
    if options.grain != _DEFAULT.grain:
        words += ["--grain", _number(options.grain)]
    return words


def _command(name: str, words: list[str], parts: PartOptions) -> str:
    for field in dataclasses.fields(PartOptions):
        value = getattr(parts, field.name)
        if value == field.default or field.name in _NOT_SAID:
            continue
        word = next(iter(option_of(field).words), f"--{field.name.replace('_', '-')}")
        words += [word] if value is True else [word, str(value)]
    given = f"./{name}" if name.startswith("-") else name
    return shlex.join(["memgan", "restore", given, "-o", "results", *words])


def _said(setting: Setting) -> str:
    if isinstance(setting, PerFace):
        return ",".join(f"{index}={_number(value)}" for index, value in setting.values)
    return _number(setting)


def _number(value: float) -> str:
    """The shortest text that a program reads as this number."""
    short = f"{value:g}"
    return short if float(short) == value else repr(value)
