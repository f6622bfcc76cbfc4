"""What the entry points name; loads nothing heavy."""

from __future__ import annotations

from sennit.core.plugin import ServicePlugin

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sennit.core.http import IHTTPClient
    from sennit.core.transport.tls import ClientTLS

__all__ = ["http_client", "web", "web_proxy"]

web = ServicePlugin(
    "web",
    "Serve files, resources and applications over HTTP",
    config="sennit.web.config:WebConfig",
    build="sennit.web.service:build_web",
    run="sennit.web.hosting.reloading:run_web",
    try_commands="sennit.web.service:try_web",
    schemes={"tcp": "http", "tls": "https"},
    positional=("root",),
    example="public/\n--asgi shop.main:app --workers 4\n--wsgi shop.wsgi:app --reload",
    sample={"listen": ["tcp://127.0.0.1:8080"], "root": "public"},
    sample_files="sennit.web.service:sample_files",
)

web_proxy = ServicePlugin(
    "web-proxy",
    "Fetch from others, and tunnel to them, on behalf of clients",
    config="sennit.web.proxy.config:ForwardConfig",
    build="sennit.web.proxy.service:build_forward",
    try_commands="sennit.web.proxy.service:try_forward",
    schemes={"tcp": "http", "tls": "https"},
    sample={"listen": ["tcp://127.0.0.1:3128"]},
)


def http_client(*, tls: ClientTLS | None = None) -> IHTTPClient:
    """A client for strands that are not about HTTP (`sennit.core.http`)."""
    from sennit.web.client.lending import LentClient

    return LentClient(tls=tls)
