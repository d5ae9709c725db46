"""Faces of photographs, before above after, on one sheet: python examples/contact_sheet.py SHEET PHOTO..."""

import sys

import numpy as np

from memgan import MemGANRestorer
from memgan.image import Picture, resize, save_picture

COLUMNS, SIDE_PX = 5, 256

if len(sys.argv) < 3:
    sys.exit(__doc__)
sheet_file, *photos = sys.argv[1:]
restorer = MemGANRestorer()
found = [restorer.restore(photo, paste_back=False) for photo in photos]
pairs = [np.vstack(pair) for one in found for pair in zip(one.cropped_faces, one.restored_faces)]

blank = np.full_like(pairs[0], 255)
pairs += [blank] * (-len(pairs) % COLUMNS)
lines = [np.hstack(pairs[start : start + COLUMNS]) for start in range(0, len(pairs), COLUMNS)]
sheet = resize(np.vstack(lines), COLUMNS * SIDE_PX, 2 * len(lines) * SIDE_PX)
save_picture(Picture(sheet), sheet_file, 90)
print(f"{sum(len(one.faces) for one in found)} faces of {len(photos)} photographs in {sheet_file}")
