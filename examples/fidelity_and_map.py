"""Faces before, from vivid to faithful, and where they are made up: python examples/fidelity_and_map.py PHOTO SHEET"""

import sys

import numpy as np

from memgan import MemGANRestorer, draw_heat_map
from memgan.image import Picture, resize, save_picture

SETTINGS, SIDE_PX = (0, 0.5, 1), 256

if len(sys.argv) != 3:
    sys.exit(__doc__)
photo, sheet_file = sys.argv[1:]
restorer = MemGANRestorer(skip_sharp=False)  # a face that is left as it is has no map
vivid, *others = (restorer.restore(photo, fidelity=one, reliability=True, paste_back=False) for one in SETTINGS)
lines = []
for number, face in enumerate(vivid.faces):
    more = [one.restored_faces[number] for one in others]
    lines.append(np.hstack([face.crop, face.restored, *more, draw_heat_map(face)]))
    distance = face.expected_identity_distance
    print(f"face {number}: expected identity distance {distance:.2f}, reliability {face.reliability:.2f}")
sheet = resize(np.vstack(lines), (len(SETTINGS) + 2) * SIDE_PX, len(lines) * SIDE_PX)
save_picture(Picture(sheet), sheet_file, 90)
