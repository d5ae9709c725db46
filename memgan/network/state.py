"""Loads the tensors of a weight file into a network, all of them or none."""

from collections.abc import Mapping

from torch import Tensor, nn

from memgan.errors import StateMismatchError


def load_checked(network: nn.Module, name: str, state: Mapping[str, Tensor]) -> None:
    """Load a full state strictly.

    Args:
        network: gets the tensors.
        name: what its configuration is called, for the message.
        state: tensors by name.

    Raises:
        StateMismatchError: naming missing, unexpected and misshapen tensors.
    """
    own, given = ({n: tuple(t.shape) for n, t in tensors.items()} for tensors in (network.state_dict(), state))
    faults = {
        "missing": own.keys() - given.keys(),
        "unexpected": given.keys() - own.keys(),
        "misshapen": {f"{n}: {given[n]} instead of {own[n]}" for n in own.keys() & given if own[n] != given[n]},
    }
    if any(faults.values()):
        named = "; ".join(f"{len(names)} {fault} {sorted(names)[:5]}" for fault, names in faults.items())
        raise StateMismatchError(
            f"The weights do not fit {name}: {named}. Use weights saved by memgan for this configuration."
        )
    network.load_state_dict(state)
