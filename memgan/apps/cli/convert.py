"""``memgan convert``: turns a pickled weight file of another project into a safetensors file."""

import argparse
import os
from pathlib import Path

_SUFFIX = ".safetensors"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments to ``parser``."""
    parser.epilog = (
        "Only this command (and `memgan prior import`) opens pickled files that are not known by their SHA-256, and "
        "with torch's restricted reader: code in them is refused, not run. Mind the license of what you convert."
    )
    parser.add_argument(
        "source",
        metavar="SOURCE",
        help="a .pth or .pt file: a StyleGAN2 generator (rosinality, BasicSR) or one of facexlib's networks; or the "
        "name of one of facexlib's files (see `memgan models`), which is downloaded if need be",
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE",
        help=".safetensors file to write (for a name: default in memgan's cache, where it is then preferred)",
    )
    parser.add_argument("--kind", metavar="KIND", help="stylegan2 or a name (default: found out from the tensors)")
    parser.add_argument(
        "--max-size", type=int, default=512, metavar="PX", help="stylegan2: leave out larger levels (default: 512)"
    )


def run(args: argparse.Namespace) -> int:
    """Convert the file; the exit status."""
    path = convert(args.source, args.output, kind=args.kind, max_size=args.max_size)
    print(f"written to {path}")
    return 0


def convert(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    *,
    kind: str | None = None,
    max_size: int = 512,
    offline: bool | None = None,
) -> Path:
    """Convert a file; torch's restricted unpickler reads it, so code in it is refused, not run.

    Args:
        source: one of facexlib's names in :data:`memgan.hub.registry.REGISTRY` (found or downloaded, and checked), or a
            file:
            a StyleGAN2 generator in the layout of rosinality or BasicSR, or one of facexlib's networks.
        out: ``.safetensors`` file to write; ``None``, for a name only: memgan's cache, where it is found from then on.
        kind: one of :data:`memgan.faces.facexlib_convert.KINDS`; ``None``: found out from the names and shapes of the
            tensors.
        max_size: for ``stylegan2``: side in pixels above which levels are left out.
        offline: never download; ``None``: what ``HF_HUB_OFFLINE`` says.

    Returns:
        The file written. Its metadata name ``kind``, ``source``, ``source_sha256`` and ``license``.

    Raises:
        ConfigError: if an option is not allowed.
        WeightsNotFoundError: if there is no such file.
        WeightsError: if it cannot be read, or holds something else.
        StateMismatchError: if it is not of ``kind``.
        OutputError: if ``out`` cannot be written.
    """
    from memgan.errors import ConfigError, StateMismatchError, WeightsNotFoundError
    from memgan.faces.facexlib_adapter import FACEXLIB_WEIGHTS
    from memgan.faces.facexlib_convert import KINDS, difference, facexlib_state, kind_of
    from memgan.hub import resolve
    from memgan.hub.cache import cache_folder
    from memgan.hub.download import sha256_of
    from memgan.hub.registry import REGISTRY
    from memgan.hub.tensor_file import write_tensors
    from memgan.training.priors import import_prior

    if kind is not None and kind not in KINDS:
        raise ConfigError(f"kind is {kind!r}; allowed: {', '.join(KINDS)}, or None.")
    if out is not None and Path(out).suffix != _SUFFIX:
        raise ConfigError(f"The output is {os.fspath(out)!r}; its name must end in {_SUFFIX}.")
    if isinstance(source, str) and source in FACEXLIB_WEIGHTS:
        if kind not in (None, source):
            raise ConfigError(f"{source!r} is given as a source and {kind!r} as its kind; leave out the kind.")
        spec, kind = REGISTRY[source], source
        path = resolve(source, offline=offline)
        out = (cache_folder() / spec.filename).with_suffix(_SUFFIX) if out is None else out
    else:
        path = Path(source).expanduser()
        if not path.is_file():
            raise WeightsNotFoundError(
                f"There is no file {path}; give a file, or one of the names: {', '.join(FACEXLIB_WEIGHTS)}."
            )
    if out is None:
        raise ConfigError(f"Where to write is not given: name a {_SUFFIX} file.")
    if path.suffix == _SUFFIX and kind != "stylegan2":
        raise ConfigError(f"{path} is a {_SUFFIX} file already; only pickled files need to be converted.")
    sha256 = sha256_of(path)
    if kind is None:
        kind = next((name for name in FACEXLIB_WEIGHTS if REGISTRY[name].sha256 == sha256), None)
    state = None if kind == "stylegan2" else facexlib_state(path)
    if kind is None:
        kind = "stylegan2" if state is None else kind_of(state, path)
    if kind == "stylegan2" or state is None:
        return import_prior("stylegan2", path, out, max_size=max_size)
    if problem := difference(state, kind):
        raise StateMismatchError(f"{path} is no {kind}: {problem}. Give the right kind, or leave it out.")
    about = {"format": "pt", "kind": kind, "source": path.name, "source_sha256": sha256}
    license = REGISTRY[kind].license
    tensors = {name: value.detach().clone().contiguous() for name, value in state.items()}
    write_tensors(Path(out), tensors, about | {"license": license})
    return Path(out)
