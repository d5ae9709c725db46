"""Lists the options of the page. Loads nothing heavy."""

import dataclasses
import ipaddress
from pathlib import Path

from memgan.errors import ConfigError
from memgan.runtime.options import check_options, option

DEFAULT_PORT = 7860


@dataclasses.dataclass(frozen=True)
class AppOptions:
    """Where the page is, and what it takes.

    Raises:
        ConfigError: if an option is not allowed.
    """

    host: str = option(
        "127.0.0.1",
        "address to listen at (default: 127.0.0.1, which this machine alone can reach; others need --auth)",
        group="page",
        metavar="ADDRESS",
    )
    port: int = option(
        DEFAULT_PORT,
        f"port to listen at; 0: any that is free (default: {DEFAULT_PORT})",
        group="page",
        metavar="N",
        low=0,
    )
    auth: Path | None = option(
        None, "file of those who may enter, lines of user:hash, see --hash-password", group="page", metavar="FILE"
    )
    root_path: str = option(
        "", "path under which a proxy shows the page, such as /restore", group="page", metavar="PATH"
    )
    max_megapixels: float = option(
        64.0, "largest picture that is taken (default: 64)", group="page", metavar="MP", low=0, low_allowed=False
    )
    queue: int = option(
        20, "most pictures, folders and films that wait in line (default: 20)", group="page", metavar="N", low=1
    )
    open: bool = option(False, "open the page in the browser", group="page")
    public: bool = option(
        False, "let everybody in, wherever they are: something else keeps strangers out, or nobody should"
    )
    embeddable: bool = option(False, "let pages of other sites show it in a frame, as a Space of Hugging Face is shown")

    def __post_init__(self) -> None:
        check_options(self)
        if self.port > 65535:
            raise ConfigError(f"--port is {self.port}; allowed are whole numbers from 0 to 65535.")
        if self.root_path and not self.root_path.startswith("/"):
            raise ConfigError(f"--root-path is {self.root_path!r}; it begins with a slash, such as /restore.")
        if not self.is_loopback and self.auth is None and not self.public:
            raise ConfigError(
                f"--host is {self.host}, and so everybody in the network could use this page and this machine. Make a "
                "file of lines user:hash (`memgan app --hash-password` makes a hash) and give it with --auth; or leave "
                "--host out, and reach the page through ssh: ssh -L 7860:127.0.0.1:7860 THIS_MACHINE"
            )

    @property
    def is_loopback(self) -> bool:
        """Whether the page can be reached from this machine only."""
        if self.host.lower() == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host.strip("[]")).is_loopback
        except ValueError:  # a name, which may be any machine's
            return False
