"""Enlarges the background with Real-ESRGAN, or any other network that spandrel reads; tile by tile."""

import importlib.util
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch

from memgan.errors import ConfigError, MissingDependencyError, StateMismatchError, WeightsError, WeightsNotFoundError
from memgan.hub.cache import cache_folder
from memgan.hub.tensor_file import read_checkpoint
from memgan.image import Picture, from_array, resize, to_array, to_tensor, visible_rgb
from memgan.restoration.background import result_size
from memgan.restoration.tiles import enlarge_in_tiles
from memgan.runtime.checks import check_int, check_number
from memgan.runtime.device import choose_device, release_memory

REAL_ESRGAN = "realesrgan"
"""Stands for a Real-ESRGAN checkpoint that is already on this machine."""
_FILES = ("RealESRGAN_x2plus.pth", "RealESRGAN_x4plus.pth", "realesr-general-x4v3.pth")
_SOURCE = "https://github.com/xinntao/Real-ESRGAN/releases/download/v0.2.1/RealESRGAN_x2plus.pth"
_OVERLAP = 16  # pixels around a tile that are computed and thrown away, so that no edge is seen
_GRID = 16  # tiles begin at its multiples: some networks see blocks of pixels, which have to be the same everywhere
_LEAST_TILE = 32


def find_checkpoint(upsampler: str | os.PathLike[str]) -> Path:
    """The file itself, or for :data:`REAL_ESRGAN` one of its published names on this machine.

    It may lie in memgan's folder, in torch's hub folder, or in an installed ``realesrgan`` package.

    Raises:
        WeightsNotFoundError: if there is none.
    """
    path = Path(upsampler)
    if path.is_file():
        return path
    if str(upsampler).lower() != REAL_ESRGAN:
        raise WeightsNotFoundError(
            f"there is no upsampler {str(upsampler)!r}; give a .pth or .safetensors file, or {REAL_ESRGAN!r}"
        )
    folders = [cache_folder(), Path(torch.hub.get_dir()) / "checkpoints"]
    package = importlib.util.find_spec("realesrgan")
    if package is not None and package.submodule_search_locations:
        folders.append(Path(package.submodule_search_locations[0]) / "weights")
    for file in (folder / name for name in _FILES for folder in folders):
        if file.is_file():
            return file
    raise WeightsNotFoundError(
        f"no Real-ESRGAN checkpoint ({', '.join(_FILES)}) in {', '.join(map(str, folders))}; "
        f"download {_SOURCE} into the first of them, or give the path of a file"
    )


class SpandrelUpsampler:
    """Enlarges pictures with a network of spandrel's, as ``RealESRGANer`` does; nothing is kept between calls.

    Args:
        checkpoint: path of a ``.pth`` or ``.safetensors`` file, or :data:`REAL_ESRGAN`, see :func:`find_checkpoint`.
        device: see :func:`memgan.runtime.device.choose_device`.
        tile: side in pixels of the parts that run at once, from 32; 0: the whole picture. Halved as often as needed
            when a CUDA device runs out of memory.

    Raises:
        ConfigError: if an option is not allowed.
        MissingDependencyError: if spandrel is not installed.
        WeightsError: if the checkpoint is missing, damaged, or no network for RGB pictures that spandrel knows.
    """

    def __init__(
        self, checkpoint: str | os.PathLike[str], *, device: str | torch.device | None = None, tile: int = 400
    ) -> None:
        self.tile = check_int("tile", tile, 0)
        if 0 < self.tile < _LEAST_TILE:
            raise ConfigError(f"tile is {tile}; allowed are 0 (no tiles) and whole numbers from {_LEAST_TILE}.")
        self._device = choose_device(device)
        self._model = _load(find_checkpoint(checkpoint)).to(self._device).eval()
        self.scale = int(self._model.scale)
        """How many times as large the network makes a picture."""

    def enhance(self, img: np.ndarray, outscale: float | None = None) -> tuple[np.ndarray, str]:
        """Enlarge a picture.

        Args:
            img: (H, W), (H, W, 3) or (H, W, 4) BGR, uint8 or uint16.
            outscale: enlargement wanted, above 0 to 16; ``None``: the network's own.

        Returns:
            The picture with ``int(H * outscale)`` x ``int(W * outscale)`` pixels, channels and type as given; and its
            mode, ``L``, ``RGB`` or ``RGBA``.

        Raises:
            ImageError: if ``img`` is no picture, or the result would be empty or have more than 2**28 pixels.
        """
        outscale = check_number("outscale", self.scale if outscale is None else outscale, 0, 16, low_allowed=False)
        picture = from_array(img, "bgr")
        width, height = result_size(picture, outscale)
        rgb = self._enlarged(visible_rgb(picture), (width, height))
        alpha = None if picture.alpha is None else resize(picture.alpha, width, height)
        mode = "RGBA" if alpha is not None else "L" if picture.is_gray else "RGB"
        return to_array(Picture(rgb, is_gray=picture.is_gray, alpha=alpha), "bgr"), mode

    def _enlarged(self, rgb: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """(height, width, 3) of the type of ``rgb``; ``size``: width and height."""
        tile = self.tile or max(rgb.shape[:2]) + _GRID
        while True:
            tile = max(_LEAST_TILE, tile - tile % _GRID)
            try:
                return enlarge_in_tiles(rgb, size, self._run, tile, _OVERLAP)
            except torch.cuda.OutOfMemoryError:
                if tile <= _LEAST_TILE:
                    raise
            # Here, not above: while an exception is handled, its traceback keeps the tensors of what it passed.
            tile = min(tile, *rgb.shape[:2]) // 2
            release_memory(self._device)

    @torch.inference_mode()
    def _run(self, part: np.ndarray) -> np.ndarray:
        """(h s, w s, 3) float32 in the counts of ``part``, s being the network's scale."""
        source = to_tensor(part).add_(1).div_(2)[None].to(self._device)
        output = self._model(source)[0].float()
        if not torch.isfinite(output).all():
            raise WeightsError("the upsampler's picture has values that are not finite; use another checkpoint.")
        peak = np.iinfo(part.dtype).max
        counts: np.ndarray = output.clamp_(0, 1).mul_(peak).permute(1, 2, 0).cpu().numpy()
        return counts


def _load(path: Path) -> Any:
    """spandrel's description of a network with its weights, on the CPU in float32."""
    try:
        from spandrel import ImageModelDescriptor, ModelLoader, UnsupportedModelError, canonicalize_state_dict
    except ImportError as error:
        raise MissingDependencyError(
            f"upsamplers need spandrel ({error}); install it with: pip install 'memgan[upscale]', or leave out "
            "bg_upsampler to enlarge with a Lanczos filter"
        ) from error
    remedy = "Use a checkpoint of Real-ESRGAN or its like; download it again if it is damaged."
    state = read_checkpoint(path, remedy=remedy)
    try:
        with torch.random.fork_rng(devices=[]):  # its architectures draw their first values
            model = ModelLoader("cpu").load_from_state_dict(canonicalize_state_dict(state))
    except (UnsupportedModelError, RuntimeError, KeyError, ValueError, AttributeError, TypeError, IndexError) as error:
        reason = str(error).strip().split("\n")[0]
        raise StateMismatchError(
            f"{path} is no network that spandrel reads ({reason}); use a checkpoint of Real-ESRGAN or its like"
        ) from error
    if not isinstance(model, ImageModelDescriptor) or (model.input_channels, model.output_channels) != (3, 3):
        raise StateMismatchError(f"{path} is no network from RGB to RGB pictures; use a checkpoint of Real-ESRGAN")
    return model
