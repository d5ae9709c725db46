"""The numbers of a training run, as one frozen dataclass that is stored with its checkpoints."""

import dataclasses
import json
from typing import Literal

from memgan.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Settings of :func:`memgan.training.engine.train`; defaults are the paper's (Sec. 4.1) where it gives any.

    Raises:
        ConfigError: if a value is outside its allowed range.
    """

    preset: str = "memgan-512"
    """Configuration of the generator, see :data:`memgan.network.config.PRESETS`."""
    architecture: tuple[str, ...] = ()
    """Changes of that configuration, such as ``use_memory=false`` or ``image_size=64``, see
    :func:`memgan.training.architecture.architecture`."""
    steps: int = 300_000
    """Generator steps of the whole run."""
    minutes: float | None = None
    """Wall-clock budget; the run ends, its learning rate decayed, at whichever of steps and minutes comes first."""
    batch_size: int = 12
    """Faces per step and process."""
    learning_rate: float = 0.002
    """Adam's step size for everything but the prior."""
    prior_rate: float = 1.0
    """Learning rate of the prior's layers (synthesis and mapping), relative to ``learning_rate``."""
    prior_frozen_steps: int = 0
    """Steps during which the prior's layers do not change."""
    beta1: float = 0.0
    """Adam's first decay."""
    beta2: float = 0.99
    """Adam's second decay."""
    warmup_steps: int = 200
    """Steps over which the learning rate rises from zero."""
    decay_from: float = 0.7
    """Share of the run after which the learning rate falls, as a cosine, to a twentieth; 1: never."""
    clip_norm: float = 1.0
    """Largest norm of the gradient of each of the generator's optimizer groups; 0: no clipping."""
    ema_decay: float = 0.999
    """Decay of the averaged weights, which are what ships; lower in the first steps."""
    memory_warmup: bool = False
    """Let the slots follow up to ten times faster during the first thousand steps, while the encoder finds its
    features."""
    memory_positions: int | None = None
    """Positions per face, on a random regular grid, from which each bank is updated; ``None``: all (Eq. 5)."""
    l1_weight: float = 0.1
    """Weight of Eq. 9."""
    l1_levels: int = 1
    """Resolutions over which Eq. 9 is averaged, each half of the one before; 1: the picture's own (the paper)."""
    l1_finest: float = 1.0
    """Weight of the two finest of these resolutions relative to the others, see
    :func:`memgan.training.losses.pixel.l1_loss`."""
    perceptual_weight: float = 1.0
    """Weight of Eq. 10."""
    adversarial_weight: float = 0.1
    """Weight of Eq. 11; 0: no discriminator."""
    adversarial_from: int = 0
    """First step with the adversarial loss."""
    adversarial_paired: bool = False
    """Judge every restored face against its own truth instead of Eq. 11 and 12, see
    :func:`memgan.training.losses.adversarial.discriminator_loss`."""
    discriminator_kind: Literal["picture", "features"] = "picture"
    """What the discriminator sees: pictures (StyleGAN2's, the paper), or the taps of the perceptual loss's network, see
    :class:`memgan.training.discriminators.features.FeatureDiscriminator`, which has none of the sizes below and no
    R1."""
    discriminator_semantic: bool = False
    """Show it the taps of the semantic loss's network as well: the part in its surroundings."""
    discriminator_size: int | None = None
    """Side in pixels of the (randomly cropped) pictures that the discriminator sees; ``None``: the whole picture."""
    discriminator_base: int = 32768
    """Discriminator width at scale r is ``min(discriminator_max, discriminator_base // r)``."""
    discriminator_max: int = 512
    """Upper limit of the discriminator's width."""
    discriminator_rate: float = 1.0
    """Learning rate of the discriminator, relative to ``learning_rate``. Its weights have StyleGAN's equalized learning
    rate, for which 0.002 is usual, whatever suits the generator."""
    r1_gamma: float = 10.0
    """Weight of the R1 penalty."""
    r1_every: int = 16
    """Steps between R1 penalties."""
    perceptual_kind: Literal["vgg19", "vgg19_normalized", "stlpips_vgg"] = "vgg19"
    """Feature network of Eq. 10."""
    perceptual_taps: int | None = None
    """How many of its taps, from the input on; ``None``: all."""
    calibrated_weight: float = 0.0
    """Weight of the distance that ``stlpips_vgg`` was calibrated for, all its taps, see
    :meth:`memgan.training.losses.perceptual.PerceptualLoss.calibrated_distance`."""
    perceptual_unit_normalize: bool = False
    """Divide features by their norm at every position first, as LPIPS does."""
    synthetic_share: float = 0.0
    """Share of the faces that are drawn from the prior instead of the photographs."""
    aged_share: float = 0.0
    """Share of the photographs that are made old ones before Eq. 14: black and white, faded, moved, printed, grainy,
    scratched, made small and sharpened, compressed twice, see :func:`memgan.degradation.aged.age_seeded`."""
    mild_share: float = 0.0
    """Share of the faces that are not made old whose Eq. 14 is mild, see
    :meth:`memgan.degradation.Degradation.mild`."""
    recolor_share: float = 0.0
    """Share of the photographs that get other colors and light, see
    :func:`memgan.training.data.color_jitter.recolor`."""
    surroundings_share: float = 0.0
    """Share of the photographs behind whose faces other photographs are put, see
    :func:`memgan.training.data.background_swap.change_surroundings`."""
    synthetic_pool: int | None = None
    """Keep so many of them and use them again, every tenth still a new one; ``None``: always new ones (drawing is cheap
    on a GPU only)."""
    prior_match_weight: float = 0.0
    """Weight of the distance to the prior's own features and latent code, on faces drawn from it, see
    :func:`memgan.training.losses.prior_match.prior_distance`. Above 0, the pictures' losses no longer reach the latent
    code."""
    prior_match_until: float = 0.5
    """Share of the run over which that weight falls to zero."""
    prior_match_scale: int = 64
    """Largest scale of the features that are matched."""
    identity_weight: float = 0.0
    """Weight of the distance for a recognition network, see :class:`memgan.training.losses.identity.IdentityLoss`."""
    semantic_weight: float = 0.0
    """Weight of the distance of deep features, see :class:`memgan.training.losses.deep_features.SemanticLoss`."""
    grid_weight: float = 0.0
    """Weight of the loss against up-sampling's grids, see :func:`memgan.training.losses.checkerboard.grid_distance`."""
    texture_weight: float = 0.0
    """Weight of the loss on how much fine detail there is, see
    :func:`memgan.training.losses.texture.texture_distance`."""
    known_weight: float = 0.0
    """Weight of the loss on detail that the degraded picture still shows, see
    :func:`memgan.training.losses.known_detail.known_detail_distance`."""
    mirror_weight: float = 0.0
    """Weight of the L1 distance, over the same resolutions as Eq. 9, to what the averaged weights make of the mirror
    image, see :meth:`memgan.training.step.Trainer.restore_mirrored`."""
    perceptual_size: int | None = None
    """Side in pixels of the random crop on which the perceptual loss is taken; ``None``: all that was decoded."""
    component_share: float = 0.0
    """Share of the steps in which windows and crops lie around an eye or the mouth instead of anywhere."""
    window: int | None = None
    """Side, in pixels of the ``window_scale`` features, of the random part that is decoded above that scale; ``None``:
    everything."""
    window_scale: int = 64
    """Scale up to which the whole picture is decoded when training on windows."""
    window_margin: int = 16
    """Picture pixels at a window's inner edges that the losses leave out: there the window's padding shows."""
    mixed_precision: Literal["no", "bf16"] = "no"
    """bfloat16 autocast on devices that gain from it; memory, norms and losses stay in float32."""
    compile_losses: bool = False
    """Compile the distances of features: they are a fifth of a step's time on a CPU and then a fiftieth, after half a
    minute of compiling, which needs a C++ compiler there."""
    workers: int = 0
    """Processes that make batches on the CPU, for a GPU that would wait for them: about as many as cores. The faces of
    the prior are then drawn once, ``synthetic_pool`` of them, before the first step. 0: on the device that trains."""
    compile: bool = False
    """Compile encoder, decoder and the perceptual loss's network (torch.compile): faster steps on most GPUs, after
    minutes of compiling."""
    seed: int = 0
    """Seed of windows, degradations, order and initial weights."""
    profile_steps: int = 0
    """Log, once, where the time of so many steps goes, see :mod:`memgan.training.profile`."""
    checkpoint_every: int = 1000
    """Steps between checkpoints (and sample pictures)."""
    checkpoint_minutes: float = 10.0
    """Minutes after which a checkpoint is written even if fewer steps have passed."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "architecture", tuple(self.architecture))  # JSON has no tuples
        for name in [
            "steps",
            "batch_size",
            "learning_rate",
            "l1_levels",
            "r1_every",
            "checkpoint_every",
            "checkpoint_minutes",
        ]:
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} is {getattr(self, name)!r}; it must be above 0.")
        for name in [
            "prior_rate",
            "prior_frozen_steps",
            "warmup_steps",
            "clip_norm",
            "l1_weight",
            "l1_finest",
            "perceptual_weight",
            "calibrated_weight",
            "identity_weight",
            "adversarial_weight",
            "adversarial_from",
            "discriminator_rate",
            "r1_gamma",
            "window_margin",
            "prior_match_weight",
            "profile_steps",
            "workers",
            "grid_weight",
            "texture_weight",
            "known_weight",
            "mirror_weight",
            "semantic_weight",
        ]:
            if not getattr(self, name) >= 0:
                raise ConfigError(f"{name} is {getattr(self, name)!r}; it must be at least 0.")
        for name in [
            "beta1",
            "beta2",
            "decay_from",
            "ema_decay",
            "synthetic_share",
            "aged_share",
            "mild_share",
            "recolor_share",
            "surroundings_share",
            "component_share",
            "prior_match_until",
        ]:
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} is {getattr(self, name)!r}; it must be from 0 to 1.")
        if self.minutes is not None and not self.minutes > 0:
            raise ConfigError(f"minutes is {self.minutes!r}; it must be above 0, or None for no limit.")
        if self.memory_positions is not None and not self.memory_positions >= 1:
            raise ConfigError(f"memory_positions is {self.memory_positions!r}; it must be at least 1, or None for all.")
        if self.window_scale not in (8, 16, 32, 64, 128, 256):
            raise ConfigError(f"window_scale is {self.window_scale!r}; allowed: a power of two from 8 to 256.")
        if self.window is not None and not 4 <= self.window <= self.window_scale:
            raise ConfigError(
                f"window is {self.window!r}; it must be from 4 to window_scale = {self.window_scale}, or None for the "
                "whole picture."
            )
        if self.synthetic_pool is not None and not self.synthetic_pool >= 1:
            raise ConfigError(f"synthetic_pool is {self.synthetic_pool!r}; it must be at least 1, or None.")
        if self.workers and self.synthetic_share and self.synthetic_pool is None:
            raise ConfigError(
                f"workers is {self.workers} and synthetic_share {self.synthetic_share}, but synthetic_pool is None: "
                "processes cannot draw faces of the prior, so say how many shall be drawn before the first step, for "
                "example synthetic_pool 4096 (0.8 MB each at 512 px)."
            )
        if self.prior_match_weight and not self.synthetic_share:
            raise ConfigError(
                f"prior_match_weight is {self.prior_match_weight}, but no face is drawn from the prior: raise "
                "synthetic_share above 0."
            )
        if self.prior_match_weight and self.window is not None and self.prior_match_scale > self.window_scale:
            raise ConfigError(
                f"prior_match_scale is {self.prior_match_scale}, but only features up to window_scale = "
                f"{self.window_scale} are decoded in full: lower it."
            )
        if self.calibrated_weight and self.perceptual_kind != "stlpips_vgg":
            raise ConfigError(
                f"calibrated_weight is {self.calibrated_weight}, but perceptual_kind is {self.perceptual_kind}, which "
                "has no calibration: use stlpips_vgg, or 0."
            )
        if self.adversarial_weight and self.discriminator_kind == "features" and not self.looks_at_features:
            raise ConfigError(
                "discriminator_kind is features, but no perceptual loss computes them: raise perceptual_weight or "
                "calibrated_weight above 0, or use the kind picture."
            )
        sees_objects = self.adversarial_weight and self.discriminator_semantic
        if sees_objects and (self.discriminator_kind != "features" or not self.semantic_weight):
            raise ConfigError(
                f"discriminator_semantic is set, but discriminator_kind is {self.discriminator_kind} and "
                f"semantic_weight {self.semantic_weight}: use the kind features and a semantic_weight above 0, or "
                "leave it out."
            )
        if self.perceptual_size is not None and not self.perceptual_size >= 32:
            raise ConfigError(f"perceptual_size is {self.perceptual_size!r}; it must be at least 32, or None.")

    @property
    def looks_at_features(self) -> bool:
        """Whether a loss needs the perceptual network."""
        return bool(self.perceptual_weight or self.calibrated_weight)

    def to_json(self) -> str:
        """All fields as a JSON object."""
        return json.dumps(dataclasses.asdict(self), indent=1)
