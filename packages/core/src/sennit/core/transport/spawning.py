"""Starting a program without blocking the loop and without the hazards of ``fork``.

Two ways, after what is asked for:

* Standard input, output and error, working directory, umask, process group and
  session: `subprocess.Popen` does these between ``vfork`` and ``exec`` in C. The
  parent's memory is not copied, so it takes the same 0.3 ms in a program of 500 MB as
  in an empty one, done here and now (a thread would not help: the interpreter's lock is
  held meanwhile, and the hop costs as much again). ``preexec_fn``, which runs Python
  in the child of a process with threads and may deadlock there, is not used.
* All else: descriptors at other numbers than they have here, a controlling terminal,
  other users, a signal mask to be cleared. ``Popen`` cannot do some of these, and for others it
  falls back to ``fork`` (15 ms with the loop standing still in the program of 500 MB). So
  a small interpreter is started in the child's place (`HELPER`, about 10 ms, none of
  them ours), which does them in a process without threads and becomes the program
  by ``exec``. It says through a pipe what went wrong, or by that pipe's end that nothing did.

Either way the child has exactly the descriptors it was given: Popen closes all others.

Sources: posix_spawn(3) and vfork(2) for why not to run code in the child; tty_ioctl(4)
for the controlling terminal; PEP 446 (descriptors are not inherited unless told to).
"""

from __future__ import annotations

import errno
import os
import signal
import sys

from sennit.core.errors import SpawnError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Final

__all__ = ["HELPER", "Program", "helper_error", "spawn_error", "start_program"]

HELPER: Final = """\
import os, sys, _signal
env = dict(os.environb)
# Set by the interpreter itself in the C locale (PEP 538), and no business of the program.
if locale is None: env.pop(b"LC_CTYPE", None)
else: env[b"LC_CTYPE"] = locale
words = [os.fsencode(word) for word in sys.argv[1:]]
what = "its descriptors"
try:
    high = max([report, 2, *fds, *fds.values()]) + 1
    os.dup2(report, high, False)
    report, high, moved = high, high + 1, {}
    for target, source in fds.items():
        os.dup2(source, high, False)
        moved[target], high = high, high + 1
    for target, source in moved.items():
        os.dup2(source, target)
    for fd in range(report):
        if fd not in fds:
            try: os.close(fd)
            except OSError: pass
    what = "its process group"
    if session: os.setsid()
    elif group is not None: os.setpgid(0, group)
    what = "its terminal"
    if terminal is not None:
        import fcntl
        fcntl.ioctl(0 if 0 in fds else min(fds), terminal, 0)
    what = "its signals"
    for number in (_signal.SIGPIPE, getattr(_signal, "SIGXFSZ", 0)):
        if number: _signal.signal(number, _signal.SIG_DFL)
    _signal.pthread_sigmask(_signal.SIG_SETMASK, [])
    if umask is not None: os.umask(umask)
    what = "working directory " + repr(cwd and os.fsdecode(cwd))
    if cwd is not None: os.chdir(cwd)
    what = "its groups"
    if groups is not None: os.setgroups(groups)
    what = "its group"
    if gid is not None: os.setgid(gid)
    what = "its user"
    if uid is not None: os.setuid(uid)
    what = ""
    # As `execvp` does it, with nothing left to be imported: the user may not read it.
    files = [words[0]]
    if b"/" not in words[0]:
        path = env.get(b"PATH", os.fsencode(os.defpath))
        files = [folder + b"/" * bool(folder) + words[0] for folder in path.split(b":")]
    saved = None
    for file in files:
        try: os.execve(file, words[1:], env)
        except (FileNotFoundError, NotADirectoryError) as error: saved = saved or error
        except OSError as error:
            if saved is None or saved.errno in (2, 20): saved = error
    raise saved
except OSError as error:
    os.write(report, ("%d %s" % (error.errno or 0, what)).encode())
except BaseException as error:
    os.write(report, ("0 %s: %r" % (what, error)).encode())
os._exit(255)
"""
"""What runs in the child before a program that `subprocess.Popen` cannot start by itself."""

_SHOWN: Final = 200
"""Octets of a program's name in messages."""
_UNMASKABLE = frozenset({signal.SIGKILL, signal.SIGSTOP})


class Program:
    """What to run, and as what.

    Attributes:
        command: Program and arguments, as octets or text.
        executable: The file to run, where it is not ``command[0]``.
        env: Environment; this process's when ``None``.
        cwd: Working directory; this process's when ``None``.
        umask: File mode mask, likewise.
        uid: User; likewise.
        gid: Group; likewise.
        groups: Supplementary groups; likewise.
        process_group: To be put into: 0 for one of its own; likewise.
        session: Whether it leads a session of its own.
        terminal: Whether its standard input is to be its controlling terminal.
        fds: The child's descriptors and which of ours each is.
    """

    __slots__ = (
        "command",
        "cwd",
        "env",
        "executable",
        "fds",
        "gid",
        "groups",
        "process_group",
        "session",
        "terminal",
        "uid",
        "umask",
    )

    def __init__(
        self,
        command: Sequence[str | bytes | os.PathLike[str]],
        *,
        executable: str | bytes | os.PathLike[str] | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | bytes | os.PathLike[str] | None = None,
        umask: int | None = None,
        uid: int | None = None,
        gid: int | None = None,
        groups: Sequence[int] | None = None,
        process_group: int | None = None,
        session: bool = False,
        terminal: bool = False,
    ) -> None:
        if isinstance(command, (str, bytes)) or not command:
            raise UsageError(
                f"a command is a sequence, program first, such as ['ls', '-l'], not {command!r}; "
                "for the shell's language write ['/bin/sh', '-c', text]"
            )
        self.command = [_octets(each, "argument") for each in command]
        self.executable = None if executable is None else _octets(executable, "executable")
        self.cwd = None if cwd is None else _octets(cwd, "working directory")
        self.env: dict[bytes, bytes] | None = None
        if env is not None:
            self.env = {}
            for name, value in env.items():
                key = _octets(name, "name in the environment")
                if not key or b"=" in key:
                    raise UsageError(f"{name!r} is no name for a variable of the environment")
                self.env[key] = _octets(value, f"value of {name!r} in the environment")
        self.umask = umask
        self.uid = uid
        self.gid = gid
        self.groups = None if groups is None else list(groups)
        self.process_group = process_group
        self.session = session
        self.terminal = terminal
        self.fds: dict[int, int] = {}

    @property
    def name(self) -> str:
        """The program, for messages."""
        return os.fsdecode((self.executable or self.command[0])[:_SHOWN])

    def needs_helper(self) -> bool:
        """Whether `subprocess.Popen` cannot start it well."""
        return (
            self.terminal
            or any(target > 2 and target != source for target, source in self.fds.items())
            or self.uid is not None
            or self.gid is not None
            or self.groups is not None
            or not signal.pthread_sigmask(signal.SIG_BLOCK, ()) <= _UNMASKABLE
        )


def _octets(value: str | bytes | os.PathLike[str], what: str) -> bytes:
    """A string as the system takes it.

    Raises:
        UsageError: It holds a NUL, or what the file system's encoding cannot say.
    """
    try:
        octets = os.fsencode(value)
    except UnicodeEncodeError as error:
        raise UsageError(f"{what} {value!r} cannot be encoded: {error}") from error
    if b"\0" in octets:
        raise UsageError(f"a NUL in {what} {octets[:80]!r}, which would end there")
    return octets


def start_program(program: Program) -> tuple[int, int]:
    """Start it.

    Returns:
        The number of the process, and a descriptor to be read to its end, on which a
        helper says what went wrong (nothing: the program runs); -1 where it runs already.

    Raises:
        SpawnError: It cannot be started.
    """
    if program.needs_helper():
        return _start_helper(program)
    fds = program.fds
    try:
        pid = _popen(
            program.command,
            executable=program.executable,
            stdin=fds[0],
            stdout=fds[1],
            stderr=fds[2],
            pass_fds=tuple(fd for fd in fds if fd > 2),
            env=program.env,
            cwd=program.cwd,
            umask=-1 if program.umask is None else program.umask,
            start_new_session=program.session,
            process_group=None if program.session else program.process_group,
        )
    except OSError as error:
        raise spawn_error(program, error, _at_fault(program, error)) from error
    return pid, -1


def _popen(command: Sequence[bytes], **options: object) -> int:
    from subprocess import Popen
    from typing import Any, cast

    make = cast("Any", Popen)  # typed by overloads that take no mapping
    child: Any = make(command, close_fds=True, **options)
    # Reaping is ours (``reaping.py``); so it neither warns nor waits when it is thrown away.
    child.returncode = 0
    pid: int = child.pid
    return pid


def _at_fault(program: Program, error: OSError) -> str:
    """What an error of Popen's is about, as the helper would have said it."""
    if program.cwd is not None and error.filename in (program.cwd, os.fsdecode(program.cwd)):
        return f"working directory {os.fsdecode(program.cwd)!r}"
    return ""


def spawn_error(program: Program, error: OSError, what: str) -> SpawnError:
    """The house's error for one of the system's."""
    number = error.errno
    text = os.strerror(number) if number else str(error)
    if what:
        text = f"{what}: {text}"
    elif number == errno.ENOENT and "/" not in program.name:
        text += ", in none of the folders of PATH"
    elif number == errno.ENOENT and os.path.exists(program.name):
        text += " (the file is there; its interpreter is not)"
    elif number == errno.ENOEXEC:
        text += " (a script begins with a line such as #!/bin/sh)"
    elif number == errno.E2BIG:
        octets = sum(map(len, program.command))
        text += f" ({octets} octets of arguments)"
    return SpawnError(program.name, text, number)


def helper_error(program: Program, said: bytes) -> SpawnError:
    """The error that a helper has told of."""
    number, _, what = said.decode(errors="replace").partition(" ")
    if number == "0" or not number.isdigit():
        return SpawnError(program.name, what or "its helper has failed")
    error = OSError(int(number), os.strerror(int(number)))
    told = spawn_error(program, error, what)
    told.__cause__ = error
    return told


def _start_helper(program: Program) -> tuple[int, int]:
    if not sys.executable:
        raise SpawnError(program.name, "what is asked for needs a Python interpreter to do it")
    terminal = None
    if program.terminal:
        import termios

        terminal = termios.TIOCSCTTY
    import fcntl

    env = os.environb if program.env is None else program.env
    try:
        told, report = os.pipe()
    except OSError as error:
        raise spawn_error(program, error, "") from error
    fds, extra = dict(program.fds), list[int]()
    try:
        try:
            for target, source in fds.items():
                if source <= 2:
                    # The helper has standard streams of its own until it has put these in place.
                    fds[target] = fcntl.fcntl(source, fcntl.F_DUPFD_CLOEXEC, 3)
                    extra.append(fds[target])
        except OSError as error:
            raise spawn_error(program, error, "") from error
        settings = {
            "report": report,
            "fds": fds,
            "session": program.session,
            "group": program.process_group,
            "terminal": terminal,
            "umask": program.umask,
            "cwd": program.cwd,
            "groups": program.groups,
            "gid": program.gid,
            "uid": program.uid,
            "locale": env.get(b"LC_CTYPE"),
        }
        code = "".join(f"{name} = {value!r}\n" for name, value in settings.items()) + HELPER
        words = [program.executable or program.command[0], *program.command]
        try:
            pid = _popen(
                [os.fsencode(sys.executable), b"-I", b"-S", b"-c", code.encode(), *words],
                pass_fds=(report, *fds.values()),
                stdin=-3,  # DEVNULL
                stdout=-3,
                stderr=-3,
                env=program.env,
            )
        except OSError as error:
            raise spawn_error(program, error, "") from error
    except BaseException:
        os.close(told)
        raise
    finally:
        for fd in (report, *extra):
            os.close(fd)
    return pid, told
