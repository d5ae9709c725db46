"""Weight files of any content are read, or refused by the library's own errors; see fuzzing.py."""

import argparse
import functools
import io
import json
import pickletools
import random
import zipfile
from pathlib import Path
from typing import Any

import torch
from fuzzing import changed, damaged, fuzz
from safetensors.torch import save

from memgan import build_memgan, hub
from memgan.errors import MemGANError
from memgan.hub.card import METRICS_KEY, Metrics, metrics_of, model_card
from memgan.hub.tensor_file import read_state
from memgan.hub.weight_file import HEADER_TENSOR
from memgan.network.config import MemGANConfig
from memgan.training.priors.stylegan2 import read_stylegan2

CONFIG = MemGANConfig(
    name="least", image_size=8, channel_base=16, channel_max=2, style_dim=2, latent_layers=1, memory_max_slots=2
)


@functools.cache
def weight_file() -> tuple[dict[str, Any], bytes]:
    """Header and tensors of a small network's file."""
    metadata = {"config": CONFIG.to_json(), METRICS_KEY: Metrics("this test", {"PSNR": 12.5}).to_json()}
    data = save(build_memgan(CONFIG).state_dict(), metadata)
    length = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def test_fuzz_headers_of_safetensors_files(tmp_path: Path, fuzz_seconds: float | None) -> None:
    path = tmp_path / "x.safetensors"

    def make(generator: random.Random) -> bytes:
        header, body = weight_file()
        entry = generator.choice([None, "config", METRICS_KEY])
        for _ in range(generator.randint(1, 3)):
            if entry is None or not isinstance(header, dict):
                header = changed(generator, header)
            else:  # what stands in the header as JSON within JSON
                metadata = dict(header["__metadata__"])
                metadata[entry] = json.dumps(changed(generator, json.loads(metadata[entry])))
                header = {**header, "__metadata__": metadata}
        text = json.dumps(header).encode()
        if generator.random() < 0.1:
            text = generator.choice([b"[", b'{"a":', b"[[],"]) * 20000
        if generator.random() < 0.3:
            text = damaged(generator, text)
        length = len(text) if generator.random() < 0.95 else generator.getrandbits(generator.choice([8, 24, 64]))
        return length.to_bytes(8, "little") + text + (body if generator.random() < 0.9 else body[:9])

    def attempt(data: bytes) -> None:
        path.write_bytes(data)
        metrics_of(path)
        checkpoint = hub.load(path)
        model_card(checkpoint)
        network = build_memgan(checkpoint.config, checkpoint.state)
        size = checkpoint.config.image_size
        with torch.no_grad():
            assert network.eval()(torch.zeros(1, 3, size, size)).image.shape == (1, 3, size, size)

    assert fuzz("safetensors", make, attempt, fuzz_seconds) >= 60


def test_fuzz_headers_as_tensors(tmp_path: Path, fuzz_seconds: float | None) -> None:
    path = tmp_path / "x.safetensors"
    entries = {"config": CONFIG.to_json(), METRICS_KEY: Metrics("this test", {"PSNR": 12.5}).to_json()}
    state = build_memgan(CONFIG).state_dict()
    types = [torch.uint8, torch.int8, torch.half, torch.bfloat16, torch.float8_e5m2, torch.float64, torch.bool]

    def make(generator: random.Random) -> bytes:
        content: Any = dict(entries)
        if generator.random() < 0.6:
            key = generator.choice(list(entries))
            content[key] = json.dumps(changed(generator, json.loads(entries[key])))
        else:
            content = changed(generator, content)
        text = json.dumps(content).encode()
        if generator.random() < 0.1:
            text = generator.choice([b"[", b'{"a":', b"[[],"]) * 20000
        if generator.random() < 0.3:
            text = damaged(generator, text)
        tensor = torch.tensor(list(text), dtype=torch.uint8)
        if generator.random() < 0.3:
            tensor = tensor.to(generator.choice(types))
        if generator.random() < 0.1:
            tensor = tensor.reshape(generator.choice([(1, -1), (-1, 1, 1)]) if len(text) else (0, 3))
        return save({**state, HEADER_TENSOR: tensor}, generator.choice([None, None, {"title": "x"}, entries]))

    def attempt(data: bytes) -> None:
        path.write_bytes(data)
        metrics_of(path)
        checkpoint = hub.load(path)
        model_card(checkpoint)
        build_memgan(checkpoint.config, checkpoint.state)
        hub.save(path, checkpoint.config, checkpoint.state, checkpoint.metadata)
        again = hub.load(path)
        assert again.config == checkpoint.config and again.metadata == checkpoint.metadata

    assert fuzz("header_tensors", make, attempt, fuzz_seconds) >= 60


def test_fuzz_files_next_to_weights(tmp_path: Path, fuzz_seconds: float | None) -> None:
    header, body = weight_file()
    content = json.dumps(header).encode()
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "part.safetensors").write_bytes(len(content).to_bytes(8, "little") + content + body)
    index = {"metadata": {}, "weight_map": dict.fromkeys(build_memgan(CONFIG).state_dict(), "part.safetensors")}
    card = model_card(hub.load(folder / "part.safetensors"))
    originals = {
        "model.safetensors.index.json": index,
        "config.json": json.loads(CONFIG.to_json()),
        "README.md": card,
    }

    def make(generator: random.Random) -> bytes:
        name = generator.choice(list(originals))
        if name == "README.md":
            text = damaged(generator, card[: card.index("---", 5)].encode()).decode("utf-8", "replace")
            return f"{name}\n{text}\n---\n".encode("utf-8", "replace")
        text = json.dumps(changed(generator, originals[name]))
        if generator.random() < 0.2:
            text = "[" * 50000
        return f"{name}\n".encode() + damaged(generator, text.encode())

    def attempt(data: bytes) -> None:
        changed_name, _, text = data.partition(b"\n")
        for name, original in originals.items():
            (folder / name).write_text(original if isinstance(original, str) else json.dumps(original))
        (folder / changed_name.decode()).write_bytes(text)
        metrics_of(folder / "model.safetensors.index.json")
        loaded = hub.load(folder)
        build_memgan(loaded.config, loaded.state)

    assert fuzz("model_folder", make, attempt, fuzz_seconds) >= 60


@functools.cache
def pickles() -> list[bytes]:
    """Checkpoints as other projects write them, of both formats of torch."""
    contents = [
        {"module.a": torch.arange(6.0).reshape(2, 3), "b": torch.zeros(1, dtype=torch.int64)},
        {
            "g_ema": {"input.input": torch.zeros(1, 2, 4, 4), "half": torch.zeros(3).half()},
            "args": argparse.Namespace(x=1),
        },
        {"params_ema": {"constant_input.weight": torch.zeros(1, 2, 4, 4)}, "list": [1, "two", None, (3.0, {4})]},
    ]
    found = []
    for content in contents:
        for is_archive in (True, False):
            buffer = io.BytesIO()
            torch.save(content, buffer, _use_new_zipfile_serialization=is_archive)
            found.append(buffer.getvalue())
    return found


def with_other_operations(generator: random.Random, program: bytes) -> bytes:
    """A pickle in which operations are left out, doubled, moved or new."""
    try:
        places = [position for _, _, position in pickletools.genops(program)]
    except Exception:
        return damaged(generator, program)
    parts = [program[a:b] for a, b in zip(places, [*places[1:], len(program)], strict=True)]
    for _ in range(generator.randint(1, 3)):
        at = generator.randrange(len(parts))
        parts[at : at + 1] = generator.choice(
            [
                [],
                [parts[at]] * 2,
                [generator.choice(parts)],
                [parts[at], b"cos\nsystem\n"],
                [parts[at], b"cbuiltins\nbytearray\n(\x8a\x05\0\0\0\0\x01tR"],
                [parts[at], b"ctorch\nTensor\n(K\x03tR"],
                [parts[at], b"ctorch._utils\n_rebuild_tensor_v2\n(NK\0K\0tR"],
                [b"(" * 50000],
                [b"]" * 9 + b"a" * 8],
                [b"\x8a\xff" + bytes(255)],
                [parts[at], b"N0", b"."],
            ]
        )
    return b"".join(parts)


def test_fuzz_pickled_checkpoints(tmp_path: Path, fuzz_seconds: float | None) -> None:
    path = tmp_path / "x.pth"

    def make(generator: random.Random) -> bytes:
        data = generator.choice(pickles())
        if generator.random() < 0.3:
            return damaged(generator, data)
        if not data.startswith(b"PK"):
            return with_other_operations(generator, data[:-200]) + data[-200:]
        buffer = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(buffer, "w") as new:
            for name in old.namelist():
                part = old.read(name)
                if name.endswith("data.pkl"):
                    part = with_other_operations(generator, part)
                elif generator.random() < 0.2:
                    part = damaged(generator, part)
                if generator.random() < 0.95:
                    new.writestr(name, part)
        return buffer.getvalue()

    def attempt(data: bytes) -> None:
        path.write_bytes(data)
        for read in (functools.partial(read_state, also_allowed=[argparse.Namespace]), read_stylegan2):
            try:
                tensors = read(path)
            except MemGANError:
                continue
            assert all(isinstance(tensor, torch.Tensor) for tensor in tensors.values())

    assert fuzz("pickles", make, attempt, fuzz_seconds) >= 60
