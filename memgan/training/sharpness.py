"""Fits the estimate of how sharp a face is (:mod:`memgan.faces.sharpness`) on faces with damage of known strength.

    python -m memgan.training.sharpness FACES [FACES ...] --limit 600 -o memgan/faces/sharpness.npz

Every clean face gives a few dozen examples: photographs of it with one kind of damage or several, Eq. 14, old
photographs, and looks that are no damage (other colors, darkness, retouching, black and white, sharpening). An example
with too little damage to matter is sharp, one with more than a restoration costs is degraded, and the others are left
out. Where the lines of :data:`LIMITS` are was measured on eight faces. The embedded weights bring a clean face to an
ST-LPIPS(Alex) of 0.08 from itself. The most damage of a sharp face is at 0.006 to 0.02, the least of a degraded one at
0.08 to 0.1 for blur, noise and grain, and at 0.02 to 0.03 for compression and missing pixels, which people see better
than that metric does.
"""

import argparse
import dataclasses
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, cast

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from memgan.degradation import Degradation, DegradationParameters, age_seeded, apply_degradation, draw_parameters
from memgan.degradation.jpeg import jpeg_real
from memgan.degradation.random_draw import RandomDraw
from memgan.evaluation import face_seed
from memgan.faces.sharpness import SIDE_PX, band_energies, damage
from memgan.faces.warp import crop_region
from memgan.image import resize, to_tensor
from memgan.image.collection import PictureSource, spread_evenly
from memgan.image.tensors import to_uint8
from memgan.runtime.atomic_file import atomic_write
from memgan.runtime.progress import ProgressBar
from memgan.training.data.augmentation import jitter_colors

LIMITS = {
    "blur_sigma": (0.5, 1.0),  # in pixels of the crop
    "enlarged": (1.3, 2.0),  # pixels of the crop per pixel of the photograph
    "noise_sigma": (2.0, 5.0),  # of every color; of brightness alone, grain has the same limits
    "grain_sigma": (2.0, 5.0),
    "compression": (40.0, 70.0),  # 100 minus the JPEG quality
}
"""Most damage of a sharp face, and least of a degraded one."""
_STRONGEST = {"blur_sigma": 30.0, "enlarged": 30.0, "noise_sigma": 50.0, "grain_sigma": 50.0, "compression": 98.0}
_NONE = {"blur_sigma": 0.0, "enlarged": 1.0, "noise_sigma": 0.0, "grain_sigma": 0.0, "compression": 0.0}
_TURN_DEGREES = 20.0
_HIDDEN = 12
_DECAY = 1e-4
_STEPS = 400
_HELD_OUT = 4  # every fourth face sets the limits, and is not fitted
_TYPICAL = ("eq14", "aged", "old_print")  # what the network is for: these are restored in full
_MILDEST = 0.01  # of them may lie below what decides before the margin
_MARGIN = 1.0  # in logarithms of odds
_RAMP = 1.5  # from a full restoration to none


@dataclasses.dataclass(frozen=True)
class Example:
    """A crop with what is known of it."""

    kind: str
    crop: np.ndarray
    """(512, 512, 3) uint8 RGB."""
    degraded: bool | None
    """``None``: in between."""


def examples(face: np.ndarray, seed: int) -> Iterator[Example]:
    """Sharp and degraded examples of one clean face, (512, 512, 3) uint8 RGB; the same for the same seed."""
    draw = RandomDraw(torch.Generator().manual_seed(seed))
    yield Example("clean", face, False)
    for _ in range(2):  # the usual way to keep a face
        stored = {"compression": draw.uniform(3, LIMITS["compression"][0])}
        yield Example("jpeg", photograph(face, stored, draw), False)
    for name in LIMITS:
        for _ in range(3):
            one = {name: _between(draw, name)}
            yield Example(name, photograph(face, one, draw), is_degraded(one))
    for _ in range(4):
        several = {name: min(_between(draw, name), _between(draw, name)) for name in LIMITS if draw.bernoulli(0.5)}
        yield Example("several", photograph(face, several, draw), is_degraded(several))
    for look, changed in _looks(face, draw).items():
        yield Example(look, changed, False)
        light = {name: draw.uniform(_NONE[name], limit) for name, (limit, _) in LIMITS.items() if draw.bernoulli(0.3)}
        yield Example(look, photograph(changed, light, draw), False)
    image = to_tensor(face)
    for kind, ranges in (("eq14", Degradation()),) * 4 + (("eq14_mild", Degradation().mild()),) * 2:
        own = draw.integer(0, 2**62)
        drawn = draw_parameters(own, ranges)
        degraded = apply_degradation(image, drawn, torch.Generator().manual_seed(own))
        yield Example(kind, to_uint8(degraded), is_degraded(_as_damage(drawn)))
    for _ in range(2):
        yield Example("old_print", _old_print(face, draw), True)
    for _ in range(3):
        yield Example("aged", to_uint8(age_seeded(image[None], [draw.integer(0, 2**62)])[1][0]), True)


def is_degraded(strengths: dict[str, float]) -> bool | None:
    """Whether damage of these strengths makes a face degraded; ``None``: it is neither sharp nor degraded."""
    if any(strength >= LIMITS[name][1] for name, strength in strengths.items()):
        return True
    return None if any(strength > LIMITS[name][0] for name, strength in strengths.items()) else False


def photograph(face: np.ndarray, strengths: dict[str, float], draw: RandomDraw) -> np.ndarray:
    """What the restorer would cut out of a photograph of a face, (512, 512, 3) uint8 RGB, with this damage.

    Half of the faces are turned in their photograph.
    """
    strengths = _NONE | strengths
    side = round(SIDE_PX / strengths["enlarged"])
    if strengths["blur_sigma"]:
        face = cv2.GaussianBlur(face, (0, 0), strengths["blur_sigma"], borderType=cv2.BORDER_REFLECT_101)
    levels: np.ndarray = resize(face, side, side).astype(np.float32)
    noise = np.random.default_rng(draw.integer(0, 2**62))
    levels += np.float32(strengths["noise_sigma"]) * noise.standard_normal(levels.shape, np.float32)
    levels += np.float32(strengths["grain_sigma"]) * noise.standard_normal((side, side, 1), np.float32)
    pixels = np.clip(np.rint(levels), 0, 255).astype(np.uint8)
    if strengths["compression"]:
        quality = round(100 - strengths["compression"])
        pixels = to_uint8(jpeg_real(torch.from_numpy(pixels).permute(2, 0, 1).float(), quality) / 127.5 - 1)
    if draw.bernoulli(0.5):
        middle = ((side - 1) / 2, (side - 1) / 2)
        matrix = cv2.getRotationMatrix2D(middle, draw.uniform(-_TURN_DEGREES, _TURN_DEGREES), SIDE_PX / side)
        matrix[:, 2] += np.float64((SIDE_PX - side) / 2 + draw.uniform(-0.5, 0.5))
        return crop_region(pixels, matrix, SIDE_PX)
    return resize(pixels, SIDE_PX, SIDE_PX, cv2.INTER_CUBIC)


def fit(energies: np.ndarray, degraded: np.ndarray) -> dict[str, np.ndarray]:
    """Fit the network of one hidden layer, without its limits, to (N, 35) energies and (N,) bool."""
    mean, scale = energies.mean(0), energies.std(0)
    given = torch.from_numpy((energies - mean) / scale)
    wanted = torch.from_numpy(degraded.astype(np.float64))
    torch.manual_seed(0)
    hidden, output = (torch.nn.Linear(*size, dtype=torch.float64) for size in ((given.shape[1], _HIDDEN), (_HIDDEN, 1)))
    parameters = [*hidden.parameters(), *output.parameters()]
    optimizer = torch.optim.LBFGS(parameters, max_iter=_STEPS, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        odds = output(torch.tanh(hidden(given)))[:, 0]
        error = F.binary_cross_entropy_with_logits(odds, wanted)
        error = error + _DECAY * sum((one.square().sum() for one in parameters), start=torch.zeros(()))
        error.backward()
        return error

    optimizer.step(loss)
    numbers = {"hidden": hidden.weight.T, "hidden_bias": hidden.bias, "output": output.weight[0]}
    numbers |= {"output_bias": output.bias[0]}
    model = {name: number.detach().numpy() for name, number in numbers.items()} | {"mean": mean, "scale": scale}
    return {name: number.astype(np.float32) for name, number in model.items()}


def limits(odds: np.ndarray) -> np.ndarray:
    """(2,): up to the first a face is left alone, from the second on it is restored in full.

    ``odds`` are those of degraded faces that were not fitted: all but the very mildest are restored in full.
    """
    full = float(np.quantile(odds, _MILDEST)) - _MARGIN
    return np.array([full - _RAMP, full], np.float32)


class Row(NamedTuple):
    """An example as it is fitted."""

    kind: str
    held_out: bool
    known: bool
    degraded: bool
    energies: np.ndarray


def judged_examples(source: PictureSource, limit: int | None) -> list[Row]:
    """The examples of faces, spread evenly over the names, as the estimate sees them."""
    order = spread_evenly(source, limit)

    def of(place: int) -> list[Row]:
        face = resize(source.read(order[place]), SIDE_PX, SIDE_PX)
        drawn = examples(face, face_seed(source.names[order[place]]))
        held_out = place % _HELD_OUT == 0
        return [
            Row(one.kind, held_out, one.degraded is not None, bool(one.degraded), band_energies(one.crop))
            for one in drawn
        ]

    rows: list[Row] = []
    with ThreadPoolExecutor(torch.get_num_threads()) as threads, ProgressBar(len(order), unit="faces") as bar:
        for own in threads.map(of, range(len(order))):
            rows += own
            bar.advance(1)
    return rows


def main() -> None:
    """Fit the estimate, write it, and print how it judges held-out faces."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("faces", nargs="+", type=Path, metavar="FACES", help="folders or tar files of clean faces")
    parser.add_argument("--limit", type=int, metavar="N", help="only N faces, spread evenly over the names")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="NPZ")
    args = parser.parse_args()
    rows = judged_examples(PictureSource(args.faces), args.limit)
    kinds, held_out, known, degraded = (np.array(one) for one in list(zip(*rows, strict=True))[:4])
    energies = np.stack([row.energies for row in rows])
    used, kept = known & ~held_out, known & held_out
    model = fit(energies[used], degraded[used])
    model["limits"] = limits(damage(energies, model)[kept & np.isin(kinds, _TYPICAL)])
    with atomic_write(args.output) as temporary, open(temporary, "wb") as file:
        np.savez(file, **cast(Any, model))
    alone, full = model["limits"]
    print(f"{used.sum()} examples fitted, {kept.sum()} held out; left alone below {alone:.2f}, full from {full:.2f}")
    odds = damage(energies, model)
    for kind in dict.fromkeys(kinds):
        for wrong in (False, True):
            own = odds[kept & (kinds == kind) & (degraded == wrong)]
            if own.size:
                shares = f"alone {(own <= alone).mean():.3f}, in full {(own >= full).mean():.3f}"
                quantiles = " ".join(f"{value:.1f}" for value in np.quantile(own, (0, 0.1, 0.5, 0.9, 1)))
                print(f"{kind:12} {'degraded' if wrong else 'sharp':9} {own.size:5}  {shares}, {quantiles}")


def _between(draw: RandomDraw, name: str) -> float:
    """A strength from none to the strongest, as often below the limits as above, for equal numbers of both labels."""
    low = LIMITS[name][0]
    sharp = draw.bernoulli(0.4)
    return draw.uniform(_NONE[name], low) if sharp else draw.log_uniform(low, _STRONGEST[name])


def _looks(face: np.ndarray, draw: RandomDraw) -> dict[str, np.ndarray]:
    """The face as people and cameras change it without taking detail away."""
    gray = np.repeat(cv2.cvtColor(face, cv2.COLOR_RGB2GRAY)[:, :, None], 3, axis=2)
    recolored = jitter_colors(to_tensor(face)[None], torch.Generator().manual_seed(draw.integer(0, 2**62)))
    light = (face / 255.0) ** draw.uniform(1.0, 2.2) * draw.uniform(0.3, 0.8)
    blurred = cv2.GaussianBlur(face, (0, 0), 1.0).astype(np.float32)
    sharpened = face + draw.uniform(0.3, 1.5) * (face - blurred)
    return {
        "gray": gray,
        "hard": _hard(gray.astype(np.float32), draw),
        "recolored": to_uint8(recolored[0]),
        "dark": np.rint(light * 255).astype(np.uint8),
        "retouched": cv2.bilateralFilter(face, 9, draw.uniform(8, 30), draw.uniform(3, 9)),
        "sharpened": np.clip(np.rint(sharpened), 0, 255).astype(np.uint8),
    }


def _hard(levels: np.ndarray, draw: RandomDraw) -> np.ndarray:
    """High contrast: white and black without detail."""
    levels = (levels - draw.uniform(100, 150)) * draw.uniform(1.2, 2.5) + 128
    return np.clip(np.rint(levels), 0, 255).astype(np.uint8)


def _old_print(face: np.ndarray, draw: RandomDraw) -> np.ndarray:
    """A blurred face in black and white under coarse grain, which is no detail, printed hard."""
    gray = cv2.GaussianBlur(cv2.cvtColor(face, cv2.COLOR_RGB2GRAY), (0, 0), draw.log_uniform(1.0, 4.0))
    coarse = round(SIDE_PX / draw.uniform(1.0, 3.0))
    grain = np.random.default_rng(draw.integer(0, 2**62)).standard_normal((coarse, coarse), np.float32)
    levels = gray + draw.log_uniform(3.0, 15.0) * resize(grain, SIDE_PX, SIDE_PX, cv2.INTER_CUBIC)
    return np.repeat(_hard(levels, draw)[:, :, None], 3, axis=2)


def _as_damage(drawn: DegradationParameters) -> dict[str, float]:
    return {
        "blur_sigma": drawn.blur_sigma,
        "enlarged": drawn.downscale,
        "noise_sigma": drawn.noise_sigma,
        "compression": 100.0 - drawn.jpeg_quality,
    }


if __name__ == "__main__":
    main()
