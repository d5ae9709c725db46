"""Weights: names, files, places and the repositories that they come from."""
