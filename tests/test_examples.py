"""The example programs do what they say, each as a process of its own."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


def output_of(name: str) -> str:
    """What an example prints; it must end by itself, without a warning."""
    found = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", str(EXAMPLES / name)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert found.stderr == ""
    return found.stdout.strip()


def test_the_notebook_serves_and_connects_inside_asyncio_run() -> None:
    assert output_of("notebook.py") == "[b'HELLO FROM SENNIT', b'HELLO FROM ASYNCIO\\n']"


def test_the_counter_answers_by_deferreds() -> None:
    assert output_of("counting.py") == "(3, 5, 5)"


def test_guests_of_the_chat_hear_each_other() -> None:
    command = [sys.executable, "-u", str(EXAMPLES / "chat.py"), "tcp://127.0.0.1:0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as chat:
        try:
            assert chat.stdout is not None
            port = int(chat.stdout.readline().rpartition(":")[2])
            with socket.create_connection(("127.0.0.1", port), 10) as first:
                lines = first.makefile("rb")
                assert lines.readline() == b"You are guest 1.\n"
                with socket.create_connection(("127.0.0.1", port), 10) as second:
                    assert second.makefile("rb").readline() == b"You are guest 2.\n"
                    second.sendall(b"hello\n")
                    assert lines.readline() == b"guest 2: hello\n"
                assert lines.readline() == b"guest 2 has left.\n"
            chat.send_signal(signal.SIGTERM)
            assert chat.wait(20) == 0
        finally:
            chat.kill()
