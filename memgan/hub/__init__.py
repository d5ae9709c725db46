"""Finds, downloads, checks, reads and writes weights.

>>> from memgan import hub
>>> hub.load("memgan-mobile-512").config

Importing it is light: torch is loaded when tensors are.
"""

from memgan.hub.download import sha256_of
from memgan.hub.registry import DEFAULT_NAME, REGISTRY, WeightSpec
from memgan.hub.resolver import load, resolve, where
from memgan.hub.weight_file import Checkpoint, read, save, save_pretrained

__all__ = [
    "DEFAULT_NAME",
    "REGISTRY",
    "Checkpoint",
    "WeightSpec",
    "load",
    "read",
    "resolve",
    "save",
    "save_pretrained",
    "sha256_of",
    "where",
]
