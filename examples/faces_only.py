"""Restored faces of a photograph at several strengths: python examples/faces_only.py PHOTO FOLDER [WEIGHTS]"""

import sys
from pathlib import Path

import numpy as np

from memgan import MemGANRestorer
from memgan.image import Picture, load_picture, save_picture

if len(sys.argv) not in (3, 4):
    sys.exit(__doc__)
photo, folder = sys.argv[1], Path(sys.argv[2])
weights = sys.argv[3] if len(sys.argv) > 3 else None

restorer = MemGANRestorer(weights, min_eye_distance=10)  # leave out the crowd in the background
picture = load_picture(photo)
strengths = (0.0, 0.5, 1.0)
by_strength = [restorer.restore(picture, paste_back=False, weight=s).restored_faces for s in strengths]

folder.mkdir(parents=True, exist_ok=True)
for index, versions in enumerate(zip(*by_strength)):
    save_picture(Picture(np.hstack(versions)), folder / f"face_{index}.png")
print(f"{len(by_strength[0])} faces, each at the strengths {strengths}, in {folder}")
