"""What the entry points name: loads nothing until it is used."""

from __future__ import annotations

from sennit.core.plugin import ServicePlugin

__all__ = ["ftp"]

ftp = ServicePlugin(
    "ftp",
    "Answer FTP from a table of values",
    config="sennit.ftp.config:FTPConfig",
    build="sennit.ftp.service:build",
    try_commands="sennit.ftp.service:try_commands",
    sample={"values": {"motd": "hello"}},
)
"""The service ``type = "ftp"``."""
