"""Chromium, as installed on this machine, and what visitors of the page see and do in it."""

import base64
import contextlib
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, BrowserContext, Page, Playwright, expect

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE_MS = 240_000  # for networks: machines that test are slow and busy
_DATA_TRANSFER = """([base64, name, type]) => {
    const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
    const data = new DataTransfer();
    data.items.add(new File([bytes], name, { type }));
    return data;
}"""


def launch(playwright: Playwright) -> Browser:
    """Chromium of the system; none is downloaded."""
    for name in ("chromium", "chromium-browser", "google-chrome", "chrome"):
        path = shutil.which(name)
        if path is not None:
            return playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
    raise AssertionError("there is no Chromium on this machine; on Debian: apt-get install chromium")


LEAVING = re.compile(r"AbortError: signal is aborted|Connection errored out")
"""What gradio writes into the console when a page is left whose events are still coming."""


class Visit:
    """A visitor: a browser's window with cookies of its own; ``complaints`` are the browser's, about all visitors."""

    def __init__(self, context: BrowserContext, address: str, complaints: list[str]) -> None:
        self.context, self.address, self._complaints = context, address, complaints
        self.page: Page = context.new_page()
        self.page.set_default_timeout(60_000)

    def open(self) -> None:
        """Loads the page, anew if it is there already."""
        earlier = len(self._complaints)
        self.page.goto(self.address)
        expect(self.page.locator("#photo")).to_be_visible(timeout=60_000)
        self._complaints[earlier:] = [one for one in self._complaints[earlier:] if not LEAVING.search(one)]

    def tab(self, name: str) -> None:
        self.page.get_by_role("tab", name=name).click()

    def add(self, *paths: Path, field: str = "#photo") -> None:
        """Chooses files, as in the dialog that a click opens."""
        self.page.locator(f"{field} input[type=file]").set_input_files([str(path) for path in paths])

    def data_transfer(self, path: Path) -> Any:
        """What a browser gives the page when a file is dropped or pasted."""
        content = base64.b64encode(path.read_bytes()).decode()
        return self.page.evaluate_handle(_DATA_TRANSFER, [content, path.name, "image/jpeg"])

    def wait_for_faces(self, count: int) -> None:
        """Until a photograph is restored, and its faces can be changed."""
        expect(self.page.locator("#status")).to_contain_text(re.compile(r"faces? found"), timeout=PATIENCE_MS)
        expect(self.page.locator(".mg-face-card")).to_have_count(count, timeout=60_000)

    def restore(self, path: Path, faces: int) -> None:
        self.add(path)
        self.wait_for_faces(faces)

    @property
    def shown(self) -> str:
        """The address of the restored picture that is shown."""
        return str(self.page.locator("#before-after img.fixed").get_attribute("src"))

    @contextlib.contextmanager
    def changes_picture(self) -> Iterator[None]:
        """What is done in the block must make another picture appear."""
        before = self.shown
        yield
        expect(self.page.locator("#before-after img.fixed")).not_to_have_attribute("src", before, timeout=PATIENCE_MS)

    def pixels(self) -> bytes:
        """The file of the restored picture that is shown."""
        answer = self.context.request.get(self.shown)
        assert answer.status == 200
        return answer.body()

    def set_slider(self, label: str, value: float) -> None:
        """Types a number into the field of a slider."""
        field = self.page.get_by_role("spinbutton", name=f"number input for {label}", exact=True)
        field.fill(f"{value:g}")
        field.press("Tab")

    def download(self, link: str, folder: Path) -> Path:
        """Clicks on a link, and saves what comes under the name that the page gives it."""
        with self.page.expect_download() as event:
            self.page.get_by_role("link", name=link).click()
        path = folder / event.value.suggested_filename
        event.value.save_as(path)
        return path


class Browsing:
    """A browser and all of its visitors, with what went wrong or went elsewhere."""

    def __init__(self, browser: Browser, address: str) -> None:
        self.browser, self.address = browser, address
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self._contexts: list[BrowserContext] = []

    def visit(self, *, address: str | None = None, opened: bool = True, **settings: Any) -> Visit:
        """A new visitor, at the page unless it is not ``opened``; ``settings`` as of playwright's contexts."""
        context = self.browser.new_context(
            **{"viewport": {"width": 1280, "height": 900}, "accept_downloads": True, **settings}
        )
        self._contexts.append(context)
        context.on("request", lambda request: self.requests.append(request.url))
        context.on(
            "console", lambda message: self._hear(message.type, f"{message.text} ({message.location.get('url')})")
        )
        context.on("weberror", lambda error: self.complaints.append(str(error.error)))
        visit = Visit(context, address or self.address, self.complaints)
        if opened:
            visit.open()
        return visit

    def close(self) -> None:
        """Ends all visits; fails if one of them asked another host for something, or the console has errors."""
        for context in self._contexts:
            context.close()
        assert self.requests, "no request was seen"
        outside = [url for url in self.requests if not re.match(r"http://127\.0\.0\.1:|data:|blob:", url)]
        assert not outside, outside
        assert not self.complaints, self.complaints

    def _hear(self, kind: str, text: str) -> None:
        if kind == "error":
            self.complaints.append(text)
