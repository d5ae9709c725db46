"""Keeps a restored face the same person: weakens or skips a restoration that moves its identity too far."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from memgan.errors import ConfigError
from memgan.runtime.checks import check_choice, check_number

Embedder = Callable[[np.ndarray], Any]
"""(S, S, 3) uint8 RGB aligned face -> (D,) numbers that are near for one person, or ``None`` if it sees no face."""

_STRENGTHS = (0.75, 0.5, 0.25)


def blend(crop: np.ndarray, restored: np.ndarray, strength: float) -> np.ndarray:
    """Between a face before (0) and after (1), all (S, S, 3) uint8."""
    blended: np.ndarray = np.rint(crop + np.float32(strength) * (restored.astype(np.float32) - crop)).astype(np.uint8)
    return blended


@dataclasses.dataclass(frozen=True)
class IdentityGate:
    """Compares a face before and after restoration with a network for recognition, which the caller provides.

    Raises:
        ConfigError: if an option is not allowed.
    """

    embed: Embedder
    limit: float = 0.15
    """Largest distance at which the two count as the same person; it depends on the network. For dlib's, use the
    distance ``euclidean`` and 0.6 (its own limit) or less."""
    distance: str = "cosine"
    """``cosine`` (1 - cosine similarity, 0 to 2) or ``euclidean``."""
    weaken: bool = True
    """Blend a face that moved too far with the input as little as needed; ``False``: leave it as it was."""

    def __post_init__(self) -> None:
        if not callable(self.embed):
            raise ConfigError(f"embed is {self.embed!r}; give a function from an aligned face to an embedding.")
        check_choice("distance", self.distance, ("cosine", "euclidean"))
        check_number("limit", self.limit, 0, 1e6)

    def strength(self, crop: np.ndarray, restored: np.ndarray) -> tuple[float, float | None]:
        """How much of a restoration keeps the person, of a face before and after, (S, S, 3) uint8 RGB.

        Returns:
            strength: 1 all of it, 0 nothing.
            distance: between before and full restoration; ``None`` if the network sees no face in one of them, in
                which case nothing can be said and the restoration stays.
        """
        before, after = self._embedding(crop), self._embedding(restored)
        if before is None or after is None:
            return 1.0, None
        full = self._between(before, after)
        if full <= self.limit:
            return 1.0, full
        for strength in _STRENGTHS if self.weaken else ():
            embedding = self._embedding(blend(crop, restored, strength))
            if embedding is not None and self._between(before, embedding) <= self.limit:
                return strength, full
        return 0.0, full

    def _embedding(self, face: np.ndarray) -> np.ndarray | None:
        given = self.embed(face.copy())  # some write into what they get
        if given is None:
            return None
        try:
            embedding = np.asarray(given, np.float64).ravel()
        except (TypeError, ValueError):
            embedding = np.empty(0)
        if not embedding.size or not np.isfinite(embedding).all():
            raise ConfigError(
                f"the identity network gave {given!r:.100}; allowed are finite numbers, or None if it sees no face."
            )
        return embedding

    def _between(self, first: np.ndarray, second: np.ndarray) -> float:
        if self.distance == "euclidean":
            return float(np.linalg.norm(first - second))
        norms = np.linalg.norm(first) * np.linalg.norm(second)
        return float(1 - first @ second / max(norms, 1e-12))
