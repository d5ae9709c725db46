"""Use your own face detector, here a fixed one: python examples/custom_detector.py PHOTO RESULT [WEIGHTS]"""

import sys

import numpy as np

from memgan import MemGANRestorer
from memgan.faces import Face
from memgan.image import load_picture, save_picture


class FixedDetector:
    """Any object with this method is a detector; it gets the picture as (H, W, 3) uint8 RGB."""

    def detect(self, image: np.ndarray) -> list[Face]:
        # Eyes, tip of the nose and mouth corners of the man in the middle of examples/photos/prints_on_a_table.jpg.
        landmarks = np.float32([[439, 292], [503, 298], [464, 331], [439, 354], [494, 359]])
        box_xyxy = np.float32([407, 219, 545, 406])
        return [Face(box_xyxy, landmarks, score=1.0)]


if len(sys.argv) not in (3, 4):
    sys.exit(__doc__)
photo, result = sys.argv[1:3]
weights = sys.argv[3] if len(sys.argv) > 3 else None

restoration = MemGANRestorer(weights, upscale=1, detector=FixedDetector()).restore(load_picture(photo))
save_picture(restoration.picture, result)
print(f"{len(restoration.faces)} face restored")
