"""The MemGAN generator: encoder, memory banks, latent code and decoder (Fig. 1a)."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from memgan.errors import ShapeError, StateMismatchError
from memgan.network.conditioning import Adjustment, DegradationConditioning
from memgan.network.config import MemGANConfig
from memgan.network.decoder import Decoder, Window
from memgan.network.encoder import Encoder
from memgan.network.latent import LatentEncoder
from memgan.network.memory import MemoryBank
from memgan.network.mobile import synthesis_state_from_prior


class MemGANOutput(NamedTuple):
    """Result of :class:`MemGAN`; its first item is the picture, as callers of other restorers expect."""

    image: Tensor
    """(B, 3, S, S) RGB, about [-1, 1]: clamp before showing it."""
    latent: Tensor
    """(B, D) latent code w."""
    features: dict[int, Tensor] | None = None
    """Encoder features F^E by scale, (B, C_r, r, r); only on request."""


class MemGAN(nn.Module):
    """Blind face restoration of aligned faces.

    Args:
        config: see :class:`memgan.network.config.MemGANConfig`; :func:`build_memgan` is the usual way to get one built.
        encoder, latent, memory, decoder: the parts; ``memory`` has one bank per fused scale (or none), by name.
        conditioning: of the fusions on the picture's degradation, or ``None``.
    """

    def __init__(
        self,
        config: MemGANConfig,
        encoder: Encoder,
        latent: LatentEncoder,
        memory: nn.ModuleDict,
        decoder: Decoder,
        conditioning: DegradationConditioning | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.encoder = encoder
        self.latent = latent
        self.memory = memory
        self.decoder = decoder
        self.conditioning = conditioning

    @property
    def parts(self) -> tuple[nn.Module | None, ...]:
        """What it is made of, in the order of the arguments behind ``config``: for another form of the same network."""
        return self.encoder, self.latent, self.memory, self.decoder, self.conditioning

    def check_image(self, image: Tensor) -> None:
        """Refuse what is no batch of pictures of this network's size.

        Raises:
            ShapeError: if ``image`` is not (B, 3, S, S), S = ``config.image_size``.
        """
        size = self.config.image_size
        if image.ndim != 4 or tuple(image.shape[1:]) != (3, size, size):
            raise ShapeError(
                f"Input of shape {tuple(image.shape)}; {self.config.name} takes (B, 3, {size}, {size}): align and "
                "resize the faces first, or use MemGANRestorer, which does."
            )

    def read_memory(self, features: dict[int, Tensor], window: Window | None = None) -> dict[int, Tensor]:
        """F^E by scale -> F^M by fused scale, or F^E itself where there is no memory, conditioned; pure.

        Args:
            features: (B, C_r, r, r) by scale r.
            window: above its scale read only that part.
        """
        memories = {}
        adjustments = self.adjustments(features)
        for scale in self.config.fused_scales:
            query = features[scale]
            if window is not None and scale > window.scale:
                query = window.crop(query)
            name = str(scale)
            memory = self.memory[name](query) if name in self.memory else query
            memories[scale] = adjustments[scale](memory) if adjustments else memory
        return memories

    def adjustments(self, features: dict[int, Tensor]) -> dict[int, Adjustment]:
        """How F^M is scaled and shifted for a picture with these features F^E, by fused scale; empty: not at all."""
        return {} if self.conditioning is None else self.conditioning(features)

    def forward(
        self,
        image: Tensor,
        *,
        noise: str = "stored",
        window: Window | None = None,
        return_features: bool = False,
        return_rgb: bool = False,
        weight: float = 1.0,
        w: float | None = None,
        adain: bool = False,
    ) -> MemGANOutput:
        """Restore aligned faces.

        Args:
            image: (B, 3, S, S) RGB in [-1, 1], S = ``config.image_size``.
            noise: ``stored`` (the same input gives the same output), ``random`` or ``none``.
            window: decode only this part of the picture (training).
            return_features: hand the encoder's features on, to show what the memory makes of them.
            return_rgb, adain: accepted because callers of GFPGAN and CodeFormer pass them; without effect.
            weight: 1: the restoration; 0: the input; linear in between.
            w: another name of ``weight``, as CodeFormer calls it; wins if given.

        Returns:
            the picture and the latent code.

        Raises:
            ShapeError: if ``image`` has another shape.
        """
        self.check_image(image)
        restored, latent, features = self._generate(image, noise=noise, window=window, keep_features=return_features)
        strength = weight if w is None else w
        if strength != 1.0:
            reference = image if window is None else window.crop(image)
            restored = torch.lerp(reference, restored, strength)
        return MemGANOutput(restored, latent, features)

    def _generate(
        self, image: Tensor, *, noise: str, window: Window | None, keep_features: bool
    ) -> tuple[Tensor, Tensor, dict[int, Tensor] | None]:
        """The picture, the latent code and, if they are to be kept, the encoder's features."""
        features = self.encoder(image)
        latent = self.latent(features[4])
        restored = self.decoder(self.read_memory(features, window), latent, noise=noise, window=window)
        return restored, latent, features if keep_features else None

    def load_prior(self, prior: dict[str, Tensor]) -> None:
        """Start decoder and latent layers from an imported prior (see :mod:`memgan.training.priors`).

        Args:
            prior: tensors named ``mapping.{i}.weight|bias`` and ``synthesis.*``.

        Raises:
            StateMismatchError: if the prior is of another family or size.
        """
        try:
            if self.config.family == "mobile":
                synthesis = synthesis_state_from_prior(prior)
            else:
                synthesis = {k.removeprefix("synthesis."): v for k, v in prior.items() if k.startswith("synthesis.")}
            mapping = {
                f"layers.{key.removeprefix('mapping.')}": value.float().reshape(-1) if "bias" in key else value.float()
                for key, value in prior.items()
                if key.startswith("mapping.")
            }
            self.decoder.synthesis.load_state_dict(synthesis, strict=True)
            self.latent.mapping.load_state_dict(mapping, strict=True)
        except (KeyError, RuntimeError) as error:
            raise StateMismatchError(
                f"This prior does not fit {self.config.name} (family {self.config.family}, {self.config.image_size} px)"
                f": {error}. Import a prior of that family with `memgan prior import`."
            ) from error

    def load_checked(self, state: dict[str, Tensor]) -> None:
        """Load a full state strictly.

        Raises:
            StateMismatchError: naming missing, unexpected and misshapen tensors.
        """
        own = self.state_dict()
        missing = sorted(set(own) - set(state))
        unexpected = sorted(set(state) - set(own))
        misshapen = [
            f"{k}: {tuple(state[k].shape)} instead of {tuple(own[k].shape)}"
            for k in sorted(set(own) & set(state))
            if own[k].shape != state[k].shape
        ]
        if missing or unexpected or misshapen:
            raise StateMismatchError(
                f"The weights do not fit {self.config.name}: missing {missing[:5]} ({len(missing)}), unexpected "
                f"{unexpected[:5]} ({len(unexpected)}), wrong shape {misshapen[:5]} ({len(misshapen)}). "
                "Use weights saved by memgan for this configuration."
            )
        self.load_state_dict(state)


def build_memgan(config: MemGANConfig, state: dict[str, Tensor] | None = None) -> MemGAN:
    """Build a generator; the only place that turns numbers into parts.

    Args:
        config: says which.
        state: its tensors, as a weight file has them; ``None``: fresh ones.

    Raises:
        StateMismatchError: naming missing, unexpected and misshapen tensors.
    """
    memory = nn.ModuleDict()
    if config.use_memory:
        for scale in config.fused_scales:
            memory[str(scale)] = MemoryBank(
                config.slots(scale),
                config.encoder_width(scale),
                temperature=config.memory_temperature,
                decay=config.memory_decay,
                normalize=config.memory_normalize,
                residual=config.memory_residual,
            )
    latent = LatentEncoder(config.encoder_width(4), config.style_dim, config.latent_layers)
    conditioning = DegradationConditioning(config) if config.degradation_conditioning else None
    network = MemGAN(config, Encoder(config), latent, memory, Decoder(config), conditioning)
    if state is not None:
        network.load_checked(state)
    return network
