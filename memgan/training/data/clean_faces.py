"""Gives clean, aligned faces: photographs by number, and draws of an imported prior with their features."""

import contextlib
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from memgan.errors import DataError
from memgan.image.collection import PictureSource, Sources
from memgan.network.config import MemGANConfig
from memgan.network.encoder import MappingNetwork
from memgan.network.model import build_memgan
from memgan.runtime.checks import check_int

TRUNCATION = 0.8
"""Psi: latent codes are pulled towards their mean by ``1 - psi``."""


class FaceSet(torch.utils.data.Dataset[Tensor]):
    """Aligned faces of folders and tar archives, as uint8 tensors of one size.

    Args:
        sources: see :class:`memgan.image.collection.PictureSource`, errors too.
        size_px: side of the faces that are handed out, at least 8; others are resized, bicubic with anti-aliasing.
        cache: keep decoded faces in memory (0.75 MiB each at 512 px).
    """

    def __init__(self, sources: Sources, *, size_px: int = 512, cache: bool = False) -> None:
        check_int("size_px", size_px, 8)
        self._source = PictureSource(sources)
        self._kept: dict[int, Tensor] | None = {} if cache else None
        self.size_px = size_px

    def __len__(self) -> int:
        return len(self._source)

    @property
    def names(self) -> list[str]:
        """File names within their sources."""
        return self._source.names

    def __getitem__(self, index: int) -> Tensor:
        """Face number ``index``: (3, size_px, size_px) uint8 RGB, which the caller may change.

        Raises:
            DataError: if the file cannot be decoded or is not square (not an aligned face).
        """
        number = range(len(self))[index]
        if self._kept is None:
            return self._read(number)
        if number not in self._kept:
            self._kept[number] = self._read(number)
        return self._kept[number].clone()

    def _read(self, number: int) -> Tensor:
        array = self._source.read(number)
        height, width = array.shape[:2]
        if height != width:
            raise DataError(
                f"{self.names[number]} is {width} x {height}; faces must be square, aligned to the FFHQ template."
            )
        face = torch.from_numpy(array).permute(2, 0, 1).contiguous()
        if height != self.size_px:
            size = (self.size_px, self.size_px)
            face = F.interpolate(face[None].float(), size, mode="bicubic", antialias=True)[0]
            face = face.round().clamp(0, 255).to(torch.uint8)
        return face


class PriorFaces(nn.Module):
    """Draws clean faces from an imported prior.

    ``config`` is of the family and size of ``prior``, see :mod:`memgan.training.priors`. ``autocast`` is the context of
    the synthesis layers; the picture itself is always computed in float32.
    """

    mean_latent: Tensor

    def __init__(
        self,
        config: MemGANConfig,
        prior: dict[str, Tensor],
        *,
        autocast: Callable[[], contextlib.AbstractContextManager[object]] = contextlib.nullcontext,
    ) -> None:
        super().__init__()
        generator = build_memgan(config)
        generator.load_prior(prior)
        self.mapping: MappingNetwork = generator.latent.mapping
        self.synthesis = generator.decoder.synthesis
        self.style_dim = config.style_dim
        self.autocast = autocast
        self.requires_grad_(False).eval()
        z = torch.randn(4096, self.style_dim, generator=torch.Generator().manual_seed(0))
        self.register_buffer("mean_latent", self.mapping(z).mean(dim=0))

    @property
    def at_once(self) -> int:
        """How many to draw together: on a CPU more are no faster, and take memory."""
        return 4 if self.mean_latent.device.type == "cpu" else 16

    @torch.no_grad()
    def draw(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw faces (B, 3, S, S) in [-1, 1], and return them with their latent codes w (B, D).

        ``generator`` is one of the CPU.
        """
        z = torch.randn(count, self.style_dim, generator=generator).to(self.mean_latent.device)
        w = torch.lerp(self.mean_latent.expand(count, -1), self.mapping(z), TRUNCATION)
        return self.synthesis(w, self.autocast).clamp(-1, 1), w

    @torch.no_grad()
    def features(self, latent: Tensor, up_to: int) -> dict[int, Tensor]:
        """F^GAN2 of latent codes w (B, D), by scale: (B, C_r, r, r) for r = 8 to ``up_to``."""
        found: dict[int, Tensor] = {}
        for scale, features, _ in self.synthesis.levels(latent, self.autocast):
            found[scale] = features
            if 2 * scale > up_to:
                break
        return found
