"""memgan.benchmark: what is timed in which order, what is counted, and a run from the command line."""

import json
import os

import numpy as np
import pytest
import torch
from tiny import TINY, save_tiny_weights
from torch import nn

from memgan import MemGANRestorer
from memgan.apps.cli import main as cli
from memgan.benchmark import Options, Setup, report_table, run_benchmark
from memgan.benchmark.baselines import BASELINES, build_baseline, build_baselines
from memgan.benchmark.report import as_dict
from memgan.benchmark.roofline import MachinePeak, measure_machine, roofline_of
from memgan.benchmark.stages import Workbench, prepare_baseline
from memgan.benchmark.synthetic_scene import draw_scene
from memgan.benchmark.timing import Spread, Timing, limited_threads, measure, ratios
from memgan.errors import ConfigError, MissingDependencyError
from memgan.faces.detect import create_detector
from memgan.network.cost import Operation, OperationCount, count_cost, count_operations
from memgan.network.model import build_memgan
from memgan.network.reliability import ReliabilityConfig
from memgan.restoration.inference import run_network

CPU = torch.device("cpu")


class TestTiming:
    def test_calls_take_turns(self):
        order = []
        timings = measure({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, rounds=3, warmup=2)
        assert order == ["a", "b"] * 5
        assert [len(timing.seconds.rounds) for timing in timings.values()] == [3, 3]

    def test_only_the_call_is_timed(self):
        timing = measure({"burn": lambda: sum(range(400_000))}, rounds=3)["burn"]
        assert min(timing.seconds.rounds) > 0 and min(timing.cpu_seconds.rounds) > 0
        assert timing.busy_cores <= 1.2  # one thread cannot be busier

    def test_spread(self):
        spread = Spread((5.0, 1.0, 2.0, 100.0, 3.0))
        assert (spread.median, spread.quartiles) == (3.0, (2.0, 5.0))
        assert as_dict(spread) == {"rounds": [5, 1, 2, 100, 3], "median": 3, "quartiles": [2, 5]}

    def test_ratios_are_of_one_round_each(self):
        slow, fast = (Timing(Spread(values), Spread(values)) for values in ((4.0, 30.0, 8.0), (2.0, 10.0, 4.0)))
        assert ratios(slow, fast).rounds == (2, 3, 2)


class TestOptions:
    @pytest.mark.parametrize(
        ("given", "told"),
        [
            ({"only": ("network", "sleep")}, "'sleep'; allowed: network, detect, align, paste, rest, enhance"),
            ({"only": ()}, "allowed: network"),
            ({"backends": ("tensorrt",)}, "'tensorrt'; allowed: torch, onnx, openvino"),
            ({"batches": ()}, "number of batch sizes is 0; it must be a whole number of at least 1"),
            ({"batches": (0,)}, "batch is 0"),
            ({"repeats": 0}, "repeats is 0"),
            ({"threads": 0}, "threads is 0"),
            ({"setup": Setup(faces=-1)}, "faces is -1"),
            ({"setup": Setup(width=3)}, "width is 3; allowed: from 16"),
            ({"setup": Setup(photo="nowhere.png")}, "no file"),
        ],
    )
    def test_what_is_not_allowed_is_named(self, given, told):
        with pytest.raises(ConfigError, match=told):
            Options(**given)


def test_threads_are_limited_and_given_back():
    before = torch.get_num_threads()
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    with limited_threads(1):
        assert torch.get_num_threads() == 1
        assert cores is None or len(os.sched_getaffinity(0)) == 1
    assert torch.get_num_threads() == before
    assert cores is None or os.sched_getaffinity(0) == cores


class TestContenders:
    def test_unknown_ones_are_refused_with_those_that_are_known(self):
        with pytest.raises(ConfigError, match="allowed: gfpgan, codeformer, restoreformer, memgan-512"):
            build_baseline("vqfr", CPU)
        with pytest.raises(ConfigError, match="GPEN's network is in no package"):
            build_baseline("gpen", CPU)
        with pytest.raises(ConfigError, match="cannot be imported"):
            build_baseline("fakes:nothing", CPU)

    @pytest.mark.parametrize("name", ["gfpgan", "codeformer", "restoreformer"])
    def test_missing_packages_are_named(self, name, monkeypatch):
        def refuse(module):
            raise ImportError(f"no {module}")

        monkeypatch.setattr("memgan.benchmark.baselines.importlib.import_module", refuse)
        with pytest.raises(MissingDependencyError, match="pip install spandrel"):
            build_baseline(name, CPU)

    @pytest.mark.parametrize(
        ("name", "package", "parameters", "giga"),
        [
            ("gfpgan", "spandrel", 86_444_252, 197.8),
            ("restoreformer", "spandrel", 72_680_003, 341.4),
            ("codeformer", "spandrel_extra_arches", 94_112_707, 404.9),
        ],
    )
    def test_they_are_the_published_networks(self, name, package, parameters, giga):
        pytest.importorskip(package)
        baseline = build_baseline(name, CPU)
        work = count_operations(baseline, baseline.size_px)
        assert work.num_parameters == parameters
        assert work.multiply_adds / 1e9 == pytest.approx(giga, abs=0.1)

    def test_callables_of_ones_own(self):
        built = build_baselines(["mine=fakes:double", "fakes:double"], CPU, 24)
        assert list(built) == ["mine", "double"] and built["mine"].size_px == 24
        assert torch.equal(built["mine"](torch.ones(1, 3, 4, 4)), torch.full((1, 3, 4, 4), 2.0))
        with pytest.raises(ConfigError, match="called 'memgan'"):
            build_baselines(["memgan=fakes:double"], CPU, 24)

    def test_presets(self):
        assert "memgan-mobile-512" in BASELINES

    def test_self_ensemble_is_what_the_restorer_runs(self, tiny):
        baseline = build_baseline("self-ensemble", CPU, weights=tiny)
        network = MemGANRestorer(tiny, device="cpu").network
        faces = torch.rand(1, 3, TINY.image_size, TINY.image_size) * 2 - 1
        with torch.inference_mode():
            assert torch.equal(baseline(faces), run_network(network, faces, self_ensemble=True))
            assert not torch.equal(baseline(faces), network(faces)[0])
        once, both = (count_operations(each, TINY.image_size) for each in (network, baseline))
        assert both.multiply_adds == 2 * once.multiply_adds
        assert both.num_parameters == once.num_parameters and both.least_bytes == once.least_bytes

    def test_reliability_is_the_estimator_alone(self):
        baseline = build_baseline("reliability", CPU, TINY.image_size)
        faces = torch.rand(2, 3, TINY.image_size, TINY.image_size) * 2 - 1
        assert baseline(faces).expected_error.shape == (2, 2, 2) and baseline.size_px == TINY.image_size
        cost = count_cost(ReliabilityConfig(image_size=TINY.image_size))[-1]
        counted = count_operations(baseline, TINY.image_size)
        assert (counted.num_parameters, counted.multiply_adds) == (cost.num_parameters, cost.multiply_adds)

    def test_memory_of_self_ensemble_is_measured_with_the_same_weights(self, tiny):
        call = prepare_baseline("self-ensemble", Setup(tiny, device="cpu"), TINY.image_size, 2)
        assert call().shape == (2, 3, TINY.image_size, TINY.image_size)


class TestOperationCount:
    def test_of_a_convolution_by_hand(self):
        work = count_operations(nn.Conv2d(3, 5, 3, padding=1, bias=False), 8)
        assert work.num_parameters == 135
        assert work.multiply_adds == 3 * 5 * 9 * 64
        assert work.least_bytes == 4 * (135 + 2 * 3 * 64)
        assert work.moved_bytes == 4 * (135 + 3 * 64 + 5 * 64)

    def test_agrees_with_the_cost_by_parts(self):
        count, total = count_operations(build_memgan(TINY).eval(), TINY.image_size), count_cost(TINY)[-1]
        assert (count.num_parameters, count.multiply_adds) == (total.num_parameters, total.multiply_adds)

    def test_half_precision_moves_fewer_bytes(self):
        network = nn.Conv2d(3, 64, 3, padding=1)
        half, full = (count_operations(network, 32, dtype) for dtype in (torch.bfloat16, torch.float32))
        assert half.operations[-1].moved_bytes < 0.6 * full.operations[-1].moved_bytes
        assert half.multiply_adds == full.multiply_adds


class TestRoofline:
    PEAK = MachinePeak(matrix_flops=100.0, convolution_flops=80.0, copy_bytes=10.0)

    def test_of_work(self):
        operations = Operation("encoder", flops=200, moved_bytes=5), Operation("decoder", flops=0, moved_bytes=30)
        count = OperationCount(num_parameters=1, least_bytes=10, operations=operations)
        roofline = roofline_of(count, self.PEAK, measured_seconds=8.0)
        assert roofline.seconds == 2  # 200 operations at 100 a second take longer than 10 bytes at 10 a second
        assert roofline.unfused_seconds == 2 + 3
        assert roofline.share == 0.25 and roofline.flops == 25

    def test_of_memory(self):
        count = OperationCount(num_parameters=1, least_bytes=50, operations=(Operation("", flops=2, moved_bytes=50),))
        assert roofline_of(count, self.PEAK, 10.0).seconds == 5

    def test_machine(self, monkeypatch):
        monkeypatch.setattr("memgan.benchmark.roofline._MATRIX_SIDE", {"cpu": 256})
        monkeypatch.setattr("memgan.benchmark.roofline._IMAGE", {"cpu": (1, 32, 32)})
        monkeypatch.setattr("memgan.benchmark.roofline._COPY_BYTES", 2**22)
        peak = measure_machine(CPU)
        assert peak.flops == max(peak.matrix_flops, peak.convolution_flops)
        # No processor does less in an operation than a thousandth of a core's, or more than a cluster's.
        assert 1e6 < peak.matrix_flops < 1e15 and 1e6 < peak.copy_bytes < 1e14


class TestScene:
    @pytest.mark.parametrize("num_faces", [1, 3])
    def test_drawn_faces_are_found_where_they_are(self, num_faces):
        picture, drawn = draw_scene(480, 240, num_faces)
        assert picture.shape == (240, 480, 3) and len(drawn) == num_faces
        found = create_detector().detect(picture)
        assert len(found) == num_faces
        for face in drawn:
            distance = min(np.abs(face.landmarks - one.landmarks).max() for one in found)
            assert distance < 0.2 * face.eye_distance

    def test_faces_must_fit(self):
        with pytest.raises(ConfigError, match="at least 64 px"):
            draw_scene(160, 120, 30)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return str(save_tiny_weights(tmp_path_factory.mktemp("weights") / "tiny.safetensors"))


class TestStages:
    def test_the_rest_gives_the_same_picture_without_the_network(self, tiny):
        bench = Workbench(Setup(tiny, device="cpu", width=240, height=160, faces=2))
        restored = bench.stage("enhance")()
        rest = bench.stage("rest")
        bench.restorer.network.decoder.forward = None  # whoever runs it again fails
        for _ in range(2):
            cropped_faces, _, picture = rest()
            assert len(cropped_faces) == 2 and np.array_equal(picture, restored[2])

    def test_paste_leaves_its_canvas_alone(self, tiny):
        bench = Workbench(Setup(tiny, device="cpu", width=240, height=160))
        before = bench.image.copy()
        paste = bench.stage("paste")
        paste()
        assert np.array_equal(bench.image, before)


def test_a_run_from_the_command_line(tiny, tmp_path, capsys):
    file = tmp_path / "figures.json"
    small = ["--weights", tiny, "--size", "240x160", "--device", "cpu", "--threads", "1", "--no-memory"]
    few = ["--batch", "1", "3", "--repeats", "2", "--against", "twice=fakes:double"]
    assert cli.main(["benchmark", *small, *few, "-o", str(file)]) == 0
    table = capsys.readouterr().out
    report = json.loads(file.read_text("utf-8"))

    stages = [(one["stage"], one["network"], one["items"]) for one in report["measurements"]]
    assert stages == [
        ("network", "memgan", 1),
        ("network", "twice", 1),
        ("network", "memgan", 3),
        *((part, "memgan", 1) for part in ("detect", "align", "paste", "rest", "enhance")),
    ]
    for one in report["measurements"]:
        seconds = one["seconds"]
        assert len(seconds["rounds"]) == 2
        assert 0 < seconds["quartiles"][0] <= seconds["median"] <= seconds["quartiles"][1]
        assert one["per_second"] == pytest.approx(one["items"] / seconds["median"])
        assert one["memory"] is None
    comparison = report["measurements"][1]
    assert [one["ratio"] is None for one in report["measurements"][:3]] == [True, False, True]
    ours, theirs = (one["seconds"]["rounds"] for one in report["measurements"][:2])
    assert comparison["ratio"]["rounds"] == pytest.approx([b / a for a, b in zip(ours, theirs)])

    assert report["picture"] == {"source": "drawn", "width": 240, "height": 160, "faces": 1, "faces_found": 1}
    assert report["machine"]["threads"] == 1 and report["machine"]["versions"]["memgan"]
    memgan, twice = report["costs"]
    assert memgan["multiply_adds"] == count_cost(TINY)[-1].multiply_adds
    assert memgan["roofline"]["share"] == pytest.approx(memgan["roofline"]["seconds"] / np.median(ours))
    assert twice["num_parameters"] == 0
    assert report["scaling"] is None and report["notes"] == []
    for word in ("enhance", "twice", "GFLOP/s", "240 x 160", "of the peak"):
        assert word in table


def test_number_types_alternate_with_other_networks_in_them(tiny):
    options = Options(
        setup=Setup(tiny, width=240, height=160),
        only=("network", "enhance", "detect"),
        against=("twice=fakes:double",),
        devices=("cpu",),
        dtypes=("float32", "bfloat16"),
        batches=(1,),
        repeats=1,
        memory=False,
    )
    report = run_benchmark(options)
    measured = [(one.stage, one.network, one.dtype) for one in report.measurements]
    types = ("float32", "bfloat16")
    assert measured[:4] == [("network", name, dtype) for name in ("memgan", "twice") for dtype in types]
    assert measured[4] == ("detect", "memgan", None)
    assert measured[5:] == [("enhance", "memgan", dtype) for dtype in types]
    assert "cpu torch bfloat16" in report_table(report)


def test_photographs_without_faces(tiny, tmp_path):
    from PIL import Image

    photo = tmp_path / "gray.png"
    Image.new("RGB", (80, 60), "gray").save(photo)
    setup = Setup(tiny, photo=str(photo))
    options = Options(setup=setup, only=("detect", "paste"), devices=("cpu",), repeats=1, memory=False)
    report = run_benchmark(options)
    assert [one.stage for one in report.measurements] == ["detect"]
    assert report.notes == ["paste: left out, as the picture has no faces"]
    assert report.picture["faces"] == 0 and report.notes[0] in report_table(report)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--only", "sleep"], "allowed: network"),
        (["--size", "big"], "such as 1920x1080"),
        (["--against", "vqfr"], "allowed: gfpgan"),
        (["--plot", "curve.png"], "add scaling"),
        (["-o", "no/folder/figures.json"], "make it first"),
    ],
)
def test_wrong_use_is_explained(arguments, told, tiny, capsys):
    assert cli.main(["benchmark", "--weights", tiny, "--device", "cpu", *arguments]) == 2
    assert told in capsys.readouterr().err


@pytest.mark.gpu
def test_on_cuda(tiny):
    options = Options(setup=Setup(tiny), only=("network", "roofline"), devices=("cuda",), batches=(2,), repeats=2)
    report = run_benchmark(options)
    (network,) = report.measurements
    assert network.memory.device > 0 and report.machine["devices"]["cuda"]
    assert report.costs[0].roofline.share > 0 and "device MB" in report_table(report)
