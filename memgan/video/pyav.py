"""The one place that imports PyAV, which brings FFmpeg, and what differs between its versions."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from memgan.errors import MissingDependencyError

OLDEST = (17, 1)
"""Earlier ones ignore range and matrix in conversions, and cannot write rotations."""


def load_av() -> Any:
    """The module ``av``, which passes on nothing of what FFmpeg logs, as is its default.

    Its handler of messages takes Python's lock, in threads of FFmpeg too. Whoever frees an encoder holds that lock
    until those threads end, so that a message at that moment stops both for good. Some versions of torchvision switch
    the handler on when they are imported.

    Raises:
        MissingDependencyError: if it is not installed or too old; the message names the extra that brings it.
    """
    wanted = f"Films need PyAV {'.'.join(map(str, OLDEST))} or later"
    try:
        import av
        import av.filter
        import av.logging
        import av.video.reformatter
    except ImportError as error:
        raise MissingDependencyError(f"{wanted}: pip install 'memgan[video]'") from error
    if tuple(int(part) for part in av.__version__.split(".")[:2]) < OLDEST:
        raise MissingDependencyError(f"{wanted}; {av.__version__} is installed: pip install -U 'memgan[video]'")
    if av.logging.get_level() is not None:
        av.logging.set_level(None)
    return av


def fraction(value: Any) -> Fraction | None:
    """A ratio as PyAV gives it: ``None`` where it is unknown, which is zero from PyAV 19 on."""
    return Fraction(int(value.numerator), int(value.denominator)) if value else None


def reformatted(frame: Any, **changes: Any) -> Any:
    """A frame of PyAV converted by swscale on one thread, without keeping its tables alive as long as the frame."""
    return load_av().video.reformatter.VideoReformatter().reformat(frame, threads=1, **changes)


def filtered(frame: Any, *filters: tuple[str, str | None]) -> Any:
    """A new frame of PyAV, by filters of FFmpeg, each with its arguments. All tags and side data are kept.

    Every call makes its own graph, in 0.2 ms, so that threads need not wait for one another.
    """
    graph = load_av().filter.Graph()
    graph.threads = 1
    time_base = fraction(frame.time_base) or Fraction(1, 1000)
    node = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=time_base)
    for name, arguments in (*filters, ("buffersink", None)):
        following = graph.add(name, arguments)
        node.link_to(following)
        node = following
    graph.configure()
    graph.vpush(frame)
    return graph.vpull()


def copied(frame: Any) -> Any:
    """A frame of PyAV with samples of its own: those of a decoded one may serve to decode others."""
    return filtered(frame, ("copy", None))


def cropped(frame: Any, box: Sequence[int]) -> Any:
    """The part (left, top, right, bottom) of a frame of PyAV, with samples of its own."""
    left, top, right, bottom = box
    return filtered(frame, ("crop", f"{right - left}:{bottom - top}:{left}:{top}:exact=1"), ("copy", None))


def open_container(path: Path) -> Any:
    """Opens a file on disk to be read by PyAV; nothing that it names is opened with it. Close it: they leak otherwise.

    Raises:
        av.error.FFmpegError: if it cannot be opened, or is nothing that FFmpeg knows.
    """
    av = load_av()
    # PyAV 19 has no such argument: there, what is not UTF-8 in titles and the like is always let through.
    encoding = {} if int(av.__version__.split(".")[0]) >= 19 else {"metadata_errors": "surrogateescape"}
    return av.open(f"file:{path}", options={"protocol_whitelist": "file"}, **encoding)
