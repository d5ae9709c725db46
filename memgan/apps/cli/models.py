"""``memgan models``: lists the published weights, and where they are now."""

import argparse
import json
from pathlib import Path
from typing import Any

from memgan.runtime.tables import text_table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments to ``parser``."""
    parser.epilog = "Nothing is downloaded. Metrics are those of the weights' own header or card, where they are here."
    parser.add_argument("--json", action="store_true", help="print one JSON list")


def run(args: argparse.Namespace) -> int:
    """Print the list; the exit status."""
    from memgan import hub
    from memgan.errors import WeightsError
    from memgan.hub.card import metrics_of

    entries: list[dict[str, Any]] = []
    for spec in hub.REGISTRY.values():
        place, path = hub.where(spec)
        metrics, problem = None, None
        try:
            metrics = None if path is None else metrics_of(path, spec.name)
        except WeightsError as error:  # the list is of use with a damaged file too
            problem = str(error)
        entries.append(
            {
                "name": spec.name,
                "kind": spec.kind,
                "input": spec.input,
                "bytes": spec.size if path is None else path.stat().st_size,
                "license": spec.license,
                "where": place,
                "path": None if path is None else str(path),
                "source": spec.repo_id or next(iter(spec.urls), None),
                "metrics": None if metrics is None else metrics.values,
                "measured_on": None if metrics is None else metrics.dataset,
                "problem": problem,
            }
        )
    if args.json:
        print(json.dumps(entries, indent=2))
        return 0
    print("\n\n".join(_described(entry, entry["name"] == hub.DEFAULT_NAME) for entry in entries))
    return 0


def _described(entry: dict[str, Any], is_default: bool) -> str:
    size = "unknown size" if entry["bytes"] is None else f"{entry['bytes'] / 1e6:.1f} MB"
    kind = f"{entry['kind']}, default" if is_default else entry["kind"]
    rows = [
        ["input", entry["input"]],
        ["license", entry["license"]],
        ["file", _short(entry["path"])] if entry["path"] else ["from", entry["source"]],
    ]
    if entry["metrics"]:
        values = ", ".join(f"{name} {value:g}" for name, value in entry["metrics"].items())
        rows.append(["metrics", f"{values}  ({entry['measured_on']})"])
    if entry["problem"]:
        rows.append(["problem", entry["problem"]])
    return f"{entry['name']}  ({kind}, {size}, {entry['where']})\n" + text_table([], rows, left=2, indent=4)


def _short(place: str) -> str:
    """A path below the home folder with ``~``."""
    home = str(Path.home())
    return f"~{place.removeprefix(home)}" if home != "/" and place.startswith(f"{home}/") else place
