"""Conversations as files: recorded, read, and played against implementations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sennit.core.endpoint.connect import open_stream
from sennit.core.endpoint.listen import serve
from sennit.core.protocol import Protocol
from sennit.core.testing.clock import Clock
from sennit.core.testing.conversation import (
    Conversation,
    ConversationMismatchError,
    ConversationSyntaxError,
    Player,
    escape,
    unescape,
)
from sennit.core.testing.network import MemoryNetwork
from sennit.core.testing.recorder import Recorder
from sennit.core.transport.memory import memory_pair
from sennit.core.transport.memory_link import Link

if TYPE_CHECKING:
    from pathlib import Path

pytest_plugins = ("pytester",)

GREETING = r"""# sennit conversation: a greeting
< 0.000 220 … ready\r\n
> 1.000 HELLO there\r\n
<~ 1.500 250 hello, it is \d\d:\d\d\r\n
> 2.000 QUIT\r\n
<. 2.000
"""


class Greeter(Protocol):
    """A small server."""

    word = b"hello"

    def __init__(self) -> None:
        self.buffer = b""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        transport.write(b"220 mail.example ready\r\n")

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while b"\r\n" in self.buffer:
            line, _, self.buffer = self.buffer.partition(b"\r\n")
            if line == b"QUIT":
                self.transport.close()
            else:
                self.transport.write(b"250 " + self.word + b", it is 12:34\r\n")


@given(st.binary())
def test_octets_survive_being_written(octets: bytes) -> None:
    assert unescape(escape(octets)) == octets
    assert escape(octets).isprintable()
    assert not escape(octets).endswith(" ")


def test_a_file_is_read_and_written_again() -> None:
    conversation = Conversation.parse(GREETING)
    assert conversation.dump() == GREETING
    assert conversation.about == "a greeting"
    assert [step.kind for step in conversation.steps] == ["data", "data", "pattern", "data", "end"]
    assert conversation.steps[0].line == 2


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "begins with"),
        ("> 0.0 x", "begins with"),
        ("# sennit conversation\n>0 x", "line 2"),
        ("# sennit conversation\n\n? 0.0 x", "line 3"),
        ("# sennit conversation\n> 0.0 \\q", r"\\q"),
        ("# sennit conversation\n> 0.0 x\\", "single"),
        ("# sennit conversation\n> 0.0 \xe9", "ASCII"),
        ("# sennit conversation\n>~ 0.0 (", "line 2"),
    ],
)
def test_a_file_that_means_nothing_is_refused_by_its_line(text: str, problem: str) -> None:
    with pytest.raises(ConversationSyntaxError, match=problem):
        Conversation.parse(text)


# ── playing ───────────────────────────────────────────────────────────────────


def test_a_server_that_keeps_to_it_passes() -> None:
    Conversation.parse(GREETING).play_against(Greeter())


def test_a_mismatch_says_where_it_is() -> None:
    class Rude(Greeter):
        word = b"what"

    with pytest.raises(ConversationMismatchError, match="line 4") as caught:
        Conversation.parse(GREETING, "greeting.txt").play_against(Rude())
    assert caught.value.line == 4
    assert caught.value.offset == len(b"220 mail.example ready\r\n")
    assert caught.value.got == b"250 what, it is 12:34\r\n"
    assert "greeting.txt" in str(caught.value)
    assert r"got       250 what, it is 12:34\r\n" in str(caught.value)


def test_the_first_octet_that_differs_is_counted() -> None:
    text = "# sennit conversation\n< 0.0 hello world\\r\\n\n"

    class Say(Protocol):
        def connection_made(self, transport: Any) -> None:
            transport.write(b"hello there\r\n")

    with pytest.raises(ConversationMismatchError, match="octet 6") as caught:
        Conversation.parse(text).play_against(Say())
    assert caught.value.expected == r"world\r\n"
    assert caught.value.got == b"there\r\n"


def test_one_who_says_too_little_or_too_much_fails() -> None:
    class Silent(Protocol):
        pass

    with pytest.raises(ConversationMismatchError, match="too little was said at line 2"):
        Conversation.parse(GREETING).play_against(Silent())

    class Talkative(Greeter):
        word = b"hello, it is 12:34\r\n250 and goodbye"

    with pytest.raises(ConversationMismatchError, match="more was said than expected at line 5"):
        Conversation.parse(GREETING).play_against(Talkative())


def test_a_player_cannot_say_what_is_left_open() -> None:
    with pytest.raises(ConversationSyntaxError, match="write octets there"):
        Conversation.parse(GREETING).player("server")


@pytest.mark.parametrize("chunk", [1, 2, 7, 1000])
def test_where_a_stream_is_cut_plays_no_part(chunk: int) -> None:
    clock = Clock()
    player = Conversation.parse(GREETING).player("client")
    memory_pair(player, Greeter(), reactor=clock, back=Link(chunk=chunk))
    clock.run_until(player.done)


def test_a_paced_player_waits_as_it_was_recorded() -> None:
    clock = Clock()
    player = Conversation.parse(GREETING).player("client", paced=True)
    memory_pair(player, Greeter(), reactor=clock)
    clock.run_until(player.done)
    assert clock.time() == 1.5  # a second before HELLO, half a one before QUIT


def test_a_client_is_played_against_by_a_server_that_is_played() -> None:
    text = GREETING.replace("…", "mail.example").replace("<~", "<").replace(r"\d\d:\d\d", "12:34")
    conversation = Conversation.parse(text)
    clock = Clock()
    client, server = conversation.player("client"), conversation.player("server")
    memory_pair(client, server, reactor=clock)
    clock.run_until(client.done)
    clock.run_until(server.done)


def test_a_reset_is_played_and_heard() -> None:
    text = "# sennit conversation\n> 0.0 x\n<! 0.5\n"
    conversation = Conversation.parse(text)
    clock = Clock()
    client, server = conversation.player("client"), conversation.player("server")
    memory_pair(client, server, reactor=clock)
    clock.run_until(client.done)
    clock.run_until(server.done)
    assert client.transport.close_reason == "reset"


# ── recording ─────────────────────────────────────────────────────────────────


async def talk(url: str) -> bytes:
    """A client's part."""
    async with await open_stream(url) as stream:
        got = await stream.read_line()
        await stream.send_all(b"AUTH s3cret now\r\n")
        got += await stream.read_line()
        await stream.send_all(b"QUIT\r\n")
        return got + await stream.receive_some()


RECORDED = r"""# sennit conversation: greeter
< 0.100 220 mail.example ready\r\n
> 0.200 AUTH … now\r\n
< 0.300 250 hello, it is 12:34\r\n
> 0.400 QUIT\r\n
<. 0.500
"""


def test_a_conversation_is_recorded_at_the_server_and_played_again(tmp_path: Path) -> None:
    recorder = Recorder(secrets=[rb"AUTH (\S+)"], about="greeter")

    async def main(clock: Clock) -> None:
        async with serve("tcp://10.0.0.1:25", recorder.around_server(Greeter)):
            assert await talk("tcp://10.0.0.1:25")
            assert await talk("tcp://10.0.0.1:25")  # not recorded: one conversation, the first

    with Clock() as clock:
        network = MemoryNetwork(clock, link=Link(latency=0.1))
        clock.run(main)
        network.close()
    path = tmp_path / "greeter.txt"
    recorder.save(path)
    text = path.read_text()
    assert "s3cret" not in text
    assert [line.split(" ", 2)[::2] for line in text.splitlines()[1:5]] == [
        line.split(" ", 2)[::2] for line in RECORDED.splitlines()[1:5]
    ]
    assert text.splitlines()[5].startswith("<.")
    played = Conversation.parse(text.replace("AUTH …", "AUTH anything"))
    played.play_against(Greeter())


def test_a_conversation_is_recorded_at_the_client() -> None:
    recorder = Recorder()

    class Client(Protocol):
        def data_received(self, data: bytes) -> None:
            self.transport.write(b"QUIT\r\n")

    with Clock() as clock:
        client = recorder.around_client(Client).build_protocol(None)
        assert client is not None
        pair = memory_pair(client, Greeter(), reactor=clock)
        clock.pump()
        assert pair.first.close_reason == "clean"
    assert [(step.side, step.kind) for step in recorder.conversation.steps] == [
        ("server", "data"),
        ("client", "data"),
        ("server", "end"),
        ("client", "end"),
    ]


def test_a_proxy_records_what_others_say() -> None:
    recorder = Recorder(about="through a proxy")

    async def main(clock: Clock) -> None:
        async with (
            serve("tcp://10.0.0.1:25", Greeter),
            recorder.proxy("tcp://10.0.0.2:25", "tcp://10.0.0.1:25"),
        ):
            await talk("tcp://10.0.0.2:25")

    with Clock() as clock:
        network = MemoryNetwork(clock)
        clock.run(main)
        network.close()
    assert [step.octets for step in recorder.conversation.steps[:4]] == [
        b"220 mail.example ready\r\n",
        b"AUTH s3cret now\r\n",
        b"250 hello, it is 12:34\r\n",
        b"QUIT\r\n",
    ]


def test_octets_that_are_no_text_are_recorded_too() -> None:
    recorder = Recorder(secrets=[b"\xff+"])
    clock = Clock()
    assert recorder.begin(clock)
    assert not recorder.begin(clock)
    recorder.add("client", "data", bytes(range(32)) * 4)
    recorder.add("server", "data", b"a\xff\xff\xffb \n")
    clock.advance(1)
    recorder.add("client", "reset")
    recorder.add("client", "end")
    steps = recorder.conversation.steps
    assert b"".join(each.octets or b"" for each in steps[:-2]) == bytes(range(32)) * 4
    assert steps[-2].text == r"a…b \n"
    assert (steps[-1].kind, steps[-1].time) == ("reset", 1.0)
    again = Conversation.parse(recorder.conversation.dump())
    assert [each[:4] for each in again.steps] == [each[:4] for each in steps]


def test_a_player_is_a_protocol_like_others() -> None:
    assert "as client, 0 of 5" in repr(Player(Conversation.parse(GREETING), "client"))


def test_the_fixture_finds_files_beside_the_test(pytester: pytest.Pytester) -> None:
    pytester.mkdir("conversations").joinpath("greeting.txt").write_text(GREETING, "utf-8")
    pytester.makepyfile(
        """
        def test_it(conversation):
            assert len(conversation("greeting.txt").steps) == 5
        """
    )
    result = pytester.runpytest("-q")
    result.assert_outcomes(passed=1)
