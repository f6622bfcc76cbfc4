"""No octets make the reader of server-sent events raise, and no cut changes what it says."""

from __future__ import annotations

from sennit.web.client.eventstream import EventParser, ServerSentEvent

SEEDS = (
    b"data: YHOO\ndata: +2\ndata: 10\n\n",
    b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\n",
    b"event: add\r\ndata: 73857293\r\n\r\nretry: 3000\r\r",
    b"\xef\xbb\xbfdata\n\ndata\ndata\n\ndata:",
)


def _run(pieces: list[bytes]) -> tuple[list[ServerSentEvent], str, int | None, bool]:
    parser = EventParser(400)
    found: list[ServerSentEvent] = []
    for piece in pieces:
        found += parser.feed(piece)
    return found, parser.last_id, parser.retry, parser.fault is not None


def fuzz(data: bytes) -> None:
    """Hold two ways of reading `data` against each other."""
    whole = _run([data])
    octets = _run([data[at : at + 1] for at in range(len(data))])
    # Where the bound is passed depends on the cut; that it is, and what came before, does not.
    if not (whole[3] or octets[3]):
        assert whole == octets
    for event in whole[0]:
        assert "\0" not in event.id
        assert "\r" not in event.data
