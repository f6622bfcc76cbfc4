"""The `sennit` command's front door.

Nothing here needs an extra, so that a machine without them is told which line
installs them; the commands themselves are in ``commands.py``.
"""

from __future__ import annotations

import sys

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> int:
    """Run ``sennit ARGUMENTS…``.

    Args:
        arguments: Without the program's name; those of the process when left out.

    Returns:
        The exit status: 0, 1 when something failed, 2 when what was asked for cannot be, 130
        when it was interrupted.
    """
    from sennit.core.service.output import keep_standard_descriptors

    keep_standard_descriptors()
    given = sys.argv[1:] if arguments is None else arguments
    if given in (["--version"], ["-V"]):
        from sennit.core._version import __version__

        sys.stdout.write(f"sennit {__version__}\n")
        return 0
    from sennit.core.errors import MissingExtraError

    try:
        from sennit.core.service.commands import execute
    except MissingExtraError:
        sys.stderr.write("sennit: the command needs an extra: pip install 'sennit-core[cli]'\n")
        return 2
    except KeyboardInterrupt:  # while they are loaded; later it is theirs to tell
        return 130
    return execute(given)


if __name__ == "__main__":
    sys.exit(main())
