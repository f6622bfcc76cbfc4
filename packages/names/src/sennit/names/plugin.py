"""What the entry points name; loads nothing heavy."""

from __future__ import annotations

from sennit.core.plugin import ServicePlugin

__all__ = ["dns"]

dns = ServicePlugin(
    "dns",
    "Answer DNS questions: authority, cache, resolver",
    config="sennit.names.config:DNSConfig",
    build="sennit.names.service:build_dns",
    try_commands="sennit.names.service:try_dns",
    schemes={"tls": "dot"},
    positional=("zones",),
    example="zones/*.zone\n--recursion --listen udp://127.0.0.1:5301 --listen tcp://127.0.0.1:5301",
    sample={
        "listen": ["udp://127.0.0.1:5300", "tcp://127.0.0.1:5300"],
        "zones": ["zones/*.zone"],
    },
    sample_files="sennit.names.service:sample_files",
)
"""The service ``type = "dns"``."""
