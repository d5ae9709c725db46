"""Learning to use the prior: on faces that it drew itself, its own features and latent codes are known."""

import torch
from torch import Tensor


def prior_distance(
    decoded: dict[int, Tensor], reference: dict[int, Tensor], latent: Tensor, true_latent: Tensor
) -> Tensor:
    """Squared distance of the decoded features and the latent code to those that the prior drew the face from.

    A pretrained synthesis network shows sharp faces only where its features lie near those that it was trained on. The
    losses on the picture tell that slowly and through all layers above; here every fusion is told at once, for the
    whole face, and nothing above the largest matched scale has to be computed.

    Args:
        decoded: F^D by scale, (B, C_r, r, r).
        reference: the prior's F^GAN2 by scale; its scales are compared.
        latent: (B, D) latent codes of the degraded faces.
        true_latent: (B, D) latent codes of the clean faces.

    Returns:
        scalar float32; every scale, and the code, counts as the share of the variance that is missed, averaged.
    """
    terms = [missed_share(decoded[scale], features) for scale, features in reference.items()]
    return torch.stack([*terms, missed_share(latent, true_latent)]).mean()


def missed_share(found: Tensor, true: Tensor) -> Tensor:
    """Squared distance as a share of the variance of ``true``; scalar float32."""
    true = true.float()
    return (found.float() - true).square().mean() / true.var().clamp_min(1e-8)
