"""How many functions a picture goes through: what one has to read to follow it from ``enhance`` to the result."""

import ast
import sys
from pathlib import Path
from types import FrameType

from fakes import FakeDetector, FakeNetwork, face_at, scene

import memgan
from memgan import MemGANRestorer

PACKAGE = Path(memgan.__file__).parent
MOST_FUNCTIONS, MOST_FILES = 62, 18
GUARDS = ("runtime/isolation.py", "runtime/threads.py")
"""What keeps a program's settings away from each step, and wraps it as ``call``; no picture goes through it."""


def properties() -> set[tuple[str, str]]:
    """File and name of every property: they name what an object has, and are no step on the way."""
    return {
        (str(path.relative_to(PACKAGE)), node.name)
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef) and any(ast.unparse(d) == "property" for d in node.decorator_list)
    }


def functions_called(call) -> set[tuple[str, str]]:
    """File and name of every function of memgan that runs meanwhile; comprehensions belong to their function."""
    found = set()

    def note(frame: FrameType, event: str, _) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(str(PACKAGE)) and not code.co_name.startswith("<"):
            found.add((str(Path(code.co_filename).relative_to(PACKAGE)), code.co_name))

    sys.setprofile(note)
    try:
        call()
    finally:
        sys.setprofile(None)
    return found


def test_the_way_of_a_picture_is_short() -> None:
    """One face, pasted; without properties, and without what detector and network do inside."""
    model = MemGANRestorer(network=FakeNetwork(0.5, 0.3), detector=FakeDetector(face_at(70, 60)), device="cpu")
    called = functions_called(lambda: model.enhance(scene())) - properties()
    called = {(file, name) for file, name in called if file not in GUARDS and name not in ("call", "check_process")}
    files = {file for file, _ in called}
    assert len(called) <= MOST_FUNCTIONS and len(files) <= MOST_FILES, sorted(called)
    assert {"restoration/pipeline.py", "faces/align.py", "faces/paste.py"} <= files  # it was really measured
