"""What the entry points name: loads nothing until it is used."""

from __future__ import annotations

from sennit.core.plugin import ServicePlugin

__all__ = ["ftp"]

ftp = ServicePlugin(
    "ftp",
    "Serve files by FTP and FTPS",
    config="sennit.ftp.config:FTPConfig",
    build="sennit.ftp.service:build_ftp",
    try_commands="sennit.ftp.service:try_ftp",
    schemes={"tcp": "ftp", "tls": "ftps"},
    positional=("root",),
    example="public/\npublic/ --certificate cert.pem --key key.pem --listen tcp://127.0.0.1:2121",
    sample={"root": "files"},
    sample_files="sennit.ftp.service:sample_files",
)
"""The service ``type = "ftp"``."""
