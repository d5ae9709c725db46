"""Runs the training loop on Hugging Face Accelerate: devices, processes, precision, checkpoints, progress."""

import contextlib
import dataclasses
import importlib.util
import itertools
import logging
import signal
import time
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from memgan.errors import ConfigError, DataError, MemGANError, MissingDependencyError, OutputError
from memgan.hub import weight_file
from memgan.image import Picture, save_picture, to_uint8
from memgan.runtime.free_memory import free_memory
from memgan.runtime.privacy import keep_private
from memgan.runtime.progress import ProgressBar
from memgan.runtime.stop_signals import StopSignals, end_by
from memgan.training import memory_estimate
from memgan.training.build import architecture, make_discriminator, make_generator, make_stream
from memgan.training.checkpoint import (
    Saved,
    Sources,
    checkpoints,
    find_checkpoint,
    load_checkpoint,
    load_discriminator,
    run_folder,
    save_checkpoint,
    save_discriminator,
)
from memgan.training.config import TrainConfig
from memgan.training.data.clean_faces import FaceSet, PriorFaces
from memgan.training.data.feed import Feed
from memgan.training.data.stream import Photographs, checksum, fingerprint
from memgan.training.generators import restore_generators
from memgan.training.losses.objective import LossNetworks, make_loss_networks
from memgan.training.priors import load_prior
from memgan.training.priors.smaller import smaller_prior
from memgan.training.rates import progress, rate_factor
from memgan.training.step import Trainer
from memgan.training.sync import all_succeed, broadcast_, largest, processes, rank

if TYPE_CHECKING:
    from accelerate import Accelerator

log = logging.getLogger("memgan.training")

CACHED_SIZE = 128
"""Largest faces in pixels that are kept decoded in memory (48 KB each at 128 px)."""
LOG_EVERY = 25
"""Steps between lines of the log; reading all losses from a GPU makes it wait."""
MOST_SKIPPED = 10
"""Steps in a row whose losses or gradients are not finite, after which a run ends."""
WEIGHTS = "memgan.safetensors"


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

    The first SIGINT, SIGTERM or SIGHUP lets the step end, saves a checkpoint and ends the program as that signal does;
    a second one ends it at once.

    Args:
        config: the settings.
        faces: folders or tar files of clean aligned faces; may be empty if all faces are drawn from the prior.
        prior: imported prior (``memgan prior import``); ``None``: from scratch, or from ``start_from``.
        output: the run's folder, for checkpoints, sample pictures and TensorBoard logs.
        perceptual_weights: file of the feature network of Eq. 10; ``None``: the installed package that carries it.
        identity_weights: file for :func:`memgan.training.losses.identity.identity_network`, if ``losses.identity`` > 0.
        resume: run or checkpoint to continue, exactly if nothing differs. Settings may differ from its own except
            ``preset`` and ``architecture``. Where the number of processes, the faces, ``data`` or another setting that
            decides the batches differs, others are drawn from there on. :func:`resume_run` takes all from the run.
        start_from: weight file or generator to start from, with fresh optimizers (fine-tuning).
        discriminator_from: discriminator that an earlier run ended with, to start from.

    Returns:
        the averaged generator's weight file, ``output/memgan.safetensors``; the discriminator lies next to it as
        ``discriminator.safetensors``. Both are in half precision.

    Raises:
        ConfigError: if settings and files do not go together, or ``output`` holds another run.
        DataError: if there are no faces, or losses or gradients are not finite for :data:`MOST_SKIPPED` steps in a row.
        MissingDependencyError: if accelerate is not installed.
        OutputError: if the last checkpoint or the weights cannot be written; earlier ones are tried again later.
        KeyboardInterrupt, SystemExit: after a signal.
    """
    sources = Sources(tuple(faces), prior, perceptual_weights, identity_weights)
    saved = find_checkpoint(resume) if resume is not None else None
    if saved is not None and (start := start_from or discriminator_from):
        raise ConfigError(f"resume continues {saved.folder} with all it has learned; leave out {start}.")
    return _train(config, sources, output, saved, resume, start_from, discriminator_from)


def _train(
    config: TrainConfig,
    sources: Sources,
    output: Path,
    saved: Saved | None,
    resume: Path | None,
    start_from: Path | None = None,
    discriminator_from: Path | None = None,
) -> Path:
    faces, prior = sources.faces, sources.prior
    sources.check()
    _check_folder(output, saved, saved is not None and saved.folder == resume)
    if saved is not None:
        _check_changes(saved, config)
    accelerator = _accelerator(config, output, 0 if saved is None else saved.state["step"])
    if saved is not None:
        _tell_of(saved, config)
        accelerator.wait_for_everyone()  # all have looked at the folder
        if accelerator.is_main_process and _is_of(saved, output):
            _set_aside(output, saved)
    torch.manual_seed(config.run.seed)
    device = accelerator.device
    built = architecture(config)
    size = built.image_size
    photographs: Photographs = FaceSet(list(faces), size_px=size, cache=size <= CACHED_SIZE) if faces else []
    if not len(photographs) and (prior is None or config.data.synthetic < 1):
        raise DataError("No faces to train on: give --faces a folder or tar of aligned faces, or set data.synthetic=1.")
    prior_tensors = smaller_prior(built, load_prior(prior)) if prior is not None else None
    start_from = start_from if saved is None else saved.folder / "generator.safetensors"
    generator = make_generator(built, prior_tensors, start_from).to(device).to(memory_format=torch.channels_last)
    prior_faces = None
    if config.data.synthetic and prior_tensors is not None:
        prior_faces = PriorFaces(built, prior_tensors, autocast=accelerator.autocast)
        prior_faces = prior_faces.to(device).to(memory_format=torch.channels_last)
    networks = make_loss_networks(config, device, sources.perceptual_weights, sources.identity_weights, prior_faces)
    discriminator = make_discriminator(config, size, networks, device)
    trainer = Trainer(config, generator, discriminator, networks, accelerator.backward, accelerator.autocast)
    if discriminator_from is not None:
        load_discriminator(discriminator_from, trainer)
    if saved is not None:
        load_checkpoint(saved, trainer)
    else:
        for module in filter(None, (generator, discriminator)):
            broadcast_(itertools.chain(module.parameters(), module.buffers()))
    resident = _check_memory(config, trainer, networks, prior_faces, photographs, device)
    seed = config.run.seed * 1000 + rank()
    stream = make_stream(config, size, photographs, prior_faces, device, seed, resident)
    probe = None
    if accelerator.is_main_process:
        clean, degraded, _ = stream.batch(4)
        probe = clean.to(device), degraded.to(device)
    stream_key = _stream_key(config, size, photographs, prior_tensors)
    own = None if saved is None else saved.process_tensors()
    if saved is not None and (own is None or saved.state["stream"] != stream_key):
        differing = [name for name, value in stream_key.items() if saved.state["stream"].get(name) != value]
        _tell("Other batches than before are drawn from here on, as these differ: %s.", ", ".join(differing))
        own = None
    if own is None:
        if start_from is not None:
            seed += fingerprint(generator)  # or it would draw the faces of the run before once more
        trainer.random.manual_seed(seed)
        stream.begin(seed)
    else:
        stream.pool = [*zip(own["pool/faces"], own["pool/latents"], strict=True)] if "pool/faces" in own else []
    if config.run.workers and stream.synthetic:
        stream.keep_drawn()
    if start_from is None:
        trainer.initialize_memory(stream.batch(max(config.run.batch_size, 8)).degraded.to(device))
    if config.run.compile:
        # In place, so that names in state dicts stay; the discriminator is left out: R1 differentiates twice.
        generator.encoder.compile()
        generator.decoder.compile()
    feed = Feed(stream, config.run.batch_size, device, config.run.workers, seed, _under("stream/", own))
    if own is not None:
        trainer.random.set_state(own["windows"])
        restore_generators(_under("generators/", own) or {}, device)
    record = {"sources": sources.to_json(), "stream": stream_key}
    run = _Run(config, trainer, feed, probe, accelerator, output, record, saved, own)
    try:
        with contextlib.closing(feed):
            run.loop()
        all_succeed(lambda: _save_results(output, trainer), (MemGANError,))
    finally:
        accelerator.end_training()
    return output / WEIGHTS


def resume_run(
    folder: Path,
    changes: Mapping[str, Any] | None = None,
    *,
    config: TrainConfig | None = None,
    output: Path | None = None,
    **sources: Any,
) -> Path:
    """Continue a run by what its checkpoint says, see ``resume`` of :func:`train`.

    Args:
        folder: the run's, or a checkpoint's.
        changes: settings that differ from now on, by dotted name, such as ``{"run.steps": 2000}``.
        config: settings instead of the run's.
        output: another folder to continue in; ``None``: the run's.
        sources: new places of what the run read, as the fields of :class:`memgan.training.checkpoint.Sources`.

    Raises:
        ConfigError, DataError, WeightsError, OutputError: as :func:`train`, and if there is no undamaged checkpoint.
    """
    saved = find_checkpoint(folder)
    known = dataclasses.replace(saved.sources, **{name: value for name, value in sources.items() if value})
    settings = (config or saved.config).changed(changes or {})
    return _train(settings, known, output or run_folder(folder), saved, folder)


def _check_folder(output: Path, saved: Saved | None, explicit: bool) -> None:
    """Refuse a folder whose run would be lost or mixed up with this one."""
    there = [path.name for path in checkpoints(output)]
    if (output / WEIGHTS).is_file():
        there.append(WEIGHTS)
    if saved is None or not _is_of(saved, output):
        if there:
            raise ConfigError(
                f"{output} holds a run already ({', '.join(there)}): continue it with --resume {output}, or name "
                "another folder with -o."
            )
        return
    newer = [path for path in checkpoints(output) if path.name > saved.folder.name]
    if newer and explicit:
        raise ConfigError(
            f"{output} has newer checkpoints than {saved.folder.name} ({', '.join(path.name for path in newer)}): name "
            "another folder with -o, or move them away."
        )


def _is_of(saved: Saved, output: Path) -> bool:
    return run_folder(saved.folder).resolve() == output.resolve()


def _set_aside(output: Path, saved: Saved) -> None:
    """Rename the damaged checkpoints that are newer than the one that is continued."""
    for path in checkpoints(output):
        if path.name > saved.folder.name:
            path.replace(path.with_name(f"{path.name}.damaged"))


def _check_changes(saved: Saved, config: TrainConfig) -> None:
    """Refuse what a run cannot take over."""
    for name, (before, now) in saved.config.differences(config).items():
        if name in ("preset", "architecture"):
            raise ConfigError(
                f"{name} is {now!r}; the run at {saved.folder} has {before!r}: begin another run for that."
            )


def _tell_of(saved: Saved, config: TrainConfig) -> None:
    differing = saved.config.differences(config)
    words = ", ".join(f"{name} {now} (it was {before})" for name, (before, now) in differing.items())
    _tell("Continues %s%s.", saved.folder, f" with {words}" if words else "")


def _check_memory(
    config: TrainConfig,
    trainer: Trainer,
    networks: LossNetworks,
    prior_faces: PriorFaces | None,
    photographs: Photographs,
    device: torch.device,
) -> bool:
    """Refuse a run that does not fit, and return whether the photographs fit the device that makes the batches too."""
    size = trainer.generator.config.image_size
    if not config.run.memory_check:
        return device.type != "cpu" and not config.run.workers
    cached = len(photographs) if size <= CACHED_SIZE else 0
    found = memory_estimate.needs(config, trainer, networks, prior_faces, cached)
    memory_estimate.check(found, device)
    memory_estimate.check_shared(config, size)
    if device.type == "cpu" or config.run.workers:
        return False
    wanted = len(photographs) * 3 * size**2
    left = (free_memory(device) or 0) - sum(need.size for need in found if need.device == device)
    if wanted > left:
        _tell(
            "The photographs, %.1f GB, do not fit the %.1f GB that are left on %s: they are decoded for every batch. "
            "run.workers lets other processes do that.",
            wanted / 1e9,
            left / 1e9,
            device,
        )
    return wanted <= left


def _stream_key(
    config: TrainConfig, size: int, photographs: Photographs, prior: Mapping[str, Tensor] | None
) -> dict[str, Any]:
    """What decides the batches of a run, besides the states of its random number generators."""
    names = "\n".join(photographs.names) if isinstance(photographs, FaceSet) else ""
    run = config.run
    return {
        "processes": processes(),
        "workers": run.workers,
        "batch_size": run.batch_size,
        "seed": run.seed,
        "image_size": size,
        "data": dataclasses.asdict(config.data),
        "faces": [len(photographs), zlib.crc32(names.encode())],
        "prior": None if prior is None else checksum(prior),
    }


def _under(prefix: str, tensors: Mapping[str, Tensor] | None) -> dict[str, Tensor] | None:
    if tensors is None:
        return None
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _tell(text: str, *values: object) -> None:
    """Log a line, in the first process alone."""
    if not rank():
        log.info(text, *values)


class _Run:
    """The loop of a run, with what it counts."""

    def __init__(
        self,
        config: TrainConfig,
        trainer: Trainer,
        feed: Feed,
        probe: tuple[Tensor, Tensor] | None,
        accelerator: "Accelerator",
        output: Path,
        record: Mapping[str, Any],
        saved: Saved | None,
        own: Mapping[str, Tensor] | None,
    ) -> None:
        self.config = config
        self.trainer = trainer
        self.feed = feed
        self.probe = probe
        self.accelerator = accelerator
        self.output = output
        self.record = record
        self.elapsed = 0.0 if saved is None else float(saved.state["elapsed_seconds"])
        self.began = self.tried_at = time.monotonic()
        self.tried_step = trainer.step_index
        self.saved_step = trainer.step_index if checkpoints(output) else -1
        # Where the run is continued exactly, its checkpoint has the same drawn faces.
        self.last = None if saved is None or own is None else saved.folder
        # Losses since the last line of the log.
        self.sums = {name: list(values) for name, values in (_under("losses/", own) or {}).items()}

    def loop(self) -> None:
        """Steps until the run is over, and its last checkpoint."""
        config, trainer, run = self.config, self.trainer, self.config.run
        limit = "" if run.minutes is None else f" or {run.minutes:g} minutes in all"
        _tell("Training from step %d to %d%s; the first step takes longer.", trainer.step_index, run.steps, limit)
        bar: ProgressBar | None = None
        first_step = waited = 0.0
        logged = self.began
        with StopSignals("a checkpoint is saved after this step") as stop, contextlib.ExitStack() as shown:
            while trainer.step_index < run.steps:
                spent = self._spent()
                done = progress(trainer.step_index, spent, first_step, config)
                steps = trainer.step_index - self.tried_step
                late: float = steps > 0 and run.checkpoint_minutes * 60 < time.monotonic() - self.tried_at
                # Clocks differ, and a signal may reach one process alone: all follow the first one.
                number, done, late = largest([stop.received or 0, done, late])
                if number:
                    self._save_if_new()
                    end_by(signal.Signals(int(number)))
                if done >= 1:
                    break
                # A run that begins to fail must not push out the checkpoints from before.
                if (late or steps >= run.checkpoint_every) and not trainer.skipped_in_a_row:
                    self._try_to_save()
                trainer.set_rate(rate_factor(trainer.step_index, done, config), done)
                asked = time.monotonic()
                batch = next(self.feed)
                waited += time.monotonic() - asked
                report = trainer.step(*batch)
                for name, value in report.items():
                    self.sums.setdefault(name, []).append(value)
                if trainer.skipped_in_a_row == MOST_SKIPPED:
                    raise DataError(self._failure())
                now = time.monotonic()
                if bar is None:
                    first_step, waited, logged = now - self.began, 0.0, now
                    left = None if run.minutes is None else max(60 * run.minutes - self._spent(), 0)
                    hidden = not self.accelerator.is_main_process
                    # Only now: what the first step took says nothing about those that are left.
                    bar = ProgressBar(run.steps, unit="steps", start=trainer.step_index, seconds=left, hidden=hidden)
                    shown.enter_context(bar)
                else:
                    bar.advance(note=self._note(report, waited / max(now - logged, 1e-9)))
                if trainer.step_index % LOG_EVERY == 0:
                    # Of the time since the last line; where it is large, more workers or cheaper batches help.
                    self._log(waited / max(now - logged, 1e-9))
                    waited, logged = 0.0, now
            if bar is None:
                _tell("The run was over already; give it more with --set run.steps or run.minutes.")
            self._save_if_new()

    def _spent(self) -> float:
        """Seconds that the run has taken, including those before it was resumed."""
        return self.elapsed + time.monotonic() - self.began

    def _note(self, report: Mapping[str, Tensor], waiting: float) -> str:
        """What the line of the progress says besides steps and time."""
        loss = f"loss {float(report['loss']):.4g}" if "loss" in report else "step skipped"
        skipped = f", {self.trainer.skipped} skipped" if self.trainer.skipped else ""
        return f"{loss}{skipped}, waiting {waiting:.0%}"

    def _log(self, waiting: float) -> None:
        means = {name: torch.stack(values).float().mean().item() for name, values in self.sums.items()}
        means["waiting"] = waiting
        self.sums.clear()
        self.accelerator.log(means, step=self.trainer.step_index)
        rounded = {name: float(f"{value:.4g}") for name, value in means.items()}
        _tell("step %d, %.0f s: %s", self.trainer.step_index, self._spent(), rounded)

    def _failure(self) -> str:
        kept = checkpoints(self.output)
        remedy = f"continue from {kept[-1]} with" if kept else "begin again with"
        return (
            f"A loss or a gradient was not finite in {MOST_SKIPPED} steps in a row, up to step "
            f"{self.trainer.step_index}; all were skipped. The weights have run away: {remedy} a lower "
            f"optimizer.learning_rate (it is {self.config.optimizer.learning_rate:g})."
        )

    def _try_to_save(self) -> None:
        """A checkpoint; where it cannot be written the run continues, and tries again when the next one is due."""
        try:
            self._save()
        except OutputError as error:
            if not rank():
                log.warning("No checkpoint at step %d: %s Training continues.", self.trainer.step_index, error)

    def _save_if_new(self) -> None:
        if self.saved_step != self.trainer.step_index:
            self._save()

    def _save(self) -> None:
        trainer = self.trainer
        self.tried_at, self.tried_step = time.monotonic(), trainer.step_index
        own = {f"stream/{name}": tensor for name, tensor in self.feed.state().items()}
        own |= {f"losses/{name}": torch.stack(values).cpu() for name, values in self.sums.items()}
        state = {"elapsed_seconds": self._spent(), **self.record}
        kept = self.last if self.feed.pool_stays else None
        self.last = save_checkpoint(self.output, trainer, state, own, self.feed.pool(), kept)
        self.saved_step = trainer.step_index
        if self.probe is not None:
            with contextlib.suppress(OutputError, OSError):  # only a look at how it goes
                _save_samples(self.output, trainer, self.probe)


def _save_results(output: Path, trainer: Trainer) -> None:
    if rank():
        return
    summary = {"train_config": trainer.config.to_json(), "train_steps": str(trainer.step_index)}
    averaged = trainer.averaged.network
    weight_file.save(output / WEIGHTS, averaged.config, averaged.state_dict(), summary, half=True)
    if trainer.discriminator is not None:
        save_discriminator(output / "discriminator.safetensors", trainer.discriminator, summary)


@torch.no_grad()
def _save_samples(output: Path, trainer: Trainer, probe: tuple[Tensor, Tensor]) -> None:
    """A picture with a row for each face: degraded, restored and clean side by side."""
    clean, degraded = probe
    restored = torch.cat([trainer.averaged.network(face[None]).image for face in degraded])  # one by one: little memory
    rows = torch.cat([degraded, restored.float(), clean], dim=3)
    sheet = to_uint8(torch.cat(list(rows), dim=1))
    samples = output / "samples"
    samples.mkdir(exist_ok=True)
    save_picture(Picture(sheet), samples / f"step-{trainer.step_index:08d}.png")


def _accelerator(config: TrainConfig, output: Path, step: int) -> "Accelerator":
    """The engine; TensorBoard forgets what a run that is continued at ``step`` has logged after that."""
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
        accelerator.init_trackers("logs", init_kwargs={"tensorboard": {"purge_step": step + 1}})
    else:
        log.warning("tensorboard is not installed: losses go to the log only.")
    return accelerator
