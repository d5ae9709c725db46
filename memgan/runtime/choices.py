"""Names that options accept. Importing it loads nothing else, so that a command can print its help at once."""

DETECTORS = ("embedded", "retinaface_mobile0.25", "retinaface_resnet50")  # memgan.faces.create_detector
PARSERS = ("parsenet", "bisenet")  # memgan.faces.create_parser
MASKS = ("soft", *PARSERS)  # memgan.faces.parsing.mask_maker
DTYPES = ("float32", "float16", "bfloat16", "auto")  # memgan.runtime.device.choose_dtype
BACKENDS = ("torch", "onnx")  # memgan.restoration.backends.with_backend
COLOR_ORDERS = ("bgr", "rgb")  # memgan.image.from_array
