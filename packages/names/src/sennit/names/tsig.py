"""Signed messages: TSIG, a shared secret that vouches for what two servers tell each other.

A `Key` is a name, a secret and an algorithm; a `Keyring` finds keys by name. `sign` puts a
TSIG record at the end of a message's octets, `verify` looks at the one a message came with.
Where one exchange has several messages, as a zone transfer has, `Signer` and `Verifier` carry
the chain of MACs from each to the next.

All work on octets: what was received is what is verified, never a message written anew. The
time is passed in, in whole seconds since 1970, since the protocol carries it. A request whose
signature fails is answered with what `error_answer` makes.

Secrets are compared in constant time, and stand in no `repr` and no error.

Sources: RFC 8945 (TSIG), RFC 2104 (HMAC), and for the text forms the manual pages of dig (``-y``)
and of named.conf (``key``). Not here: TKEY and GSS (RFC 2930, RFC 3645).
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

from sennit.names.codes import BADSIG, Rcode, RRClass, RRType, rcode_text
from sennit.names.errors import DNSUsageError, PresentationError, TSIGError
from sennit.names.message import Message
from sennit.names.name import Name
from sennit.names.rdata.tsig import TSIG
from sennit.names.wire import Writer

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = [
    "FUDGE",
    "MAX_UNSIGNED",
    "Key",
    "Keyring",
    "Signer",
    "Verified",
    "Verifier",
    "error_answer",
    "keys_from_text",
    "sign",
    "verify",
]

FUDGE: Final = 300
"""Seconds by which clocks may differ (RFC 8945 §10)."""
MAX_UNSIGNED: Final = 99
"""Messages that may stand unsigned between two signed ones (RFC 8945 §5.3.1)."""
RECORD_SIZE: Final = 26
"""Octets of a TSIG record beside its two names, its MAC and its other data."""

_RULE: Final = "RFC 8945 §5.2"
_CLASS_ANY: Final = int(RRClass.ANY)


class _Algorithm(NamedTuple):
    """An algorithm of the registry.

    Attributes:
        name: As a domain name, as it stands on the wire.
        digest: What `hmac` calls its hash.
        size: Octets of its whole MAC.
    """

    name: Name
    digest: str
    size: int


_ALGORITHMS: Final = {
    "hmac-md5": _Algorithm(Name("hmac-md5.sig-alg.reg.int."), "md5", 16),
    "hmac-sha1": _Algorithm(Name("hmac-sha1."), "sha1", 20),
    "hmac-sha224": _Algorithm(Name("hmac-sha224."), "sha224", 28),
    "hmac-sha256": _Algorithm(Name("hmac-sha256."), "sha256", 32),
    "hmac-sha384": _Algorithm(Name("hmac-sha384."), "sha384", 48),
    "hmac-sha512": _Algorithm(Name("hmac-sha512."), "sha512", 64),
}


class Key:
    """A shared secret.

    Args:
        name: What both sides call it.
        secret: Its octets, or their base64 in a string.
        algorithm: ``hmac-sha256``, or with sha1, sha224, sha384 or sha512; with ``-128`` or
            another number of bits behind it the MAC is cut to so many, and no shorter one
            is taken (RFC 8945 §5.2.2.1).
        allow_md5: Take ``hmac-md5`` too, which is good for nothing but old peers.

    Attributes:
        name: Its name.
        secret: Its octets. Whoever has them can sign.
        algorithm: What it was made with.
        mac_size: Octets of a MAC made with it.

    Raises:
        DNSUsageError: There is no such algorithm, or it cannot be cut so.
        PresentationError: The name is none, or the secret is not base64.
    """

    __slots__ = ("_kind", "algorithm", "mac_size", "name", "secret")

    def __init__(
        self,
        name: Name | str,
        secret: bytes | str,
        algorithm: str = "hmac-sha256",
        *,
        allow_md5: bool = False,
    ) -> None:
        self.name = Name(name) if isinstance(name, str) else name
        self.secret = _secret(secret)
        word = algorithm.lower().rstrip(".")
        word = {"hmac-md5.sig-alg.reg.int": "hmac-md5"}.get(word, word)
        kind = _ALGORITHMS.get(word)
        size = 0 if kind is None else kind.size
        if kind is None:
            base, _, bits = word.rpartition("-")
            kind = _ALGORITHMS.get(base)
            if kind is None or not (bits.isascii() and bits.isdigit() and len(bits) <= 4):
                raise DNSUsageError(
                    f"no algorithm {algorithm!r:.60}: there are {', '.join(_ALGORITHMS)}, "
                    "each also cut, as in hmac-sha256-128"
                )
            size, rest = divmod(int(bits), 8)
            if rest or not _least(kind) <= size <= kind.size:
                raise DNSUsageError(
                    f"{base} may be cut to {8 * _least(kind)} to {8 * kind.size} bits, "
                    "in whole octets (RFC 8945 §5.2.2.1)"
                )
        if kind.digest == "md5" and not allow_md5:
            raise DNSUsageError("hmac-md5 is refused unless allow_md5 is said: use hmac-sha256")
        self.algorithm = word
        self.mac_size = size
        self._kind = kind

    @property
    def wire_algorithm(self) -> Name:
        """The algorithm's name as it stands on the wire."""
        return self._kind.name

    @property
    def digest_size(self) -> int:
        """Octets of a MAC that is not cut."""
        return self._kind.size

    @property
    def least_size(self) -> int:
        """Octets of the shortest MAC that is one at all (RFC 8945 §5.2.2.1)."""
        return _least(self._kind)

    @property
    def record_size(self) -> int:
        """Octets that a signature adds to a message."""
        return RECORD_SIZE + len(self.name.wire) + len(self._kind.name.wire) + self.mac_size

    def digest(self, octets: bytes) -> bytes:
        """The whole MAC of octets."""
        return hmac.digest(self.secret, octets, self._kind.digest)

    @classmethod
    def from_text(cls, text: str, *, allow_md5: bool = False) -> Key:
        """A key as ``dig -y`` takes it: ``hmac-sha256:name:base64``, or ``name:base64``.

        Raises:
            PresentationError: It is not that.
            DNSUsageError: There is no such algorithm.
        """
        parts = text.strip().split(":")
        if len(parts) == 2:
            parts.insert(0, "hmac-sha256")
        if len(parts) != 3:
            # What was given may hold a secret: it is not repeated.
            raise PresentationError("a key is written as algorithm:name:base64")
        return cls(parts[1], parts[2], parts[0], allow_md5=allow_md5)

    def to_text(self) -> str:
        """The key with its secret, as ``dig -y`` takes it."""
        return f"{self.algorithm}:{str(self.name)[:-1] or '.'}:{self._base64()}"

    def to_file(self) -> str:
        """The key with its secret, as named reads it, and ``nsupdate -k``."""
        return (
            f'key "{str(self.name)[:-1] or "."}" {{\n'
            f"\talgorithm {self.algorithm};\n"
            f'\tsecret "{self._base64()}";\n}};\n'
        )

    def _base64(self) -> str:
        return base64.b64encode(self.secret).decode("ascii")

    def __repr__(self) -> str:
        return f"<Key {self.name} {self.algorithm}>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Key):
            return NotImplemented
        return (
            self.name == other.name
            and self.algorithm == other.algorithm
            and hmac.compare_digest(self.secret, other.secret)
        )

    def __hash__(self) -> int:
        return hash((self.name, self.algorithm))


def _least(kind: _Algorithm) -> int:
    return max(10, kind.size // 2)


def _secret(given: bytes | str) -> bytes:
    if isinstance(given, str):
        try:
            given = base64.b64decode("".join(given.split()), validate=True)
        except (ValueError, binascii.Error):
            raise PresentationError("the secret is not base64") from None
    if not given:
        raise DNSUsageError("an empty secret vouches for nothing")
    return bytes(given)


class Keyring(Mapping[Name, Key]):
    """Keys by name.

    Args:
        keys: The keys, or their text (see `Key.from_text`).
        allow_md5: Take ``hmac-md5`` in text too.

    Raises:
        DNSUsageError: Two keys have one name.
    """

    def __init__(self, keys: Iterable[Key | str] = (), *, allow_md5: bool = False) -> None:
        self._keys: dict[Name, Key] = {}
        for each in keys:
            key = Key.from_text(each, allow_md5=allow_md5) if isinstance(each, str) else each
            if key.name in self._keys:
                raise DNSUsageError(f"two keys are named {key.name}")
            self._keys[key.name] = key

    def __getitem__(self, name: Name) -> Key:
        return self._keys[name]

    def __iter__(self) -> Iterator[Name]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)

    def __repr__(self) -> str:
        return f"<Keyring {', '.join(map(str, self._keys))}>"


_KEY_BLOCK: Final = re.compile(r'\bkey\s+(?:"([^"]*)"|([^\s{"]+))\s*\{([^{}]*)\}\s*;')
_STATEMENT: Final = re.compile(r'\b(algorithm|secret)\s+(?:"([^"]*)"|([^\s;"]+))\s*;')
_COMMENT: Final = re.compile(r'("[^"\n]*")|/\*.*?\*/|//[^\n]*|#[^\n]*', re.DOTALL)


def keys_from_text(text: str, *, allow_md5: bool = False) -> list[Key]:
    """The keys in a file as named reads it, and as ``tsig-keygen`` writes it.

    Raises:
        PresentationError: There is none, or one lacks its algorithm or secret.
        DNSUsageError: There is no such algorithm.
    """
    plain = _COMMENT.sub(lambda found: found.group(1) or " ", text)
    keys: list[Key] = []
    for block in _KEY_BLOCK.finditer(plain):
        name = block.group(1) or block.group(2) or ""
        said = {word: quoted or bare for word, quoted, bare in _STATEMENT.findall(block.group(3))}
        if set(said) != {"algorithm", "secret"}:
            raise PresentationError(f"key {name!r:.80} needs an algorithm and a secret")
        keys.append(Key(name, said["secret"], said["algorithm"], allow_md5=allow_md5))
    if not keys:
        raise PresentationError('no key there: write key "name" { algorithm …; secret "…"; };')
    return keys


# ── one message ───────────────────────────────────────────────────────────────


class Verified(NamedTuple):
    """Who vouches for a message.

    Attributes:
        key: The key.
        mac: The MAC, which the answer's is made over too.
        time_signed: When it was signed, in seconds since 1970.
    """

    key: Key
    mac: bytes
    time_signed: int


def _counted(mac: bytes) -> bytes:
    return len(mac).to_bytes(2, "big") + mac if mac else b""


def _variables(key: Key, tsig: TSIG) -> bytes:
    """What is digested of the record itself (RFC 8945 §4.3.3)."""
    return b"".join(
        (
            key.name.key,
            _CLASS_ANY.to_bytes(2, "big"),
            bytes(4),
            tsig.algorithm.key,
            _timers(tsig),
            tsig.error.to_bytes(2, "big"),
            len(tsig.other).to_bytes(2, "big"),
            tsig.other,
        )
    )


def _timers(tsig: TSIG) -> bytes:
    return tsig.time_signed.to_bytes(6, "big") + tsig.fudge.to_bytes(2, "big")


def _append(wire: bytes, name: Name, tsig: TSIG) -> bytes:
    """A message with the record behind its others."""
    writer = Writer()
    tsig.write(writer)
    data = writer.out
    count = int.from_bytes(wire[10:12], "big") + 1
    return b"".join(
        (
            wire[:10],
            count.to_bytes(2, "big"),
            wire[12:],
            name.wire,
            int(RRType.TSIG).to_bytes(2, "big"),
            _CLASS_ANY.to_bytes(2, "big"),
            bytes(4),
            len(data).to_bytes(2, "big"),
            bytes(data),
        )
    )


def sign(
    wire: bytes,
    key: Key,
    now: int,
    *,
    request_mac: bytes = b"",
    fudge: int = FUDGE,
    error: int = 0,
    other: bytes = b"",
) -> tuple[bytes, bytes]:
    """Sign a message.

    Args:
        wire: Its octets, whole, without TSIG.
        key: Who signs.
        now: Seconds since 1970.
        request_mac: MAC of the request that it answers.
        fudge: Seconds by which clocks may differ.
        error: What TSIG says of the request's own signature.
        other: The server's time, for BADTIME.

    Returns:
        The octets with the signature, and its MAC.
    """
    tsig = TSIG(
        algorithm=key.wire_algorithm,
        time_signed=int(now),
        fudge=fudge,
        mac=b"",
        original_id=int.from_bytes(wire[:2], "big"),
        error=error,
        other=other,
    )
    mac = key.digest(_counted(request_mac) + wire + _variables(key, tsig))[: key.mac_size]
    tsig.mac = mac
    return _append(wire, key.name, tsig), mac


def _data(message: Message) -> tuple[Name, TSIG]:
    """Name and data of the signature, which must be one (RFC 8945 §4.2)."""
    record = message.tsig
    if record is None:
        raise TSIGError("the message is not signed", rule="RFC 8945 §5.3")
    if not isinstance(record.rdata, TSIG) or record.rdclass != _CLASS_ANY or record.ttl != 0:
        raise TSIGError(
            "a TSIG that is none: class, TTL or data", rule="RFC 8945 §4.2", rcode=Rcode.FORMERR
        )
    return record.name, record.rdata


def _unsigned(wire: bytes, message: Message, original_id: int) -> bytes:
    """The message as it was when it was signed (RFC 8945 §4.3.2)."""
    count = int.from_bytes(wire[10:12], "big") - 1
    return b"".join(
        (
            original_id.to_bytes(2, "big"),
            wire[2:10],
            count.to_bytes(2, "big"),
            wire[12 : message.tsig_start],
        )
    )


def _check_mac(key: Key, tsig: TSIG, digested: bytes) -> None:
    size = len(tsig.mac)
    if size > key.digest_size or size < key.least_size:
        raise TSIGError(f"a MAC of {size} octets", rule="RFC 8945 §5.2.2.1", rcode=Rcode.FORMERR)
    if not hmac.compare_digest(tsig.mac, key.digest(digested)[:size]):
        raise TSIGError("the signature is wrong", rule="RFC 8945 §5.2.2", error=BADSIG)


def _check_rest(key: Key, tsig: TSIG, now: int) -> None:
    if abs(int(now) - tsig.time_signed) > tsig.fudge:
        raise TSIGError(
            f"signed {int(now) - tsig.time_signed} s before our time, {tsig.fudge} s are allowed",
            rule="RFC 8945 §5.2.3",
            error=Rcode.BADTIME,
        )
    if len(tsig.mac) < key.mac_size:
        raise TSIGError(
            f"a MAC of {len(tsig.mac)} octets, {key.mac_size} are asked for",
            rule="RFC 8945 §5.2.4",
            error=Rcode.BADTRUNC,
        )


def verify(
    wire: bytes,
    message: Message,
    keys: Mapping[Name, Key],
    now: int,
    *,
    request_mac: bytes = b"",
) -> Verified:
    """Look whether the signature of a message is right: key, then MAC, then time.

    Args:
        wire: The message's octets, as they came.
        message: The same, taken apart.
        keys: The keys that may sign.
        now: Seconds since 1970.
        request_mac: MAC of the request that it answers.

    Raises:
        TSIGError: It is not; `error_answer` makes a server's answer of it.
    """
    name, tsig = _data(message)
    key = keys.get(name)
    if key is None or key.wire_algorithm != tsig.algorithm:
        raise TSIGError(
            f"no key {name} with {tsig.algorithm}", rule="RFC 8945 §5.2.1", error=Rcode.BADKEY
        )
    octets = _unsigned(wire, message, tsig.original_id)
    _check_mac(key, tsig, _counted(request_mac) + octets + _variables(key, tsig))
    _check_rest(key, tsig, now)
    return Verified(key, tsig.mac, tsig.time_signed)


def error_answer(message: Message, error: TSIGError, keys: Mapping[Name, Key], now: int) -> bytes:
    """The answer to a request whose signature failed.

    It is signed for BADTIME and BADTRUNC, whose sender has the key (RFC 8945 §5.2.3, §5.2.4);
    for BADKEY and BADSIG its TSIG has no MAC (§5.3.2).

    Args:
        message: The request.
        error: What `verify` raised.
        keys: The keys that may sign.
        now: Seconds since 1970.
    """
    answer = message.reply(error.rcode).to_wire()
    if not error.error:
        return answer
    name, asked = _data(message)
    key = keys.get(name)
    if error.error in {Rcode.BADTIME, Rcode.BADTRUNC} and key is not None:
        late = error.error == Rcode.BADTIME
        return sign(
            answer,
            key,
            # The asker's own time, so that the answer passes its own look at the time.
            asked.time_signed if late else now,
            request_mac=asked.mac,
            fudge=asked.fudge,
            error=error.error,
            other=int(now).to_bytes(6, "big") if late else b"",
        )[0]
    tsig = TSIG(
        algorithm=asked.algorithm,
        time_signed=asked.time_signed,
        fudge=asked.fudge,
        mac=b"",
        original_id=message.id,
        error=error.error,
        other=b"",
    )
    return _append(answer, name, tsig)


# ── several messages ──────────────────────────────────────────────────────────


class Signer:
    """Signs the answers of one exchange, each over the one before (RFC 8945 §5.3.1).

    Args:
        key: Who signs.
        request_mac: MAC of the request.
        fudge: Seconds by which clocks may differ.
    """

    __slots__ = ("_began", "_fudge", "_key", "_mac")

    def __init__(self, key: Key, request_mac: bytes, *, fudge: int = FUDGE) -> None:
        self._key = key
        self._mac = request_mac
        self._fudge = fudge
        self._began = False

    def sign(self, wire: bytes, now: int) -> bytes:
        """Sign the next message; all are, as §5.3.1 asks of those who can."""
        key = self._key
        if not self._began:
            self._began = True
            signed, self._mac = sign(wire, key, now, request_mac=self._mac, fudge=self._fudge)
            return signed
        tsig = TSIG(
            algorithm=key.wire_algorithm,
            time_signed=int(now),
            fudge=self._fudge,
            mac=b"",
            original_id=int.from_bytes(wire[:2], "big"),
            error=0,
            other=b"",
        )
        mac = key.digest(_counted(self._mac) + wire + _timers(tsig))[: key.mac_size]
        tsig.mac = self._mac = mac
        return _append(wire, key.name, tsig)


class Verifier:
    """Verifies the answers of one exchange, of which not every one need be signed.

    Args:
        key: Whose signature the answers have.
        request_mac: MAC of the request.
    """

    __slots__ = ("_began", "_key", "_keys", "_mac", "_pending", "_unsigned")

    def __init__(self, key: Key, request_mac: bytes) -> None:
        self._key = key
        self._keys = {key.name: key}
        self._mac = request_mac
        self._began = False
        self._pending: list[bytes] = []
        self._unsigned = 0

    def verify(self, wire: bytes, message: Message, now: int) -> None:
        """Look at the next message.

        Raises:
            TSIGError: It is not signed and should be, its signature is wrong, or the server
                says that the request's was; `error` says which.
        """
        if message.tsig is None:
            if not self._began:
                raise TSIGError("the answer is not signed", rule="RFC 8945 §5.3")
            self._unsigned += 1
            if self._unsigned > MAX_UNSIGNED:
                raise TSIGError(
                    f"more than {MAX_UNSIGNED} messages without a signature",
                    rule="RFC 8945 §5.3.1",
                )
            self._pending.append(wire)
            return
        _, tsig = _data(message)
        if not tsig.mac and tsig.error:
            # Unsigned: whoever wrote it need not have the key. The exchange has failed anyway.
            raise self._said(tsig)
        if not self._began:
            verified = verify(wire, message, self._keys, now, request_mac=self._mac)
            self._began = True
            self._mac = verified.mac
            if tsig.error:
                raise self._said(tsig)
            return
        self._verify_next(wire, message, now)

    def _verify_next(self, wire: bytes, message: Message, now: int) -> None:
        name, tsig = _data(message)
        key = self._key
        if name != key.name or tsig.algorithm != key.wire_algorithm:
            raise TSIGError(f"signed by {name}, not by {key.name}", rule=_RULE, error=Rcode.BADKEY)
        octets = _unsigned(wire, message, tsig.original_id)
        _check_mac(
            key,
            tsig,
            b"".join((_counted(self._mac), *self._pending, octets, _timers(tsig))),
        )
        _check_rest(key, tsig, now)
        self._mac = tsig.mac
        self._pending.clear()
        self._unsigned = 0

    def finish(self) -> None:
        """See that the last message was signed.

        Raises:
            TSIGError: It was not.
        """
        if self._unsigned or not self._began:
            raise TSIGError("the last message is not signed", rule="RFC 8945 §5.3.1")

    @staticmethod
    def _said(tsig: TSIG) -> TSIGError:
        late = tsig.error == Rcode.BADTIME and len(tsig.other) == 6
        what = "BADSIG" if tsig.error == BADSIG else rcode_text(tsig.error)
        return TSIGError(
            f"the server does not take the signature: {what}",
            rule="RFC 8945 §5.3.2",
            error=tsig.error,
            server_time=int.from_bytes(tsig.other, "big") if late else None,
        )
