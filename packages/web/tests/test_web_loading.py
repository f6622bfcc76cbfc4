"""Applications by name: what is found, and what is told when nothing is."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sennit.web.hosting.loading import ApplicationError, check_kind, load_application


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder with programs; what was imported of it is forgotten afterwards."""
    before, modules = [*sys.path], {*sys.modules}
    yield tmp_path
    sys.path[:] = before
    for name in {*sys.modules} - modules:
        del sys.modules[name]


SHOP = """
class Thing:
    async def app(self, scope, receive, send): ...

thing = Thing()

def make():
    return thing.app

def broken():
    raise RuntimeError("no database")

number = 5
"""


def test_an_application_is_named_by_module_and_attribute(folder: Path) -> None:
    (folder / "zz_shop.py").write_text(SHOP)
    found = load_application("zz_shop:thing.app", folder=folder)
    module = sys.modules["zz_shop"]
    assert found == module.thing.app
    assert load_application("zz_shop:make()") == found
    assert load_application("zz_shop:make", factory=True) == found


def test_the_folder_stands_behind_what_is_installed(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """CWE-427: a file beside the configuration is not taken for the library's."""
    (folder / "json.py").write_text("app = 1\n")
    with caplog.at_level(logging.WARNING), pytest.raises(ApplicationError, match="no 'app'"):
        load_application("json:app", folder=folder)
    assert sys.path[-1] == str(folder)
    assert "the installed one" in caplog.text


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ("zz_shop", "which object of it: zz_shop:app?"),
        ("zz_shop.py", "a module, not a file: zz_shop:app?"),
        ("./zz/shop.py", "a module, not a file: zz.shop:app?"),
        ("zz shop:app", "allowed is MODULE:NAME"),
        ("zz_shop:app(1)", "allowed is MODULE:NAME"),
        ("", "allowed is MODULE:NAME"),
        ("zz_shap:app", "did you mean 'zz_shop'?"),
        ("zz_nothing_alike_at_all:app", "neither installed nor in"),
        ("zz_shop.inner:app", "there is no module 'zz_shop.inner'"),
        ("zz_shop:mak", "did you mean 'make'?"),
        ("zz_shop:thing.ap", "zz_shop:thing has no attribute 'ap'"),
        ("zz_shop:xxxx", "what could be one there is"),
        ("zz_shop:number()", "is no function that makes an application, but of type int"),
        ("zz_shop:broken()", "zz_shop:broken() failed: RuntimeError: no database"),
        ("zz_bad:app", "importing zz_bad failed: ZeroDivisionError"),
        ("zz_syntax:app", "importing zz_syntax failed: SyntaxError"),
        ("zz_needs:app", "importing zz_needs failed: ModuleNotFoundError"),
    ],
)
def test_what_is_wrong_with_a_name_is_told(folder: Path, target: str, told: str) -> None:
    (folder / "zz_shop.py").write_text(SHOP)
    (folder / "zz_bad.py").write_text("\n1 / 0\n")
    (folder / "zz_syntax.py").write_text("def:\n")
    (folder / "zz_needs.py").write_text("import zz_missing_one\n")
    with pytest.raises(ApplicationError) as caught:
        load_application(target, folder=folder)
    assert told in str(caught.value)


def test_a_failing_import_is_told_with_its_line(folder: Path) -> None:
    (folder / "zz_bad.py").write_text("\n1 / 0\n")
    with pytest.raises(ApplicationError) as caught:
        load_application("zz_bad:app", folder=folder)
    assert f"({folder}/zz_bad.py, line 2)" in str(caught.value)


async def _three(scope: Any, receive: Any, send: Any) -> None: ...


def _two(environ: Any, start_response: Any) -> list[bytes]:
    return []


def _one(scope: Any) -> None: ...


def _none() -> None: ...


def _four(one: Any, two: Any, three: Any, four: Any) -> None: ...


def _any(*args: Any, **kwargs: Any) -> None: ...


class _Class:
    def __init__(self, scope: Any) -> None: ...

    async def __call__(self, receive: Any, send: Any) -> None: ...


@pytest.mark.parametrize(
    ("app", "interface"), [(_three, "asgi"), (_two, "wsgi"), (_any, "asgi"), (_any, "wsgi")]
)
def test_an_application_of_the_right_kind_passes(app: Callable[..., Any], interface: str) -> None:
    check_kind(app, interface)


@pytest.mark.parametrize(
    ("app", "interface", "told"),
    [
        (_two, "asgi", "that is WSGI"),
        (_three, "wsgi", "that is ASGI"),
        (_one, "asgi", "ASGI 2"),
        (_Class, "asgi", "ASGI 2"),
        (_none, "asgi", "write () behind its name"),
        (_none, "wsgi", "write () behind its name"),
        (7, "asgi", "cannot be called"),
        (_four, "asgi", "it takes 4 arguments"),
        (_one, "wsgi", "environ and start_response"),
    ],
)
def test_an_application_of_another_kind_is_told(app: Any, interface: str, told: str) -> None:
    with pytest.raises(ApplicationError) as caught:
        check_kind(app, interface)
    assert told in str(caught.value)
