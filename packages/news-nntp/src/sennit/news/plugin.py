"""What the entry points name: loads nothing until it is used."""

from __future__ import annotations

from sennit.core.plugin import ServicePlugin

__all__ = ["news"]

news = ServicePlugin(
    "news",
    "Answer NNTP from a table of values",
    config="sennit.news.config:NNTPConfig",
    build="sennit.news.service:build",
    try_commands="sennit.news.service:try_commands",
    sample={"values": {"motd": "hello"}},
)
"""The service ``type = "news"``."""
