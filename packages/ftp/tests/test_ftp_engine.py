"""The server's engine, by example and by property."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from sennit.core.engine import CLOSED, PAUSED, NoEvent, PeerFault
from sennit.core.testing.engines import assert_no_io, engine_suite
from sennit.ftp.engine import Profile, ServerEngine
from sennit.ftp.errors import FTPUsageError
from sennit.ftp.events import (
    Answered,
    ClearAsked,
    LoginAsked,
    LogoutAsked,
    PassiveAsked,
    PathAsked,
    RenameAsked,
    StatusAsked,
    TLSAsked,
    TransferAborted,
    TransferAsked,
)
from sennit.ftp.limits import Limits
from sennit.ftp.verbs import VERBS

if TYPE_CHECKING:
    from sennit.ftp.events import ServerEvent

TLS = Profile(tls=True)
REQUIRED = Profile(tls=True, require_tls=True)
CLEARING = Profile(tls=True, require_tls=True, clear_control=True)


def fresh(
    profile: Profile | None = None, *, peer: str = "192.0.2.7", secure: bool = False
) -> ServerEngine:
    """An engine whose greeting has left."""
    engine = ServerEngine(None, profile, peer=peer, secure=secure)
    assert engine.data_to_send() == [b"220 FTP at your service\r\n"]
    return engine


def inside(
    profile: Profile | None = None, *, peer: str = "192.0.2.7", secure: bool = False
) -> ServerEngine:
    """One on which somebody has logged in."""
    engine = fresh(profile, peer=peer, secure=secure)
    if secure:
        engine.receive_data(b"PBSZ 0\r\nPROT P\r\n")
        assert [engine.next_event(), engine.next_event()] == [
            Answered("PBSZ", 200),
            Answered("PROT", 200),
        ]
    engine.receive_data(b"USER u\r\nPASS p\r\n")
    assert engine.next_event() == Answered("USER", 331)
    assert engine.next_event() == LoginAsked("u", "p", False)
    engine.accept_login()
    engine.data_to_send()
    return engine


def say(engine: ServerEngine, line: str) -> ServerEvent | NoEvent:
    """The event of one line."""
    engine.receive_data(line.encode() + b"\r\n")
    return engine.next_event()


def told(engine: ServerEngine, line: str) -> str:
    """The reply to a line that the engine answers by itself."""
    assert isinstance(say(engine, line), (Answered, PeerFault))
    return b"".join(engine.data_to_send()).decode()


def ask(engine: ServerEngine, line: str, code: int = 200) -> ServerEvent | NoEvent:
    """The event of a line that others answer, which is then answered."""
    event = say(engine, line)
    assert not isinstance(event, (Answered, NoEvent)), engine.data_to_send()
    engine.reply(code, "So be it")
    assert b"".join(engine.data_to_send()) == b"%d So be it\r\n" % code
    return event


def test_the_engine_leaves_sockets_alone() -> None:
    assert_no_io("sennit.ftp.engine")


# ── who ───────────────────────────────────────────────────────────────────────


def test_a_login_is_asked_for_and_accepted() -> None:
    engine = inside()

    assert engine.user == "u"
    assert told(engine, "PWD") == '257 "/" is where you are\r\n'
    assert told(engine, "USER v").startswith("503")


def test_a_login_that_is_rejected_leaves_nothing() -> None:
    engine = fresh()
    say(engine, "USER u")
    say(engine, "PASS p")
    engine.data_to_send()

    engine.reject_login()

    assert engine.data_to_send() == [b"530 Login incorrect\r\n"]
    assert told(engine, "PASS p").startswith("503")


def test_the_last_try_ends_the_connection() -> None:
    engine = fresh()
    say(engine, "USER u")
    say(engine, "PASS p")
    engine.data_to_send()

    engine.reject_login("Enough", code=421)

    assert engine.data_to_send() == [b"421 Enough\r\n"]
    assert engine.next_event() is CLOSED


@pytest.mark.parametrize("name", ["anonymous", "FTP", "nobody", "", " ", "x" * 300, "é"])
def test_every_name_is_asked_for_a_password(name: str) -> None:
    """HARDENING ftp-5: nobody learns who is there."""
    assert told(fresh(), f"USER {name or '-'}") == "331 And the password?\r\n"


def test_names_of_nobody_in_particular_are_told() -> None:
    engine = fresh()
    say(engine, "USER Anonymous")

    assert say(engine, "PASS me@example.org") == LoginAsked("Anonymous", "me@example.org", True)
    assert "example" not in repr(LoginAsked("u", "me@example.org", True))


@pytest.mark.parametrize("verb", sorted(verb for verb in VERBS if VERBS[verb].login))
def test_who_has_not_logged_in_can_do_nothing(verb: str) -> None:
    engine = fresh(Profile(site=True, tls=True))

    assert told(engine, f"{verb} x") == "530 Log in first\r\n"


@pytest.mark.parametrize("verb", ["STAT x", "ACCT", "PASS p", "RNTO x"])
def test_nor_by_other_ways(verb: str) -> None:
    assert told(fresh(), verb)[:3] in {"530", "501", "503"}


def test_rein_is_as_if_the_client_had_just_come() -> None:
    engine = inside()
    say(engine, "TYPE I")
    engine.data_to_send()

    assert say(engine, "REIN") == LogoutAsked()
    engine.reply(220, "Ready")

    assert not engine.logged_in
    assert "TYPE A" in engine.settings


def test_rein_does_not_take_tls_away() -> None:
    """RFC 4217 §11 would have the connection go on in clear."""
    engine = inside(REQUIRED, secure=True)

    assert told(engine, "REIN").startswith("502")
    assert engine.logged_in


def test_host_is_known_where_there_are_hosts() -> None:
    """RFC 7151."""
    engine = fresh(Profile(hosts=("ftp.example.org",)))

    assert told(fresh(), "HOST ftp.example.org").startswith("502")
    assert told(engine, "HOST other").startswith("504")
    assert told(engine, "HOST FTP.example.org").startswith("220")
    assert "HOST" in told(engine, "FEAT")
    say(engine, "USER u")
    engine.data_to_send()
    assert told(engine, "HOST ftp.example.org").startswith("503")


# ── TLS ───────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("line", "private"), [("AUTH TLS", False), ("auth tls-c", False), ("AUTH TLS-P", True)]
)
def test_auth_asks_for_tls(line: str, private: bool) -> None:
    engine = fresh(TLS)

    assert say(engine, line) == TLSAsked(private)
    assert engine.next_event() is PAUSED
    engine.accept_tls()

    assert engine.data_to_send() == [b"234 Begin TLS\r\n"]
    engine.receive_data(b"USER x\r\n")
    assert engine.next_event() is PAUSED
    assert engine.release() == b"USER x\r\n"


@pytest.mark.parametrize(
    ("profile", "secure", "line", "code"),
    [
        (Profile(), False, "AUTH TLS", "502"),
        (TLS, False, "AUTH KERBEROS_V4", "504"),
        (TLS, True, "AUTH TLS", "503"),
        (TLS, False, "PBSZ 0", "503"),
        (TLS, False, "PROT P", "503"),
        (TLS, True, "PROT P", "503"),  # PBSZ comes first
        (TLS, True, "PBSZ x", "501"),
        (TLS, True, "CCC", "534"),
        (TLS, False, "CCC", "533"),
        (CLEARING, False, "CCC", "533"),
        (CLEARING, True, "CCC", "503"),  # a login comes first
        (CLEARING, True, "CCC now", "501"),
        (REQUIRED, False, "USER u", "530"),
        (REQUIRED, True, "USER u", "331"),
    ],
)
def test_what_tls_allows(profile: Profile, secure: bool, line: str, code: str) -> None:
    """RFC 4217; HARDENING ftp-7."""
    assert told(fresh(profile, secure=secure), line).startswith(code)


@pytest.mark.parametrize(
    ("profile", "line", "code"),
    [
        (TLS, "PROT C", "200"),
        (REQUIRED, "PROT C", "534"),
        (TLS, "PROT S", "536"),
        (TLS, "PROT E", "536"),
        (TLS, "PROT x", "504"),
    ],
)
def test_levels_of_protection(profile: Profile, line: str, code: str) -> None:
    assert told(inside(profile, secure=True), line).startswith(code)


def test_where_tls_is_required_no_data_passes_in_clear() -> None:
    engine = inside(REQUIRED, secure=True)
    engine._private = False
    say(engine, "EPSV")
    engine.accept_passive("192.0.2.1", 5000)
    engine.data_to_send()

    assert told(engine, "LIST").startswith("522")


def test_implicit_tls_protects_data_without_further_words() -> None:
    engine = fresh(REQUIRED)
    engine.stands_over_tls()

    assert engine.private
    assert told(engine, "USER u").startswith("331")
    assert told(engine, "PROT P").startswith("200")


def test_ccc_takes_tls_off_and_leaves_all_else() -> None:
    """RFC 2228 §3, RFC 4217 §12.3: in clear nobody changes how data is protected."""
    engine = inside(CLEARING, secure=True)
    assert " CCC\r\n" in told(engine, "FEAT")

    assert say(engine, "CCC") == ClearAsked()
    assert engine.next_event() is PAUSED
    assert engine.accept_clear()

    assert engine.data_to_send() == [b"200 End TLS\r\n"]
    assert (engine.secure, engine.private, engine.user) == (False, True, "u")
    assert " CCC\r\n" not in told(engine, "FEAT")
    for line, code in [
        ("CCC", "533"),
        ("PBSZ 0", "503"),
        ("PROT C", "503"),
        ("REIN", "502"),
        ("USER other", "530"),
        ("PWD", "257"),
    ]:
        assert told(engine, line).startswith(code), line
    assert say(engine, "AUTH TLS") == TLSAsked(False)


def test_where_tls_came_with_the_connection_ccc_leaves_no_way_back() -> None:
    engine = fresh(Profile(require_tls=True, clear_control=True))
    engine.stands_over_tls()
    engine.receive_data(b"USER u\r\nPASS p\r\n")
    assert [engine.next_event(), engine.next_event()][1] == LoginAsked("u", "p", False)
    engine.accept_login()
    assert say(engine, "CCC") == ClearAsked()
    assert engine.accept_clear()
    engine.data_to_send()

    assert told(engine, "AUTH TLS").startswith("502")
    assert told(engine, "PROT C").startswith("503")
    assert engine.private


def test_what_stands_behind_ccc_is_never_done() -> None:
    """HARDENING ftp-7: it would be answered in clear."""
    engine = inside(CLEARING, secure=True)

    assert say(engine, "CCC\r\nDELE file") == ClearAsked()
    assert not engine.accept_clear()

    assert engine.data_to_send() == [b"421 Nothing may follow CCC before TLS has ended\r\n"]
    assert engine.next_event() is CLOSED


def test_ccc_may_be_refused_for_reasons_of_others() -> None:
    engine = inside(CLEARING, secure=True)
    say(engine, "CCC")

    with pytest.raises(FTPUsageError):
        engine.accept_tls()
    engine.reply(534, "Not now")

    assert engine.secure
    with pytest.raises(FTPUsageError):
        engine.accept_clear()


# ── what is there ─────────────────────────────────────────────────────────────


def test_feat_tells_what_there_is() -> None:
    assert told(fresh(), "FEAT") == (
        "211-Extensions:\r\n CLNT\r\n EPRT\r\n EPSV\r\n"
        " HASH SHA-256*;SHA-512;SHA-1;MD5\r\n LANG EN*\r\n MDTM\r\n MFMT\r\n"
        " MLST type*;size*;modify*;perm*;unique*;UNIX.mode*;UNIX.owner;UNIX.group;\r\n"
        " RANG STREAM\r\n REST STREAM\r\n SIZE\r\n TVFS\r\n UTF8\r\n211 End\r\n"
    )
    poor = told(fresh(Profile(active=False, hashes=())), "FEAT")
    assert "EPRT" not in poor
    assert "HASH" not in poor
    assert " AUTH TLS;TLS-C;TLS-P;\r\n" in told(fresh(TLS), "FEAT")


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        ("OPTS UTF8 ON", "200"),
        ("OPTS UTF8", "200"),
        ("OPTS UTF8 OFF", "504"),
        ("OPTS MLST size;Modify;nothing;", "200 MLST OPTS size;modify;"),
        ("OPTS MLST", "200 MLST OPTS\r\n"),
        ("OPTS HASH", "200 SHA-256"),
        ("OPTS HASH sha-512", "200 SHA-512"),
        ("OPTS HASH CRC32", "504"),
        ("OPTS NOOP", "501"),
        ("OPTS", "501"),
        ("SYST", "215 UNIX Type: L8"),
        ("NOOP", "200"),
        ("NOOP x", "501"),
        ("HELP", "214-Commands:"),
        ("HELP retr", "214 RETR path"),
        ("HELP XYZZ", "501"),
        ("ACCT x", "202"),
        ("LANG", "200"),
        ("LANG en-GB", "200"),
        ("LANG fr", "504"),
        ("CLNT something", "200"),
        ("ABOR", "226"),
        ("XYZZ", "500"),
        ("SITE HELP", "502"),
    ],
)
def test_what_needs_nothing_from_outside_is_answered(line: str, reply: str) -> None:
    assert told(fresh(), line).startswith(reply)


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        ("TYPE I", "200"),
        ("TYPE A N", "200"),
        ("type l 8", "200"),
        ("TYPE A T", "504"),
        ("TYPE E", "504"),
        ("TYPE L 7", "504"),
        ("TYPE X", "501"),
        ("MODE S", "200"),
        ("MODE B", "504"),
        ("STRU F", "200"),
        ("STRU R", "504"),
        ("ALLO 5", "200"),
        ("ALLO 5 R 6", "200"),
        ("ALLO x", "501"),
        ("REST 10", "350"),
        ("REST -1", "501"),
        ("REST 9999999999999999999", "501"),
        ("RANG 0 9", "350"),
        ("RANG 1 0", "350"),
        ("RANG 9 5", "501"),
        ("RANG 9", "501"),
        ("SMNT /x", "502"),
        ("SITE HELP", "214"),
        ("SITE CHMOD 999 x", "501"),
        ("SITE CHMOD 644", "501"),
        ("SITE EXEC x", "504"),
        ("RNTO x", "503"),
        ("RETR x", "425"),
        ("MFMT 2020 x", "501"),
        ("MFMT 20200101000000", "501"),
        ("CWD ../..", "550"),
        ("RETR /../../etc/passwd", "550"),
        ("CWD a\0b", "501"),
        ("LIST -R", "550"),
        ("NLST */../*/../*", "550"),
        ("STAT */x", "550"),
        ("RETR", "501"),
        ("PWD x", "501"),
    ],
)
def test_what_is_answered_after_a_login(line: str, reply: str) -> None:
    assert told(inside(Profile(site=True)), line).startswith(reply)


# ── files ─────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("line", "event"),
    [
        ("CWD b", PathAsked("CWD", ("a", "b"))),
        ("XCWD /b", PathAsked("CWD", ("b",))),
        ("CDUP", PathAsked("CWD", ())),
        ("MKD b", PathAsked("MKD", ("a", "b"))),
        ("XRMD b", PathAsked("RMD", ("a", "b"))),
        ("DELE b", PathAsked("DELE", ("a", "b"))),
        ("SIZE b", PathAsked("SIZE", ("a", "b"), ascii=True)),
        ("MDTM b", PathAsked("MDTM", ("a", "b"))),
        ("MFMT 19700101000002 b c", PathAsked("MFMT", ("a", "b c"), 2.0)),
        ("SITE chmod 0640 b", PathAsked("CHMOD", ("a", "b"), 0o640)),
        ("HASH b", PathAsked("HASH", ("a", "b"), algorithm="SHA-256")),
        ("RNFR b", PathAsked("RNFR", ("a", "b"))),
    ],
)
def test_what_is_asked_of_files(line: str, event: PathAsked) -> None:
    engine = inside(Profile(site=True))
    assert say(engine, "CWD a") == PathAsked("CWD", ("a",))
    engine.accept_directory()
    engine.data_to_send()

    assert ask(engine, line) == event


def test_the_root_is_above_itself() -> None:
    assert ask(inside(), "CDUP") == PathAsked("CWD", ())


def test_a_name_is_changed_by_two_commands_one_after_the_other() -> None:
    engine = inside()
    say(engine, "RNFR a")
    engine.accept_source()
    assert engine.data_to_send() == [b"350 And its new name?\r\n"]
    assert ask(engine, "RNTO b") == RenameAsked(("a",), ("b",))

    say(engine, "RNFR a")
    engine.accept_source()
    say(engine, "NOOP")
    engine.data_to_send()
    assert told(engine, "RNTO b").startswith("503")
    say(engine, "RNFR a")
    engine.reply(550, "no")
    engine.data_to_send()
    assert told(engine, "RNTO b").startswith("503")


def test_a_hash_may_be_of_a_part_and_by_another_algorithm() -> None:
    engine = inside()
    say(engine, "OPTS HASH MD5")
    say(engine, "RANG 3 5")
    engine.data_to_send()

    assert ask(engine, "HASH a") == PathAsked("HASH", ("a",), offset=3, end=6, algorithm="MD5")
    assert ask(engine, "HASH a") == PathAsked("HASH", ("a",), algorithm="MD5")


# ── where data goes ───────────────────────────────────────────────────────────


def test_a_transfer_says_all_that_was_said_before_it() -> None:
    engine = inside()
    say(engine, "TYPE I")
    assert say(engine, "EPSV") == PassiveAsked(extended=True)
    engine.accept_passive("192.0.2.1", 5000)
    say(engine, "ALLO 99")
    say(engine, "REST 10")
    engine.data_to_send()

    assert say(engine, "STOR x") == TransferAsked("STOR", ("x",), offset=10, size=99)
    engine.mark(150, "Here")
    engine.reply(226, "There")

    assert engine.data_to_send() == [b"150 Here\r\n", b"226 There\r\n"]
    assert told(engine, "STOR x").startswith("425")  # a data connection is for one transfer


@pytest.mark.parametrize(
    ("line", "event"),
    [
        ("RETR a", TransferAsked("RETR", ("a",))),
        ("APPE a", TransferAsked("APPE", ("a",))),
        ("STOU", TransferAsked("STOU", ())),
        ("STOU a", TransferAsked("STOU", ("a",), named=True)),
        ("LIST", TransferAsked("LIST", ())),
        ("LIST -la a", TransferAsked("LIST", ("a",))),
        ("NLST a", TransferAsked("NLST", ("a",), prefix="a/")),
        ("NLST a/", TransferAsked("NLST", ("a",), prefix="a/")),
    ],
)
def test_transfers_in_active_mode(line: str, event: TransferAsked) -> None:
    engine = inside()
    assert told(engine, "PORT 192,0,2,7,19,136").startswith("200")
    event.target = ("192.0.2.7", 5000)
    event.ascii = True

    assert ask(engine, line, 226) == event


@pytest.mark.parametrize("line", ["STOR a", "APPE a", "STOU"])
def test_a_range_is_repaired_in_no_upload(line: str) -> None:
    """Else a file would be cut off where the range begins (draft-bryan-ftp-range)."""
    engine = inside()
    say(engine, "PORT 192,0,2,7,19,136")
    say(engine, "RANG 3 5")
    engine.data_to_send()

    assert told(engine, line).startswith("504")
    say(engine, "PORT 192,0,2,7,19,136")
    engine.data_to_send()
    event = ask(engine, line, 226)
    assert isinstance(event, TransferAsked)
    assert (event.offset, event.end) == (0, None)


def test_mlsd_has_the_facts_that_were_chosen() -> None:
    engine = inside()
    say(engine, "OPTS MLST size;")
    say(engine, "PORT 192,0,2,7,19,136")
    engine.data_to_send()

    event = ask(engine, "MLSD", 226)

    assert isinstance(event, TransferAsked)
    assert event.facts == ("size",)


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("PORT 10,0,0,5,0,25", "504"),
        ("PORT 10,0,0,5,19,136", "504"),
        ("PORT 192,0,2,7,3,255", "504"),  # 1023
        ("PORT 127,0,0,1,19,136", "504"),
        ("PORT 192,0,2,7,4,0", "200"),
        ("PORT 192,0,2,7", "501"),
        ("EPRT |1|10.0.0.5|5000|", "504"),
        ("EPRT |1|192.0.2.7|25|", "504"),
        ("EPRT |1|192.0.2.7|5000|", "200"),
        ("EPRT |2|::ffff:192.0.2.7|5000|", "522"),
        ("EPRT |2|2001:db8::1|5000|", "522"),
        ("EPRT nonsense", "501"),
        ("EPSV 2", "522"),
        ("EPSV 3", "522"),
        ("EPSV x", "501"),
    ],
)
def test_nobody_else_is_connected_to(line: str, code: str) -> None:
    """HARDENING ftp-1 (RFC 2577 §3)."""
    assert told(inside(), line).startswith(code)


def test_over_ipv6_the_extended_commands_are_needed() -> None:
    engine = inside(peer="2001:db8::7")

    assert told(engine, "PASV").startswith("502")
    assert told(engine, "EPSV 1").startswith("522")
    assert told(engine, "EPRT |1|192.0.2.7|5000|").startswith("522")
    assert told(engine, "EPRT |2|2001:DB8:0::7|5000|").startswith("200")
    assert ask(engine, "EPSV 2", 425) == PassiveAsked(extended=True)


def test_after_epsv_all_there_is_epsv_alone() -> None:
    """RFC 2428 §4."""
    engine = inside()
    assert told(engine, "EPSV ALL").startswith("200")

    for line in ("PASV", "PORT 192,0,2,7,19,136", "EPRT |1|192.0.2.7|5000|"):
        assert told(engine, line).startswith("503")
    assert say(engine, "EPSV") == PassiveAsked(extended=True)


def test_a_server_may_connect_to_nobody() -> None:
    assert told(inside(Profile(active=False)), "PORT 192,0,2,7,19,136").startswith("502")


# ── order ─────────────────────────────────────────────────────────────────────


def transferring() -> ServerEngine:
    """One with a transfer under way."""
    engine = inside()
    say(engine, "PORT 192,0,2,7,19,136")
    assert isinstance(say(engine, "RETR a"), TransferAsked)
    engine.data_to_send()
    return engine


def test_pipelined_commands_come_out_one_by_one() -> None:
    engine = inside()
    engine.receive_data(b"CWD a\r\nNOOP\r\nCWD b\r\n")

    assert engine.next_event() == PathAsked("CWD", ("a",))
    assert engine.next_event() is PAUSED
    engine.accept_directory()
    assert engine.next_event() == Answered("NOOP", 200)
    assert engine.next_event() == PathAsked("CWD", ("a", "b"))


@pytest.mark.parametrize(
    "octets",
    [b"ABOR\r\n", b"abor\r\n", b"\xff\xf4\xff\xf2ABOR\r\n", b"NOOP\r\nABOR\r\n", b"\xf2ABOR\r\n"],
)
def test_abor_ends_a_transfer_and_is_answered_behind_it(octets: bytes) -> None:
    """RFC 959 §4.1.3: 426, then 226."""
    engine = transferring()
    engine.receive_data(octets)

    assert engine.next_event() == TransferAborted()
    assert engine.next_event() is PAUSED
    engine.reply(426, "Aborted")
    while not isinstance(engine.next_event(), NoEvent):
        pass

    sent = b"".join(engine.data_to_send())
    assert sent.startswith(b"426 Aborted\r\n")
    assert octets.startswith(b"\xf2") or sent.endswith(b"226 Nothing is being transferred\r\n")


def test_abor_cut_anywhere_is_seen_once() -> None:
    engine = transferring()
    seen: list[object] = []
    for octet in b"NOOP\r\nABOR\r\nNOOP\r\n":
        engine.receive_data(bytes((octet,)))
        seen.append(engine.next_event())

    assert [each for each in seen if each is not PAUSED] == [TransferAborted()]


def test_what_only_looks_like_abor_ends_nothing() -> None:
    engine = transferring()
    engine.receive_data(b"XABOR\r\nABOR x\r\nABOR\rCWD ABOR\r\n")

    assert engine.next_event() is PAUSED


def test_stat_is_answered_in_mid_transfer() -> None:
    """RFC 959 §4.1.3."""
    engine = transferring()
    engine.receive_data(b"STAT\r\nNOOP\r\n")

    assert engine.next_event() == StatusAsked()
    engine.send_status("Status:", "all is well", "End")
    assert engine.data_to_send() == [b"211-Status:\r\n all is well\r\n211 End\r\n"]
    assert engine.next_event() is PAUSED
    engine.reply(226, "Done")
    assert engine.next_event() == Answered("NOOP", 200)


def test_quit_waits_for_the_transfer() -> None:
    """RFC 959 §4.1.1."""
    engine = transferring()
    engine.receive_data(b"QUIT\r\n")
    assert engine.next_event() is PAUSED

    engine.reply(226, "Done")

    assert engine.next_event() == Answered("QUIT", 221)
    assert engine.next_event() is CLOSED
    assert engine.data_to_send() == [b"226 Done\r\n", b"221 Good-bye\r\n"]


def test_closing_answers_what_is_open_and_says_so() -> None:
    engine = transferring()
    engine.close()
    assert engine.next_event() is PAUSED

    engine.reply(226, "Done")

    assert engine.next_event() is CLOSED
    assert engine.data_to_send() == [b"226 Done\r\n", b"421 The service closes\r\n"]


def test_the_end_of_input_is_the_end_once_all_was_answered() -> None:
    engine = transferring()
    engine.receive_eof()
    assert engine.next_event() is PAUSED

    engine.reply(226, "Done")

    assert engine.next_event() is CLOSED


def test_leaving_answers_nothing_more() -> None:
    engine = transferring()

    engine.leave("Too slow")
    engine.reply(226, "Done")

    assert engine.data_to_send() == [b"421 Too slow\r\n"]
    assert engine.next_event() is CLOSED


# ── what breaks ───────────────────────────────────────────────────────────────


@pytest.mark.parametrize("data", [b"A" * 5000, b"RETR " + b"a" * 4090 + b"\r\n"])
def test_a_line_has_a_longest_length_whether_it_ends_or_not(data: bytes) -> None:
    engine = fresh()
    engine.receive_data(data)

    assert isinstance(engine.next_event(), PeerFault)
    assert engine.next_event() is CLOSED
    assert engine.data_to_send() == [b"500 A line is too long\r\n"]


def test_a_line_ends_in_crlf() -> None:
    engine = fresh()
    engine.receive_data(b"NOOP\nNOOP\r\n")

    assert engine.next_event() == Answered("", 500)
    assert engine.next_event() == Answered("NOOP", 200)


def test_a_path_is_utf_8() -> None:
    engine = inside()
    engine.receive_data(b"RETR \xff\xff\r\nRETR \xff\r\n")

    assert [engine.next_event(), engine.next_event()] == [Answered("", 501)] * 2


def test_too_many_lines_that_are_no_commands_are_the_end() -> None:
    engine = fresh()
    engine.receive_data(b"GET / HTTP/1.1\r\n" * 30)

    for _ in range(19):
        assert engine.next_event() == Answered("GET", 500)
    assert isinstance(engine.next_event(), PeerFault)
    assert engine.next_event() is CLOSED


def test_a_failure_on_this_side_is_answered_too() -> None:
    engine = transferring()
    engine.internal_error()
    assert engine.data_to_send() == [b"451 Something failed here\r\n"]

    engine = fresh()
    say(engine, "USER u")
    say(engine, "PASS p")
    engine.data_to_send()
    engine.internal_error()
    assert engine.data_to_send() == [b"451 Something failed here\r\n"]
    assert isinstance(say(engine, "STAT"), StatusAsked)
    engine.internal_error(1)
    assert engine.data_to_send() == [b"451 Something failed here\r\n"]
    engine.internal_error()
    engine.internal_error(1)
    assert engine.data_to_send() == []


def test_nothing_is_answered_that_nobody_asked() -> None:
    engine = fresh()

    for answer in (
        engine.accept_login,
        engine.reject_login,
        engine.accept_tls,
        engine.accept_directory,
        engine.accept_source,
    ):
        with pytest.raises(FTPUsageError):
            answer()
    with pytest.raises(FTPUsageError):
        engine.reply(200, "x")
    with pytest.raises(FTPUsageError):
        engine.mark(150, "x")
    with pytest.raises(FTPUsageError):
        engine.accept_passive("192.0.2.1", 1)
    with pytest.raises(FTPUsageError):
        engine.send_status("x")
    assert engine.data_to_send() == []


def test_an_answer_cannot_pass_for_two() -> None:
    engine = transferring()

    with pytest.raises(FTPUsageError):
        engine.reply(226, "a\r\n221 b")
    engine.reply(226, "still possible")


def grant(engine: ServerEngine, event: object) -> None:
    """Answer as a simple server would."""
    if isinstance(event, LoginAsked):
        engine.accept_login()
    elif isinstance(event, PassiveAsked):
        engine.accept_passive("192.0.2.1", 5000)
    elif isinstance(event, TransferAsked):
        engine.mark(150, "Here")
        engine.reply(226, "Done")
    elif isinstance(event, PathAsked) and event.verb == "CWD":
        engine.accept_directory()
    elif isinstance(event, PathAsked) and event.verb == "RNFR":
        engine.accept_source()
    elif isinstance(event, StatusAsked):
        engine.send_status("Status:", "End")
    elif isinstance(event, ClearAsked):
        engine.accept_clear()
    elif isinstance(event, (PathAsked, RenameAsked, LogoutAsked, TLSAsked)):
        engine.reply(250, "Done")


LOGIN = b"USER u\r\nPASS p\r\n"

TestServerEngine = engine_suite(
    lambda: ServerEngine(Limits(max_line=512), Profile(tls=True, site=True), peer="192.0.2.7"),
    conversations=[
        LOGIN + b"TYPE I\r\nEPSV\r\nRETR a\r\nQUIT\r\n",
        LOGIN + b"PASV\r\nSTOR a\r\nSTAT\r\nABOR\r\nNOOP\r\n",
        LOGIN + b"EPSV\r\nLIST -la *\r\n\xff\xf4\xff\xf2ABOR\r\nRNFR a\r\nRNTO b\r\n",
        LOGIN + b"CWD a\r\nPWD\r\nREIN\r\nAUTH TLS\r\nFEAT\r\nHELP\r\n",
        LOGIN + b"HASH a\r\nABOR\r\nMLST\r\nSITE CHMOD 644 a\r\nSTAT a\r\n",
    ],
    answer=grant,
    tokens=[
        LOGIN,
        b"EPSV\r\n",
        b"RETR a\r\n",
        b"ABOR\r\n",
        b"STAT\r\n",
        b"\r\n",
        b"\n",
        b"\0",
        b"\xff",
        b"\xff\xf4\xff\xf2",
        b"QUIT\r\n",
        b"x" * 513,
    ],
    endless=[b"A", b"\r", b"\xff", b"RETR ", b"\n", b"\r\n"],
    limit=512,
)
"""What every engine must keep: any split, pipelining, limits, no exception on any octets."""
