"""Writes and reads model cards: a weight file described for people (README.md) and for the hub (its header)."""

import dataclasses
import json
import re
import sys
from pathlib import Path
from typing import Any

from memgan.errors import ConfigError, WeightsError, shown
from memgan.hub.repository import CARD_FILE, card_header, read_card
from memgan.hub.weight_file import Checkpoint, read_header
from memgan.runtime.checks import parse_json

METRICS_KEY = "metrics"
"""Entry of a weight file's header that holds :class:`Metrics` as JSON."""
TAGS = ["memgan", "face-restoration", "blind-face-restoration", "image-restoration", "pytorch"]
_HUB_LICENSES = ("apache-2.0", "mit", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "cc-by-nc-sa-4.0")
_PAPER = "https://doi.org/10.1145/3581783.3611782"


@dataclasses.dataclass(frozen=True)
class Metrics:
    """How good weights were found to be."""

    dataset: str
    """What they were measured on, in words."""
    values: dict[str, float]
    """By name, such as ``PSNR``, in the metric's own unit."""

    def __post_init__(self) -> None:
        for name, value in self.values.items():
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if not is_number or not abs(value) <= sys.float_info.max:
                raise ConfigError(f"The metric {shown(name)} is {shown(value)}; it must be a finite number.")
        if not isinstance(self.dataset, str) or not self.dataset:
            raise ConfigError("Metrics need the data set that they were measured on: name it in words.")

    def to_json(self) -> str:
        """The same as JSON, for the header of a weight file."""
        return json.dumps(dataclasses.asdict(self))


def metrics_of(path: Path, name: str | None = None) -> Metrics | None:
    """Metrics of a weight file: of its header, else of the model card (README.md) in its folder.

    Args:
        path: a safetensors file or an index; other files have none.
        name: which model of the card is meant; ``None``: its only one.

    Raises:
        WeightsError: if header or card cannot be read.
    """
    card = path.parent / CARD_FILE
    if path.suffix == ".safetensors" and (text := read_header(path).get(METRICS_KEY)):
        return _from_json(text, path)
    if path.suffix not in (".safetensors", ".json") or not card.is_file():
        return None
    models = read_card(card).get("model-index") or []
    found = [model for model in models if name is None or model.get("name") == name]
    if len(found) != 1:
        return None
    try:
        results = found[0]["results"]
        values = {m.get("name") or m["type"]: m["value"] for result in results for m in result["metrics"]}
        return Metrics(results[0]["dataset"]["name"], values) if values else None
    except (KeyError, TypeError, IndexError, AttributeError, ConfigError) as error:
        raise WeightsError(f"The metrics of {card} are not in the hub's form ({error}).") from error


def model_card(checkpoint: Checkpoint, repo_id: str | None = None) -> str:
    """Text of a README.md with the hub's header, made of what the checkpoint says of itself.

    Its metadata may have ``license``, ``metrics`` (:class:`Metrics` as JSON) and notes on training.

    Args:
        repo_id: ``owner/repo`` where it will be; ``None``: the card speaks of a folder.

    Raises:
        WeightsError: if the metadata's metrics cannot be read.
    """
    config, metadata = checkpoint.config, dict(checkpoint.metadata)
    license = metadata.pop("license", "not stated")
    metrics = _from_json(text, Path(config.name)) if (text := metadata.pop(METRICS_KEY, None)) else None
    header: dict[str, Any] = {"library_name": "memgan", "pipeline_tag": "image-to-image", "tags": TAGS}
    header |= _license(license)
    if metrics is not None:
        header["model-index"] = [_model_index(config.name, metrics)]
    where = repr(repo_id) if repo_id else "FOLDER"
    numbers = sum(tensor.numel() for tensor in checkpoint.state.values())
    parts = [
        card_header(header),
        f"# {config.name}\n",
        f"Blind restoration of faces of {config.image_size} px with [MemGAN]({_PAPER}) (ACM Multimedia 2023), "
        f"{config.family} decoder, {numbers:,} stored numbers.\n",
        f"```python\nfrom memgan import MemGANRestorer\n\nrestorer = MemGANRestorer({where})\n"
        "cropped_faces, restored_faces, restored_image = restorer.enhance(image)\n```\n\n"
        f"The network alone is `memgan.MemGAN.from_pretrained({where})`.\n",
        f"License of the weights: {license}.\n",
    ]
    if metrics is not None:
        rows = "\n".join(f"| {name} | {value:g} |" for name, value in metrics.values.items())
        parts.append(f"## Metrics\n\n{metrics.dataset}\n\n| metric | value |\n|---|---|\n{rows}\n")
    notes = "\n".join(f"- {key}: {' '.join(text.split())}" for key, text in sorted(metadata.items()))
    if notes:
        parts.append(f"## What the file says of itself\n\n{notes}\n")
    parts.append("A restored face is a guess: it must not be used to identify anybody.\n")
    return "\n".join(parts)


def _from_json(text: str, path: Path) -> Metrics:
    try:
        return Metrics(**parse_json(text))
    except (ValueError, TypeError, AttributeError) as error:
        raise WeightsError(f"The metrics in the header of {path} cannot be read ({error}).") from error


def _license(text: str) -> dict[str, str]:
    """The hub knows some licenses by name; others have to be called ``other``, with a name of their own."""
    if text.lower() in _HUB_LICENSES:
        return {"license": text.lower()}
    name = re.sub(r"[^a-z0-9.]+", "-", text.lower().split("(")[0].split(";")[0]).strip("-")
    return {"license": "other", "license_name": name or "not-stated"}


def _model_index(name: str, metrics: Metrics) -> dict[str, Any]:
    entries = [
        {"type": re.sub(r"[^a-z0-9]+", "_", metric.lower()).strip("_"), "name": metric, "value": value}
        for metric, value in metrics.values.items()
    ]
    task = {"type": "image-to-image", "name": "Blind face restoration"}
    result = {"task": task, "dataset": {"type": "faces", "name": metrics.dataset}, "metrics": entries}
    return {"name": name, "results": [result]}
