"""Finds out whether a device computes what the network is: one stored face, compared with its stored answer.

Nothing else would tell: a device that computes something else may give noise, black, values that are not finite, or the
degraded face as it was, and raises no error.
"""

import contextlib
import dataclasses
import functools
import json
import math
import statistics
import sys
import threading
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image, PngImagePlugin
from torch import Tensor, nn

from memgan.errors import ConfigError, DeviceError, OutputError, WeightsError
from memgan.faces.align import align_whole
from memgan.hub.cache import cache_folder, keep_newest
from memgan.hub.download import locked
from memgan.hub.resolver import embedded_dir
from memgan.network.model import MemGAN, build_memgan
from memgan.restoration.inference import NOT_FINITE, run_network, to_batch
from memgan.restoration.named_weights import weights_digest
from memgan.runtime.atomic_file import atomic_write
from memgan.runtime.device import device_name, dtype_name
from memgan.runtime.isolation import unfilled
from memgan.runtime.records import digest
from memgan.version import __version__

FLOAT32_DB = 60.0
"""Least PSNR to the answer in float32; with products in TF32 the embedded weights reach about 82 dB."""
AUTO_DB = 50.0
"""The same in a coarser type that ``dtype="auto"`` has chosen; in bfloat16 the embedded weights reach about 59 dB."""
STATED_DB = 40.0
"""The same in a coarser type that the caller has stated: less is no matter of rounding."""
MOST_DB = 90.0
"""Larger ones are not told apart: a stored answer has 8 bits."""
KEPT_VERDICTS = 64
_FACE = "face.png"
_PACKAGES = {"onnx": "onnxruntime", "openvino": "openvino"}
"""Besides torch, by backend."""
_EXACT = ("torch", "onnx")
"""Backends that need no check on the CPU in float32."""
_TIMED_RUNS = 3

_measured: dict[str, "CheckResult"] = {}
"""By facts: what this process knows, which is all there is where the cache cannot be written."""
_warned: set[str] = set()


@dataclasses.dataclass(frozen=True)
class CheckResult:
    """What a device, number type and backend make of the stored face."""

    psnr: float
    """dB to the answer, at most :data:`MOST_DB`; ``nan``: the picture has values that are not finite."""
    limit: float
    """dB; less is wrong."""
    seconds: float
    """The network's time for this face, median of a few runs."""
    device: str
    device_name: str
    dtype: str
    backend: str
    provider: str | None
    """What the backend computes on; ``None``: ``device``."""
    answer: str
    """``stored``: that of published weights; ``computed``: made by the plain network in float32 on the CPU."""
    weights: str
    """SHA-256 of configuration and tensors."""
    versions: Mapping[str, str]

    @property
    def is_right(self) -> bool:
        """Whether the picture is near enough to the answer."""
        return self.psnr >= self.limit

    @property
    def verdict(self) -> str:
        """In words, with what to do."""
        reached = f"{self.psnr:.1f} dB" if self.psnr < MOST_DB else f"{MOST_DB:g} dB or more"
        found = f"{reached} to its {self.answer} answer, at least {self.limit:g} are needed."
        if math.isnan(self.psnr):
            found = "the picture has values that are not finite."
        word = "right" if self.is_right else "wrong"
        provider = "" if self.provider is None else f" ({self.provider})"
        where = f"In {self.dtype} by {self.backend}{provider} on {self.device_name}"
        return f"{where} the stored face is restored {word}: {found}{'' if self.is_right else f' {self._remedy}'}"

    def as_json(self) -> dict[str, Any]:
        """The fields; ``psnr`` is ``None`` where it is no number."""
        return dataclasses.asdict(self) | {"psnr": None if math.isnan(self.psnr) else self.psnr}

    @property
    def _remedy(self) -> str:
        if self.dtype != "float32":
            return "Use dtype='float32'; dtype='auto' does so by itself."
        if self.backend != "torch":
            return f"Use backend='torch', or install another version of {_PACKAGES.get(self.backend, self.backend)}."
        if self.device != "cpu":
            return "Use device='cpu', or install another build of torch for this device."
        return "Install another build of torch."


class Answer(NamedTuple):
    """What the network is to make of the stored face."""

    levels: Tensor
    """(3, S, S) float32, 0 to 255."""
    rounding: float
    """Mean of the squared errors that rounding has made; it is taken off again, so that 8 bits do."""
    kind: str


class SelfCheck:
    """Compares a restorer's network with its answer, once per weights, device, number type and versions.

    Threads may share it. Verdicts are kept in memgan's cache; where that cannot be written, for the process.

    Args:
        network: as the restorer runs it: a :class:`memgan.network.model.MemGAN`, or what runs one, ``trained``.
        backend, provider: by which library it runs, and on what; ``None``: the CPU, or torch's device.
        falls_back: whether float32 takes the place of another type that is wrong; else that is an error.

    Raises:
        ConfigError: if the network is of another kind, so that nobody knows its answer.
    """

    def __init__(
        self, network: nn.Module, backend: str = "torch", provider: str | None = None, *, falls_back: bool = False
    ) -> None:
        trained = getattr(network, "trained", network)
        if not isinstance(trained, MemGAN):
            raise ConfigError(
                "the self-check is for networks of memgan, whose answer can be known, not for a "
                f"{type(network).__name__}; compare its results with those of device='cpu' and dtype='float32'."
            )
        self.network, self.backend, self.provider, self.falls_back = network, backend, provider, falls_back
        self._trained = trained
        self._settled: dict[tuple[torch.device, torch.dtype], torch.dtype] = {}
        self._lock = threading.Lock()

    def settled(self, device: torch.device, dtype: torch.dtype) -> torch.dtype:
        """The number type in which the network is right on a device: ``dtype``, or float32 if that takes its place.

        The check runs here unless its verdict is known. Float32 on the CPU needs none.

        Raises:
            DeviceError: if it is wrong in ``dtype`` (or in float32 too); the message has the remedy.
            WeightsError: if the answer itself is not finite.
        """
        found = self._settled.get((device, dtype))
        if found is None:
            with self._lock:
                found = self._settled.get((device, dtype)) or self._decided(device, dtype)
                self._settled[device, dtype] = found
        return found

    def known(self, device: torch.device, dtype: torch.dtype) -> torch.dtype:
        """As :meth:`settled`, as far as it is known; nothing is run."""
        return self._settled.get((device, dtype), dtype)

    def run(self, device: torch.device, dtype: torch.dtype) -> CheckResult:
        """Check now, whatever is known, and keep the verdict; wrong or right is not an error here.

        Raises:
            WeightsError: if the answer itself is not finite.
        """
        with self._lock:
            self._settled.pop((device, dtype), None)
            vars(self).pop("_weights", None)  # tensors may have been changed
            facts = self._facts(device, dtype)
            result = self._measured(facts, device, dtype, 1 + _TIMED_RUNS)
            with contextlib.suppress(OutputError, ConfigError):  # a cache that cannot be written
                _keep(facts, result)
        return result

    def _decided(self, device: torch.device, dtype: torch.dtype) -> torch.dtype:
        is_exact = self.backend in _EXACT and self.provider is None
        if device.type == "cpu" and dtype == torch.float32 and is_exact:
            return dtype
        takes_over = self.falls_back and dtype != torch.float32
        result = self._known_or_measured(device, dtype, believes_wrong=takes_over)
        if result.is_right:
            return dtype
        if not takes_over:
            raise DeviceError(f"{result.verdict} `memgan check` shows more.")
        if result.verdict not in _warned:
            _warned.add(result.verdict)
            warnings.warn(f"float32 is used here. {result.verdict} `memgan check` shows more.", stacklevel=2)
        return self._decided(device, torch.float32)

    def _known_or_measured(self, device: torch.device, dtype: torch.dtype, *, believes_wrong: bool) -> CheckResult:
        """A verdict; of several processes that need it one measures, and the others wait for it.

        ``believes_wrong=False``: what was wrong is measured again, since there is nothing else to do.
        """
        facts = self._facts(device, dtype)

        def kept() -> CheckResult | None:
            found = _kept(facts)
            return found if found is None or found.is_right or believes_wrong else None

        with contextlib.ExitStack() as stack:
            if (known := kept()) is not None:
                return known
            with contextlib.suppress(OutputError, ConfigError):  # a cache that cannot be written
                stack.enter_context(locked(_path(facts).with_name("verdicts")))
                if (known := kept()) is not None:
                    return known
            result = self._measured(facts, device, dtype, 1)
            with contextlib.suppress(OutputError, ConfigError):
                _keep(facts, result)
        return result

    def _measured(self, facts: Mapping[str, Any], device: torch.device, dtype: torch.dtype, runs: int) -> CheckResult:
        answer = stored_answer(self._weights) or plain_answer(self._trained)
        psnr, seconds = _compared(self.network, answer, device, dtype, runs)
        return CheckResult(psnr, seconds=seconds, device=str(device), answer=answer.kind, **facts)

    def _facts(self, device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
        """What a verdict holds for."""
        versions = {"memgan": __version__, "torch": str(torch.__version__)}
        if (package := _PACKAGES.get(self.backend)) is not None:
            versions[package] = getattr(sys.modules[package], "__version__", "unknown")  # loaded by the backend
        coarse = AUTO_DB if self.falls_back else STATED_DB
        return {
            "limit": FLOAT32_DB if dtype == torch.float32 else coarse,
            "device_name": device_name(device),
            "dtype": dtype_name(dtype),
            "backend": self.backend,
            "provider": self.provider,
            "weights": self._weights,
            "versions": versions,
        }

    @functools.cached_property
    def _weights(self) -> str:
        return weights_digest(self._trained)


def stored_answer(weights: str) -> Answer | None:
    """The answer of published weights, by their digest; ``None`` if none of those in the package are the same.

    Raises:
        WeightsError: if a file of the package is damaged.
    """
    for path in sorted(_folder().glob("*.png")):
        pixels, about = _read(path)
        if about.get("weights") == weights:
            return Answer(torch.from_numpy(pixels).permute(2, 0, 1).float(), float(about["rounding"]), "stored")
    return None


@torch.inference_mode()
def plain_answer(network: MemGAN) -> Answer:
    """The answer of the plain trained network in float32 on the CPU, whatever form and place ``network`` has.

    Raises:
        WeightsError: if it is not finite.
    """
    state = {name: tensor.cpu() for name, tensor in network.state_dict().items()}
    with unfilled():
        plain = build_memgan(network.config, state).eval()
    made = run_network(plain, _face(network.config.image_size, torch.device("cpu")))[0]
    if not made.isfinite().all():
        raise WeightsError(NOT_FINITE)
    return Answer(_levels(made), 0.0, "computed")


def write_answer(path: Path, network: MemGAN) -> None:
    """Write the answer of weights that are to be published, as PNG; it goes into the folder ``weights/self_check``.

    Raises:
        OutputError: if the file cannot be written.
    """
    exact = plain_answer(network).levels
    rounded = exact.round()
    about = PngImagePlugin.PngInfo()
    about.add_text("weights", weights_digest(network))
    about.add_text("rounding", repr(_mean_square(rounded - exact)))
    picture = Image.fromarray(rounded.byte().permute(1, 2, 0).contiguous().numpy())
    with atomic_write(path) as temporary:
        picture.save(temporary, "PNG", pnginfo=about, optimize=True)


@torch.inference_mode()
def _compared(
    network: nn.Module, answer: Answer, device: torch.device, dtype: torch.dtype, runs: int
) -> tuple[float, float]:
    """PSNR of a network's picture to the answer in dB, and its time in seconds; of several runs the last ones count."""
    face, times = _face(answer.levels.shape[-1], device), []
    for _ in range(runs):
        begin = time.perf_counter()
        made = run_network(network, face, dtype=dtype)[0].float().cpu()
        times.append(time.perf_counter() - begin)
    if not made.isfinite().all():
        return math.nan, statistics.median(times[-_TIMED_RUNS:])
    # Rounding is as good as independent of what is wrong with the picture, so that their squares add up.
    error = _mean_square(_levels(made) - answer.levels) - answer.rounding
    psnr = MOST_DB if error <= 0 else 20 * math.log10(255) - 10 * math.log10(error)
    return min(psnr, MOST_DB), statistics.median(times[-_TIMED_RUNS:])


def _levels(made: Tensor) -> Tensor:
    """A picture in [-1, 1] as it is saved, 0 to 255, but not rounded."""
    return made.clamp(-1, 1).add(1).mul(127.5)


def _mean_square(difference: Tensor) -> float:
    return float(difference.double().square().mean())


def _face(size_px: int, device: torch.device) -> Tensor:
    """The stored face, (1, 3, S, S) RGB in [-1, 1]."""
    return to_batch([align_whole(_read(_folder() / _FACE)[0], size_px).crop], device)


def _folder() -> Path:
    return embedded_dir() / "self_check"


def _read(path: Path) -> tuple[np.ndarray, dict[str, Any]]:
    """Pixels (S, S, 3) uint8 RGB, and texts."""
    try:
        with Image.open(path, formats=("PNG",)) as picture:
            return np.array(picture.convert("RGB")), {str(name): text for name, text in picture.info.items()}
    except OSError as error:
        raise WeightsError(
            f"{path}, a file of memgan itself, cannot be read ({error.strerror or error}); install memgan again."
        ) from error


def _path(facts: Mapping[str, Any]) -> Path:
    return cache_folder() / "checks" / f"{digest(facts)}.json"


def _kept(facts: Mapping[str, Any]) -> CheckResult | None:
    """A verdict for these facts; ``None`` if there is none, or what is kept is damaged."""
    key = digest(facts)
    if key not in _measured:
        with contextlib.suppress(OSError, ConfigError, ValueError, TypeError, KeyError, RecursionError):
            values = json.loads(_path(facts).read_text("utf-8"))
            values["psnr"] = math.nan if values["psnr"] is None else float(values["psnr"])
            found = CheckResult(**values)
            if found == dataclasses.replace(found, **facts):
                _measured[key] = found
    return _measured.get(key)


def _keep(facts: Mapping[str, Any], result: CheckResult) -> None:
    """Keep a verdict for this process, and in the cache if that can be written."""
    _measured[digest(facts)] = result
    path = _path(facts)
    with atomic_write(path, make_folders=True) as temporary:
        temporary.write_text(json.dumps(result.as_json(), indent=1) + "\n", encoding="utf-8")
    keep_newest(path.parent, path.suffix, KEPT_VERDICTS)
