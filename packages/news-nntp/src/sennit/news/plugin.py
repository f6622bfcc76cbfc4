"""What the entry points name: loads nothing until it is used."""

from __future__ import annotations

from sennit.core.plugin import ServicePlugin

__all__ = ["news"]

news = ServicePlugin(
    "news",
    "Serve newsgroups by NNTP",
    config="sennit.news.config:NewsConfig",
    build="sennit.news.service:build_news",
    try_commands="sennit.news.service:try_news",
    schemes={"tcp": "nntp", "tls": "nntps"},
    # A file has one that writes to it.
    scale="one",
    positional=("groups",),
    example="local.test --post 'local.*' --store news.db",
    sample={"groups": ["local.test  A place to try"], "post": "local.*", "store": "news.db"},
)
"""The service ``type = "news"``."""
