"""Runs a network of the mobile family faster on a CPU, without what only training needs."""

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from memgan.network.conditioning import Adjustment
from memgan.network.decoder import Window
from memgan.network.folding import FoldedLevel, can_fold, fold_level, fold_read, fold_start
from memgan.network.model import Encoded, MemGAN, MemGANOutput
from memgan.network.packing import PackedEncoder

STRIP_BYTES = 4 * 2**20
"""Most memory of the features that are worked on at once: so little that the system leaves it to the process when it
is freed, and so much that the time goes into arithmetic instead of calls."""
_SLOPE = 0.2
_Sink = Callable[[Tensor, bool], None]
"""Takes the next rows of a map, and whether they are its last."""


class FastMemGAN(MemGAN):
    """A :class:`MemGAN` of the mobile family that restores faster; it shares all components with the trained one.

    Its images equal the trained network's up to the rounding of sums that are taken in another order. What this form
    is not made for, the trained network does: windows, kept features, gradients, devices other than the CPU, weights
    in other number types than float32, and what torch traces or compiles, which has no state of its own.
    """

    def __init__(self, network: MemGAN) -> None:
        super().__init__(network.config, *network.components)
        self.training = network.training
        self.metadata = network.metadata
        self._packed: PackedEncoder | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_packed": None}  # copies are packed anew

    def forward(self, image: Tensor, *, window: Window | None = None) -> MemGANOutput:
        """As :meth:`MemGAN.forward`, one face after the other."""
        restore = functools.partial(super().forward, window=window)
        if len(image) < 2 or window is not None or not self._is_fast(image):
            return restore(image)
        images, latents = zip(*map(restore, torch.split(image, 1)), strict=True)
        return MemGANOutput(torch.cat(images), torch.cat(latents))

    def encode(self, image: Tensor, window: Window | None = None) -> Encoded:
        """As :meth:`MemGAN.encode`; the memory is read when it is asked for."""
        if window is not None or not self._is_fast(image):
            return super().encode(image, window)
        self.check_image(image)
        if type(image) is not Tensor:  # a stand-in without numbers: nothing can be packed
            features = self.encoder(image.contiguous(memory_format=torch.channels_last))
            return Encoded(features, self.latent(features[4]), _LazyMemories(self, features))
        _keep_small_blocks()
        dtype = _number_type(image)
        packed = self._packed
        if packed is None or not packed.fits(self.encoder, dtype):  # of two threads at once, both pack
            packed = self._packed = PackedEncoder(self.encoder, dtype)
        with torch.autocast("cpu", enabled=False):
            features = packed(image)
            latent = self.latent(features[4].to(self.latent.project.weight.dtype))
        return Encoded(features, latent, _LazyMemories(self, features))

    def decode(
        self, encoded: Encoded, window: Window | None = None, *, keep: dict[int, Tensor] | None = None
    ) -> Tensor:
        """As :meth:`MemGAN.decode`."""
        latents, memories = encoded.latent, encoded.memories
        if window is not None or keep is not None or not self._is_fast(latents):
            return super().decode(encoded, window, keep=keep)
        dtype = _number_type(encoded.features[4])
        with torch.autocast("cpu", enabled=False):
            faces = [
                self._decode(w.float(), [_reader(memories, scale, face) for scale in self.config.scales[1:]], dtype)
                for face, w in enumerate(torch.split(latents, 1))
            ]
        return torch.cat(faces)

    def _is_fast(self, given: Tensor) -> bool:
        """Whether the fast form does for an input: on the CPU, in float32, nothing learns, and nobody looks on."""
        if torch.compiler.is_compiling() or torch.jit.is_tracing():  # type: ignore[no-untyped-call]
            return False
        if next(self.decoder.parameters()).dtype != torch.float32:
            return False
        learns = torch.is_grad_enabled() and (given.requires_grad or any(p.requires_grad for p in self.parameters()))
        return given.device.type == "cpu" and not learns

    def adjustments(self, features: Mapping[int, Tensor]) -> dict[int, Adjustment]:
        """As :meth:`MemGAN.adjustments`."""
        if self.conditioning is None or not self._is_fast(features[self.config.image_size]):
            return super().adjustments(features)
        with torch.autocast("cpu", enabled=False):
            return self.conditioning.adjustments([_variance(features[scale]) for scale in self.conditioning.widths])

    def _decode(self, w: Tensor, readers: "list[_Reader | None]", dtype: torch.dtype) -> Tensor:
        """One face, (1, D) float32 -> (1, 3, S, S)."""
        size = self.config.image_size
        image = torch.empty(1, size, size, 3, dtype=dtype)
        done = 0

        def show(rows: Tensor, is_last: bool) -> None:
            nonlocal done
            image[:, done : done + rows.shape[1]] = rows
            done += rows.shape[1]

        push: _Sink = show
        for index, reader in reversed(list(enumerate(readers))):
            level = fold_level(self.decoder, index, w, dtype)
            push = _Level(level, self.config.scales[1 + index], reader, push).push
        x, _ = self.decoder.synthesis.start(w)
        push(fold_start(self.decoder, w, dtype)(x.to(dtype).permute(0, 2, 3, 1)), True)
        return image.permute(0, 3, 1, 2).contiguous()


class _LazyMemories(Mapping[int, Tensor]):
    """F^M by fused scale, read from the features where and when it is asked for."""

    def __init__(self, network: FastMemGAN, features: Mapping[int, Tensor]) -> None:
        self.network, self.features = network, features
        self.adjustments = network.adjustments(features)

    def __getitem__(self, scale: int) -> Tensor:
        return self.network._read(scale, self.features[scale], self.adjustments)

    def __contains__(self, scale: object) -> bool:  # without a read
        return scale in self.network.config.fused_scales

    def __iter__(self) -> Iterator[int]:
        return iter(self.network.config.fused_scales)

    def __len__(self) -> int:
        return len(self.network.config.fused_scales)


class _Reader:
    """Gives rows of F^M of one scale and face, in their order."""

    def __init__(self, memories: Mapping[int, Tensor], scale: int, face: int) -> None:
        self._read = None
        features = memories[scale] if not isinstance(memories, _LazyMemories) else memories.features[scale]
        if isinstance(memories, _LazyMemories):
            bank = dict(memories.network.memory.items()).get(str(scale))
            adjustment = memories.adjustments.get(scale)
            self._read = fold_read(bank, adjustment and adjustment.of(face), features.shape[1])
        self._rows = features[face].permute(1, 2, 0)
        self.channels = features.shape[1]

    def __call__(self, top: int, bottom: int) -> Tensor:
        """Rows (1, H, W, C)."""
        rows = self._rows[top:bottom]
        if self._read is not None:
            rows = self._read(rows.flatten(0, 1)).view(rows.shape)
        return rows[None]


def _reader(memories: Mapping[int, Tensor], scale: int, face: int) -> _Reader | None:
    return _Reader(memories, scale, face) if scale in memories else None


class _Band:
    """Rows of a feature map that pass by; the last ones stay for the 3x3 convolution of the next strip.

    A row of zeros lies above the first one, and below the last one.
    """

    def __init__(self, weight: Tensor, side: int) -> None:
        self._weight = weight  # (C, 1, 3, 3)
        self._rows = weight.new_zeros(1, 1, side, len(weight))

    def room(self, count: int, is_last: bool) -> Tensor:
        """The next ``count`` rows, to be written."""
        kept = self._rows
        _, before, side, channels = kept.shape
        self._rows = kept.new_empty(1, before + count + is_last, side, channels)
        self._rows[:, :before] = kept
        if is_last:
            self._rows[:, -1] = 0
        return self._rows[:, before : before + count]

    def convolve(self, count: int | None = None) -> Tensor | None:
        """The next ``count`` rows, all there are by default, of the convolution of each channel; ``None``: no row."""
        count = self._rows.shape[1] - 2 if count is None else count
        if count < 1:
            return None
        x = self._rows[:, : count + 2].permute(0, 3, 1, 2)
        self._rows = self._rows[:, count:].clone()
        return F.conv2d(x, self._weight, padding=(0, 1), groups=len(self._weight)).permute(0, 2, 3, 1)


class _Level:
    """One scale S of the decoder, through which rows pass; each 3x3 convolution is one row behind what it reads."""

    def __init__(self, level: FoldedLevel, side: int, reader: _Reader | None, then: _Sink) -> None:
        self._level, self._side, self._then = level, side, then
        self._reader = reader
        weight = level.second.mix.weight
        rows = STRIP_BYTES // (side * len(weight) * weight.element_size())
        self._most = min(max(rows // 2, 1), side // 2)  # of pixels, each of which are two rows
        blend = level.blend
        self._first, self._second = _Band(level.first.depthwise, side), _Band(level.second.depthwise, side)
        self._blend = None if blend is None else _Band(blend.depthwise, side)
        self._memory = None if blend is None else _Band(blend.memory_depthwise, side)
        self._done = [0, 0]

    def push(self, pixels: Tensor, is_last: bool) -> None:
        """Take the next rows (1, H, S / 2, 2 * 2 * C), four pixels each, and hand what can be made of them on."""
        pieces = torch.split(pixels, self._most, dim=1)
        for number, piece in enumerate(pieces, 1):
            self._push(piece, is_last and number == len(pieces))

    def _push(self, pixels: Tensor, is_last: bool) -> None:
        level = self._level
        _, height, width, channels = pixels.shape
        rows = self._first.room(2 * height, is_last)[0].view(height, 2, width, 2, channels // 4)
        rows.copy_(pixels.view(height, width, 2, 2, channels // 4).transpose(1, 2))
        del rows
        x = self._synthesize(0, self._first.convolve())
        if x is None:
            return
        self._modulate(x, is_last)
        del x
        y = self._synthesize(1, self._second.convolve())
        if y is None:
            return
        if level.blend is None or self._blend is None or self._memory is None:
            self._then(level.leave(F.leaky_relu_(y, _SLOPE)), is_last)
            return
        torch.ops.aten.leaky_relu.out(y, _SLOPE, out=self._blend.room(y.shape[1], is_last))
        y = self._blend.convolve()
        if y is None:
            return
        made = level.leave(y)
        memory = cast("Tensor", self._memory.convolve(y.shape[1]))  # never behind
        made.flatten(0, 2).addmm_(memory.flatten(0, 2), level.blend.memory_weight.mT)
        del y, memory  # before the next scales take room
        self._then(made, is_last)

    def _synthesize(self, number: int, x: Tensor | None) -> Tensor | None:
        """The layer's convolved rows to what its activation takes."""
        if x is None:
            return None
        layer, start = (self._level.first, self._level.second)[number], self._done[number]
        self._done[number] += x.shape[1]
        return layer.mix(x).add_(layer.noise[:, start : self._done[number]])

    def _modulate(self, x: Tensor, is_last: bool) -> None:
        """Activation and Eq. 7, into the rows that the second layer reads."""
        room, memory = self._second.room(x.shape[1], is_last), None
        if self._reader is not None:
            memory = self._reader(self._done[0] - x.shape[1], self._done[0])
            if self._memory is not None:
                memory = self._memory.room(x.shape[1], is_last).copy_(memory)
        affine = self._level.affine
        if affine is None or memory is None:
            torch.ops.aten.leaky_relu.out(x, _SLOPE, out=room)
            return
        memory = memory.to(x.dtype)
        scale = affine.double_scale(memory).sigmoid_()
        torch.addcmul(affine.shift(memory), F.leaky_relu_(x, _SLOPE), scale, value=2, out=room)


def prepare_for_inference(network: MemGAN) -> MemGAN:
    """The fastest form of a network that gives the same images (up to 1e-4); the one given is not changed.

    For the mobile family with separable fusions a :class:`FastMemGAN`, which shares the parameters, has the same
    attributes and state names, and moves between devices like any module; else ``network`` itself.
    """
    return FastMemGAN(network) if can_fold(network.decoder) else network


def _number_type(x: Tensor) -> torch.dtype:
    """What to compute in: the number type of autocast, or that of the input."""
    return torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype


@functools.cache
def _keep_small_blocks() -> None:
    """Let glibc's malloc leave blocks of up to 32 MB to the process when they are freed.

    It raises its own threshold when it sees such a block freed. At the one it starts with, the features of every strip
    would be given back to the system, and their pages filled with zeros again: a fifth of the time. The block is never
    touched, so it takes no memory.
    """
    torch.empty(2**25 - 2**20, dtype=torch.uint8)


def _variance(features: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, C) float32: variance over the positions; squares are summed by products of rows."""
    rows = features.permute(0, 2, 3, 1).float()
    positions = features[0, 0].numel()
    mean = (rows.new_full((1, 1, positions), 1 / positions) @ rows.flatten(1, 2))[:, 0]
    squares = (rows.mT @ rows).diagonal(dim1=-2, dim2=-1).sum(1) / positions
    return (squares - mean.square()).clamp_min(0)
