"""Fuzz target: no octets on a control connection make the server's engine raise or lie."""

from __future__ import annotations

from sennit.core.engine import NoEvent
from sennit.ftp.engine import Profile, ServerEngine
from sennit.ftp.events import (
    ClearAsked,
    LoginAsked,
    PassiveAsked,
    PathAsked,
    RenameAsked,
    StatusAsked,
    TransferAborted,
    TransferAsked,
)
from sennit.ftp.limits import Limits

SEEDS = [
    b"USER u\r\nPASS p\r\nTYPE I\r\nEPSV\r\nRETR a/../b\r\n\xff\xf4\xff\xf2ABOR\r\nQUIT\r\n",
    b"USER u\r\nPASS p\r\nPORT 192,0,2,7,19,136\r\nLIST -la x/*\r\nSTAT\r\nABOR\r\n",
    b"USER u\r\nPASS p\r\nEPRT |1|192.0.2.7|5000|\r\nSTOR ../x\r\nRNFR a\r\nRNTO ~/b\r\n",
    b"USER u\r\nPASS p\r\nMFMT 20200102030405 a\r\nSITE CHMOD 644 a\r\nOPTS MLST size;\r\nMLST\r\n",
    b"ALLO 1\r\nUSER u\r\nPASS p\r\nCCC\r\n",
    b"AUTH TLS\r\nPBSZ 0\r\nPROT P\r\nCCC\r\nRANG 3 5\r\nREST 7\r\nHASH a\r\n",
]


def fuzz(data: bytes) -> None:
    """A server that says yes to everything."""
    profile = Profile(tls=True, site=True, clear_control=True)
    secure = data[:1] < b"B"  # an AUTH among the seeds, or what chance makes of it
    engine = ServerEngine(Limits(max_line=256), profile, peer="192.0.2.7", secure=secure)
    engine.receive_data(data)
    engine.receive_eof()
    events = 0
    while not isinstance(event := engine.next_event(), NoEvent):
        events += 1
        assert events <= 2 * len(data) + 16
        answer(engine, event)
    for piece in engine.data_to_send():
        assert piece.endswith(b"\r\n") or piece.startswith(b"\xff")
        assert b"\0" not in piece


def answer(engine: ServerEngine, event: object) -> None:
    """Whatever is asked is granted; what names a path names one below the root."""
    if isinstance(event, (PathAsked, TransferAsked)):
        assert_path(event.path)
    if isinstance(event, RenameAsked):
        assert_path(event.source)
        assert_path(event.target)
    if isinstance(event, LoginAsked):
        engine.accept_login()
    elif isinstance(event, PassiveAsked):
        engine.accept_passive("192.0.2.1", 5000)
    elif isinstance(event, StatusAsked):
        engine.send_status("Status:", "End")
    elif isinstance(event, TransferAsked):
        assert event.target is None or event.target == ("192.0.2.7", event.target[1])
        assert event.target is None or event.target[1] >= 1024
        engine.mark(150, "Here")
        while isinstance(engine.next_event(), (TransferAborted, StatusAsked)):
            pass
        engine.reply(226, "Done")
    elif isinstance(event, PathAsked) and event.verb == "CWD":
        engine.accept_directory()
    elif isinstance(event, PathAsked) and event.verb == "RNFR":
        engine.accept_source()
    elif isinstance(event, ClearAsked):
        assert engine.secure
        assert engine.accept_clear() is not engine.secure
    elif engine._pending is not None:
        engine.reply(250, "Done")
    if engine._status:
        engine.send_status("Status:", "End")


def assert_path(path: tuple[str, ...]) -> None:
    """No name is one that leads elsewhere."""
    for name in path:
        assert name not in ("", ".", "..")
        assert not set(name) & {"/", "\0", "\r", "\n"}
