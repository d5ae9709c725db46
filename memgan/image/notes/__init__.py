"""Keeps what picture files say besides their pixels: EXIF, XMP, IPTC, texts, comments, resolution and color tags.

:mod:`memgan.image.notes.readers` takes it out of every kind of file, and :mod:`memgan.image.notes.writers` puts it into
the kind that is written.
"""

from memgan.image.notes.content import Carried, Notes, Origin, PngText

__all__ = ["Carried", "Notes", "Origin", "PngText"]
