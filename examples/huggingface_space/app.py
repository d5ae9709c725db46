"""The page of memgan as a Space of Hugging Face, which says itself who may open it."""

from memgan.apps.files.restore_options import PartOptions
from memgan.apps.web.options import AppOptions
from memgan.apps.web.server import serve

if __name__ == "__main__":
    # The Hub's proxy reaches this address and port alone, and its pages show the Space in a frame.
    options = AppOptions(host="0.0.0.0", port=7860, public=True, embeddable=True, max_megapixels=24, queue=10)
    raise SystemExit(serve(options, PartOptions()))
