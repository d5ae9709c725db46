"""Makes the parts of a restoration calls without arguments, to be timed one by one."""

import functools
import itertools
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from memgan.benchmark.baselines import build_baseline
from memgan.benchmark.settings import Setup
from memgan.benchmark.synthetic_scene import draw_scene
from memgan.faces.align import Face, align
from memgan.image import from_array, load_picture, to_8bit, to_array
from memgan.restoration.background import enlarge, result_size
from memgan.restoration.inference import run_network
from memgan.restoration.postprocess import paste_faces_
from memgan.restoration.restorer import MemGANRestorer
from memgan.runtime.device import choose_device, choose_dtype


class Workbench:
    """A restorer and a picture, with everything that a stage needs made ready before its time counts."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.device = choose_device(setup.device)
        self.restorer = self._open(weights=setup.weights, backend=setup.backend, provider=setup.provider)
        self.dtype = self.restorer.pipeline.settled_dtype
        self.size_px = self.restorer.pipeline.size_px
        self.drawn: list[Face] | None = None
        if setup.photo is None:
            rgb, self.drawn = draw_scene(setup.width, setup.height, setup.faces)
            self.image = np.ascontiguousarray(rgb[:, :, ::-1])
        else:
            self.image = to_array(load_picture(setup.photo), "bgr")

    @functools.cached_property
    def found(self) -> list[Face]:
        """What the detector finds."""
        return self.restorer.detect(self.image)

    @functools.cached_property
    def faces(self) -> list[Face]:
        """The faces to align and paste: those drawn, else those found."""
        return self.found if self.drawn is None else self.drawn

    def stage(self, name: str, batch: int = 1) -> Callable[[], Any]:
        """One of :data:`~memgan.benchmark.settings.TIMED_STAGES` as a call; ``batch`` faces per run of the network."""
        if name == "network":
            return network_call(self.restorer.network, self.device, self.dtype, batch, self.size_px)
        if name == "align":
            rgb, faces = to_8bit(from_array(self.image, "bgr").rgb), self.faces
            return lambda: [align(rgb, face, self.size_px) for face in faces]
        if name == "paste":
            return self._paste()
        if name == "rest":
            network = _Replay(self.restorer.network, self.size_px)
            replay = self._open(network=network)
            replay.enhance(self.image)
            network.replayed = itertools.cycle(network.results)
            return functools.partial(replay.enhance, self.image)
        return functools.partial(getattr(self.restorer, name), self.image)

    def _open(self, **network: Any) -> MemGANRestorer:
        setup = self.setup
        return MemGANRestorer(device=setup.device, dtype=setup.dtype, upscale=setup.upscale, **network)

    def _paste(self) -> Callable[[], Any]:
        faces = self.restorer.restore(self.image, faces=self.faces).faces
        pairs = [(face, face.restored) for face in faces]  # at full strength, as weight is 1
        picture = from_array(self.image, "bgr")
        size = result_size(picture, self.setup.upscale)
        canvas = enlarge(picture, size, self.setup.upscale)
        scales = size[0] / picture.rgb.shape[1], size[1] / picture.rgb.shape[0]
        # Into a copy every time, and its time counts: what is pasted already would be another picture to paste into.
        grain = self.restorer.options.grain
        return lambda: paste_faces_(canvas.rgb.copy(), pairs, scales, grain)


class _Replay(nn.Module):
    """Runs a network once, and then gives its results again at no cost: what is left of ``enhance`` is the rest."""

    def __init__(self, network: Callable[[Tensor], Any], size_px: int) -> None:
        super().__init__()
        self.config = SimpleNamespace(image_size=size_px)
        self.results: list[Tensor] = []  # several of a picture with many faces
        self.replayed: Iterator[Tensor] | None = None
        self._network = network

    def forward(self, image: Tensor) -> tuple[Tensor]:
        if self.replayed is not None:
            return (next(self.replayed),)
        self.results.append(self._network(image)[0])
        return (self.results[-1],)


def network_call(
    network: Callable[[Tensor], Any], device: torch.device, dtype: torch.dtype, batch: int, size_px: int
) -> Callable[[], Any]:
    """A network on a batch of faces (B, 3, S, S), as :func:`memgan.restoration.inference.restore_crops` runs it."""
    generator = torch.Generator().manual_seed(0)
    faces = torch.rand(batch, 3, size_px, size_px, generator=generator).mul_(2).sub_(1).to(device)

    def call() -> Any:
        with torch.inference_mode():
            return run_network(lambda batch: (network(batch),), faces, dtype=dtype)  # all of what it gives

    return call


def prepare_stage(setup: Setup, stage: str, batch: int) -> Callable[[], Any]:
    """A stage for :func:`memgan.benchmark.memory.measure_peak`."""
    return Workbench(setup).stage(stage, batch)


def prepare_baseline(requested: str, setup: Setup, size_px: int, batch: int) -> Callable[[], Any]:
    """A baseline for :func:`memgan.benchmark.memory.measure_peak`."""
    device = choose_device(setup.device)
    baseline = build_baseline(requested, device, size_px, setup.weights)
    return network_call(baseline, device, choose_dtype(setup.dtype, False, device), batch, baseline.size_px)
