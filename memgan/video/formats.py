"""Lists the endings of films. Loads nothing."""

FILM_SUFFIXES = frozenset(
    (
        *(".mp4", ".m4v", ".mov", ".qt", ".3gp", ".3g2"),
        *(".mkv", ".webm"),
        *(".avi", ".wmv", ".asf", ".flv", ".ogv"),
        *(".mts", ".m2ts", ".ts", ".mpg", ".mpeg", ".m2v", ".vob", ".mxf", ".dv"),
    )
)
"""In lower case, with dot. GIF, WebP and APNG are pictures with several pages."""
