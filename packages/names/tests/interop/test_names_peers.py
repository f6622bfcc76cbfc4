"""The peers themselves start, answer and end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from packages.names.tests.interop.peers import dig, drill, kdig

if TYPE_CHECKING:
    from collections.abc import Callable

    from packages.names.tests.interop.peers import Daemon, Peers

pytestmark = pytest.mark.interop

ZONE = """\
$TTL 300
@ SOA ns.example. hostmaster.example. 1 3600 600 86400 60
@ NS ns
ns A 192.0.2.1
www A 192.0.2.2
"""


@pytest.mark.parametrize("name", ["named", "nsd", "knotd"])
def test_an_authority_answers_all_tools_and_ends(peers: Peers, name: str) -> None:
    start: dict[str, Callable[..., Daemon]] = {
        "named": peers.named,
        "nsd": peers.nsd,
        "knotd": peers.knotd,
    }
    daemon = start[name]({"example.": ZONE})

    for tool in (dig, kdig, drill):
        found = tool((daemon.host, daemon.port), "www.example.", "A")
        assert found.status == "NOERROR"
        assert "aa" in found.flags
        assert found.data == ["192.0.2.2"]
    daemon.stop()
    assert daemon.process.poll() is not None


def test_a_resolver_asks_the_authority(peers: Peers) -> None:
    authority = peers.nsd({"example.": ZONE})
    resolver = peers.unbound(
        extra=f'stub-zone:\n name: "example."\n stub-addr: 127.0.0.1@{authority.port}\n'
    )

    found = dig((resolver.host, resolver.port), "www.example.", "A")

    assert found.data == ["192.0.2.2"]
    assert "ra" in found.flags
