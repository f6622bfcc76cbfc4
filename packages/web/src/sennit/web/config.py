"""What ``[service.NAME]`` with ``type = "web"`` can say."""

from __future__ import annotations

# At run time: msgspec resolves the annotations of Structs.
from typing import Annotated, Literal

from sennit.core.errors import MissingExtraError

try:
    from msgspec import field

    from sennit.core.service.config import (
        Directory,
        Listen,
        Meta,
        Path,
        ServiceConfig,
        listen_on,
    )
except ImportError as error:  # pragma: no cover - tested in an environment without it
    raise MissingExtraError(__name__, "sennit-web", "service") from error

__all__ = ["WebConfig"]

Octets = Annotated[int, Meta(ge=0)]
Count = Annotated[int, Meta(ge=1)]
Seconds = Annotated[float, Meta(gt=0, le=86_400)]


class WebConfig(ServiceConfig, frozen=True, kw_only=True):
    """Serve the files of a folder.

    Attributes:
        root: The folder.
        listen: Where to listen.
        index: Names that stand for a folder, the first that is there.
        listing: Whether a folder without an index is listed.
        follow: Whether symbolic links are followed, out of the folder too.
        precompressed: Whether .br, .zst and .gz beside a file are sent in its place.
        max_age: Seconds for Cache-Control; nothing is said when left out.
        headers: Headers of every response.
        access_log: File that requests are written to; "-" for standard output.
        access_log_style: The form of its lines.
        max_target: Octets of a request target.
        max_head: Octets of a request's header fields.
        max_fields: Header fields of a request.
        max_body: Octets of a request's content.
        head_timeout: Seconds for a whole request head.
        idle_timeout: Seconds between two requests.
        write_timeout: Seconds without progress of a response.
        body_grace: Seconds before content has to come at body_rate.
        body_rate: Octets of content a second, on average.
    """

    root: Directory
    listen: list[Listen] = listen_on("tcp://127.0.0.1:8080")
    index: list[str] = field(default_factory=lambda: ["index.html"])
    listing: bool = False
    follow: bool = False
    precompressed: bool = True
    max_age: Octets | None = None
    headers: dict[str, str] = {}
    access_log: Path | Literal["-"] | None = None
    access_log_style: Literal["common", "combined", "json"] = "combined"
    max_target: Count = 8 * 1024
    max_head: Count = 16 * 1024
    max_fields: Count = 100
    max_body: Octets = 10 * 1024 * 1024
    head_timeout: Seconds = 20.0
    idle_timeout: Seconds = 60.0
    write_timeout: Seconds = 60.0
    body_grace: Seconds = 5.0
    body_rate: Annotated[float, Meta(ge=0)] = 240.0

    def __post_init__(self) -> None:
        """Refuse what could not be sent.

        Raises:
            ValueError: A name in `index` is a path, or a header cannot be sent.
        """
        from sennit.web.files import acceptable
        from sennit.web.grammar import field_line

        for name in self.index:
            if not acceptable(name):
                raise ValueError(f"index: found {name!r}; a name of a file, not hidden, no path")
        for name, value in self.headers.items():
            try:
                field_line((name.encode("latin-1"), value.encode("latin-1")))
            except ValueError as error:
                raise ValueError(f"headers: {error}") from None
