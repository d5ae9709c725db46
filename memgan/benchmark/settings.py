"""Says what to measure, and checks it before anything is measured."""

import dataclasses
from pathlib import Path

from memgan.errors import ConfigError
from memgan.image import MAX_SIDE, MIN_SIDE
from memgan.runtime.checks import check_int, check_number
from memgan.runtime.choices import BACKENDS, DTYPES

STAGES = ("network", "detect", "align", "paste", "rest", "enhance", "roofline", "scaling")
"""What can be measured; ``rest`` is everything besides the network in ``enhance``."""
DEFAULT_STAGES = STAGES[:-1]
TIMED_STAGES = STAGES[:-2]
"""What two checkouts are compared in."""
ROUNDS = 5
"""How often two checkouts alternate."""


@dataclasses.dataclass(frozen=True)
class Setup:
    """A restorer and the picture that it works on."""

    weights: str | None = None
    """As :class:`memgan.MemGANRestorer` takes them; ``None``: the embedded ones."""
    device: str | None = None
    backend: str = "torch"
    provider: str | None = None
    """Of the backends besides torch."""
    dtype: str = "auto"
    photo: str | None = None
    """Picture file; ``None``: a drawn picture of ``width`` x ``height`` pixels with ``faces`` faces."""
    width: int = 1920
    height: int = 1080
    faces: int = 1
    upscale: float = 1.0


@dataclasses.dataclass(frozen=True)
class Options:
    """What :func:`memgan.benchmark.run_benchmark` measures, and how often.

    Raises:
        ConfigError: if a value is not allowed; the message lists those that are.
    """

    setup: Setup = Setup()
    """Its ``device``, ``backend`` and ``dtype`` give way to each of ``devices``, ``backends`` and ``dtypes``."""
    only: tuple[str, ...] = DEFAULT_STAGES
    against: tuple[str, ...] = ()
    """Networks to compare with, see :func:`memgan.benchmark.baselines.build_baseline`."""
    devices: tuple[str | None, ...] = (None,)
    """``None``: the first CUDA device, else the CPU."""
    backends: tuple[str, ...] = ("torch",)
    dtypes: tuple[str, ...] = ("auto",)
    """Number types that networks run in, those of ``against`` too."""
    batches: tuple[int, ...] = (1, 4)
    """Faces per run of the network; other networks are compared at the first."""
    repeats: int = 7
    warmup: int = 1
    threads: int | None = None
    """See :func:`memgan.benchmark.timing.limited_threads`."""
    memory: bool = True
    """Measure peak memory too, which takes seconds each."""
    pictures: int = 1000
    """Most pictures of ``scaling``."""

    def __post_init__(self) -> None:
        for field, allowed in (("only", STAGES), ("backends", BACKENDS), ("dtypes", DTYPES)):
            chosen = getattr(self, field)
            unknown = [name for name in chosen if name not in allowed]
            if unknown or not chosen:
                given = ", ".join(map(repr, unknown)) or "empty"
                raise ConfigError(f"{field} is {given}; allowed: {', '.join(allowed)}.")
        if self.setup.provider is not None and set(self.backends) == {"torch"}:
            raise ConfigError(
                f"provider is {self.setup.provider!r}, and the only backend torch, which has none; add onnx or "
                "openvino to backends, or leave it out."
            )
        check_int("number of batch sizes", len(self.batches), 1)
        for batch in self.batches:
            check_int("batch", batch, 1)
        check_int("repeats", self.repeats, 1)
        check_int("warmup", self.warmup, 0)
        check_int("pictures", self.pictures, 1)
        check_int("threads", 1 if self.threads is None else self.threads, 1)
        check_int("faces", self.setup.faces, 0)
        check_number("width", self.setup.width, MIN_SIDE, MAX_SIDE)
        check_number("height", self.setup.height, MIN_SIDE, MAX_SIDE)
        if self.setup.photo is not None and not Path(self.setup.photo).is_file():
            raise ConfigError(f"photo is {self.setup.photo!r}, which is no file; give a picture, or leave it out.")
