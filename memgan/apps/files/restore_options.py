"""Lists the options of ``memgan restore`` that are about files and about what a restorer is made of."""

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path

from memgan.apps.files.names import PICTURES
from memgan.errors import ConfigError
from memgan.runtime.choices import BACKENDS, DETECTORS, DTYPES, MASKS
from memgan.runtime.options import check_options, option
from memgan.runtime.picture_formats import EXTENSIONS


def path_given(text: str) -> Path:
    """The path of an argument. An empty one, as an unset variable of a shell gives, is not the current folder."""
    if not text:
        raise argparse.ArgumentTypeError("it is empty; give a path (the current folder is .)")
    return Path(text)


def page_range(pages: str) -> tuple[int, int | None]:
    """First page (from 1) and last page (``None``: that of the file) of ``--pages``; a ConfigError if it is wrong."""
    if pages in ("all", "first"):
        return (1, 1 if pages == "first" else None)
    try:
        first, last = (int(part) if part else None for part in pages.split(":"))
    except ValueError:
        first, last = 0, 0
    first = 1 if first is None else first
    if first < 1 or (last is not None and last < first):
        raise ConfigError(f"--pages is {pages!r}; give all, first, or the numbers of two pages, from 1, such as 2:5.")
    return first, last


@dataclasses.dataclass(frozen=True)
class FileOptions:
    """What to read and to write.

    Raises:
        ConfigError: if an option is not allowed.
    """

    output: Path = option(
        dataclasses.MISSING,
        "folder for the results; made if missing",
        group="files",
        words=("-o", "--output", "--output_path"),
        metavar="DIR",
        parse=path_given,
    )
    input: Sequence[Path] = option(
        (),
        "the same, with a name",
        group="files",
        words=("-i", "--input", "--input_path"),
        metavar="INPUT",
        parse=path_given,
        repeated=True,
    )
    recursive: bool = option(
        False, "also look into folders of the input folders", group="files", words=("-r", "--recursive")
    )
    suffix: str = option("", "added to the names of results: NAME_TEXT.jpg", group="files", metavar="TEXT")
    pages: str = option(
        "all",
        "of files with several pages or frames: all (default), first, or A:B, from page A to page B, counted from 1",
        group="files",
        metavar="A:B",
    )
    ext: str = option(
        "auto", f"file type of {PICTURES} (default: auto, as the input)", group="files", choices=("auto", *EXTENSIONS)
    )
    quality: int | None = option(
        None,
        "of JPEG and other files that lose detail, 1 to 100 (default: that of the input if it is such a file, else 95)",
        group="files",
        metavar="Q",
        low=1,
        high=100,
        parse=int,
    )
    provenance: bool = option(
        True,
        "do not state in the file (XMP) that faces were restored, and how",
        group="files",
        words=("--no-provenance",),
    )
    keep_date: bool = option(False, "give results the time of the last change of their inputs", group="files")
    no_faces: bool = option(False, f"write {PICTURES} only", group="files")
    allow_truncated: bool = option(
        False, "restore what is there of files that are cut off; the rest is black or gray", group="files"
    )
    skip_existing: bool = option(
        False,
        "leave out inputs that were restored with the same options, have not changed, and whose results are there",
        group="files",
    )
    dry_run: bool = option(
        False, "only print what would be done: each input and its result, and what is left out and why", group="files"
    )
    report: Path | None = option(None, "write what was done as JSON", group="files", metavar="FILE", parse=path_given)
    quiet: bool = option(False, "report problems only", group="files", words=("-q", "--quiet"))
    jobs: int = option(
        1,
        "pictures worked on at the same time, by threads that share the cores and the weights; 0: one per core, at "
        "most 4; each more than one takes about 300 MB, for pictures of over 8 megapixels more (default: 1); films are "
        "done one after the other",
        group="work",
        words=("-j", "--jobs"),
        metavar="N",
    )

    def __post_init__(self) -> None:
        check_options(self)
        if any(character in self.suffix for character in "/\\\0"):
            raise ConfigError(f"--suffix is {self.suffix!r}; it becomes part of file names: leave out slashes.")
        page_range(self.pages)
        if self.jobs < 0:
            raise ConfigError(f"--jobs is {self.jobs}; allowed are whole numbers from 1, and 0 to choose by the cores.")


@dataclasses.dataclass(frozen=True)
class PartOptions:
    """What a restorer is made of; see :class:`memgan.MemGANRestorer`, which checks them."""

    detector: str = option(
        "embedded",
        "face detector (default: embedded)",
        group="faces",
        words=("--detector", "--detection_model"),
        choices=DETECTORS,
    )
    detector_weights: str | None = option(
        None, "folder with facexlib's detector files (default: its cache)", group="faces", metavar="DIR"
    )
    bg_upsampler: str = option(
        "none",
        "enlarge the background with realesrgan (a checkpoint on this machine), or with that of a .pth or "
        ".safetensors file; none (default): a Lanczos filter",
        group="looks",
        words=("--bg-upsampler", "--bg_upsampler"),
        metavar="NAME",
    )
    bg_tile: int = option(
        400,
        "side of the parts it works on; 0: the whole picture (default: 400)",
        group="looks",
        words=("--bg-tile", "--bg_tile"),
        metavar="PX",
    )
    mask: str = option("soft", "part of a restored face that is pasted (default: soft)", group="looks", choices=MASKS)
    weights: str | None = option(
        None, "name, .safetensors file or folder (default: the embedded weights)", group="work", metavar="WEIGHTS"
    )
    device: str | None = option(
        None, "such as cpu, cuda, cuda:1, mps (default: cuda if there is one, else cpu)", group="work", metavar="DEVICE"
    )
    dtype: str = option(
        "auto",
        "precision of the network (float16: CUDA only; auto, the default: bfloat16 where the device computes in it and "
        "`memgan check` finds it right, else float32)",
        group="work",
        choices=DTYPES,
    )
    half: bool = option(False, "the same as --dtype float16", group="work")
    backend: str = option("torch", "what runs the network on a CPU (default: torch)", group="work", choices=BACKENDS)
    provider: str | None = option(
        None,
        "what onnxruntime or OpenVINO computes on, such as CUDAExecutionProvider, GPU, NPU (default: CPU, the only one "
        "that was tried)",
        group="work",
        metavar="NAME",
    )
    threads: int | None = option(
        None,
        "threads of torch, onnxruntime, OpenVINO and OpenCV for each picture (default: OMP_NUM_THREADS, or the cores, "
        "shared among the jobs)",
        group="work",
        metavar="N",
        low=1,
        parse=int,
    )
