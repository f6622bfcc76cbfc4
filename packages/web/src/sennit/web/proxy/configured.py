"""A reverse proxy as a configuration describes it.

A server is one text: its URL, and behind that perhaps ``weight=3``, ``most_open=50``
and ``backup``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sennit.core.errors import ConfigError
from sennit.web.client.limits import ClientTimeouts
from sennit.web.errors import WebUsageError
from sennit.web.proxy.checks import HealthCheck
from sennit.web.proxy.forwarded import Forwarder
from sennit.web.proxy.health import HealthRules
from sennit.web.proxy.reverse import ReverseProxy
from sennit.web.proxy.upstream import HashBy, LeastOpen, RoundRobin, Upstream, Upstreams

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, Final

    from sennit.web.proxy.config import UpstreamTable
    from sennit.web.proxy.upstream import IPolicy

__all__ = ["configured_proxy", "read_upstream"]

_POLICIES: Final[dict[str, Callable[[], IPolicy]]] = {
    "round-robin": RoundRobin,
    "least-open": LeastOpen,
    "hash": HashBy,
}
_HTTP2: Final[dict[str, Any]] = {"off": False, "on": True, "always": "always"}


def read_upstream(text: str, most_open: int, health: HealthRules) -> Upstream:
    """The server that a text names.

    Args:
        text: Such as ``http://10.0.0.7:8000 weight=3 backup``.
        most_open: What is open to it at a time, unless it says otherwise.
        health: When it counts as well.

    Raises:
        ValueError: It names none.
    """
    url, *words = text.split()
    options: dict[str, Any] = {"most_open": most_open}
    for word in words:
        name, _, value = word.partition("=")
        if word == "backup":
            options["backup"] = True
        elif name == "weight":
            options["weight"] = float(value)
        elif name == "most_open":
            options["most_open"] = int(value)
        else:
            raise WebUsageError(f"found {word!r:.60}; weight=N, most_open=N or backup")
    return Upstream(url, health=health, **options)


def configured_proxy(
    servers: Sequence[str], table: UpstreamTable, trusted: Sequence[str]
) -> ReverseProxy:
    """The proxy that a configuration asks for.

    Args:
        servers: Those behind it, each as one text.
        table: How they are asked.
        trusted: Networks of proxies in front, whose words are passed on.

    Raises:
        ConfigError: It cannot be; its key says why.
    """
    key = "proxy"
    try:
        health = HealthRules(
            fall=table.fall,
            rise=table.rise,
            pause=table.pause,
            slow_start=table.slow_start,
        )
        upstreams = Upstreams(
            [read_upstream(each, table.most_open, health) for each in servers if each.strip()],
            policy=_POLICIES[table.policy](),
            waiting=table.waiting,
        )
        key = "upstream"
        tls = None
        if table.trust is not None:
            from sennit.core.transport.tls import ClientTLS

            tls = ClientTLS(trust=table.trust.read_bytes())
        check = None
        if table.check is not None:
            check = HealthCheck(
                table.check, interval=table.check_interval, timeout=table.check_timeout
            )
        return ReverseProxy(
            upstreams,
            prefix=table.prefix,
            host=table.host,
            forwarder=Forwarder(table.forwarded, trusted),
            key=table.key,
            timeouts=ClientTimeouts(connect=table.connect_timeout, read=table.read_timeout),
            http2=_HTTP2[table.http2],
            tls=tls,
            retries=table.retries,
            retry_statuses=table.retry_statuses,
            patience=table.patience,
            upgrades=("websocket",) if table.upgrades else (),
            check=check,
            tunnel_idle=table.tunnel_idle,
        )
    except (ValueError, OSError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(str(error), key=key) from error
