"""Restores pictures and films as files: what is read, how results are named, what is recorded. For every app."""
