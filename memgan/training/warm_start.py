"""Starting values that come from data instead of chance."""

import torch
from torch import Tensor

from memgan.errors import ConfigError
from memgan.network.fusion import BlendFusion
from memgan.network.mobile import MobileSynthesis
from memgan.network.model import MemGAN


@torch.no_grad()
def fit_output_(
    generator: MemGAN, clean: Tensor, degraded: Tensor, *, keep: float = 0.1, ridge: float = 1e-4, stride: int = 4
) -> float:
    """Fit the last blend so that the untrained network hands its input through instead of the prior's own face.

    At the largest scale, Eq. 8 is solved for its part on F^M: the least-squares map from F^M to the clean picture,
    taken through the inverse of the head. The same directions are weakened in the part on F^GAN2, which keeps all
    others. Training then starts near the input's error and spends its steps on restoring. A share of the prior's own
    picture has to stay: without it no gradient reaches the levels before, only the latent code, and training stalls.

    Args:
        generator: of the mobile family with a blend fusion at its largest scale and an initialised memory; changed.
        clean, degraded: (B, 3, S, S) in [-1, 1].
        keep: share of the prior's own picture that stays, 0 to 1.
        ridge: regularisation relative to the mean variance of F^M.
        stride: every how many pixels, in both directions, a position is used.

    Returns:
        root mean square error of the fit, in units of the picture's range [-1, 1].

    Raises:
        ConfigError: if the generator has no such blend or another family.
    """
    scale = generator.config.image_size
    blend = dict(generator.decoder.blend.items()).get(str(scale))
    synthesis = generator.decoder.synthesis
    if not isinstance(blend, BlendFusion) or not isinstance(synthesis, MobileSynthesis):
        raise ConfigError(
            f"fit_output needs the mobile family with a blend fusion at {scale} px; {generator.config.name} is of the "
            f"family {generator.config.family}, use_blend = {generator.config.use_blend}. Use --no-fit-output."
        )
    moments, style = _moments(generator, clean, degraded, keep, stride)
    second, cross, mean_read, mean_clean, clean_square, count = moments
    covariance = second / count - torch.outer(mean_read / count, mean_read / count)
    correlation = cross / count - torch.outer(mean_clean / count, mean_read / count)
    damped = covariance + ridge * covariance.diagonal().mean() * torch.eye(len(covariance), dtype=covariance.dtype)
    weights = torch.linalg.solve(damped, correlation.T).T  # (3, C_M)

    head = synthesis.blocks[-1].head
    matrix = head.weight[:, :, 0, 0].double().cpu() * (style.double().cpu() * head.gain)  # (3, C)
    inverse = torch.linalg.pinv(matrix)
    # The head adds its bias to both parts, and the part that stays has its share of it already.
    offset = mean_clean / count - weights @ (mean_read / count) - (1 - keep) * head.bias.double().cpu()
    pointwise = blend.pointwise
    device, dtype = pointwise.weight.device, pointwise.weight.dtype
    channels, centre = matrix.shape[1], pointwise.kernel_size[0] // 2
    memory_channels = pointwise.in_channels - channels
    weakened = torch.eye(channels, dtype=torch.float64) - (1 - keep) * inverse @ matrix
    pointwise.weight[:, :memory_channels, centre, centre] = (inverse @ weights).to(device, dtype)
    pointwise.weight[:, memory_channels:, centre, centre] = weakened.to(device, dtype)
    pointwise.bias.copy_((inverse @ offset).to(device, dtype))
    explained = (weights @ correlation.T).trace() * 2 - (weights @ covariance @ weights.T).trace()
    total = clean_square / count - (mean_clean / count).square().sum()
    return float(((total - explained).clamp_min(0) / 3).sqrt())


def _moments(
    generator: MemGAN, clean: Tensor, degraded: Tensor, keep: float, stride: int
) -> tuple[tuple[Tensor, ...], Tensor]:
    """Sums over positions (read x read, clean x read, read, clean, clean^2, count), and the mean head style."""
    scale = generator.config.image_size
    head = generator.decoder.synthesis.blocks[-1].head
    sums: list[Tensor] | None = None
    styles = []
    for target, image in zip(clean.split(1), degraded.split(1), strict=True):  # one face at a time: little memory
        features = generator.encoder(image)
        latent = generator.latent(features[4])
        styles.append(head.style(latent))
        memories = generator.read_memory({r: features[r] for r in generator.config.fused_scales})
        target = target - keep * generator.decoder(memories, latent)
        read = memories[scale]
        x = read[0, :, ::stride, ::stride].flatten(1).double().cpu()
        y = target[0, :, ::stride, ::stride].flatten(1).double().cpu()
        terms = [x @ x.T, y @ x.T, x.sum(1), y.sum(1), y.square().sum(), torch.tensor(float(x.shape[1]))]
        sums = terms if sums is None else [a + b for a, b in zip(sums, terms, strict=True)]
    return tuple(sums), torch.cat(styles).mean(0)
