"""Runs the training loop on Hugging Face Accelerate: devices, processes, precision, checkpoints, progress."""

import contextlib
import importlib.util
import itertools
import logging
import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from memgan.errors import DataError, MissingDependencyError
from memgan.hub import weight_file
from memgan.image import Picture, save_picture, to_uint8
from memgan.runtime.privacy import keep_private
from memgan.runtime.progress import ProgressBar
from memgan.training.build import architecture, make_discriminator, make_generator, make_stream
from memgan.training.checkpoint import load_checkpoint, load_discriminator, save_checkpoint, save_discriminator
from memgan.training.config import TrainConfig
from memgan.training.data.clean_faces import FaceSet, PriorFaces
from memgan.training.data.stream import Batch, Photographs, fingerprint
from memgan.training.data.workers import worker_batches
from memgan.training.losses.objective import make_loss_networks
from memgan.training.priors import load_prior
from memgan.training.priors.smaller import smaller_prior
from memgan.training.rates import progress, rate_factor
from memgan.training.step import Trainer
from memgan.training.sync import average_, broadcast_

if TYPE_CHECKING:
    from accelerate import Accelerator

log = logging.getLogger("memgan.training")

CACHED_SIZE = 128
"""Largest faces in pixels that are kept decoded in memory (48 KB each at 128 px)."""
LOG_EVERY = 25
"""Steps between lines of the log; reading losses from a GPU makes it wait."""


def train(
    config: TrainConfig,
    faces: Sequence[Path],
    prior: Path | None,
    output: Path,
    *,
    perceptual_weights: Path | None = None,
    identity_weights: Path | None = None,
    resume: Path | None = None,
    start_from: Path | None = None,
    discriminator_from: Path | None = None,
) -> Path:
    """Train a generator.

    Args:
        config: the settings.
        faces: folders or tar files of clean aligned faces; may be empty if all faces are drawn from the prior.
        prior: imported prior (``memgan prior import``); ``None``: from scratch, or from ``start_from``.
        output: the run's folder, for checkpoints, sample pictures and TensorBoard logs.
        perceptual_weights: file of the feature network of Eq. 10; ``None``: the installed package that carries it.
        identity_weights: file for :func:`memgan.training.losses.identity.identity_network`, if ``losses.identity`` > 0.
        resume: run or checkpoint to continue; its networks have to be those of the settings.
        start_from: weight file or generator to start from, with fresh optimizers (fine-tuning).
        discriminator_from: discriminator that an earlier run ended with, to start from.

    Returns:
        the averaged generator's weight file, ``output/memgan.safetensors``; the discriminator lies next to it as
        ``discriminator.safetensors``. Both are in half precision.

    Raises:
        ConfigError: if settings and files do not go together.
        DataError: if there are no faces.
        MissingDependencyError: if accelerate is not installed.
    """
    accelerator = _accelerator(config, output)
    torch.manual_seed(config.run.seed)
    device = accelerator.device
    built = architecture(config)
    size = built.image_size
    photographs: Photographs = FaceSet(list(faces), size_px=size, cache=size <= CACHED_SIZE) if faces else []
    if not len(photographs) and (prior is None or config.data.synthetic < 1):
        raise DataError("No faces to train on: give --faces a folder or tar of aligned faces, or set data.synthetic=1.")
    prior_tensors = smaller_prior(built, load_prior(prior)) if prior is not None else None
    generator = make_generator(built, prior_tensors, start_from).to(device).to(memory_format=torch.channels_last)
    prior_faces = None
    if config.data.synthetic and prior_tensors is not None:
        prior_faces = PriorFaces(built, prior_tensors, autocast=accelerator.autocast)
        prior_faces = prior_faces.to(device).to(memory_format=torch.channels_last)
    networks = make_loss_networks(config, device, perceptual_weights, identity_weights, prior_faces)
    discriminator = make_discriminator(config, size, networks, device)
    trainer = Trainer(config, generator, discriminator, networks, accelerator.backward, accelerator.autocast)
    if discriminator_from is not None:
        load_discriminator(discriminator_from, trainer)
    elapsed = 0.0
    if resume is not None:
        elapsed = float(load_checkpoint(resume, trainer)["elapsed_seconds"])
    else:
        for module in filter(None, (generator, discriminator)):
            broadcast_(itertools.chain(module.parameters(), module.buffers()))
    anew = resume is None and start_from is None
    seed = config.run.seed * 1000 + accelerator.process_index + (0 if anew else fingerprint(generator))
    stream = make_stream(config, size, photographs, prior_faces, device, seed)
    if anew:
        trainer.initialize_memory(stream.batch(max(config.run.batch_size, 8)).degraded.to(device))
    if config.run.compile:
        # In place, so that names in state dicts stay; the discriminator is left out: R1 differentiates twice.
        generator.encoder.compile()
        generator.decoder.compile()
    probe = None
    if accelerator.is_main_process:
        clean, degraded, _ = stream.batch(4)
        probe = clean.to(device), degraded.to(device)
    if config.run.workers:
        endless = worker_batches(stream, config.run.batch_size, config.run.workers, device, seed)
    else:
        # One after another on a CPU, which is busy.
        endless = stream.batches(config.run.batch_size, overlap=device.type != "cpu")
    with contextlib.closing(endless) as batches:
        _loop(config, trainer, batches, probe, accelerator, output, elapsed)
    final = output / "memgan.safetensors"
    if accelerator.is_main_process:
        summary = {"train_config": config.to_json(), "train_steps": str(trainer.step_index)}
        weight_file.save(final, generator.config, trainer.averaged.network.state_dict(), summary, half=True)
        if discriminator is not None:
            save_discriminator(output / "discriminator.safetensors", discriminator, summary)
    accelerator.wait_for_everyone()
    accelerator.end_training()
    return final


def _loop(
    config: TrainConfig,
    trainer: Trainer,
    batches: Iterator[Batch],
    probe: tuple[Tensor, Tensor] | None,
    accelerator: "Accelerator",
    output: Path,
    elapsed: float,
) -> None:
    run = config.run
    began = saved = logged = time.monotonic()
    sums: dict[str, list[Tensor]] = {}
    saved_step = trainer.step_index
    first_step = waited = 0.0
    hidden = not accelerator.is_main_process
    with ProgressBar(run.steps, unit="steps", start=trainer.step_index, hidden=hidden) as bar:
        while trainer.step_index < run.steps:
            spent = elapsed + time.monotonic() - began
            done = progress(trainer.step_index, spent, first_step, config)
            # Clocks differ: all processes stop when the first wants to.
            if run.minutes is not None and average_(torch.tensor(float(done >= 1), device=accelerator.device)):
                break
            trainer.set_rate(rate_factor(trainer.step_index, done, config), done)
            asked = time.monotonic()
            batch = next(batches)
            waited += time.monotonic() - asked
            for name, value in trainer.step(*batch).items():
                sums.setdefault(name, []).append(value)
            bar.advance()
            if not first_step:
                first_step, waited, logged = time.monotonic() - began, 0.0, time.monotonic()
            if trainer.step_index % LOG_EVERY == 0:
                means = {name: torch.stack(values).float().mean().item() for name, values in sums.items()}
                sums.clear()
                # Of the time since the last line; where it is large, more workers or cheaper batches speed the run up.
                means["waiting"], waited, logged = waited / (time.monotonic() - logged), 0.0, time.monotonic()
                accelerator.log(means, step=trainer.step_index)
                if probe is not None:
                    rounded = {name: round(value, 4) for name, value in means.items()}
                    log.info("step %d, %.0f s: %s", trainer.step_index, spent, rounded)
                if not math.isfinite(means["loss"]):
                    raise DataError(
                        f"The loss is {means['loss']} at step {trainer.step_index}: resume from the last checkpoint "
                        f"with a lower optimizer.learning_rate (it is {config.optimizer.learning_rate})."
                    )
            due = trainer.step_index - saved_step >= run.checkpoint_every
            late = run.checkpoint_minutes * 60 < time.monotonic() - saved
            if probe is not None and (due or late):
                _save(output, trainer, elapsed + time.monotonic() - began, probe)
                saved, saved_step = time.monotonic(), trainer.step_index
    if probe is not None and saved_step != trainer.step_index:
        _save(output, trainer, elapsed + time.monotonic() - began, probe)


@torch.no_grad()
def _save(output: Path, trainer: Trainer, elapsed: float, probe: tuple[Tensor, Tensor]) -> None:
    """A checkpoint, and a picture with a row for each face: degraded, restored and clean side by side."""
    save_checkpoint(output, trainer, {"elapsed_seconds": elapsed})
    clean, degraded = probe
    restored = torch.cat([trainer.averaged.network(face[None]).image for face in degraded])  # one by one: little memory
    rows = torch.cat([degraded, restored.float(), clean], dim=3)
    samples = output / "samples"
    samples.mkdir(exist_ok=True)
    sheet = to_uint8(torch.cat(list(rows), dim=1))
    save_picture(Picture(sheet), samples / f"step-{trainer.step_index:08d}.png")


def _accelerator(config: TrainConfig, output: Path) -> "Accelerator":
    keep_private("accelerate")
    try:
        from accelerate import Accelerator
    except ImportError as error:
        raise MissingDependencyError(
            "Training needs accelerate, which is not installed: pip install 'memgan[train]'."
        ) from error
    output.mkdir(parents=True, exist_ok=True)
    tracker = "tensorboard" if importlib.util.find_spec("tensorboard") else None
    accelerator = Accelerator(mixed_precision=config.run.mixed_precision, log_with=tracker, project_dir=output)
    if tracker:
        accelerator.init_trackers("logs")
    else:
        log.warning("tensorboard is not installed: losses go to the log only.")
    return accelerator
