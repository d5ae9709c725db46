"""Restores the faces of whole pictures: network runs, finish and paste-back."""
