"""What programs set for torch and numpy, each with a restoration within it; run as a script by its test.

Prints, as JSON, how many levels each result is off the result in a process that sets nothing.
"""

import contextlib
import json
import random
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from fakes import FakeDetector, face_at, scene

from memgan import MemGANRestorer
from memgan.faces import create_detector


@contextlib.contextmanager
def set_for(setter: Callable[[Any], Any], value: Any, before: Any) -> Iterator[None]:
    """Call ``setter`` with a value, and afterwards with the one before."""
    setter(value)
    try:
        yield
    finally:
        setter(before)


@contextlib.contextmanager
def warnings_as_errors() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


SETTINGS: dict[str, Callable[[], contextlib.AbstractContextManager[Any]]] = {
    "nothing": contextlib.nullcontext,
    "float64": lambda: set_for(torch.set_default_dtype, torch.float64, torch.float32),
    "float16": lambda: set_for(torch.set_default_dtype, torch.float16, torch.float32),
    "bfloat16": lambda: set_for(torch.set_default_dtype, torch.bfloat16, torch.float32),
    "default device": lambda: set_for(torch.set_default_device, "meta", None),
    "device block": lambda: torch.device("meta"),
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "inference mode": torch.inference_mode,
    "no gradients": torch.no_grad,
    "gradients": torch.enable_grad,
    "deterministic": lambda: set_for(torch.use_deterministic_algorithms, True, False),
    "anomalies": lambda: torch.autograd.set_detect_anomaly(True),
    "numpy raises": lambda: np.errstate(all="raise"),
    "warnings raise": warnings_as_errors,
    "one thread of OpenCV": lambda: set_for(cv2.setNumThreads, 0, cv2.getNumThreads()),
    "medium products": lambda: set_for(torch.set_float32_matmul_precision, "medium", "highest"),
    "two threads of torch": lambda: set_for(torch.set_num_threads, 2, 1),
}
PRECISION: dict[str, Callable[[], contextlib.AbstractContextManager[Any]]] = {
    "no oneDNN": lambda: torch.backends.mkldnn.flags(enabled=False),
    "no fast code of OpenCV": lambda: set_for(cv2.setUseOptimized, False, True),
    "no subnormal numbers": lambda: set_for(torch.set_flush_denormal, True, False),
}
"""What programs choose for speed: it is honored, and sums may be rounded otherwise."""
CHECKS = (
    "random states",
    "bfloat16 and its self-check",
    "other thread",
    "overlap",
    "compiled",
    "detector",
    "settings stay",
    "converted later",
)


def arrays_of(restorer: MemGANRestorer) -> list[np.ndarray]:
    cropped, restored, image = restorer.enhance(scene())
    return [*cropped, *restored, image]


def levels_off(first: list[np.ndarray], second: list[np.ndarray]) -> int:
    return max(int(np.abs(a.astype(int) - b).max()) for a, b in zip(first, second, strict=True))


def state_of_generators() -> tuple[Any, ...]:
    return random.getstate(), np.random.get_state()[1].tobytes(), torch.random.get_rng_state().numpy().tobytes()


def main(weights: Path) -> dict[str, int]:
    def make(**options: Any) -> MemGANRestorer:
        options = {"detector": FakeDetector(face_at(70, 60)), "device": "cpu", "dtype": "float32", **options}
        return MemGANRestorer(weights, upscale=1, **options)

    off: dict[str, int] = {}
    states = state_of_generators()
    built = make()
    expected = arrays_of(built)
    off["random states"] = int(state_of_generators() != states)
    for name, setting in {**SETTINGS, **PRECISION}.items():
        with setting():
            off[name] = max(levels_off(expected, arrays_of(built)), levels_off(expected, arrays_of(make())))

    coarse = make(dtype="bfloat16")
    in_bfloat16 = arrays_of(coarse)
    with torch.autocast("cpu", torch.float16), torch.inference_mode(), torch.device("meta"), warnings_as_errors():
        results = arrays_of(coarse), arrays_of(make(dtype="bfloat16"))
        off["bfloat16 and its self-check"] = max(levels_off(in_bfloat16, result) for result in results)
        off["bfloat16 and its self-check"] += int(not coarse.check().is_right)

    in_thread: list[int] = []
    with SETTINGS["float64"](), SETTINGS["default device"]():
        thread = threading.Thread(target=lambda: in_thread.append(levels_off(expected, arrays_of(make()))))
        thread.start()
        thread.join()
    off["other thread"] = in_thread[0] if in_thread else 255

    with torch.autocast("cpu", torch.bfloat16), torch.inference_mode():
        results = list(built.restore_batch([scene()] * 3, overlap=True))
        off["overlap"] = max(levels_off([expected[2]], [result.image]) for result in results)

    face = cv2.imread(str(Path(__file__).parents[1] / "examples" / "photos" / "video_call.jpg"))[:, :, ::-1]
    boxes = [found.box_xyxy for found in create_detector().detect(face)]
    with SETTINGS["numpy raises"](), SETTINGS["warnings raise"](), SETTINGS["float64"](), torch.device("meta"):
        found = MemGANRestorer(weights, device="cpu").detect(face[:, :, ::-1])
        off["detector"] = int(not boxes or any((a != b.box_xyxy).any() for a, b in zip(boxes, found, strict=True)))

    def settings() -> tuple[Any, ...]:
        modes = torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.is_autocast_enabled("cpu")
        return *modes, torch.get_default_dtype(), torch.empty(0).device, np.geterr(), cv2.getNumThreads()

    with torch.autocast("cpu"), np.errstate(all="raise"), torch.device("meta"), torch.no_grad():
        before = settings()
        for _ in make(threads=1).restore_batch([scene()]):
            off["settings stay"] = int(settings() != before)

    with torch.inference_mode():
        late = make()
    late.network.double().float()
    for parameter in late.network.parameters():
        parameter.requires_grad_(True).data = parameter.data.clone()
    off["converted later"] = levels_off(expected, arrays_of(late))

    @torch.compile(backend="eager")
    def compiled(x: torch.Tensor, image: np.ndarray) -> tuple[torch.Tensor, Any]:
        y = x * 2
        return y + 1, built.enhance(image, weight=1.0)[2]

    doubled, image = compiled(torch.ones(2), scene())
    off["compiled"] = levels_off([expected[2]], [np.asarray(image)]) if doubled.tolist() == [3, 3] else 255
    return off


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]))))
