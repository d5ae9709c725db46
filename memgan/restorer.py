"""Restoring the faces of whole photographs: detect, align, restore, paste back."""

import dataclasses
import math
import os
from typing import Any

import numpy as np
import torch
from torch import nn

from memgan import hub
from memgan.background import BackgroundUpsampler, check_upsampler, enlarge, result_size
from memgan.errors import ConfigError
from memgan.faces.align import align
from memgan.faces.detect import FaceDetector, create_detector
from memgan.faces.mask import soft_mask
from memgan.faces.paste import paste
from memgan.faces.types import Face, most_central
from memgan.image import Picture, check_color, from_array, gray_of, resize, to_array
from memgan.inference import choose_device, device_of, restore_crops
from memgan.network.model import build_memgan

MAX_UPSCALE = 16.0
GFPGAN_ARCHES = ("clean", "bilinear", "original", "RestoreFormer")


@dataclasses.dataclass(frozen=True, eq=False)
class RestoreResult:
    """What :meth:`MemGANRestorer.restore` gives back; the lists go together, one entry per face."""

    cropped_faces: list[np.ndarray]
    """(S, S, 3) uint8 RGB, aligned, as they went into the network."""
    restored_faces: list[np.ndarray]
    """(S, S, 3) uint8 RGB."""
    faces: list[Face]
    """Where they are in the picture given; empty if it was an aligned face."""
    picture: Picture | None
    """The whole picture with restored faces, ``upscale`` times as large; ``None`` if it was not asked for."""


class MemGANRestorer:
    """Restores the faces of photographs; a drop-in replacement of GFPGAN's ``GFPGANer``.

    Nothing is kept between calls: one restorer may be used by many threads, and the same input gives the same output.

    Args:
        weights: name of registered weights, path of a ``.safetensors`` file or its folder, a
            :class:`memgan.hub.Checkpoint`, or ``None``: the embedded weights.
        upscale: the result has ``int(height * upscale)`` x ``int(width * upscale)`` pixels; above 0 to 16.
        arch: one of GFPGAN's names or ``None``; accepted for its callers, without effect: the weights say which.
        channel_multiplier: 1, 2 or ``None``; accepted like ``arch``.
        bg_upsampler: enlarges the background; ``None``: a Lanczos filter.
        device: such as ``"cuda:1"`` or ``torch.device("cpu")``; ``None``: the first CUDA device, else the CPU.
        model_path: GFPGAN's name of ``weights``.
        network: a built network instead of weights; it needs ``config.image_size``, takes (B, 3, S, S) RGB in [-1, 1]
            and gives a sequence whose first item is the restored batch. It is moved to the device and set to eval mode.
        detector: name for :func:`memgan.faces.create_detector`, or any object with its ``detect`` method (safe to call
            from several threads, if the restorer is).
        half: run the network in float16 (CUDA only); what comes out not finite is run again in float32.
        color: channel order of arrays given and returned: ``"bgr"`` or ``"rgb"``.
        score_threshold: leave out faces that the detector is less sure of, 0 to 1; ``None``: the detector's own.
        min_eye_distance: leave out faces with the eyes nearer than so many pixels.
        max_batch: most faces that run through the network at once.

    Raises:
        ConfigError: if an option is not allowed.
        WeightsError: if the weights are missing, damaged, or do not fit.
    """

    def __init__(
        self,
        weights: str | os.PathLike[str] | hub.Checkpoint | None = None,
        upscale: float = 1.0,
        arch: str | None = None,
        channel_multiplier: int | None = None,
        bg_upsampler: BackgroundUpsampler | None = None,
        device: str | torch.device | None = None,
        *,
        model_path: str | os.PathLike[str] | None = None,
        network: nn.Module | None = None,
        detector: str | FaceDetector = "embedded",
        half: bool = False,
        color: str = "bgr",
        score_threshold: float | None = None,
        min_eye_distance: float = 5.0,
        max_batch: int = 8,
    ) -> None:
        sources = {"weights": weights, "model_path": model_path, "network": network}
        given = [name for name, value in sources.items() if value is not None]
        if len(given) > 1:
            raise ConfigError(f"{' and '.join(given)} are given, but all say what network to use: give one of them.")
        if arch is not None and arch not in GFPGAN_ARCHES:
            raise ConfigError(f"arch is {arch!r}; allowed: {', '.join(GFPGAN_ARCHES)} (all without effect), or None.")
        if channel_multiplier not in (None, 1, 2):
            raise ConfigError(f"channel_multiplier is {channel_multiplier!r}; allowed: 1, 2 (without effect), or None.")
        if not isinstance(max_batch, int) or isinstance(max_batch, bool) or max_batch < 1:
            raise ConfigError(f"max_batch is {max_batch!r}; it must be a whole number of at least 1.")
        check_upsampler(bg_upsampler)
        check_color(color)
        self.upscale = _number("upscale", upscale, 0, MAX_UPSCALE, low_allowed=False)
        self.min_eye_distance = _number("min_eye_distance", min_eye_distance, 0, math.inf)
        self.score_threshold = None if score_threshold is None else _number("score_threshold", score_threshold, 0, 1)
        self.max_batch, self.color, self.bg_upsampler = max_batch, color, bg_upsampler
        self._device = choose_device(device)
        if half and self._device.type != "cuda":
            raise ConfigError(f"half=True needs a CUDA device, not {str(self._device)!r}; leave it out.")
        self.half = half
        if isinstance(detector, str):
            options = {} if self.score_threshold is None else {"score_threshold": self.score_threshold}
            detector = create_detector(detector, device=str(self._device), **options)
        elif not callable(getattr(detector, "detect", None)):
            raise ConfigError(f"detector is {detector!r}; give a name, or an object with detect(image) -> [Face, ...].")
        self.detector = detector
        if network is None:
            checkpoint = weights if isinstance(weights, hub.Checkpoint) else hub.load(weights or model_path)
            network = build_memgan(checkpoint.config)
            network.load_checked(checkpoint.state)
        self.network = network.eval().requires_grad_(False).to(self._device)
        self.size_px: int = network.config.image_size
        self.face_helper = _FaceHelper()

    @property
    def device(self) -> torch.device:
        """Where the network is now."""
        return device_of(self.network, self._device)

    @property
    def gfpgan(self) -> nn.Module:
        """The network, under the name by which callers of GFPGAN move it between devices."""
        return self.network

    def enhance(
        self,
        img: Any,
        has_aligned: bool = False,
        only_center_face: bool = False,
        paste_back: bool = True,
        weight: float = 1.0,
    ) -> tuple[list[np.ndarray], list[np.ndarray], np.ndarray | None]:
        """Restore the faces of a picture; arguments and result are GFPGAN's, but ``weight`` has an effect.

        Args:
            img: (H, W), (H, W, 3) or (H, W, 4) uint8 or uint16 in the restorer's channel order (or anything else that
                :func:`memgan.image.from_array` takes, such as a PIL picture).
            has_aligned: the picture is one aligned face; it is only resized.
            only_center_face: restore the one face nearest to the middle.
            paste_back: whether the whole picture is wanted.
            weight: strength of the restoration: 1 the full one, 0 the input, linear in between.

        Returns:
            cropped_faces: list of (512, 512, 3) uint8 (the side is the network's), aligned.
            restored_faces: the same, restored.
            restored_img: channels and type as given, ``upscale`` times as large; ``None`` if ``has_aligned`` or not
                ``paste_back``. Without any face the lists are empty and it is the enlarged picture.

        Raises:
            ImageError: if ``img`` is no picture that can be restored.
            ConfigError: if ``weight`` is not from 0 to 1.
        """
        result = self.restore(
            from_array(img, self.color),
            has_aligned=has_aligned,
            only_center_face=only_center_face,
            paste_back=paste_back,
            weight=weight,
        )
        cropped, restored = (
            [to_array(Picture(face), self.color) for face in faces]
            for faces in (result.cropped_faces, result.restored_faces)
        )
        return cropped, restored, None if result.picture is None else to_array(result.picture, self.color)

    def restore(
        self,
        picture: Picture,
        *,
        has_aligned: bool = False,
        only_center_face: bool = False,
        paste_back: bool = True,
        weight: float = 1.0,
    ) -> RestoreResult:
        """As :meth:`enhance`, for a :class:`memgan.image.Picture`; faces come back as RGB."""
        weight = _number("weight", weight, 0, 1)
        wants_picture = paste_back and not has_aligned
        if wants_picture:
            result_size(picture, self.upscale)  # refuse what cannot be given before the work, not after
        if has_aligned:
            faces, crops = [], [resize(picture.rgb8, self.size_px, self.size_px)]
        else:
            faces = self._find(picture.rgb8, only_center_face)
            aligned = [align(picture.rgb8, face, self.size_px) for face in faces]
            crops = [face.crop for face in aligned]
        restored = restore_crops(self.network, crops, device=self.device, max_batch=self.max_batch, half=self.half)
        if _is_colorless(picture):
            restored = [np.repeat(gray_of(face)[:, :, None], 3, axis=2) for face in restored]
        blended = [_blend(crop, face, weight) for crop, face in zip(crops, restored, strict=True)]
        if not wants_picture:
            return RestoreResult(crops, blended, faces, None)
        canvas = enlarge(picture, self.upscale, self.bg_upsampler)
        scales = canvas.width / picture.width, canvas.height / picture.height
        # The mask carries the weight, so that every pixel moves linearly from the background to the full restoration.
        mask = weight * soft_mask(self.size_px)
        rgb = canvas.rgb
        for face, full in zip(aligned, restored, strict=True):
            rgb = paste(rgb, full, face.crop_from_image, scales, mask, crop=face.crop)
        return RestoreResult(crops, blended, faces, dataclasses.replace(canvas, rgb=rgb))

    def _find(self, rgb: np.ndarray, only_center_face: bool) -> list[Face]:
        faces = [
            face
            for face in self.detector.detect(rgb)
            if face.eye_distance >= self.min_eye_distance
            and (self.score_threshold is None or face.score >= self.score_threshold)
        ]
        if only_center_face and faces:
            return [most_central(faces, rgb.shape[1], rgb.shape[0])]
        return faces


class _FaceHelper:
    """What callers of GFPGAN touch of its helper: parts to move between devices and state to forget. There is none."""

    def __init__(self) -> None:
        self.face_det = nn.Identity()
        self.face_parse = nn.Identity()

    def clean_all(self) -> None:
        """Nothing is kept between calls."""


def _blend(crop: np.ndarray, restored: np.ndarray, weight: float) -> np.ndarray:
    change = restored.astype(np.float32) - crop
    return np.rint(crop + np.float32(weight) * change).astype(np.uint8)


def _is_colorless(picture: Picture) -> bool:
    red, green, blue = np.moveaxis(picture.rgb, 2, 0)
    return picture.is_gray or (np.array_equal(red, green) and np.array_equal(green, blue))


def _number(name: str, value: Any, low: float, high: float, *, low_allowed: bool = True) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not (math.isfinite(number) and (low <= number if low_allowed else low < number) and number <= high):
        raise ConfigError(f"{name} is {value!r}; allowed: {'from' if low_allowed else 'above'} {low:g} to {high:g}.")
    return number
