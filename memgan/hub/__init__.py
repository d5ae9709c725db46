"""Finds, downloads, checks, reads and writes weights.

>>> from memgan import hub
>>> hub.load("memgan-mobile-512").config

Importing it is light: torch is loaded when tensors are.
"""

from memgan.hub.download import sha256_of
from memgan.hub.registry import DEFAULT_NAME, REGISTRY, WeightSpec
from memgan.hub.reliability import ReliabilityCheckpoint, load_reliability, read_reliability, save_reliability
from memgan.hub.resolver import load, resolve, where
from memgan.hub.weight_file import Checkpoint, read, save, save_pretrained

__all__ = [
    "DEFAULT_NAME",
    "REGISTRY",
    "Checkpoint",
    "ReliabilityCheckpoint",
    "WeightSpec",
    "load",
    "load_reliability",
    "read",
    "read_reliability",
    "resolve",
    "save",
    "save_pretrained",
    "save_reliability",
    "sha256_of",
    "where",
]
