"""Examples that put the page on other machines: what they say to Docker, nginx, the Hub and memgan itself fits."""

import ast
import contextlib
import http.server
import importlib.metadata
import re
import runpy
import shlex
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from packaging.requirements import Requirement

from memgan.apps.cli import main as cli
from memgan.apps.cli.arguments import options_from
from memgan.apps.web.options import DEFAULT_PORT, AppOptions
from memgan.errors import ConfigError
from memgan.version import __version__

ROOT = Path(__file__).parents[1]
SPACE = ROOT / "examples" / "huggingface_space"
DOCKER = ROOT / "examples" / "docker"
DOCKERFILES = ("Dockerfile", "Dockerfile.cuda")
COLORS = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}  # that the Hub knows
LOOPBACK_PORT = f"127.0.0.1:{DEFAULT_PORT}:{DEFAULT_PORT}"


def setup_keyword(name: str) -> ast.expr:
    tree = ast.parse((ROOT / "setup.py").read_text("utf-8"))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) == "setup"]
    ((value,),) = [[keyword.value for keyword in call.keywords if keyword.arg == name] for call in calls]
    return value


def extras() -> set[str]:
    value = setup_keyword("extras_require")
    assert isinstance(value, ast.Dict)
    return {ast.literal_eval(key) for key in value.keys if key is not None}


def lines_of(path: Path) -> list[str]:
    """Without comments and empty lines; continued lines are joined."""
    text = re.sub(r"^\s*#.*\n", "", path.read_text("utf-8"), flags=re.M).replace("\\\n", " ")
    return [" ".join(line.split()) for line in text.splitlines() if line.strip()]


def app_options(words: list[str]) -> AppOptions:
    """What ``memgan`` makes of the words behind it, refusals included."""
    args = cli.build_parser("app").parse_args(words)
    assert args.command == "app"
    return options_from(args, AppOptions)


# The Space


@pytest.fixture(scope="module")
def header() -> dict[str, Any]:
    found = huggingface_hub.metadata_load(SPACE / "README.md")
    assert found is not None
    return found


def test_the_header_is_one_that_the_hub_takes(header: dict[str, Any]) -> None:
    assert header["sdk"] == "gradio" and header["license"] == "apache-2.0"
    assert {header["colorFrom"], header["colorTo"]} <= COLORS
    assert header["title"] and header["emoji"] and header["short_description"]
    assert (SPACE / header["app_file"]).is_file()
    python = f"Programming Language :: Python :: {header['python_version']}"
    assert python in ast.literal_eval(setup_keyword("classifiers"))


def test_the_space_has_the_gradio_that_the_page_is_written_for(header: dict[str, Any]) -> None:
    try:
        installed = importlib.metadata.version("gradio")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("gradio is not installed")
    assert header["sdk_version"].split(".")[0] == installed.split(".")[0]


def test_the_requirements_name_this_version_and_extras_that_exist() -> None:
    (line,) = lines_of(SPACE / "requirements.txt")
    requirement = Requirement(line)
    assert requirement.name == "memgan" and "app" in requirement.extras and requirement.extras <= extras()
    assert requirement.url is not None and requirement.url.endswith(f"/memgan-{__version__}-py3-none-any.whl")


def test_pytorch_comes_first_and_for_processors() -> None:
    index, *names = lines_of(SPACE / "pre-requirements.txt")
    assert index == "--index-url https://download.pytorch.org/whl/cpu"
    needed = {Requirement(text).name for text in ast.literal_eval(setup_keyword("install_requires"))}
    assert {Requirement(name).name for name in names} == {"torch", "torchvision"} <= needed


def test_the_space_serves_where_the_hub_looks_and_in_its_frame(
    header: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    served: list[AppOptions] = []
    monkeypatch.setattr("memgan.apps.web.server.serve", lambda options, parts: served.append(options) or 0)
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(SPACE / header["app_file"]), run_name="__main__")
    assert ended.value.code == 0
    (options,) = served
    assert (options.host, options.port, options.open) == ("0.0.0.0", 7860, False)
    assert options.public and options.embeddable


# The images


@pytest.fixture(params=DOCKERFILES)
def dockerfile(request: pytest.FixtureRequest) -> list[str]:
    return lines_of(DOCKER / request.param)


def arguments_of(instructions: list[str], name: str) -> list[str]:
    return [line.partition(" ")[2] for line in instructions if line.split()[0] == name]


def test_base_images_have_a_tag_that_stays(dockerfile: list[str]) -> None:
    images = [line.split()[0] for line in arguments_of(dockerfile, "FROM")]
    assert images
    for image in images:
        assert re.fullmatch(r"[a-z/]+:\d[\w.-]+", image), f"{image} has no tag, or one that moves"


def test_the_image_runs_as_a_user_without_rights(dockerfile: list[str]) -> None:
    names = [line.split()[0] for line in dockerfile]
    (user,) = arguments_of(dockerfile, "USER")
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)  # numbers, which clusters can check
    assert not {"RUN", "COPY", "ADD"} & set(names[names.index("USER") :])


def test_pip_keeps_no_cache_and_apt_no_lists(dockerfile: list[str]) -> None:
    last = dockerfile[max(i for i, line in enumerate(dockerfile) if line.startswith("FROM")) :]
    assert any("PIP_NO_CACHE_DIR=1" in line for line in arguments_of(last, "ENV"))
    for line in arguments_of(dockerfile, "RUN"):
        assert "apt-get" not in line or line.endswith("rm -rf /var/lib/apt/lists/*")


def test_the_image_has_extras_that_exist(dockerfile: list[str]) -> None:
    found = re.findall(r"memgan-\*\.whl\)\[([\w,]+)\]", "\n".join(dockerfile))
    assert len(found) == 1 and "app" in found[0].split(",")
    assert set(found[0].split(",")) <= extras()


def test_the_image_starts_the_page_for_its_own_machine_only(dockerfile: list[str]) -> None:
    entry, command = (ast.literal_eval(arguments_of(dockerfile, name)[0]) for name in ("ENTRYPOINT", "CMD"))
    options = app_options([*entry[1:], *command])
    assert entry == ["memgan"] and options.is_loopback and options.port == DEFAULT_PORT
    assert arguments_of(dockerfile, "EXPOSE") == [str(DEFAULT_PORT)]


@contextlib.contextmanager
def server_that_answers(status: int) -> Iterator[tuple[int, list[str]]]:
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server.server_port, asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(("status", "is_healthy"), [(200, True), (303, False), (503, False)])
def test_the_health_check_asks_the_page(dockerfile: list[str], status: int, is_healthy: bool) -> None:
    (check,) = arguments_of(dockerfile, "HEALTHCHECK")
    python, option, code = ast.literal_eval(check.partition("CMD ")[2])
    assert (python, option) == ("python", "-c") and str(DEFAULT_PORT) in code
    with server_that_answers(status) as (port, asked), pytest.raises(SystemExit) as ended:
        exec(compile(code.replace(str(DEFAULT_PORT), str(port)), "HEALTHCHECK", "exec"), {})
    assert asked == ["/health"] and (not ended.value.code) == is_healthy


def test_the_two_images_differ_in_pytorch_alone() -> None:
    cpu, cuda = (lines_of(DOCKER / name) for name in DOCKERFILES)
    assert [line for line in cpu if line not in cuda] == ["ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu"]
    assert [line for line in cuda if line not in cpu] == [
        "ENV NVIDIA_DRIVER_CAPABILITIES=compute,utility",
        "ARG TORCH_INDEX=https://pypi.org/simple",
    ]


@pytest.mark.parametrize("name", DOCKERFILES)
def test_the_builder_gets_what_the_wheel_is_made_of_and_nothing_else(name: str) -> None:
    everything, *rest = lines_of(DOCKER / f"{name}.dockerignore")
    sent = {line[1:] for line in rest if line.startswith("!")}
    assert everything == "*"
    assert sent == {"LICENSE", "MANIFEST.in", "README.md", "setup.py", "memgan", "weights"}
    assert all((ROOT / path).exists() for path in sent)
    assert "weights/discriminator" in rest and (ROOT / "weights" / "discriminator").is_dir()


# What people type


def runs() -> list[tuple[list[str], list[str]]]:
    """Of every ``docker run`` of a block: the words for Docker, and those behind the image."""
    text = (DOCKER / "README.md").read_text("utf-8")
    blocks = "".join(re.findall(r"```sh\n(.*?)```", text, re.S)).replace("\\\n", " ")
    found = []
    for line in blocks.splitlines():
        words = shlex.split(line)
        if words[:2] == ["docker", "run"]:
            image = next(i for i, word in enumerate(words) if re.fullmatch(r"memgan:(cpu|cuda)", word))
            found.append((words[2:image], words[image + 1 :]))
    return found


PAGES = [one for one in runs() if one[1][:1] in ([], ["app"]) and "--hash-password" not in one[1]]


def test_there_are_lines_for_oneself_with_login_with_gpu_and_behind_a_proxy() -> None:
    assert len(PAGES) == 4
    assert sum("--gpus" in docker for docker, _ in PAGES) == 1


@pytest.mark.parametrize(("docker", "words"), runs())
def test_every_run_line_is_one_that_memgan_takes(docker: list[str], words: list[str]) -> None:
    command = words or ["app"]
    assert cli.build_parser(command[0]).parse_args(command).command in cli.COMMANDS


@pytest.mark.parametrize(("docker", "words"), PAGES)
def test_every_page_is_safe(docker: list[str], words: list[str]) -> None:
    options = app_options(words or ["app"])
    for word in ("--init", "--read-only", "--tmpfs", "--cap-drop", "no-new-privileges"):
        assert word in docker
    if "-p" in docker:  # reached through the container's own address, and from this machine only
        assert docker[docker.index("-p") + 1] == LOOPBACK_PORT
        assert options.host == "0.0.0.0"
        without = [word for word in words if word not in ("--auth", str(options.auth))]
        with pytest.raises(ConfigError, match="--auth"):
            app_options(without)
    else:
        assert docker[docker.index("--network") + 1] == "host" and options.is_loopback
    if options.auth is not None:
        assert f"$PWD/accounts:{options.auth}:ro" in docker


# nginx


def test_nginx_passes_on_what_the_page_needs() -> None:
    text = (DOCKER / "nginx.conf").read_text("utf-8")
    (below,) = re.findall(r"location (/\w+/) \{(.*?)\n    \}", re.sub(r"^\s*#.*\n", "", text, flags=re.M), re.S)
    path, directives = below[0], {" ".join(line.split()) for line in below[1].split(";") if line.strip()}
    (words,) = re.findall(r"^#   memgan (.*)$", text, re.M)
    options = app_options(words.split())
    assert path == f"{options.root_path}/" and options.auth is not None and options.is_loopback
    (proxied,) = [words for _, words in PAGES if "--root-path" in words]
    assert app_options(proxied).root_path == options.root_path
    assert {
        f"proxy_pass http://127.0.0.1:{options.port}/",
        "proxy_set_header X-Forwarded-Host $http_host",
        "proxy_set_header X-Forwarded-Proto $scheme",
        "proxy_set_header X-Forwarded-For $remote_addr",
        "proxy_buffering off",
        "proxy_request_buffering off",
        "client_max_body_size 0",
        "access_log off",
    } <= directives
    assert not any(line.startswith("proxy_set_header Host") for line in directives)  # which the gate would refuse
