"""Reads clean, aligned face photographs by number."""

import torch
import torch.nn.functional as F
from torch import Tensor

from memgan.errors import ConfigError, DataError
from memgan.image.collection import PictureSource, Sources


class FaceSet(torch.utils.data.Dataset[Tensor]):
    """Aligned faces of folders and tar archives, as uint8 tensors of one size.

    Args:
        sources: see :class:`memgan.image.collection.PictureSource`.
        size_px: side of the faces that are handed out; others are resized, bicubic with anti-aliasing.
        cache: keep decoded faces in memory (0.75 MiB each at 512 px).

    Raises:
        ConfigError: if ``size_px`` is below 8.
        DataError: if there is no picture.
    """

    def __init__(self, sources: Sources, *, size_px: int = 512, cache: bool = False) -> None:
        if size_px < 8:
            raise ConfigError(f"size_px is {size_px}; it must be at least 8.")
        self._source = PictureSource(sources)
        self._kept: dict[int, Tensor] | None = {} if cache else None
        self.size_px = size_px

    def __len__(self) -> int:
        return len(self._source)

    @property
    def names(self) -> list[str]:
        """File names within their sources."""
        return self._source.names

    def __getitem__(self, index: int) -> Tensor:
        """Face number ``index``: (3, size_px, size_px) uint8 RGB, which the caller may change.

        Raises:
            IndexError: if there is no such face.
            DataError: if the file cannot be decoded or is not square (not an aligned face).
        """
        number = range(len(self))[index]
        if self._kept is None:
            return self._read(number)
        if number not in self._kept:
            self._kept[number] = self._read(number)
        return self._kept[number].clone()

    def _read(self, number: int) -> Tensor:
        array = self._source.read(number)
        height, width = array.shape[:2]
        if height != width:
            raise DataError(
                f"{self.names[number]} is {width} x {height}; faces must be square, aligned to the FFHQ template."
            )
        face = torch.from_numpy(array).permute(2, 0, 1).contiguous()
        if height != self.size_px:
            size = (self.size_px, self.size_px)
            face = F.interpolate(face[None].float(), size, mode="bicubic", antialias=True)[0]
            face = face.round().clamp(0, 255).to(torch.uint8)
        return face
