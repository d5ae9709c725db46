"""Restores the faces of whole pictures: network runs, postprocessing and paste-back."""
