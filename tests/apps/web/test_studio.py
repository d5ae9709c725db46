"""What visitors of the page share: jobs, limits, and that nobody sees what is not theirs."""

import gc
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath

import cv2
import pytest
import torch
from fakes import scene
from page_studio import Workshop, failed, runs, wait_until, workshop

from memgan.apps.web import studio as module
from memgan.apps.web.film_job import FilmJob
from memgan.apps.web.folder_job import FolderJob
from memgan.apps.web.job import Job
from memgan.apps.web.picture_job import Looks, PictureJob
from memgan.apps.web.studio import BusyError, without_folders
from memgan.errors import ConfigError, ImageError, OutputError
from memgan.restoration.options import RestoreOptions

PLAIN = RestoreOptions(upscale=1)
PNG = bytes(cv2.imencode(".png", scene())[1])


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workshop]:
    with workshop(tmp_path, monkeypatch, queue=2) as made:
        yield made


def job_of(shop: Workshop, visitor: str = "anna") -> PictureJob:
    return PictureJob(shop.studio, shop.visitor(visitor), shop.sent("a.png", PNG, visitor), PLAIN)


class Failing(Job):
    """A job that goes wrong."""

    error: BaseException = KeyError("inside")

    def _work(self) -> None:
        raise self.error


# -- limits ----------------------------------------------------------------------------------------------------------


def test_only_so_many_are_in_line(shop: Workshop) -> None:
    jobs = [job_of(shop, f"visitor{number}") for number in range(3)]
    too_many = job_of(shop, "late")
    with shop.studio.lane.turn(urgent=True, stops=lambda: False):
        for job in jobs:
            shop.studio.start(job)
        assert shop.studio.num_waiting == 3, "one is at work, two are in line"
        with pytest.raises(BusyError, match=r"There are 2 pictures and folders in line already.* in a few minutes"):
            shop.studio.start(too_many)
        assert not too_many.folder.exists(), "nothing stays of what is not taken"
    assert all(job.wait(30) for job in jobs) and shop.studio.num_waiting == 0
    assert shop.done(job_of(shop, "late")).progress.status == "done"


def test_a_job_at_work_is_not_begun_again(shop: Workshop) -> None:
    job = job_of(shop)
    with shop.studio.lane.turn(urgent=True, stops=lambda: False):
        shop.studio.start(job)
        for _ in range(3):
            with pytest.raises(BusyError, match="being restored just now"):
                shop.studio.start(job)
        with pytest.raises(ConfigError, match="being restored just now"):  # or its thread would wait for the result
            shop.studio.download(shop.visitor(), job.token, "photograph")
        assert sum(thread.name == "memgan-job" for thread in threading.enumerate()) == 1
    assert job.wait(30) and job.folder.exists()
    assert shop.done(job).progress.status == "done"


def test_memory_is_bounded_and_the_oldest_goes(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = [shop.done(job_of(shop)) for _ in range(3)]
    size = jobs[0].size_bytes
    assert [job.size_bytes for job in jobs] == [size] * 3
    monkeypatch.setattr(module, "_KEPT_BYTES", int(2.5 * size))
    shop.studio.keep(jobs[0])
    assert [job.size_bytes > 0 for job in jobs] == [True, False, True], "the one looked at longest ago"
    jobs[1].change(Looks([1.0, 1.0], [0], True, 0.5))
    assert [job.size_bytes > 0 for job in jobs] == [True, True, False]


def test_one_that_is_in_use_is_dropped_later(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    used, new = (shop.done(job_of(shop)) for _ in range(2))
    monkeypatch.setattr(module, "_KEPT_BYTES", 1)
    locked, go_on = threading.Event(), threading.Event()

    def use() -> None:
        with used._lock:
            locked.set()
            go_on.wait(30)

    thread = threading.Thread(target=use, daemon=True)
    thread.start()
    assert locked.wait(30)
    shop.studio.keep(new)
    assert used.size_bytes > 0
    go_on.set()
    thread.join()
    shop.studio.keep(new)
    assert used.size_bytes == 0, "it was not lost sight of"


def test_a_visitor_keeps_the_last_jobs_only(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_JOBS", 3)
    other = shop.done(job_of(shop, "ben"))
    jobs = [shop.done(job_of(shop)) for _ in range(5)]
    assert [job.is_there for job in jobs] == [False, False, True, True, True] and other.is_there
    shop.done(jobs[2])
    assert shop.studio.last(shop.visitor(), PictureJob) is jobs[2], "the one that was begun last"
    shop.done(job_of(shop))
    assert [job.is_there for job in jobs] == [False, False, True, False, True]


def test_jobs_of_visitors_who_are_gone_take_no_memory(shop: Workshop) -> None:
    gone = shop.done(job_of(shop))
    seen = weakref.ref(gone)
    kept = weakref.ref(gone._kept)
    shop.visitors._set_aside(shop.visitor().key)
    shop.visitors.sweep()
    with pytest.raises(ConfigError, match="not here any more"):
        shop.studio.job(shop.visitor(), gone.token, PictureJob)
    del gone
    other = shop.done(job_of(shop, "ben"))
    gc.collect()
    assert other.is_there and seen() is None and kept() is None
    assert len(shop.studio._jobs) == 1


# -- whose -----------------------------------------------------------------------------------------------------------


def test_nobody_gets_the_job_of_somebody_else(shop: Workshop) -> None:
    job, ben = shop.done(job_of(shop)), shop.visitor("ben")
    for ask in (
        lambda: shop.studio.job(ben, job.token, PictureJob),
        lambda: shop.studio.download(ben, job.token, "photograph"),
        lambda: shop.studio.job(shop.visitor(), "0" * 32, PictureJob),
        lambda: shop.studio.job(shop.visitor(), None, PictureJob),
        lambda: shop.studio.job(shop.visitor(), job.token, FolderJob),
        lambda: shop.studio.job(shop.visitor(), f"../{job.token}", PictureJob),
    ):
        with pytest.raises(ConfigError, match="not here any more"):
            ask()
    assert shop.studio.last(ben, PictureJob) is None and not shop.studio.is_own(ben, job.token)
    assert shop.studio.last(shop.visitor(), FilmJob) is None
    shop.studio.stop(ben, job.token)
    assert not job.stops(), "nor stops it"
    shop.studio.stop(shop.visitor(), job.token)
    assert job.stops()
    shop.studio.stop(shop.visitor(), None)


def test_what_can_be_downloaded(shop: Workshop) -> None:
    job = shop.done(job_of(shop))
    visitor = shop.visitor()
    assert shop.studio.download(visitor, job.token, "photograph") == (job.result(), "a_restored.png")
    assert shop.studio.download(visitor, job.token, "all")[1] == "a_memgan.zip"
    for what in ("film", "", "../a.png", "token"):
        with pytest.raises(ConfigError, match="There is no"):
            shop.studio.download(visitor, job.token, what)


def test_many_begin_and_look_at_once(shop: Workshop) -> None:
    shop.studio.queue = 1000
    jobs = iter([job_of(shop, f"visitor{number % 5}") for number in range(20)])
    lock = threading.Lock()

    def visit() -> None:
        for _ in range(5):
            with lock:
                job = next(jobs)
            shop.studio.start(job)
            for _ in range(50):
                shop.studio.last(shop.visitor("visitor1"), PictureJob)
                assert shop.studio.num_waiting >= 0
            assert job.wait(30)

    runs(visit, 4)
    assert shop.studio.num_waiting == 0


# -- what is said ----------------------------------------------------------------------------------------------------

KEY = "0123456789abcdef" * 2


@pytest.mark.parametrize(
    ("root", "text"),
    [
        (PurePosixPath("/tmp/memgan-app-1a"), f"/tmp/memgan-app-1a/{KEY}/{KEY}/"),
        (
            PurePosixPath("/tmp/a+b (c)[d]/memgan-app-1a"),
            f"/tmp/a+b (c)[d]/memgan-app-1a/{KEY}/{KEY}/results/restored_imgs/",
        ),
        (
            PureWindowsPath(r"C:\Users\Jo Ann\Temp\memgan-app-1a"),
            rf"C:\Users\Jo Ann\Temp\memgan-app-1a\{KEY}\{KEY}\ ".strip(),
        ),
        (PureWindowsPath(r"C:\Temp\memgan-app-1a"), rf"C:\\Temp\\memgan-app-1a\\{KEY}\\{KEY}\\results\\"),
        (PureWindowsPath(r"\\server\share\memgan-app-1a"), rf"\\server\share\memgan-app-1a\{KEY}\ ".strip()),
    ],
)
@pytest.mark.parametrize("name", ["a.png", "(a+b) [c] $^ .*.png", "Größe 'n „Maß“.jpg", r"\d+\1.png"])
def test_files_are_called_by_their_names(root: PurePosixPath | PureWindowsPath, text: str, name: str) -> None:
    if "\\" in name and isinstance(root, PureWindowsPath):
        pytest.skip("no name of Windows has that")
    said = without_folders(f"cannot read {text}{name}: 'x', and {text}{name} again", root)
    assert said == f"cannot read {name}: 'x', and {name} again"


def test_other_paths_stay(shop: Workshop) -> None:
    assert shop.studio.without_folders("/tmp and /usr/x/y") == "/tmp and /usr/x/y"


def test_errors_for_people(shop: Workshop) -> None:
    path = shop.visitors.root / KEY / KEY / "a.png"
    explain = shop.studio.explain
    for error, said in (
        (ImageError(f"{path} is no picture"), "a.png is no picture"),
        (OutputError(f"{path} cannot be written"), "a.png cannot be written"),
        (OSError(28, "No space left on device", str(path)), "(No space left on device)"),
        (OSError(f"cannot identify image file '{path}'"), "(cannot identify image file 'a.png')"),
        (MemoryError(), "not enough memory"),
        (torch.cuda.OutOfMemoryError("CUDA out of memory"), "not enough memory"),
    ):
        assert said in explain(error) and str(shop.folder) not in explain(error) and KEY not in explain(error)


@pytest.mark.parametrize("error", [MemoryError(), torch.cuda.OutOfMemoryError("much"), OSError(28, "No space left")])
def test_what_goes_wrong_is_said(shop: Workshop, error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    job = Failing(shop.studio, shop.visitor())
    monkeypatch.setattr(job, "error", error)
    assert shop.studio.explain(error) == failed(shop.done(job))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_mistakes_of_memgan_are_told_on_the_terminal(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[threading.ExceptHookArgs] = []
    monkeypatch.setattr(threading, "excepthook", told.append)
    said = failed(shop.done(Failing(shop.studio, shop.visitor())))
    assert said == "Something went wrong inside memgan. The terminal in which it was started says what."
    wait_until(lambda: told)
    assert isinstance(told[0].exc_value, KeyError) and told[0].exc_traceback is not None
    told.clear()
    shop.detector.error = ZeroDivisionError("in the detector")
    assert "inside memgan" in failed(shop.done(job_of(shop)))
    shop.detector.error = None
    assert shop.done(job_of(shop)).progress.status == "done", "the turn was given back"
