"""The `sennit` command: what it says, and the status it ends with."""

from __future__ import annotations

import io
import re
import subprocess
import sys
import textwrap
import tomllib
from signal import SIGTERM
from typing import TYPE_CHECKING

import pytest

from sennit.core._version import __version__
from sennit.core.service import commands
from sennit.core.service.cli import main
from sennit.core.service.options import attribute_help
from sennit.core.service.showing import transfer_bars

if TYPE_CHECKING:
    from pathlib import Path

    from sennit.core.service.loading import NodeConfig
    from sennit.core.service.settings import RunOptions


class Offer:
    """A distribution with one entry point, on the import path of one test."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._folder = folder
        monkeypatch.syspath_prepend(str(folder))  # pyright: ignore[reportUnknownMemberType]  # pytest's own gap

    def __call__(self, group: str, name: str, module: str, text: str) -> None:
        info = self._folder / f"x_{name}-1.0.dist-info"
        info.mkdir(exist_ok=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: x-{name}\nVersion: 1.0\n")
        with (info / "entry_points.txt").open("a") as entry_points:
            entry_points.write(f"[{group}]\n{name} = {module}:it\n")
        (self._folder / f"{module}.py").write_text(textwrap.dedent(text))


@pytest.fixture
def offer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Offer:
    monkeypatch.setattr(commands, "_found", None)
    folder = tmp_path / "offered"
    folder.mkdir()
    return Offer(folder, monkeypatch)


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[NodeConfig]:
    """Configurations that would have been run."""
    seen: list[NodeConfig] = []

    def run_node(config: NodeConfig, options: RunOptions) -> int:
        seen.append(config)
        return 0

    monkeypatch.setattr(commands, "run_node", run_node)
    return seen


def python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


# ── what it says of itself ────────────────────────────────────────────────────


@pytest.mark.parametrize("option", ["--version", "-V"])
def test_the_version_is_cores(capsys: pytest.CaptureFixture[str], option: str) -> None:
    assert main([option]) == 0
    assert capsys.readouterr().out == f"sennit {__version__}\n"


def test_help_lists_commands_and_services(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0

    shown = capsys.readouterr().out
    for word in ("up", "check", "new", "services", "echo", "Example:"):
        assert word in shown
    # What this distribution brings tells what it does.
    assert "on behalf of clients" in shown
    assert "Add USER to FILE" in shown
    assert "sennit-core" not in shown


@pytest.mark.parametrize("name", ["up", "check", "new", "services", "echo"])
def test_every_command_has_help_with_an_example(
    capsys: pytest.CaptureFixture[str], name: str
) -> None:
    assert main([name, "--help"]) == 0
    assert f"Example: sennit {name}" in capsys.readouterr().out


def test_help_loads_no_plugin(offer: Offer, capsys: pytest.CaptureFixture[str]) -> None:
    offer("sennit.services", "boom", "cli_boom", "raise RuntimeError('loaded')")
    offer("sennit.commands", "fetch", "cli_fetch", "raise RuntimeError('loaded')")

    assert main(["--help"]) == 0

    shown = capsys.readouterr().out
    assert "boom" in shown
    assert "fetch" in shown
    assert "brought by x-boom" in shown


def test_help_loads_neither_the_reactor_nor_what_configurations_need() -> None:
    done = python(
        """
        import sys
        from sennit.core.service.cli import main
        main(["--help"])
        heavy = {"msgspec", "rich", "asyncio", "OpenSSL", "zope", "tomllib", "sennit.core.reactor"}
        print("loaded:", sorted(heavy & set(sys.modules)), file=sys.stderr)
        """
    )

    assert done.stderr.strip() == "loaded: []"


# ── without the extra ─────────────────────────────────────────────────────────

MISSING = """
    import sys
    sys.modules[sys.argv[1]] = None
    from sennit.core.service.cli import main
    sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.parametrize("module", ["click", "msgspec"])
def test_a_missing_extra_is_named_with_the_line_that_installs_it(module: str) -> None:
    done = python(MISSING, module, "up", "nowhere.toml")

    assert done.returncode == 2
    assert "pip install 'sennit-core[cli]'" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("\n") == 1


def test_the_version_needs_no_extra() -> None:
    assert python(MISSING, "click", "--version").stdout == f"sennit {__version__}\n"


@pytest.mark.parametrize(
    "module", ["config", "filling", "loading", "options", "scaffold", "echo_config"]
)
def test_a_module_that_needs_the_extra_says_so(module: str) -> None:
    done = python(
        f"""
        import sys
        sys.modules["msgspec"] = None
        from sennit.core.errors import MissingExtraError
        try:
            import sennit.core.service.{module}
        except MissingExtraError as error:
            print(error.distribution, error.extra)
        """
    )

    assert done.stdout.strip() == "sennit-core cli"


# ── mistakes ──────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["serivces"], "did you mean 'services'?"),
        (["gopher"], "pip install 'sennit-gopher[service]'"),
        (["node.toml"], "Did you mean `sennit up node.toml`?"),
        (["up", "nowhere/sennit.toml"], "nowhere/sennit.toml: there is no such file"),
        (["check", "nowhere.toml"], "nowhere.toml: there is no such file"),
        (["echo", "--listen", "tcp://x"], '--listen: found "tcp://x": the port is missing'),
        (["echo", "--idle", "soon"], "'soon' is not a valid float"),
        (["echo", "--listen", "tls://:1"], 'write {url = "tls://:1"'),
        (["echo", "--certificate", "no.pem", "--key", "no.key"], "--certificate: expected a file"),
        (["echo", "extra"], "unexpected extra argument"),
        (["up", "--no-such-option"], "No such option"),
        (["new", "--service", "gopher"], "pip install 'sennit-gopher[service]'"),
    ],
)
@pytest.mark.usefixtures("gopher")
def test_a_mistake_is_told_in_a_line_or_two_and_ends_with_2(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)

    assert main(arguments) == 2

    shown = capsys.readouterr()
    assert words in shown.err
    assert "Traceback" not in shown.err
    assert shown.out == ""


def test_a_file_cannot_write_to_the_terminal_through_a_message(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """HARDENING core-19."""
    file = tmp_path / "sennit.toml"
    file.write_text('[service.x]\ntype = "echo"\n"bad\\u001b[2J\\u009b" = 1\n')

    assert main(["check", str(file)]) == 2

    shown = capsys.readouterr().err
    assert "\x1b" not in shown
    assert "\x9b" not in shown
    assert "\\x1b[2J" in shown


def test_a_broken_plugin_is_named_and_ends_with_2(
    offer: Offer, capsys: pytest.CaptureFixture[str]
) -> None:
    offer("sennit.services", "broken", "cli_broken", "raise RuntimeError('kaputt')")

    assert main(["broken"]) == 2
    assert "plugin 'broken' of x-broken cannot be loaded: RuntimeError: kaputt" in (
        capsys.readouterr().err
    )
    assert main(["services"]) == 1
    listed = capsys.readouterr().out
    assert "BROKEN: RuntimeError: kaputt" in listed
    assert "Send back whatever comes" in listed


def test_a_service_with_tools_of_its_own_is_served_by_one_of_them(
    offer: Offer, capsys: pytest.CaptureFixture[str], runs: list[NodeConfig]
) -> None:
    offer(
        "sennit.services",
        "both",
        "cli_both_service",
        """
        from sennit.core.service.plugin import echo
        from sennit.core.plugin import ServicePlugin

        it = ServicePlugin("both", "Echo", config=echo.config_type(), build=lambda *_: None)
        """,
    )
    offer(
        "sennit.commands",
        "both",
        "cli_both_tools",
        """
        import click

        @click.group("both")
        def it():
            "Tools."

        @it.command()
        def look():
            click.echo("looked")
        """,
    )

    assert main(["both", "look"]) == 0
    assert main(["both", "serve", "--listen", "unix:e.sock"]) == 0
    assert [each.plugin.name for each in runs[0].services] == ["both"]
    assert main(["both", "serve", "--help"]) == 0
    assert main(["both", "--help"]) == 0
    shown = capsys.readouterr().out
    assert "looked" in shown
    assert "Example: sennit both serve" in shown
    assert "brought by x-both" in shown


def test_a_tool_that_is_no_group_cannot_share_its_name_with_a_service(
    offer: Offer, capsys: pytest.CaptureFixture[str]
) -> None:
    offer("sennit.commands", "echo", "cli_echo_tool", "import click\nit = click.Command('echo')\n")

    assert main(["echo"]) == 2
    assert "is no group of commands, and there is a service, too" in capsys.readouterr().err


def test_a_tool_that_sigterm_ends_has_not_done_what_it_was_to_do(offer: Offer) -> None:
    offer(
        "sennit.commands",
        "slow",
        "cli_slow_tool",
        """
        import asyncio, os, signal
        import click
        from sennit.core import run


        async def wait(reactor):
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.Event().wait()


        @click.command("slow")
        def it():
            run(wait)
        """,
    )

    assert main(["slow"]) == 128 + SIGTERM


def test_bars_of_transfers_show_names_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = io.StringIO()
    monkeypatch.setattr("sys.stderr", shown)
    with transfer_bars() as bars:
        bars.add_task("[red]a", total=None)
    assert "[red]a" in shown.getvalue()


# ── check, services, new ──────────────────────────────────────────────────────


@pytest.mark.parametrize("arguments", [["check"], ["up", "--check"]])
def test_check_reads_and_starts_nothing(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    runs: list[NodeConfig],
    arguments: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sennit.toml").write_text('[service.e]\ntype = "echo"\nlisten = ["unix:e.sock"]\n')

    assert main(arguments) == 0

    assert capsys.readouterr().out.endswith("sennit.toml: good\n")
    assert runs == []
    assert not (tmp_path / "e.sock").exists()


def test_check_lets_services_look_through_their_files(
    offer: Offer, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    offer(
        "sennit.services",
        "files",
        "cli_files",
        '''
        from sennit.core.plugin import ServicePlugin
        from sennit.core.service.config import Listen, ServiceConfig, listen_on
        from sennit.core.service.tree import Service, StartError


        class Files(Service):
            def __init__(self, config, context):
                super().__init__(context.name)
                self.text = config.text

            def examine(self):
                if self.text == "broken":
                    raise StartError(self.name, "what it names is broken", key="text")
                return ["the text is " + self.text]


        class Config(ServiceConfig, kw_only=True, frozen=True):
            """Look.

            Attributes:
                listen: Nowhere.
                text: What is said.
            """

            listen: list[Listen] = listen_on("unix:e.sock")
            text: str


        it = ServicePlugin("files", "Look through files", config=Config, build=Files)
        ''',
    )
    file = tmp_path / "sennit.toml"
    file.write_text('[service.f]\ntype = "files"\ntext = "odd"\n')
    assert main(["check", str(file)]) == 0
    assert "f  files  unix:e.sock\n  the text is odd\n" in capsys.readouterr().out

    file.write_text('[service.f]\ntype = "files"\ntext = "broken"\n')
    assert main(["check", str(file)]) == 2
    shown = capsys.readouterr()
    assert "sennit.toml:3: [service.f] text: what it names is broken" in shown.err
    assert "good" not in shown.out


@pytest.mark.usefixtures("gopher")
def test_services_lists_what_is_there_and_what_could_be(
    capsys: pytest.CaptureFixture[str],
) -> None:
    main(["services"])

    shown = capsys.readouterr().out
    assert re.search(r"^echo +sennit-core \S+ +Send back", shown, re.MULTILINE)
    assert re.search(r"^gopher +not installed +.*pip install 'sennit-gopher", shown, re.MULTILINE)


def test_new_writes_a_node_that_checks(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    folder = tmp_path / "mynode"

    assert main(["new", str(folder), "--service", "echo"]) == 0
    assert f"now try: sennit up {folder}/sennit.toml" in capsys.readouterr().out
    assert main(["check", str(folder / "sennit.toml")]) == 0


def test_every_commented_key_of_a_new_node_may_be_uncommented(tmp_path: Path) -> None:
    main(["new", str(tmp_path), "--service", "echo"])
    file = tmp_path / "sennit.toml"
    text = file.read_text()

    service = text[text.index("\n[service.") :]
    uncommented = re.sub(r"^# (\w+ = .*)$", r"\1", service, flags=re.MULTILINE)

    assert set(tomllib.loads(uncommented)["service"]["echo"]) == {
        *("type", "listen", "idle", "max_connections", "max_per_address", "count_loopback")
    }
    file.write_text(uncommented)
    assert main(["check", str(file)]) == 0


def test_new_overwrites_nothing(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "sennit.toml").write_text("mine")

    assert main(["new", str(tmp_path)]) == 2

    assert "is there already; nothing was written" in capsys.readouterr().err
    assert (tmp_path / "sennit.toml").read_text() == "mine"
    assert [each.name for each in tmp_path.iterdir()] == ["sennit.toml"]


SAMPLE = """
    from pathlib import Path
    from typing import Annotated, Literal
    from sennit.core.plugin import ServicePlugin
    from sennit.core.service.config import (
        Directory, Listen, Meta, Secret, ServiceConfig, Table, listen_on,
    )
    from sennit.core.service.tree import Service

    class Limits(Table, frozen=True, kw_only=True):
        '''Limits.

        Attributes:
            lines: How many lines.
        '''

        lines: int = 10

    class Config(ServiceConfig, frozen=True, kw_only=True):
        '''A sample.

        Attributes:
            root: Folder to serve,
                with all that is in it.
            mode: How careful to be.
        '''

        root: Directory
        listen: list[Listen] = listen_on("tcp://127.0.0.1:0")
        mode: Literal["fast", "safe"] = "safe"
        index: bool = True
        password: Secret | None = None
        words: list[str] = []
        limits: Limits = Limits()

    it = ServicePlugin(
        "sample",
        "Serve a sample",
        config=Config,
        build=lambda config, context: Service(context.name),
        positional=("root",),
        example="public/",
        sample={"root": "public"},
    )
"""


def test_fields_of_a_configuration_become_options(
    offer: Offer, runs: list[NodeConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer("sennit.services", "sample", "cli_sample_options", SAMPLE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PW", "hush")
    (tmp_path / "public").mkdir()

    status = main(
        [
            *("sample", "public", "--listen", "tcp://127.0.0.1:1", "--listen", "tcp://[::1]:1"),
            *("--mode", "fast", "--no-index", "--password", "env:PW", "--words", "a"),
            *("--words", "b", "--limits-lines", "3", "--max-connections", "7"),
        ]
    )

    assert status == 0
    config = runs[0].services[0].config
    values = {name: getattr(config, name) for name in config.__struct_fields__}
    assert values["root"] == tmp_path / "public"
    assert [each.url for each in values["listen"]] == ["tcp://127.0.0.1:1", "tcp://[::1]:1"]
    assert values["mode"] == "fast"
    assert values["index"] is False
    assert values["password"].reveal() == "hush"
    assert values["words"] == ["a", "b"]
    assert values["limits"].lines == 3
    assert values["max_connections"] == 7


def test_options_that_are_not_given_keep_their_defaults(
    offer: Offer, runs: list[NodeConfig], tmp_path: Path
) -> None:
    offer("sennit.services", "sample", "cli_sample_defaults", SAMPLE)

    assert main(["sample", str(tmp_path)]) == 0

    config = runs[0].services[0].config
    assert config.max_per_address == 50
    assert [each.url for each in config.listen] == ["tcp://127.0.0.1:0"]


def test_a_secret_cannot_be_given_in_clear(
    offer: Offer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    offer("sennit.services", "sample", "cli_sample_secret", SAMPLE)

    assert main(["sample", str(tmp_path), "--password", "hush-hush"]) == 2

    shown = capsys.readouterr().err
    assert "--password: expected a secret" in shown
    assert "hush-hush" not in shown


def test_help_of_a_service_comes_from_its_docstrings(
    offer: Offer, capsys: pytest.CaptureFixture[str]
) -> None:
    offer("sennit.services", "sample", "cli_sample_help", SAMPLE)

    assert main(["sample", "--help"]) == 0

    shown = re.sub(r"\s+", " ", capsys.readouterr().out)
    assert "Usage: sennit sample [OPTIONS] ROOT" in shown
    assert "--mode [fast|safe] How careful to be. [default: safe]" in shown
    assert "--limits-lines NUMBER How many lines. [default: 10]" in shown
    assert "Example: sennit sample public/" in shown


def test_new_makes_the_folders_that_a_sample_names(offer: Offer, tmp_path: Path) -> None:
    offer("sennit.services", "sample", "cli_sample_new", SAMPLE)

    assert main(["new", str(tmp_path / "n"), "--service", "sample"]) == 0

    assert 'root = "public"' in (tmp_path / "n/sennit.toml").read_text()
    assert "It works" in (tmp_path / "n/public/index.html").read_text()
    assert main(["check", str(tmp_path / "n/sennit.toml")]) == 0


def test_further_commands_come_from_plugins(
    offer: Offer, capsys: pytest.CaptureFixture[str]
) -> None:
    offer(
        "sennit.commands",
        "hello",
        "cli_hello",
        """
        import click

        @click.command()
        @click.argument("who")
        def it(who):
            click.echo(f"hello {who}")
        """,
    )
    offer("sennit.commands", "odd", "cli_odd", "it = 42")

    assert main(["hello", "you"]) == 0
    assert capsys.readouterr().out == "hello you\n"
    assert main(["odd"]) == 2
    assert "no click command but 42" in capsys.readouterr().err


def test_attributes_are_read_from_docstrings_of_bases_too() -> None:
    class Base:
        """Base.

        Attributes:
            a: First,
                on two lines.
            b: Second.
        """

    class Derived(Base):
        """Derived.

        Attributes:
            b: Better: much.

        Args:
            c: Not an attribute.
        """

    assert attribute_help(Derived) == {"a": "First, on two lines.", "b": "Better: much."}


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full is Linux's")
def test_a_disk_that_is_full_of_what_is_printed_is_told_in_one_line() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-u", "-m", "sennit.core.service.cli", "services"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=30,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr == "sennit: what is printed cannot be written: No space left on device\n"


def test_an_interrupt_while_commands_are_loaded_shows_no_traceback(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Loading:
        def __getattr__(self, name: str) -> object:
            raise KeyboardInterrupt

    monkeypatch.setitem(sys.modules, "sennit.core.service.commands", Loading())

    assert main(["services"]) == 130
