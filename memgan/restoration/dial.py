"""Gives a restorer its network at any setting of the fidelity dial, between two sets of weights."""

from collections.abc import Callable
from typing import NamedTuple, cast

import torch
from torch import nn

from memgan import hub
from memgan.hub.average import check_partner, interpolated
from memgan.network.fast import prepare_for_inference
from memgan.network.model import MemGAN, build_memgan
from memgan.restoration.self_check import SelfCheck
from memgan.runtime.device import to_device
from memgan.runtime.isolation import unfilled
from memgan.runtime.kept import Kept

KEPT_NETWORKS = 3
"""Settings besides 0 whose networks a dial keeps, those used last; each takes the memory of the weights in float32."""


class DialedNetwork(NamedTuple):
    """A network as a restorer runs it."""

    network: nn.Module
    self_check: SelfCheck


class FidelityDial:
    """The networks of a restorer at the settings of its dial; threads may share it.

    The second set of weights is read when the first setting above 0 is asked for.

    Args:
        network: the vivid end as the restorer runs it, setting 0: a :class:`memgan.network.model.MemGAN`, or what runs
            one, ``trained``.
        load: reads the faithful end.
        finish: what the restorer does to a network before it runs it, such as exporting it for a backend.
        check: makes the self-check of a finished network.
    """

    def __init__(
        self,
        network: nn.Module,
        load: Callable[[], hub.Checkpoint],
        finish: Callable[[nn.Module], nn.Module],
        check: Callable[[nn.Module], SelfCheck],
    ) -> None:
        self.network = network
        self._trained = cast("MemGAN", getattr(network, "trained", network))
        self._load, self._finish, self._check = load, finish, check
        self._ends: Kept[None, tuple[hub.Checkpoint, hub.Checkpoint]] = Kept(1)
        self._networks: Kept[tuple[float, torch.device], DialedNetwork] = Kept(KEPT_NETWORKS)

    def at(self, fidelity: float, device: torch.device) -> DialedNetwork:
        """The network of a setting above 0, on a device; bit for bit what a new dial would give.

        Raises:
            WeightsError: if the faithful weights are missing or damaged, or do not belong to the vivid ones.
            ConfigError: if the device cannot be used in this process.
        """
        return self._networks.get((fidelity, device), lambda: self._made(fidelity, device))

    def _made(self, fidelity: float, device: torch.device) -> DialedNetwork:
        vivid, faithful = self._ends.get(None, self._read)
        config = faithful.config if fidelity == 1 else vivid.config
        with unfilled():
            built = build_memgan(config, interpolated(vivid.state, faithful.state, fidelity))
        ready = prepare_for_inference(built).eval().requires_grad_(False)
        network = to_device(self._finish(ready), device)
        return DialedNetwork(network, self._check(network))

    def _read(self) -> tuple[hub.Checkpoint, hub.Checkpoint]:
        """Both ends, on the CPU."""
        faithful = self._load()
        state = {name: tensor.cpu() for name, tensor in self._trained.state_dict().items()}
        vivid = hub.Checkpoint(self._trained.config, state)
        check_partner(vivid, faithful)
        return vivid, faithful
