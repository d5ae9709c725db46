"""Several pictures at the same time: order, bounds, failures, interruption, and cores that are shared."""

import json
import os
import threading
from pathlib import PurePath

import cv2
import pytest
import torch
from fakes import FakeDetector, FakeNetwork, face_at, scene
from tiny import save_tiny_weights

from memgan import MemGANRestorer
from memgan.apps.cli import main as cli
from memgan.apps.files import jobs, restore_files
from memgan.apps.files.inputs import InputFile
from memgan.apps.files.jobs import cores_shared, in_order, number_of_jobs
from memgan.apps.files.restore_options import FileOptions
from memgan.apps.files.restore_plan import Planner
from memgan.errors import OutputError
from memgan.faces import retinaface
from memgan.restoration.options import RestoreOptions
from memgan.runtime.records import Records

PATIENCE = 20  # seconds that a test waits for what must come, before it fails


@pytest.fixture
def four_cores(monkeypatch):
    monkeypatch.setattr(jobs, "usable_cores", lambda: 4)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "in").mkdir()
    for i in range(6):
        cv2.imwrite(str(tmp_path / "in" / f"{i}.png"), scene(80 + i, 120, seed=i))
    return tmp_path / "in"


@pytest.fixture
def restore(tmp_path, folder, monkeypatch):
    weights = save_tiny_weights(tmp_path / "tiny.safetensors")
    monkeypatch.setattr(
        "memgan.restoration.restorer.create_detector", lambda *_, **__: FakeDetector(face_at(50, 40, 50))
    )
    words = ["restore", str(folder), "-o", str(tmp_path / "out"), "--weights", str(weights), "--device", "cpu"]
    return lambda *more: cli.main([*words, "--no-faces", *more])


def results_in(tmp_path):
    return sorted(path.name for path in (tmp_path / "out" / "restored_imgs").iterdir())


# -- how many --------------------------------------------------------------------------------------------------------


def test_the_number_of_jobs_follows_the_cores_and_the_inputs(monkeypatch):
    for cores, expected in ((1, 1), (2, 2), (4, 4), (64, 4)):
        monkeypatch.setattr(jobs, "usable_cores", lambda cores=cores: cores)
        assert number_of_jobs(0, 100) == expected
        assert number_of_jobs(7, 100) == 7  # whatever was asked for
    assert [number_of_jobs(3, 2), number_of_jobs(0, 1), number_of_jobs(1, 9), number_of_jobs(2, 0)] == [2, 1, 1, 1]


def test_cores_are_those_that_the_process_may_use():
    assert 1 <= jobs.usable_cores() <= (os.cpu_count() or 1)


@pytest.fixture
def _threads_as_before():
    before = torch.get_num_threads(), cv2.getNumThreads()
    yield
    torch.set_num_threads(before[0])
    cv2.setNumThreads(before[1])


@pytest.mark.usefixtures("four_cores", "_threads_as_before")
def test_the_jobs_share_the_cores_and_leave_the_settings_as_they_were():
    torch.set_num_threads(4)
    cv2.setNumThreads(4)

    def look(_):
        return torch.get_num_threads(), cv2.getNumThreads()

    for number, share in ((2, 2), (3, 1), (9, 1), (1, 4)):
        with cores_shared(number):
            assert set(in_order(look, range(5), number)) == {(share, share)}
        assert look(0) == (4, 4)
    with pytest.raises(KeyError), cores_shared(2):
        raise KeyError
    assert look(0) == (4, 4)
    torch.set_num_threads(1)  # a smaller number that was chosen before stays
    with cores_shared(2):
        assert look(0) == (1, 2)


@pytest.mark.usefixtures("_threads_as_before")
def test_the_embedded_detector_takes_as_many_threads_as_torch():
    for number in (1, 2):
        torch.set_num_threads(number)
        session = retinaface.EmbeddedRetinaFace()._session._session
        assert session.get_session_options().intra_op_num_threads == number


# -- the order of work -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [1, 3])
def test_results_come_in_the_order_of_the_items(number):
    assert list(in_order(lambda i: i * i, range(50), number)) == [i * i for i in range(50)]
    assert list(in_order(lambda i: i, [], number)) == []


def test_a_slow_item_keeps_others_from_piling_up():
    """While the first is at work, no more than four begin; it ends when the four are there."""
    begun, four = [], threading.Event()

    def work(i):
        begun.append(i)
        if len(begun) == 4:
            four.set()
        return four.wait(PATIENCE)

    results = in_order(work, range(100), 4)
    assert next(results) and len(begun) <= 8
    results.close()
    assert len(begun) <= 8


def test_after_an_exception_nothing_else_is_begun():
    begun = []

    def work(i):
        begun.append(i)
        if i == 2:
            raise OutputError("the disk is full")
        return i

    results = in_order(work, range(100), 2)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(OutputError, match="full"):
        next(results)
    assert len(begun) <= 7


# -- the command -----------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("four_cores")
def test_automatic_jobs_work_at_the_same_time(restore, tmp_path, monkeypatch):
    """Each of the first four waits for the three others."""
    meeting, load = threading.Barrier(4, timeout=PATIENCE), restore_files.open_pages

    def load_together(path, **how):
        if path.stem in "0123":
            meeting.wait()
        return load(path, **how)

    monkeypatch.setattr(restore_files, "open_pages", load_together)
    assert restore("--jobs", "0") == 0
    assert results_in(tmp_path) == [f"{i}.png" for i in range(6)]


@pytest.mark.parametrize("number", ["1", "3"])
def test_a_failure_loses_no_other_picture(restore, folder, tmp_path, capsys, number):
    (folder / "2.png").write_bytes(b"no picture")
    assert restore("-j", number) == 1
    assert results_in(tmp_path) == [f"{i}.png" for i in range(6) if i != 2]
    said = capsys.readouterr()
    assert said.err.count("skipped") == 1 and "2.png" in said.err and "5 faces in 5 of 6 pictures" in said.out


@pytest.mark.parametrize("number", ["1", "2"])
def test_an_interruption_ends_all_jobs(restore, tmp_path, monkeypatch, capsys, number):
    load = restore_files.open_pages

    def stop(path, **how):
        if path.stem == "1":
            raise KeyboardInterrupt
        return load(path, **how)

    monkeypatch.setattr(restore_files, "open_pages", stop)
    before = torch.get_num_threads()
    assert restore("-j", number) == 130
    assert "interrupted" in capsys.readouterr().err
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("memgan-job")]
    assert "0.png" in results_in(tmp_path) and "5.png" not in results_in(tmp_path)
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(("device", "expected"), [("cuda", [4, 2]), ("cpu", [1] * 6)])
def test_faces_of_several_files_share_the_batches_of_a_gpu(folder, tmp_path, monkeypatch, device, expected):
    """On a CPU a larger batch is no faster, so that no picture waits for others."""
    monkeypatch.setattr(MemGANRestorer, "device", torch.device(device))
    network = FakeNetwork(0.5)
    restorer = MemGANRestorer(network=network, detector=FakeDetector(face_at(50, 40, 50)), device="cpu")
    inputs = [InputFile(path, PurePath(path.name)) for path in sorted(folder.iterdir())]
    options, files = RestoreOptions(upscale=1, max_batch=4), FileOptions(tmp_path / "out")
    files.output.mkdir()
    planner = Planner(Records(files.output), files, "digest", has_whole=True, folds=False)
    done = restore_files.FileRestorer(restorer, options, planner).run(inputs)
    assert [given for given, _ in done] == [item.path for item in inputs]
    assert [len(batch) for batch in network.batches] == expected


def test_the_report_has_no_pixels(restore, tmp_path):
    report = tmp_path / "report.json"
    assert restore("-j", "2", "--report", str(report)) == 0
    rows = json.loads(report.read_text("utf-8"))["pictures"]
    assert len(rows) == 6 and all(len(row["faces"]) == 1 for row in rows)
    assert max(len(json.dumps(row["faces"])) for row in rows) < 1000


def test_of_two_inputs_with_one_result_the_first_gets_it_whatever_the_jobs(restore, folder, tmp_path, capsys):
    (folder / "0.png.jpg").write_bytes((folder / "1.png").read_bytes())
    assert restore("-j", "3", "--ext", "jpg") == 1
    assert "0.png.jpg: skipped: its result" in capsys.readouterr().err
    assert results_in(tmp_path) == [f"{i}.png.jpg" for i in range(6)]
