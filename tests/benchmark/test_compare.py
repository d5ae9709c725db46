"""memgan.benchmark: two reports stage by stage, and two checkouts measured alternately."""

import json
import sys
from pathlib import Path

import pytest
from tiny import save_tiny_weights

from memgan.apps.cli import main as cli
from memgan.benchmark import (
    BenchmarkReport,
    Measurement,
    Options,
    Setup,
    compare_checkouts,
    compare_reports,
    comparison_table,
)
from memgan.benchmark.memory import PeakMemory
from memgan.benchmark.timing import Spread
from memgan.errors import ConfigError, MemGANError

MACHINE = {"processor": "a processor", "threads": 2, "versions": {"memgan": "1", "torch": "2.6"}, "devices": {}}
PICTURE = {"source": "drawn", "width": 64, "height": 48, "faces": 1, "faces_found": 1}
MEGABYTE = 10**6

CHECKOUT = """
import json, os, sys
from pathlib import Path

arguments = sys.argv[1:]
me = Path(__file__).resolve().parents[1]
with open(os.environ["CALLS"], "a", encoding="utf-8") as calls:
    call = {"checkout": me.name, "arguments": arguments, "cwd": os.getcwd(), "path": sys.path}
    calls.write(json.dumps(call) + "\\n")
report = json.loads((me / "report.json").read_text("utf-8"))
if report is None:
    for number in range(20):
        print(f"line {number}", file=sys.stderr)
    sys.exit(3)
number = sum(json.loads(line)["checkout"] == me.name for line in open(os.environ["CALLS"], encoding="utf-8"))
for one in report["measurements"]:  # every round takes longer than the one before
    one["seconds"]["rounds"] = [number * value for value in one["seconds"]["rounds"]]
Path(arguments[arguments.index("-o") + 1]).write_text(json.dumps(report), "utf-8")
"""


def measurement(stage, seconds, items=1, memory=None, **changes):
    unit = "faces" if stage in ("network", "align", "paste") else "pictures"
    fields = {"network": "memgan", "device": "cpu", "backend": "torch"} | changes
    return Measurement(Spread(seconds), Spread(seconds), stage, items=items, unit=unit, memory=memory, **fields)


def report(*measurements, machine=MACHINE, picture=PICTURE, **options):
    told = {"setup": {"dtype": "float32"}, "repeats": 3, "warmup": 1} | options
    return BenchmarkReport(machine, told, picture, list(measurements))


def written(file, told):
    file.write_text(json.dumps(told.to_dict()), "utf-8")
    return str(file)


class TestReports:
    def test_ratios_are_of_medians(self):
        a = report(measurement("network", (1.0, 2.0, 9.0)), measurement("enhance", (4.0,)))
        b = report(measurement("enhance", (5.0,)), measurement("network", (1.0, 3.0)))
        compared = compare_reports(a, b)
        assert [(one.a.stage, one.b.stage, one.ratio.rounds) for one in compared.stages] == [
            ("network", "network", (1.0,)),
            ("enhance", "enhance", (1.25,)),
        ]
        assert compared.warnings == compared.notes == [] and compared.rounds is None

    def test_files_compare_as_the_reports_do(self, tmp_path):
        memory = PeakMemory(100 * MEGABYTE, 150 * MEGABYTE, 170 * MEGABYTE, 180 * MEGABYTE, None)
        a = report(measurement("network", (0.5, 0.25, 1.0), memory=memory))
        b = report(measurement("network", (0.25,)))
        compared = compare_reports(written(tmp_path / "a.json", a), written(tmp_path / "b.json", b))
        assert compared.stages == compare_reports(a, b).stages
        assert compared.a.name == str(tmp_path / "a.json")
        row = next(line for line in comparison_table(compared).splitlines() if line.startswith("network")).split()
        assert row[2:] == [
            "cpu",
            "torch",
            "1",
            "face",
            "500.0",
            "250.0",
            "0.500",
            "1.00,",
            "1.00",
            "80,",
            "-",
            "20,",
            "-",
        ]

    def test_stages_match_by_network_device_backend_and_items(self):
        shared = measurement("network", (1.0,))
        others = [
            measurement("network", (1.0,), items=4),
            measurement("network", (1.0,), network="gfpgan"),
            measurement("network", (1.0,), device="cuda"),
            measurement("network", (1.0,), backend="onnx"),
        ]
        compared = compare_reports(report(shared, *others[:2]), report(*others[2:], shared))
        assert [(one.a, one.b) for one in compared.stages] == [(shared, shared)]
        assert compared.notes == [
            "only A has network of memgan on cpu torch x 4, network of gfpgan on cpu torch x 1",
            "only B has network of memgan on cuda torch x 1, network of memgan on cpu onnx x 1",
        ]
        assert f"note: {compared.notes[0]}\nnote: {compared.notes[1]}" in comparison_table(compared)

    def test_nothing_in_common(self):
        with pytest.raises(ConfigError, match=r"A \(network .*\) and B \(detect .*\) have no stage in common"):
            compare_reports(report(measurement("network", (1.0,))), report(measurement("detect", (1.0,))))

    def test_number_types_are_told_apart_unless_an_earlier_version_does_not_say(self):
        fast, exact, silent = (
            measurement("network", (t,), dtype=d) for t, d in ((1.0, "bfloat16"), (2.0, "float32"), (4.0, None))
        )
        compared = compare_reports(report(fast, exact), report(exact))
        assert [(one.a, one.b) for one in compared.stages] == [(exact, exact)]
        assert compared.notes == ["only A has network of memgan on cpu torch bfloat16 x 1"]
        assert compare_reports(report(silent), report(exact)).stages[0].ratio.median == 0.5

    def test_different_machines_and_options_are_told(self):
        one = measurement("network", (1.0,))
        versions = {"memgan": "2", "torch": "2.7"}  # memgan's own is what is compared
        machine = MACHINE | {"processor": "another", "threads": 1, "versions": versions, "devices": {"cuda": "H100"}}
        b = report(one, machine=machine, setup={"dtype": "bfloat16", "weights": "mine"}, repeats=5)
        compared = compare_reports(report(one), b)
        assert set(compared.warnings) == {
            "processor: a processor in A, another in B",
            "threads: 2 in A, 1 in B",
            "torch: 2.6 in A, 2.7 in B",
            "devices: none in A, cuda H100 in B",
            "weights: unset in A, mine in B",
            "repeats: 3 in A, 5 in B",
        }
        assert "\nwarning: torch: 2.6 in A, 2.7 in B\n" in comparison_table(compared)

    @pytest.mark.parametrize(
        ("ours", "theirs", "told"),
        [
            ({}, {"width": 80}, "height 48, faces 1, faces_found 1 in A, source drawn, width 80, height 48"),
            ({}, {"faces": 2}, "detect differ in their work: measure both with the same --photo"),
            ({}, {"source": "x.png"}, "source x.png"),
            (
                {},
                {"faces_found": 0},
                "faces_found 1 in A, source drawn, width 64, height 48, faces 1, faces_found 0 in B",
            ),
        ],
    )
    def test_other_pictures_are_told(self, ours, theirs, told):
        stages = measurement("network", (1.0,)), measurement("detect", (1.0,))
        a, b = (report(*stages, picture=PICTURE | changes) for changes in (ours, theirs))
        (warning,) = compare_reports(a, b).warnings
        assert told in warning
        a, b = (report(stages[0], picture=PICTURE | changes) for changes in (ours, theirs))
        assert compare_reports(a, b).warnings == []  # the network does not see the picture

    @pytest.mark.parametrize(
        ("content", "told"),
        [
            (None, "cannot be read"),
            ("no JSON", "is no report of the benchmark .*JSON"),
            ("[1]", "is no report"),
            ('{"measurements": []}', "is no report"),
            ('{"measurements": ["network"], "machine": {}, "options": {}, "picture": {}}', "is no report"),
            ('{"measurements": [{"stage": "network"}], "machine": {}, "options": {}, "picture": {}}', "is no report"),
        ],
    )
    def test_other_files_are_refused(self, content, told, tmp_path):
        file = tmp_path / "a.json"
        if content is not None:
            file.write_text(content, "utf-8")
        with pytest.raises(ConfigError, match=rf"a\.json {told}.*memgan benchmark -o FILE"):
            compare_reports(file, report())

    def test_times_must_be_positive(self, tmp_path):
        file = tmp_path / "a.json"
        told = report(measurement("network", (1.0,))).to_dict()
        told["measurements"][0]["seconds"]["rounds"] = [0.0, 1.0]
        file.write_text(json.dumps(told), "utf-8")
        with pytest.raises(ConfigError, match="is no report"):
            compare_reports(file, file)


@pytest.fixture
def checkouts(tmp_path, monkeypatch):
    """Makes two packages that take down how they are called and write a given report, or fail."""
    calls = tmp_path / "calls"
    monkeypatch.setenv("CALLS", str(calls))
    monkeypatch.setenv("PYTHONPATH", "relative")
    monkeypatch.chdir(tmp_path)

    def make(*reports):
        for name, told in zip(("old", "new"), reports):
            package = tmp_path / name / "memgan"
            package.mkdir(parents=True)
            (package / "__init__.py").touch()
            (package / "__main__.py").write_text(CHECKOUT, "utf-8")
            content = None if told is None else told.to_dict()
            (tmp_path / name / "report.json").write_text(json.dumps(content), "utf-8")
        return lambda: [json.loads(line) for line in calls.read_text("utf-8").splitlines()]

    return make


class TestCheckouts:
    def test_they_alternate_and_ratios_are_of_one_round_each(self, checkouts):
        calls = checkouts(
            report(measurement("network", (1.0, 2.0, 40.0)), measurement("detect", (1.0,))),
            report(measurement("network", (3.0, 3.0))),
        )
        told = []
        compared = compare_checkouts("old", "new", Options(memory=False), rounds=3, progress=told.append)
        assert [call["checkout"] for call in calls()] == ["old", "new"] * 3
        assert [line.partition(" (")[0] for line in told[:3]] == [
            "round 1 of 3: A",
            "round 1 of 3: B",
            "round 2 of 3: A",
        ]
        (network,) = compared.stages
        assert network.a.seconds.rounds == (2, 4, 6) and network.b.seconds.rounds == (3, 6, 9)
        assert network.ratio.rounds == (1.5, 1.5, 1.5)
        assert compared.rounds == 3 and compared.notes[0] == "only A has detect of memgan on cpu torch x 1"
        assert "1.500  1.500 - 1.500" in comparison_table(compared)

    def test_what_they_are_called_with(self, checkouts, tmp_path):
        calls = checkouts(*[report(measurement("network", (1.0,)))] * 2)
        (tmp_path / "photo.png").touch()
        (tmp_path / "mine.safetensors").touch()
        setup = Setup("mine.safetensors", photo="photo.png", width=64, height=48, upscale=2.0)
        options = Options(
            setup,
            only=("network", "roofline", "enhance"),
            against=("self-ensemble",),
            devices=("cpu",),
            dtypes=("float32", "bfloat16"),
            batches=(1, 2),
            repeats=4,
            warmup=0,
            threads=1,
        )
        compared = compare_checkouts("old", "new", options, rounds=2)
        assert compared.notes == ["roofline: left out, it does not compare checkouts"]
        expected = "--only network enhance --backend torch --batch 1 2 --repeats 4 --warmup 0 --dtype float32 bfloat16"
        expected += " --size 64x48 --faces 1 --upscale 2.0 --device cpu --against self-ensemble --threads 1"
        expected += f" --photo {tmp_path / 'photo.png'} --weights {tmp_path / 'mine.safetensors'}"
        for number, call in enumerate(calls()):
            command, *arguments = call["arguments"]
            memory = ["--no-memory"] * (number >= 2)  # measured in the first round only
            assert command == "benchmark" and arguments[:-2] == [*expected.split(), *memory]
            assert not Path(call["cwd"]).exists()  # a folder for this call alone
            own, relative, here = call["path"][1:4]
            assert (Path(own).name, Path(relative), Path(here)) == (call["checkout"], tmp_path / "relative", tmp_path)

    def test_a_name_of_weights_stays_a_name(self, checkouts):
        calls = checkouts(*[report(measurement("network", (1.0,)))] * 2)
        compare_checkouts("old", "new", Options(Setup("memgan-mobile-512")), rounds=1)
        arguments = calls()[0]["arguments"]
        assert arguments[arguments.index("--weights") + 1] == "memgan-mobile-512"
        assert "--threads" not in arguments and "--device" not in arguments and "--photo" not in arguments

    def test_failures_end_it_with_the_last_lines(self, checkouts):
        calls = checkouts(report(measurement("network", (1.0,))), None)
        with pytest.raises(MemGANError) as caught:
            compare_checkouts("old", "new", rounds=2)
        assert "new ended with status 3" in str(caught.value)
        assert str(caught.value).endswith("\n  line 15\n  line 16\n  line 17\n  line 18\n  line 19")
        assert len(calls()) == 2

    def test_wrong_use_is_explained(self, checkouts, tmp_path):
        checkouts(report(), report())
        with pytest.raises(ConfigError, match=r"is no checkout: it has no memgan/__init__\.py"):
            compare_checkouts("old", tmp_path)
        with pytest.raises(ConfigError, match="rounds is 0"):
            compare_checkouts("old", "new", rounds=0)
        with pytest.raises(ConfigError, match="only is roofline, scaling; checkouts are compared in: network, detect"):
            compare_checkouts("old", "new", Options(only=("roofline", "scaling")))


class TestCommand:
    def test_two_files(self, tmp_path, capsys):
        files = [
            written(tmp_path / f"{name}.json", report(measurement("network", (seconds,))))
            for name, seconds in (("a", 2.0), ("b", 3.0))
        ]
        output = tmp_path / "compared.json"
        assert cli.main(["benchmark", "--compare", *files, "-o", str(output)]) == 0
        assert "1.500" in capsys.readouterr().out
        compared = json.loads(output.read_text("utf-8"))
        assert compared["b"]["name"] == files[1] and compared["rounds"] is None
        (stage,) = compared["stages"]
        assert stage["ratio"]["rounds"] == [1.5] and stage["a"]["seconds"]["median"] == 2

    def test_two_checkouts(self, checkouts, tmp_path, capsys):
        calls = checkouts(*[report(measurement("network", (1.0,)))] * 2)
        output = tmp_path / "compared.json"
        assert cli.main(["benchmark", "--compare", "old", "new", "--threads", "1", "-o", str(output)]) == 0
        arguments = calls()[0]["arguments"]
        assert arguments[1:9] == ["--only", "network", "detect", "align", "paste", "rest", "enhance", "--backend"]
        assert arguments[arguments.index("--repeats") + 1] == "3"
        assert len(calls()) == 2 * json.loads(output.read_text("utf-8"))["rounds"] == 10
        assert "round 5 of 5: B" in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("arguments", "told"),
        [
            (["--compare", "old", "a.json"], "of which only old is a folder; give two checkouts, or two JSON files"),
            (["--compare", "a.json", "new"], "only new is a folder"),
            (["--compare", "a.json", "nowhere.json"], "nowhere.json cannot be read"),
            (["--compare", "a.json", "a.json", "--rounds", "2"], "--rounds is for --compare with two checkouts"),
            (["--rounds", "2"], "--rounds is for --compare"),
            (["--compare", "old", "new", "--rounds", "0"], "rounds is 0"),
            (["--compare", "old", "new", "--plot", "curve.png"], "leave --compare out"),
            (["--compare", "old", "new", "-o", "no/folder/figures.json"], "make it first"),
        ],
    )
    def test_wrong_use_is_explained(self, arguments, told, checkouts, tmp_path, capsys):
        checkouts(*[report(measurement("network", (1.0,)))] * 2)
        written(tmp_path / "a.json", report(measurement("network", (1.0,))))
        assert cli.main(["benchmark", *arguments]) == 2
        assert told in capsys.readouterr().err


@pytest.mark.slow
def test_this_checkout_with_itself(tmp_path):
    here = Path(sys.modules["memgan"].__file__).parents[1]
    setup = Setup(str(save_tiny_weights(tmp_path / "tiny.safetensors")), width=240, height=160)
    options = Options(setup, only=("network", "enhance"), devices=("cpu",), batches=(1,), repeats=2, threads=1)
    compared = compare_checkouts(here, here, options, rounds=2)
    assert [one.a.stage for one in compared.stages] == ["network", "enhance"]
    for stage in compared.stages:
        assert len(stage.ratio.rounds) == 2 and 0.1 < stage.ratio.median < 10
        assert stage.a.memory is not None and stage.b.memory is not None
    assert compared.warnings == compared.notes == []
