"""Draws the page: what visitors see and press, and the functions behind it, which programs can call too.

The one module that imports gradio.
"""

import asyncio
import functools
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.data_classes import FileData

from memgan.apps.web import commands, texts
from memgan.apps.web.film_job import FilmJob
from memgan.apps.web.folder_job import FolderJob
from memgan.apps.web.job import EXPECTED, FAILED, Job
from memgan.apps.web.picture_job import FaceView, Looks, PictureJob
from memgan.apps.web.studio import Studio
from memgan.apps.web.visitors import Visitor
from memgan.errors import ConfigError
from memgan.restoration.options import RestoreOptions
from memgan.video import VideoOptions, is_available

_POLL_SECONDS = 0.2
_LINGER_SECONDS = 15.0
_MOST_EVENTS = 1000  # that gradio itself holds at a time
_MOST_FACES = 48  # that get controls of their own: more make the page slow
_ENLARGEMENTS = [("as it is", 1), ("2 ×", 2), ("4 ×", 4)]
_ASSETS = Path(__file__).parent / "assets"
_UNDOCUMENTED = {"api_visibility": "undocumented", "concurrency_limit": None}
_QUIET = {**_UNDOCUMENTED, "show_progress": "hidden"}
"""Of events whose progress is shown by the page itself."""


def build_page(studio: Studio, *, is_local: bool = True) -> gr.Blocks:
    """The page of a studio. What gradio itself keeps in files goes into the folder of the visitors'.

    Args:
        is_local: it answers the machine on which it runs, and no other one.
    """
    os.environ["GRADIO_TEMP_DIR"] = str(studio.visitors.root)  # read by each component when it is made
    with gr.Blocks(title="memgan", analytics_enabled=False) as page:
        gr.HTML(texts.header(is_local=is_local))
        with gr.Tab("Photograph", elem_id="tab-photograph"):
            _PictureTab(studio).draw(page)
        with gr.Tab("Many pictures", elem_id="tab-many"):
            _FolderTab(studio).draw(page)
        with gr.Tab("Film", elem_id="tab-film"):
            if is_available():
                _FilmTab(studio).draw(page)
            else:
                gr.Markdown(texts.NO_FILMS)
        gr.HTML(texts.FOOTER)
        page.load(_linger, None, None, api_name="linger", **_QUIET)
        _offer_to_programs(studio)
    # Turns are taken in the studio's own line, which tells people where they stand and survives a reload of the page.
    page.queue(max_size=_MOST_EVENTS, default_concurrency_limit=None, api_open=True)
    return page


async def _linger() -> AsyncIterator[None]:
    """Keep the page's stream of events open as long as the page is.

    gradio closes it whenever nothing is pending. What is asked for at that very moment then waits for ever.
    """
    while True:
        yield None
        await asyncio.sleep(_LINGER_SECONDS)


def mount_page(app: Any, page: gr.Blocks, *, root_path: str = "") -> Any:
    """Let a FastAPI application answer with the page where it has no route of its own."""
    system = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"]  # none is fetched
    mono = ["ui-monospace", "Consolas", "monospace"]
    theme = gr.themes.Base(
        primary_hue=gr.themes.colors.teal,
        neutral_hue=gr.themes.colors.stone,
        font=system,
        font_mono=mono,
        radius_size=gr.themes.sizes.radius_lg,
    ).set(
        body_background_fill="#faf8f5",
        body_background_fill_dark="#171615",
        button_primary_background_fill="#2f6f6a",
        button_primary_background_fill_hover="#25615c",
        button_primary_background_fill_dark="#2f6f6a",
        button_primary_text_color="#ffffff",
        slider_color="#2f6f6a",
        slider_color_dark="#58a8a1",
        color_accent="#2f6f6a",
        border_color_accent="#2f6f6a",
        checkbox_background_color_selected="#2f6f6a",
        checkbox_background_color_selected_dark="#2f6f6a",
    )
    return gr.mount_gradio_app(
        app,
        page,
        path="/",
        root_path=root_path or None,
        theme=theme,
        css_paths=[_ASSETS / "page.css"],
        head=f"<script>{(_ASSETS / 'page.js').read_text('utf-8')}</script>",
        favicon_path=str(_ASSETS / "icon.svg"),
        footer_links=["api"],
        run_history=False,
        ssr_mode=False,
        mcp_server=False,
        enable_monitoring=False,
        pwa=False,
        show_error=False,  # of mistakes of memgan, the terminal shows more, and visitors no paths of this machine
    )


class _Settings:
    """Controls of how faces and pictures are to look; drawn where it is made."""

    def __init__(self, studio: Studio, *, is_film: bool = False) -> None:
        default = RestoreOptions(upscale=1)
        self.weight = gr.Slider(0, 1, default.weight, step=0.05, label="Strength", info="0 keeps faces as they are.")
        self.fidelity = gr.Slider(
            0,
            1,
            default.fidelity,
            step=0.25,
            label="Fidelity",
            visible=studio.has_dial,
            info="0: vivid. 1: truer to the photograph, and softer.",
        )
        self.upscale = gr.Radio(_ENLARGEMENTS, value=1, label="Size of the result")
        self.upsampled = gr.Checkbox(
            False, label="Enlarge the background with Real-ESRGAN", visible=studio.has_upsampler and not is_film
        )
        self.color_lock = gr.Checkbox(default.color_lock, label="Keep the colors of the photograph")
        self.grain = gr.Slider(
            0,
            1,
            default.grain,
            step=0.05,
            label="Grain",
            info="Share of the photograph's own grain that faces get back.",
        )
        self.reliability = gr.Checkbox(
            True, label="Estimate how sure each face is", visible=studio.has_estimator and not is_film
        )
        self._has_estimator = studio.has_estimator and not is_film
        self.all = [
            *(self.weight, self.fidelity, self.upscale, self.upsampled),
            *(self.color_lock, self.grain, self.reliability),
        ]

    def options(self, values: Sequence[Any]) -> tuple[RestoreOptions, bool]:
        """The options that the controls say, and whether the background is enlarged by a network."""
        weight, fidelity, upscale, upsampled, color_lock, grain, reliability = values
        options = RestoreOptions(
            weight=weight,
            fidelity=fidelity,
            upscale=upscale,
            color_lock=color_lock,
            grain=grain,
            reliability=reliability and self._has_estimator,
        )
        return options, upsampled


class _Tab:
    """What tabs share: who asks, and how a job is begun and shown while it runs."""

    kind: type[Job]
    """Of the tab's jobs."""
    num_shown: int
    """Components that :meth:`_shown` gives values for."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio

    async def resume(self, request: gr.Request) -> AsyncIterator[Any]:
        """Show what the visitor had before the page was loaded again."""
        job = self.studio.last(self.visitor(request), self.kind)
        if job is None or not self._is_resumed(job):
            yield [gr.skip()] * self.num_shown
            return
        async for shown in self._shown(job):
            yield shown

    def stop(self, token: str | None, request: gr.Request) -> None:
        """End the work after the picture or frame in hand."""
        self.studio.stop(self.visitor(request), token)

    async def _begin(self, make: Callable[[], Job], failure: Callable[[str], list[Any]]) -> AsyncIterator[Any]:
        """Begin a job and show it; ``failure``: what is shown if it cannot be made, or not begun."""
        try:
            job = make()
            self.studio.start(job)
        except EXPECTED as error:
            yield failure(self.studio.explain(error))
            return
        async for shown in self._shown(job):
            yield shown

    def _is_resumed(self, job: Job) -> bool:
        return True

    def _shown(self, job: Any) -> AsyncIterator[list[Any]]:
        """Values of the tab's components, until the job is over."""
        raise NotImplementedError

    def visitor(self, request: gr.Request) -> Visitor:
        """Who sends a request."""
        return self.studio.visitors.of(request.request.scope)

    def own(self, visitor: Visitor, path: str) -> Path:
        """A file that was uploaded, if it is the visitor's."""
        if not self.studio.visitors.owns(visitor, path):
            raise ConfigError("This file is not here any more. Please add it again.")
        return Path(path)

    async def watch(self, job: Job) -> AsyncIterator[str]:
        """How far a job is, whenever that changes, until it is over."""
        told = None
        while not job.progress.is_over:
            if job.progress != told:
                told = job.progress
                yield texts.status(told)
            await asyncio.sleep(_POLL_SECONDS)


class _PictureTab(_Tab):
    """One photograph, its faces, and what can be changed about them."""

    kind, num_shown = PictureJob, 5

    def draw(self, page: gr.Blocks) -> None:
        """Draw the tab."""
        self.token, self.found = gr.State(None), gr.State(None)
        with gr.Row(elem_classes="mg-work"):
            with gr.Column(elem_classes="mg-add"):
                photo = gr.File(label="Photograph", elem_id="photo", elem_classes="mg-drop", height=150)
            with gr.Column(elem_classes="mg-result"):
                self.status = gr.HTML(texts.WELCOME, elem_id="status")
                self.slider = gr.ImageSlider(
                    label="Before and after",
                    show_label=False,
                    visible=False,
                    elem_id="before-after",
                    interactive=False,
                    type="filepath",
                    max_height=680,
                    buttons=["fullscreen"],
                )
                self.downloads = gr.HTML(elem_id="downloads")
                gr.render(inputs=[self.found])(self._draw_faces)
            with gr.Column(elem_classes="mg-settings"), gr.Accordion("Settings", open=True):
                self.settings = _Settings(self.studio)
        shown = [self.token, self.found, self.status, self.slider, self.downloads]
        again = [self.settings.fidelity, self.settings.upscale, self.settings.upsampled, self.settings.reliability]
        # One event for adding and taking away: the answers to two might come in the other order.
        photo.change(
            self.show,
            [photo, *self.settings.all],
            shown,
            api_name="show_photograph",
            trigger_mode="always_last",
            **_QUIET,
        )
        gr.on(
            [control.input for control in again],
            self.show_again,
            [self.token, *self.settings.all],
            shown,
            api_name="show_photograph_again",
            trigger_mode="always_last",
            **_QUIET,
        )
        page.load(self.resume, None, shown, api_name="resume_photograph", **_QUIET)

    async def show(self, request: gr.Request, photo: str | None, *values: Any) -> AsyncIterator[Any]:
        """Restore a photograph that was uploaded, and show it; ``None``: it was taken away."""
        if photo is None:
            yield [None, None, texts.WELCOME, gr.update(visible=False, value=None), ""]
            return
        visitor = self.visitor(request)

        def make() -> Job:
            options, upsampled = self.settings.options(values)
            return PictureJob(self.studio, visitor, self.own(visitor, photo), options, upsampled=upsampled)

        async for shown in self._begin(make, self._failure):
            yield shown

    async def show_again(self, request: gr.Request, token: str | None, *values: Any) -> AsyncIterator[Any]:
        """Restore the photograph that is shown with other settings."""
        if token is None:
            yield [gr.skip()] * self.num_shown
            return
        visitor = self.visitor(request)

        def make() -> Job:
            before = self.studio.job(visitor, token, PictureJob)
            options, upsampled = self.settings.options(values)
            job = PictureJob(self.studio, visitor, before.path, options, upsampled=upsampled)
            before.stop()
            return job

        async for shown in self._begin(make, self._failure):
            yield shown

    def _is_resumed(self, job: Job) -> bool:
        return job.progress.status != FAILED

    async def _shown(self, job: PictureJob) -> AsyncIterator[list[Any]]:
        yield [job.token, *[gr.skip()] * 4]
        async for status in self.watch(job):
            yield [gr.skip(), gr.skip(), status, gr.skip(), gr.skip()]
        if job.progress.status == FAILED or job.view is None:
            yield self._failure(job.progress.text)
            return
        faces = job.faces[:_MOST_FACES]
        yield [job.token, (job.token, tuple(faces), job.looks), *self._views(job)]

    def _views(self, job: PictureJob) -> list[Any]:
        """Status, pictures and links of a picture that is done."""
        view = job.view
        if view is None:
            return [gr.skip()] * 3
        links = [(f"download/{job.token}/photograph", job.result_name, "Download the photograph")]
        links.append((f"download/{job.token}/all", f"{job.path.stem}_memgan.zip", "All files, faces too (zip)"))
        pair = (str(view.before), str(view.after))
        command = commands.of_picture(job.path.name, job.options_now, self.studio.parts, upsampled=job.upsampled)
        return [
            texts.picture_status(view, len(job.faces), job.num_left_alone),
            gr.update(value=pair, visible=True),
            texts.downloads(links, command),
        ]

    def _failure(self, text: str) -> list[Any]:
        return [None, None, texts.problem(text), gr.update(visible=False, value=None), ""]

    def _draw_faces(self, found: tuple[str, Sequence[FaceView], Looks] | None) -> None:
        """The faces of the photograph that is shown, each with its controls."""
        if found is None or not found[1]:
            return
        token, views, looks = found
        ticks, weights, fidelities = [], [], []
        with gr.Row(elem_id="faces"):
            for view in views:
                with gr.Column(elem_classes="mg-face-card", min_width=240):
                    gr.HTML(texts.face(view))
                    number = view.number + 1
                    # Gradio does not see by itself that what is drawn later can be changed.
                    ticks.append(
                        gr.Checkbox(view.number in looks.chosen, label=f"Restore face {number}", interactive=True)
                    )
                    weights.append(
                        gr.Slider(
                            0,
                            1,
                            looks.weights[view.number],
                            step=0.05,
                            label=f"Strength of face {number}",
                            interactive=True,
                        )
                    )
                    fidelities.append(
                        gr.Slider(
                            0,
                            1,
                            view.fidelity,
                            step=0.25,
                            label=f"Fidelity of face {number}",
                            visible=self.studio.has_dial,
                            interactive=True,
                        )
                    )
        everywhere, lock, grain = self.settings.weight, self.settings.color_lock, self.settings.grain
        changing = {*ticks, *weights, lock, grain}
        pictures = [self.status, self.slider, self.downloads]

        def looks_of(values: Mapping[Any, Any], each: Sequence[float]) -> Looks:
            rest = looks.weights[len(ticks) :]  # of faces without controls
            chosen = [number for number, tick in enumerate(ticks) if values[tick]]
            chosen += range(len(ticks), len(looks.weights))
            return Looks([*each, *rest], chosen, values[lock], values[grain])

        async def change(values: dict[Any, Any], request: gr.Request) -> list[Any]:
            each = [values[weight] for weight in weights]
            return await self._changed(token, looks_of(values, each), request)

        async def change_all(values: dict[Any, Any], request: gr.Request) -> list[Any]:
            each = [values[everywhere]] * len(weights)
            return [*await self._changed(token, looks_of(values, each), request), *each]

        async def refine(values: dict[Any, Any], request: gr.Request) -> AsyncIterator[Any]:
            async for shown in self._refined(token, [values[one] for one in fidelities], request):
                yield shown

        quick: dict[str, Any] = {**_QUIET, "trigger_mode": "always_last", "queue": False}
        gr.on(
            [control.input for control in (*ticks, *weights, lock, grain)],
            change,
            changing,
            pictures,
            api_name="change_faces",
            **quick,
        )
        everywhere.input(
            change_all,
            {*changing, everywhere},
            [*pictures, *weights],
            api_name="change_all_faces",
            **quick,
        )
        gr.on(
            [control.input for control in fidelities],
            refine,
            set(fidelities),
            [self.token, self.found, *pictures],
            api_name="refine_faces",
            trigger_mode="always_last",
            **_QUIET,
        )

    async def _changed(self, token: str, looks: Looks, request: gr.Request) -> list[Any]:
        try:
            job = self.studio.job(self.visitor(request), token, PictureJob)
            await self.studio.aside(job.change, looks)
        except EXPECTED as error:
            return [texts.problem(self.studio.explain(error)), gr.skip(), gr.skip()]
        return self._views(job)

    async def _refined(self, token: str, fidelities: Sequence[float], request: gr.Request) -> AsyncIterator[list[Any]]:
        def make() -> Job:
            job = self.studio.job(self.visitor(request), token, PictureJob)
            job.change_fidelity(fidelities)
            return job

        # What was shown before stays.
        async for shown in self._begin(
            make, lambda text: [gr.skip(), gr.skip(), texts.problem(text), gr.skip(), gr.skip()]
        ):
            yield shown


class _FolderTab(_Tab):
    """Many pictures, or a folder."""

    kind, num_shown = FolderJob, 4

    def draw(self, page: gr.Blocks) -> None:
        """Draw the tab."""
        token = gr.State(None)
        with gr.Row(elem_classes="mg-work"):
            with gr.Column(elem_classes="mg-add"):
                files = gr.File(
                    label="Pictures", file_count="multiple", elem_id="pictures", elem_classes="mg-drop", height=150
                )
                folder = gr.File(label="or a folder", file_count="directory", elem_id="folder", height=110)
                with gr.Row():
                    go = gr.Button("Restore all", variant="primary", elem_id="restore-all")
                    stop = gr.Button("Stop", elem_id="stop-all")
            with gr.Column(elem_classes="mg-result"):
                status = gr.HTML(texts.WELCOME_MANY, elem_id="status-many")
                downloads = gr.HTML(elem_id="downloads-many")
                problems = gr.HTML(elem_id="problems-many")
            with gr.Column(elem_classes="mg-settings"), gr.Accordion("Settings", open=True):
                self.settings = _Settings(self.studio)
        shown = [token, status, downloads, problems]
        go.click(
            self.show,
            [files, folder, *self.settings.all],
            shown,
            api_name="show_many",
            **_QUIET,
        )
        stop.click(self.stop, [token], None, api_name="stop_many", queue=False, **_UNDOCUMENTED)
        page.load(self.resume, None, shown, api_name="resume_many", **_QUIET)

    async def show(
        self, request: gr.Request, files: list[str] | None, folder: list[str] | None, *values: Any
    ) -> AsyncIterator[Any]:
        """Restore all pictures that were uploaded."""
        visitor = self.visitor(request)

        def make() -> Job:
            paths = [self.own(visitor, path) for path in [*(files or ()), *(folder or ())]]
            if not paths:
                raise ConfigError("There are no pictures yet. Please add some, or a folder.")
            options, upsampled = self.settings.options(values)
            return FolderJob(self.studio, visitor, paths, options, upsampled=upsampled)

        async for shown in self._begin(make, lambda text: [gr.skip(), texts.problem(text), gr.skip(), gr.skip()]):
            yield shown

    async def _shown(self, job: FolderJob) -> AsyncIterator[list[Any]]:
        yield [job.token, gr.skip(), "", ""]
        async for status in self.watch(job):
            yield [gr.skip(), status, gr.skip(), texts.problems(job.problems)]
        links = [] if job.archive is None else [(f"download/{job.token}/all", job.archive.name, "Download all (zip)")]
        failure = job.progress.text if job.progress.status == FAILED else None
        status = texts.problem(failure) if failure is not None else texts.summary(job.summary, job.progress)
        yield [job.token, status, texts.downloads(links), texts.problems(job.problems)]


class _FilmTab(_Tab):
    """A film."""

    kind, num_shown = FilmJob, 5

    def draw(self, page: gr.Blocks) -> None:
        """Draw the tab."""
        token, default = gr.State(None), VideoOptions()
        with gr.Row(elem_classes="mg-work"):
            with gr.Column(elem_classes="mg-add"):
                film = gr.File(label="Film", elem_id="film", elem_classes="mg-drop", height=150)
                with gr.Row():
                    go = gr.Button("Restore film", variant="primary", elem_id="restore-film")
                    stop = gr.Button("Stop", elem_id="stop-film")
            with gr.Column(elem_classes="mg-result"):
                status = gr.HTML(texts.WELCOME_FILM, elem_id="status-film")
                slider = gr.ImageSlider(
                    label="A frame before and after",
                    show_label=False,
                    visible=False,
                    interactive=False,
                    elem_id="before-after-film",
                    type="filepath",
                    max_height=560,
                    buttons=["fullscreen"],
                )
                downloads = gr.HTML(elem_id="downloads-film")
                notes = gr.HTML()
            with gr.Column(elem_classes="mg-settings"), gr.Accordion("Settings", open=True):
                self.settings = _Settings(self.studio, is_film=True)
                steadiness = gr.Slider(
                    0, 1, default.steadiness, step=0.05, label="Steadiness", info="0: every frame for itself."
                )
                every = gr.Slider(
                    1,
                    8,
                    default.every,
                    step=1,
                    label="Restore every Nth frame",
                    info="The others get what its faces show: faster, less exact.",
                )
        shown = [token, status, slider, downloads, notes]
        go.click(
            self.show,
            [film, steadiness, every, *self.settings.all],
            shown,
            api_name="show_film",
            **_QUIET,
        )
        stop.click(self.stop, [token], None, api_name="stop_film", queue=False, **_UNDOCUMENTED)
        page.load(self.resume, None, shown, api_name="resume_film", **_QUIET)

    async def show(
        self, request: gr.Request, film: str | None, steadiness: float, every: int, *values: Any
    ) -> AsyncIterator[Any]:
        """Restore a film that was uploaded."""
        visitor = self.visitor(request)

        def make() -> Job:
            if film is None:
                raise ConfigError("There is no film yet. Please add one.")
            options, _ = self.settings.options(values)
            video = VideoOptions(steadiness=steadiness, every=int(every))
            return FilmJob(self.studio, visitor, self.own(visitor, film), options, video)

        async for shown in self._begin(make, lambda text: [gr.skip(), texts.problem(text), *[gr.skip()] * 3]):
            yield shown

    async def _shown(self, job: FilmJob) -> AsyncIterator[list[Any]]:
        yield [job.token, gr.skip(), gr.update(visible=False, value=None), "", ""]
        async for status in self.watch(job):
            yield [gr.skip(), status, *[gr.skip()] * 3]
        views, result = job.views, job.result
        if views is None or result is None:
            yield [job.token, texts.status(job.progress), gr.skip(), "", texts.problems(job.notes)]
            return
        links = [(f"download/{job.token}/film", result.name, "Download the film")]
        command = commands.of_film(job.path.name, job.options, job.video, self.studio.parts)
        yield [
            job.token,
            texts.summary(job.summary, job.progress),
            gr.update(value=(str(views[0]), str(views[1])), visible=True),
            texts.downloads(links, command),
            texts.problems(job.notes),
        ]


def _offer_to_programs(studio: Studio) -> None:
    """Functions with names, for gradio's clients and for plain HTTP."""
    tab = _Tab(studio)

    async def done(job: Job) -> None:
        studio.start(job)
        while not job.progress.is_over:
            await asyncio.sleep(_POLL_SECONDS)
        if job.progress.status == FAILED:
            raise gr.Error(job.progress.text, print_exception=False)

    async def restore(
        photograph: FileData,
        request: gr.Request,
        strength: float = 1.0,
        fidelity: float = 0.0,
        enlarge: float = 1.0,
        color_lock: bool = True,
        grain: float = 0.5,
        reliability: bool = False,
    ) -> tuple[FileData, dict[str, Any]]:
        """Restore a photograph: the file, as `memgan restore` writes it, and what is known about its faces."""
        options = RestoreOptions(
            weight=strength,
            fidelity=fidelity,
            upscale=enlarge,
            color_lock=color_lock,
            grain=grain,
            reliability=reliability,
        )
        visitor = tab.visitor(request)
        job = PictureJob(studio, visitor, tab.own(visitor, _path(photograph)), options)
        await done(job)
        return await studio.aside(_result_of, job)

    async def rerender(
        id: str,
        request: gr.Request,
        strengths: list[float] | None = None,
        faces: list[int] | None = None,
        color_lock: bool | None = None,
        grain: float | None = None,
    ) -> tuple[FileData, dict[str, Any]]:
        """Render a photograph that was restored anew, by its `id`, without running the network again."""
        job = studio.job(tab.visitor(request), id, PictureJob)
        await studio.aside(job.change_some, strengths, faces, color_lock, grain)
        return await studio.aside(_result_of, job)

    async def restore_many(
        pictures: list[FileData],
        request: gr.Request,
        strength: float = 1.0,
        fidelity: float = 0.0,
        enlarge: float = 1.0,
        color_lock: bool = True,
        grain: float = 0.5,
        reliability: bool = False,
    ) -> tuple[FileData, list[str]]:
        """Restore pictures: a zip file of all results and the record, and what was left out or is odd."""
        options = RestoreOptions(
            weight=strength,
            fidelity=fidelity,
            upscale=enlarge,
            color_lock=color_lock,
            grain=grain,
            reliability=reliability,
        )
        visitor = tab.visitor(request)
        job = FolderJob(studio, visitor, [tab.own(visitor, _path(one)) for one in pictures], options)
        await done(job)
        if job.archive is None:
            raise gr.Error("; ".join(job.problems) or "There are no pictures.", print_exception=False)
        return _file(job.archive), job.problems

    async def restore_film(
        film: FileData,
        request: gr.Request,
        strength: float = 1.0,
        fidelity: float = 0.0,
        steadiness: float = 0.9,
        every: int = 1,
    ) -> tuple[FileData, list[str]]:
        """Restore a film: the file, and what is odd about it."""
        options = RestoreOptions(weight=strength, fidelity=fidelity, upscale=1)
        visitor = tab.visitor(request)
        video = VideoOptions(steadiness=steadiness, every=every)
        job = FilmJob(studio, visitor, tab.own(visitor, _path(film)), options, video)
        await done(job)
        if job.result is None:
            raise gr.Error(job.progress.text, print_exception=False)
        return _file(job.result), job.notes

    functions: list[Callable[..., Any]] = [restore, rerender, restore_many]
    if is_available():
        functions.append(restore_film)
    for function in functions:
        gr.api(_with_errors_shown(studio, function), api_name=function.__name__, concurrency_limit=None)


def _with_errors_shown(studio: Studio, function: Callable[..., Any]) -> Callable[..., Any]:
    """A function whose errors reach who has called it, as gradio's own do."""

    @functools.wraps(function)
    async def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return await function(*args, **kwargs)
        except EXPECTED as error:
            raise gr.Error(studio.explain(error), print_exception=False) from error

    return call


def _path(file: Any) -> str:
    """Of a file that a program has sent, as gradio describes files."""
    path = file.get("path") if isinstance(file, dict) else None
    if not isinstance(path, str):
        raise ConfigError("This is no file. Upload one first, and give what describes it: {'path': ..., 'meta': ...}.")
    return path


def _result_of(job: PictureJob) -> tuple[Any, dict[str, Any]]:
    path = job.result()
    return _file(path), {"id": job.token, **job.record}


def _file(path: Path) -> Any:
    return FileData(path=str(path), orig_name=path.name).model_dump()
