"""``memgan models``: lists the published weights, and where they are now."""

import argparse
import json
from typing import TYPE_CHECKING, Any

from memgan.runtime.tables import text_table

if TYPE_CHECKING:
    from memgan.hub import WeightSpec


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "Nothing is downloaded. Metrics are those of the weights' own header or card, where they are here."
    parser.add_argument("--json", action="store_true", help="print one JSON list")


def run(args: argparse.Namespace) -> int:
    from memgan import hub

    entries = [_entry(spec) for spec in hub.REGISTRY.values()]
    if args.json:
        print(json.dumps(entries, indent=2))
    else:
        print("\n\n".join(_described(entry, entry["name"] == hub.DEFAULT_NAME) for entry in entries))
    return 0


def _entry(spec: "WeightSpec") -> dict[str, Any]:
    from memgan import hub
    from memgan.errors import WeightsError
    from memgan.hub.card import metrics_of

    place, path = hub.where(spec)
    metrics, problem = None, None
    try:
        metrics = metrics_of(path, spec.name) if path else None
    except WeightsError as error:  # the list is of use with a damaged file too
        problem = str(error)
    return {
        **{name: getattr(spec, name) for name in ("name", "kind", "input", "license", "faithful", "reliability")},
        "bytes": path.stat().st_size if path else spec.size,
        "where": place,
        "path": str(path) if path else None,
        "source": spec.repo_id or next(iter(spec.urls), None),
        "metrics": metrics.values if metrics else None,
        "measured_on": metrics.dataset if metrics else None,
        "problem": problem,
    }


def _described(entry: dict[str, Any], is_default: bool) -> str:
    size = "unknown size" if entry["bytes"] is None else f"{entry['bytes'] / 1e6:.1f} MB"
    kind = f"{entry['kind']}, default" if is_default else entry["kind"]
    rows = [
        ["input", entry["input"]],
        ["license", entry["license"]],
        ["file", entry["path"]] if entry["path"] else ["from", entry["source"]],
    ]
    if entry["faithful"]:
        rows.append(["fidelity", f"0 to 1; {entry['faithful']} is the faithful end"])
    if entry["reliability"]:
        rows.append(["reliability", f"{entry['reliability']} estimates the error of its pictures"])
    if entry["metrics"]:
        values = ", ".join(f"{name} {value:g}" for name, value in entry["metrics"].items())
        rows.append(["metrics", f"{values}  ({entry['measured_on']})"])
    if entry["problem"]:
        rows.append(["problem", entry["problem"]])
    return f"{entry['name']}  ({kind}, {size}, {entry['where']})\n" + text_table([], rows, left=2, indent=4)
