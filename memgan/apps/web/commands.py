"""Says which command does the same as the page."""

import shlex

from memgan.apps.files.restore_options import PartOptions
from memgan.restoration.options import RestoreOptions
from memgan.runtime.per_face import PerFace, Setting
from memgan.video.options import VideoOptions

_DEFAULT = RestoreOptions(upscale=1)


def of_picture(name: str, options: RestoreOptions, parts: PartOptions, *, upsampled: bool = False) -> str:
    """The command that writes a picture as the page does."""
    words = _looks(options)
    if options.reliability:
        words.append("--reliability")
    if upsampled:
        words += ["--bg-upsampler", "realesrgan" if parts.bg_upsampler == "none" else parts.bg_upsampler]
    return _command([name], words, parts)


def of_film(name: str, options: RestoreOptions, video: VideoOptions, parts: PartOptions) -> str:
    """The command that writes a film as the page does."""
    words = _looks(options)
    default = VideoOptions()
    if video.steadiness != default.steadiness:
        words += ["--steadiness", f"{video.steadiness:g}"]
    if video.every != default.every:
        words += ["--every", str(video.every)]
    return _command([name], words, parts)


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
        words += ["--upscale", f"{options.upscale:g}"]
    if not options.color_lock:
        words.append("--no-color-lock")
    if options.grain != _DEFAULT.grain:
        words += ["--grain", f"{options.grain:g}"]
    return words


def _command(names: list[str], words: list[str], parts: PartOptions) -> str:
    if parts.weights is not None:
        words = [*words, "--weights", parts.weights]
    if parts.mask != "soft":
        words = [*words, "--mask", parts.mask]
    if parts.detector != "embedded":
        words = [*words, "--detector", parts.detector]
    return shlex.join(["memgan", "restore", *names, "-o", "results", *words])


def _said(setting: Setting) -> str:
    if isinstance(setting, PerFace):
        return ",".join(f"{index}={value:g}" for index, value in setting.values)
    return f"{setting:g}"
