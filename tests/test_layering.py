"""Who may import whom: read from the source files, so that a forbidden import cannot hide in a function."""

import ast
import functools
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "memgan"

# Rooms, lowest floor first: a room imports from the floors below its own, and from nothing beside or above it.
FLOORS = (
    {"errors", "version"},
    {"runtime", "network", "degradation"},
    {"image", "hub"},
    {"faces", "evaluation"},
    {"restoration", "training"},
    {"video", "benchmark"},
    {"apps"},
    {"__init__", "__main__"},
)
# The same within the rooms that have folders: "" is what lies in the room itself.
INNER_FLOORS = {
    "apps": ({"files"}, {"web"}, {"cli"}, {""}),
    "evaluation": ({"networks"}, {"metrics"}, {""}),
    "training": ({"settings"}, {"config", "window", "sync"}, {"data", "discriminators"}, {"priors", "losses"}, {""}),
}
LOOSE = {"__init__.py", "__main__.py", "errors.py", "version.py", "py.typed", "README.md"}

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
    "openvino",
    "platformdirs",
    "psutil",
    "retinaface",
    "skimage",
    "spandrel",
    "tensorboard",
    "tifffile",
    "torch_fidelity",
    "torchvision",
}
LOADED_LATE = {"gradio": "apps/web/page.py"}
"""Files that are about one package from top to bottom: others import them within functions."""
NEVER = {"basicsr", "gfpgan", "pyiqa", "random_face"}
STANDARD_LIBRARY = sys.stdlib_module_names


def sources() -> list[Path]:
    files = sorted(PACKAGE.rglob("*.py"))
    assert files, f"no package at {PACKAGE}"
    return files


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


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


def module_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def modules_imported(text: str, modules: set[str]) -> set[str]:
    """Those of ``modules`` that a source text imports, whether as it is loaded or later."""
    names = {name for name, _ in imports(text)}
    return {name if name in modules else name.rpartition(".")[0] for name in names} & modules


def import_graph() -> dict[str, set[str]]:
    modules = {module_of(path): path for path in sources()}
    return {
        module: modules_imported(path.read_text("utf-8"), set(modules)) - {module} for module, path in modules.items()
    }


def violations(module: str, imported: set[str]) -> set[str]:
    """What ``module`` imports although it is beside or above it."""
    level = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
    room = [*module.split("."), "__init__"][1]

    def is_wrong(other: str) -> bool:
        other_room = [*other.split("."), "__init__"][1]
        if room != other_room:
            return level[other_room] >= level[room]
        floors = INNER_FLOORS.get(room)
        if floors is None:
            return False
        own, its = inner_place(module, floors), inner_place(other, floors)
        inner_level = {name: number for number, names in enumerate(floors) for name in names}
        return own != its and inner_level[its] >= inner_level[own]

    return {other for other in imported if is_wrong(other)}


def inner_place(module: str, floors: tuple[set[str], ...]) -> str:
    part = module.split(".")[2:3]
    return part[0] if part and any(part[0] in names for names in floors) else ""


def test_every_room_has_its_floor() -> None:
    rooms = {room_of(path) for path in sources()}
    assert rooms <= set().union(*FLOORS), f"add {sorted(rooms - set().union(*FLOORS))} to FLOORS"
    loose = {path.name for path in PACKAGE.iterdir() if path.is_file()}
    assert loose <= LOOSE, f"{sorted(loose - LOOSE)} belong into a room"


def test_folders_of_rooms_have_their_floor() -> None:
    for room, floors in INNER_FLOORS.items():
        folders = {path.name for path in (PACKAGE / room).iterdir() if (path / "__init__.py").is_file()}
        assert folders <= set().union(*floors), room


@pytest.mark.parametrize("module", sorted(import_graph()))
def test_imports_point_downwards(module: str) -> None:
    wrong = violations(module, import_graph()[module])
    assert not wrong, f"{module} must not import {', '.join(sorted(wrong))}"


def test_a_forbidden_import_is_seen() -> None:
    modules = {f"memgan.{name}" for name in ("network", "faces.detect", "hub.resolver", "errors", "training.step")}
    modules |= {"memgan", "memgan.training.losses.pixel"}
    hidden = "def f():\n    from memgan.faces.detect import x\n    importlib.import_module('memgan.hub.resolver')"
    imported = modules_imported(hidden, modules)
    assert imported == {"memgan.faces.detect", "memgan.hub.resolver"}
    assert violations("memgan.network.model", imported) == imported
    assert violations("memgan.network.model", {"memgan", "memgan.errors", "memgan.network"}) == {"memgan"}
    assert violations("memgan.training.losses.pixel", {"memgan.training.step"}) == {"memgan.training.step"}
    assert not violations("memgan.training.step", {"memgan.training.losses.pixel"})


def test_no_circle_of_files() -> None:
    graph = import_graph()
    del graph["memgan"]  # its names are loaded when they are asked for
    list(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError, which names the circle


@pytest.mark.parametrize("package", sorted(CONFINED))
def test_heavy_packages_are_confined_and_lazy(package: str) -> None:
    users = {
        str(path.relative_to(PACKAGE)): at_load
        for path in sources()
        for name, at_load in imports(path.read_text("utf-8"))
        if name.split(".")[0] == package
    }
    assert len(users) <= 1, f"{package} is imported in {sorted(users)}; one file must hide it from the others"
    eager = [name for name, at_load in users.items() if at_load and name != LOADED_LATE.get(package)]
    assert not eager, f"{eager} imports {package} when loaded; import it in the function that needs it"


@pytest.mark.parametrize("file", LOADED_LATE.values())
def test_files_about_a_heavy_package_are_loaded_late(file: str) -> None:
    module = "memgan." + file.removesuffix(".py").replace("/", ".")
    uses = [
        at_load for path in sources() for name, at_load in imports(path.read_text("utf-8")) if name.startswith(module)
    ]
    assert uses and not any(uses)


def third_party(*places: str) -> set[str]:
    """Packages that the files below these places of memgan/ import."""
    files = [path for path in sources() if any(path.is_relative_to(PACKAGE / place) for place in places)]
    assert files, places
    names = {name.split(".")[0] for path in files for name, _ in imports(path.read_text("utf-8"))}
    return names - STANDARD_LIBRARY - {"memgan"}


def test_pure_parts_stay_pure() -> None:
    assert third_party("network") <= {"torch"}
    assert third_party("errors.py", "version.py", "__init__.py", "__main__.py", "network/config.py") == set()
    assert third_party("hub/resolver.py", "hub/weight_file.py") <= {"torch", "safetensors"}
    assert third_party("hub/repository.py") == {"huggingface_hub"}
    assert third_party("hub/download.py") == {"filelock"}
    assert third_party("hub/cache.py", "hub/card.py", "hub/registry.py") == {"platformdirs"}
    assert not third_party("") & NEVER


def modules_loaded_by(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], cwd=PACKAGE.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


@pytest.mark.parametrize("statement", ["import memgan", "import memgan.hub"])
def test_importing_is_light(statement: str) -> None:
    heavy = CONFINED | {"torch", "numpy", "cv2", "PIL", "safetensors", "platformdirs"}
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
