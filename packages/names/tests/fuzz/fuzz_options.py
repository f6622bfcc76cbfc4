"""No octets make an option of EDNS raise anything but a format error, or print what is no text."""

from __future__ import annotations

from packages.names.tests.test_names_codec_options import VECTORS
from sennit.names.edns import Option
from sennit.names.errors import MessageFormatError
from sennit.names.options import option_class, option_text

SEEDS = tuple(bytes((type(value).code,)) + value.write() for value, _, _ in VECTORS)


def fuzz(data: bytes) -> None:
    """Read `data` as the option whose code is its first octet."""
    if not data:
        return
    code = data[0] % 24
    assert option_text(Option(code, data[1:])).isprintable()
    kind = option_class(code)
    if kind is not None:
        try:
            value = kind.read(data[1:])
        except MessageFormatError as error:
            assert error.rule, "an error without the rule it is about"  # noqa: PT017 - no test
            return
        assert value.write() == data[1:]
        assert kind.read(value.write()) == value
