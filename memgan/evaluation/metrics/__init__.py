"""Metrics of restored faces and their registry."""
