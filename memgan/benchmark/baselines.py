"""Builds networks to compare with: other projects' with random weights, any callable, or the restorer's own run twice.

Speed and memory do not depend on the weights, so the architecture is enough; the images are meaningless.
"""

import functools
import importlib
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from memgan.errors import ConfigError, MissingDependencyError
from memgan.evaluation import import_restorer
from memgan.network.config import PRESETS
from memgan.network.model import build_memgan
from memgan.network.reliability import ReliabilityConfig, ReliabilityNet
from memgan.restoration.inference import run_network
from memgan.restoration.restorer import MemGANRestorer

MEMGAN = "memgan"
"""The restorer's own network among the baselines."""
# By name: package, module, class (whose defaults are the published architecture), and the arguments that the project's
# own program calls it with.
_ARCHITECTURES: dict[str, tuple[str, str, str, dict[str, Any]]] = {
    "gfpgan": ("spandrel", "spandrel.architectures.GFPGAN", "GFPGAN", {"return_rgb": False}),
    "codeformer": (
        "spandrel-extra-arches",
        "spandrel_extra_arches.architectures.CodeFormer",
        "CodeFormer",
        {"weight": 0.5},
    ),
    "restoreformer": ("spandrel", "spandrel.architectures.RestoreFormer", "RestoreFormer", {}),
}
_PUBLISHED_SIZE_PX = 512
_SELF_ENSEMBLE = "self-ensemble"
_UNPACKAGED = {"gpen": "GPEN's network is in no package of PyPI; "}
_RELIABILITY = "reliability"
BASELINES = (*_ARCHITECTURES, *PRESETS, _SELF_ENSEMBLE, _RELIABILITY)
"""Names that :func:`build_baseline` knows."""


class Baseline(nn.Module):
    """A network that is run as its project runs it."""

    def __init__(
        self,
        name: str,
        requested: str,
        size_px: int,
        network: Callable[..., Any],
        run: Callable[[Tensor], Any] | None = None,
    ) -> None:
        super().__init__()
        self.name, self.size_px, self.network = name, size_px, network
        self.requested = requested  # to build it again in another process
        self._run = run or functools.partial(network)

    def forward(self, faces: Tensor) -> Any:
        """Whatever the network gives for (B, 3, S, S) in [-1, 1]."""
        return self._run(faces)


def build_baseline(requested: str, device: torch.device, size_px: int = 512, weights: str | None = None) -> Baseline:
    """A network by name.

    Args:
        requested: one of :data:`BASELINES` (random weights; but ``self-ensemble`` is the restorer's own network as
            :func:`memgan.restoration.inference.run_network` runs it), ``module:callable`` or ``NAME=module:callable``
            as for :func:`memgan.evaluation.import_restorer`. ``reliability`` is what estimates the errors of a
            restorer, by itself: so much of a run of the network does ``reliability=True`` add.
        device: where it is put, if it is a module of torch.
        size_px: side of the faces that a callable is given; the known networks have their own.
        weights: of ``self-ensemble``, as :class:`memgan.MemGANRestorer` takes them.

    Raises:
        ConfigError: if the name is unknown; the message lists those that are known.
        MissingDependencyError: if the package that has the network is not installed.
        WeightsError: if the weights are missing or damaged.
    """
    name: str = requested
    run: Callable[[Tensor], Any] | None = None
    if ":" in requested:
        name, network = import_restorer(requested)
    elif requested == _SELF_ENSEMBLE:
        restorer = MemGANRestorer(weights, device=str(device))
        network, size_px = restorer.network, restorer.pipeline.size_px
        run = functools.partial(run_network, network, self_ensemble=True)
    elif requested == _RELIABILITY:
        estimator = network = ReliabilityNet(ReliabilityConfig(image_size=size_px))

        def run(faces: Tensor) -> Any:
            return estimator(faces, faces, faces.new_zeros(len(faces)))

    elif requested in PRESETS:
        network, size_px = build_memgan(PRESETS[requested]), PRESETS[requested].image_size
    elif requested in _ARCHITECTURES:
        package, module, class_name, call = _ARCHITECTURES[requested]
        try:
            network = getattr(importlib.import_module(module), class_name)()
        except ImportError as error:
            raise MissingDependencyError(
                f"the network of {requested} is in a package that cannot be imported ({error}); get it with: "
                f"pip install {package}, or all of them with: pip install 'memgan[benchmark]'"
            ) from error
        size_px, run = _PUBLISHED_SIZE_PX, functools.partial(network, **call)
    else:
        raise ConfigError(
            f"baseline is {requested!r}; {_UNPACKAGED.get(requested, '')}allowed: {', '.join(BASELINES)}, or "
            "module:callable for any function of (B, 3, 512, 512) RGB in [-1, 1]."
        )
    return Baseline(name, requested, size_px, network, run).eval().requires_grad_(False).to(device)


def build_baselines(
    requested: Sequence[str], device: torch.device, size_px: int, weights: str | None = None
) -> dict[str, Baseline]:
    """Several networks by their names, see :func:`build_baseline`.

    Raises:
        ConfigError: also if two have one name, or one has that of the restorer's network.
    """
    built: dict[str, Baseline] = {}
    for text in requested:
        baseline = build_baseline(text, device, size_px, weights)
        if baseline.name in (*built, MEMGAN):
            raise ConfigError(f"Two networks are called {baseline.name!r}; name one by NAME=module:callable.")
        built[baseline.name] = baseline
    return built
