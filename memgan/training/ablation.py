"""Repeats the ablation of Table 2: trains each case alike, several times, and compares them."""

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from memgan.errors import ConfigError
from memgan.evaluation import MetricSet, evaluate
from memgan.evaluation.metrics.registry import METRICS
from memgan.evaluation.paper import TABLE_1_DATA, TABLE_2
from memgan.evaluation.results import Spread, spread_of
from memgan.hub.tensor_file import write_tensors
from memgan.hub.weight_file import read
from memgan.network.model import build_memgan
from memgan.runtime.atomic_file import atomic_write, write_json
from memgan.training.build import architecture
from memgan.training.checkpoint import checkpoints, find_checkpoint
from memgan.training.config import TrainConfig
from memgan.training.engine import train
from memgan.training.priors import load_prior
from memgan.training.priors.smaller import smaller_prior

CASES: dict[str, dict[str, Any]] = {
    "Case 1": {"use_memory": False, "use_affine": False, "use_blend": False},
    "Case 2": {"use_memory": False},
    "Case 3": {"use_affine": False},
    "Case 4": {"use_blend": False},
    "Case 5": {},
}
"""Changes of the architecture by the name of the paper's Table 2."""


_OTHER = "give another output folder, or delete it."


@dataclasses.dataclass(frozen=True)
class CaseResult:
    """One case, trained with several seeds."""

    name: str
    changes: Mapping[str, Any]
    parameters: int
    """Numbers in the network, memory included."""
    runs: dict[int, dict[str, float]]
    """Means over the test faces by training seed and metric."""

    def means(self) -> dict[str, Spread]:
        """Mean and spread over the training seeds, by metric."""
        metrics = next(iter(self.runs.values()))
        return {metric: spread_of([run[metric] for run in self.runs.values()]) for metric in metrics}


def ablate(
    config: TrainConfig,
    faces: Sequence[Path],
    prior: Path | None,
    test: Sequence[Path],
    output: Path,
    *,
    seeds: Sequence[int] = (0, 1, 2),
    cases: Mapping[str, Mapping[str, Any]] = CASES,
    limit: int | None = None,
    metrics: MetricSet | None = None,
    perceptual_weights: Path | None = None,
    identity_weights: Path | None = None,
    log: Callable[[str], None] = print,
) -> list[CaseResult]:
    """Train every case with every seed by the same settings and evaluate it on the same degraded faces.

    Finished runs are kept in ``output`` and not repeated, so that an interrupted ablation continues where it was. The
    order is seed by seed, so that a first comparison of all cases is there early.

    Args:
        config: settings of every run; the case's changes come after those of its ``architecture``.
        faces, prior, perceptual_weights, identity_weights: see :func:`memgan.training.engine.train`.
        test: clean faces to evaluate on, degraded by Eq. 14 with seed 0.
        output: folder of the runs, of ``ablation.json``, and of :func:`ablation_table` as ``ablation.md``.
        seeds: of the training.
        cases: changes of the architecture by name.
        limit: at most so many test faces.
        metrics: ``None``: all that work here.
        log: told of every finished run.

    Raises:
        ConfigError: if there is no seed or case, one seed is given twice, or a run in ``output`` had other settings.
    """
    if not cases or not seeds or len(set(seeds)) < len(seeds):
        raise ConfigError(f"cases {list(cases)} and seeds {list(seeds)}; give at least one of each, no seed twice.")
    plans = {
        (name, seed): config.changed({"run.seed": seed, "architecture": changes})
        for seed in seeds
        for name, changes in cases.items()
    }
    for plan in plans.values():
        architecture(plan)  # a wrong change is known before the first run, not after it
    output.mkdir(parents=True, exist_ok=True)
    if prior is not None:
        prior = _prior_of_size(config, prior, output)
    found: dict[str, dict[int, dict[str, float]]] = {name: {} for name in cases}
    parameters: dict[str, int] = {}
    record: dict[str, Any] = {}
    for (name, seed), plan in plans.items():
        folder = output / f"{name.lower().replace(' ', '-')}-seed-{seed}"
        finished = _finished(folder, plan)
        if finished is None:
            networks = {"perceptual_weights": perceptual_weights, "identity_weights": identity_weights}
            weights = train(plan, faces, prior, folder, resume=_begun(folder, plan), **networks)
            finished = {"train_config": dataclasses.asdict(plan), **_evaluated(weights, test, limit, metrics)}
            write_json(folder / "result.json", finished)
        record = finished
        found[name][seed] = record["restored"]
        parameters[name] = record["parameters"]
        figures = ", ".join(f"{metric} {value:.4g}" for metric, value in record["restored"].items())
        log(f"{name}, seed {seed}: {figures}")
    results = [CaseResult(name, changes, parameters[name], found[name]) for name, changes in cases.items()]
    report = {
        "train_config": dataclasses.asdict(config),
        "input": record["input"],
        "num_faces": record["num_faces"],
        "cases": [dataclasses.asdict(result) for result in results],
        "published": {"data": TABLE_1_DATA, "table_2": TABLE_2},
    }
    write_json(output / "ablation.json", report)
    with atomic_write(output / "ablation.md") as temporary:
        temporary.write_text(ablation_table(results) + "\n", encoding="utf-8")
    return results


def ablation_table(results: Sequence[CaseResult]) -> str:
    """The cases as a Markdown table: mean ± standard deviation over the seeds, next to the paper's figures."""
    metrics = list(results[0].means())
    published = ["FID", "PSNR", "SSIM", "LPIPS"]
    head = ["", "parameters", *metrics, *(f"{name}, published" for name in published)]
    lines = [f"| {' | '.join(head)} |", "|" + " --- |" * len(head)]
    for result in results:
        cells = [result.name, f"{result.parameters / 1e6:.2f} M"]
        for spread in result.means().values():
            cells.append(f"{spread.mean:.4g}" if spread.std is None else f"{spread.mean:.4g} ± {spread.std:.2g}")
        paper = TABLE_2.get(result.name)
        cells += [f"{paper[name]:g}" if paper else "" for name in published]
        lines.append(f"| {' | '.join(cells)} |")
    seeds = ", ".join(map(str, results[0].runs))
    notes = [f"Mean ± standard deviation over the training seeds {seeds}. Published: on {TABLE_1_DATA}."]
    notes += [f"{metric}: {METRICS[metric].info.made_by}." for metric in metrics if metric in METRICS]
    return "\n".join([*lines, "", *notes])


def _prior_of_size(config: TrainConfig, prior: Path, output: Path) -> Path:
    """The prior cut to the size of the runs, once for all of them."""
    built = architecture(config)
    tensors = load_prior(prior)
    cut = smaller_prior(built, tensors)
    if cut is tensors:
        return prior
    path = output / f"prior-{built.image_size}.safetensors"
    write_tensors(path, {name: tensor.contiguous() for name, tensor in cut.items()}, {"format": "pt"})
    return path


def _finished(folder: Path, plan: TrainConfig) -> dict[str, Any] | None:
    path = folder / "result.json"
    if not path.is_file():
        return None
    record = json.loads(path.read_text("utf-8"))
    if record["train_config"] != dataclasses.asdict(plan):
        raise ConfigError(f"{folder} holds a run with other settings; {_OTHER}")
    return record


def _begun(folder: Path, plan: TrainConfig) -> Path | None:
    """The folder if a run in it was interrupted, to be continued."""
    if not checkpoints(folder):
        return None
    if differing := find_checkpoint(folder).config.differences(plan):
        raise ConfigError(f"{folder} holds a run with other settings ({', '.join(differing)}); {_OTHER}")
    return folder


@torch.no_grad()
def _evaluated(weights: Path, test: Sequence[Path], limit: int | None, metrics: MetricSet | None) -> dict[str, Any]:
    """A run's size, and the means of its figures and those of the input."""
    loaded = read(weights)
    network = build_memgan(loaded.config, loaded.state).eval()
    size = loaded.config.image_size
    result = evaluate(lambda given: network(given).image, list(test), limit=limit, metrics=metrics, size_px=size)
    return {
        "num_faces": result.num_faces,
        "parameters": sum(tensor.numel() for tensor in loaded.state.values()),
        "input": {metric: spread.mean for metric, spread in result.summary("input").items()},
        "restored": {metric: spread.mean for metric, spread in result.summary("restored").items()},
    }
