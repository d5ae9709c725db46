"""Priors of any content are read, or refused by the library's own errors; see fuzzing.py."""

import functools
import io
import random
import re
import zipfile
from pathlib import Path

import torch
from fuzzing import damaged, fuzz
from ir_writer import tiny_random_face

from memgan.training.priors.mobile import convert_random_face, random_face_files

NUMBERS = ["0", "-1", "1e9", "", "99999999999999999999", "4,4", "x", "2147483648,2147483648", "i64", "f16", "1 1"]


@functools.cache
def files() -> dict[str, bytes]:
    return tiny_random_face(levels=1)[0]


def other_xml(generator: random.Random, xml: bytes) -> bytes:
    """A network in which values of attributes are exchanged, and layers and edges left out or doubled."""
    parts = re.split(rb"(?<=\n)|(?<=/>)|(?<=</layer>)", xml)
    for _ in range(generator.randint(1, 3)):
        at = generator.randrange(len(parts))
        values = re.findall(rb'"([^"]*)"', parts[at])
        if values and generator.random() < 0.7:
            new = generator.choice([*NUMBERS, *(value.decode() for value in values)]).encode()
            parts[at] = parts[at].replace(b'"%s"' % generator.choice(values), b'"%s"' % new, 1)
        else:
            parts[at : at + 1] = generator.choice([[], [parts[at]] * 2, [generator.choice(parts)], [b"<a>" * 20000]])
    return b"".join(parts)


def test_fuzz_wheels_of_random_face(tmp_path: Path, fuzz_seconds: float | None) -> None:
    path = tmp_path / "x.whl"

    def make(generator: random.Random) -> bytes:
        buffer, chosen = io.BytesIO(), generator.choice([*files(), None])
        with zipfile.ZipFile(buffer, "w", generator.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])) as wheel:
            for name, data in files().items():
                if name == chosen:
                    is_text = name.endswith("xml") and generator.random() < 0.8
                    data = other_xml(generator, data) if is_text else damaged(generator, data)
                wheel.writestr(f"random_face/data/{name}", data)
        return damaged(generator, buffer.getvalue()) if chosen is None else buffer.getvalue()

    def attempt(data: bytes) -> None:
        path.write_bytes(data)
        tensors = convert_random_face(random_face_files(path), levels=1)
        assert all(isinstance(tensor, torch.Tensor) for tensor in tensors.values())

    assert fuzz("wheels", make, attempt, fuzz_seconds) >= 60
