"""How many functions a picture goes through: what one has to read to follow it from ``enhance`` to the result."""

import sys
from pathlib import Path
from types import FrameType

from fakes import FakeDetector, FakeNetwork, face_at, scene

import memgan
from memgan import MemGANRestorer

PACKAGE = Path(memgan.__file__).parent
MOST_FUNCTIONS, MOST_FILES = 45, 13


def functions_called(call) -> set[tuple[str, str]]:
    """File and name of every function of memgan that runs meanwhile; comprehensions belong to their function."""
    found = set()

    def note(frame: FrameType, event: str, _) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(str(PACKAGE)) and not code.co_name.startswith("<"):
            found.add((str(Path(code.co_filename).relative_to(PACKAGE)), f"{code.co_name}:{code.co_firstlineno}"))

    sys.setprofile(note)
    try:
        call()
    finally:
        sys.setprofile(None)
    return found


def test_the_way_of_a_picture_is_short() -> None:
    """One face, pasted; without what detector and network do inside."""
    model = MemGANRestorer(network=FakeNetwork(0.5, 0.3), detector=FakeDetector(face_at(70, 60)), device="cpu")
    called = functions_called(lambda: model.enhance(scene()))
    files = {file for file, _ in called}
    assert len(called) <= MOST_FUNCTIONS and len(files) <= MOST_FILES, sorted(called)
    assert {"restoration/pipeline.py", "faces/align.py", "faces/paste.py"} <= files  # it was really measured
