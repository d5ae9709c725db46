"""Losses of the generator, and the objective that adds them up."""
