"""Lists the options of a film's restoration, each with its help text and what is allowed. Loads nothing heavy."""

import dataclasses

from memgan.errors import ConfigError
from memgan.runtime.options import check_options, option

CODECS = ("auto", "h264", "hevc", "av1", "ffv1")
CONTAINERS = ("auto", "mp4", "mov", "mkv", "webm", "avi")


def frame_range(frames: str) -> tuple[int, int | None]:
    """First frame, and the one after the last (``None``: to the end), of ``A:B``.

    Raises:
        ConfigError: if it is no range, or an empty one.
    """
    try:
        start, stop = (int(part) if part else None for part in frames.split(":"))
    except (AttributeError, ValueError):
        start, stop = -1, None
    start = 0 if start is None else start
    if start < 0 or (stop is not None and stop <= start):
        raise ConfigError(
            f"--frames is {frames!r}; give two numbers of frames, A:B, from frame A, counted from 0, to the one before "
            "B, such as 0:250 or 100: for all from 100 on."
        )
    return start, stop


@dataclasses.dataclass(frozen=True)
class VideoOptions:
    """How a film is read and written.

    Raises:
        ConfigError: if an option is not allowed.
    """

    codec: str = option(
        "auto",
        "codec of the result (default: auto, the input's; ffv1 and h264 with --crf 0 lose nothing)",
        group="films",
        words=("--video-codec",),
        choices=CODECS,
    )
    encoder: str | None = option(
        None,
        "what encodes it, such as libx264, libsvtav1, h264_nvenc (default: the best that is there)",
        group="films",
        words=("--video-encoder",),
        metavar="NAME",
    )
    crf: float | None = option(
        None,
        "quality of the result, as the encoder counts it: lower is better and larger (default: hardly any loss)",
        group="films",
        metavar="Q",
        low=0,
        parse=float,
    )
    preset: str | None = option(
        None, "speed of the encoder, such as veryfast, slow (default: its own)", group="films", metavar="NAME"
    )
    container: str = option(
        "auto", "type of the result's file (default: auto, the input's)", group="films", choices=CONTAINERS
    )
    frames: str | None = option(
        None, "restore frame A, counted from 0, to the one before B, and write only these", group="films", metavar="A:B"
    )
    steadiness: float = option(
        0.9,
        "how much of a restored face is kept from frame to frame where only motion changes it, from 0, each frame for "
        "itself, to 1 (default: 0.9)",
        group="films",
        metavar="S",
        low=0,
        high=1,
    )
    every: int = option(
        1,
        "run the network on every Nth frame of a face and carry its detail to those between (default: 1)",
        group="films",
        metavar="N",
        low=1,
    )

    def __post_init__(self) -> None:
        check_options(self)
        for name in ("encoder", "preset"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, str) or not value):
                raise ConfigError(f"{name} is {value!r}; give its name as a string, or leave it out.")
        if self.frames is not None:
            frame_range(self.frames)

    @property
    def range(self) -> tuple[int, int | None]:
        """First frame, and the one after the last; ``None``: to the end."""
        return (0, None) if self.frames is None else frame_range(self.frames)
