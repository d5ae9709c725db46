"""Restore the faces of one photograph: python examples/restore.py PHOTO RESULT [WEIGHTS]"""

import sys

from memgan import MemGANRestorer
from memgan.image import load_picture, save_picture

if len(sys.argv) not in (3, 4):
    sys.exit(__doc__)
photo, result = sys.argv[1:3]
weights = sys.argv[3] if len(sys.argv) > 3 else None  # None: the weights that come with memgan

restorer = MemGANRestorer(weights, upscale=1)  # leave out upscale, and the picture is enlarged twice, as by GFPGAN
picture = load_picture(photo)  # upright, in sRGB, with its transparency and 16 bit if it has them
restoration = restorer.restore(picture)
save_picture(restoration.picture, result)

for face in restoration.faces:
    left, top, right, bottom = face.box_xyxy.round().astype(int).tolist()
    print(f"face at {left},{top} to {right},{bottom}, score {face.score:.2f}")
