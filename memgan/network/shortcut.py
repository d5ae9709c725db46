"""A cheaper read of the memory: an affine map of the normalized feature, fitted to each face.

Eq. 2-3 read r(q) = sum_k p_k v_k with p = softmax(q . m_k / T) over the unit slots m_k, for a unit query q. This is a
smooth function of q. Along any unit direction d, with s_k = m_k . d, moments taken under p, and v' the mean value:

- its first derivative is the covariance of v and s, over T;
- its second is E[(v - v') (s - E s)^2] / T^2, at most max_k |v_k - v'| Var(s) / T^2, and Var(s) is at most 1.

So within a distance e of a point the read is affine up to max_k |v_k - v'| Var(s) e^2 / (2 T^2). At temperature 1 the
slots of trained banks are alike and so are the features of one face at one scale, which makes both Var(s) and e small.
The tangent at a fixed point is not good enough all the same; the affine map that fits a sample of the face's own
queries best, in the sense of least squares, is (:func:`shortcut_errors` measures it). It costs C x C multiply-adds a
position instead of 2 K x C and K exponentials.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from memgan.network.memory import EPS, MemoryBank
from memgan.network.model import MemGAN

GRID = 32
"""Positions per side at which the read is computed exactly, to fit the map."""
_MIN_POSITIONS_PER_SAMPLE = 16
_RIDGE = 1e-6
"""Share of the mean variance of the queries that is added to each: directions without queries stay harmless."""


class AffineRead(NamedTuple):
    """What :meth:`MemoryBank.read` gives for the features of certain faces, nearly."""

    weight: Tensor
    """(B, C, C) float32."""
    bias: Tensor
    """(B, C) float32."""
    residual: bool

    def __call__(self, features: Tensor) -> Tensor:
        """(B, C, H, W) -> the same, with the channels innermost in memory."""
        with torch.autocast(features.device.type, enabled=False):
            read = torch.baddbmm(self.bias[:, None], _queries(features), self.weight.mT)
        batch, channels, height, width = features.shape
        read = read.view(batch, height, width, channels).permute(0, 3, 1, 2).to(features.dtype)
        return read + features if self.residual else read


def pays(bank: MemoryBank, features: Tensor) -> bool:
    """Whether the fit costs little beside the read, and the temperature leaves the read smooth."""
    samples = _MIN_POSITIONS_PER_SAMPLE * GRID**2
    return features.shape[2] * features.shape[3] >= samples and bank.temperature >= 1


@torch.no_grad()
def fit_affine_read(bank: MemoryBank, features: Tensor) -> AffineRead:
    """The affine map that comes nearest to a bank's read at a regular grid of positions of each face.

    Args:
        bank: is not changed.
        features: (B, C, H, W) of all positions; H and W at least :data:`GRID`.
    """
    steps = [side // GRID for side in features.shape[2:]]
    sample = features[:, :, steps[0] // 2 :: steps[0], steps[1] // 2 :: steps[1]].float()
    with torch.autocast(features.device.type, enabled=False):
        read = bank.read(sample)
        if bank.residual:
            read = read - sample
        query, target = _queries(sample).double(), read.flatten(2).mT.double()
        center, mean = query.mean(1, keepdim=True), target.mean(1, keepdim=True)
        query = query - center
        square = query.mT @ query
        # A flat picture has queries of one direction only, and no inverse without the least value.
        ridge = (_RIDGE * square.diagonal(dim1=1, dim2=2).mean(1)).clamp_min(_RIDGE)[:, None, None]
        square = square + ridge * torch.eye(len(square[0]), dtype=square.dtype, device=square.device)
        weight = torch.linalg.solve(square, query.mT @ (target - mean)).mT
        bias = mean - center @ weight.mT
    return AffineRead(weight.float(), bias[:, 0].float(), bank.residual)


@torch.no_grad()
def shortcut_errors(network: MemGAN, image: Tensor) -> dict[int, float]:
    """Root mean square error of the cheaper read at all positions, as a share of the exact read's root mean square.

    Args:
        network: any form; its banks give the exact read.
        image: (B, 3, S, S) RGB in [-1, 1].

    Returns:
        The share by scale, for the scales at which the shortcut is taken.
    """
    errors = {}
    features = network.encoder(image)
    for name, bank in network.memory.items():
        query = features[int(name)]
        if pays(bank, query):
            exact, near = bank.read(query), fit_affine_read(bank, query)(query)
            alone = exact - query if bank.residual else exact
            errors[int(name)] = ((near - exact).square().mean() / alone.square().mean()).sqrt().item()
    return errors


def _queries(features: Tensor) -> Tensor:
    """(B, C, H, W) -> unit vectors (B, H*W, C) float32."""
    return F.normalize(features.permute(0, 2, 3, 1).flatten(1, 2).float(), dim=-1, eps=EPS)
