"""Many visitors at once: all are answered, the page stays quick, and memory does not grow with them."""

import contextlib
import dataclasses
import secrets
import statistics
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from page_process import ROOT, PageProcess, page_process
from PIL import Image

pytest.importorskip("gradio")
httpx = pytest.importorskip("httpx")

pytestmark = [pytest.mark.browser, pytest.mark.timeout(1800)]

VISITORS = 20
MOST_MORE_BYTES = 600 << 20
MOST_SECONDS_OF_A_FILE = 1.0  # a good deal above what it is, for machines that are busy with other things


def restored(page: PageProcess, photograph: Path) -> bytes:
    """What a visitor gets for a photograph."""
    cookies = {"memgan_visitor": secrets.token_hex(16)}
    with httpx.Client(base_url=page.address, cookies=cookies, timeout=900) as client:
        sent = client.post("gradio_api/upload", files={"files": (photograph.name, photograph.read_bytes())})
        assert sent.status_code == 200, sent.text
        file = {"path": sent.json()[0], "meta": {"_type": "gradio.FileData"}}
        event = client.post("gradio_api/call/restore", json={"data": [file, 1, 0, 1, True, 0.5, False]}).json()[
            "event_id"
        ]
        told = client.get(f"gradio_api/call/restore/{event}").text
        assert "event: complete" in told, told
        path = str(told).partition('"path": "')[2].partition('"')[0]
        answer = client.get(f"gradio_api/file={path}")
        assert answer.status_code == 200
        return bytes(answer.content)


@dataclasses.dataclass
class Watched:
    """What was seen of a page while something went on."""

    most_bytes: int = 0
    """Of resident memory."""
    seconds: list[float] = dataclasses.field(default_factory=list)
    """Until a file of the page came that needs no work, each time."""


@contextlib.contextmanager
def watched(page: PageProcess) -> Iterator[Watched]:
    """Looks at a page all the time while the block runs."""
    seen, is_over = Watched(), threading.Event()

    def watch() -> None:
        with httpx.Client(base_url=page.address, timeout=60) as client:
            while not is_over.wait(0.1):
                seen.most_bytes = max(seen.most_bytes, page.resident_bytes)
                begin = time.perf_counter()
                assert client.get("favicon.ico").status_code == 200
                seen.seconds.append(time.perf_counter() - begin)

    with ThreadPoolExecutor(1) as pool:
        watching = pool.submit(watch)
        try:
            yield seen
        finally:
            is_over.set()
        watching.result()


def test_twenty_visitors_at_once(tmp_path: Path) -> None:
    photographs = []
    with Image.open(ROOT / "examples" / "photos" / "prints_on_a_table.jpg") as image:
        for number in range(VISITORS):
            photographs.append(tmp_path / f"{number}.jpg")
            image.crop((50 - number, 90, 330 - number, 400)).save(photographs[-1], quality=92)
    folder = tmp_path / "page"
    folder.mkdir()
    with page_process(folder, "--queue", str(VISITORS)) as page:
        with watched(page) as one:
            restored(page, photographs[0])
        with watched(page) as many, ThreadPoolExecutor(VISITORS) as pool:
            results = list(pool.map(lambda photograph: restored(page, photograph), photographs))
        after = page.resident_bytes
    more, median = many.most_bytes - one.most_bytes, statistics.median(many.seconds)
    print(
        f"median of {len(many.seconds)} files: {1000 * median:.0f} ms; memory with one visitor "
        f"{one.most_bytes >> 20} MiB, with {VISITORS} {more >> 20} MiB more, afterwards {after >> 20} MiB"
    )
    assert len(set(results)) == VISITORS  # each has their own
    assert more <= MOST_MORE_BYTES
    assert median <= MOST_SECONDS_OF_A_FILE
