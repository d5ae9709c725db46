"""The command, killed at any moment and given again: the same file as if nothing had happened."""

import hashlib
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from clips import make_clip
from tiny import save_tiny_weights

from memgan.image import load_picture

av = pytest.importorskip("av")
pytest.importorskip("scipy")

PHOTO = Path(__file__).parents[2] / "examples" / "photos" / "video_call.jpg"
SCRIPT = """
import sys
import memgan.video.writer
memgan.video.writer.FRAMES = 6  # in a segment, so that a short film has many
from memgan.apps.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


def film(path: Path, count: int = 40) -> Path:
    """Faces that move, and sound."""
    photo = cv2.resize(load_picture(PHOTO).rgb, (480, 320), interpolation=cv2.INTER_AREA)
    places = ((round(40 + 30 * np.sin(n / 9)), round(20 + 15 * np.cos(n / 7))) for n in range(count))
    frames = (np.ascontiguousarray(photo[y : y + 256, x : x + 384]) for x, y in places)
    return make_clip(path, frames, audio=2)


def command(path: Path, output: Path, weights: Path) -> list[str]:
    quick = ["--preset", "ultrafast", "--every", "2", "--quiet"]
    return [sys.executable, "-c", SCRIPT, "restore", str(path), "-o", str(output), "--weights", str(weights), *quick]


def packets(path: Path) -> str:
    """A hash of all packets of all tracks."""
    found = hashlib.sha256()
    with av.open(str(path)) as container:
        for packet in container.demux():
            found.update(repr((packet.stream.index, packet.pts, packet.dts, packet.is_keyframe)).encode())
            found.update(bytes(packet))
    return found.hexdigest()


@pytest.mark.slow
def test_ten_kills_change_nothing(tmp_path: Path) -> None:
    path, weights = film(tmp_path / "film.mp4"), save_tiny_weights(tmp_path / "tiny.safetensors")
    whole, output = tmp_path / "whole", tmp_path / "output"
    begin = time.monotonic()
    subprocess.run(command(path, whole, weights), check=True)
    seconds = time.monotonic() - begin
    wanted = whole / "restored_videos" / "film.mp4"
    result = output / "restored_videos" / "film.mp4"
    moments = random.Random(0)
    killed = 0
    for _ in range(30):
        process = subprocess.Popen(command(path, output, weights))
        try:
            process.wait(moments.uniform(0.2, 1.0) * seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            killed += 1
        if process.returncode == 0:
            assert result.read_bytes() == wanted.read_bytes()
            shutil.rmtree(output)
        else:
            assert not result.exists() or result.read_bytes() == wanted.read_bytes()  # killed before it was recorded
        if killed == 10:
            break
    assert killed == 10
    subprocess.run(command(path, output, weights), check=True)
    assert result.read_bytes() == wanted.read_bytes() and packets(result) == packets(wanted)
    assert [one.name for one in result.parent.iterdir()] == ["film.mp4"]
