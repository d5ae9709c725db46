"""Names that options accept. Importing it loads nothing else, so that a command can print its help at once."""

DETECTORS = ("embedded", "retinaface_mobile0.25", "retinaface_resnet50")
"""Of :func:`memgan.faces.create_detector`."""
PARSERS = ("parsenet", "bisenet")
"""Of :func:`memgan.faces.create_parser`."""
MASKS = ("soft", *PARSERS)
"""Of :func:`memgan.faces.parsing.mask_maker`."""
DTYPES = ("auto", "float32", "bfloat16", "float16")
"""Of :func:`memgan.runtime.device.choose_dtype`; the first is the default everywhere."""
BACKENDS = ("torch", "onnx", "openvino")
"""Of :func:`memgan.restoration.backends.with_backend`."""
COLOR_ORDERS = ("bgr", "rgb")
"""Of arrays, see :func:`memgan.image.from_array`."""
