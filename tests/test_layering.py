"""Who may import whom: read from the source files, so that a forbidden import cannot hide in a function."""

import ast
import functools
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "memgan"

# A unit is a module or a sub-package directly under memgan; "memgan" is its __init__.py.
ALLOWED: dict[str, set[str]] = {
    "errors": set(),
    "config": {"errors"},
    "image": {"errors"},
    "degradation": {"errors"},
    "replacing": {"errors"},
    "tensor_file": {"replacing", "errors"},
    "checkpoint": {"replacing", "tensor_file", "config", "errors"},
    "averaging": {"network", "checkpoint", "errors"},
    "places": set(),
    "fetch": {"errors"},
    "remote": {"checkpoint", "tensor_file", "fetch", "places", "errors"},
    "published": {"remote", "checkpoint", "tensor_file", "fetch", "places", "errors"},
    "hub": {"published", "checkpoint", "remote", "fetch", "config", "errors"},
    "network": {"config", "errors"},
    "pickles": {"errors"},
    "priors": {"pickles", "tensor_file", "config", "errors"},
    "sessions": {"errors"},
    "export": {"network", "replacing", "errors"},
    "backends": {"sessions", "export", "network", "replacing", "places", "config", "errors"},
    "faces": {"hub", "sessions", "pickles", "image", "errors"},
    "card": {"remote", "checkpoint", "tensor_file", "errors"},
    "pretrained": {"card", "hub", "remote", "checkpoint", "replacing", "network"},
    "convert": {"faces", "priors", "hub", "pickles", "tensor_file", "places", "errors"},
    "self_ensemble": set(),
    "inference": {"self_ensemble", "image", "errors"},
    "background": {"image", "errors"},
    "options": {"errors"},
    "overlap": set(),
    "threads": set(),
    "allocator": set(),
    "upsampling": {"inference", "options", "pickles", "places", "image", "errors"},
    "identity": {"options", "errors"},
    "evidence": {"image", "errors"},
    "restoration": {"faces", "image"},
    "gfpgan": {"restoration", "image", "errors"},
    "finish": {"restoration", "identity", "faces", "image", "errors"},
    "pipeline": {
        "finish",
        "restoration",
        "evidence",
        "inference",
        "background",
        "options",
        "overlap",
        "faces",
        "image",
    },
    "evaluation": {"network", "image", "degradation", "errors"},
    "training": {
        "network",
        "hub",
        "checkpoint",
        "priors",
        "evaluation",
        "image",
        "degradation",
        "overlap",
        "config",
        "errors",
    },
    "ablation": {
        "training",
        "evaluation",
        "priors",
        "network",
        "checkpoint",
        "image",
        "errors",
    },
    "restorer": {
        "pipeline",
        "backends",
        "gfpgan",
        "finish",
        "restoration",
        "identity",
        "options",
        "faces",
        "background",
        "hub",
        "inference",
        "network",
        "image",
        "config",
        "errors",
    },
    "benchmark": {
        "restorer",
        "evaluation",
        "inference",
        "background",
        "threads",
        "options",
        "hub",
        "faces",
        "network",
        "image",
        "config",
        "errors",
        "memgan",  # its version
    },
    "video": {"restorer", "image", "errors"},
    "memgan": {"restorer", "pretrained", "network", "config", "errors"},
    "__main__": {"cli"},
}
ANYTHING = {"cli", "commands"}

# Heavy packages: each is imported in one file at most, and only when a function needs it.
CONFINED = {
    "accelerate",
    "av",
    "dlib",
    "facexlib",
    "gradio",
    "huggingface_hub",
    "lpips",
    "onnx",
    "onnxruntime",
    "retinaface",
    "skimage",
    "spandrel",
    "tensorboard",
    "torch_fidelity",
    "torchvision",
}
NEVER = {"basicsr", "gfpgan", "openvino", "pyiqa", "random_face"}
STANDARD_LIBRARY = sys.stdlib_module_names


def sources() -> list[Path]:
    files = sorted(PACKAGE.rglob("*.py"))
    assert files, f"no package at {PACKAGE}"
    return files


def unit_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return "memgan" if parts == ("__init__",) else parts[0]


@functools.cache
def imports(text: str) -> list[tuple[str, bool]]:
    """Dotted names imported by a source text, each with whether the import runs when the module is loaded."""
    found: list[tuple[str, bool]] = []

    def visit(node: ast.AST, at_load: bool) -> None:
        for child in ast.iter_child_nodes(node):
            inner = at_load and not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                inner = False
            if isinstance(child, ast.Import):
                found.extend((alias.name, inner) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                assert child.level == 0, "relative imports are not used here"
                found.extend((f"{child.module}.{alias.name}", inner) for alias in child.names)
            elif isinstance(child, ast.Call) and ast.unparse(child.func).endswith(("import_module", "__import__")):
                argument = child.args[0]
                if isinstance(argument, ast.Constant):
                    found.append((str(argument.value), inner))
            visit(child, inner)

    visit(ast.parse(text), True)
    return found


def units_imported(text: str, known: set[str]) -> set[str]:
    units = set()
    for name, _ in imports(text):
        first, *rest = name.split(".")
        if first == "memgan":
            units.add(rest[0] if rest and rest[0] in known else "memgan")
    return units


def known_units() -> set[str]:
    return {unit_of(path) for path in sources()}


def violations(text: str, unit: str, known: set[str]) -> set[str]:
    return set() if unit in ANYTHING else units_imported(text, known) - {unit} - ALLOWED[unit]


def test_every_unit_has_its_place() -> None:
    unplaced = known_units() - set(ALLOWED) - ANYTHING
    assert not unplaced, f"add {sorted(unplaced)} to ALLOWED, with what each may import"


def test_the_allowed_imports_form_no_cycle() -> None:
    order = list(graphlib.TopologicalSorter(ALLOWED).static_order())
    assert order.index("errors") < order.index("network") < order.index("restorer")


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_downwards(path: Path) -> None:
    wrong = violations(path.read_text("utf-8"), unit_of(path), known_units() | set(ALLOWED) | ANYTHING)
    assert not wrong, f"{path.relative_to(PACKAGE)} must not import memgan.{', memgan.'.join(sorted(wrong))}"


def test_a_forbidden_import_is_seen() -> None:
    known = {"network", "faces", "restorer", "errors"}
    hidden = "def f():\n    from memgan.faces.detect import x\n    importlib.import_module('memgan.hub')"
    assert violations(hidden, "network", known | {"hub"}) == {"faces", "hub"}
    assert violations("from memgan import restorer", "network", known) == {"restorer"}
    assert violations("from memgan import __version__", "network", known) == {"memgan"}
    assert violations("from memgan.errors import ShapeError", "network", known) == set()


def test_no_cycle_among_modules_when_they_are_loaded() -> None:
    modules = {}
    for path in sources():
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        modules[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    graph: dict[str, set[str]] = {}
    for module, path in modules.items():
        names = {name for name, at_load in imports(path.read_text("utf-8")) if at_load}
        wanted = {name if name in modules else name.rpartition(".")[0] for name in names}
        graph[module] = (wanted & set(modules)) - {module}
    list(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError, which names the cycle


@pytest.mark.parametrize("package", sorted(CONFINED))
def test_heavy_packages_are_confined_and_lazy(package: str) -> None:
    users = {
        str(path.relative_to(PACKAGE)): at_load
        for path in sources()
        for name, at_load in imports(path.read_text("utf-8"))
        if name.split(".")[0] == package
    }
    assert len(users) <= 1, f"{package} is imported in {sorted(users)}; one file must hide it from the others"
    eager = [name for name, at_load in users.items() if at_load]
    assert not eager, f"{eager} imports {package} when loaded; import it in the function that needs it"


def third_party(unit: str) -> set[str]:
    names = {
        name.split(".")[0]
        for path in sources()
        if unit_of(path) == unit
        for name, _ in imports(path.read_text("utf-8"))
    }
    return names - STANDARD_LIBRARY - {"memgan"}


def test_pure_parts_stay_pure() -> None:
    assert third_party("network") <= {"torch"}
    for unit in ("errors", "config", "memgan", "__main__"):
        assert third_party(unit) == set(), unit
    assert third_party("hub") | third_party("checkpoint") <= {"torch", "safetensors"}
    assert third_party("remote") == {"huggingface_hub"}
    assert third_party("fetch") == {"filelock", "tqdm"}
    assert third_party("places") | third_party("published") | third_party("card") == set()
    for unit in known_units():
        assert not third_party(unit) & NEVER, unit


def modules_loaded_by(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], cwd=PACKAGE.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


@pytest.mark.parametrize("statement", ["import memgan", "import memgan.hub"])
def test_importing_is_light(statement: str) -> None:
    heavy = CONFINED | {"torch", "numpy", "cv2", "PIL", "safetensors", "tqdm"}
    assert not modules_loaded_by(statement) & heavy


def test_importing_the_restorer_loads_torch_but_no_back_end() -> None:
    loaded = modules_loaded_by("from memgan import MemGANRestorer, build_memgan")
    assert "torch" in loaded and not loaded & CONFINED


def test_public_names() -> None:
    import memgan

    assert sorted(memgan.__all__) == memgan.__all__
    assert set(memgan.__all__) <= set(dir(memgan))
    for name in memgan.__all__:
        assert getattr(memgan, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = memgan.nothing
