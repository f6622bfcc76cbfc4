"""Fuzz target: ranges, numbers, dates and blocks are read, or refused by our own error."""

from __future__ import annotations

from contextlib import suppress

from sennit.news.errors import NNTPProtocolError
from sennit.news.grammar import (
    MAX_NUMBER,
    BlockDecoder,
    date_text,
    parse_command,
    parse_date,
    parse_number,
    parse_range,
    parse_response,
    stuff,
    unstuff,
)

SEEDS = [
    b"1-99999999999",
    b"5-3",
    b"20270115 080000",
    b"990624 000000",
    b"GROUP misc.test",
    b"211 3 1 3 misc.test",
    b"a\r\n..b\r\n.\r\nrest",
]


def fuzz(data: bytes) -> None:
    """Read it as everything it may be."""
    with suppress(NNTPProtocolError):
        low, high = parse_range(data)
        assert 0 <= low <= MAX_NUMBER
        assert 0 <= high <= MAX_NUMBER
    with suppress(NNTPProtocolError):
        assert parse_number(data) >= 0
    with suppress(NNTPProtocolError):
        date, _, time = data.partition(b" ")
        moment = parse_date(date, time, 1_800_000_000.0)
        if len(date) == 8 and time[4:] != b"60":
            assert date_text(moment) == date + time
    with suppress(NNTPProtocolError):
        word, words = parse_command(data)
        assert word == word.upper()
        assert all(words)
    with suppress(NNTPProtocolError):
        assert 100 <= parse_response(data)[0] <= 599
    decoder = BlockDecoder()
    half = len(data) // 2
    read = decoder.receive(data[:half])
    if not decoder.ended:
        read += decoder.receive(data[half:])
    assert len(read) <= len(data)
    assert unstuff(stuff(data)) == data
