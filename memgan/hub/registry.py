"""Registers published weights: one record per file, which is all that a further one needs."""

import dataclasses
from typing import Literal

from memgan.hub.weight_file import MODEL_FILE

DEFAULT_NAME = "memgan-mobile-512"
"""The weights used when none are named."""

_FACEXLIB = "https://github.com/xinntao/facexlib/releases/download"
_FACE = "an aligned face, RGB, 512 x 512"
_PARSER_LICENSE = "as facexlib publishes it (code MIT); trained on CelebAMask-HQ, whose pictures are non-commercial"


@dataclasses.dataclass(frozen=True)
class WeightSpec:
    """Published weights: where they are and how to recognize them."""

    name: str
    filename: str
    sha256: str
    """Of the whole file, in lower-case hexadecimal."""
    license: str
    input: str = "an aligned face, RGB"
    """What the network takes, in words."""
    embedded: bool = False
    """Whether the file travels inside the package."""
    repo_id: str | None = None
    """Repository of the Hugging Face hub, ``owner/repo``, that has the file."""
    repo_filename: str = MODEL_FILE
    """What the file is called there."""
    revision: str | None = None
    """Commit of that repository: a full hash, so that what is downloaded can never change."""
    urls: tuple[str, ...] = ()
    """Addresses of the file itself, tried in this order after the hub and the mirrors of ``MEMGAN_MIRRORS``."""
    size: int | None = None
    """In bytes, for what has to be downloaded."""
    kind: Literal["restorer", "detector", "parser", "reliability"] = "restorer"
    faithful: str | None = None
    """Name of the same network trained further for fidelity: the other end of the fidelity dial."""
    reliability: str | None = None
    """Name of the weights that estimate the errors of its pictures, and of those of its faithful partner."""


REGISTRY: dict[str, WeightSpec] = {
    spec.name: spec
    for spec in (
        WeightSpec(
            name="memgan-mobile-512",
            filename="memgan-mobile-512.safetensors",
            sha256="cfae026fb0cc2ce501ee081d491daefdb475043475b2c2cfa0451ba54218e505",
            license="non-commercial (see weights/README.md)",
            input=_FACE,
            embedded=True,
            faithful="memgan-mobile-512-faithful",
            reliability="reliability-512",
        ),
        WeightSpec(
            name="memgan-mobile-512-faithful",
            filename="memgan-mobile-512-faithful.safetensors",
            sha256="55ac951d21ffa64eba80ec432a41c25db216c6a31570df5a6302b75697468859",
            license="non-commercial (see weights/README.md)",
            input=_FACE,
            embedded=True,
        ),
        WeightSpec(
            name="reliability-512",
            filename="reliability-512.safetensors",
            sha256="c13876eb408c11387013592e1edef4eff905bdbe05aef6fa1a9c554e3231fc4f",
            license="non-commercial (see weights/README.md)",
            input="an aligned face before and after, RGB, 512 x 512",
            embedded=True,
            kind="reliability",
        ),
        WeightSpec(
            name="retinaface_mobile0.25",
            filename="detection_mobilenet0.25_Final.pth",
            sha256="2979b33ffafda5d74b6948cd7a5b9a7a62f62b949cef24e95fd15d2883a65220",
            license="MIT",
            input="a whole picture, RGB",
            urls=(f"{_FACEXLIB}/v0.1.0/detection_mobilenet0.25_Final.pth",),
            size=1_789_735,
            kind="detector",
        ),
        WeightSpec(
            name="retinaface_resnet50",
            filename="detection_Resnet50_Final.pth",
            sha256="6d1de9c2944f2ccddca5f5e010ea5ae64a39845a86311af6fdf30841b0a5a16d",
            license="MIT",
            input="a whole picture, RGB",
            urls=(f"{_FACEXLIB}/v0.1.0/detection_Resnet50_Final.pth",),
            size=109_497_761,
            kind="detector",
        ),
        WeightSpec(
            name="parsing_parsenet",
            filename="parsing_parsenet.pth",
            sha256="3d558d8d0e42c20224f13cf5a29c79eba2d59913419f945545d8cf7b72920de2",
            license=_PARSER_LICENSE,
            input=_FACE,
            urls=(f"{_FACEXLIB}/v0.2.2/parsing_parsenet.pth",),
            size=85_331_193,
            kind="parser",
        ),
        WeightSpec(
            name="parsing_bisenet",
            filename="parsing_bisenet.pth",
            sha256="468e13ca13a9b43cc0881a9f99083a430e9c0a38abd935431d1c28ee94b26567",
            license=_PARSER_LICENSE,
            input=_FACE,
            urls=(f"{_FACEXLIB}/v0.2.0/parsing_bisenet.pth",),
            size=53_289_463,
            kind="parser",
        ),
    )
}
"""All published weights by name."""


def faithful_partner(name: object) -> str | None:
    """The name of the faithful weights that belong to registered ones; ``None``: there are none, or it is no name."""
    spec = spec_of(name)
    return None if spec is None else spec.faithful


def spec_of(name: object) -> WeightSpec | None:
    """The record of registered weights, ``None`` being the name of the default; ``None``: what is given is no name."""
    given = DEFAULT_NAME if name is None else name
    return REGISTRY.get(given) if isinstance(given, str) else None
