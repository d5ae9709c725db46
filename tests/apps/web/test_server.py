"""The whole page as programs see it: addresses, headers, functions with names, and that nothing else goes out."""

import contextlib
import io
import json
import re
import shutil
import socket
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import cv2
import numpy as np
import pytest

pytest.importorskip("gradio")

import httpx
from fakes import scene
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from page_studio import Workshop, wait_until, workshop
from small_page import served
from starlette.testclient import TestClient

from memgan.apps.web import server as module
from memgan.apps.web.options import AppOptions
from memgan.apps.web.picture_job import PictureJob
from memgan.apps.web.server import make_app
from memgan.apps.web.visitors import COOKIE
from memgan.restoration.options import RestoreOptions

README = (Path(__file__).parents[3] / "memgan" / "apps" / "web" / "README.md").read_text("utf-8")
ANNA, BEN = ({"cookie": f"{COOKIE}={name * 8}"} for name in ("anna", "ben"))
PNG = bytes(cv2.imencode(".png", scene())[1])
HEADERS = ("content-security-policy", "x-content-type-options", "referrer-policy", "permissions-policy")


class Site:
    """A page that is served, and its studio."""

    def __init__(self, shop: Workshop, address: str) -> None:
        self.shop, self.address = shop, address


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with (
        pytest.MonkeyPatch.context() as patch,
        workshop(tmp_path_factory.mktemp("site"), patch, queue=3) as shop,
        served(make_app(AppOptions(), shop.studio)) as address,
    ):
        yield Site(shop, address)


@pytest.fixture
def http(site: Site) -> Iterator[httpx.Client]:
    site.shop.detector.count, site.shop.detector.error = 2, None
    with httpx.Client(base_url=site.address, timeout=30) as client:
        yield client


@contextlib.contextmanager
def client_of(site: Site, headers: dict[str, str]) -> Iterator[Client]:
    client = Client(site.address, headers=headers, verbose=False, analytics_enabled=False, httpx_kwargs={"timeout": 60})
    yield client
    client.close()


def job_of(site: Site, name: str = "a.png", visitor: str = "anna") -> PictureJob:
    shop = site.shop
    return PictureJob(shop.studio, shop.visitor(visitor), shop.sent(name, PNG, visitor), RestoreOptions(upscale=1))


# -- addresses -------------------------------------------------------------------------------------------------------


def test_health(http: httpx.Client) -> None:
    answer = http.get("/health")
    assert answer.status_code == 200 and answer.json()["status"] == "ok" and answer.json()["waiting"] == 0


def test_downloads(site: Site, http: httpx.Client) -> None:
    job = site.shop.done(job_of(site, "Größe 1.png"))
    address = f"/download/{job.token}/photograph"
    answer = http.get(address, headers=ANNA)
    assert answer.status_code == 200 and answer.content == job.result().read_bytes()
    assert answer.headers["content-type"] == "image/png" and "no-store" in answer.headers["cache-control"]
    assert answer.headers["content-disposition"] == "attachment; filename*=utf-8''Gr%C3%B6%C3%9Fe%201_restored.png"
    answer = http.get(f"/download/{job.token}/all", headers=ANNA)
    with zipfile.ZipFile(io.BytesIO(answer.content)) as file:
        assert "restored_imgs/Größe 1.png" in file.namelist()
    for cookies in (BEN, {}):
        refused = http.get(address, headers=cookies)
        assert refused.status_code == 403 and "not yours" in refused.text
    assert http.get(f"/download/{'0' * 32}/photograph", headers=ANNA).status_code == 403
    answer = http.get(f"/download/{job.token}/film", headers=ANNA)
    assert answer.status_code == 409 and answer.text == "There is no film to download here."
    for path in (f"/download/{job.token}/../../etc/passwd", f"/download/{job.token}/..%2f..%2fetc%2fpasswd"):
        assert http.get(path, headers=ANNA).status_code in (403, 404)


@pytest.mark.slow
def test_a_result_that_is_not_there_yet(site: Site, http: httpx.Client) -> None:
    """Is refused at once, however many ask, and the page answers others meanwhile."""
    job = job_of(site)
    with site.shop.studio.lane.turn(urgent=True, stops=lambda: False):
        site.shop.studio.start(job)
        for _ in range(50):
            answer = http.get(f"/download/{job.token}/photograph", headers=ANNA)
            assert answer.status_code == 409 and "being restored just now" in answer.text
        assert http.get("/health").json()["waiting"] == 1
    assert job.wait(30)


@pytest.mark.slow
def test_changes_that_wait_for_their_turn_hold_up_nobody_else(site: Site, http: httpx.Client) -> None:
    jobs = [site.shop.done(job_of(site)) for _ in range(8)]
    for job in jobs:
        job.forget()
    with client_of(site, ANNA) as client:
        with site.shop.studio.lane.turn(urgent=True, stops=lambda: False):
            calls = [client.submit(job.token, [0.5, 0.5], api_name="/rerender") for job in jobs]
            wait_until(lambda: site.shop.studio.num_waiting == len(jobs))
            with client_of(site, BEN) as other, pytest.raises(AppError, match="not here any more"):
                other.predict(jobs[0].token, api_name="/rerender")
            assert http.get("/health").status_code == 200
        assert len({call.result(30)[1]["id"] for call in calls}) == len(jobs)
    assert site.shop.studio.num_waiting == 0


def test_a_disk_that_is_full(site: Site, http: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    job = site.shop.done(job_of(site))

    def full() -> Path:
        raise OSError(28, "No space left on device", str(job.folder / "a.png"))

    monkeypatch.setattr(job, "result", full)
    answer = http.get(f"/download/{job.token}/photograph", headers=ANNA)
    assert answer.status_code == 409 and "No space left" in answer.text and str(job.folder) not in answer.text


def test_every_answer_has_the_headers_of_a_private_page(site: Site, http: httpx.Client) -> None:
    job = site.shop.done(job_of(site))
    for method, path in (
        ("GET", "/"),
        ("GET", "/health"),
        ("GET", "/config"),
        ("GET", "/nothing"),
        ("GET", "/gradio_api/info"),
        ("GET", f"/download/{job.token}/photograph"),
        ("GET", f"/gradio_api/file={job.path}"),
        ("GET", "/gradio_api/proxy=https://example.org/"),
        ("POST", "/gradio_api/upload"),
        ("POST", "/gradio_api/queue/join"),
        ("POST", "/health"),
    ):
        answer = http.request(method, path)
        assert all(name in answer.headers for name in HEADERS), path
        assert "default-src 'self'" in answer.headers["content-security-policy"]
        assert "frame-ancestors 'self'" in answer.headers["content-security-policy"]
        assert not any(name.startswith("access-control-") for name in answer.headers), path


def test_the_page_and_its_settings_name_no_folder_of_this_machine(site: Site, http: httpx.Client) -> None:
    """Of paths, gradio's settings show none of the visitors', nor where Python and memgan are."""
    site.shop.done(job_of(site))
    for path in ("/", "/config", "/gradio_api/info", "/theme.css", "/gradio_api/startup-events"):
        text = http.get(path, headers={"accept": "text/html"}).text
        for place in (site.shop.folder, site.shop.visitors.root, Path(module.__file__).parents[3], Path.home()):
            if len(str(place)) > 3:
                assert str(place) not in text, (path, place)


def test_the_page_loads_nothing_of_other_hosts(http: httpx.Client) -> None:
    page = http.get("/").text
    assert "<script" in page and "<link" in page
    named = re.findall(r"""<(?:script|link|img|iframe)[^>]*\s(?:src|href)=["']([^"']+)""", page)
    foreign = {address for address in named if urlsplit(address).netloc and "preconnect" not in address}
    assert not foreign


def test_functions_of_the_page_are_named_and_only_some_are_shown(http: httpx.Client) -> None:
    dependencies = http.get("/config").json()["dependencies"]
    assert dependencies and all(isinstance(one["api_name"], str) for one in dependencies)
    names = [one["api_name"] for one in dependencies]
    assert len(set(names)) == len(names)
    shown = {one["api_name"] for one in dependencies if one["api_visibility"] == "public"}
    assert shown - {"restore_film"} == {"restore", "rerender", "restore_many"}
    assert {f"/{name}" for name in shown} == set(http.get("/gradio_api/info").json()["named_endpoints"])


@pytest.mark.parametrize("host", ["127.0.0.2", "[::1]", "0:0:0:0:0:0:0:1", "LOCALHOST"])
def test_the_page_is_open_under_the_address_that_it_listens_at(site: Site, host: str) -> None:
    name = {"0:0:0:0:0:0:0:1": "[::1]"}.get(host, host).lower()
    client = TestClient(make_app(AppOptions(host=host), site.shop.studio), base_url="http://elsewhere")
    assert client.get("/health", headers={"host": f"{name}:7860"}).status_code == 200
    assert client.get("/health", headers={"host": "localhost"}).status_code == 200
    assert client.get("/health", headers={"host": "example.org"}).status_code == 403


def test_a_page_behind_a_proxy(site: Site) -> None:
    client = TestClient(make_app(AppOptions(root_path="/restore"), site.shop.studio), base_url="https://example.org")
    for path in ("/health", "/"):
        assert client.get(path).status_code == 200
    assert client.get("/config").json()["root"].endswith("/restore")
    answer = client.get("/", headers={"accept": "text/html"})
    assert "Path=/restore" in answer.headers["set-cookie"] and "Secure" in answer.headers["set-cookie"]


# -- programs --------------------------------------------------------------------------------------------------------


def test_a_program_restores_and_renders_anew(site: Site, http: httpx.Client, tmp_path: Path) -> None:
    photo = tmp_path / "Größe.png"
    photo.write_bytes(PNG)
    with client_of(site, ANNA) as client:
        path, facts = client.predict(handle_file(photo), strength=0.8, grain=0.2, fidelity=0.5, api_name="/restore")
        output = site.shop.command(photo, "--weights", "small", "-w", "0.8", "--grain", "0.2", "--fidelity", "0.5")
        assert Path(path).read_bytes() == (output / "restored_imgs" / "Größe.png").read_bytes()
        assert Path(path).name == "Größe.png" and len(facts["faces"]) == 2 and facts["status"] == "restored"
        assert str(site.shop.folder) not in json.dumps(facts)
        path, facts = client.predict(
            facts["id"], strengths=[0.5, 1.0], faces=[1, 0], color_lock=False, api_name="/rerender"
        )
        words = ("--face-index", "1,0", "-w", "0=1,1=0.5", "--no-color-lock", "--grain", "0.2", "--fidelity", "0.5")
        output = site.shop.command(photo, "--weights", "small", *words)
        assert Path(path).read_bytes() == (output / "restored_imgs" / "Größe.png").read_bytes()
        with client_of(site, BEN) as other, pytest.raises(AppError, match="not here any more"):
            other.predict(facts["id"], api_name="/rerender")


def test_a_program_restores_many(site: Site, http: httpx.Client, tmp_path: Path) -> None:
    for name, data in (("a.png", PNG), ("b.jpg", b"")):
        (tmp_path / name).write_bytes(data)
    given = [handle_file(tmp_path / name) for name in ("a.png", "b.jpg")]
    with client_of(site, ANNA) as client:
        path, problems = client.predict(given, api_name="/restore_many")
        with zipfile.ZipFile(path) as file:
            assert "restored_imgs/a.png" in file.namelist() and "restored_imgs/b.jpg" not in file.namelist()
        assert len(problems) == 1 and problems[0].startswith("b.jpg: left out: ")
        with pytest.raises(AppError, match=r"b\.jpg: left out"):
            client.predict(given[1:], api_name="/restore_many")


def test_a_program_restores_a_film(site: Site, http: httpx.Client, tmp_path: Path) -> None:
    pytest.importorskip("av")
    from clips import make_clip

    film = make_clip(tmp_path / "a.mkv", 4, codec="ffv1", size=(160, 120))
    with client_of(site, ANNA) as client:
        path, _ = client.predict(handle_file(film), steadiness=0.5, api_name="/restore_film")
        assert Path(path).read_bytes()[:4] == film.read_bytes()[:4] and Path(path).read_bytes() != film.read_bytes()
        with pytest.raises(AppError, match=r"a\.png"):
            (tmp_path / "a.png").write_bytes(PNG)
            client.predict(handle_file(tmp_path / "a.png"), api_name="/restore_film")


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "too strong": ({"strength": 2}, "weight"),
    "no number": ({"grain": "much"}, "grain"),
    "too large": ({"enlarge": 100}, "upscale"),
    "a large result": ({"enlarge": 16}, None),  # type: ignore[dict-item]
    "no switch": ({"color_lock": "perhaps"}, "color_lock"),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", WRONG)
def test_what_a_program_gives_wrong_is_said(site: Site, http: httpx.Client, tmp_path: Path, case: str) -> None:
    values, problem = WRONG[case]
    (tmp_path / "a.png").write_bytes(PNG)
    with client_of(site, ANNA) as client:
        if problem is None:
            site.shop.studio.max_megapixels, before = 0.1, site.shop.studio.max_megapixels
            problem = "would become a picture of"
        else:
            before = site.shop.studio.max_megapixels
        try:
            with pytest.raises(AppError, match=problem):
                client.predict(handle_file(tmp_path / "a.png"), **values, api_name="/restore")
        finally:
            site.shop.studio.max_megapixels = before


@pytest.mark.slow
def test_mistakes_of_memgan_show_no_paths(
    site: Site, http: httpx.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise ValueError("in /secret/folder")

    monkeypatch.setattr(PictureJob, "change_some", fail)
    job = site.shop.done(job_of(site))
    with client_of(site, ANNA) as client, pytest.raises(AppError) as caught:
        client.predict(job.token, api_name="/rerender")
    assert "/secret" not in str(caught.value)
    assert "/secret/folder" in capsys.readouterr().err, "the terminal says it"


def call(http: httpx.Client, name: str, *data: object, headers: dict[str, str] = ANNA) -> tuple[str, Any]:
    """What plain HTTP gets of a function: the last event and its data."""
    begun = http.post(f"/gradio_api/call/{name}", json={"data": list(data)}, headers=headers)
    if begun.status_code != 200:
        return str(begun.status_code), begun.json()
    with http.stream("GET", f"/gradio_api/call/{name}/{begun.json()['event_id']}", headers=headers) as stream:
        lines = [line for line in stream.iter_lines() if line]
    return lines[-2].removeprefix("event: "), json.loads(lines[-1].removeprefix("data: "))


def test_files_that_are_none_or_not_ones_own(site: Site, http: httpx.Client) -> None:
    own = site.shop.sent("a.png", PNG)
    kind = {"meta": {"_type": "gradio.FileData"}}
    looks = (0.8, 0.0, 1.0, True, 0.5, False)
    assert call(http, "restore", {"path": str(own), **kind}, *looks)[0] == "complete"
    for path in (str(own), "/etc/passwd", f"{own.parent}/../../../x", "https://example.org/a.png"):
        assert call(http, "restore", {"path": path, **kind}, *looks, headers=BEN)[0] == "403"
    for given in (None, 5, "a.png", {"path": None, **kind}, [], {}, str(own)):
        said = call(http, "restore", given, *looks)
        assert said[0] != "complete" and str(site.shop.folder) not in str(said[1]), said
    assert call(http, "rerender", ["x"], None, None, None, None)[0] != "complete"
    assert call(http, "rerender", {"a": 1}, None, None, None, None)[0] != "complete"
    assert call(http, "restore_many", [], *looks)[0] != "complete"
    assert http.get("/health").json()["waiting"] == 0


@pytest.mark.slow
def test_two_visitors_at_a_time(site: Site, http: httpx.Client, tmp_path: Path) -> None:
    for name, seed in (("anna", 1), ("ben", 2)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.png").write_bytes(bytes(cv2.imencode(".png", scene(seed=seed))[1]))
    with client_of(site, ANNA) as anna, client_of(site, BEN) as ben:
        calls = {
            name: [client.submit(handle_file(tmp_path / name / "a.png"), api_name="/restore") for _ in range(2)]
            for name, client in (("anna", anna), ("ben", ben))
        }
        found = {name: [each.result(30) for each in several] for name, several in calls.items()}
    results = {name: {Path(path).read_bytes() for path, _ in several} for name, several in found.items()}
    assert len(results["anna"]) == len(results["ben"]) == 1 and results["anna"] != results["ben"]
    for path, facts in found["anna"]:
        assert Path(path).name == "a.png"
        assert http.get(f"/download/{facts['id']}/photograph", headers=BEN).status_code == 403
        assert http.get(f"/download/{facts['id']}/photograph", headers=ANNA).status_code == 200


def test_the_example_in_python_runs_as_it_is_written(
    site: Site, http: httpx.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.shop.detector.count = 3
    (snippet,) = re.findall(r"```python\n(.*?)```", README, re.S)
    monkeypatch.chdir(tmp_path)
    Path("photo.jpg").write_bytes(bytes(cv2.imencode(".jpg", scene())[1]))
    names: dict[str, Any] = {}
    exec(compile(snippet.replace("http://127.0.0.1:7860", site.address), "README.md", "exec"), names)
    assert Path(names["path"]).suffix == ".jpg" and len(names["facts"]["faces"]) == 2, "faces 0 and 2"
    names["client"].close()


@pytest.mark.skipif(
    not all(map(shutil.which, ("bash", "curl", "jq", "openssl"))), reason="needs bash, curl, jq, openssl"
)
def test_the_lines_for_curl_run_as_they_are_written(site: Site, http: httpx.Client, tmp_path: Path) -> None:
    (lines,) = (block for block in re.findall(r"```sh\n(.*?)```", README, re.S) if "curl" in block)
    (tmp_path / "photo.jpg").write_bytes(bytes(cv2.imencode(".jpg", scene())[1]))
    script = lines.replace("http://127.0.0.1:7860", site.address)
    done = subprocess.run(["bash", "-euc", script], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    restored = cv2.imread(str(tmp_path / "restored.jpg"))
    assert restored is not None and np.abs(restored.astype(int) - scene()).max() > 20
    output = site.shop.command(tmp_path / "photo.jpg", "--weights", "small", "-w", "0.8")
    assert (tmp_path / "restored.jpg").read_bytes() == (output / "restored_imgs" / "photo.jpg").read_bytes()


def test_nothing_is_asked_of_other_hosts(site: Site, http: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither while a page is made and served, nor while it restores; not even a name is looked up."""
    asked: set[str] = set()
    connect, look_up = socket.socket.connect, socket.getaddrinfo

    def connects(self: socket.socket, address: Any) -> Any:
        asked.add(str(address[0]) if isinstance(address, tuple) else "file")
        return connect(self, address)

    def looks_up(host: Any, *args: Any, **kwargs: Any) -> Any:
        asked.add(str(host))
        return look_up(host, *args, **kwargs)

    monkeypatch.setattr(socket.socket, "connect", connects)
    monkeypatch.setattr(socket, "getaddrinfo", looks_up)
    own = site.shop.sent("a.png", PNG)
    with (
        served(make_app(AppOptions(), site.shop.studio)) as address,
        httpx.Client(base_url=address, timeout=60, headers={"accept": "text/html"}) as other,
    ):
        assert other.get("/").status_code == 200
        file = {"path": str(own), "meta": {"_type": "gradio.FileData"}}
        assert call(other, "restore", file, 0.8, 0.0, 1.0, True, 0.5, False)[0] == "complete"
    assert asked and asked <= {"127.0.0.1", "file"}
