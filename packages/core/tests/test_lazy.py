"""Packages whose names are loaded when they are first used."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

LAZY = ["sennit.core", "sennit.core.database", "sennit.core.observe"]

PACKAGE = """
from sennit.core.lazy import lazy_names

__all__ = ["first", "second"]
__getattr__, __dir__ = lazy_names(__name__, {"rooms.one": ("first",), "two": ("second",)})
"""


def test_a_module_is_loaded_for_the_first_of_its_names_and_looked_up_once(tmp_path: Path) -> None:
    rooms = tmp_path / "house" / "rooms"
    rooms.mkdir(parents=True)
    (tmp_path / "house" / "__init__.py").write_text(PACKAGE)
    (rooms / "__init__.py").touch()
    (rooms / "one.py").write_text("first = object()\n")
    (tmp_path / "house" / "two.py").write_text("raise RuntimeError('not asked for')\n")
    program = (
        "import sys, house\n"
        "assert dir(house) == ['first', 'second']\n"
        "assert 'house.rooms.one' not in sys.modules\n"
        "assert house.first is house.rooms.one.first\n"
        "assert 'first' in vars(house)\n"
        "assert not hasattr(house, 'third')\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True, timeout=30)


@pytest.mark.parametrize("package", LAZY)
def test_every_name_that_is_offered_is_there(package: str) -> None:
    module = import_module(package)
    for name in dir(module):
        assert getattr(module, name) is not None
    with pytest.raises(AttributeError, match=f"'{package}' has no attribute 'nothing'"):
        module.nothing  # noqa: B018 - to be asked for is what is tested
