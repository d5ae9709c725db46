"""Averages two weight files, number by number, and interpolates the two ends of the fidelity dial."""

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING

from memgan.errors import ConfigError, StateMismatchError
from memgan.hub.weight_file import Checkpoint
from memgan.network.conditioning import with_conditioning
from memgan.network.config import MemGANConfig

if TYPE_CHECKING:
    from torch import Tensor

_SLOTS = ".slots"
"""End of the names of the memory's tensors that hold its vectors."""


def averaged(first: Checkpoint, second: Checkpoint, share: float) -> Checkpoint:
    """The mean of two networks of which one was trained from the other, or both from a third.

    Such a mean often keeps what further training gained and takes back what it lost (Wortsman et al., "Robust
    fine-tuning of zero-shot models", CVPR 2022). That of networks with different beginnings restores nothing.

    Args:
        first: gives name, metadata and whole numbers too.
        second: of the same configuration, but that either may be without conditioning, which changes nothing then.
        share: of ``second`` in the mean, 0 to 1.

    Raises:
        ConfigError: if the share is outside of its range.
        StateMismatchError: if the networks differ.
    """
    if not 0 <= share <= 1:
        raise ConfigError(f"The share of the second file is {share!r}; it must be from 0 to 1.")
    conditioned = first.config.degradation_conditioning or second.config.degradation_conditioning
    config = dataclasses.replace(first.config, degradation_conditioning=conditioned)
    other = dataclasses.replace(second.config, degradation_conditioning=conditioned, name=config.name)
    one, two = with_conditioning(first.state, second.state), with_conditioning(second.state, first.state)
    _check_alike(config, other, one, two)
    state = {n: t.lerp(two[n], share) if t.is_floating_point() else t for n, t in one.items()}
    metadata = dict(first.metadata)
    metadata["average"] = f"{1 - share:g} of {first.config.name} and {share:g} of {second.config.name}"
    licenses = filter(None, (checkpoint.metadata.get("license") for checkpoint in (first, second)))
    if license := "; ".join(dict.fromkeys(licenses)):
        metadata["license"] = license
    return Checkpoint(config, state, metadata)


def check_partner(vivid: Checkpoint, faithful: Checkpoint) -> None:
    """Make sure that two checkpoints are ends of one dial: a network, and the same one trained further for fidelity.

    Raises:
        StateMismatchError: if they differ in more than the name of their configuration and the numbers of tensors
            outside of the memory's slots.
    """
    _check_alike(
        vivid.config, dataclasses.replace(faithful.config, name=vivid.config.name), vivid.state, faithful.state
    )
    for name, slots in vivid.state.items():
        if name.endswith(_SLOTS) and not slots.equal(faithful.state[name].to(slots)):
            raise StateMismatchError(
                f"The memory's slots of {vivid.config.name} and {faithful.config.name} differ ({name}); between such "
                "weights there is no dial: train the faithful ones from the others with the memory kept as it is."
            )


def interpolated(vivid: "Mapping[str, Tensor]", faithful: "Mapping[str, Tensor]", share: float) -> "dict[str, Tensor]":
    """Tensors between two ends (deep network interpolation, Wang et al., CVPR 2019); 0 and 1 are the ends themselves.

    Args:
        vivid, faithful: see :func:`check_partner`; on one device.
        share: of ``faithful``, 0 to 1.

    Returns:
        Floating tensors are float32; whole numbers are the vivid ones. The same on every machine: each of the three
        steps is rounded by itself, which a fused one need not be.
    """
    if share in (0, 1):
        return dict(faithful if share else vivid)
    return {
        name: (faithful[name] - tensor).mul_(share).add_(tensor) if tensor.is_floating_point() else tensor
        for name, tensor in vivid.items()
    }


def _check_alike(
    config: MemGANConfig, other: MemGANConfig, one: "Mapping[str, Tensor]", two: "Mapping[str, Tensor]"
) -> None:
    """A StateMismatchError if two networks differ in their configurations, or in names and shapes of tensors."""
    if config != other:
        fields = [field.name for field in dataclasses.fields(config)]
        differing = [name for name in fields if getattr(config, name) != getattr(other, name)]
        raise StateMismatchError(
            f"The two networks differ in {', '.join(differing)}; only weights of one configuration have a mean."
        )
    shapes, others = ({(name, tensor.shape) for name, tensor in state.items()} for state in (one, two))
    if unlike := sorted({name for name, _ in shapes ^ others}):
        raise StateMismatchError(f"Tensors not in both files, or of other shapes: {unlike[:5]} ({len(unlike)}).")
