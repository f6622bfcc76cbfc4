"""What each command means: half of the server's engine.

`Commanding.obey` takes a verb and its argument, as ``grammar.py`` reads them. Either it answers by
itself and returns nothing, or it returns the event that others have to answer.

Elsewhere: lines, and answers to events (``engine.py``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sennit.ftp.errors import StoreError
from sennit.ftp.events import (
    ClearAsked,
    LoginAsked,
    LogoutAsked,
    PassiveAsked,
    PathAsked,
    RenameAsked,
    StatusAsked,
    TLSAsked,
    TransferAsked,
)
from sennit.ftp.grammar import quoted, read_eprt, read_number, read_port, same_host
from sennit.ftp.listing import DEFAULT_FACTS, feature, parse_time_value, select_facts
from sennit.ftp.paths import resolve, split_listing, written
from sennit.ftp.verbs import ALIASES, SITE_VERBS, VERBS

if TYPE_CHECKING:
    from collections.abc import Callable

    from sennit.ftp.engine import Profile
    from sennit.ftp.events import ServerEvent
    from sennit.ftp.interfaces import FilePath
    from sennit.ftp.limits import Limits

__all__ = ["ANONYMOUS", "Commanding"]

ANONYMOUS: Final = frozenset({"anonymous", "ftp"})
"""Names of nobody in particular (RFC 1635)."""

LEAST_PORT: Final = 1024
"""The least port that a client may have us connect to: no service listens above it (RFC 2577)."""


class Commanding:
    """The state that commands change, and a method for each of them.

    Attributes:
        user: Whose session it is; empty before the login.
        logged_in: Whether somebody has logged in.
        directory: Where the client is.
        peer: Its numeric address.
        secure: Whether the connection stands over TLS.
    """

    __slots__ = (
        "_allocated",
        "_ascii",
        "_cleared",
        "_code",
        "_data",
        "_facts",
        "_hash",
        "_limits",
        "_named",
        "_only_epsv",
        "_pending",
        "_private",
        "_profile",
        "_restart",
        "_sized",
        "_source",
        "directory",
        "logged_in",
        "peer",
        "secure",
        "user",
    )

    _limits: Limits
    _profile: Profile
    _cleared: bool  # whether TLS was taken off this connection
    _private: bool
    _sized: bool
    _code: int  # of the reply said last
    _pending: ServerEvent | None
    _data: str | tuple[str, int] | None  # "passive", or where to connect to
    peer: str
    secure: bool

    def _say(self, code: int, *lines: str) -> None:
        raise TypeError("the engine's")  # pragma: no cover - overridden

    def _quit(self) -> None:
        raise TypeError("the engine's")  # pragma: no cover - overridden

    def _forget_user(self) -> None:
        """As it is before a login (also for REIN)."""
        self.user = ""
        self.logged_in = False
        self.directory: FilePath = ()
        self._named: str | None = None
        self._ascii = True  # RFC 959 §5.1
        self._data = None
        self._only_epsv = False
        self._restart: tuple[int, int | None] = (0, None)
        self._allocated: int | None = None
        self._source: FilePath | None = None
        self._code = 0

    def _forget_options(self) -> None:
        """As it is before OPTS (also for REIN)."""
        self._facts: tuple[str, ...] = DEFAULT_FACTS
        self._hash = self._profile.hashes[0] if self._profile.hashes else ""

    @property
    def settings(self) -> str:
        """How data is transferred, for people."""
        kind = "A" if self._ascii else "I"
        return f"TYPE {kind}, STRU F, MODE S, PROT {'P' if self._private else 'C'}"

    def obey(self, word: str, argument: str | None) -> ServerEvent | None:
        """Answer a command, or say what has to be found out for its answer."""
        verb = ALIASES.get(word, word)
        found = VERBS.get(verb)
        if found is None or not self._offered(verb):
            self._say(500 if found is None else 502, f"{word} is not understood here")
            return None
        if verb != "RNTO":
            self._source = None
        if found.login and not self.logged_in:
            self._say(530, "Log in first")
            return None
        if found.least and argument is None:
            self._say(501, f"{verb} needs an argument: {found.syntax}")
            return None
        if argument is not None and not found.most:
            self._say(501, f"{verb} has no argument")
            return None
        try:
            return _METHODS[verb](self, argument or "")
        except StoreError as error:
            self._say(error.code, str(error))
            return None

    def _offered(self, verb: str) -> bool:
        profile = self._profile
        if verb in ("AUTH", "PBSZ", "PROT", "CCC"):
            return profile.tls or self.secure or (self._cleared and verb != "AUTH")
        if verb in ("PORT", "EPRT"):
            return profile.active
        if verb == "SITE":
            return profile.site
        if verb == "HASH":
            return bool(profile.hashes)
        return verb != "HOST" or bool(profile.hosts)

    def _resolve(self, text: str) -> FilePath:
        return resolve(text, self.directory, self._limits.max_path)

    # ── who ───────────────────────────────────────────────────────────────────

    def _user(self, argument: str) -> None:
        if self._profile.require_tls and not self.secure:
            self._say(530, "TLS comes first: AUTH TLS")
        elif self.logged_in:
            self._say(503, "You are logged in")
        else:
            self._named = argument
            # The same for everybody: who is there is nobody's business (RFC 2577 §5).
            self._say(331, "And the password?")

    def _pass(self, argument: str) -> ServerEvent | None:
        user, self._named = self._named, None
        if user is None:
            self._say(503, "USER comes first")
            return None
        return LoginAsked(user, argument, user.lower() in ANONYMOUS)

    def _acct(self, argument: str) -> None:
        self._say(202, "No account is needed")

    def _rein(self, argument: str) -> ServerEvent | None:
        if self.secure or self._cleared:
            # It would go on in clear (RFC 4217 §11): a client that wants TLS gains nothing by
            # that, and one that is tricked into it loses all.
            self._say(502, "Not over TLS: connect anew")
            return None
        was_in = self.logged_in
        self._forget_user()
        self._forget_options()
        if was_in:
            return LogoutAsked()
        self._say(220, "Ready for another user")
        return None

    def _host(self, argument: str) -> None:
        if self._named is not None or self.logged_in:
            self._say(503, "HOST comes before USER")
        elif argument.lower() in self._profile.hosts:
            self._say(220, f"This is {argument.lower()}")
        else:
            self._say(504, "There is no such host here")

    # ── TLS (RFC 4217) ────────────────────────────────────────────────────────

    def _auth(self, argument: str) -> ServerEvent | None:
        mechanism = argument.upper()
        if mechanism not in ("TLS", "TLS-C", "TLS-P", "SSL"):
            self._say(504, "AUTH TLS is known here")
        elif self.secure:
            self._say(503, "This is TLS")
        else:
            return TLSAsked(mechanism in ("TLS-P", "SSL"))
        return None

    def _pbsz(self, argument: str) -> None:
        if not self.secure:
            self._say(503, "AUTH comes first")
        elif read_number(argument) is None:
            self._say(501, "PBSZ 0")
        else:
            self._sized = True
            self._say(200, "PBSZ=0")

    def _prot(self, argument: str) -> None:
        level = argument.upper()
        if not self.secure or not self._sized:
            self._say(503, "PBSZ comes first" if self.secure else "AUTH comes first")
        elif level == "P":
            self._private = True
            self._say(200, "Data connections are protected")
        elif level == "C":
            if self._profile.require_tls:
                self._say(534, "Data connections are to be protected: PROT P")
            else:
                self._private = False
                self._say(200, "Data connections are in clear")
        else:
            self._say(536 if level in ("S", "E") else 504, "PROT P or PROT C")

    def _ccc(self, argument: str) -> ServerEvent | None:
        if not self.secure:
            self._say(533, "This connection is not protected")
        elif not self._profile.clear_control:
            self._say(534, "This connection stays protected")
        elif not self.logged_in:
            # A password would follow in clear.
            self._say(503, "Log in first")
        else:
            return ClearAsked()
        return None

    # ── what is there ─────────────────────────────────────────────────────────

    def _feat(self, argument: str) -> None:
        profile = self._profile
        lines = ["Extensions:"]
        if profile.tls or self.secure:
            lines += ["AUTH TLS;TLS-C;TLS-P;"]
        lines += ["CCC"] if self.secure and profile.clear_control else []
        lines += ["CLNT"]
        lines += ["EPRT"] if profile.active else []
        lines += ["EPSV"]
        if profile.hashes:
            marks = (f"{each}{'*' if each == self._hash else ''}" for each in profile.hashes)
            lines += ["HASH " + ";".join(marks)]
        lines += ["HOST"] if profile.hosts else []
        lines += ["LANG EN*", "MDTM", "MFMT", feature(self._facts)]
        if profile.tls or self.secure:
            lines += ["PBSZ", "PROT"]
        lines += ["RANG STREAM", "REST STREAM", "SIZE", "TVFS", "UTF8"]
        self._say(211, *lines, "End")

    def _opts(self, argument: str) -> None:
        verb, _, option = argument.partition(" ")
        verb = verb.upper()
        option = option.strip()
        if verb in ("UTF8", "UTF-8"):
            # RFC 2640 has no such option; clients send it because some servers need it.
            if option.upper() in ("", "ON", "NLST"):
                self._say(200, "UTF-8 it is, always")
            else:
                self._say(504, "UTF-8 it is, always")
        elif verb == "MLST":
            self._facts = select_facts(option)
            chosen = "".join(f"{each};" for each in self._facts)
            self._say(200, f"MLST OPTS {chosen}".rstrip())
        elif verb == "HASH" and self._profile.hashes:
            if option:
                if option.upper() not in self._profile.hashes:
                    self._say(504, "HASH knows " + " ".join(self._profile.hashes))
                    return
                self._hash = option.upper()
            self._say(200, self._hash)
        else:
            self._say(501, "There are options of UTF8, MLST and HASH")

    def _help(self, argument: str) -> None:
        if not argument:
            words = [verb for verb in VERBS if self._offered(verb)]
            rows = [" ".join(words[at : at + 8]) for at in range(0, len(words), 8)]
            self._say(214, "Commands:", *rows, "HELP followed by one of them tells more")
            return
        verb = ALIASES.get(argument.upper(), argument.upper())
        found = VERBS.get(verb)
        if found is None or not self._offered(verb):
            self._say(501, "There is no such command here")
        else:
            self._say(214, f"{verb} {found.syntax}".rstrip())

    def _syst(self, argument: str) -> None:
        self._say(215, "UNIX Type: L8")

    def _lang(self, argument: str) -> None:
        if argument.lower().split("-")[0] in ("", "en"):
            self._say(200, "English it is")
        else:
            self._say(504, "English alone is spoken here")

    def _noop(self, argument: str) -> None:
        self._say(200, "Fine")

    def _abor(self, argument: str) -> None:
        # What was under way has been answered before this (`TransferAborted`).
        self._say(226, "Nothing is being transferred")

    def _leave(self, argument: str) -> None:
        self._quit()

    def _stat(self, argument: str) -> ServerEvent | None:
        if not argument:
            return StatusAsked()
        if not self.logged_in:
            self._say(530, "Log in first")
            return None
        wanted = split_listing(argument)
        return PathAsked("STAT", self._resolve(wanted.text), pattern=wanted.pattern)

    def _site(self, argument: str) -> ServerEvent | None:
        verb, _, rest = argument.partition(" ")
        verb = verb.upper()
        if verb == "HELP":
            self._say(214, "SITE commands: " + " ".join(SITE_VERBS))
        elif verb == "CHMOD":
            digits, _, path = rest.partition(" ")
            if not path or not 3 <= len(digits) <= 4 or digits.strip("01234567"):
                self._say(501, "SITE CHMOD " + SITE_VERBS["CHMOD"])
            else:
                return PathAsked("CHMOD", self._resolve(path), int(digits, 8))
        else:
            self._say(504, "SITE knows " + " ".join(SITE_VERBS))
        return None

    # ── how data is transferred ───────────────────────────────────────────────

    def _type(self, argument: str) -> None:
        kind = argument.upper()
        if kind in ("A", "A N"):
            self._ascii = True
        elif kind in ("I", "L 8"):
            self._ascii = False
        else:
            self._say(504 if kind[:1] in ("A", "E", "I", "L") else 501, "TYPE A, I or L 8")
            return
        self._say(200, f"Type {kind}")

    def _mode(self, argument: str) -> None:
        self._say(*((200, "Mode S") if argument.upper() == "S" else (504, "MODE S")))

    def _stru(self, argument: str) -> None:
        self._say(*((200, "Structure F") if argument.upper() == "F" else (504, "STRU F")))

    def _allo(self, argument: str) -> None:
        words = argument.split(" ")
        size = read_number(words[0])
        if size is None or len(words) not in (1, 3):
            self._say(501, "ALLO octets")
        else:
            self._allocated = size
            self._say(200, "Noted")

    def _rest(self, argument: str) -> None:
        offset = read_number(argument)
        if offset is None:
            self._say(501, "REST octet")
        else:
            self._restart = (offset, None)
            self._say(350, f"The next transfer begins at {offset}")

    def _rang(self, argument: str) -> None:
        first, _, last = argument.partition(" ")
        begin, end = read_number(first), read_number(last)
        if begin is None or end is None or (begin > end and (begin, end) != (1, 0)):
            self._say(501, "RANG first last")
        elif begin > end:
            self._restart = (0, None)
            self._say(350, "The next transfer is of all")
        else:
            self._restart = (begin, end + 1)
            self._say(350, f"The next transfer is of {begin} to {end}")

    def _pasv(self, argument: str) -> ServerEvent | None:
        if self._refused():
            return None
        if ":" in self.peer:
            self._say(502, "Over IPv6 EPSV is needed")
            return None
        return PassiveAsked(extended=False)

    def _epsv(self, argument: str) -> ServerEvent | None:
        if argument.upper() == "ALL":
            self._only_epsv = True
            self._data = None
            self._say(200, "EPSV it is, from now on")
            return None
        ours = "2" if ":" in self.peer else "1"
        if argument and argument != ours:
            self._say(*((522, f"Use ({ours})") if read_number(argument) else (501, "EPSV 1|2|ALL")))
            return None
        return PassiveAsked(extended=True)

    def _port(self, argument: str) -> None:
        if not self._refused():
            found = read_port(argument)
            if found is None:
                self._say(501, "PORT h1,h2,h3,h4,p1,p2")
            else:
                self._aim(found.host, found.port)

    def _eprt(self, argument: str) -> None:
        if self._refused():
            return
        found = read_eprt(argument)
        ours = "2" if ":" in self.peer else "1"
        if found is None:
            self._say(501, "EPRT |family|address|port|")
        elif found[0] != ours:
            self._say(522, f"Use ({ours})")
        else:
            self._aim(found[1], found[2])

    def _refused(self) -> bool:
        """Whether EPSV ALL has forbidden what is asked for (RFC 2428 §4)."""
        if self._only_epsv:
            self._say(503, "EPSV ALL was said")
        return self._only_epsv

    def _aim(self, host: str, port: int) -> None:
        """Connect to the client itself, and to no service, or not at all (RFC 2577 §3)."""
        if port < LEAST_PORT or not same_host(host, self.peer):
            self._say(504, "Nobody is connected to there")
        else:
            self._data = (self.peer, port)
            self._say(200, "Noted")

    # ── transfers ─────────────────────────────────────────────────────────────

    def _begin(self, event: TransferAsked) -> ServerEvent | None:
        """Say how, or why not."""
        data, self._data = self._data, None
        (event.offset, event.end), self._restart = self._restart, (0, None)
        event.size, self._allocated = self._allocated, None
        event.ascii = self._ascii
        event.protected = self._private
        if event.end is not None and event.verb in ("STOR", "APPE", "STOU"):
            # To repair a range would be another way of writing; to cut the file off there, a loss.
            self._say(504, "RANG is for RETR and HASH")
        elif self._profile.require_tls and not self._private:
            self._say(522, "Data connections are to be protected: PROT P")
        elif data is None:
            self._say(425, "PASV, EPSV, PORT or EPRT comes first")
        else:
            event.target = None if isinstance(data, str) else data
            return event
        return None

    def _retr(self, argument: str) -> ServerEvent | None:
        return self._begin(TransferAsked("RETR", self._resolve(argument)))

    def _stor(self, argument: str) -> ServerEvent | None:
        return self._begin(TransferAsked("STOR", self._resolve(argument)))

    def _appe(self, argument: str) -> ServerEvent | None:
        return self._begin(TransferAsked("APPE", self._resolve(argument)))

    def _stou(self, argument: str) -> ServerEvent | None:
        path = self._resolve(argument)
        return self._begin(TransferAsked("STOU", path, named=bool(argument)))

    def _list(self, argument: str) -> ServerEvent | None:
        wanted = split_listing(argument)
        path = self._resolve(wanted.text)
        return self._begin(TransferAsked("LIST", path, pattern=wanted.pattern))

    def _nlst(self, argument: str) -> ServerEvent | None:
        wanted = split_listing(argument)
        text = wanted.text
        prefix = text if not text or text[-1] == "/" else text + "/"
        path = self._resolve(text)
        return self._begin(TransferAsked("NLST", path, pattern=wanted.pattern, prefix=prefix))

    def _mlsd(self, argument: str) -> ServerEvent | None:
        return self._begin(TransferAsked("MLSD", self._resolve(argument), facts=self._facts))

    # ── files and directories ─────────────────────────────────────────────────

    def _pwd(self, argument: str) -> None:
        self._say(257, quoted(written(self.directory)) + " is where you are")

    def _cwd(self, argument: str) -> ServerEvent:
        return PathAsked("CWD", self._resolve(argument))

    def _cdup(self, argument: str) -> ServerEvent:
        return PathAsked("CWD", self.directory[:-1])  # the root is above itself

    def _rnfr(self, argument: str) -> ServerEvent:
        return PathAsked("RNFR", self._resolve(argument))

    def _rnto(self, argument: str) -> ServerEvent | None:
        source, self._source = self._source, None
        if source is None:
            self._say(503, "RNFR comes first")
            return None
        return RenameAsked(source, self._resolve(argument))

    def _mkd(self, argument: str) -> ServerEvent:
        return PathAsked("MKD", self._resolve(argument))

    def _rmd(self, argument: str) -> ServerEvent:
        return PathAsked("RMD", self._resolve(argument))

    def _dele(self, argument: str) -> ServerEvent:
        return PathAsked("DELE", self._resolve(argument))

    def _smnt(self, argument: str) -> None:
        self._say(502, "There is one file system")

    def _size(self, argument: str) -> ServerEvent:
        return PathAsked("SIZE", self._resolve(argument), ascii=self._ascii)

    def _mdtm(self, argument: str) -> ServerEvent:
        return PathAsked("MDTM", self._resolve(argument))

    def _mfmt(self, argument: str) -> ServerEvent | None:
        text, _, path = argument.partition(" ")
        when = parse_time_value(text)
        if when is None or not path:
            self._say(501, "MFMT YYYYMMDDHHMMSS path")
            return None
        return PathAsked("MFMT", self._resolve(path), when)

    def _mlst(self, argument: str) -> ServerEvent:
        return PathAsked("MLST", self._resolve(argument), facts=self._facts)

    def _hash_of(self, argument: str) -> ServerEvent:
        (offset, end), self._restart = self._restart, (0, None)
        path = self._resolve(argument)
        return PathAsked("HASH", path, offset=offset, end=end, algorithm=self._hash)

    def _clnt(self, argument: str) -> None:
        self._say(200, "Welcome")


_METHODS: Final[dict[str, Callable[[Commanding, str], ServerEvent | None]]] = {
    verb: getattr(Commanding, {"HASH": "_hash_of", "QUIT": "_leave"}.get(verb, f"_{verb.lower()}"))
    for verb in VERBS
}
"""What does what, by word."""
