"""Lists the endings of films. Loads nothing."""

from memgan.video.options import VideoOptions

FILM_SUFFIXES = frozenset(
    (
        *(".mp4", ".m4v", ".mov", ".qt", ".3gp", ".3g2"),
        *(".mkv", ".webm"),
        *(".avi", ".wmv", ".asf", ".flv", ".ogv"),
        *(".mts", ".m2ts", ".ts", ".mpg", ".mpeg", ".m2v", ".vob", ".mxf", ".dv"),
    )
)
"""In lower case, with dot. GIF, WebP and APNG are pictures with several pages."""

WRITTEN_SUFFIXES = frozenset(
    (
        *(".mp4", ".m4v", ".mov", ".qt", ".3gp", ".3g2"),
        *(".mkv", ".webm", ".avi"),
        *(".mts", ".m2ts", ".ts"),
    )
)
"""Of the films that can be written; others become Matroska files."""

PICTURE_BRANDS = ("avif", "avis", "heic", "heix", "heim", "heis", "hevc", "hevx", "hevm", "hevs", "mif1", "msf1")
"""Of files that are built as MP4 is, and are pictures: AVIF and HEIF."""


def result_suffix(suffix: str, options: VideoOptions) -> str:
    """Ending of a result's name, of a film with this ending (in lower case, with dot)."""
    if options.container != "auto":
        return f".{options.container}"
    return suffix if suffix in WRITTEN_SUFFIXES else ".mkv"
