"""The services that core itself brings, as its entry points name them."""

from __future__ import annotations

from sennit.core.plugin import ServicePlugin

__all__ = ["echo", "socks"]

echo = ServicePlugin(
    "echo",
    "Send back whatever comes, over TCP, TLS, UDP or a Unix socket",
    config="sennit.core.service.echo_config:EchoConfig",
    build="sennit.core.service.echo:build_echo",
    try_commands="sennit.core.service.echo:try_echo",
    example="--listen tcp://127.0.0.1:8007 --listen udp://127.0.0.1:8007",
    sample={"listen": ["tcp://127.0.0.1:8007"]},
)

socks = ServicePlugin(
    "socks",
    "Connect to others on behalf of clients (SOCKS 5)",
    config="sennit.core.service.socks_config:SocksConfig",
    build="sennit.core.service.socks:build_socks",
    try_commands="sennit.core.service.socks:try_socks",
    example="--listen tcp://127.0.0.1:1080",
    sample={"listen": ["tcp://127.0.0.1:1080"]},
)
