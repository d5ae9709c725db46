"""Fits the estimator of a restored face's error (:mod:`memgan.network.reliability`), and calibrates it.

    python -m memgan.training.reliability pairs TRAINING_FACES -o PAIRS --jobs 2
    python -m memgan.training.reliability fit PAIRS -o reliability.safetensors
    python -m memgan.training.reliability pairs OTHER_FACES --half even --settings 0,0.5,1 -o OTHERS --jobs 2
    python -m memgan.training.reliability calibrate reliability.safetensors OTHERS

Pairs are faces with simulated damage and what the restorer makes of them at settings of its fidelity dial, with what
the estimator is to find. The calibration needs faces that were not fitted, and that no figure is reported of. A
restorer does better on faces that it was trained with: without calibration the estimator expects too little error of
others.
"""

import argparse
import json
import math
import multiprocessing
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from memgan import hub
from memgan.degradation import Degradation, age_seeded, degrade_seeded
from memgan.degradation.random_draw import RandomDraw
from memgan.errors import ConfigError, DataError
from memgan.evaluation import IdentityDistance, face_seed
from memgan.evaluation.metrics.regions import region_mask
from memgan.evaluation.reliability import Describe, JudgedFace, figures_of, judge, reliability_table
from memgan.hub.average import check_partner, interpolated
from memgan.hub.registry import faithful_partner
from memgan.image import to_tensor
from memgan.image.collection import PictureSource, read_face, spread_evenly
from memgan.image.tensors import to_uint8
from memgan.network.fast import prepare_for_inference
from memgan.network.model import MemGAN, build_memgan
from memgan.network.reliability import (
    DISTANCE_KNOTS,
    ERROR_KNOTS,
    KNOT_SETTINGS,
    RISK_DISTANCE,
    RawEstimate,
    ReliabilityConfig,
    ReliabilityNet,
    block_error,
)
from memgan.runtime.atomic_file import atomic_write
from memgan.runtime.checks import check_int, check_number
from memgan.runtime.progress import ProgressBar

SETTINGS = (0.0, 0.25, 0.5, 0.75, 1.0)
DAMAGE = {"eq14": 0.45, "strong": 0.25, "aged": 0.2, "mild": 0.1}
"""Kinds of damage, with their shares."""
STRONG = Degradation(blur_sigma=(1, 14), downscale=(1.5, 14), noise_sigma=(2, 40), jpeg_quality=(30, 95))
"""So much that many faces do not come out as the same person's."""
_CHUNK_FACES = 8
_HELD_OUT = 12  # every twelfth face, by a hash of its name
_POOL = 4  # chunks that are shuffled together
_WARM_UP = 0.05
_AROUND = 0.3  # weight of blocks outside of the oval around the face
_DISTANCE, _RISK = 30.0, 0.5  # weights of these losses, for gradients of about the size of the error's


class Pairs(NamedTuple):
    """Restored faces with the truth, as a chunk stores them."""

    names: np.ndarray
    """(N,) text."""
    kinds: np.ndarray
    """(N,) text, of :data:`DAMAGE`."""
    degraded: np.ndarray
    """(N, S, S, 3) uint8 RGB."""
    restored: np.ndarray
    """The same."""
    fidelity: np.ndarray
    """(N,) float32."""
    error: np.ndarray
    """(N, S/16, S/16) float32, see :func:`memgan.network.reliability.block_error`."""
    distance: np.ndarray
    """(N,) float32: identity distance to the truth."""

    def taken(self, rows: np.ndarray) -> "Pairs":
        """Some of them, by number or as a mask."""
        return Pairs(*(field[rows] for field in self))

    def pictures(self) -> tuple[Tensor, Tensor]:
        """Degraded and restored faces, (N, 3, S, S) in [-1, 1]."""
        degraded, restored = (torch.stack([to_tensor(one) for one in images]) for images in self[2:4])
        return degraded, restored


class PairMaker:
    """Makes chunks of pairs; every process has one.

    Args:
        faces: clean, aligned faces.
        weights, faithful: ends of the dial, as :func:`memgan.hub.load` takes them.
        settings: of the dial, one of which is drawn for each pair.
        per_face: pairs of each face.
        seed: of all that is drawn.
        limit, half: see :func:`memgan.image.collection.spread_evenly`.
        describe: ``None``: dlib's.

    Raises:
        ConfigError: if the weights have no faithful partner although a setting needs it, or a number is not allowed.
    """

    def __init__(
        self,
        faces: Sequence[Path],
        weights: str | None = None,
        faithful: str | None = None,
        settings: Sequence[float] = SETTINGS,
        per_face: int = 2,
        seed: int = 0,
        limit: int | None = None,
        half: Any = "all",
        describe: Describe | None = None,
    ) -> None:
        self._source = PictureSource(faces)
        self._settings = [check_number("settings", setting, 0, 1) for setting in settings]
        self._per_face, self._seed = check_int("per_face", per_face, 1), seed
        self._describe = IdentityDistance().describe if describe is None else describe
        names = self._source.names
        # By a hash, so that a part of the chunks is a fair sample.
        self._order = sorted(spread_evenly(self._source, limit, half), key=lambda index: face_seed(names[index], seed))
        vivid = hub.load(weights)
        ends = {weights: vivid}
        partner = faithful or faithful_partner(weights)
        if any(self._settings):
            if partner is None:
                raise ConfigError(f"{vivid.path} has no registered faithful partner; give one by --faithful WEIGHTS.")
            ends[partner] = hub.load(partner)
            check_partner(vivid, ends[partner])
        states = [end.state for end in ends.values()]
        self._networks = {
            setting: _ready(build_memgan(vivid.config, interpolated(states[0], states[-1], setting)))
            for setting in dict.fromkeys(self._settings)
        }
        self._size_px = vivid.config.image_size
        files = [cast("Path", end.path) for end in ends.values()]
        self.made_by = {
            "calibrated_for": {file.stem: hub.sha256_of(file) for file in files},
            "license": vivid.metadata.get("license", ""),
            "settings": self._settings,
            "seed": seed,
            "per_face": per_face,
        }
        """What tells chunks of other runs apart."""

    @property
    def num_chunks(self) -> int:
        """How many chunks there are."""
        return -(-len(self._order) // _CHUNK_FACES)

    def chunk(self, number: int) -> Pairs:
        """A chunk by number; the same whenever it is made."""
        rows: list[Pairs] = []
        for index in self._order[number * _CHUNK_FACES : (number + 1) * _CHUNK_FACES]:
            face = read_face(self._source, index, self._size_px)[None]
            person = self._describe(face)
            rows += [self._pair(self._source.names[index], face, person, one) for one in range(self._per_face)]
        return Pairs(*(np.concatenate(column) for column in zip(*rows, strict=True)))

    @torch.inference_mode()
    def _pair(self, name: str, face: Tensor, person: Tensor, number: int) -> Pairs:
        own = face_seed(f"{number}:{name}", self._seed)
        draw = RandomDraw(torch.Generator().manual_seed(own))
        setting = self._settings[draw.integer(0, len(self._settings) - 1)]
        kind = _drawn(DAMAGE, draw)
        truth, degraded = damaged(face, kind, draw.integer(0, 2**62))
        with torch.autocast("cpu", torch.bfloat16):
            restored: Tensor = self._networks[setting](degraded)[0]
        pictures = [to_uint8(images) for images in (degraded, restored)]
        rounded = to_tensor(pictures[1][0])[None]
        true_person = self._describe(truth) if kind == "aged" else person
        return Pairs(
            np.array([name]),
            np.array([kind]),
            pictures[0],
            pictures[1],
            np.array([setting], np.float32),
            block_error(rounded, truth).numpy(),
            (self._describe(rounded) - true_person).norm(dim=1).numpy(),
        )


def damaged(face: Tensor, kind: str, seed: int) -> tuple[Tensor, Tensor]:
    """Truth and degraded picture of a face, (1, 3, S, S) in [-1, 1]; the kind is one of :data:`DAMAGE`."""
    size_px = face.shape[-1]
    if kind == "aged":
        return age_seeded(face, [seed], degradation=Degradation().at_size(size_px))
    ranges = {"eq14": Degradation(), "strong": STRONG, "mild": Degradation().mild()}[kind].at_size(size_px)
    return face, degrade_seeded(face, [seed], settings=ranges)


def write_pairs(folder: Path, jobs: int = 1, **given: Any) -> None:
    """Write all chunks into a folder, those that it lacks; ``given`` are the arguments of :class:`PairMaker`.

    Raises:
        DataError: if the folder has chunks of other weights or settings.
    """
    maker = PairMaker(**given)
    folder.mkdir(parents=True, exist_ok=True)
    places = [folder / f"{number:05}.npz" for number in range(maker.num_chunks)]
    done = chunks_in(folder)
    if done and made_by(done) != maker.made_by:
        raise DataError(f"{folder} has pairs of other weights, settings or seeds; give another folder.")
    missing = [number for number, place in enumerate(places) if place not in done]
    stored = json.dumps(maker.made_by)
    with ProgressBar(len(missing), unit="chunks") as bar:
        for number, pairs in _chunks(maker, missing, jobs, given):
            with atomic_write(places[number]) as temporary, open(temporary, "wb") as file:
                np.savez(file, made_by=np.array(stored), **cast(Any, pairs._asdict()))
            bar.advance(1)


def chunks_in(folder: Path) -> list[Path]:
    """The chunks of a folder, in order."""
    return sorted(folder.glob("[0-9]*.npz"))


def made_by(chunks: Sequence[Path]) -> dict[str, Any]:
    """What made the chunks.

    Raises:
        DataError: if there are none, or not all were made by the same.
    """
    texts = set()
    for path in chunks:
        with np.load(path) as file:
            texts.add(str(file["made_by"]))
    if len(texts) != 1:
        raise DataError(
            f"There are pairs of {len(texts)} kinds; give a folder with those of one run of "
            "`python -m memgan.training.reliability pairs`."
        )
    found: dict[str, Any] = json.loads(texts.pop())
    return found


def read_pairs(path: Path) -> Pairs:
    """One chunk."""
    with np.load(path) as file:
        return Pairs(*(file[field] for field in Pairs._fields))


def is_held_out(names: np.ndarray) -> np.ndarray:
    """(N,) names -> (N,) bool: faces that are not fitted, but show how good the fit is."""
    return np.array([face_seed(str(name)) % _HELD_OUT == 0 for name in names], bool)


def fit(
    folder: Path, config: ReliabilityConfig, *, epochs: int = 8, batch_size: int = 16, rate: float = 2e-3, seed: int = 0
) -> ReliabilityNet:
    """Fit an estimator to the pairs of a folder but those that are held out; the same on the same machine.

    The loss of the error is the negative log-likelihood of an exponential distribution, whose optimum is the mean.
    """
    chunks = chunks_in(folder)
    torch.manual_seed(seed)
    network = ReliabilityNet(config).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=0.02)
    inside = region_mask("face", *[config.image_size // 16] * 2)
    weight = torch.where(inside, 1.0, _AROUND)
    weight = weight / weight.mean()
    draw = np.random.default_rng(seed)
    with ProgressBar(epochs * len(chunks), unit="chunks") as bar:
        for epoch in range(epochs):
            order = draw.permutation(len(chunks))
            for first in range(0, len(order), _POOL):
                pool = [read_pairs(chunks[number]) for number in order[first : first + _POOL]]
                pairs = Pairs(*(np.concatenate(column) for column in zip(*pool, strict=True)))
                rows = draw.permutation(np.flatnonzero(~is_held_out(pairs.names)))
                losses = []
                for start in range(0, len(rows), batch_size):
                    progress = (epoch + (first + _POOL * start / len(rows)) / len(order)) / epochs
                    for group in optimizer.param_groups:
                        group["lr"] = rate * min(progress / _WARM_UP, (1 + math.cos(math.pi * min(progress, 1))) / 2)
                    batch = pairs.taken(rows[start : start + batch_size])
                    loss = _loss(network, batch, weight, is_mirrored=bool(draw.integers(2)))
                    optimizer.zero_grad(set_to_none=True)
                    loss.backward()
                    nn.utils.clip_grad_norm_(network.parameters(), 1.0)
                    optimizer.step()
                    losses.append(loss.item())
                bar.advance(len(pool), f"loss {np.mean(losses or [math.nan]):.3f}")
    return network.eval().requires_grad_(False)


@torch.inference_mode()
def held_out_faces(network: ReliabilityNet, folder: Path) -> list[tuple[str, JudgedFace]]:
    """Kind of damage, and what the estimator expects of each pair that was held out."""
    judged = []
    for path in chunks_in(folder):
        pairs = read_pairs(path)
        pairs = pairs.taken(is_held_out(pairs.names))
        if len(pairs.names):
            error, distance = torch.from_numpy(pairs.error), torch.from_numpy(pairs.distance)
            names = [str(name) for name in pairs.names]
            found = judge(network, names, *pairs.pictures(), pairs.fidelity.tolist(), error, distance)
            judged += [(str(kind), face) for kind, face in zip(pairs.kinds, found, strict=True)]
    return judged


@torch.no_grad()
def calibrate(network: ReliabilityNet, folder: Path) -> None:
    """Fit the calibration of an estimator to all pairs of a folder, for blocks of the face.

    Raises:
        DataError: if one of :data:`memgan.network.reliability.KNOT_SETTINGS` has no pairs.
    """
    raw: list[RawEstimate] = []
    known: list[Pairs] = []
    inside = region_mask("face", *[network.config.image_size // 16] * 2)
    for path in chunks_in(folder):
        pairs = read_pairs(path)
        found = network.raw(*pairs.pictures(), torch.from_numpy(pairs.fidelity))
        raw.append(found._replace(log_error=found.log_error[:, inside]))
        known.append(pairs)
    fidelity = np.concatenate([pairs.fidelity for pairs in known])
    error = np.concatenate([pairs.error[:, inside.numpy()] for pairs in known])
    distance = np.concatenate([pairs.distance for pairs in known])
    log_errors, distances, odds = (torch.cat(column).double().numpy() for column in zip(*raw, strict=True))
    for place, setting in enumerate(KNOT_SETTINGS):
        own = fidelity == np.float32(setting)
        if not own.any():
            raise DataError(f"{folder} has no pairs of the setting {setting:g}; make them with --settings 0,0.5,1.")
        knots, means = monotone_means(log_errors[own].ravel(), error[own].ravel(), ERROR_KNOTS)
        network.calibration.error.fit(place, *_tensors(knots, np.log(means)))
        knots, means = monotone_means(distances[own], distance[own], DISTANCE_KNOTS)
        network.calibration.distance.fit(place, *_tensors(knots, means))
        slope, offset = platt(odds[own], distance[own] > RISK_DISTANCE)
        network.calibration.slope[place], network.calibration.offset[place] = slope, offset


def monotone_means(raw: np.ndarray, true: np.ndarray, num_knots: int) -> tuple[np.ndarray, np.ndarray]:
    """Knots of an increasing function that gives the mean of the true numbers for raw ones, (N,) both.

    Returns:
        Means of the raw numbers in groups of equal size, strictly ascending, and of the true ones, ascending: neighbors
        that are not in order share their mean (pool adjacent violators, Ayer et al., 1955).
    """
    groups = [group for group in np.array_split(np.argsort(raw, kind="stable"), num_knots) if len(group)]
    groups += groups[-1:] * (num_knots - len(groups))
    pools: list[list[float]] = []  # mean and number of groups
    for group in groups:
        pools.append([float(true[group].mean()), 1])
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            value, count = pools.pop()
            before = pools[-1]
            pools[-1] = [(before[0] * before[1] + value * count) / (before[1] + count), before[1] + count]
    values = np.concatenate([np.full(int(count), value) for value, count in pools])
    knots = np.array([raw[group].mean() for group in groups])
    return knots + 1e-4 * np.arange(num_knots), values


def platt(odds: np.ndarray, is_positive: np.ndarray) -> tuple[float, float]:
    """Slope and offset that make raw logarithms of odds, (N,), those of (N,) bool (Platt, 1999).

    Both labels are softened as there, so that few examples, or examples of one label, give no certainty.
    """
    positives = float(is_positive.sum())
    negatives = len(odds) - positives
    targets = torch.from_numpy(np.where(is_positive, (positives + 1) / (positives + 2), 1 / (negatives + 2)))
    given = torch.from_numpy(odds)
    with torch.enable_grad():
        numbers = torch.tensor([1.0, 0.0], dtype=torch.float64, requires_grad=True)
        optimizer = torch.optim.LBFGS([numbers], max_iter=100, line_search_fn="strong_wolfe")

        def loss() -> Tensor:
            optimizer.zero_grad()
            # A little towards what the network says: odds that are all alike say nothing of the slope.
            error = F.binary_cross_entropy_with_logits(numbers[0] * given + numbers[1], targets)
            error = error + 1e-3 * (numbers[0] - 1).square()
            error.backward()
            return error

        optimizer.step(loss)
    slope, offset = numbers.tolist()
    return max(slope, 0.0), offset


def main() -> None:
    """Make pairs, fit or calibrate, and print how good the estimates are."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    stages = parser.add_subparsers(dest="stage", required=True)
    pairs = stages.add_parser("pairs", help="degrade and restore faces; continues where it was interrupted")
    pairs.add_argument("faces", nargs="+", type=Path, metavar="FACES", help="folders or tar files of clean faces")
    pairs.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER", help="1.6 MB for each pair")
    pairs.add_argument("--weights", metavar="WEIGHTS", help="the restorer (default: embedded)")
    pairs.add_argument("--faithful", metavar="WEIGHTS", help="its faithful end (default: the registered partner)")
    pairs.add_argument("--settings", default="0,0.25,0.5,0.75,1", metavar="F,F", help="of the dial, to draw from")
    pairs.add_argument("--per-face", type=int, default=2, metavar="N", help="pairs of each face (default: 2)")
    pairs.add_argument("--seed", type=int, default=0)
    pairs.add_argument("--limit", type=int, metavar="N", help="only N faces, spread evenly over the names")
    pairs.add_argument("--half", choices=("all", "even", "odd"), default="all", help="every second face by name")
    pairs.add_argument("--jobs", type=int, default=1, metavar="N", help="processes of one thread each (default: 1)")
    fits = stages.add_parser("fit", help="fit an estimator to pairs, and judge it by every twelfth face of them")
    fits.add_argument("pairs", type=Path, metavar="FOLDER")
    fits.add_argument("-o", "--output", type=Path, required=True, metavar="WEIGHTS")
    fits.add_argument("--epochs", type=int, default=8, metavar="N", help="passes over the pairs (default: 8)")
    fits.add_argument("--seed", type=int, default=0)
    calibrates = stages.add_parser("calibrate", help="calibrate an estimator with pairs of other faces")
    calibrates.add_argument("weights", type=Path, metavar="WEIGHTS", help="what fit has written; replaced")
    calibrates.add_argument("pairs", type=Path, metavar="FOLDER")
    args = parser.parse_args()
    if args.stage == "pairs":
        settings = [float(part) for part in args.settings.split(",")]
        shared = {name: getattr(args, name) for name in ("faces", "weights", "faithful", "per_face", "seed", "limit")}
        write_pairs(args.output, args.jobs, settings=settings, half=args.half, **shared)
        return
    source = made_by(chunks_in(args.pairs))
    if args.stage == "fit":
        size_px = read_pairs(chunks_in(args.pairs)[0]).degraded.shape[1]
        config = ReliabilityConfig(name=f"reliability-{size_px}", image_size=size_px)
        network = fit(args.pairs, config, epochs=args.epochs, seed=args.seed)
        metadata = {"license": source["license"], "fit": json.dumps({**source, "epochs": args.epochs})}
        _save(args.output, network, source, metadata)
        report(held_out_faces(hub.read_reliability(args.output).build(), args.pairs))
    else:
        found = hub.read_reliability(args.weights)
        if found.calibrated_for != source["calibrated_for"]:
            raise ConfigError(
                f"{args.pairs} has pairs of {source['calibrated_for']}, and {args.weights} was fitted to pairs of "
                f"{found.calibrated_for}; give pairs of the same weights."
            )
        network = found.build()
        calibrate(network, args.pairs)
        _save(args.weights, network, source, {**found.metadata, "calibration": json.dumps(source)})


def report(judged: Sequence[tuple[str, JudgedFace]]) -> None:
    """Print figures of held-out faces: of all, and of each kind of damage."""
    columns = {kind: [face for of, face in judged if kind in ("all", of)] for kind in ("all", *DAMAGE)}
    figures = {kind: figures_of(faces) for kind, faces in columns.items() if faces}
    print(reliability_table(figures, "held out") if figures else "no face was held out: give more faces")


def _save(path: Path, network: ReliabilityNet, source: Mapping[str, Any], metadata: Mapping[str, str]) -> None:
    hub.save_reliability(path, network.config, network.state_dict(), source["calibrated_for"], metadata, half=True)


def _loss(network: ReliabilityNet, pairs: Pairs, weight: Tensor, is_mirrored: bool) -> Tensor:
    degraded, restored = pairs.pictures()
    error, distance = torch.from_numpy(pairs.error), torch.from_numpy(pairs.distance)
    if is_mirrored:
        degraded, restored, error = (one.flip(-1) for one in (degraded, restored, error))
    raw = network.raw(degraded, restored, torch.from_numpy(pairs.fidelity))
    likelihood = raw.log_error + error * (-raw.log_error).exp()
    far = (raw.distance - distance).square().mean()
    risk = F.binary_cross_entropy_with_logits(raw.odds, (distance > RISK_DISTANCE).float())
    return (likelihood * weight).mean() + _DISTANCE * far + _RISK * risk


def _ready(network: MemGAN) -> MemGAN:
    return prepare_for_inference(network.eval()).requires_grad_(False)


def _drawn(shares: Mapping[str, float], draw: RandomDraw) -> str:
    """One of the names, as often as its share says."""
    place = draw.uniform(0, sum(shares.values()))
    for name, share in shares.items():
        place -= share
        if place <= 0:
            return name
    return name


def _tensors(*arrays: np.ndarray) -> list[Tensor]:
    return [torch.from_numpy(array.astype(np.float32)) for array in arrays]


_maker: PairMaker | None = None
"""That of a worker process."""


def _chunks(
    maker: PairMaker, numbers: Sequence[int], jobs: int, given: Mapping[str, Any]
) -> Iterator[tuple[int, Pairs]]:
    """Chunks with their numbers, made by so many processes."""
    if jobs == 1:
        yield from ((number, maker.chunk(number)) for number in numbers)
        return
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, spawn, _start_worker, (dict(given),)) as pool:
        yield from zip(numbers, pool.map(_work, numbers), strict=True)


def _start_worker(given: Mapping[str, Any]) -> None:
    global _maker
    torch.set_num_threads(1)
    _maker = PairMaker(**given)


def _work(number: int) -> Pairs:
    return cast("PairMaker", _maker).chunk(number)


if __name__ == "__main__":
    main()
