"""Lists every option of a restoration, each with its help text and what is allowed. Loads nothing heavy."""

import argparse
import dataclasses
from collections.abc import Iterable
from typing import Literal

from memgan.runtime.checks import check_int
from memgan.runtime.choices import COLOR_ORDERS
from memgan.runtime.options import check_options, option
from memgan.runtime.per_face import Setting, parse_setting

MAX_UPSCALE = 16.0
NO_DIAL = (
    "fidelity is not 0, and this network has no second set of weights: leave fidelity out, or use registered weights "
    "with a faithful partner, see `memgan models`."
)
NO_ESTIMATOR = (
    "reliability is True, and for this network there are no weights that estimate its errors: leave reliability out, "
    "or use registered weights that have them, see `memgan models`."
)


def _indices(text: str) -> tuple[int, ...]:
    try:
        numbers = tuple(int(part) for part in text.split(","))
    except ValueError:
        numbers = (-1,)
    if min(numbers) < 0:
        raise argparse.ArgumentTypeError(f"{text} are no numbers of faces, from 0, such as 0,2")
    return numbers


@dataclasses.dataclass(frozen=True)
class RestoreOptions:
    """How pictures are restored; :class:`memgan.MemGANRestorer` explains the options that it takes too.

    Raises:
        ConfigError: if an option is not allowed.
    """

    has_aligned: bool = option(
        False, "the inputs are aligned faces: no detection", group="faces", words=("--aligned", "--has_aligned")
    )
    only_center_face: bool = option(
        False,
        "restore only the face nearest to the middle",
        group="faces",
        words=("--only-center-face", "--only_center_face"),
    )
    face_index: tuple[int, ...] | None = option(
        None, "restore only these faces, from 0, the largest first", group="faces", metavar="N[,N]", parse=_indices
    )
    score_threshold: float | None = option(
        None,
        "least certainty of a face, 0 to 1 (default: 0.9; lower numbers take in more, also what is no face; a detector "
        "of your own finds what it finds)",
        group="faces",
        metavar="P",
        low=0,
        high=1,
        parse=float,
    )
    min_eye_distance: float = option(5.0, "leave out smaller faces (default: 5)", group="faces", metavar="PX", low=0)
    min_face_size: float = option(
        0.0, "leave out faces with a smaller box (default: 0)", group="faces", metavar="PX", low=0
    )
    max_face_size: float | None = option(
        None, "leave larger faces as they are (default: restore all)", group="faces", metavar="PX", low=0, parse=float
    )
    weight: Setting = option(
        1.0,
        "strength of the restoration, 0 (input) to 1 (full; default); for some faces by their number: 0=0.3,2=1",
        group="looks",
        words=("-w", "--weight"),
        metavar="W",
        low=0,
        high=1,
        parse=parse_setting,
        per_face=True,
    )
    fidelity: Setting = option(
        0.0,
        "from 0, vivid (default), to 1, faithful: truer to the photograph and softer; for some faces by their number, "
        "as in the names of their files: 0=0.3,2=1",
        group="looks",
        metavar="F",
        low=0,
        high=1,
        parse=parse_setting,
        per_face=True,
    )
    upscale: float = option(
        2.0,
        "enlarge the picture X times (default: 1)",
        group="looks",
        words=("-s", "--upscale"),
        metavar="X",
        low=0,
        low_allowed=False,
        high=MAX_UPSCALE,
        command_default=1.0,
    )
    color_lock: bool = option(
        True, "take the colors of faces from the network, not from the input", group="looks", words=("--no-color-lock",)
    )
    grain: float = option(
        0.5, "share of lost grain to give back (default: 0.5)", group="looks", metavar="G", low=0, high=1
    )
    skip_sharp: bool = option(
        True,
        "leave faces as they are that are sharp already, and restore those with little damage in part (default: on)",
        group="looks",
        words=("--skip-sharp",),
    )
    self_ensemble: bool = option(
        False, "average with the restored mirror image: truer, calmer, softer, twice the network's time", group="work"
    )
    reliability: bool = option(
        False,
        "estimate how far each face is from the unknown truth: maps beside the faces' files, figures in the record",
        group="files",
    )
    max_batch: int = option(
        8,
        "most faces that run through the network at once (default: 8; on a CPU each picture's own)",
        group="work",
        words=("--max-batch",),
        metavar="N",
        low=1,
    )
    color: Literal["bgr", "rgb"] = option("bgr", "channel order of arrays", choices=COLOR_ORDERS)
    paste_back: bool = option(True, "give the whole picture")
    evidence: bool = option(False, "show what the memory recognizes in each face")
    keep: bool = option(False, "keep what the networks computed, so that the result can be rendered anew without them")
    overlap: bool | None = option(
        None,
        "find faces in the next pictures, and paste those of the previous ones, while the network is at work, which "
        "takes the memory of two batches more (default: on CUDA devices only; on a CPU all share the same cores)",
    )

    def __post_init__(self) -> None:
        check_options(self)
        if self.face_index is not None:
            given = self.face_index if isinstance(self.face_index, Iterable) else (self.face_index,)
            object.__setattr__(self, "face_index", tuple(check_int("face_index", index, 0) for index in given))

    @property
    def stated(self) -> dict[str, object]:
        """The settings that shape every face, as files say them."""
        return {
            "upscale": f"{self.upscale:g}",
            "color lock": "on" if self.color_lock else "off",
            "grain": f"{self.grain:g}",
            "self-ensemble": "on" if self.self_ensemble else "off",
        }
