"""Restores many pictures for the page, one after the other, and packs the results."""

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath

from memgan.apps.files.inputs import InputFile
from memgan.apps.files.restore_files import FileRestorer
from memgan.apps.files.restore_options import FileOptions
from memgan.apps.files.restore_report import Summary
from memgan.apps.files.run import RunOptions, make_planner
from memgan.apps.web.archive import zip_folder
from memgan.apps.web.job import RUNNING, Job
from memgan.apps.web.lane import Stopped
from memgan.apps.web.studio import Studio
from memgan.apps.web.visitors import Visitor
from memgan.errors import ImageError, MemGANError
from memgan.image import open_pages
from memgan.restoration.options import RestoreOptions
from memgan.runtime.path_rules import folded
from memgan.runtime.records import FAILED
from memgan.video.formats import FILM_SUFFIXES
from memgan.video.options import VideoOptions


class FolderJob(Job):
    """Many pictures of a visitor. One that cannot be restored is named and left out.

    Args:
        paths: of the pictures, in folders of the visitor's; of equal names the later ones get a number.
        options: as ``memgan restore`` has them.
        upsampled: enlarge backgrounds with the network that is there.
    """

    def __init__(
        self,
        studio: Studio,
        visitor: Visitor,
        paths: Sequence[Path],
        options: RestoreOptions,
        *,
        upsampled: bool = False,
    ) -> None:
        super().__init__(studio, visitor)
        self.studio = studio
        self.options, self.upsampled = options, upsampled
        self._inputs = list(_named(paths))
        self._names = {item.path: item.name for item in self._inputs}
        self.problems: list[str] = []
        """What was left out and why, and what is odd."""
        self.summary = ""
        self.archive: Path | None = None
        """The zip file of all results; ``None``: there are none yet."""

    def file(self, what: str) -> Path | None:
        """See :meth:`Job.file`."""
        return self.archive if what == "all" else None

    def _work(self) -> None:
        studio, output = self.studio, self.folder / "results"
        asked = RunOptions(FileOptions(output=output), self.options, studio.parts, VideoOptions())
        output.mkdir()
        planner = make_planner(asked, studio.weights_of(self.options), folds=False)
        restorer = FileRestorer(
            studio.restorer,
            # Overlapping work would go on in threads while others have their turn.
            dataclasses.replace(self.options, overlap=False),
            planner,
            known=studio.known(self.options),
            stops=self.stops,
            pipeline=studio.pipeline(upsampled=self.upsampled),
        )
        total, summary, was_stopped = len(self._inputs), Summary(), False
        with contextlib.closing(restorer.run(self._accepted())) as rows:  # type: ignore[type-var]
            for done in range(total + 1):
                try:
                    with studio.lane.turn(urgent=False, stops=self.stops, tell=self._in_line):
                        self._tell(RUNNING, f"Restoring picture {min(done + 1, total)} of {total}", done, total)
                        given, row = next(rows, (None, None))
                except Stopped:
                    was_stopped = True
                    break
                if row is None or given is None:
                    break
                summary.add(row)
                name = self._names[given]
                if row.reason is not None:
                    reason = studio.without_folders(row.reason)
                    self.problems.append(_left_out(name, reason) if row.status == FAILED else f"{name}: {reason}")
                self.problems += [f"{name}: {note}" for note in row.notes]
        self._tell(RUNNING, "Packing the results", total, total)
        self.summary = summary.line(total)
        if any(output.iterdir()):
            self.archive = self.folder / "restored_by_memgan.zip"
            zip_folder(output, self.archive, studio.without_folders)
        if was_stopped or self.stops():
            raise Stopped

    def _accepted(self) -> Iterator[InputFile]:
        """The inputs that are worked on; each is looked at when its turn comes."""
        for item in self._inputs:
            try:
                if item.path.suffix.lower() in FILM_SUFFIXES:
                    raise ImageError(f"{item.name} is a film; give it under “Film”")
                self.studio.check_size(str(item.name), open_pages(item.path).num_pixels, self.options.upscale)
            except (MemGANError, OSError) as error:
                self.problems.append(_left_out(item.name, self.studio.explain(error)))
                continue
            yield item


def _left_out(name: PurePath, reason: str) -> str:
    """A line about an input; many reasons begin with its name."""
    return f"{name}: left out: {reason.removeprefix(f'{name} ')}"


def _named(paths: Sequence[Path]) -> Iterator[InputFile]:
    """Inputs with names that are all different, also where case does not count."""
    taken: set[str] = set()
    for path in paths:
        name, number = PurePath(path.name), 1
        while folded(name.as_posix()) in taken:
            number += 1
            name = PurePath(f"{path.stem} ({number}){path.suffix}")
        taken.add(folded(name.as_posix()))
        yield InputFile(path, name)
