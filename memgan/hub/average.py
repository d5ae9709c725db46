"""Averages two weight files, number by number."""

import dataclasses

from memgan.errors import ConfigError, StateMismatchError
from memgan.hub.weight_file import Checkpoint
from memgan.network.conditioning import with_conditioning


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
    if config != other:
        fields = [field.name for field in dataclasses.fields(config)]
        differing = [name for name in fields if getattr(config, name) != getattr(other, name)]
        raise StateMismatchError(
            f"The two networks differ in {', '.join(differing)}; only weights of one configuration have a mean."
        )
    one, two = with_conditioning(first.state, second.state), with_conditioning(second.state, first.state)
    shapes, others = ({(name, tensor.shape) for name, tensor in state.items()} for state in (one, two))
    if unlike := sorted({name for name, _ in shapes ^ others}):
        raise StateMismatchError(f"Tensors not in both files, or of other shapes: {unlike[:5]} ({len(unlike)}).")
    state = {n: t.lerp(two[n], share) if t.is_floating_point() else t for n, t in one.items()}
    metadata = dict(first.metadata)
    metadata["average"] = f"{1 - share:g} of {first.config.name} and {share:g} of {second.config.name}"
    licenses = filter(None, (checkpoint.metadata.get("license") for checkpoint in (first, second)))
    if license := "; ".join(dict.fromkeys(licenses)):
        metadata["license"] = license
    return Checkpoint(config, state, metadata)
