"""The words of the page, and pieces of HTML; whatever comes from files or visitors is escaped here."""

import html
from collections.abc import Iterable, Sequence
from pathlib import Path
from urllib.parse import quote

from memgan.apps.web.job import DONE, FAILED, RUNNING, STOPPED, Progress
from memgan.apps.web.picture_job import FaceView, PictureView

FOOTER = (
    '<footer class="mg-foot">A restored face is an estimate: fine detail is drawn by a network that has learned what '
    "faces look like. Keep the original, and say that a picture was restored when you pass it on.</footer>"
)
WELCOME = '<p class="mg-status">Drop a photograph here on the page, paste it, or pick it. The result appears here.</p>'
WELCOME_MANY = '<p class="mg-status">Add pictures or a folder, then press “Restore all”.</p>'
WELCOME_FILM = '<p class="mg-status">Add a film, then press “Restore film”.</p>'
NO_FILMS = (
    "Films need two packages more. Stop this program, and install them: `pip install 'memgan[app,video]'`. "
    "Then start `memgan app` again."
)
_FULL_SCALE = 20.0  # levels of expected error at which the bar of a face is full


def header(*, is_local: bool) -> str:
    """What the page is; ``is_local``: it answers the machine on which it runs, and no other one."""
    promise = "stay on this machine" if is_local else "are shown to nobody else"
    return (
        '<header class="mg-head"><h1>memgan</h1><p>Restores faces in old photographs. '
        f"Your pictures {promise}, and are deleted soon after you leave.</p></header>"
    )


def status(progress: Progress) -> str:
    """How far a job is, for eyes and screen readers."""
    if progress.status == FAILED:
        return f'<p class="mg-status mg-bad" role="alert">{html.escape(progress.text)}</p>'
    words = html.escape(progress.text or {DONE: "Done", STOPPED: "Stopped"}.get(progress.status, "In line"))
    bar = ""
    if progress.status == RUNNING:
        if progress.total:
            if progress.seconds_left is not None:
                words += f", {duration(progress.seconds_left)} left"
            bar = f'<progress max="{progress.total}" value="{progress.done}" aria-label="Progress"></progress>'
        else:
            bar = '<progress aria-label="Progress"></progress>'
    return f'<p class="mg-status" role="status">{words} {bar}</p>'


def problem(text: str) -> str:
    """What went wrong."""
    return f'<p class="mg-status mg-bad" role="alert">{html.escape(text)}</p>'


def duration(seconds: float) -> str:
    """A time as people say it."""
    if seconds < 90:
        return f"{max(1, round(seconds))} seconds"
    if seconds < 90 * 60:
        return f"{round(seconds / 60)} minutes"
    return f"{seconds / 3600:.1f} hours"


def picture_status(view: PictureView, num_faces: int, num_left_alone: int) -> str:
    """What became of a picture."""
    width, height = view.size
    if num_faces:
        words = f"{num_faces} face{'s' * (num_faces != 1)} found"
    else:
        words = "No face was found that could be restored: the picture is as it was"
    if num_left_alone:
        words += f", {num_left_alone} left alone"
    notes = "".join(f"<li>{html.escape(note)}</li>" for note in view.notes)
    notes = f'<ul class="mg-notes">{notes}</ul>' if notes else ""
    return f'<p class="mg-status" role="status">{words}. {width} × {height} pixels.</p>{notes}'


def summary(text: str, progress: Progress) -> str:
    """What became of many pictures."""
    stopped = "Stopped. " * (progress.status == STOPPED)
    return f'<p class="mg-status" role="status">{stopped}{html.escape(text)}.</p>'


def downloads(links: Iterable[tuple[str, str, str]], command: str = "") -> str:
    """Links to results: address relative to the page, name of the file, words; and the command that does the same."""
    items = "".join(
        f'<a class="mg-button{" mg-second" * (number > 0)}" href="{html.escape(address)}" '
        f'download="{html.escape(name)}">{html.escape(words)}</a>'
        for number, (address, name, words) in enumerate(links)
    )
    if command:
        items += (
            f"<details><summary>The same on the command line</summary><code>{html.escape(command)}</code></details>"
        )
    return f'<div class="mg-downloads">{items}</div>'


def face(view: FaceView) -> str:
    """A face before and after, how large it is and how far it can be trusted."""
    facts = [f"{view.size_px} pixels"]
    if view.sharpness == 1:
        facts.append("sharp already: left as it is")
    if view.reliability is not None:
        likely = "over 99%" if view.reliability > 0.99 else f"{view.reliability:.0%}"  # nobody can be sure
        facts.append(f"same person: {likely} likely")
    if view.expected_error is not None:
        facts.append(f"brightness off by about {view.expected_error / 255:.1%}")
    name = f"Face {view.number + 1}"
    after = f'<img src="{file_address(view.before_after)}" alt="{name}, before on the left, restored on the right">'
    map_picture = ""
    if view.error_map is not None:
        map_picture = (
            f"<details><summary>What may be made up</summary>"
            f'<img src="{file_address(view.error_map)}" alt="Map of {name}: what glows may be made up, what stays gray '
            'is sure"></details>'
        )
    return (
        f'<figure class="mg-face">{after}<figcaption><b>{name}</b><br>{", ".join(facts)}</figcaption>{map_picture}'
        "</figure>"
    )


def problems(lines: Sequence[str]) -> str:
    """What was left out, or is odd."""
    if not lines:
        return ""
    items = "".join(f"<li>{html.escape(line)}</li>" for line in lines)
    return f'<ul class="mg-notes">{items}</ul>'


def file_address(path: Path) -> str:
    """Where a file of the visitor's is, relative to the page."""
    return html.escape(f"gradio_api/file={quote(path.as_posix())}")
