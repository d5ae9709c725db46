"""Holds what all visitors share: the restorer, the turns at it, the jobs and what is kept of them."""

import asyncio
import dataclasses
import functools
import importlib.util
import re
import secrets
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePath, PureWindowsPath
from typing import Any, Protocol, TypeVar

import torch

from memgan.apps.files.restore_files import adapted_options
from memgan.apps.files.restore_options import PartOptions
from memgan.apps.files.run import make_restorer, weights_of
from memgan.apps.web.job import Job
from memgan.apps.web.lane import Lane
from memgan.apps.web.visitors import Visitor, Visitors
from memgan.errors import ConfigError, ImageError, MemGANError, WeightsError
from memgan.restoration.background import BackgroundUpsampler
from memgan.restoration.options import RestoreOptions
from memgan.restoration.pipeline import Pipeline
from memgan.restoration.restorer import MemGANRestorer
from memgan.restoration.spandrel_upsampler import REAL_ESRGAN, SpandrelUpsampler, find_checkpoint
from memgan.runtime.per_face import is_everywhere

AnyJob = TypeVar("AnyJob", bound=Job)
Result = TypeVar("Result")


class BusyError(MemGANError):
    """Too many are in line."""


_KEPT_BYTES = 2**28  # of what the network has computed for pictures that are looked at
_MOST_JOBS = 30  # of a visitor: with a new one, the files of the oldest are removed
_LARGEST_RESULT = 4  # times the pixels that a picture may have
_THREADS = 32  # for what is asked for besides jobs


class Keeping(Protocol):
    """A job that keeps what the network has computed."""

    @property
    def is_there(self) -> bool:
        """Whether its files were not removed since."""

    @property
    def size_bytes(self) -> int:
        """About what it keeps."""

    def forget(self) -> int:
        """Drop that; bytes that this frees."""


class Studio:
    """Restores for all visitors, with one set of weights.

    Args:
        parts: of the restorer.
        visitors: their folders.
        max_megapixels: of a picture or of a film's frame.
        queue: jobs that may be waiting or at work.

    Raises:
        ConfigError, WeightsError: as :class:`memgan.MemGANRestorer`.
    """

    def __init__(
        self, parts: PartOptions, visitors: Visitors, *, max_megapixels: float = 64.0, queue: int = 20
    ) -> None:
        self.parts, self.visitors = parts, visitors
        self.max_megapixels, self.queue = max_megapixels, queue
        self.restorer: MemGANRestorer = make_restorer(parts, RestoreOptions())
        self.lane = Lane()
        self._lock = threading.Lock()
        self._jobs: dict[str, Job] = {}
        self._kept: list[Keeping] = []  # the one that was looked at last comes last
        self._weights: dict[tuple[bool, bool], dict[str, str]] = {}
        self._run = secrets.token_hex(8)
        self._upsampler: BackgroundUpsampler | None = None
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="memgan-page")

    async def aside(self, work: Callable[..., Result], *args: object) -> Result:
        """Let a thread do what takes long or waits for its turn; meanwhile the page answers others.

        The threads are the studio's own, so that requests which do not wait for turns never wait for these.
        """
        return await asyncio.get_running_loop().run_in_executor(self._threads, functools.partial(work, *args))

    def adapted(self, options: RestoreOptions) -> RestoreOptions:
        """Options as ``memgan restore`` would use them here, so that the same options give the same file."""
        return adapted_options(self.restorer, options)

    def pipeline(self, *, upsampled: bool) -> Pipeline:
        """The restorer's pipeline, with its background upsampler or without."""
        pipeline = self.restorer.pipeline
        if not upsampled:
            return dataclasses.replace(pipeline, bg_upsampler=None)
        with self._lock:
            if self._upsampler is None:
                self._upsampler = pipeline.bg_upsampler or SpandrelUpsampler(
                    REAL_ESRGAN, device=self.parts.device, tile=self.parts.bg_tile
                )
        return dataclasses.replace(pipeline, bg_upsampler=self._upsampler)

    @functools.cached_property
    def has_upsampler(self) -> bool:
        """Whether there is a network on this machine that enlarges backgrounds."""
        if self.restorer.pipeline.bg_upsampler is not None:
            return True
        try:
            find_checkpoint(REAL_ESRGAN)
        except WeightsError:
            return False
        return importlib.util.find_spec("spandrel") is not None

    @property
    def has_dial(self) -> bool:
        """Whether faces can be restored at other settings of fidelity than 0."""
        return self.restorer.pipeline.dial is not None

    @property
    def has_estimator(self) -> bool:
        """Whether it can be said how far a face may be from the truth."""
        return self.restorer.pipeline.estimator is not None

    def check_size(self, name: str, num_pixels: int, upscale: float) -> None:
        """Refuse what is too large for the page.

        Raises:
            ImageError: if it has more than ``max_megapixels``, or its result would have more than four times as many.
        """
        if num_pixels > self.max_megapixels * 1e6:
            raise ImageError(
                f"{name} has {num_pixels / 1e6:.0f} megapixels; this page takes up to {self.max_megapixels:g}. "
                "Make it smaller, or restore it with the command `memgan restore`."
            )
        largest, result = _LARGEST_RESULT * self.max_megapixels, num_pixels * upscale**2 / 1e6
        if result > largest:
            raise ImageError(
                f"{name} would become a picture of {result:.0f} megapixels; this page makes up to {largest:g}. Choose "
                "a smaller size of the result, or restore it with the command `memgan restore`."
            )

    def start(self, job: Job) -> None:
        """Let a job run in a thread of its own; one that is over may run again.

        Raises:
            BusyError: if as many as allowed are waiting already, or this one is at work. The files of a new job are
                removed then.
        """
        with self._lock:
            others = {token: one for token, one in self._jobs.items() if one.is_there and one is not job}
            is_new = self._jobs.get(job.token) is not job
            if not is_new and not job.progress.is_over:
                raise BusyError("This is being restored just now. Please wait until it is done.")
            if sum(not one.progress.is_over for one in others.values()) > self.queue:
                if is_new:
                    shutil.rmtree(job.folder, ignore_errors=True)
                raise BusyError(
                    f"There are {self.queue} pictures and folders in line already. Please try again in a few minutes."
                )
            own = [one for one in others.values() if one.visitor == job.visitor and one.progress.is_over]
            for old in own[: max(0, len(own) + 1 - _MOST_JOBS)]:
                shutil.rmtree(old.folder, ignore_errors=True)
                others.pop(old.token)
            self._kept = [one for one in self._kept if one.is_there]
            job.begin()
            self._jobs = {**others, job.token: job}  # whoever looks through the old ones meanwhile is not disturbed
        threading.Thread(target=job.run, name="memgan-job", daemon=True).start()

    def job(self, visitor: Visitor, token: str | None, kind: type[AnyJob]) -> AnyJob:
        """A visitor's own job.

        Raises:
            ConfigError: if there is none: its files were removed, or it is somebody else's.
        """
        found = self._own(visitor, token)
        if not isinstance(found, kind):
            raise ConfigError(
                "This is not here any more: files are removed when the page is left. Please add it again."
            )
        return found

    def is_own(self, visitor: Visitor, token: str) -> bool:
        """Whether a visitor has a job of this name."""
        return self._own(visitor, token) is not None

    def _own(self, visitor: Visitor, token: str | None) -> Job | None:
        found = self._jobs.get(token or "")
        return found if found is not None and found.visitor == visitor and found.is_there else None

    def download(self, visitor: Visitor, token: str, what: str) -> tuple[Path, str]:
        """A file of a visitor's own job, and how it is called.

        Args:
            what: ``photograph``, ``film``, or ``all``, a zip file.

        Raises:
            ConfigError: if there is none.
            OutputError: if it cannot be written.
        """
        found = self.job(visitor, token, Job)
        if not found.progress.is_over:
            raise ConfigError("This is being restored just now. Please wait until it is done.")
        with self.visitors.in_use(visitor):
            path = found.file(what)
        if path is None:
            raise ConfigError(f"There is no {what} to download here.")
        return path, found.result_name if what == "photograph" else path.name

    @property
    def num_waiting(self) -> int:
        """Jobs that are not over."""
        return sum(not job.progress.is_over for job in self._jobs.values())

    def stop(self, visitor: Visitor, token: str | None) -> None:
        """Ask a visitor's own job to end."""
        found = self._own(visitor, token)
        if found is not None:  # one whose files are gone stops by itself
            found.stop()

    def last(self, visitor: Visitor, kind: type[AnyJob]) -> AnyJob | None:
        """The job of this kind that a visitor began last, if it is still there."""
        own = [job for job in self._jobs.values() if isinstance(job, kind) and job.visitor == visitor and job.is_there]
        return own[-1] if own else None

    def keep(self, job: Keeping) -> None:
        """Keep what the network computed for a picture that is looked at, and drop that of others if it is too much."""
        with self._lock:
            self._kept = [one for one in self._kept if one is not job and one.is_there]
            used = sum(one.size_bytes for one in self._kept) + job.size_bytes
            for old in list(self._kept):
                if used <= _KEPT_BYTES:
                    break
                used -= old.forget()
                if not old.size_bytes:  # one that somebody is at cannot be dropped just now
                    self._kept.remove(old)
            self._kept.append(job)

    def weights_of(self, options: RestoreOptions) -> dict[str, str]:
        """Names and sums of the weights that these options use."""
        key = is_everywhere(options.fidelity, 0), options.reliability
        if key not in self._weights:
            self._weights[key] = weights_of(self.parts, options, offline=True)
        return self._weights[key]

    def known(self, options: RestoreOptions) -> dict[str, Any]:
        """Fields of the records of all that is restored here."""
        return {
            "run": self._run,
            "weights": self.weights_of(options),
            "device": str(self.restorer.device),
            "backend": self.parts.backend,
        }

    def explain(self, error: BaseException) -> str:
        """What went wrong, for people: without the folders of this machine."""
        if isinstance(error, MemoryError | torch.cuda.OutOfMemoryError):
            return "There is not enough memory for this picture. Please try a smaller one."
        if isinstance(error, OSError) and not isinstance(error, MemGANError):
            reason = error.strerror or self.without_folders(str(error))
            return f"A file cannot be read or written on this machine ({reason}). Please add it again."
        return self.without_folders(str(error))

    def without_folders(self, text: str) -> str:
        """A text in which files of visitors are called by their names alone."""
        return without_folders(text, self.visitors.root)


def without_folders(text: str, root: PurePath) -> str:
    """A text in which what lies below ``root`` is called by its name alone."""
    # Within quotation marks, backslashes are twice there.
    slashes = r"[/\\]+" if isinstance(root, PureWindowsPath) else "/"
    path = slashes.join(map(re.escape, re.split(slashes, str(root))))
    return re.sub(rf"{path}{slashes}(?:[\w-]+{slashes})*", "", text)
