"""Restores the faces of films: reads and writes frames, follows faces over time, carries everything else along."""
