"""Reading WWW-Authenticate and its kin: what a server asks for before it answers.

A field holds a list of challenges and each challenge a list of parameters, with the
same comma between both; so it is read octet by octet and not split. Nothing here
raises: what can be read before the first mistake is given, and the rest is not.

Sources: RFC 9110 §11.2-§11.6 (challenges), §5.6.4 (quoted strings).
Elsewhere: what is answered (``auth.py``).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Challenge", "parse_challenges", "parse_parameters"]

MAX_CHALLENGES: Final = 32
MAX_PARAMETERS: Final = 64

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_TOKEN68 = re.compile(r"[A-Za-z0-9\-._~+/]+=*(?=[ \t]*(?:,|$))")
_EMPTY = re.compile(r"[ \t,]*")
_SPACE = re.compile(r"[ \t]*")
_QUOTED = re.compile(r'"((?:[^"\\\x00-\x08\x0a-\x1f\x7f]|\\[^\x00-\x08\x0a-\x1f\x7f])*)"')
_ESCAPED = re.compile(r"\\(.)")


class Challenge(NamedTuple):
    """One way to log in that a server offers.

    Attributes:
        scheme: Its name in lower case.
        token: What stands behind it, where that is no list of parameters; else empty.
        parameters: Their values, unquoted, by name in lower case.
    """

    scheme: str
    token: str
    parameters: dict[str, str]


def parse_challenges(fields: Iterable[bytes]) -> list[Challenge]:
    """The challenges in the fields of one name, in order."""
    found: list[Challenge] = []
    for field in fields:
        text = field.decode("latin-1")
        at = 0
        while len(found) < MAX_CHALLENGES:
            at = _skip(_EMPTY, text, at)
            scheme = _TOKEN.match(text, at)
            if scheme is None:
                break
            at = scheme.end()
            if at == len(text) or text[at] == ",":
                found.append(Challenge(scheme[0].lower(), "", {}))
                continue
            if text[at] not in " \t":
                break
            at = _skip(_SPACE, text, at)
            token = _TOKEN68.match(text, at)
            if token is not None and not _is_scheme(text, token.end()):
                found.append(Challenge(scheme[0].lower(), token[0], {}))
                at = token.end()
                continue
            at, parameters = _parameters(text, at)
            found.append(Challenge(scheme[0].lower(), "", parameters))
    return found


def parse_parameters(field: bytes) -> dict[str, str]:
    """The parameters of a field without a scheme, such as Authentication-Info."""
    text = field.decode("latin-1")
    return _parameters(text, _skip(_EMPTY, text, 0))[1]


def _is_scheme(text: str, end: int) -> bool:
    """Whether what looks like a token is `name=` with its value still to come."""
    return end < len(text) and text[end] == '"'


def _skip(what: re.Pattern[str], text: str, at: int) -> int:
    match = what.match(text, at)
    return at if match is None else match.end()


def _parameters(text: str, at: int) -> tuple[int, dict[str, str]]:
    """Parameters from here on; where they end, which is where no further one begins."""
    found: dict[str, str] = {}
    while len(found) < MAX_PARAMETERS:
        name = _TOKEN.match(text, at)
        if name is None:
            break
        equals = _skip(_SPACE, text, name.end())
        if equals == len(text) or text[equals] != "=":
            break  # the next challenge's scheme
        begin = _skip(_SPACE, text, equals + 1)
        quoted = _QUOTED.match(text, begin)
        if quoted is not None:
            value, at = _ESCAPED.sub(r"\1", quoted[1]), quoted.end()
        else:
            token = _TOKEN.match(text, begin)
            if token is None:
                return len(text), found
            value, at = token[0], token.end()
        found.setdefault(name[0].lower(), value)
        after = _skip(_SPACE, text, at)
        if after < len(text) and text[after] != ",":
            return len(text), found
        at = _skip(_EMPTY, text, after)
    return at, found
