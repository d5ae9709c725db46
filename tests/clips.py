"""Makes small films for the tests, with PyAV: moving pictures, tones, subtitles, chapters, attachments, covers.

Everything is computed, so that a clip is the same in every run. Films are written, never kept in the repository.
"""

import io
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

os.environ.setdefault("SVT_LOG", "1")  # errors only; it writes past the log of FFmpeg

ENCODERS = {
    "h264": ("libx264", {"preset": "ultrafast", "bf": "2", "threads": "1"}),
    "hevc": ("libx265", {"preset": "ultrafast", "x265-params": "log-level=none:pools=none:frame-threads=1"}),
    "av1": ("libsvtav1", {"preset": "12"}),
    "vp9": ("libvpx-vp9", {"deadline": "realtime", "cpu-used": "8"}),
    "ffv1": ("ffv1", {"level": "3"}),
    "mpeg4": ("mpeg4", {"bf": "2"}),
    "mpeg2video": ("mpeg2video", {"bf": "2"}),
}
"""Encoder of each codec, and what makes it quick."""

SDR = {"range": 1, "matrix": 1, "primaries": 1, "transfer": 1}  # BT.709, limited range
HLG = {"range": 1, "matrix": 9, "primaries": 9, "transfer": 18}  # BT.2020, limited range
PQ = {"range": 1, "matrix": 9, "primaries": 9, "transfer": 16}
MATRICES = {1: 1, 5: 5, 6: 5, 7: 7, 9: 9, 10: 9}  # of FFmpeg's AVColorSpace: the one of its scaler


def picture(number: int, width: int, height: int) -> np.ndarray:
    """(H, W, 3) uint8: a smooth background, and a bright square that moves with the number of the frame."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    red = 110 + 70 * np.sin(x / 17) * np.cos(y / 23)
    green = 100 + 60 * np.cos(x / 29 + y / 31)
    blue = 120 + 50 * np.sin((x - y) / 37)
    image = np.stack([red, green, blue], axis=-1)
    side = max(2, min(width, height) // 4)
    left, top = (3 * number) % max(1, width - side), (2 * number) % max(1, height - side)
    image[top : top + side, left : left + side] = (230, 200, 40 + (11 * number) % 160)
    return image.round().astype(np.uint8)


def pictures(count: int, size: tuple[int, int] = (96, 64)) -> list[np.ndarray]:
    return [picture(number, *size) for number in range(count)]


def video_frame(image: np.ndarray, pix_fmt: str, colors: Mapping[str, int]) -> Any:
    """A picture, (H, W, 3) uint8 or full-scale uint16 RGB, as a frame of a pixel format, with its tags."""
    import av

    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), "rgb24" if image.dtype == np.uint8 else "rgb48le")
    matrix = MATRICES.get(colors.get("matrix", 2), 5 if image.shape[0] < 720 else 1)
    full = 2 if av.VideoFormat(pix_fmt).is_rgb else 1
    frame = frame.reformat(
        format=pix_fmt,
        src_colorspace=matrix,
        dst_colorspace=matrix,
        src_color_range=2,
        dst_color_range=colors.get("range") or full,
    )
    frame.color_range = colors.get("range", 0)
    frame.colorspace = colors.get("matrix", 2)
    frame.color_primaries = colors.get("primaries", 2)
    frame.color_trc = colors.get("transfer", 2)
    return frame


def make_clip(
    path: Path,
    frames: int | Iterable[Any] = 12,
    *,
    codec: str = "h264",
    pix_fmt: str = "yuv420p",
    size: tuple[int, int] = (96, 64),
    rate: Fraction | int = 25,
    pts: Sequence[int] | None = None,
    time_base: Fraction | None = None,
    rotation: int = 0,
    flip: bool = False,
    aspect: Fraction | None = None,
    colors: Mapping[str, int] | None = None,
    options: Mapping[str, str] | None = None,
    audio: int = 0,
    audio_codec: str = "aac",
    subtitles: int = 0,
    chapters: int = 0,
    attachments: Sequence[tuple[str, str, bytes]] = (),
    cover: bool = False,
    metadata: Mapping[str, str] | None = None,
    container: str | None = None,
    container_options: Mapping[str, str] | None = None,
) -> Path:
    """Writes a film, and gives its path. Without frames, its tracks last a second.

    Args:
        path: the file; its ending says which container, unless ``container`` does (a name of FFmpeg's, ``"matroska"``).
        frames: how many of ``picture``, or the frames: (H, W, 3) RGB arrays, uint8 or full-scale uint16, or frames of
            PyAV, which are written as they are. Arrays are the frames as they are coded: before any rotation.
        codec: a name of ``ENCODERS``, or an encoder of FFmpeg's.
        size: (width, height) of the frames that are counted, and of a film without frames.
        pts: time of each frame, in ``time_base`` (default: one per frame, and ``time_base`` is 1 / ``rate``).
        rotation: 0, 90, 180 or 270: how far a player turns the film clockwise. ``flip``: it also mirrors it, left to
            right, afterwards.
        aspect: width of a pixel over its height.
        colors: range, matrix, primaries, transfer, as FFmpeg counts them, such as ``SDR``; untagged if not given.
        options: of the encoder, besides those of ``ENCODERS``, such as ``{"crf": "0"}``.
        audio: how many tracks with a tone. They have languages, and the last one is the default.
        subtitles: how many tracks: SubRip, in MP4 and MOV its form of that.
        chapters: how many, of half a second each.
        attachments: (name, type, content) of each; Matroska has them.
        cover: a cover picture, a stream of its own in MP4 and MOV.
    """
    import av

    # Frames are drawn one at a time: a long clip must not take the memory that a test looks at.
    images: Iterable[Any] = (picture(i, *size) for i in range(frames)) if isinstance(frames, int) else frames
    colors = colors or {}
    encoder, encoder_options = ENCODERS.get(codec, (codec, {}))
    time_base = time_base or 1 / Fraction(rate)
    images = iter(images)
    first = next(images, None)
    if isinstance(first, np.ndarray):
        size = (first.shape[1], first.shape[0])
    elif first is not None:
        size, pix_fmt = (first.width, first.height), first.format.name
    with av.open(str(path), "w", format=container, options=dict(container_options or {})) as output:
        output.metadata.update(metadata or {})
        early = [_add_cover(output)] if cover else []
        stream = output.add_stream(encoder, rate=Fraction(rate), options={**encoder_options, **(options or {})})
        stream.width, stream.height, stream.pix_fmt = *size, pix_fmt
        stream.time_base = stream.codec_context.time_base = time_base
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        context = stream.codec_context
        context.color_range, context.colorspace = colors.get("range", 0), colors.get("matrix", 2)
        context.color_primaries, context.color_trc = colors.get("primaries", 2), colors.get("transfer", 2)
        if rotation or flip:
            stream.set_display_rotation(-rotation, hflip=flip)
        for name, mime_type, content in attachments:
            output.add_attachment(name, mime_type, content)
        tones = [_add_tone(output, audio_codec, number, number == audio - 1) for number in range(audio)]
        texts = [_add_subtitles(output, number) for number in range(subtitles)]
        if chapters:
            output.set_chapters(
                [
                    {
                        "id": number + 1,
                        "start": 500 * number,
                        "end": 500 * (number + 1),
                        "time_base": Fraction(1, 1000),
                        "metadata": {"title": f"Chapter {number + 1}"},
                    }
                    for number in range(chapters)
                ]
            )
        output.start_encoding()
        early += [packet for text in texts for packet in text]
        for packet in early:
            output.mux(packet)
        end = Fraction(0)
        number = 0
        image = first
        while image is not None:
            frame = video_frame(image, pix_fmt, colors) if isinstance(image, np.ndarray) else image
            frame.pts = number if pts is None else pts[number]
            frame.time_base = time_base
            end = frame.pts * time_base + 1 / Fraction(rate)
            output.mux(stream.encode(frame))
            for tone in tones:
                tone.write_until(end)
            number, image = number + 1, next(images, None)
        if number:
            output.mux(stream.encode(None))
        else:
            for tone in tones:
                tone.write_until(Fraction(1))
        for tone in tones:
            tone.finish()
    return path


def _add_cover(output: Any) -> Any:
    """The only packet of a stream whose disposition says that it is a cover picture."""
    import av
    import cv2

    done, data = cv2.imencode(".png", np.full((16, 16, 3), 200, np.uint8))
    assert done
    with av.open(io.BytesIO(data.tobytes())) as picture_file:
        template = picture_file.streams.video[0]
        stream = output.add_stream_from_template(template)
        stream.disposition = av.stream.Disposition.attached_pic
        packet = next(iter(picture_file.demux(template)))
        packet.stream = stream
    return packet


class _Tone:
    """A track with a tone, written as far as the film goes."""

    def __init__(self, output: Any, stream: Any, hertz: float) -> None:
        self.output, self.stream, self.hertz = output, stream, hertz
        self.rate = 48000
        self.sample = 0
        self.block = 960

    def write_until(self, seconds: Fraction) -> None:
        import av

        while self.sample < seconds * self.rate:
            times = (self.sample + np.arange(self.block)) / self.rate
            wave = 0.2 * np.sin(2 * math.pi * self.hertz * times)
            frame = av.AudioFrame.from_ndarray((wave * 32767).astype(np.int16)[None], format="s16", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = self.rate, self.sample, Fraction(1, self.rate)
            self.output.mux(self.stream.encode(frame))
            self.sample += self.block

    def finish(self) -> None:
        if self.sample:
            self.output.mux(self.stream.encode(None))


def _add_tone(output: Any, codec: str, number: int, is_default: bool) -> _Tone:
    import av

    stream = output.add_stream(codec, rate=48000)
    stream.codec_context.layout = "mono"
    stream.metadata.update(language=("eng", "deu", "fra", "jpn")[number % 4], title=f"Tone {number + 1}")
    stream.disposition = av.stream.Disposition.default if is_default else 0
    return _Tone(output, stream, 330.0 * (number + 1))


def _add_subtitles(output: Any, number: int) -> list[Any]:
    """A track with two lines, as packets to be muxed."""
    import av

    lines = "".join(
        f"{line}\n00:00:00,{400 * line:03d} --> 00:00:00,{400 * line + 300:03d}\nTrack {number + 1}, line {line}\n\n"
        for line in (1, 2)
    )
    with av.open(io.BytesIO(lines.encode()), format="srt") as source:
        template = source.streams.subtitles[0]
        if output.format.name in ("mp4", "mov"):
            stream = output.add_mux_stream("mov_text")
        else:
            stream = output.add_stream_from_template(template)
        stream.metadata.update(language=("eng", "deu", "fra", "jpn")[number % 4])
        packets = [packet for packet in source.demux(template) if packet.size]
        if output.format.name in ("mp4", "mov"):
            packets = [_with_length(packet) for packet in packets]
        for packet in packets:
            packet.stream = stream
    return packets


def _with_length(packet: Any) -> Any:
    """A packet of SubRip as MP4 has it: the number of its bytes comes first."""
    import av

    text = bytes(packet)
    changed = av.Packet(len(text).to_bytes(2, "big") + text)
    changed.pts, changed.dts, changed.duration = packet.pts, packet.dts, packet.duration
    changed.time_base = packet.time_base
    return changed
