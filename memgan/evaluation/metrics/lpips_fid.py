"""Computes the published LPIPS and FID by the packages ``lpips`` and ``torch-fidelity``.

Their networks (AlexNet of torchvision, Inception of 2015) are in no package but in torch's download cache. Nothing is
downloaded unless asked for.
"""

import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from memgan.errors import MissingDependencyError, WeightsError, WeightsNotFoundError

ALEXNET_FILE = "alexnet-owt-7be5be79.pth"
INCEPTION_FILE = "weights-inception-2015-12-05-6726825d.pth"


def lpips_alex(device: str | torch.device = "cpu", download: bool = False) -> Callable[[Tensor, Tensor], Tensor]:
    """LPIPS (Zhang et al., CVPR 2018), version 0.1 on AlexNet: (B, 3, H, W) and truth in [-1, 1] -> (B,) float32.

    Args:
        device: where it runs.
        download: fetch AlexNet (233 MB, from download.pytorch.org) if it is not in torch's cache.

    Raises:
        MissingDependencyError: if the package ``lpips`` is not installed.
        WeightsNotFoundError: if AlexNet is not there and ``download`` is off.
        WeightsError: if it cannot be fetched or read.
    """
    try:
        import lpips
    except ImportError as error:
        raise MissingDependencyError("LPIPS needs the package lpips: pip install 'memgan[eval]'.") from error
    network = _built(
        lambda: lpips.LPIPS(net="alex", verbose=False), "LPIPS needs torchvision's AlexNet", ALEXNET_FILE, download
    ).to(device)

    @torch.no_grad()
    def distance(a: Tensor, b: Tensor) -> Tensor:
        return network(a.float(), b.float()).flatten()

    return distance


def inception_features(device: str | torch.device = "cpu", download: bool = False) -> Callable[[Tensor], Tensor]:
    """The Inception features of FID (Heusel et al., 2017): (B, 3, H, W) in [-1, 1] -> (B, 2048) float32.

    Arguments and errors are those of :func:`lpips_alex`; the network has 91 MB, from github.com.
    """
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    except ImportError as error:
        raise MissingDependencyError("FID needs the package torch-fidelity: pip install 'memgan[eval]'.") from error
    network = _built(
        lambda: FeatureExtractorInceptionV3("inception-v3-compat", ["2048"]),
        "FID needs the Inception network of 2015",
        INCEPTION_FILE,
        download,
    ).to(device)

    @torch.no_grad()
    def features(image: Tensor) -> Tensor:
        counts = ((image.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
        return network(counts)[0]

    return features


def _built(build: Callable[[], nn.Module], purpose: str, file: str, download: bool) -> nn.Module:
    path = Path(torch.hub.get_dir(), "checkpoints", file)
    if not download and not path.is_file():
        raise WeightsNotFoundError(
            f"{purpose}, which is not at {path}: put it there, or allow its download (--download)."
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # lpips requests AlexNet in a way that torchvision deprecates
            return build().eval().requires_grad_(False)
    except (OSError, RuntimeError, ValueError) as error:
        raise WeightsError(f"{purpose}, which cannot be fetched or read ({error}); see {path}.") from error
