"""Networks to compare with: other projects' by name with random weights, any callable, or the restorer's own run twice.

Speed and memory do not depend on the weights, so the architecture is enough; the pictures are meaningless.
"""

import dataclasses
import importlib
from collections.abc import Callable, Collection, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from memgan.errors import ConfigError, MissingDependencyError
from memgan.evaluation import import_restorer
from memgan.network.config import PRESETS
from memgan.network.model import build_memgan
from memgan.restoration.inference import run_network
from memgan.restoration.restorer import MemGANRestorer


@dataclasses.dataclass(frozen=True)
class _Architecture:
    """Where to find a network class, and how it is built as published."""

    places: tuple[tuple[str, str], ...]
    """(module, class) of the packages that have it, in the order in which they are tried."""
    install: str
    arguments: dict[str, Any]
    call: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Arguments that its project's own program calls it with."""


_ARCHITECTURES = {
    "gfpgan": _Architecture(
        (
            ("spandrel.architectures.GFPGAN", "GFPGAN"),
            ("gfpgan.archs.gfpganv1_clean_arch", "GFPGANv1Clean"),
        ),
        "pip install spandrel",
        {
            "out_size": 512,
            "num_style_feat": 512,
            "channel_multiplier": 2,
            "decoder_load_path": None,
            "fix_decoder": False,
            "num_mlp": 8,
            "input_is_latent": True,
            "different_w": True,
            "narrow": 1,
            "sft_half": True,
        },
        {"return_rgb": False},
    ),
    "codeformer": _Architecture(
        (("spandrel_extra_arches.architectures.CodeFormer", "CodeFormer"),),
        "pip install spandrel-extra-arches",
        {
            "dim_embd": 512,
            "n_head": 8,
            "n_layers": 9,
            "codebook_size": 1024,
            "connect_list": ["32", "64", "128", "256"],
        },
        {"weight": 0.5},
    ),
    "restoreformer": _Architecture(
        (("spandrel.architectures.RestoreFormer", "RestoreFormer"),),
        "pip install spandrel",
        {
            "n_embed": 1024,
            "embed_dim": 256,
            "ch": 64,
            "out_ch": 3,
            "ch_mult": (1, 2, 2, 4, 4, 8),
            "num_res_blocks": 2,
            "attn_resolutions": (16,),
            "resolution": 512,
            "z_channels": 256,
            "double_z": False,
            "enable_mid": True,
            "head_size": 8,
        },
    ),
}
_PUBLISHED_SIZE_PX = 512
_SELF_ENSEMBLE = "self-ensemble"
_UNPACKAGED = {"gpen": "GPEN's network is in no package of PyPI"}


class Contender(nn.Module):
    """A network with the arguments that its project calls it with.

    Args:
        name: for the table.
        asked: what :func:`build_contender` was given, to build it again in another process.
        network: called with (B, 3, S, S) in [-1, 1].
        size_px: side S.
        call: further arguments.
    """

    def __init__(
        self, name: str, asked: str, network: Callable[..., Any], size_px: int, call: dict[str, Any] | None = None
    ) -> None:
        super().__init__()
        self.name = name
        self.asked = asked
        self.network = network
        self.size_px = size_px
        self.call = call or {}

    def forward(self, image: Tensor) -> Any:
        """Whatever the network gives."""
        return self.network(image, **self.call)


class _SelfEnsemble(nn.Module):
    """A network as ``self_ensemble=True`` runs it."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> tuple[Tensor]:
        return (run_network(self.network, image, self_ensemble=True),)


def contender_names() -> list[str]:
    """Names that :func:`build_contender` knows."""
    return [*_ARCHITECTURES, *PRESETS, _SELF_ENSEMBLE]


def build_contender(asked: str, device: torch.device, size_px: int = 512, weights: str | None = None) -> Contender:
    """A network by name.

    Args:
        asked: one of :func:`contender_names` (random weights; but ``self-ensemble`` is the restorer's own network as
            :func:`memgan.restoration.inference.run_network` runs it), ``module:callable`` or ``NAME=module:callable``
            as for :func:`memgan.evaluation.import_restorer`.
        device: where it is put, if it is a module of torch.
        size_px: side of the faces that a callable is given; the known networks have their own.
        weights: of ``self-ensemble``, as :class:`memgan.MemGANRestorer` takes them.

    Raises:
        ConfigError: if the name is unknown; the message lists those that are known.
        MissingDependencyError: if the package that has the network is not installed.
        WeightsError: if the weights are missing or damaged.
    """
    if ":" in asked:
        contender = Contender(*_imported(asked), size_px)
    elif asked == _SELF_ENSEMBLE:
        network = MemGANRestorer(weights, device=str(device)).network
        contender = Contender(asked, asked, _SelfEnsemble(network), network.config.image_size)
    elif asked in PRESETS:
        contender = Contender(asked, asked, build_memgan(PRESETS[asked]), PRESETS[asked].image_size)
    elif asked in _ARCHITECTURES:
        known = _ARCHITECTURES[asked]
        network = _network_class(asked, known)(**known.arguments)
        contender = Contender(asked, asked, network, _PUBLISHED_SIZE_PX, known.call)
    else:
        why = f"{_UNPACKAGED[asked]}; " if asked in _UNPACKAGED else ""
        raise ConfigError(
            f"contender is {asked!r}; {why}allowed: {', '.join(contender_names())}, or module:callable for any "
            "function of (B, 3, 512, 512) RGB in [-1, 1]."
        )
    return contender.eval().requires_grad_(False).to(device)


def build_contenders(
    asked: Sequence[str],
    device: torch.device,
    size_px: int,
    taken: Collection[str] = (),
    weights: str | None = None,
) -> dict[str, Contender]:
    """Several networks by their names for the table, see :func:`build_contender`.

    Raises:
        ConfigError: also if two have one name, or a name is ``taken``.
    """
    built: dict[str, Contender] = {}
    for text in asked:
        contender = build_contender(text, device, size_px, weights)
        if contender.name in (*built, *taken):
            raise ConfigError(f"Two networks are called {contender.name!r}; name one by NAME=module:callable.")
        built[contender.name] = contender
    return built


def _imported(asked: str) -> tuple[str, str, Callable[..., Any]]:
    name, found = import_restorer(asked)
    return name, asked, found


def _network_class(name: str, known: _Architecture) -> Any:
    reasons = []
    for module, attribute in known.places:
        try:
            return getattr(importlib.import_module(module), attribute)
        except (ImportError, AttributeError) as error:
            reasons.append(str(error))
    raise MissingDependencyError(
        f"the network of {name} is in no installed package ({'; '.join(reasons)}); get it with: {known.install}"
    )
