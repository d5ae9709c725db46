"""Joins encoder, memory banks, latent code and decoder into the MemGAN generator (Fig. 1a)."""

from collections.abc import Mapping
from typing import NamedTuple, cast

from torch import Tensor, nn

from memgan.errors import ShapeError, StateMismatchError, brief
from memgan.network.conditioning import Adjustment, DegradationConditioning
from memgan.network.config import MemGANConfig
from memgan.network.decoder import Decoder, Window
from memgan.network.encoder import Encoder, LatentEncoder
from memgan.network.memory import MemoryBank
from memgan.network.state import load_checked


class Encoded(NamedTuple):
    """What :meth:`MemGAN.encode` sees in an image, and all that :meth:`MemGAN.decode` needs."""

    features: Mapping[int, Tensor]
    """Encoder features F^E by scale r, (B, C_r, r, r)."""
    latent: Tensor
    """(B, D) latent code w."""
    memories: Mapping[int, Tensor]
    """What the fusions get, by fused scale: F^M, (B, C_r, r, r), or the window of it."""


class MemGANOutput(NamedTuple):
    """Result of :class:`MemGAN`; its first item is the image, as callers of other restorers expect."""

    image: Tensor
    """(B, 3, S, S) RGB, about [-1, 1]: clamp before showing it."""
    latent: Tensor
    """(B, D) latent code w."""


class MemGAN(nn.Module):
    """Blind face restoration of aligned faces; :func:`build_memgan` makes one from a configuration.

    ``memory`` has a bank per fused scale by name, or none; ``metadata`` (license and the like) comes from a file.
    """

    memory: Mapping[str, MemoryBank]
    conditioning: DegradationConditioning | None

    def __init__(
        self,
        config: MemGANConfig,
        encoder: Encoder,
        latent: LatentEncoder,
        memory: Mapping[str, MemoryBank],
        decoder: Decoder,
        conditioning: DegradationConditioning | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.metadata: dict[str, str] = {}
        self.encoder = encoder
        self.latent = latent
        self.memory = cast("Mapping[str, MemoryBank]", nn.ModuleDict(cast("Mapping[str, nn.Module]", memory)))
        self.decoder = decoder
        self.conditioning = conditioning

    @property
    def components(
        self,
    ) -> tuple[Encoder, LatentEncoder, Mapping[str, MemoryBank], Decoder, DegradationConditioning | None]:
        """The arguments behind ``config``, to build another form of the same network."""
        return self.encoder, self.latent, self.memory, self.decoder, self.conditioning

    def check_image(self, image: Tensor) -> None:
        """Raise ShapeError if ``image`` is not (B, 3, S, S), S = ``config.image_size``."""
        size = self.config.image_size
        if image.ndim != 4 or tuple(image.shape[1:]) != (3, size, size):
            raise ShapeError(
                f"Input of shape {tuple(image.shape)}; {self.config.name} takes (B, 3, {size}, {size}): align and "
                "resize the faces first, or use MemGANRestorer, which does."
            )

    def encode(self, image: Tensor, window: Window | None = None) -> Encoded:
        """The first half of :meth:`forward`, with its arguments: above ``window.scale`` only that part is read; pure.

        Raises:
            ShapeError: if ``image`` has another shape.
        """
        self.check_image(image)
        features = self.encoder(image)
        return Encoded(features, self.latent(features[4]), self.read_memory(features, window))

    def decode(
        self, encoded: Encoded, window: Window | None = None, *, keep: dict[int, Tensor] | None = None
    ) -> Tensor:
        """The second half of :meth:`forward`.

        Args:
            encoded: from :meth:`encode`, with the same window.
            window: decode only this part of the image.
            keep: filled with the decoded features F^D by scale; ``None``: they are not kept.

        Returns:
            (B, 3, S, S) RGB, about [-1, 1], or the window of it.
        """
        image: Tensor = self.decoder(encoded.memories, encoded.latent, window=window, keep=keep)
        return image

    def forward(self, image: Tensor, *, window: Window | None = None) -> MemGANOutput:
        """Restore aligned faces; the same input gives the same output.

        Args:
            image: (B, 3, S, S) RGB in [-1, 1], S = ``config.image_size``.
            window: restore only this part of the image (training).

        Raises:
            ShapeError: if ``image`` has another shape.
        """
        encoded = self.encode(image, window)
        return MemGANOutput(self.decode(encoded, window), encoded.latent)

    def read_memory(self, features: Mapping[int, Tensor], window: Window | None = None) -> dict[int, Tensor]:
        """F^E by scale -> F^M (F^E without memory), conditioned, by fused scale; above ``window.scale`` that part."""
        memories = {}
        adjustments = self.adjustments(features)
        for scale in self.config.fused_scales:
            query = features[scale]
            if window is not None and scale > window.scale:
                query = window.crop(query)
            memories[scale] = self._read(scale, query, adjustments)
        return memories

    def adjustments(self, features: Mapping[int, Tensor]) -> dict[int, Adjustment]:
        """How F^M is scaled and shifted for an image with these features F^E, by fused scale; empty: not at all."""
        return {} if self.conditioning is None else self.conditioning(features)

    def _read(self, scale: int, query: Tensor, adjustments: Mapping[int, Adjustment]) -> Tensor:
        name = str(scale)
        memory: Tensor = self.memory[name](query) if name in self.memory else query
        return adjustments[scale](memory) if adjustments else memory

    def load_prior(self, prior: Mapping[str, Tensor]) -> None:
        """Start decoder and latent layers from an imported prior: ``mapping.{i}.weight|bias`` and ``synthesis.*``.

        Raises:
            StateMismatchError: if the prior is of another family or size.
        """
        try:
            mapping = {
                f"layers.{key.removeprefix('mapping.')}": value.float().reshape(-1) if "bias" in key else value.float()
                for key, value in prior.items()
                if key.startswith("mapping.")
            }
            self.decoder.synthesis.load_state_dict(self.decoder.synthesis.state_from_prior(prior))
            self.latent.mapping.load_state_dict(mapping)
        except (KeyError, RuntimeError) as error:
            family, size = self.config.family, self.config.image_size
            raise StateMismatchError(
                f"This prior does not fit {self.config.name}, which needs one of the family {family} and of {size} px: "
                f"make it with `memgan prior import {family}` ({brief(error)})."
            ) from error

    def load_checked(self, state: Mapping[str, Tensor]) -> None:
        """Load a full state strictly.

        Raises:
            StateMismatchError: naming missing, unexpected and misshapen tensors.
        """
        load_checked(self, self.config.name, state)


def build_memgan(config: MemGANConfig, state: Mapping[str, Tensor] | None = None) -> MemGAN:
    """Build a generator with the tensors of a weight file, or fresh ones.

    Raises:
        StateMismatchError: naming missing, unexpected and misshapen tensors.
    """
    held = None if state is None else sum(tensor.numel() for tensor in state.values())
    if held is not None and config.least_numbers > 4 * held:  # before the memory for it is taken
        raise StateMismatchError(
            f"The weights do not fit {config.name}: they have {held:,} numbers, and this configuration at least "
            f"{config.least_numbers:,}. Use weights saved by memgan for this configuration."
        )
    memory = {
        str(scale): MemoryBank(
            config.slots(scale),
            config.encoder_width(scale),
            temperature=config.memory_temperature,
            decay=config.memory_decay,
            normalize=config.memory_normalize,
            residual=config.memory_residual,
        )
        for scale in (config.fused_scales if config.use_memory else ())
    }
    latent = LatentEncoder(config.encoder_width(4), config.style_dim, config.latent_layers)
    is_conditioned = config.degradation_conditioning and config.fused_scales
    conditioning = DegradationConditioning(config) if is_conditioned else None
    network = MemGAN(config, Encoder(config), latent, memory, Decoder(config), conditioning)
    if state is not None:
        network.load_checked(state)
    return network
