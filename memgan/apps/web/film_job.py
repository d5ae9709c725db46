"""Restores a film for the page; between its frames those have their turn who wait for a single picture."""

import contextlib
import dataclasses
from pathlib import Path

from memgan.apps.web.job import RUNNING, Job
from memgan.apps.web.lane import Stopped
from memgan.apps.web.previews import picture_preview
from memgan.apps.web.studio import Studio
from memgan.apps.web.visitors import Visitor
from memgan.image import from_array
from memgan.restoration.options import RestoreOptions
from memgan.video.film import open_film
from memgan.video.film_work import FilmProgress
from memgan.video.formats import result_suffix
from memgan.video.options import VideoOptions
from memgan.video.restorer import VideoRestorer
from memgan.video.view import view_of

_STAGES = {"faces": "Finding faces", "looks": "Looking at faces", "restoring": "Restoring frames"}


class FilmJob(Job):
    """A film of a visitor.

    Args:
        path: of the film, in a folder of the visitor's.
        options, video: as ``memgan restore`` has them.
    """

    def __init__(
        self,
        studio: Studio,
        visitor: Visitor,
        path: Path,
        options: RestoreOptions,
        video: VideoOptions,
    ) -> None:
        super().__init__(studio, visitor)
        self.studio = studio
        self.path, self.options, self.video = path, options, video
        self.result: Path | None = None
        self.views: tuple[Path, Path] | None = None
        """A frame of the middle, before and after."""
        self.summary = ""
        self.notes: list[str] = []
        self._stage = ""

    def file(self, what: str) -> Path | None:
        """See :meth:`Job.file`."""
        return self.result if what == "film" else None

    def _work(self) -> None:
        studio = self.studio
        with open_film(self.path) as film:
            studio.check_size(self.path.name, film.info.width * film.info.height, self.options.upscale)
        target = self.folder / "results" / f"{self.path.stem}{result_suffix(self.path.suffix.lower(), self.video)}"
        target.parent.mkdir()
        restorer = VideoRestorer(studio.restorer, self.video)
        options = dataclasses.replace(self.options, reliability=False)
        self.notes += restorer.plan(self.path, target, options=options)
        with studio.lane.turn(urgent=False, stops=self.stops, tell=self._in_line):
            done = restorer.restore(self.path, target, options=options, progress=self._show, stops=self.stops)
        if not done.is_complete:
            raise Stopped
        self.notes += [*done.notes, *done.problems]
        count = len(done.tracks)
        faces = f"{count} face{'s' * (count != 1)} restored" if count else "No face was found that could be restored"
        self.summary = f"{faces}. {done.num_frames} frames"
        self._tell(RUNNING, "Looking at the result")
        middle = done.num_frames // 2
        self.views = self._frame(self.path, middle), self._frame(target, middle)
        self.result = target

    def _show(self, now: FilmProgress) -> None:
        if now.stage != self._stage:
            self._stage = now.stage
            self._begin_anew()
        self._tell(RUNNING, _STAGES.get(now.stage, "Writing the film"), now.done, now.total or 0)
        with contextlib.suppress(Stopped):  # the film asks that itself
            self.studio.lane.give_way(stops=self.stops, tell=self._in_line)

    def _frame(self, path: Path, number: int) -> Path:
        """A picture of one frame."""
        with open_film(path) as film:
            rgb = view_of(film.info).seen(next(film.frames(number, number + 1)).rgb())
        return picture_preview(from_array(rgb, "rgb"), self.folder / "previews")
