"""Faces of photographs, before above after, on one sheet: python examples/contact_sheet.py SHEET PHOTO..."""

import sys

import cv2
import numpy as np

from memgan import MemGANRestorer
from memgan.image import Picture, save_picture

COLUMNS, SIDE_PX = 5, 256

sheet_file, *photos = sys.argv[1:]
restorer = MemGANRestorer()
found = [restorer.restore(photo, paste_back=False) for photo in photos]
pairs = [np.vstack(pair) for one in found for pair in zip(one.cropped_faces, one.restored_faces)]

blank = np.full_like(pairs[0], 255)
pairs += [blank] * (-len(pairs) % COLUMNS)
lines = [np.hstack(pairs[start : start + COLUMNS]) for start in range(0, len(pairs), COLUMNS)]
size = (COLUMNS * SIDE_PX, 2 * len(lines) * SIDE_PX)
save_picture(Picture(cv2.resize(np.vstack(lines), size, interpolation=cv2.INTER_AREA)), sheet_file, 90)
print(f"{sum(len(one.faces) for one in found)} faces of {len(photos)} photographs in {sheet_file}")
