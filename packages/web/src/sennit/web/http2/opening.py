"""How a connection opens: h2, told what it keeps, and what is said first.

Sources: RFC 9113 §3.4, §6.5; RFC 8441 §3; RFC 9218 §2.1.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from sennit.core.errors import MissingExtraError
from sennit.web.http2 import framing
from sennit.web.http2.framing import frame_head

try:
    from h2.config import H2Configuration
    from h2.connection import H2Connection
    from h2.settings import SettingCodes, Settings
    from hpack import Decoder, HeaderTuple
except ImportError as error:
    raise MissingExtraError(__name__, "sennit-web", "http2") from error

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sennit.web.http2.limits import HTTP2Limits

__all__ = ["LengthsAside", "open_h2"]

LARGEST_WINDOW: Final = 2**31 - 1
"""Octets of a window, and the number of the last stream there can be."""

ENABLE_PUSH, MAX_STREAMS, INITIAL_WINDOW, MAX_FRAME_SIZE, MAX_LIST = range(2, 7)
ENABLE_CONNECT: Final = 8
NO_PRIORITIES: Final = 9
"""Settings by identifier (RFC 9113 §6.5.2, RFC 8441 §3, RFC 9218 §2.1)."""

_LENGTH: Final = b"content-length"
_ODD_LENGTH: Final = b"content-length "
_is_length = re.compile(rb"[0-9]{1,18}").fullmatch


class LengthsAside(Decoder):
    """Fields out of octets, where h2 does not find a Content-Length that makes no sense.

    To h2 that, or a second one, is the end of the connection, with the streams of others
    that a proxy may have put on it. Under a name which no field has it is malformed, as it
    ought to be, and costs its own stream (RFC 9113 §8.1.1).
    """

    def decode(self, data: bytes, raw: bool = False) -> Iterable[HeaderTuple]:
        fields = list(super().decode(data, raw))
        found = [each for each in fields if each[0] == _LENGTH]
        if found and (len(found) > 1 or not _is_length(found[0][1])):
            return [HeaderTuple(_ODD_LENGTH, each[1]) if each in found else each for each in fields]
        return fields


def open_h2(
    limits: HTTP2Limits, client: bool, settings: dict[int, int], max_head: int
) -> tuple[H2Connection, list[bytes]]:
    """One side of a connection for h2, and its first octets, which are not h2's.

    Args:
        limits: How much.
        client: Which side.
        settings: What the peer is told, by identifier, besides the initial window.
        max_head: Octets of a decoded header section above which the connection ends.
    """
    h2 = H2Connection(
        H2Configuration(
            client_side=client,
            header_encoding=None,
            # Held against the RFC in grammar.py: there it costs a stream, here the connection.
            validate_inbound_headers=False,
            normalize_inbound_headers=False,
            # Likewise, with a table of what was good.
            validate_outbound_headers=False,
            normalize_outbound_headers=False,
        )
    )
    h2.local_settings = Settings(
        client=client,
        initial_values={
            SettingCodes.INITIAL_WINDOW_SIZE: limits.stream_window,
            # Too many are refused one by one; for h2 they would end the connection.
            SettingCodes.MAX_CONCURRENT_STREAMS: LARGEST_WINDOW,
            SettingCodes.ENABLE_PUSH: 0,
            SettingCodes.ENABLE_CONNECT_PROTOCOL: 0 if client else 1,
        },
    )
    h2.decoder = LengthsAside(max_head)
    h2.initiate_connection()
    # What it would say is less than what is said here.
    h2.clear_outbound_data_buffer()
    first: list[bytes] = []
    if client:
        first.append(framing.PREFACE)
    else:
        h2.receive_data(framing.PREFACE)  # which the reader takes off
    payload = b"".join(
        code.to_bytes(2, "big") + value.to_bytes(4, "big")
        for code, value in sorted({INITIAL_WINDOW: limits.stream_window, **settings}.items())
    )
    first.append(frame_head(len(payload), framing.SETTINGS, 0, 0) + payload)
    more = limits.window - 65_535
    if more > 0:
        h2.increment_flow_control_window(more)
        first.append(h2.data_to_send())
    return h2, first
