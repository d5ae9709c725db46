"""``memgan export``: writes a network as one ONNX file, for programs that run such files."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "The graph takes `input` and gives `output`, both (N, 3, S, S) float32 RGB in [-1, 1] for any number N of "
        "aligned faces. Needs the package onnx: pip install 'memgan[onnx]'. Mind the license of the weights."
    )
    parser.add_argument("format", choices=("onnx",), help="kind of file")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="file to write (default: NAME.onnx here)")
    parser.add_argument("--model", metavar="WEIGHTS", help="name, file or folder (default: the embedded weights)")
    parser.add_argument("--half", action="store_true", help="store matrices in half precision; compute in float32")


def run(args: argparse.Namespace) -> int:
    from memgan import hub
    from memgan.hub.pretrained import MemGAN
    from memgan.restoration.onnx_export import export_onnx
    from memgan.version import __version__

    weights = hub.resolve(args.model)
    network = MemGAN.from_pretrained(weights)
    spec = hub.REGISTRY.get(args.model or hub.DEFAULT_NAME)
    license = network.metadata.get("license") or (spec.license if spec else "unknown: ask whoever made the weights")
    metadata = {"license": license, "weights_sha256": hub.sha256_of(weights), "memgan_version": __version__}
    # The last part only: what a weight file calls itself is not to choose the folder.
    output = Path(f"{Path(network.config.name).name}.onnx") if args.output is None else args.output
    print(f"written to {export_onnx(network, output, half=args.half, metadata=metadata)}")
    return 0
