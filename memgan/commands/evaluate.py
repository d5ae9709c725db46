"""``memgan evaluate``: how well a network undoes the degradation of Eq. 14, on clean aligned faces."""

import argparse
import json
import sys
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments to ``parser``."""
    parser.add_argument(
        "faces", nargs="+", type=Path, metavar="FACES", help="folders or tar files of clean aligned faces"
    )
    parser.add_argument("--weights", metavar="WEIGHTS", help="name, .safetensors file or folder (default: embedded)")
    parser.add_argument("--seed", type=int, default=0, help="base seed of the degradations (default: 0)")
    parser.add_argument("--limit", type=int, metavar="N", help="only N faces, spread evenly over the names")
    parser.add_argument("--device", help="such as cuda:1 (default: the first CUDA device, else the CPU)")
    parser.add_argument("--sheet", type=Path, metavar="PNG", help="also write degraded and restored faces side by side")
    parser.add_argument("--sheet-rows", type=int, default=8, metavar="N", help="faces on that sheet (default: 8)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all figures of all faces")


def run(args: argparse.Namespace) -> int:
    """Evaluate and print the table; the exit status."""
    import torch

    from memgan import hub
    from memgan.errors import ConfigError
    from memgan.evaluation.restoration import evaluate, write_contact_sheet
    from memgan.inference import choose_device
    from memgan.network.model import build_memgan

    if args.sheet_rows < 1:
        raise ConfigError(f"--sheet-rows is {args.sheet_rows}; it must be at least 1.")
    checkpoint = hub.load(args.weights)
    network = build_memgan(checkpoint.config)
    network.load_checked(checkpoint.state)
    device = choose_device(args.device)
    network = network.eval().to(device)
    rows: list[list[torch.Tensor]] = []

    def restore(degraded: torch.Tensor) -> torch.Tensor:
        restored = network(degraded).image.clamp(-1, 1)
        rows.extend([one.cpu(), other.cpu()] for one, other in zip(degraded, restored, strict=True) if args.sheet)
        return restored

    def show(done: int, total: int) -> None:
        print(f"\r{done}/{total} faces", end="\n" if done == total else "", file=sys.stderr, flush=True)

    size = checkpoint.config.image_size
    result = evaluate(
        restore,
        [str(path) for path in args.faces],
        seed=args.seed,
        limit=args.limit,
        size_px=size,
        batch_size=1,
        device=device,
        progress=show if sys.stderr.isatty() else None,
    )
    print(result.table())
    if args.sheet:
        write_contact_sheet(_evenly(rows, args.sheet_rows), args.sheet)
    if args.json:
        args.json.write_text(json.dumps(result.to_dict(), indent=1), encoding="utf-8")
    return 0


def _evenly(rows: list, count: int) -> list:
    """``count`` of the rows, spread over all."""
    return [rows[i * len(rows) // count] for i in range(count)] if count < len(rows) else rows
