"""Typed configuration of the `news` service; only the runner imports this."""

from __future__ import annotations

from typing import Annotated

from sennit.core.service.config import Listen, Meta, ServiceConfig, listen_on

__all__ = ["NNTPConfig"]


class NNTPConfig(ServiceConfig, kw_only=True, frozen=True):
    """Answer NNTP from a table of values.

    Attributes:
        listen: Where to listen: URLs, or {url = "tls://:8443", tls = "main"}.
        values: What there is to get, by key; each value is one line.
        idle: Seconds without a command after which a connection is closed.
    """

    listen: list[Listen] = listen_on("tcp://127.0.0.1:1119")
    values: dict[str, str] = {}
    idle: Annotated[float, Meta(gt=0)] = 300.0
