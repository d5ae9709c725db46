"""Compares features and latent codes with those of the prior, which are known for the faces that it drew."""

import torch
from torch import Tensor


def prior_distance(
    decoded: dict[int, Tensor], reference: dict[int, Tensor], latent_pred: Tensor, latent_true: Tensor
) -> Tensor:
    """Squared distance of the decoded features and the latent code to those that the prior drew the face from.

    A pretrained synthesis network shows sharp faces only where its features lie near those that it was trained on. The
    losses on the picture tell that slowly and through all layers above; here every fusion is told at once, for the
    whole face, and nothing above the largest matched scale has to be computed.

    Args:
        decoded: F^D by scale, (B, C_r, r, r).
        reference: the prior's F^GAN2 by scale; its scales are compared.
        latent_pred: (B, D) latent codes of the degraded faces.
        latent_true: (B, D) latent codes of the clean faces.

    Returns:
        scalar float32; every scale, and the code, counts as the share of the variance that is missed, averaged.
    """
    terms = [missed_share(decoded[scale], features) for scale, features in reference.items()]
    return torch.stack([*terms, missed_share(latent_pred, latent_true)]).mean()


def missed_share(found: Tensor, true: Tensor) -> Tensor:
    """Squared distance as a share of the variance of ``true``; scalar float32."""
    true = true.float()
    return (found.float() - true).square().mean() / true.var().clamp_min(1e-8)
