"""Encodes a segment."""

import contextlib
from typing import Any

from memgan.errors import OutputError, brief
from memgan.video.encoders import Look
from memgan.video.frame import Frame
from memgan.video.plan import Plan
from memgan.video.pyav import load_av, reformatted
from memgan.video.segments import Segment, SegmentFolder, SegmentPacket


class SegmentEncoder:
    """A segment that is being encoded, by an encoder of its own.

    Args:
        plan: how.
        look: of all frames of the film.
        folder: where the segment goes.
        start: number of its first frame.
    """

    def __init__(self, plan: Plan, look: Look, folder: SegmentFolder, start: int) -> None:
        self._plan = plan
        self._context = plan.open_encoder(look)
        self._file = folder.new(start, self._context.extradata or b"")
        self._times: dict[int, int] = {}
        self.frames = 0

    def write(self, frame: Frame) -> None:
        """Encode a frame."""
        if (frame.av_frame.width, frame.av_frame.height) != self._plan.size:
            frame = frame.resized(*self._plan.shown_size)
        image = self._fitting(frame.av_frame)
        kept = image.pts, image.time_base, image.pict_type
        # Encoders count frames: their time bases are not those of containers. Types of pictures are their own choice.
        image.pts, image.time_base, image.pict_type = self.frames, 1 / self._plan.rate, 0
        self._times[self.frames] = frame.pts
        self.frames += 1
        try:
            self._store(image)
        finally:
            image.pts, image.time_base, image.pict_type = kept

    def _fitting(self, image: Any) -> Any:
        wanted = self._plan.encoder.pixel_format
        if image.format.name == wanted:
            return image
        colors = {"src_color_range": image.color_range, "dst_color_range": image.color_range}
        colors |= {"src_colorspace": image.colorspace, "dst_colorspace": image.colorspace}
        return reformatted(image, format=wanted, **colors)

    def _store(self, image: Any) -> None:
        """Write the packets that a frame, or ``None`` as the end, sets free."""
        av = load_av()
        try:
            packets = self._context.encode(image)
        except av.error.FFmpegError as error:
            raise OutputError(
                f"{self._plan.encoder.name} failed ({brief(error)}); choose another encoder with --video-encoder."
            ) from error
        for packet in packets:
            self._file.write(SegmentPacket(self._times.pop(packet.pts), packet.is_keyframe, bytes(packet)))

    def close(self) -> Segment:
        """Write what the encoder still has, and give the segment."""
        self._store(None)
        if self._times:
            raise OutputError(
                f"{self._plan.encoder.name} left out {len(self._times)} of {self.frames} frames; choose another "
                "encoder with --video-encoder."
            )
        return self._file.close()

    def discard(self) -> None:
        """Delete what was written."""
        with contextlib.suppress(Exception):
            self._context.encode(None)  # SVT-AV1 complains of an encoder that is dropped without an end
        self._file.discard()
