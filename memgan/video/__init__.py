"""Restores the faces of films: reads and writes frames, follows faces over time, carries everything else along.

Importing it is cheap: what needs torch or PyAV is loaded when it is first asked for.
"""

import importlib
import importlib.util

from memgan.video.formats import FILM_SUFFIXES, result_suffix
from memgan.video.options import VideoOptions

TYPE_CHECKING = False  # as typing's, whose import takes longer than all of this
if TYPE_CHECKING:
    from memgan.video.film import Film, FilmInfo, open_film
    from memgan.video.film_work import FilmProgress, FilmResult
    from memgan.video.frame import Frame
    from memgan.video.restorer import VideoRestorer
    from memgan.video.tracker import Tracker, track_faces
    from memgan.video.writer import FilmWriter

__all__ = [
    "FILM_SUFFIXES",
    "Film",
    "FilmInfo",
    "FilmProgress",
    "FilmResult",
    "FilmWriter",
    "Frame",
    "Tracker",
    "VideoOptions",
    "VideoRestorer",
    "is_available",
    "open_film",
    "result_suffix",
    "track_faces",
]
_PLACES = {
    "Film": "film",
    "FilmInfo": "film",
    "FilmProgress": "film_work",
    "FilmResult": "film_work",
    "FilmWriter": "writer",
    "Frame": "frame",
    "Tracker": "tracker",
    "VideoRestorer": "restorer",
    "open_film": "film",
    "track_faces": "tracker",
}


def is_available() -> bool:
    """Whether the packages that films need are installed."""
    return all(importlib.util.find_spec(name) is not None for name in ("av", "scipy"))


def __getattr__(name: str) -> object:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"memgan.video.{_PLACES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
