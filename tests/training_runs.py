"""Short training runs that tests watch: a module of its own, so that processes of a run can import it."""

import dataclasses
import json
import os
import random
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from safetensors.torch import save_file
from tiny import TINY, settings

from memgan.network.config import PRESETS
from memgan.network.model import build_memgan
from memgan.training import step
from memgan.training.config import TrainConfig
from memgan.training.engine import train
from memgan.training.step import Trainer

Report = dict[str, float]
PORTS: list[int] = []
SMALL = dataclasses.replace(TINY, image_size=64)


def register_small(patch: pytest.MonkeyPatch) -> None:
    """Let the preset ``tiny`` be of the family whose prior has the names of the network's own tensors."""
    patch.setitem(PRESETS, "tiny", SMALL)


def everything(changes: Mapping[str, object]) -> TrainConfig:
    """Settings under which all that draws is at work."""
    shares = {"synthetic": 0.4, "synthetic_pool": 5, "aged": 0.3, "mild": 0.3, "color_jitter": 0.5}
    data = {f"data.{name}": value for name, value in {**shares, "background_swap": 0.5}.items()}
    losses = {"losses.prior_match": 1.0, "losses.prior_match_scale": 16, "discriminator.size": 16}
    window = {"window.size": 12, "window.scale": 16, "window.margin": 4, "window.component_focus": 0.3}
    return settings({"run.steps": 6, "memory.warmup": True, **data, **losses, **window, **changes})


def write_prior(path: Path) -> Path:
    """A prior of random weights for the preset ``tiny``."""
    torch.manual_seed(11)
    network = build_memgan(SMALL)
    mapping = {f"mapping.{name}": tensor for name, tensor in network.latent.mapping.layers.state_dict().items()}
    synthesis = {f"synthesis.{name}": tensor for name, tensor in network.decoder.synthesis.state_dict().items()}
    save_file({**mapping, **synthesis}, path)
    return path


def watch_steps(monkeypatch: pytest.MonkeyPatch, before: Callable[[Trainer, Any], Any] | None = None) -> list[Report]:
    """What the steps of runs report from here on, and what the sources of random numbers give after each.

    ``before`` is called with the trainer and each batch, and gives the batch that is used.
    """
    seen: list[Report] = []
    original = Trainer.step
    np.random.seed(3)
    random.seed(3)

    def watched(self: Trainer, *batch: Any) -> dict[str, torch.Tensor]:
        report = original(self, *(before(self, batch) if before is not None else batch))
        drawn = {"torch": float(torch.rand(())), "numpy": np.random.normal(), "python": random.gauss(0, 1)}
        seen.append({name: float(value) for name, value in report.items()} | drawn)
        return report

    monkeypatch.setattr(Trainer, "step", watched)
    return seen


def stop_after(step: int, number: signal.Signals = signal.SIGTERM) -> Callable[[Trainer, Any], Any]:
    """For :func:`watch_steps`: send this process a signal within the step that is the last one then."""

    def stop(trainer: Trainer, batch: Any) -> Any:
        if trainer.step_index == step - 1:
            os.kill(os.getpid(), number)
        return batch

    return stop


def run_in_a_group(
    rank: int, ports: list[int], folder: str, work: Callable[[int, Path, pytest.MonkeyPatch], object]
) -> None:
    """One of two processes: ``work`` as what ``accelerate launch`` has started; each of its runs takes a port."""
    places = {"MASTER_ADDR": "127.0.0.1", "ACCELERATE_USE_CPU": "true", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    os.environ |= {**places, "RANK": str(rank), "LOCAL_RANK": str(rank)}
    PORTS.extend(ports)
    torch.set_num_threads(1)
    patch = pytest.MonkeyPatch()
    register_small(patch)
    work(rank, Path(folder), patch)


def watched_run(
    folder: Path,
    patch: pytest.MonkeyPatch,
    name: str,
    before: Callable[[Trainer, Any], Any] | None = None,
    **options: Any,
) -> list[Report]:
    """A run of the faces and the prior in ``folder``, which ends by itself or by a signal."""
    os.environ["MASTER_PORT"] = str(PORTS.pop())
    with patch.context() as inner:
        seen = watch_steps(inner, before)
        try:
            train(everything({}), [folder / "faces"], folder / "prior.safetensors", folder / name, **options)
        except SystemExit as end:
            assert end.code == 128 + signal.SIGTERM
    # A run ends its group of processes, of which accelerate knows one for each process.
    AcceleratorState._reset_state(reset_partial_state=True)
    return seen


def stopped_and_continued(rank: int, folder: Path, patch: pytest.MonkeyPatch) -> None:
    """A whole run, one that the second process is told to stop, and the rest of that; to be run in a group."""
    windows: list[object] = []
    draw = step.draw_window
    patch.setattr(step, "draw_window", lambda *values: windows.append(draw(*values)) or windows[-1])
    found = {"straight": watched_run(folder, patch, "straight"), "windows": [str(window) for window in windows]}
    found["begun"] = watched_run(folder, patch, "stopped", stop_after(3) if rank else None)
    found["continued"] = watched_run(folder, patch, "stopped", resume=folder / "stopped")
    (folder / f"{rank}.json").write_text(json.dumps(found))


def one_bad_batch(rank: int, folder: Path, patch: pytest.MonkeyPatch) -> None:
    """A run in which the second process has a batch that gives no finite loss; to be run in a group."""

    def broken(trainer: Trainer, batch: Any) -> Any:
        clean, degraded, latent = batch
        return (clean, degraded * float("nan"), latent) if rank and trainer.step_index == 1 else batch

    seen = watched_run(folder, patch, "run", broken)
    (folder / f"{rank}.json").write_text(json.dumps([report["skipped"] for report in seen]))
