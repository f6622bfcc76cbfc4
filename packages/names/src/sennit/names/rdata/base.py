"""Record data: what every type is, and how one is declared.

A type is a small class: its number, and its fields in the order of the wire, each annotated
with how it is coded (``fields.py``)::

    class MX(Rdata, rdtype=15):
        # a docstring: what it is, and its RFC

        preference: Uint16
        exchange: CompressedName

From that come the constructor, both forms (`read`/`write` on the wire, `parse`/`to_text` in
presentation), comparison by canonical octets, and ``repr``. What a declaration cannot say a
class writes itself, by overriding these methods. Instances are immutable by agreement.

An annotation is the name of an alias that the module has, or the alias itself: declarations
are read when the class is made. Numbers that follow each other are read by one `Struct`.

Sources: RFC 1035 §3.2, RFC 3597 (unknown types), RFC 4034 §6.2 (canonical form).
"""

from __future__ import annotations

import sys
from struct import Struct
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self, dataclass_transform, get_args

from sennit.names.codes import type_text
from sennit.names.errors import DNSUsageError, MessageFormatError, PresentationError
from sennit.names.wire import Writer

if TYPE_CHECKING:
    from sennit.names.name import Name
    from sennit.names.presentation import Tokens
    from sennit.names.rdata.fields import Field

__all__ = ["Canonical", "GenericRdata", "Rdata", "RdataMeta", "Uncompressed", "cut_off"]

MAX_DATA: Final = 0xFFFF
"""Octets of the data of one record (RDLENGTH)."""
_new: Final = object.__new__


def _declared(namespace: dict[str, Any]) -> dict[str, Any]:
    """The annotations of a class body, names looked up in its module."""
    annotations: dict[str, Any] = namespace.get("__annotations__", {})
    if annotate := namespace.get("__annotate_func__"):  # Python 3.14 (PEP 749)
        annotations = annotate(1)
    module = vars(sys.modules[namespace["__module__"]])
    return {
        field: module.get(hint) if isinstance(hint, str) else hint
        for field, hint in annotations.items()
    }


def _steps(fields: tuple[tuple[str, Field[Any]], ...]) -> tuple[tuple[Any, Any], ...]:
    """How fields are read: (Struct, names) for numbers in a row, (codec, name) for another."""
    steps: list[tuple[Any, Any]] = []
    names: list[str] = []
    packing = ""
    for name, codec in (*fields, ("", None)):
        if one := getattr(codec, "packing", ""):
            packing += one
            names.append(name)
            continue
        if names:
            steps.append((Struct(">" + packing), tuple(names)))
            names, packing = [], ""
        if codec is not None:
            steps.append((codec, name))
    return tuple(steps)


def _hidden(*, init: bool) -> Any:
    """What is no field; seen by type checkers alone."""


@dataclass_transform(eq_default=True, field_specifiers=(_hidden,))
class RdataMeta(type):
    """Gives each class its fields, and slots for them."""

    def __new__(
        cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **options: Any
    ) -> RdataMeta:
        fields = tuple(
            (field, codec)
            for field, hint in _declared(namespace).items()
            for codec in get_args(hint)[1:]
            if hasattr(codec, "read")
        )
        if "__slots__" not in namespace:
            namespace["__slots__"] = tuple(field for field, _ in fields)
            if len(fields) < len(_declared(namespace)):
                raise TypeError(
                    f"a field of {name} has no codec: annotate it with an alias such as Uint16"
                )
        if fields:
            namespace["fields"] = fields
            namespace["steps"] = _steps(fields)
            namespace["folds"] = any(getattr(codec, "lower", False) for _, codec in fields)
            namespace["compresses"] = any(
                getattr(codec, "compressed", False) for _, codec in fields
            )
            namespace["named"] = any(getattr(codec, "named", True) for _, codec in fields)
        return super().__new__(cls, name, bases, namespace, **options)


class Rdata(metaclass=RdataMeta):
    """The data of one record. Each type is a subclass.

    Attributes:
        rdtype: The number of the type.
        fields: Names of its fields with their codecs, in the order of the wire.
        steps: The same as it is read.
        folds: Whether it has names that canonical form lower-cases.
        compresses: Whether it has names that may be compressed; what has none is written as
            the octets of `wire`.
        named: Whether it has names at all; what has none is the octets that it was read from.
    """

    __slots__ = ("_wire",)

    rdtype: ClassVar[int]
    fields: ClassVar[tuple[tuple[str, Field[Any]], ...]] = ()
    steps: ClassVar[tuple[tuple[Any, Any], ...]] = ()
    folds: ClassVar[bool] = False
    compresses: ClassVar[bool] = True
    named: ClassVar[bool] = True
    validates: ClassVar[bool] = False
    rule: ClassVar[str] = "RFC 1035 §3.2.1"
    """Where the standards say what `validate` looks for."""

    if TYPE_CHECKING:
        # To type checkers it is a dataclass, whose constructor takes the declared fields.
        _wire: bytes | None = _hidden(init=False)
    else:

        def __init__(self, *values: object, **named: object) -> None:
            fields = self.fields
            if len(values) > len(fields):
                raise TypeError(
                    f"{type(self).__name__} has {len(fields)} fields, not {len(values)}"
                )
            given = dict(zip((name for name, _ in fields), values, strict=False))
            for name in named:
                if name in given or name not in dict(fields):
                    raise TypeError(f"{type(self).__name__} takes no {name!r} here")
            given.update(named)
            for name, codec in fields:
                if name not in given:
                    raise TypeError(f"{type(self).__name__} needs {name!r}")
                setattr(self, name, codec.check(given[name]))
            self._wire = None
            self._settle()

    def __init_subclass__(cls, rdtype: int | None = None, *, init: bool = True) -> None:
        del init  # false tells type checkers that a base's constructor stays
        super().__init_subclass__()
        if rdtype is not None:
            cls.rdtype = rdtype
        cls.validates = cls.validate is not Rdata.validate

    def validate(self) -> None:
        """Look whether the fields agree with each other.

        Raises:
            DNSUsageError: They do not.
        """

    def _settle(self) -> None:
        """See that what a program or a text gave is data of this type, and not too much."""
        if self.validates:
            self.validate()
        if len(self.wire) > MAX_DATA:
            raise DNSUsageError(
                f"the data of a record has at most {MAX_DATA} octets, not {len(self.wire)}"
            )

    # ── the wire ──────────────────────────────────────────────────────────────

    @classmethod
    def read(cls, wire: bytes, position: int, end: int, names: dict[int, Name]) -> Self:
        """The data that stands in ``wire[position:end]``.

        Args:
            wire: The whole message, which compressed names point into.
            position: Where the data begins.
            end: Where it ends (RDLENGTH).
            names: Names of the message by position; see `sennit.names.name.read_name`.

        Raises:
            MessageFormatError: It is no data of this type, all of it.
        """
        self: Self = _new(cls)
        begin = position
        for codec, name in cls.steps:
            if type(name) is str:
                value, position = codec.read(wire, position, end, names)
                setattr(self, name, value)
            else:
                behind = position + codec.size
                if behind > end:
                    raise cut_off()
                for each, value in zip(name, codec.unpack_from(wire, position), strict=False):
                    setattr(self, each, value)
                position = behind
        if position != end:
            raise MessageFormatError(
                f"{cls.__name__} data that does not end where its length says",
                rule="RFC 1035 §3.2.1",
            )
        self._wire = None if cls.named else wire[begin:end]
        if cls.validates:
            try:
                self.validate()
            except DNSUsageError as error:
                raise MessageFormatError(f"{cls.__name__}: {error}", rule=cls.rule) from None
        return self

    def write(self, writer: Writer) -> None:
        """Append the data to a message, without its length."""
        for codec, name in self.steps:
            if type(name) is str:
                codec.write(getattr(self, name), writer)
            else:
                writer.out += codec.pack(*[getattr(self, each) for each in name])

    @property
    def wire(self) -> bytes:
        """Its octets, names uncompressed."""
        if self._wire is None:
            writer = Uncompressed()
            self.write(writer)
            self._wire = bytes(writer.out)
        return self._wire

    @property
    def canonical(self) -> bytes:
        """Its octets in canonical form: names lower-cased in the types of RFC 4034 §6.2."""
        if not self.folds:
            return self.wire
        writer = Canonical()
        self.write(writer)
        return bytes(writer.out)

    # ── presentation ──────────────────────────────────────────────────────────

    @classmethod
    def parse(cls, tokens: Tokens) -> Self:
        """The data in presentation form, up to the end of the entry.

        Raises:
            PresentationError: It is no data of this type.
        """
        self: Self = _new(cls)
        try:
            for name, codec in cls.fields:
                setattr(self, name, codec.parse(tokens))
            tokens.expect_end()
            self._wire = None
            self._settle()
        except PresentationError:
            raise
        except DNSUsageError as error:
            raise PresentationError(f"{cls.__name__}: {error}") from None
        return self

    @classmethod
    def from_text(cls, text: str, origin: Name | None = None) -> Self:
        """The data given as text: ``MX.from_text("10 mail.example.org.")``.

        Args:
            text: Presentation form.
            origin: Completes names that do not end in a dot; they are whole where there is none.

        Raises:
            PresentationError: It is no data of this type.
        """
        from sennit.names.presentation import tokens_of

        return cls.parse(tokens_of(text, origin))

    def to_text(self, origin: Name | None = None) -> str:
        """Presentation form, in one line; names beneath `origin` are written relative to it."""
        return " ".join(
            [
                text
                for name, codec in self.fields
                if (text := codec.format(getattr(self, name), origin))
            ]
        )

    # ── values ────────────────────────────────────────────────────────────────

    def __str__(self) -> str:
        return self.to_text()

    def __repr__(self) -> str:
        inside = ", ".join(f"{name}={getattr(self, name)!r}" for name, _ in self.fields)
        return f"{type(self).__name__}({inside})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Rdata):
            return NotImplemented
        return self.rdtype == other.rdtype and self.canonical == other.canonical

    def __hash__(self) -> int:
        return hash((self.rdtype, self.canonical))

    def __lt__(self, other: Rdata) -> bool:
        """Canonical order within an RRset (RFC 4034 §6.3)."""
        return self.canonical < other.canonical

    def __reduce__(self) -> tuple[object, tuple[int, bytes]]:
        from sennit.names.rdata import rdata_from_wire

        return (rdata_from_wire, (self.rdtype, self.wire))


def cut_off() -> MessageFormatError:
    """Data that ends before its fields do."""
    return MessageFormatError("record data that is cut off", rule="RFC 1035 §3.2.1")


class Uncompressed(Writer):
    """Writes names in full."""

    __slots__ = ()

    def name(self, name: Name) -> None:
        """Append a name in full."""
        self.out += name.wire


class Canonical(Writer):
    """Writes names in full and in lower case (RFC 4034 §6.2)."""

    __slots__ = ()

    def name(self, name: Name) -> None:
        """Append a name in lower case."""
        self.out += name.key

    def folded_name(self, name: Name) -> None:
        """Append a name in lower case."""
        self.out += name.key


class GenericRdata(Rdata):
    """Data of a type that has no class here, or none at all (RFC 3597 §3).

    Args:
        rdtype: The number of the type.
        data: Its octets.
    """

    __slots__ = ("data", "rdtype")
    compresses = False

    rdtype: int  # type: ignore[misc]  # others: a class variable
    data: bytes

    def __init__(self, rdtype: int, data: bytes) -> None:
        if not 0 <= rdtype <= 0xFFFF:
            raise DNSUsageError(f"a type is 0 to 65535, not {rdtype}")
        if len(data) > 0xFFFF:
            raise DNSUsageError(f"record data has at most 65535 octets, not {len(data)}")
        # The one class whose type is its instance's.
        self.rdtype = rdtype  # pyright: ignore[reportIncompatibleVariableOverride]
        self.data = self._wire = bytes(data)

    def write(self, writer: Writer) -> None:
        """Append the octets."""
        writer.out += self.data

    def to_text(self, origin: Name | None = None) -> str:
        r"""``\# 3 010203`` (RFC 3597 §5)."""
        del origin  # there are no names that we know of
        from sennit.names.presentation import generic_text

        return generic_text(self.data)

    def __repr__(self) -> str:
        return f"GenericRdata({type_text(self.rdtype)}, {self.data!r})"
