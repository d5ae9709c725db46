"""Knows the options of GFPGAN's and CodeFormer's programs that have no meaning here, and says why."""

import argparse
from collections.abc import Sequence
from typing import Any

_REASONS = {
    ("-v", "--version"): "chooses one of GFPGAN's networks; here --weights chooses, see `memgan models`",
    ("--fidelity_weight",): "is CodeFormer's; here --fidelity is, which runs the same way, from 0 vivid to 1 "
    "faithful; but the network is another, so that the same number gives another picture",
    ("--draw_box",): "would draw into the result; --report FILE gives the boxes of all faces",
    ("--face_upsample",): "would enlarge faces by a second network; here they have the detail that theirs draws, up to "
    "512 px",
    ("--save_video_fps",): "would give all frames the same time; here the frames of a film keep theirs",
}
"""What each of these options does there, and what to do here."""
FOREIGN_WORDS = tuple(word for words in _REASONS for word in words)


def refuse_foreign_options(parser: argparse.ArgumentParser) -> None:
    """Make the parser answer these options with the reason, instead of not knowing them; the help leaves them out."""
    for words, reason in _REASONS.items():
        parser.add_argument(
            *words, action=_Refused, nargs="?", const=reason, default=argparse.SUPPRESS, help=argparse.SUPPRESS
        )


class _Refused(argparse.Action):
    """Ends with its ``const``, the reason."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        parser.error(f"{option_string} {self.const}")
