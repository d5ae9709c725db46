"""``memgan train``: arguments and work are those of :mod:`memgan.training.cli`."""

from memgan.training.cli import add_arguments, run

__all__ = ["add_arguments", "run"]
