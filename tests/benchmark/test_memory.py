"""memgan.benchmark: peak memory in a separate process, and scaling with pictures and faces."""

import dataclasses
import functools
import json
import mmap
import sys

import pytest
from fakes import fail, hungry_call, shouted
from PIL import Image
from tiny import save_tiny_weights

from memgan.apps.cli import main as cli
from memgan.benchmark.memory import (
    PeakMemory,
    call_in_subprocess,
    measure_peak,
    peak_resident_bytes,
    reset_peak,
    resident_bytes,
)
from memgan.benchmark.scaling import Mark, Scaling, milestones, write_scaling_plot
from memgan.errors import MemGANError, OutputError

MEGABYTE = 10**6
linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the peak since a reset")


@linux
class TestPeak:
    def test_what_a_call_allocates_is_told_from_what_loading_did(self):
        peak = measure_peak(functools.partial(hungry_call, 400 * MEGABYTE, 200 * MEGABYTE))
        assert 195 * MEGABYTE < peak.beyond_loaded < 260 * MEGABYTE
        # Not 400: the system may take pages of the libraries' files back meanwhile, as it did with 16 MB of them.
        assert peak.own > 350 * MEGABYTE
        assert peak.process > peak.libraries > 0 and peak.device is None

    def test_in_this_process(self):
        before = resident_bytes()
        with mmap.mmap(-1, 50 * MEGABYTE) as block:  # surely new memory, and surely given back
            block.write(bytes(50 * MEGABYTE))
            assert resident_bytes() - before > 45 * MEGABYTE
        assert peak_resident_bytes() > before + 45 * MEGABYTE
        reset_peak()
        assert peak_resident_bytes() < before + 45 * MEGABYTE


def test_unknown_stays_unknown():
    peak = PeakMemory(None, None, None, None, None)
    assert peak.own is None and peak.beyond_loaded is None


@pytest.mark.slow
def test_what_a_process_prints_is_not_its_result():
    assert call_in_subprocess(shouted, "as it should") == "AS IT SHOULD"


def test_a_failing_process_says_why():
    with pytest.raises(MemGANError, match=r"fakes\.fail failed .*ValueError: as it should"):
        call_in_subprocess(fail, "as it should")


@pytest.mark.slow
def test_memory_of_a_stage(tmp_path, capsys):
    weights = save_tiny_weights(tmp_path / "tiny.safetensors")
    arguments = ["--weights", str(weights), "--device", "cpu", "--only", "network", "--batch", "2", "--repeats", "1"]
    assert cli.main(["benchmark", *arguments, "-o", str(tmp_path / "figures.json")]) == 0
    (measured,) = json.loads((tmp_path / "figures.json").read_text("utf-8"))["measurements"]
    memory = measured["memory"]
    assert memory["device"] is None
    if sys.platform == "linux":
        # More than the weights and the picture, and less than Python with torch.
        assert 10**5 < memory["own"] < memory["libraries"] < memory["process"]
        assert "own MB" in capsys.readouterr().out


class TestScaling:
    def test_milestones(self):
        assert milestones(1) == [1]
        assert milestones(60) == [1, 2, 5, 10, 20, 50, 60]
        assert milestones(100) == [1, 2, 5, 10, 20, 50, 100]

    @pytest.mark.parametrize("power", [1.0, 1.5])
    def test_exponent(self, power):
        marks = tuple(Mark(count, 0.1 * count**power, 100) for count in milestones(1000))
        assert Scaling(marks, ()).exponent == pytest.approx(power)
        assert Scaling((), marks).faces_exponent == pytest.approx(power)
        assert Scaling(marks[:4], marks[:3]).exponent is Scaling(marks, marks[:3]).faces_exponent is None

    def test_memory_counts_after_the_first_tenth(self):
        sizes = {1: 50, 2: 80, 5: 90, 10: 100, 20: 104, 50: 107, 100: 107}
        scaling = Scaling(tuple(Mark(count, float(count), size) for count, size in sizes.items()), ())
        assert scaling.resident_growth == 7
        assert Scaling((Mark(1, 1.0, None),), ()).resident_growth is None

    def test_seconds_per_picture(self):
        scaling = Scaling((Mark(1, 2.0, None), Mark(3, 3.0, None)), ())
        assert scaling.seconds_per_picture == [(1, 2.0), (3, 0.5)]

    @pytest.mark.slow
    def test_a_run(self, tmp_path, capsys):
        figures, plot = tmp_path / "scaling.json", tmp_path / "scaling.png"
        arguments = ["--only", "scaling", "--pictures", "4", "--threads", "1", "-o", str(figures), "--plot", str(plot)]
        assert cli.main(["benchmark", *arguments]) == 0
        scaling = json.loads(figures.read_text("utf-8"))["scaling"]
        assert [mark["count"] for mark in scaling["pictures"]] == [1, 2, 4]
        assert [mark["count"] for mark in scaling["faces"]] == [1, 2, 4]
        seconds = [mark["seconds"] for mark in scaling["pictures"]]
        assert seconds == sorted(seconds) and seconds[0] > 0
        assert scaling["faces_found"] == 1
        with Image.open(plot) as picture:
            assert picture.size[0] == 640 and picture.size[1] % 300 == 0  # panels of three hundred rows
        assert "ms per picture" in capsys.readouterr().out


class TestPlot:
    MARKS = tuple(Mark(count, float(count), 10**6 * count) for count in (1, 2, 5))

    def test_curves_are_what_was_measured(self, tmp_path):
        write_scaling_plot(Scaling(self.MARKS, self.MARKS[:2]), tmp_path / "plot.svg")
        text = (tmp_path / "plot.svg").read_text("utf-8")
        assert text.count('<g id="axes_') == 3
        with Image.open(self.written(tmp_path / "plot.png")) as picture:
            assert picture.size == (640, 900)

    def test_a_system_that_tells_no_memory_has_no_curve_of_it(self, tmp_path):
        marks = tuple(dataclasses.replace(mark, resident=None) for mark in self.MARKS)
        with Image.open(self.written(tmp_path / "plot.png", marks)) as picture:
            assert picture.size == (640, 600)

    def test_a_file_that_cannot_be_written_is_named(self, tmp_path):
        with pytest.raises(OutputError, match=r"plot\.docx cannot be written"):
            self.written(tmp_path / "plot.docx")

    def test_without_matplotlib_the_extra_is_named_before_anything_is_measured(self, tmp_path, monkeypatch, capsys):
        monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
        assert cli.main(["benchmark", "--only", "scaling", "--plot", str(tmp_path / "plot.png")]) == 2
        told = capsys.readouterr().err
        assert "pip install 'memgan[plot]'" in told and "measuring" not in told

    def written(self, path, marks=MARKS):
        write_scaling_plot(Scaling(marks, marks), path)
        return path
