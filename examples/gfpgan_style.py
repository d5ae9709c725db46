"""Replace GFPGANer without changing the lines around it: python examples/gfpgan_style.py PHOTO RESULT [WEIGHTS]"""

import sys

import cv2

from memgan import MemGANRestorer as GFPGANer  # was: from gfpgan import GFPGANer

if len(sys.argv) not in (3, 4):
    sys.exit(__doc__)
photo, result = sys.argv[1:3]
model_path = sys.argv[3] if len(sys.argv) > 3 else None

restorer = GFPGANer(model_path=model_path, upscale=2, arch="clean", channel_multiplier=2, bg_upsampler=None)
image = cv2.imread(photo, cv2.IMREAD_COLOR)
cropped_faces, restored_faces, restored_img = restorer.enhance(
    image, has_aligned=False, only_center_face=False, paste_back=True
)
cv2.imwrite(result, restored_img)
print(f"{len(restored_faces)} faces; {image.shape} -> {restored_img.shape}")
