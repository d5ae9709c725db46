"""The page in Chromium: what visitors do, and what they see and get then."""

import io
import re
import shlex
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from clips import make_clip
from page_process import ROOT, PageProcess, page_process, run_memgan
from PIL import Image
from reverse_proxy import reverse_proxy

pytest.importorskip("gradio")
pytest.importorskip("playwright")

from browsing import PATIENCE_MS, Browsing, Visit, launch
from playwright.sync_api import Browser, FileChooser, Page, expect, sync_playwright

pytestmark = [pytest.mark.browser, pytest.mark.timeout(1200)]

PHOTOS = ROOT / "examples" / "photos"
TABLE = PHOTOS / "prints_on_a_table.jpg"  # three faces
LONG_NAME = "a_photograph_whose_name_is_longer_than_the_screen_of_a_telephone_is_wide.jpg"
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = launch(playwright)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageProcess]:
    with page_process(tmp_path_factory.mktemp("page"), "--max-megapixels", "4") as page:
        yield page
        assert "Traceback" not in page.output.read_text("utf-8")


@pytest.fixture
def browsing(chromium: Browser, served: PageProcess) -> Iterator[Browsing]:
    found = Browsing(chromium, served.address)
    yield found
    found.close()


def single_face(folder: Path, *, name: str = "one.jpg") -> Path:
    """The left print of the table."""
    path = folder / name
    with Image.open(TABLE) as image:
        image.crop((50, 90, 330, 400)).save(path, quality=92)
    return path


def command_shown(visit: Visit, downloads: str = "#downloads") -> list[str]:
    """The words of the command that the page says does the same."""
    visit.page.locator(f"{downloads} summary").click()
    words = shlex.split(visit.page.locator(f"{downloads} code").inner_text())
    assert words[:2] == ["memgan", "restore"]
    return words[1:]


# -- one photograph --------------------------------------------------------------------------------------------------


def test_looks_change_without_the_network_and_the_file_is_the_commands(
    browsing: Browsing, served: PageProcess, tmp_path: Path
) -> None:
    visit = browsing.visit()
    visit.restore(TABLE, 3)
    runs = served.num_runs
    assert runs > 0
    page, seen = visit.page, [visit.pixels()]
    for label, change in (
        ("a face left out", lambda: page.get_by_label("Restore face 2").click()),
        ("a face weaker", lambda: visit.set_slider("Strength of face 1", 0.4)),
        ("no color lock", lambda: page.get_by_label("Keep the colors of the photograph").click()),
        ("less grain", lambda: visit.set_slider("Grain", 0.1)),
        ("all faces weaker", lambda: visit.set_slider("Strength", 0.6)),
        ("one of them stronger", lambda: visit.set_slider("Strength of face 3", 0.9)),
    ):
        with visit.changes_picture():
            change()
        seen.append(visit.pixels())
        assert seen[-1] != seen[-2], label
    assert served.num_runs == runs
    restored = visit.download("Download the photograph", tmp_path)
    archive = visit.download("All files", tmp_path)
    words = command_shown(visit)
    assert served.num_runs == runs
    shutil.copy(TABLE, tmp_path)
    run_memgan(words, tmp_path)
    assert restored.name == "prints_on_a_table_restored.jpg"
    assert restored.read_bytes() == (tmp_path / "results/restored_imgs/prints_on_a_table.jpg").read_bytes()
    assert_same_files(archive, tmp_path / "results")


def assert_same_files(archive: Path, folder: Path) -> None:
    """A zip file has the pictures of a folder that ``memgan restore`` has written, and a record as it has."""
    with zipfile.ZipFile(archive) as file:
        packed = {name: file.read(name) for name in file.namelist()}
    written = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert "records.jsonl" in packed
    pictures = {name for name in packed if name.endswith((".jpg", ".png"))}
    assert pictures == {name for name in written if name.endswith((".jpg", ".png"))}
    assert [name for name in pictures if packed[name] != written[name]] == []


@pytest.mark.parametrize("way", ["dropped on the field", "dropped beside it", "pasted"])
def test_a_photograph_is_dropped_or_pasted(browsing: Browsing, tmp_path: Path, way: str) -> None:
    visit = browsing.visit()
    uploads: list[str] = []
    visit.page.on("request", lambda request: uploads.append(request.url) if "/upload?" in request.url else None)
    data = visit.data_transfer(single_face(tmp_path))
    if way == "pasted":
        visit.page.evaluate(
            "data => document.body.dispatchEvent(new ClipboardEvent('paste', "
            "{ clipboardData: data, bubbles: true, cancelable: true }))",
            data,
        )
    else:
        target = "#photo button" if way == "dropped on the field" else "#status"
        visit.page.dispatch_event(target, "dragenter", {"dataTransfer": data})
        visit.page.dispatch_event(target, "dragover", {"dataTransfer": data})
        visit.page.dispatch_event(target, "drop", {"dataTransfer": data})
    visit.wait_for_faces(1)
    assert len(uploads) == 1


def test_the_next_photograph_can_be_dropped_and_pasted_where_one_is_shown(browsing: Browsing, tmp_path: Path) -> None:
    visit = browsing.visit()
    visit.restore(single_face(tmp_path), 1)
    for number, event in enumerate(("drop", "paste")):
        path = single_face(tmp_path, name=f"next{number}.jpg")
        with visit.changes_picture():
            is_taken = visit.page.evaluate(
                "([kind, data]) => !document.getElementById('status').dispatchEvent(kind === 'drop' "
                "? new DragEvent(kind, { dataTransfer: data, bubbles: true, cancelable: true }) "
                ": new ClipboardEvent(kind, { clipboardData: data, bubbles: true, cancelable: true }))",
                [event, visit.data_transfer(path)],
            )
            assert is_taken  # otherwise the browser leaves the page and opens the file itself
        expect(visit.page.locator("#photo")).to_contain_text(f"next{number}")


def test_fidelity_of_one_face_and_the_map(browsing: Browsing, served: PageProcess, tmp_path: Path) -> None:
    visit = browsing.visit()
    visit.restore(single_face(tmp_path), 1)
    runs = served.num_runs
    with visit.changes_picture():
        visit.set_slider("Fidelity of face 1", 0.5)
    assert served.num_runs > runs
    summary = visit.page.get_by_text("What may be made up")
    summary.click()
    heat_map = visit.page.get_by_role("img", name=re.compile("^Map of Face 1"))
    expect(heat_map).to_be_visible()
    assert heat_map.evaluate("image => image.naturalWidth") >= 256
    restored = visit.download("Download the photograph", tmp_path)
    run_memgan(command_shown(visit), tmp_path)
    assert restored.read_bytes() == (tmp_path / "results/restored_imgs/one.jpg").read_bytes()


def test_twice_the_size(browsing: Browsing, tmp_path: Path) -> None:
    visit = browsing.visit()
    visit.restore(single_face(tmp_path), 1)
    with visit.changes_picture():
        visit.page.get_by_label("2 ×").click()
    expect(visit.page.locator("#status")).to_contain_text("560 × 620 pixels")
    restored = visit.download("Download the photograph", tmp_path)
    with Image.open(restored) as image:
        assert image.size == (560, 620)
    run_memgan(command_shown(visit), tmp_path)
    assert restored.read_bytes() == (tmp_path / "results/restored_imgs/one.jpg").read_bytes()


def test_a_photograph_survives_a_reload(browsing: Browsing, tmp_path: Path) -> None:
    visit = browsing.visit()
    visit.add(TABLE)
    expect(visit.page.get_by_role("status").first).to_contain_text("Restoring", timeout=PATIENCE_MS)
    visit.open()  # in the middle of the work
    expect(visit.page.locator("#status [role=status]")).to_be_visible()
    visit.wait_for_faces(3)
    with visit.changes_picture():
        visit.page.get_by_label("Restore face 1").click()
    shown = visit.pixels()
    visit.open()
    visit.wait_for_faces(3)
    assert visit.pixels() == shown
    expect(visit.page.get_by_label("Restore face 1")).not_to_be_checked()
    expect(visit.page.get_by_label("Restore face 2")).to_be_checked()


# -- whose files -----------------------------------------------------------------------------------------------------


def test_two_visitors_see_only_their_own(browsing: Browsing, tmp_path: Path) -> None:
    first, second = browsing.visit(), browsing.visit()
    first.add(single_face(tmp_path, name="zebra.jpg"))
    second.add(single_face(tmp_path, name="quokka.jpg"))
    for visit in (first, second):
        visit.wait_for_faces(1)
    stranger = browsing.browser.new_context()  # without a cookie
    for visit, others in ((first, second), (second, first)):
        files = [image.get_attribute("src") for image in visit.page.locator(".mg-result img").all()]
        addresses = [visit.address + str(file) if not str(file).startswith("http") else str(file) for file in files]
        links = visit.page.locator("#downloads a").all()
        addresses += [visit.address + str(link.get_attribute("href")) for link in links]
        assert len(addresses) == 6  # before, after, a face, its map; the photograph, the zip file
        for address in addresses:
            assert visit.context.request.get(address).status == 200
            assert others.context.request.get(address).status == 403
            assert stranger.request.get(address).status == 403
        others.open()
        others.wait_for_faces(1)
        mine, theirs = ("zebra", "quokka") if visit is first else ("quokka", "zebra")
        assert theirs in str(others.page.locator("#downloads a").first.get_attribute("download"))
        assert mine not in others.page.content()
    stranger.close()


# -- what cannot be restored -----------------------------------------------------------------------------------------


def bad_file(folder: Path, kind: str) -> Path:
    path = folder / {"text": "letter.jpg", "tiny": "dot.png", "large": "huge.png", "moving": "moving.gif"}[kind]
    match kind:
        case "text":
            path.write_text("Dear Sir or Madam, this is no picture.")
        case "tiny":
            Image.new("RGB", (1, 1), (90, 80, 70)).save(path)
        case "large":
            Image.new("L", (2400, 2000), 128).save(path)
        case "moving":
            frames = [Image.new("RGB", (64, 64), (40 * number, 80, 90)) for number in range(3)]
            frames[0].save(path, save_all=True, append_images=frames[1:], duration=80)
    return path


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("text", r"letter\.jpg"),
        ("tiny", r"dot\.png"),
        ("large", r"huge\.png has 5 megapixels; this page takes up to 4\..*smaller"),
        ("moving", r"moving\.gif holds 3 pictures; give it under “Many pictures”"),
    ],
)
def test_what_cannot_be_restored_is_said_and_the_next_picture_works(
    browsing: Browsing, tmp_path: Path, kind: str, words: str
) -> None:
    visit = browsing.visit()
    visit.add(bad_file(tmp_path, kind))
    alert = visit.page.get_by_role("alert")
    expect(alert).to_have_text(re.compile(words), timeout=PATIENCE_MS)
    assert not re.search(r"Traceback|Error\b|/tmp|memgan-app", alert.inner_text())
    visit.page.locator("#photo").get_by_role("button", name="Clear").click()
    visit.restore(single_face(tmp_path), 1)
    expect(visit.page.get_by_role("alert")).to_have_count(0)


# -- many pictures ---------------------------------------------------------------------------------------------------


def test_many_pictures_one_of_them_bad_are_what_the_command_writes(browsing: Browsing, tmp_path: Path) -> None:
    given = tmp_path / "given"
    given.mkdir()
    names = [single_face(given, name="a.jpg"), bad_file(given, "text"), single_face(given, name="b.jpg")]
    visit = browsing.visit()
    visit.tab("Many pictures")
    visit.add(*names, field="#pictures")
    expect(visit.page.locator("#pictures")).to_contain_text("letter")
    visit.page.get_by_role("button", name="Restore all").click()
    expect(visit.page.locator("#status-many progress")).to_be_visible(timeout=PATIENCE_MS)
    expect(visit.page.locator("#downloads-many a")).to_be_visible(timeout=PATIENCE_MS)
    expect(visit.page.locator("#problems-many")).to_contain_text("letter.jpg: left out")
    expect(visit.page.locator("#status-many")).to_contain_text("2 of 3 pictures restored")
    archive = visit.download("Download all", tmp_path)
    run_memgan(["restore", "a.jpg", "b.jpg", "-o", "results", "--reliability"], given)
    assert_same_files(archive, given / "results")


def test_stop_gives_what_is_done_and_a_reload_shows_the_work(browsing: Browsing, tmp_path: Path) -> None:
    visit = browsing.visit()
    visit.tab("Many pictures")
    paths = [tmp_path / f"{number}.jpg" for number in range(8)]
    for path in paths:
        single_face(tmp_path, name=path.name)
    visit.add(*paths, field="#pictures")
    expect(visit.page.locator("#pictures")).to_contain_text("7")
    visit.page.get_by_role("button", name="Restore all").click()
    status = visit.page.locator("#status-many")
    expect(status).to_contain_text("picture 2 of 8", timeout=PATIENCE_MS)
    visit.open()
    visit.tab("Many pictures")
    expect(status).to_contain_text(re.compile(r"picture [2-4] of 8"), timeout=PATIENCE_MS)
    visit.page.get_by_role("button", name="Stop").click()
    expect(status).to_contain_text("Stopped", timeout=PATIENCE_MS)
    archive = visit.download("Download all", tmp_path)
    with zipfile.ZipFile(archive) as file:
        done = [name for name in file.namelist() if name.startswith("restored_imgs/")]
        assert 1 <= len(done) < 8
        for name in done:
            with Image.open(io.BytesIO(file.read(name))) as image:
                image.load()
    visit.open()
    visit.tab("Many pictures")
    expect(visit.page.locator("#downloads-many a")).to_be_visible()


# -- a film ----------------------------------------------------------------------------------------------------------


def test_a_film(browsing: Browsing, tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    with Image.open(TABLE) as image:
        picture = np.asarray(image)
    steps = [picture[90 + n // 2 : 410 + n // 2, 40 + n : 360 + n] for n in range(16)]
    clip = make_clip(tmp_path / "clip.mp4", steps, rate=8, audio=1)
    visit = browsing.visit()
    visit.tab("Film")
    visit.add(clip, field="#film")
    expect(visit.page.locator("#film")).to_contain_text("clip")
    visit.page.get_by_role("button", name="Restore film").click()
    expect(visit.page.locator("#status-film progress")).to_be_visible(timeout=PATIENCE_MS)
    expect(visit.page.locator("#downloads-film a")).to_be_visible(timeout=PATIENCE_MS)
    (tmp_path / "downloads").mkdir()
    restored = visit.download("Download the film", tmp_path / "downloads")
    assert restored.name == "clip.mp4"
    with av.open(str(restored)) as film, av.open(str(clip)) as before:
        assert len(film.streams.audio) == 1
        frames = [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]
        old = [frame.to_ndarray(format="rgb24") for frame in before.decode(video=0)]
    assert len(frames) == len(old) == 16
    assert np.abs(frames[8].astype(int) - old[8]).max() > 8  # the face is another one


# -- for everybody ---------------------------------------------------------------------------------------------------


def focused(page: Page) -> str:
    """What has the focus of the keyboard: its role or kind, and how it is called."""
    return str(
        page.evaluate(
            """() => {
                const one = document.activeElement;
                const words = one.ariaLabel || one.labels?.[0]?.innerText || one.innerText || "";
                return (one.type === "submit" ? "button" : one.type || one.role || one.tagName.toLowerCase()) + " "
                    + words.trim().split("\\n")[0];
            }"""
        )
    )


def walk(page: Page) -> list[str]:
    """Everything that Tab reaches, once around."""
    found: list[str] = []
    while len(found) < 200:
        page.keyboard.press("Tab")
        found.append(focused(page))
        if len(found) > 1 and found[-1] == found[0]:
            return [stop for stop in found[:-1] if not stop.startswith("body")]
    raise AssertionError(found)


def tab_to(page: Page, name: str) -> None:
    for _ in range(100):
        page.keyboard.press("Tab")
        if focused(page) == name:
            return
    raise AssertionError(f"Tab does not reach {name}: {walk(page)}")


def test_the_keyboard_is_enough(browsing: Browsing, tmp_path: Path) -> None:
    visit = browsing.visit()
    page = visit.page
    tab_to(page, "button Click to upload or drop files")
    choosers: list[FileChooser] = []
    page.on("filechooser", lambda chooser: choosers.append(chooser))
    for _ in range(30):  # gradio's page takes a while until it hears keys
        page.keyboard.press("Enter")
        page.wait_for_timeout(1000)
        if choosers:
            break
    choosers[0].set_files(str(single_face(tmp_path)))
    visit.wait_for_faces(1)
    page.evaluate("document.activeElement.blur()")
    tab_to(page, "slider Share shown as it was before, in percent")
    share = page.get_by_role("slider", name="Share shown as it was before")
    expect(share).to_have_attribute("aria-valuenow", "50")
    page.keyboard.press("ArrowLeft")
    expect(share).to_have_attribute("aria-valuenow", "45")
    assert "inset(0px 0px 0px 4" in str(page.locator("#before-after img.fixed").get_attribute("style"))
    tab_to(page, "checkbox Restore face 1")
    with visit.changes_picture():
        page.keyboard.press("Space")
    expect(page.get_by_label("Restore face 1")).not_to_be_checked()
    with visit.changes_picture():
        page.keyboard.press("Space")
    tab_to(page, "range range slider for Strength of face 1")
    with visit.changes_picture():
        page.keyboard.press("ArrowLeft")
    expect(page.get_by_role("slider", name="range slider for Strength of face 1")).to_have_value("0.95")
    page.evaluate("document.activeElement.blur()")
    tab_to(page, "a Download the photograph")
    with page.expect_download() as event:
        page.keyboard.press("Enter")
    assert event.value.suggested_filename == "one_restored.jpg"
    reached = walk(page)
    assert all(len(stop.split(" ", 1)[1]) > 1 for stop in reached), reached  # each is called something
    for control in ("Strength", "Fidelity", "Grain", "Fidelity of face 1"):
        assert f"range range slider for {control}" in reached
    assert {"radio as it is", "checkbox Keep the colors of the photograph", "button Photograph"} <= set(reached)


def test_what_screen_readers_are_told(browsing: Browsing, tmp_path: Path) -> None:
    visit = browsing.visit()
    visit.restore(single_face(tmp_path), 1)
    page = visit.page
    for kind in ("textbox", "spinbutton", "slider", "checkbox", "radio", "button", "link", "tab"):
        every, unnamed = page.get_by_role(kind), page.get_by_role(kind, name=re.compile(r"^\s*$"))  # type: ignore[arg-type]
        assert unnamed.count() == 0, (kind, unnamed.first.evaluate("one => one.outerHTML"))
        assert kind in ("textbox",) or every.count() > 0, kind
    without = page.locator("img:visible:not([alt]), img:visible[alt='']")
    assert without.count() == 0, without.first.evaluate("one => one.outerHTML")
    assert page.locator("#status").get_attribute("aria-live") == "polite"  # there before its words are
    expect(page.get_by_role("status").first).to_contain_text("1 face found")
    assert page.locator("html").get_attribute("lang")
    assert page.get_by_role("heading", level=1).inner_text() == "memgan"


_CONTRASTS = """() => {
    const channels = (color) => color.match(/[\\d.]+/g).map(Number);
    const light = ([r, g, b]) => {
        const linear = (c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
        const [x, y, z] = [r / 255, g / 255, b / 255].map(linear);
        return 0.2126 * x + 0.7152 * y + 0.0722 * z;
    };
    const behind = (one) => {
        for (let at = one; at; at = at.parentElement) {
            const color = channels(getComputedStyle(at).backgroundColor);
            if (color.length === 3 || color[3] === 1) return color;
        }
        return [255, 255, 255];
    };
    const found = [];
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (texts.nextNode()) {
        const one = texts.currentNode.parentElement;
        const words = texts.currentNode.textContent.trim();
        if (!words || !one.checkVisibility({ opacityProperty: true, visibilityProperty: true })) continue;
        if (one.closest("script, style, [aria-hidden=true], [data-testid=slider], [disabled], .sr-only")) continue;
        const [a, b] = [light(channels(getComputedStyle(one).color)), light(behind(one))].sort((x, y) => y - x);
        found.push([words.slice(0, 60), (a + 0.05) / (b + 0.05)]);
    }
    return found;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out(browsing: Browsing, tmp_path: Path, scheme: str) -> None:
    visit = browsing.visit(color_scheme=scheme)
    visit.restore(single_face(tmp_path), 1)
    background = visit.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == {"light": "rgb(250, 248, 245)", "dark": "rgb(23, 22, 21)"}[scheme]
    contrasts = visit.page.evaluate(_CONTRASTS)
    visit.page.locator("#photo").get_by_role("button", name="Clear").click()
    visit.add(bad_file(tmp_path, "text"))
    expect(visit.page.get_by_role("alert")).to_be_visible(timeout=PATIENCE_MS)
    contrasts += visit.page.evaluate(_CONTRASTS)
    words = " ".join(text for text, _ in contrasts)
    for part in ("Restores faces in old", "1 face found", "same person", "Share of the", "A restored face", "letter"):
        assert part in words
    assert [(text, round(ratio, 2)) for text, ratio in contrasts if ratio < 4.5] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone(browsing: Browsing, tmp_path: Path, scheme: str) -> None:
    visit = browsing.visit(color_scheme=scheme, **PHONE)
    visit.restore(single_face(tmp_path, name=LONG_NAME), 1)
    page = visit.page
    page.get_by_text("The same on the command line").click()
    for tab in ("Many pictures", "Film", "Photograph"):
        visit.tab(tab)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, tab
    order = ["#photo", "#status", "#before-after", "#downloads", "#faces", ".mg-settings:visible"]
    boxes = [page.locator(one).first.bounding_box() for one in order]
    assert all(box is not None and box["x"] >= 0 and box["x"] + box["width"] <= 390 for box in boxes), boxes
    tops = [box["y"] for box in boxes if box is not None]
    assert tops == sorted(tops)
    for button in page.locator("#downloads a").all():
        box = button.bounding_box()
        assert box is not None and box["height"] >= 36  # for fingers


# -- accounts and proxies --------------------------------------------------------------------------------------------


def test_login_and_logout(chromium: Browser, tmp_path: Path) -> None:
    from memgan.apps.web.accounts import hash_password

    accounts = tmp_path / "accounts"
    accounts.write_text(f"anna:{hash_password('correct horse')}\n", "utf-8")
    accounts.chmod(0o600)
    folder = tmp_path / "page"
    folder.mkdir()
    with page_process(folder, "--auth", str(accounts)) as served:
        browsing = Browsing(chromium, served.address)
        visit = browsing.visit(opened=False)
        page = visit.page
        page.goto(served.address)
        assert page.url == f"{served.address}login"
        page.get_by_label("Name").fill("anna")
        page.get_by_label("Password").fill("wrong horse")
        page.get_by_role("button", name="Log in").click()
        expect(page.get_by_role("alert")).to_contain_text("Name or password is wrong")
        expect(page.get_by_label("Name")).to_have_value("anna")
        browsing.complaints.clear()  # the browser's own, about the answer 401
        page.get_by_label("Password").fill("correct horse")
        page.keyboard.press("Enter")
        expect(page.locator("#photo")).to_be_visible()
        visit.restore(single_face(tmp_path), 1)
        link = served.address + str(page.locator("#downloads a").first.get_attribute("href"))
        assert visit.context.request.get(link).status == 200
        page.goto(f"{served.address}logout")
        expect(page.get_by_label("Password")).to_be_visible()
        assert visit.context.request.get(link, headers={"accept": "image/*"}).status == 401
        page.goto(served.address)
        expect(page.get_by_label("Password")).to_be_visible()
        browsing.close()


def test_behind_a_proxy_that_shows_it_under_a_path(chromium: Browser, tmp_path: Path) -> None:
    folder = tmp_path / "page"
    folder.mkdir()
    with (
        page_process(folder, "--root-path", "/restore") as served,
        reverse_proxy(served.address, "/restore") as address,
    ):
        browsing = Browsing(chromium, address)
        visit = browsing.visit()
        visit.restore(single_face(tmp_path), 1)
        with visit.changes_picture():
            visit.page.get_by_label("Restore face 1").click()
        picture = visit.page.locator("#before-after img.fixed")
        assert picture.evaluate("image => image.naturalWidth") == 280
        face = visit.page.get_by_role("img", name="Face 1, before")
        assert face.evaluate("image => image.naturalWidth") > 0
        restored = visit.download("Download the photograph", tmp_path)
        with Image.open(restored) as image:
            assert image.size == (280, 310)
        # Gradio's page names no icon, and so browsers ask the host itself for one.
        icon = f"{address.removesuffix('restore/')}favicon.ico"
        asked = [url for url in browsing.requests if url.startswith("http") and url != icon]
        assert not [url for url in asked if not url.startswith(address)]
        browsing.complaints[:] = [one for one in browsing.complaints if icon not in one]
        browsing.close()
