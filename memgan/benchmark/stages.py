"""Makes the parts of a restoration calls without arguments, to be timed one by one."""

import functools
from collections.abc import Callable
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

NEEDS_FACES = ("align", "paste")
RESTORES_BEFORE = ("paste", "rest")
"""Stages that a whole restoration makes ready for."""


class Workbench:
    """A restorer and a picture, and everything that a stage needs made ready before its time counts."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.device = choose_device(setup.device)
        self.restorer = open_restorer(setup)
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
        """One part as a call.

        Args:
            name: ``network``, ``detect``, ``align``, ``paste``, ``rest`` or ``enhance``.
            batch: faces per run of the network.
        """
        if name == "network":
            return network_call(self.restorer.network, self.device, self.setup.dtype, batch, self.size_px)
        if name == "detect":
            return lambda: self.restorer.detect(self.image)
        if name == "align":
            rgb = to_8bit(self._picture().rgb)
            return lambda: [align(rgb, face, self.size_px) for face in self.faces]
        if name == "paste":
            return self._paste()
        if name == "rest":
            network = _Replay(self.restorer.network, self.size_px)
            replay = open_restorer(self.setup, network=network)
            replay.enhance(self.image)
            network.is_recorded = True
            return lambda: replay.enhance(self.image)
        return lambda: self.restorer.enhance(self.image)

    def _picture(self) -> Any:
        return from_array(self.image, "bgr")

    def _paste(self) -> Callable[[], Any]:
        faces = self.restorer.restore(self.image, faces=self.faces).faces
        pairs = [(face, face.restored) for face in faces]  # at full strength, as weight is 1
        picture = self._picture()
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
        self.is_recorded = False
        self._network = network
        self._results: list[Tensor] = []
        self._next = 0

    def forward(self, image: Tensor) -> tuple[Tensor]:
        if not self.is_recorded:
            self._results.append(self._network(image)[0])
            return (self._results[-1],)
        result = self._results[self._next % len(self._results)]  # a picture with many faces has several batches
        self._next += 1
        return (result,)


def open_restorer(setup: Setup, network: nn.Module | None = None) -> MemGANRestorer:
    """The restorer that ``setup`` describes, or one around a given network."""
    options: dict[str, Any] = {"device": setup.device, "upscale": setup.upscale}
    if network is not None:
        return MemGANRestorer(network=network, dtype=setup.dtype, **options)
    if setup.backend != "torch":
        options["backend"] = setup.backend
    return MemGANRestorer(setup.weights, dtype=setup.dtype, **options)


def network_call(
    network: Callable[[Tensor], Any], device: torch.device, dtype: str, batch: int, size_px: int
) -> Callable[[], Any]:
    """A network on a batch of faces (B, 3, S, S), as :func:`memgan.restoration.inference.restore_crops` runs it."""
    generator = torch.Generator().manual_seed(0)
    faces = torch.rand(batch, 3, size_px, size_px, generator=generator).mul_(2).sub_(1).to(device)
    chosen = choose_dtype(dtype, False, device)

    def call() -> Any:
        with torch.inference_mode():
            return run_network(network, faces, dtype=chosen)

    return call


def prepare_stage(setup: dict[str, Any], stage: str, batch: int = 1) -> Callable[[], Any]:
    """A stage for :func:`memgan.benchmark.memory.measure_peak`."""
    return Workbench(Setup(**setup)).stage(stage, batch)


def prepare_baseline(
    requested: str, device: str, size_px: int, dtype: str, batch: int, weights: str | None = None
) -> Callable[[], Any]:
    """A baseline for :func:`memgan.benchmark.memory.measure_peak`."""
    target = torch.device(device)
    baseline = build_baseline(requested, target, size_px, weights)
    return network_call(baseline, target, dtype, batch, baseline.size_px)
