"""The record of what was done: rows that survive crashes, and an index that knows whose a file is."""

import json
import subprocess
import sys
import threading
import tracemalloc
from pathlib import Path

import pytest

from memgan.errors import OutputError
from memgan.runtime import records as module
from memgan.runtime.records import FileState, NameIndex, Output, Records, Row, digest, is_records_folder


def row(name: str = "a.jpg", outputs: tuple[tuple[str, int], ...] = (), **fields: object) -> Row:
    named = tuple(Output(path, size) for path, size in outputs)
    return Row(input=FileState(f"/in/{name}", 5, 7), options="x", outputs=named, **{"status": "restored", **fields})


def write(folder: Path, name: str, text: str) -> tuple[str, int]:
    (folder / name).write_text(text)
    return name, len(text)


def test_a_row_comes_back_as_it_was_written(tmp_path: Path) -> None:
    records = Records(tmp_path)
    name = "Großmutter \udc80.jpg"  # with a byte that is no UTF-8, as file names may have
    written = row(name, (write(tmp_path, "r", "12"),), faces=({"score": 0.5},), notes=("odd",), weights={"name": "w"})
    records.append(written)
    assert records.done(written.input.path, "x") == written
    (line,) = (tmp_path / "records.jsonl").read_bytes().splitlines()
    assert json.loads(line)["input"] == {"path": f"/in/{name}", "size": 5, "mtime_ns": 7}
    assert Row.from_line(line) == written


def test_what_is_known_of_a_film_comes_back_and_older_rows_know_nothing() -> None:
    film = {"frames": 9, "tracks": [{"number": 0, "frames": [0, 8]}], "problems": ["cut off"]}
    values = row("a.mp4", film=film).as_json()
    assert Row.from_line(json.dumps(values).encode()) == row("a.mp4", film=film)
    del values["film"]
    assert Row.from_line(json.dumps(values).encode()) == row("a.mp4")


def test_done_means_that_the_outputs_are_there_and_still_its_own(tmp_path: Path) -> None:
    records = Records(tmp_path)
    first = row(outputs=(write(tmp_path, "r", "12"), write(tmp_path, "f", "123")))
    records.append(first)
    assert records.done("/in/a.jpg", "x") == first
    assert records.done("/in/a.jpg", "y") is None, "other options"
    assert records.done("/in/b.jpg", "x") is None, "another input"
    (tmp_path / "f").write_text("")
    assert records.done("/in/a.jpg", "x") is None, "an output without content"
    (tmp_path / "f").unlink()
    assert records.done("/in/a.jpg", "x") is None, "an output that is gone"
    write(tmp_path, "f", "123")
    assert records.done("/in/a.jpg", "x") == first
    records.append(row("b.jpg", (("r", 2),)))
    assert records.done("/in/a.jpg", "x") is None, "another input has written over it"


def test_a_failure_is_not_done_but_owns_what_it_wrote(tmp_path: Path) -> None:
    records = Records(tmp_path)
    records.append(row(outputs=(write(tmp_path, "f", "1"),), status="failed", reason="the disk is full"))
    assert records.done("/in/a.jpg", "x") is None
    owned = records.owner("f")
    assert owned is not None and owned[0].input.path == "/in/a.jpg" and owned[1] == Output("f", 1)
    assert records.owner("g") is None


def test_the_last_row_counts(tmp_path: Path) -> None:
    records = Records(tmp_path)
    write(tmp_path, "r", "12")
    for size in (1, 2):
        records.append(row(outputs=(("r", size),), seconds=float(size)))
    done = records.done("/in/a.jpg", "x")
    assert done is not None and done.seconds == 2.0


@pytest.mark.parametrize("torn", [b'{"input": {"path": "/in/z', b"\n\n", b"[1]\n", b'{"a": 1}\n', b"\xff\xfe\n"])
def test_torn_and_foreign_lines_spoil_no_row(tmp_path: Path, torn: bytes) -> None:
    write(tmp_path, "r", "1"), write(tmp_path, "s", "1")
    Records(tmp_path).append(row("a.jpg", (("r", 1),)))
    with open(tmp_path / "records.jsonl", "ab") as file:
        file.write(torn)
    Records(tmp_path).append(row("b.jpg", (("s", 1),)))
    reader = Records(tmp_path)
    assert reader.done("/in/a.jpg", "x") is not None and reader.done("/in/b.jpg", "x") is not None


def test_rows_of_another_run_are_seen_at_once(tmp_path: Path) -> None:
    first, second = Records(tmp_path), Records(tmp_path)
    assert first.owner("r") is None
    second.append(row(outputs=(write(tmp_path, "r", "1"),)))
    assert first.owner("r") is not None


def test_two_processes_and_many_threads_leave_whole_rows(tmp_path: Path) -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[2])\n"
        "from pathlib import Path\n"
        "from memgan.runtime.records import *\n"
        "records = Records(Path(sys.argv[1]))\n"
        "for i in range(10): records.append(Row(input=FileState(f'/p/{i}', 1, 1), status='s', notes=['n' * 20000]))\n"
    )
    root = str(Path(__file__).parents[2])
    other = subprocess.Popen([sys.executable, "-c", code, str(tmp_path), root])
    records = Records(tmp_path)

    def work(number: int) -> None:
        for i in range(5):
            records.append(row(f"{number}/{i}", notes=["m" * 20000]))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert other.wait(60) == 0
    rows = [Row.from_line(line) for line in (tmp_path / "records.jsonl").read_bytes().splitlines()]
    assert len(rows) == 10 + 20 and None not in rows


def test_a_record_that_cannot_be_written_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "records.jsonl").mkdir()
    with pytest.raises(OutputError, match=r"records\.jsonl"):
        Records(tmp_path).append(row())


@pytest.mark.parametrize("folds", [False, True])
def test_names_are_compared_as_the_file_system_does(tmp_path: Path, folds: bool) -> None:
    records = Records(tmp_path, folds=folds)
    records.append(row(outputs=(("Gr\N{LATIN SMALL LETTER O WITH DIAERESIS}.JPG", 1),)))
    assert (records.owner("gro\N{COMBINING DIAERESIS}.jpg") is not None) == folds


def test_an_index_keeps_the_last_number_of_each_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FEW", 10)
    index = NameIndex()
    for turn in range(3):
        for i in range(500):
            index.set(f"n{i}", i + 1000 * turn)
    assert [index.get(f"n{i}") for i in range(500)] == [i + 2000 for i in range(500)]
    assert index.get("other") is None and NameIndex().get("n0") is None


def test_an_index_is_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """About 16 bytes for each name, and a dictionary of a quarter of them at most."""
    monkeypatch.setattr(module, "_FEW", 100)
    index = NameIndex()
    tracemalloc.start()
    for i in range(5000):
        index.set(str(i), i)
    size = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert size < 5000 * 60


def test_a_folder_of_records_is_known_by_its_content(tmp_path: Path) -> None:
    assert not is_records_folder(tmp_path)
    (tmp_path / "records.jsonl").write_text('{"somebody": "else\'s"}\n')
    assert not is_records_folder(tmp_path)
    (tmp_path / "records.jsonl").unlink()
    Records(tmp_path).append(row())
    assert is_records_folder(tmp_path)


def test_digests_differ_with_any_option() -> None:
    assert digest({"a": 1, "b": Path("x")}) == digest({"b": Path("x"), "a": 1})
    assert len({digest({"a": a}) for a in (1, 2, None, "1")}) == 4
