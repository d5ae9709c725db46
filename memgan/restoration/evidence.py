"""Shows what the memory recognizes in a face: a map that no other restorer can give."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from memgan.errors import ConfigError
from memgan.network.model import MemGAN
from memgan.restoration.inference import to_batch


@torch.inference_mode()
def memory_evidence(
    network: nn.Module, crops: Sequence[np.ndarray], *, device: torch.device, max_batch: int = 8
) -> list[dict[int, np.ndarray]]:
    """Similarity of every part of each face to the memory's best slot.

    Args:
        network: a :class:`memgan.network.model.MemGAN` with memory, or what runs one (``network.trained``).
        crops: (S, S, 3) uint8 RGB each.
        device: where ``network`` is.
        max_batch: faces at once.

    Returns:
        For each face: scale r -> (r, r) float32 cosines in [-1, 1].

    Raises:
        ConfigError: if the network has no memory.
    """
    trained = getattr(network, "trained", network)
    if not isinstance(trained, MemGAN) or not trained.memory:
        raise ConfigError("evidence=True needs a network with memory, and this one has none; leave it out.")
    maps: list[dict[int, np.ndarray]] = []
    for start in range(0, len(crops), max_batch):
        features = trained.encoder(to_batch(crops[start : start + max_batch], device))
        cosines = {
            int(scale): bank.inspect(features[int(scale)]).cosine.cpu().numpy()
            for scale, bank in trained.memory.items()
        }
        maps.extend(
            {scale: cosine[i] for scale, cosine in cosines.items()} for i in range(len(features[min(features)]))
        )
    return maps
