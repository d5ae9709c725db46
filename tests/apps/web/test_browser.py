"""The page in Chromium: what visitors do, and what they see and get then."""

import io
import re
import shlex
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from page_process import ROOT, PageProcess, page_process, run_memgan
from PIL import Image

pytest.importorskip("gradio")
pytest.importorskip("playwright")

from browsing import PATIENCE_MS, Browsing, Visit, launch  # noqa: E402
from playwright.sync_api import Browser, expect, sync_playwright  # noqa: E402

pytestmark = [pytest.mark.browser, pytest.mark.timeout(1200)]

PHOTOS = ROOT / "examples" / "photos"
TABLE = PHOTOS / "prints_on_a_table.jpg"  # three faces
CALL = PHOTOS / "video_call.jpg"


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
    first.add(single_face(tmp_path, name="hers.jpg"))
    second.add(single_face(tmp_path, name="his.jpg"))
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
        mine, theirs = ("hers", "his") if visit is first else ("his", "hers")
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
    print(alert.inner_text())
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
    print(visit.page.locator("#status-many").inner_text(), visit.page.locator("#problems-many").inner_text())
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
