"""Raw values into configuration Structs, every problem collected by its path.

msgspec converts and checks each value; this module goes through the tables one
key at a time, so that one reading names all that is wrong and not the first
thing alone, and adds the types of `sennit.core.service.config`.
"""

from __future__ import annotations

import os
import re
import types
import typing
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, TypeGuard, TypeVar

from sennit.core.errors import EndpointSyntaxError, MissingExtraError

try:
    import msgspec
except ImportError as error:  # pragma: no cover - tested in a process without it
    raise MissingExtraError(__name__, "sennit-core", "cli") from error

from sennit.core.service.config import EXISTS, REFERS, Listen, Secret, ServiceConfig

__all__ = [
    "Problem",
    "TablePath",
    "World",
    "allowed",
    "describe",
    "did_you_mean",
    "fields_of",
    "fill",
    "is_list",
    "is_table",
]

# `Any` throughout this module: values as tomllib read them, and type objects, which
# Python's own typing cannot describe.

TablePath = tuple[str | int, ...]
"""Where a value stands: ``("service", "site", "listen", 0)``."""

T = TypeVar("T", bound=msgspec.Struct)

_LOCATED = re.compile(r"(.*) - at `(\$.*)`", re.DOTALL)
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]|\[\.\.\.\]")
_LONGEST_QUOTE: Final = 60
"""Characters of a wrong value that a message shows."""


class Problem:
    """Something wrong at one place.

    Attributes:
        path: Where.
        text: What was found and what is allowed.
    """

    __slots__ = ("path", "text")

    def __init__(self, path: TablePath, text: str) -> None:
        self.path = path
        self.text = text

    def __repr__(self) -> str:
        return f"<Problem {self.path} {self.text}>"


class World:
    """What values are checked against.

    Attributes:
        folder: Where relative paths begin.
        names: What may be referred to: kind of table to the names there are.
        environ: Environment variables.
        problems: What was found wrong.
    """

    def __init__(
        self,
        folder: Path,
        names: Mapping[str, list[str]],
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = folder
        self.names = names
        self.environ = os.environ if environ is None else environ
        self.problems: list[Problem] = []

    def add(self, path: TablePath, text: str) -> None:
        """Note a problem."""
        self.problems.append(Problem(path, text))


def fill(cls: type[T], raw: Mapping[str, Any], path: TablePath, world: World) -> T | None:
    """Make a `cls` of a table.

    Args:
        cls: A msgspec Struct.
        raw: The table.
        path: Where it stands.
        world: Takes the problems.

    Returns:
        The filled Struct, or ``None`` when there was a problem in it.
    """
    fields = {each.encode_name: each for each in fields_of(cls)}
    before = len(world.problems)
    values: dict[str, Any] = {}
    for key, value in raw.items():
        field = fields.get(key)
        if field is None:
            world.add((*path, key), f"found an unknown key; {allowed(key, fields)}")
        else:
            values[field.name] = _value(field.type, value, (*path, key), world)
    for key, field in fields.items():
        if field.required and key not in raw:
            world.add(path, f"key {key!r} is missing; it is {describe(field.type)}")
    if len(world.problems) > before:
        return None
    try:
        return cls(**values)
    except (ValueError, TypeError) as error:
        world.add(path, str(error))
        return None


def fields_of(cls: type[msgspec.Struct]) -> list[msgspec.structs.FieldInfo]:
    """A Struct's fields as a person wants to read them: what every service has comes last."""
    common = {each for each in ServiceConfig.__struct_fields__ if each != "listen"}
    fields = list(msgspec.structs.fields(cls))
    return sorted(fields, key=lambda each: each.name in common)


def allowed(found: str, names: typing.Iterable[str]) -> str:
    """What there is, the likeliest first."""
    names = list(names)
    return did_you_mean(found, names) + (
        f"allowed are {', '.join(names)}" if names else "none is allowed"
    )


def did_you_mean(found: str, names: list[str]) -> str:
    """``did you mean 'listen'? `` or nothing."""
    close = get_close_matches(found, names, 1)
    return f"did you mean {close[0]!r}? " if close else ""


def is_table(value: Any) -> TypeGuard[dict[str, Any]]:
    """Whether TOML gave a table."""
    return isinstance(value, dict)


def is_list(value: Any) -> TypeGuard[list[Any]]:
    """Whether TOML gave an array."""
    return isinstance(value, list)


def describe(kind: Any) -> str:
    """A type in words, for who writes a configuration."""
    origin = typing.get_origin(kind)
    arguments = typing.get_args(kind)
    if origin is typing.Annotated:
        extra = _extra(kind)
        if EXISTS in extra:
            return f"the path of a {extra[EXISTS]}"
        if REFERS in extra:
            return f"the name of a table [{extra[REFERS]}.NAME]"
        return describe(arguments[0])
    if origin in (types.UnionType, typing.Union):
        return " or ".join(describe(each) for each in arguments if each is not type(None))
    if origin is typing.Literal:
        return "one of " + ", ".join(_quote(each) for each in arguments)
    if origin is list or origin is tuple or origin is set:
        return f"a list, each {describe(arguments[0])}" if arguments else "a list"
    if origin is dict or kind is dict or (_is_struct(kind)):
        return "a table"
    words: dict[Any, str] = {
        str: "a string",
        bool: "true or false",
        int: "an integer",
        float: "a number",
        Path: "a path",
        Secret: _SECRETS,
        Listen: _LISTENS,
    }
    found = words.get(kind)
    return str(getattr(kind, "__name__", kind)) if found is None else found


_SECRETS: Final = '{env = "NAME"}, {file = "path"} or {credential = "name"}'
_LISTENS: Final = 'a URL such as "tcp://127.0.0.1:8080", or {url = …, tls = …}'


# ── one value ─────────────────────────────────────────────────────────────────


def _value(kind: Any, raw: Any, path: TablePath, world: World) -> Any:
    """Convert one value; ``None`` and a problem when it cannot be."""
    inner, metas = _bare(kind)
    struct = _only(inner, _is_struct)
    if struct is not None and is_table(raw):
        return fill(struct, raw, path, world)
    if inner is Listen:
        return _listen(raw, path, world)
    if inner is Secret or _only(inner, lambda each: each is Secret) is Secret:
        return _secret(raw, path, world)
    items = _only(inner, lambda each: typing.get_origin(each) is list)
    if items is not None:
        item = typing.get_args(items)[0]
        if item is Listen and isinstance(raw, str | dict):
            raw = [raw]
        if is_list(raw) and _walked(item):
            before = len(world.problems)
            _convert(_annotated(list[Any], metas), raw, path, world)
            if len(world.problems) > before:
                return None
            return [_value(item, each, (*path, index), world) for index, each in enumerate(raw)]
    table = _only(inner, lambda each: typing.get_origin(each) is dict)
    if table is not None and is_table(raw):
        item = typing.get_args(table)[1]
        if _walked(item):
            return {key: _value(item, each, (*path, key), world) for key, each in raw.items()}
    kind, literals = _without_literals(kind)
    if isinstance(raw, str) and raw in literals:
        return raw
    before = len(world.problems)
    value = _convert(kind, raw, path, world)
    if len(world.problems) == before and value is not None:
        _check(kind, value, raw, path, world)
    return value


def _convert(kind: Any, raw: Any, path: TablePath, world: World) -> Any:
    def hook(wanted: type[Any], value: Any) -> Any:
        if wanted is Path:
            if not isinstance(value, str) or not value or "\0" in value:
                raise ValueError("Expected `path`")
            return world.folder / Path(value).expanduser()
        raise TypeError(f"a configuration cannot have a {wanted!r}")

    try:
        return msgspec.convert(raw, kind, dec_hook=hook)
    except msgspec.ValidationError as error:
        problem, inside = _split(str(error))
        found = _inside(raw, inside)
        world.add(
            (*path, *inside),
            f"{_in_words(problem, kind if not inside else None)}, found {_show(found)}",
        )
        return None


def _check(kind: Any, value: Any, raw: Any, path: TablePath, world: World) -> None:
    """What msgspec cannot check: that files are there, and that names are known."""
    extra = _extra(kind)
    if not extra:
        # The mark may stand inside an Optional.
        for each in typing.get_args(kind):
            extra = extra or _extra(each)
    wanted = extra.get(EXISTS)
    if wanted is not None:
        _check_path(value, raw, wanted, path, world)
    refers = extra.get(REFERS)
    if refers is not None:
        _check_name(refers, value, path, world)


def _check_path(value: Path, raw: Any, wanted: str, path: TablePath, world: World) -> None:
    # Where a relative path led is half of the answer.
    shown = _quote(raw) if str(value) == raw else f"{_quote(raw)} ({value})"
    try:
        if wanted == "directory":
            if value.is_dir():
                return
            problem = "is no directory" if value.exists() else "does not exist"
        elif value.is_dir():
            problem = "is a directory"
        else:
            with value.open("rb"):
                return
    except FileNotFoundError:
        problem = "does not exist"
    except OSError as error:
        problem = f"cannot be read: {error.strerror}"
    world.add(path, f"expected a {wanted} that is there, found {shown}, which {problem}")


def _check_name(kind: str, name: str, path: TablePath, world: World) -> None:
    names = world.names.get(kind, [])
    if name not in names:
        there = f"defined are {', '.join(names)}" if names else f"there is no table [{kind}.…]"
        world.add(
            path,
            f"found {_quote(name)}, but there is no [{kind}.{name}]; "
            f"{did_you_mean(name, names)}{there}",
        )


def _listen(raw: Any, path: TablePath, world: World) -> Listen | None:
    tls: str | None = None
    at = path
    if is_table(raw):
        for key in raw:
            if key not in ("url", "tls"):
                world.add((*path, key), f"found an unknown key; {allowed(key, ['url', 'tls'])}")
                return None
        named: object = raw.get("tls")
        if named is not None:
            if not isinstance(named, str):
                world.add(
                    (*path, "tls"), f"expected the name of a table [tls.NAME], found {_show(named)}"
                )
                return None
            before = len(world.problems)
            _check_name("tls", named, (*path, "tls"), world)
            if len(world.problems) > before:
                return None
            tls = named
        if "url" not in raw:
            world.add(path, "key 'url' is missing; it is a URL such as \"tls://:8443\"")
            return None
        raw = raw["url"]
        at = (*path, "url")
    if not isinstance(raw, str):
        world.add(at, f"expected {_LISTENS}, found {_show(raw)}")
        return None
    return _endpoint(raw, tls, at, world)


def _endpoint(url: str, tls: str | None, at: TablePath, world: World) -> Listen | None:
    from sennit.core.endpoint.schemes import load_endpoint

    try:
        endpoint = load_endpoint(url)
        row = endpoint.prefix or endpoint.row
        if row is not None and row.listen is None:
            raise EndpointSyntaxError(url, row.no_listen)
    except EndpointSyntaxError as error:
        world.add(at, f"found {_quote(url)}: {error.problem}")
        return None
    if endpoint.secure and tls is None:
        names = world.names.get("tls", [])
        name = names[0] if names else "main"
        world.add(
            at,
            f"found {_quote(url)} without a certificate; write "
            f'{{url = "{url}", tls = "{name}"}}'
            + ("" if names else f", and a table [tls.{name}] with certificate and key"),
        )
        return None
    if (
        endpoint.row is not None
        and endpoint.row.form == "path"
        and not endpoint.path.startswith(("/", "@"))
    ):
        query = url.partition("?")
        path = world.folder / endpoint.path
        url = f"{endpoint.scheme}:{path}{query[1]}{query[2]}"
    return Listen(url, tls)


def _secret(raw: Any, path: TablePath, world: World) -> Secret | None:
    # What was found is never quoted: it may be the secret itself.
    if not is_table(raw) or len(raw) != 1:
        world.add(path, f"expected a secret as {_SECRETS}, found something else (not shown)")
        return None
    ((source, name),) = raw.items()
    if source not in ("env", "file", "credential"):
        world.add(
            (*path, source),
            f"found an unknown key; {allowed(source, ['env', 'file', 'credential'])}",
        )
        return None
    if not isinstance(name, str) or not name:
        world.add((*path, source), f"expected a string, found {_show(name)}")
        return None
    problem: str
    if source == "env":
        value = world.environ.get(name)
        if value:
            return Secret(value, f"env:{name}")
        problem = "is not set" if value is None else "is empty"
        world.add((*path, source), f"environment variable {_quote(name)} {problem}")
        return None
    if source == "credential":
        directory = world.environ.get("CREDENTIALS_DIRECTORY")
        if directory is None:
            problem = (
                "found a credential, but systemd gave none ($CREDENTIALS_DIRECTORY is not set)"
            )
            world.add((*path, source), problem)
            return None
        if "/" in name or name.startswith("."):
            world.add((*path, source), f"found {_quote(name)}, which is no credential's name")
            return None
        file = Path(directory) / name
    else:
        file = world.folder / Path(name).expanduser()
    try:
        text = file.read_text("utf-8")
    except UnicodeDecodeError:
        world.add((*path, source), f"{file} is not UTF-8")
        return None
    except OSError as error:
        world.add((*path, source), f"{file} cannot be read: {error.strerror}")
        return None
    # One line end belongs to the editor that wrote the file.
    text = text.removesuffix("\n").removesuffix("\r")
    if not text:
        world.add((*path, source), f"{file} is empty")
        return None
    return Secret(text, f"{source}:{name}")


# ── types and words ───────────────────────────────────────────────────────────


def _bare(kind: Any) -> tuple[Any, tuple[Any, ...]]:
    """A type without ``Annotated``, and what that said."""
    if typing.get_origin(kind) is typing.Annotated:
        inner, *metas = typing.get_args(kind)
        return inner, tuple(metas)
    return kind, ()


def _annotated(kind: Any, metas: tuple[Any, ...]) -> Any:
    for meta in metas:
        kind = typing.Annotated[kind, meta]
    return kind


def _extra(kind: Any) -> dict[str, str]:
    found: dict[str, str] = {}
    for meta in _bare(kind)[1]:
        if isinstance(meta, msgspec.Meta) and meta.extra:
            found.update(meta.extra)
    return found


def _without_literals(kind: Any) -> tuple[Any, tuple[Any, ...]]:
    """Split ``Path | Literal["-"]``, which msgspec does not take as one.

    Returns:
        The type without its literals, and those; nothing is split where no `Path` is.
    """
    if typing.get_origin(kind) not in (types.UnionType, typing.Union):
        return kind, ()
    rest: list[Any] = []
    literals: list[Any] = []
    for each in typing.get_args(kind):
        if typing.get_origin(each) is typing.Literal:
            literals += typing.get_args(each)
        else:
            rest.append(each)
    if not any(_bare(each)[0] is Path for each in rest):
        return kind, ()
    joined = rest[0]
    for each in rest[1:]:
        joined = joined | each
    return joined, tuple(literals)


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _only(kind: Any, test: Callable[[Any], bool]) -> Any:
    """The one alternative of a type that fits `test`."""
    if typing.get_origin(kind) in (types.UnionType, typing.Union):
        for each in typing.get_args(kind):
            inner = _bare(each)[0]
            if test(inner):
                return inner
        return None
    return kind if test(kind) else None


def _walked(kind: Any) -> bool:
    """Whether items of this type are gone through here rather than by msgspec."""
    inner = _bare(kind)[0]
    return inner in (Listen, Secret) or bool(_extra(kind)) or _is_struct(inner)


def _split(message: str) -> tuple[str, TablePath]:
    """msgspec's message and the path inside the value that it speaks of."""
    match = _LOCATED.fullmatch(message)
    if match is None:
        return message, ()
    steps: list[str | int] = []
    for step in _STEP.finditer(match[2]):
        if step[1] is not None:
            steps.append(step[1])
        elif step[2] is not None:
            steps.append(int(step[2]))
    return match[1], tuple(steps)


def _inside(raw: Any, path: TablePath) -> Any:
    for step in path:
        try:
            raw = raw[step]
        except (KeyError, IndexError, TypeError):
            return raw
    return raw


def _in_words(problem: str, kind: Any) -> str:
    """msgspec's message as one about configuration."""
    expected = re.fullmatch(r"Expected `([^`]*)`(?:, got `[^`]*`)?(.*)", problem, re.DOTALL)
    if expected is not None:
        word = describe(kind) if kind is not None else expected[1].replace("str", "string")
        return f"expected {word}{_BOUND.sub(_bound, expected[2])}"
    if problem.startswith("Invalid enum value") and kind is not None:
        return f"expected {describe(kind)}"
    return problem[:1].lower() + problem[1:]


_BOUND = re.compile(r" (>=|>|<=|<) (-?[0-9.e+]+)")


def _bound(match: re.Match[str]) -> str:
    words = {">=": "at least", ">": "above", "<=": "at most", "<": "below"}
    return f" {words[match[1]]} {match[2].removesuffix('.0')}"


def _show(value: Any) -> str:
    """A wrong value and what it is."""
    names: dict[Any, str] = {str: "a string", int: "an integer", float: "a number"}
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{_quote(value)}, {names.get(type(value), type(value).__name__)}"


def _quote(value: object) -> str:
    text = repr(value) if not isinstance(value, str) else '"' + repr(value)[1:-1] + '"'
    return text if len(text) <= _LONGEST_QUOTE else text[:_LONGEST_QUOTE] + "…"
