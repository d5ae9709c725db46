"""Restores films: every frame, every track of faces; everything else of the file is carried along."""

import dataclasses
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from memgan.errors import FilmError
from memgan.restoration.named_weights import state_digest
from memgan.restoration.options import RestoreOptions
from memgan.restoration.pipeline import Pipeline
from memgan.restoration.restorer import MemGANRestorer
from memgan.runtime.records import digest
from memgan.version import __version__
from memgan.video.film import Film, open_film
from memgan.video.film_work import FilmProgress, FilmResult, FilmWork
from memgan.video.options import VideoOptions
from memgan.video.stream import Stream
from memgan.video.writer import FilmWriter, check_output

_WITHOUT_EFFECT = {"max_batch", "overlap", "color", "evidence", "paste_back", "reliability", "has_aligned", "keep"}
"""Options of pictures that a film's pixels do not depend on."""


def _never() -> bool:
    return False


class VideoRestorer:
    """Restores films with the network, detector and options of a restorer.

    Args:
        restorer: its options hold for every frame. Numbers of faces (``weight``, ``fidelity``, ``face_index``) count
            tracks, the largest first.
        options: how films are read and written.

    Raises:
        MissingDependencyError: if PyAV is not installed.
    """

    def __init__(self, restorer: MemGANRestorer, options: VideoOptions | None = None) -> None:
        self.restorer, self.options = restorer, options or VideoOptions()

    def plan(
        self,
        path: str | os.PathLike[str],
        output: str | os.PathLike[str],
        *,
        options: RestoreOptions | None = None,
    ) -> list[str]:
        """Find out, before the work, whether a film can be read and its result be written; see :meth:`restore`.

        Returns:
            Notes on what cannot come along.

        Raises:
            FilmError: if it is no film that can be read.
            ConfigError: if the result cannot be written so; with what to choose instead.
        """
        with open_film(path) as film:
            return check_output(film, output, self.options, self._size(film, options or self.restorer.options))

    def restore(
        self,
        path: str | os.PathLike[str],
        output: str | os.PathLike[str],
        *,
        options: RestoreOptions | None = None,
        provenance: bool = True,
        progress: Callable[[FilmProgress], object] | None = None,
        stops: Callable[[], bool] = _never,
    ) -> FilmResult:
        """Restore a film. If it was begun before with the same options, it goes on where that has ended.

        Args:
            path: of the film.
            output: of the result; it appears when it is complete.
            options: instead of the restorer's.
            provenance: state in the file's comment that faces were restored, and how.
            progress: is told how far the work is, at every frame.
            stops: whether to stop; asked at every frame.

        Raises:
            FilmError: if the film cannot be read.
            ConfigError: if an option is not allowed, or the result cannot be written so.
            OutputError: if the result cannot be written.
        """
        options = self.restorer.options if options is None else options
        pipeline = self.restorer.pipeline
        pipeline.check_options(options)
        with open_film(path) as film:
            size = self._size(film, options)
            start, stop = self.options.range
            writer = FilmWriter(
                film,
                output,
                self.options,
                size=size,
                key=self._key(pipeline, options),
                start=start,
                stop=stop,
                cut=self.options.frames is not None,
                metadata={"comment": _comment(options)} if provenance else None,
            )
            with writer:
                work = FilmWork(film, writer, pipeline, options, self.options, progress, stops)
                return work.run(Path(output), size)

    def stream(self, frames: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Restore frames as they come, of a camera or of any other source.

        Faces are chosen, and the identity gate is asked, when a track begins; ``face_index`` counts the faces of that
        frame. Numbers of ``weight`` and ``fidelity`` count tracks in the order in which they begin.

        Args:
            frames: pictures of one size as :meth:`memgan.MemGANRestorer.enhance` takes them; may be endless.

        Yields:
            Every frame in its order, ``upscale`` times as large, after up to :attr:`delay` further ones were taken.

        Raises:
            ImageError: if a frame is no picture.
            FilmError: if its size is another one than that of the frames before.
        """
        pipeline = self.restorer.pipeline
        pipeline.check_options(self.restorer.options)
        return Stream(pipeline, self.restorer.options, self.options).run(frames)

    @property
    def delay(self) -> int:
        """Most frames that :meth:`stream` takes after a frame before it gives that."""
        return Stream(self.restorer.pipeline, self.restorer.options, self.options).delay

    def _size(self, film: Film, options: RestoreOptions) -> tuple[int, int] | None:
        """Width and height of the result, even as most codecs want it; ``None``: those of the film."""
        if options.upscale == 1:
            return None
        width, height = (int(side * options.upscale) // 2 * 2 for side in (film.info.width, film.info.height))
        if min(width, height) < 2:
            raise FilmError(
                f"{film.path} has {film.info.width} x {film.info.height} pixels; {options.upscale:g} times as large, "
                "nothing is left; choose another upscale"
            )
        return width, height

    def _key(self, pipeline: Pipeline, options: RestoreOptions) -> str:
        """Equal where the restored frames are."""
        chosen = {name: value for name, value in dataclasses.asdict(options).items() if name not in _WITHOUT_EFFECT}
        return digest(
            {
                **chosen,
                "every": self.options.every,
                "steadiness": self.options.steadiness,
                "weights": state_digest(pipeline.network),
                "network": type(pipeline.network).__name__,
                "dtype": str(pipeline.settled_dtype),
                "device": pipeline.device.type,
                "detector": _name_of(pipeline.detector),
                "mask": _name_of(pipeline.mask),
                "identity": None if pipeline.identity is None else repr(dataclasses.replace(pipeline.identity)),
                "upsampler": _name_of(pipeline.bg_upsampler),
                "version": __version__,
            }
        )


def _comment(options: RestoreOptions) -> str:
    """What a film's comment says of the restoration, in the words of pictures' notes."""
    settings = {
        "strength": options.weight,
        "fidelity": options.fidelity,
    }
    text = ", ".join(f"{name}: {value}" for name, value in (settings | options.stated).items())
    return f"Faces restored by memgan {__version__}, a trained network (compositeWithTrainedAlgorithmicMedia). {text}"


def _name_of(part: Any) -> str | None:
    """What is known of a part that may be anybody's."""
    kind = part if callable(part) and hasattr(part, "__qualname__") else type(part)
    return None if part is None else f"{kind.__module__}.{kind.__qualname__}"
