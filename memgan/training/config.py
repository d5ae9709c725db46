"""Defines the settings of a training run, which are stored with its checkpoints, and reads recipes of them."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from memgan.errors import ConfigError
from memgan.runtime.checks import parse_json
from memgan.training.settings import Settings, merged, setting

RECIPES = Path(__file__).parent / "recipes"
"""Folder of the recommended settings: a JSON file for each preset, with what differs from the defaults."""


@dataclasses.dataclass(frozen=True)
class RunSettings(Settings, path="run."):
    """How long a run takes and how it is computed."""

    steps: int = setting(300_000, "generator steps of the whole run", above=0)
    minutes: float | None = setting(
        None, "wall-clock budget; the run ends at whichever of steps and minutes comes first", above=0
    )
    batch_size: int = setting(12, "faces per step and process", above=0)
    workers: int = setting(
        0,
        "processes that make batches on the CPU, about as many as cores; data.synthetic_pool faces of the prior are "
        "then drawn once, before the first step; 0: batches are made on the device that trains",
        least=0,
    )
    mixed_precision: Literal["no", "bf16"] = setting(
        "no", "bfloat16 autocast on devices that gain from it; memory, norms and losses stay in float32"
    )
    compile: bool = setting(
        False, "torch.compile generator and perceptual loss: faster steps after minutes; needs a C++ compiler on a CPU"
    )
    memory_check: bool = setting(
        True, "estimate the memory before the run starts, and refuse a run that takes more than is free"
    )
    seed: int = setting(0, "seed of windows, degradations, order and initial weights")
    checkpoint_every: int = setting(1000, "steps between checkpoints and sample pictures", above=0)
    checkpoint_minutes: float = setting(
        10.0, "minutes after which a checkpoint is written even if fewer steps have passed", above=0
    )


@dataclasses.dataclass(frozen=True)
class OptimizerSettings(Settings, path="optimizer."):
    """Adam, its schedule, and the averaged weights."""

    learning_rate: float = setting(0.002, "Adam's step size for everything but the prior", above=0)
    prior_rate: float = setting(
        1.0, "learning rate of the prior's layers (synthesis and mapping), relative to learning_rate", least=0
    )
    prior_frozen_steps: int = setting(0, "steps during which the prior's layers do not change", least=0)
    beta1: float = setting(0.0, "Adam's first decay", least=0, most=1)
    beta2: float = setting(0.99, "Adam's second decay", least=0, most=1)
    warmup_steps: int = setting(200, "steps over which the learning rate rises from zero", least=0)
    decay_from: float = setting(
        0.7, "share of the run after which the rate falls, as a cosine, to a twentieth; 1: never", least=0, most=1
    )
    clip_norm: float = setting(
        1.0, "largest norm of the gradient of each of the generator's parameter groups; 0: no clipping", least=0
    )
    ema_decay: float = setting(
        0.999, "decay of the averaged weights, which are what ships; lower in the first steps", least=0, most=1
    )


@dataclasses.dataclass(frozen=True)
class MemorySettings(Settings, path="memory."):
    """Updates of the memory banks (Eq. 5)."""

    frozen: bool = setting(False, "leave the memory as it is, for weights that share it with those they start from")
    warmup: bool = setting(False, "let the slots follow up to ten times faster during the first thousand steps")
    positions: int | None = setting(
        None, "positions per face, on a random grid, from which each bank is updated; null: all (Eq. 5)", least=1
    )


@dataclasses.dataclass(frozen=True)
class DataSettings(Settings, path="data."):
    """Which faces a run sees; ``synthetic`` to ``background_swap`` are shares from 0 to 1."""

    synthetic: float = setting(
        0.0, "share of the faces that are drawn from the prior instead of the photographs", least=0, most=1
    )
    synthetic_pool: int | None = setting(
        None, "keep so many of them and use them again, every tenth a new one; null: all new (cheap on a GPU)", least=1
    )
    aged: float = setting(
        0.0,
        "share of the photographs that are aged before Eq. 14: black and white, faded, moved, printed, grainy, "
        "scratched, made small and sharpened, compressed twice",
        least=0,
        most=1,
    )
    mild: float = setting(0.0, "share of the faces that are not aged whose Eq. 14 is mild", least=0, most=1)
    color_jitter: float = setting(0.0, "share of the photographs that get other colors and light", least=0, most=1)
    background_swap: float = setting(
        0.0, "share of the photographs behind whose faces other photographs are put", least=0, most=1
    )


@dataclasses.dataclass(frozen=True)
class LossSettings(Settings, path="losses."):
    """Weights of the generator's losses, each followed by its further settings; 0: not built."""

    l1: float = setting(0.1, "weight of the pixel loss (Eq. 9)", least=0)
    l1_levels: int = setting(
        1, "resolutions over which it is averaged, each half of the one before; 1: the full one alone (Eq. 9)", above=0
    )
    l1_finest: float = setting(1.0, "weight of the two finest of these resolutions relative to the others", least=0)
    rms: float = setting(0.0, "weight of each face's root mean square error, which PSNR measures", least=0)
    perceptual: float = setting(1.0, "weight of the perceptual loss (Eq. 10)", least=0)
    perceptual_network: Literal["vgg19", "stlpips_vgg"] = setting("vgg19", "its feature network")
    perceptual_taps: int | None = setting(
        None, "how many of the network's taps count, from the input on; null: all", least=1, most=5
    )
    perceptual_unit_normalize: bool = setting(
        False, "divide features by their norm at every position first, as LPIPS does"
    )
    perceptual_size: int | None = setting(
        None, "side in pixels of the random crop whose features are taken; null: all that was decoded", least=32
    )
    lpips: float = setting(
        0.0, "weight of the distance that stlpips_vgg was calibrated for (LPIPS), over all its taps", least=0
    )
    adversarial: float = setting(0.1, "weight of the adversarial loss (Eq. 11); 0: no discriminator", least=0)
    adversarial_from: int = setting(0, "first step with the adversarial loss", least=0)
    adversarial_paired: bool = setting(
        False, "compare every restored face with its own truth (relativistic) instead of Eq. 11 and 12"
    )
    identity: float = setting(
        0.0, "weight of the distance for a recognition network, which --identity-network names", least=0
    )
    deep_feature: float = setting(
        0.0, "weight of the distance of deep features of the face within its surroundings", least=0
    )
    checkerboard: float = setting(0.0, "weight of the loss against the grids that up-sampling leaves", least=0)
    known_detail: float = setting(0.0, "weight of the loss on detail that the degraded picture still shows", least=0)
    texture: float = setting(0.0, "weight of the loss on the statistics of fine detail", least=0)
    prior_match: float = setting(
        0.0,
        "weight of the distance to the prior's features and latent code, on faces drawn from it; above 0, the other "
        "losses do not reach the latent code",
        least=0,
    )
    prior_match_until: float = setting(0.5, "share of the run over which that weight falls to zero", least=0, most=1)
    prior_match_scale: int = setting(64, "largest scale of the features that are matched", least=8)

    @property
    def use_perceptual_features(self) -> bool:
        """Whether a loss needs the perceptual network."""
        return bool(self.perceptual or self.lpips)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.lpips and self.perceptual_network != "stlpips_vgg":
            raise ConfigError(f"losses.lpips is {self.lpips:g}; it needs losses.perceptual_network=stlpips_vgg, or 0.")


@dataclasses.dataclass(frozen=True)
class DiscriminatorSettings(Settings, path="discriminator."):
    """The discriminator, which is built if ``losses.adversarial`` is above 0."""

    kind: Literal["picture", "features"] = setting(
        "picture",
        "what it sees: pictures (StyleGAN2's, the paper), or the taps of the perceptual loss's network; that kind has "
        "neither size, width nor R1",
    )
    deep_features: bool = setting(False, "show the kind features the taps of the deep-feature loss's network as well")
    rate: float = setting(
        1.0, "its learning rate relative to optimizer.learning_rate; the product is usually about 0.002", least=0
    )
    size: int | None = setting(
        None,
        "side in pixels of the (randomly cropped) pictures that the kind picture sees, a power of two; null: the whole "
        "picture, of a window the largest power of two that it leaves",
        least=8,
    )
    channel_base: int = setting(
        32768, "its width at scale r is the smaller of channel_max and channel_base // r", above=0
    )
    channel_max: int = setting(512, "upper limit of its width", above=0)
    r1_gamma: float = setting(10.0, "weight of the R1 penalty", least=0)
    r1_every: int = setting(16, "steps between R1 penalties", above=0)


@dataclasses.dataclass(frozen=True)
class WindowSettings(Settings, path="window."):
    """Training on a window of each picture."""

    size: int | None = setting(
        None, "side, in pixels of the features at `scale`, of the random part decoded above it; null: all", least=4
    )
    scale: Literal[8, 16, 32, 64, 128, 256] = setting(64, "scale up to which the whole picture is decoded")
    margin: int = setting(
        16, "picture pixels at a window's inner edges that the losses leave out: its padding shows there", least=0
    )
    component_focus: float = setting(
        0.0, "share of the steps in which windows and crops lie around an eye or the mouth", least=0, most=1
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.size is not None and self.size > self.scale:
            raise ConfigError(f"window.size is {self.size}; allowed: 4 to window.scale = {self.scale}, or None.")


@dataclasses.dataclass(frozen=True)
class TrainConfig(Settings):
    """Settings of :func:`memgan.training.engine.train`; defaults are the paper's (Sec. 4.1) where it gives any."""

    preset: str = setting("memgan-512", "configuration of the generator, see memgan.network.config.PRESETS")
    architecture: dict[str, Any] = dataclasses.field(
        default_factory=dict,
        metadata={"help": "changes of that configuration by field, such as architecture.use_memory=false"},
    )
    run: RunSettings = RunSettings()
    optimizer: OptimizerSettings = OptimizerSettings()
    memory: MemorySettings = MemorySettings()
    data: DataSettings = DataSettings()
    losses: LossSettings = LossSettings()
    discriminator: DiscriminatorSettings = DiscriminatorSettings()
    window: WindowSettings = WindowSettings()

    def __post_init__(self) -> None:
        super().__post_init__()
        data, losses, discriminator, window = self.data, self.losses, self.discriminator, self.window
        if self.run.workers and data.synthetic and data.synthetic_pool is None:
            raise ConfigError(
                f"run.workers is {self.run.workers} and data.synthetic {data.synthetic:g}, but data.synthetic_pool is "
                "None: processes cannot draw faces of the prior, so say how many to draw before the first step, for "
                "example data.synthetic_pool=4096 (0.8 MB each at 512 px)."
            )
        if losses.prior_match and not data.synthetic:
            raise ConfigError(f"losses.prior_match is {losses.prior_match:g}, but data.synthetic is 0: raise it.")
        if losses.prior_match and window.size is not None and losses.prior_match_scale > window.scale:
            scale = losses.prior_match_scale
            raise ConfigError(f"losses.prior_match_scale is {scale}; with windows, window.scale is the most.")
        if not losses.adversarial:
            return
        if discriminator.kind == "features" and not losses.use_perceptual_features:
            raise ConfigError(
                "discriminator.kind is features; it needs losses.perceptual or losses.lpips above 0, or use picture."
            )
        if discriminator.deep_features and (discriminator.kind != "features" or not losses.deep_feature):
            raise ConfigError(
                f"discriminator.deep_features needs the kind features (it is {discriminator.kind}) and "
                f"losses.deep_feature above 0 (it is {losses.deep_feature:g})."
            )


def recipe_names() -> list[str]:
    """Names of the recipes that come with memgan."""
    return sorted(path.stem for path in RECIPES.glob("*.json"))


def recipe(source: str | Path, changes: Mapping[str, Any] | None = None) -> TrainConfig:
    """The settings of one of :func:`recipe_names`, or of a JSON file, with changes by dotted name.

    A file may name another recipe as ``based_on``, a name or a path from its folder on: its settings are changes then.

    Raises:
        ConfigError: if there is no such recipe, it is no JSON object, or a setting is unknown or not allowed.
    """
    return TrainConfig.from_dict(merged(_recipe_values(source, ()), changes or {}))


def _recipe_values(source: str | Path, above: tuple[Path, ...]) -> Mapping[str, Any]:
    path = RECIPES / f"{source}.json" if str(source) in recipe_names() else Path(source)
    try:
        values = parse_json(path.read_bytes())
        if not isinstance(values, dict):
            raise ValueError("but another value")
    except OSError as error:
        raise ConfigError(
            f"There is no recipe {str(source)!r} ({error.strerror}); there are: {', '.join(recipe_names())}, or give "
            "the path of a JSON file."
        ) from error
    except ValueError as error:
        raise ConfigError(
            f"The recipe {path} is no JSON object ({error}); `memgan train --print-config` shows one."
        ) from error
    base = values.pop("based_on", None)
    if base is None:
        return values
    if not isinstance(base, str) or path in above:
        raise ConfigError(f"based_on in the recipe {path} is {base!r}; it must name a recipe that is not based on it.")
    return merged(_recipe_values(base if base in recipe_names() else path.parent / base, (*above, path)), values)
