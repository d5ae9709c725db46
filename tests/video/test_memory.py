"""A film takes the same memory however long it is."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from clips import make_clip
from fakes import scene

pytest.importorskip("av")
pytest.importorskip("scipy")

SCRIPT = """
import resource, sys
sys.path.insert(0, {tests!r})
import torch
from types import SimpleNamespace
from fakes import face_at
from memgan import MemGANRestorer
from memgan.video import VideoOptions, VideoRestorer

class Network(torch.nn.Module):
    config = SimpleNamespace(image_size=64)
    def forward(self, image):
        return image + 0.2, None

class Detector:
    def detect(self, image):
        return [face_at(60, 60, 48)]

restorer = MemGANRestorer(network=Network(), detector=Detector(), device="cpu", upscale=1)
video = VideoRestorer(restorer, VideoOptions(preset="ultrafast", steadiness=0.5))
assert video.restore(*sys.argv[1:]).changed
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def peak(folder: Path, count: int) -> int:
    """Peak memory of a process that restores so many frames."""
    still = scene().astype(int)
    frames = (np.clip(still + number % 7, 0, 255).astype(np.uint8) for number in range(count))
    film = make_clip(folder / f"{count}.mp4", frames, audio=1)
    script = SCRIPT.format(tests=str(Path(__file__).parents[1]))
    words = [sys.executable, "-c", script, str(film), str(folder / f"{count} restored.mp4")]
    return int(subprocess.run(words, check=True, capture_output=True, text=True).stdout)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="the peak is asked for as Unix does")
def test_memory_does_not_grow_with_the_film(tmp_path: Path) -> None:
    assert peak(tmp_path, 3000) < 1.05 * peak(tmp_path, 300)
