"""What ``[service.NAME]`` with ``type = "echo"`` can say."""

from __future__ import annotations

from typing import Annotated

from sennit.core.service.config import Listen, Meta, ServiceConfig, listen_on

__all__ = ["EchoConfig"]


class EchoConfig(ServiceConfig, kw_only=True, frozen=True):
    """Send back whatever comes.

    Attributes:
        listen: Where to listen.
        idle: Seconds without an octet after which a connection is closed.
    """

    listen: list[Listen] = listen_on("tcp://127.0.0.1:8007")
    idle: Annotated[float, Meta(gt=0, le=86_400)] = 300.0
