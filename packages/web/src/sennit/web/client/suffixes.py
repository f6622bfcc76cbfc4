"""Domains nobody can own: ``com``, ``co.uk``, ``github.io``.

A cookie for one of them would go to strangers. Which they are is no rule but a list,
which the library ``publicsuffixlist`` (extra ``cookies``) carries and renews with each
release. Without it nothing is known, and the jar sends each cookie only to the host
that set it.

Source: RFC 6265bis §5.5 and its note on public suffixes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["find_suffixes"]

_found: list[Callable[[str], bool] | None] = []


def find_suffixes() -> Callable[[str], bool] | None:
    """A function that tells whether a domain is a public suffix; ``None`` without the extra.

    The list is read when this is called first, which takes some 100 ms.
    """
    if not _found:
        try:
            from publicsuffixlist import PublicSuffixList
        except ImportError:
            _found.append(None)
        else:
            suffixes = PublicSuffixList(accept_unknown=True)

            def is_public(domain: str) -> bool:
                return suffixes.is_public(domain)

            _found.append(is_public)
    return _found[0]
