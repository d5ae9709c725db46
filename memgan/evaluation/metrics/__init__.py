"""Metrics by name, and what they compute."""
