"""Which encoder writes a film, with which settings, and what it refuses."""

import hashlib
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from memgan.errors import ConfigError
from memgan.video.encoders import Encoder, Look, choose_encoder, open_encoder, prepare
from memgan.video.options import VideoOptions

av = pytest.importorskip("av")


@pytest.mark.parametrize(
    ("codec", "pixel_format", "name"),
    [
        *(("h264", "yuv420p", "libx264"), ("hevc", "yuv420p10le", "libx265"), ("av1", "yuv420p", "libsvtav1")),
        *(("vp9", "yuv420p", "libvpx-vp9"), ("ffv1", "yuv422p10le", "ffv1"), ("mpeg4", "yuv420p", "mpeg4")),
        *(("prores", "yuv422p10le", "prores_ks"), ("mjpeg", "yuvj420p", "mjpeg"), ("vp8", "yuv420p", "libvpx")),
    ],
)
def test_a_film_keeps_its_codec_and_format(codec: str, pixel_format: str, name: str) -> None:
    encoder = choose_encoder(codec, pixel_format, VideoOptions())
    assert (encoder.name, encoder.codec, encoder.pixel_format) == (name, codec, pixel_format)
    open_encoder(encoder, (128, 96), Fraction(25), Look(), has_global_header=True).encode(None)


@pytest.mark.parametrize(
    ("encoder", "given", "written"),
    [
        ("libsvtav1", "yuvj420p", "yuv420p"),
        ("h264_nvenc", "yuv420p10le", "p010le"),
        ("libx264", "p010le", "yuv420p10le"),
        ("ffv1", "rgb24", "bgr0"),
        ("ffv1", "nv12", "yuv420p"),
    ],
)
def test_formats_that_say_the_same(encoder: str, given: str, written: str) -> None:
    assert choose_encoder("h264", given, VideoOptions(encoder=encoder)).pixel_format == written


@pytest.mark.parametrize(
    ("codec", "pixel_format", "options", "message"),
    [
        ("vc1", "yuv420p", VideoOptions(), "nothing that is installed writes vc1.*--video-codec h264"),
        (
            "h264",
            "yuv420p",
            VideoOptions(encoder="libx246"),
            "'libx246', which is not there; choose libx26.*, or leave",
        ),
        ("h264", "yuv420p", VideoOptions(encoder="aac"), "'aac', which is not there"),
        ("h264", "yuv420p", VideoOptions(encoder="libx265", codec="h264"), "libx265 writes hevc, not the h264"),
        ("h264", "yuv420p12le", VideoOptions(), "yuv420p12le without loss.*ffv1"),
        ("av1", "yuv444p", VideoOptions(), "yuv444p without loss.*ffv1"),
        ("h264", "yuva420p", VideoOptions(), "yuva420p without loss"),
        ("ffv1", "yuv420p", VideoOptions(crf=18), "--crf is 18, but ffv1 has no such dial; leave it out"),
        ("vp9", "yuv420p", VideoOptions(preset="fast"), "--preset is 'fast', but libvpx-vp9 has no presets"),
        ("h264", "yuv420p", VideoOptions(crf=99), "--crf is 99; libx264 allows 0 to 51"),
        ("mjpeg", "yuvj420p", VideoOptions(crf=32), "--crf is 32; mjpeg allows 0 to 31"),
        ("av1", "yuv420p10le", VideoOptions(crf=0), "libsvtav1 loses something of 10 bit.*ffv1"),
    ],
)
def test_what_cannot_be_is_refused(codec: str, pixel_format: str, options: VideoOptions, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        choose_encoder(codec, pixel_format, options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"preset": 5}, "preset is 5; give its name as a string"),
        ({"encoder": ""}, "encoder is ''; give its name as a string"),
        ({"frames": (0, 5)}, r"--frames is \(0, 5\); give two numbers of frames, A:B"),
    ],
)
def test_options_of_the_wrong_type(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        VideoOptions(**options)


def test_settings_that_an_encoder_does_not_take() -> None:
    for options, size in ((VideoOptions(preset="bogus"), (64, 64)), (VideoOptions(), (65, 64))):
        encoder = choose_encoder("h264", "yuv420p", options)
        with pytest.raises(ConfigError, match=rf"libx264 does not take frames of {size[0]}x64 yuv420p .*--preset"):
            open_encoder(encoder, size, Fraction(25), Look(), has_global_header=True)


def test_quality_is_what_is_asked_for() -> None:
    assert choose_encoder("h264", "yuv420p", VideoOptions(crf=23.5)).options["crf"] == "23.5"
    assert choose_encoder("h264", "yuv420p", VideoOptions(encoder="h264_nvenc", crf=30)).options["cq"] == "30"
    mpeg4 = choose_encoder("mpeg4", "yuv420p", VideoOptions(crf=3)).options
    assert (mpeg4["flags"], mpeg4["global_quality"]) == ("+qscale", "354")
    assert "crf" not in choose_encoder("h264", "yuv420p", VideoOptions(crf=0)).options
    assert choose_encoder("prores", "yuv422p10le", VideoOptions(), "apco").options["profile"] == "0"


_ENCODE = """
import sys
from fractions import Fraction
from clips import pictures, video_frame
from memgan.video.encoders import Look, choose_encoder, open_encoder
from memgan.video.options import VideoOptions
encoder = choose_encoder(sys.argv[1], "yuv420p", VideoOptions())
context = open_encoder(encoder, (320, 240), Fraction(25), Look(), has_global_header=True)
data = context.extradata or b""
for number, image in enumerate(pictures(10, (320, 240))):
    frame = video_frame(image, "yuv420p", {})
    frame.pts, frame.time_base = number, Fraction(1, 25)
    data += b"".join(map(bytes, context.encode(frame)))
sys.stdout.buffer.write(data + b"".join(map(bytes, context.encode(None))))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="its C library fills memory with what it is told")
@pytest.mark.slow
@pytest.mark.parametrize("codec", ["h264", "hevc", "av1"])
def test_memory_that_is_not_set_makes_no_difference(codec: str) -> None:
    """Nor does the number of cores; else a run that goes on would give another film than one that was not killed."""
    tests, root = Path(__file__).parents[1], Path(__file__).parents[2]
    results = []
    for fill, cores in (("0", {0}), ("170", os.sched_getaffinity(0))):
        environment = {**os.environ, "MALLOC_PERTURB_": fill, "PYTHONPATH": os.pathsep.join(map(str, (root, tests)))}
        command = [sys.executable, "-c", _ENCODE, codec]
        cores = cores & os.sched_getaffinity(0) or os.sched_getaffinity(0)
        done = subprocess.run(
            command, env=environment, capture_output=True, preexec_fn=lambda cores=cores: os.sched_setaffinity(0, cores)
        )
        assert done.returncode == 0, done.stderr
        results.append(hashlib.md5(done.stdout).hexdigest())
        assert len(done.stdout) > 1000
    assert results[0] == results[1]


def test_the_mastering_display_is_spelled_as_each_library_wants_it() -> None:
    """Ratios of FFmpeg's structure, in another unit than the libraries': 1 / 10000 of 0.265 and so on."""
    pairs = [(6800, 10000), (3200, 10000), (2650, 10000), (6900, 10000), (1500, 10000), (600, 10000)]
    pairs += [(3127, 10000), (3290, 10000), (5, 1000), (1000, 1)]
    numbers = [*(number for pair in pairs for number in pair), 1, 1]
    data = b"".join(number.to_bytes(4, "little") for number in numbers)
    look = Look(mastering_display=data, light_level=b"".join(n.to_bytes(4, "little") for n in (1000, 400)))
    told = {}
    for codec in ("hevc", "av1"):
        encoder = choose_encoder(codec, "yuv420p10le", VideoOptions())
        context = av.CodecContext.create(encoder.name, "w")
        prepare(context, encoder, (64, 64), Fraction(25), look)
        told[codec] = next(value for name, value in context.options.items() if name.endswith("params"))
    x265 = "master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50):max-cll=1000,400"
    assert told["hevc"].endswith(x265)
    assert "mastering-display=G(0.265,0.69)B(0.15,0.06)R(0.68,0.32)WP(0.3127,0.329)L(1000,0.005)" in told["av1"]
    assert told["av1"].endswith("content-light=1000,400")


def test_an_encoder_without_such_names_is_told_nothing() -> None:
    look = Look(mastering_display=bytes(88), light_level=bytes(8))
    encoder = Encoder("ffv1", "ffv1", "yuv420p", {})
    assert not encoder.can_tell_mastering
    open_encoder(encoder, (64, 64), Fraction(25), look, has_global_header=False)
