"""Nothing leaves the machine, and nothing is written but results, temporary files and memgan's own cache."""

import ast
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
from watch import HAS_STRACE, ROOT, Traces

from memgan.runtime import privacy

PHOTO = ROOT / "examples" / "photos" / "video_call.jpg"
COMMAND = "from memgan.apps.cli.main import main; assert main(sys.argv) == 0"
RESTORE = f"""
import sys, time
from memgan import MemGANRestorer
from memgan.apps.cli.main import main
assert main(["restore", {str(PHOTO)!r}, "-o", "out", "-q"]) == 0
restorer = MemGANRestorer(upscale=1)
while time.monotonic() - START < SECONDS:
    restorer.enhance({str(PHOTO)!r})
"""
DETECT = f"""
import cv2
from memgan.faces import create_detector
assert create_detector().detect(cv2.imread({str(PHOTO)!r}))
"""
PLOT = """
from pathlib import Path
from memgan.evaluation.plots import new_figure
new_figure().savefig("curve.png")
"""
OPENVINO = """
from memgan.runtime.openvino_session import check_provider
assert check_provider("cpu", "this test") == "CPU"
"""
EVALUATE = """
from pathlib import Path
from tiny import write_faces
faces = write_faces(Path("faces"), 3, 512)
assert main(["evaluate", str(faces), "--limit", "2", "--json", "figures.json", "--sheet", "sheet.png"]) == 0
"""
BENCHMARK = """
assert main("benchmark --only detect align paste network --repeats 1 --batch 1 --size 640x480 -o b.json".split()) == 0
"""
TRAIN = """
from tiny import TINY_MOBILE, settings
from memgan.network.config import PRESETS
from memgan.training.engine import train
PRESETS["tiny"] = TINY_MOBILE
train(settings({"run.steps": 2, "losses.adversarial": 0.0}), [faces], None, Path("run"))
"""
EXPORT = """
assert main("export onnx -o memgan.onnx".split()) == 0
MemGANRestorer(upscale=1, backend="onnx").detect(PHOTO)
MemGANRestorer(upscale=1, backend="openvino").enhance(PHOTO)
"""
START = "import time; START, SECONDS, PHOTO = time.monotonic(), {seconds}, {photo!r}\n"


def test_what_python_and_the_home_folder_see(tmp_path: Path) -> None:
    """Imports, the detector (onnxruntime), the hub's client, a plot (matplotlib) and OpenVINO where it is installed."""
    code = "import memgan, memgan.hub, huggingface_hub; from memgan import MemGANRestorer\n" + DETECT + PLOT
    code += OPENVINO if importlib.util.find_spec("openvino") else ""
    traces = Traces(tmp_path).run(code)
    assert (traces.work / "curve.png").is_file()
    assert traces.reached == [] and traces.written == []
    assert (traces.home / ".cache" / "memgan" / "matplotlib").is_dir()


@pytest.mark.slow
@pytest.mark.skipif(not HAS_STRACE, reason="needs strace")
def test_what_the_system_sees_of_everything(tmp_path: Path) -> None:
    """Every thread and library, for longer than the half minute after which onnxruntime would report."""
    code = START.format(seconds=45, photo=str(PHOTO)) + RESTORE + EVALUATE + BENCHMARK + PLOT + TRAIN + EXPORT
    traces = Traces(tmp_path).run(code, strace=True)
    assert (traces.work / "run" / "memgan.safetensors").is_file()
    assert traces.reached == [] and traces.written == []


FAULTY = """
import os, socket
from pathlib import Path
try:
    socket.create_connection(("198.51.100.7", 443), 0.01)
except OSError:
    pass
socket.create_server(("127.0.0.1", 0))
(Path.home() / "note.txt").write_text("x")
os.mkdir(Path.home() / "folder")
Path("result.txt").write_text("x")
"""


@pytest.mark.parametrize(
    "strace", [False, pytest.param(True, marks=pytest.mark.skipif(not HAS_STRACE, reason="no strace"))]
)
def test_the_watch_sees_what_it_is_for(strace: bool, tmp_path: Path) -> None:
    traces = Traces(tmp_path).run(FAULTY, strace=strace)
    assert set(traces.reached) == {"198.51.100.7"}
    assert set(traces.written) == {str(traces.home / "note.txt"), str(traces.home / "folder")}


def test_what_the_user_has_set_stays(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("ORT_DISABLE_TELEMETRY", "HF_HUB_DISABLE_TELEMETRY", "MPLCONFIGDIR"):
        monkeypatch.delenv(name, raising=False)
    privacy.keep_private("onnxruntime")
    assert os.environ["ORT_DISABLE_TELEMETRY"] == "1" and "HF_HUB_DISABLE_TELEMETRY" not in os.environ
    monkeypatch.setenv("ORT_DISABLE_TELEMETRY", "0")
    privacy.keep_private("onnxruntime")
    assert os.environ["ORT_DISABLE_TELEMETRY"] == "0"
    privacy.keep_private("matplotlib", folder=tmp_path)
    assert os.environ["MPLCONFIGDIR"] == str(tmp_path / "matplotlib")
    privacy.keep_private("accelerate")
    assert os.environ["HF_HUB_DISABLE_TELEMETRY"] == "1"


def test_the_hub_is_told_nothing_about_the_machine() -> None:
    """In a process of its own: the client reads its settings where it is first imported."""
    code = """
from memgan.runtime import privacy
privacy.keep_private("huggingface_hub")
from huggingface_hub.utils import build_hf_headers
print(build_hf_headers(library_name="memgan", token=False)["user-agent"])
"""
    agent = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "memgan" in agent and "torch/" not in agent and "agent/" not in agent


def imports_that_report(source: str) -> list[str]:
    """Packages that report and that a function imports without having called ``keep_private`` for them."""
    missing = []
    for function in ast.walk(ast.parse(source)):
        if not isinstance(function, ast.FunctionDef):
            continue
        calls = [node for node in ast.walk(function) if isinstance(node, ast.Call)]
        told = {ast.literal_eval(c.args[0]): c.lineno for c in calls if ast.unparse(c.func).endswith("keep_private")}
        for node in ast.walk(function):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
            for package in privacy.REPORTING & {name.partition(".")[0] for name in names}:
                if told.get(package, node.lineno) >= node.lineno:
                    missing.append(package)
    return missing


def test_packages_that_report_are_told_not_to_before_each_import() -> None:
    for path in (ROOT / "memgan").rglob("*.py"):
        assert not imports_that_report(path.read_text("utf-8")), path
    late = "def f():\n    import onnxruntime\n    keep_private('onnxruntime')"
    assert imports_that_report(late) == ["onnxruntime"]
    assert not imports_that_report("def f():\n    keep_private('ray')\n    from ray.data import x")
