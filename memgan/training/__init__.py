"""Trains the generator: data, losses, discriminators, steps, and the loop around them; DESIGN.md says why so."""
