"""Recognizes facexlib's pickled network files, for their conversion to safetensors."""

import argparse
from pathlib import Path

from torch import Tensor

from memgan.errors import StateMismatchError, WeightsError
from memgan.faces.facexlib_adapter import FACEXLIB_WEIGHTS, build_network
from memgan.hub.tensor_file import read_state

KINDS = ("stylegan2", *FACEXLIB_WEIGHTS)
"""What can be converted: StyleGAN2 generators to train from, and facexlib's detectors and parsers."""


def facexlib_state(path: Path) -> dict[str, Tensor] | None:
    """Tensors by name; ``None`` if the file has tensors within containers, as generators' checkpoints do."""
    try:
        return read_state(path, also_allowed=[argparse.Namespace])  # as rosinality's files have
    except StateMismatchError:
        return None


def kind_of(state: dict[str, Tensor], path: Path) -> str:
    for name in FACEXLIB_WEIGHTS:
        if not difference(state, name):
            return name
    if any(name.startswith(("to_rgb1.", "style_convs.", "convs.")) for name in state):
        return "stylegan2"
    raise WeightsError(
        f"{path} holds tensors such as {sorted(state)[:4]}; what can be converted is: {', '.join(KINDS)}."
    )


def difference(state: dict[str, Tensor], name: str) -> str:
    """Why the tensors are not those of facexlib's network; empty if they are."""
    wanted = build_network(name).state_dict()
    if set(wanted) != set(state):
        return f"missing {sorted(set(wanted) - set(state))[:3]}, unexpected {sorted(set(state) - set(wanted))[:3]}"
    wrong = [key for key, value in wanted.items() if value.shape != state[key].shape]
    return f"other shapes of {wrong[:3]}" if wrong else ""
