"""A broken configuration gives one message: file, line, table, key, found, allowed."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import pytest
import trustme

from sennit.core.errors import ConfigError
from sennit.core.plugin import ServicePlugin
from sennit.core.service.config import (
    Directory,
    File,
    Listen,
    Meta,
    Secret,
    ServiceConfig,
    Table,
    listen_on,
    refers,
)
from sennit.core.service.filling import World, fill
from sennit.core.service.lines import locate
from sennit.core.service.loading import (
    NodeConfig,
    Origin,
    SeveralConfigError,
    from_options,
    load,
)
from sennit.core.service.tree import Service, ServiceContext, StartError

if TYPE_CHECKING:
    from collections.abc import Mapping

ECHO = '[service.echo]\ntype = "echo"\n'


def write(folder: Path, text: str) -> Path:
    file = folder / "sennit.toml"
    file.write_text(text, encoding="utf-8")
    return file


def problem(folder: Path, text: str) -> str:
    """The message for a text that has something wrong, without the folder."""
    with pytest.raises(ConfigError) as caught:
        load(write(folder, text))
    return str(caught.value).replace(f"{folder}/", "")


# ── whole files ───────────────────────────────────────────────────────────────


def test_a_good_file_gives_its_services_in_order(tmp_path: Path) -> None:
    config = load(
        write(
            tmp_path,
            ECHO + '[service.b]\ntype = "echo"\nlisten = "unix:run/b.sock"\nidle = 5\n',
        )
    )

    assert [(each.name, each.plugin.name) for each in config.services] == [
        ("echo", "echo"),
        ("b", "echo"),
    ]
    assert config.services[0].config.listen == [Listen("tcp://127.0.0.1:8007")]
    assert config.services[1].config.listen == [Listen(f"unix:{tmp_path}/run/b.sock")]
    tree, built = config.build()
    assert [each.name for each in tree.children] == ["echo", "b"]
    assert list(built) == ["echo", "b"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(
            ECHO + "idel = 3\n",
            "sennit.toml:3: [service.echo] idel: found an unknown key; did you mean 'idle'? "
            "allowed are listen, idle, max_connections, max_per_address, count_loopback",
            id="unknown key",
        ),
        pytest.param(
            ECHO + '\nidle = "long"\n',
            'sennit.toml:4: [service.echo] idle: expected a number, found "long", a string',
            id="wrong type",
        ),
        pytest.param(
            ECHO + "idle = 0\n",
            "sennit.toml:3: [service.echo] idle: expected a number above 0, found 0, an integer",
            id="out of range",
        ),
        pytest.param(
            ECHO + "max_connections = 0\n",
            "sennit.toml:3: [service.echo] max_connections: expected an integer at least 1, "
            "found 0, an integer",
            id="too small",
        ),
        pytest.param(
            ECHO + 'listen = ["tcp://127.0.0.1:1",\n 5]\n',
            "sennit.toml:4: [service.echo] listen[1]: expected a URL such as "
            '"tcp://127.0.0.1:8080", or {url = …, tls = …}, found 5, an integer',
            id="wrong type in a list",
        ),
        pytest.param(
            ECHO + 'listen = ["http://127.0.0.1:80"]\n',
            'sennit.toml:3: [service.echo] listen[0]: found "http://127.0.0.1:80": '
            "there is no endpoint 'http'; there are tcp, tls, unix, tls+unix, ",
            id="unknown scheme",
        ),
        pytest.param(
            ECHO + 'listen = ["tcp://127.0.0.1"]\n',
            'sennit.toml:3: [service.echo] listen[0]: found "tcp://127.0.0.1": '
            "the port is missing: tcp://127.0.0.1:8080, tcp://[::1]:8080 or tcp://:8080",
            id="bad URL",
        ),
        pytest.param(
            ECHO + 'listen = ["tcp://127.0.0.1:1?backlog=many"]\n',
            'sennit.toml:3: [service.echo] listen[0]: found "tcp://127.0.0.1:1?backlog=many": '
            "option backlog is a number from 0 to 65535, not 'many'",
            id="bad option",
        ),
        pytest.param(
            ECHO + 'listen = [{url = "tls://:8443", tls = "mian"}]\n'
            '[tls.main]\ncertificate = "c"\nkey = "k"\n',
            'sennit.toml:3: [service.echo] listen[0].tls: found "mian", but there is no '
            "[tls.mian]; did you mean 'main'? defined are main",
            id="dangling reference",
        ),
        pytest.param(
            ECHO + 'listen = ["tls://:8443"]\n',
            'sennit.toml:3: [service.echo] listen[0]: found "tls://:8443" without a certificate; '
            'write {url = "tls://:8443", tls = "main"}, and a table [tls.main] with '
            "certificate and key",
            id="TLS without a certificate",
        ),
        pytest.param(
            ECHO + 'listen = [{ulr = "tcp://:1"}]\n',
            "sennit.toml:3: [service.echo] listen[0].ulr: found an unknown key; "
            "did you mean 'url'? allowed are url, tls",
            id="unknown key inside a list",
        ),
        pytest.param(
            '[service.files]\ntype = "gopher"\n',
            'sennit.toml:2: [service.files] type: found "gopher", which is not installed: '
            "pip install 'sennit-gopher[service]'",
            id="missing strand",
        ),
        pytest.param(
            '[service.x]\ntype = "ecko"\n',
            'sennit.toml:2: [service.x] type: found "ecko", which is not installed: '
            "did you mean 'echo'?",
            id="unknown service",
        ),
        pytest.param(
            "[service.x]\nlisten = []\n",
            "sennit.toml:1: [service.x] key 'type' is missing; it is the kind of service "
            "(installed are ",
            id="no type",
        ),
        pytest.param(
            "[services.x]\n",
            "sennit.toml:1: services: found an unknown table; did you mean 'service'? "
            "allowed are tls, users, service, node, admin",
            id="unknown table",
        ),
        pytest.param(
            "service = 1\n",
            "sennit.toml:1: service: expected tables [service.NAME], found a value",
            id="value for tables",
        ),
        pytest.param(
            '[service]\ntype = "echo"\n',
            "sennit.toml:2: [service.type] found a value, expected a table; write [service.NAME]",
            id="no name",
        ),
        pytest.param(
            '[service."a b"]\ntype = "echo"\n',
            "sennit.toml:1: [service.a b] a name has letters, digits",
            id="bad name",
        ),
        pytest.param("", "sennit.toml: found no service; write a table", id="empty"),
        pytest.param(
            ECHO + "idle = = 3\n",
            "sennit.toml:3: not TOML: Invalid value, column 8",
            id="syntax",
        ),
        pytest.param(ECHO + 'x = "', "sennit.toml:3: not TOML: ", id="syntax at the end"),
        pytest.param(
            ECHO + "x = " + "9" * 5000,
            "sennit.toml: not TOML: a number with too many digits",
            id="a number without end",
        ),
        pytest.param(
            "x = " + "[" * 5000, "sennit.toml: tables are nested too deeply", id="nested for ever"
        ),
        pytest.param(
            ECHO + '[tls.main]\ncertificate = "no.pem"\nkey = "no.key"\n',
            "sennit.toml:4: [tls.main] certificate: expected a file that is there, "
            'found "no.pem" (no.pem), which does not exist',
            id="missing certificate",
        ),
        pytest.param(
            ECHO + 'listen = [{url = "tcp://:1", tls = "main"}]\n[tls.main]\n'
            'certificate = "sennit.toml"\nkey = "sennit.toml"\n',
            'sennit.toml:3: [service.echo] listen[0]: found a certificate for "tcp://:1", where '
            'nothing is encrypted; write "tls://:1", or leave tls out',
            id="certificate without TLS",
        ),
        pytest.param(
            ECHO + "listen = []\n",
            "sennit.toml:3: [service.echo] listen: found no endpoint; a service listens at one",
            id="nowhere to listen",
        ),
        pytest.param(
            ECHO + '[service.b]\ntype = "echo"\n\nlisten = ["tcp://127.0.0.1:8007"]\n',
            'sennit.toml:6: [service.b] listen[0]: found "tcp://127.0.0.1:8007", '
            "where [service.echo] listens already",
            id="two services at one place",
        ),
        pytest.param(
            ECHO + '[admin]\nlisten = ["tcp://127.0.0.1:8007"]\n',
            'sennit.toml:1: [service.echo] listen[0]: found "tcp://127.0.0.1:8007", '
            "where [admin] listens already",
            id="a service where probes are answered",
        ),
    ],
)
@pytest.mark.usefixtures("gopher")
def test_a_mistake_is_named_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    assert message in problem(tmp_path, text)


def test_several_mistakes_are_told_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = ECHO + 'idel = 1\nlisten = ["x"]\n[service.d]\ntype = "gopher"\n[tsl.main]\n'

    with pytest.raises(SeveralConfigError) as caught:
        load(write(tmp_path, text))

    assert [each.line for each in caught.value.errors] == [3, 4, 6, 7]
    assert str(caught.value).startswith("4 problems\n  ")


def test_a_message_names_the_first_mistakes_and_counts_the_rest(tmp_path: Path) -> None:
    text = ECHO + "".join(f"bad{number} = 1\n" for number in range(20))

    message = problem(tmp_path, text)

    assert message.count("\n") == 9
    assert message.endswith("… and 12 more")


def test_a_missing_file_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file; `sennit new` writes one"):
        load(tmp_path / "sennit.toml")
    with pytest.raises(ConfigError, match="found a folder"):
        load(tmp_path)


def test_a_file_that_is_not_utf_8_is_refused_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "sennit.toml"
    file.write_bytes(b"# ok\n# caf\xe9\n")

    with pytest.raises(ConfigError, match=r"sennit\.toml:2: found octets that are not UTF-8"):
        load(file)


def test_line_ends_and_a_mark_of_windows_are_fine(tmp_path: Path) -> None:
    file = tmp_path / "sennit.toml"
    file.write_bytes(b"\xef\xbb\xbf" + ECHO.replace("\n", "\r\n").encode() + b"bad = 1\r\n")

    with pytest.raises(ConfigError, match=r"sennit\.toml:3: \[service\.echo\] bad"):
        load(file)


def test_where_a_service_was_refused_is_found_again(tmp_path: Path) -> None:
    config = load(write(tmp_path, ECHO + 'listen = [\n "tcp://127.0.0.1:1",\n "tcp://[::1]:1"]\n'))

    error = config.located(StartError("echo", "found a port in use", key="listen", index=1))

    assert (error.line, error.table, error.key) == (5, "service.echo", "listen[1]")


def test_a_key_of_a_table_within_is_found_too_and_names_may_have_dots(tmp_path: Path) -> None:
    config = load(write(tmp_path, ECHO))
    more = (
        '[service.zones.zone."example.org"]\ntransfer = ["any"]\n'
        '[service.zones.zone."www.example.org"]\nupdate = []\n'
    )
    text = ECHO + more
    config.origin = Origin("sennit.toml", locate(text))

    def line(key: str, index: int | None = None) -> tuple[int | None, str | None]:
        error = config.located(StartError("zones", "found odd", key=key, index=index))
        return error.line, error.key

    assert line("zone.example.org.transfer", 0) == (4, "zone.example.org.transfer[0]")
    assert line("zone.www.example.org.update") == (6, "zone.www.example.org.update")
    assert line("zone.example.org.notify") == (3, "zone.example.org.notify")
    assert line("zone.example") == (3, "zone.example")


# ── certificates ──────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def pems(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pems")
    for name in ("one", "two"):
        issued = trustme.CA().issue_cert("localhost")
        issued.cert_chain_pems[0].write_to_path(folder / f"{name}.pem")
        issued.private_key_pem.write_to_path(folder / f"{name}.key")
    return folder


def tls_text(pems: Path, certificate: str, key: str) -> str:
    return (
        ECHO
        + 'listen = [{url = "tls://127.0.0.1:0", tls = "main"}]\n'
        + f'[tls.main]\ncertificate = "{pems}/{certificate}"\nkey = "{pems}/{key}"\n'
    )


def test_a_certificate_is_loaded_once_for_all_that_refer_to_it(tmp_path: Path, pems: Path) -> None:
    config = load(write(tmp_path, tls_text(pems, "one.pem", "one.key")))

    config.build()

    context = ServiceContext("x", tmp_path, config.server_tls)
    (endpoint,) = context.endpoints(config.services[0].config)
    assert endpoint.tls is config.server_tls("main")


def test_a_service_agrees_on_its_own_protocols_with_a_certificate_that_others_use_too(
    tmp_path: Path, pems: Path
) -> None:
    config = load(write(tmp_path, tls_text(pems, "one.pem", "one.key")))
    context = ServiceContext("x", tmp_path, config.server_tls)

    (plain,) = context.endpoints(config.services[0].config)
    (web,) = context.endpoints(config.services[0].config, alpn=["h2", "http/1.1"])

    assert plain.tls is config.server_tls("main")
    assert web.tls is not None
    assert plain.tls is not None
    assert web.tls is not plain.tls
    assert web.tls.context is plain.tls.context
    assert web.tls.files == plain.tls.files


def test_a_key_of_another_certificate_is_refused_before_anything_starts(
    tmp_path: Path, pems: Path
) -> None:
    """HARDENING fault-18: a broken certificate is an error, never a half-started node."""
    config = load(write(tmp_path, tls_text(pems, "one.pem", "two.key")))

    with pytest.raises(ConfigError, match=r"sennit\.toml:4: \[tls\.main\] ") as caught:
        config.build()

    assert "two.key" in str(caught.value)


def test_a_file_that_is_no_certificate_is_refused(tmp_path: Path, pems: Path) -> None:
    config = load(write(tmp_path, tls_text(pems, "one.key", "one.key")))

    with pytest.raises(ConfigError, match=r"\[tls\.main\]"):
        config.build()


def test_client_certificates_need_an_authority(tmp_path: Path, pems: Path) -> None:
    text = tls_text(pems, "one.pem", "one.key") + "require_client_certificate = true\n"

    assert "[tls.main] require_client_certificate needs client_ca" in problem(tmp_path, text)


# ── types of a strand's own ───────────────────────────────────────────────────


class Limits(Table, frozen=True, kw_only=True):
    """Limits.

    Attributes:
        lines: How many.
    """

    lines: Annotated[int, Meta(ge=1)] = 10


class Sample(ServiceConfig, frozen=True, kw_only=True):
    """One of everything."""

    listen: list[Listen] = listen_on("tcp://127.0.0.1:0")
    root: Directory | None = None
    script: File | None = None
    spool: Path = Path("spool")
    password: Secret | None = None
    mode: Literal["fast", "safe"] = "safe"
    limits: Limits = Limits()
    zones: dict[str, Limits] = {}
    certificate: Annotated[str, refers("tls")] | None = None
    words: list[str] = []
    log: Path | Literal["-"] | None = None

    def __post_init__(self) -> None:
        if self.mode == "fast" and self.limits.lines > 5:
            raise ValueError("mode = 'fast' needs limits.lines of at most 5")


def filled(
    raw: Mapping[str, object], folder: Path, environ: Mapping[str, str] | None = None
) -> tuple[Sample | None, list[str]]:
    world = World(folder, {"tls": ["main"]}, environ or {})
    found = fill(Sample, raw, ("service", "s"), world)
    return found, [f"{each.path[2:]} {each.text}" for each in world.problems]


def good(
    raw: Mapping[str, object], folder: Path, environ: Mapping[str, str] | None = None
) -> Sample:
    found, problems = filled(raw, folder, environ)
    assert problems == []
    assert found is not None
    return found


def test_paths_begin_at_the_files_folder(tmp_path: Path) -> None:
    (tmp_path / "public").mkdir()

    config = good({"root": "public", "spool": "var/spool"}, tmp_path)

    assert config.root == tmp_path / "public"
    assert config.spool == tmp_path / "var/spool"


def test_a_path_may_have_a_word_beside_it(tmp_path: Path) -> None:
    assert good({"log": "-"}, tmp_path).log == "-"
    assert good({"log": "x.log"}, tmp_path).log == tmp_path / "x.log"
    assert filled({"log": 5}, tmp_path)[1] == ["('log',) expected a path, found 5, an integer"]


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ({"root": "nowhere"}, 'expected a directory that is there, found "nowhere" ('),
        ({"root": "file.txt"}, "which is no directory"),
        ({"script": "."}, "which is a directory"),
        ({"spool": 5}, "expected a path, found 5, an integer"),
        ({"spool": ""}, "expected a path"),
        ({"mode": "slow"}, 'expected one of "fast", "safe", found "slow"'),
        ({"limits": {"lines": 0}}, "('limits', 'lines') expected an integer at least 1, found 0"),
        ({"limits": {"lins": 1}}, "('limits', 'lins') found an unknown key; did you mean 'lines'?"),
        ({"limits": 5}, "('limits',) expected a table, found 5"),
        ({"zones": {"a": {"lines": "x"}}}, "('zones', 'a', 'lines') expected an integer"),
        ({"certificate": "mani"}, "but there is no [tls.mani]; did you mean 'main'?"),
        ({"words": ["a", 2]}, "('words', 1) expected string, found 2"),
        ({"words": "a"}, 'expected a list, each a string, found "a"'),
        ({"mode": "fast"}, "() mode = 'fast' needs limits.lines of at most 5"),
    ],
)
def test_a_wrong_value_says_what_was_found_and_what_is_allowed(
    tmp_path: Path, raw: dict[str, object], words: str
) -> None:
    (tmp_path / "file.txt").write_text("x")

    found, problems = filled(raw, tmp_path)

    assert found is None
    assert len(problems) == 1
    assert words in problems[0]


def test_a_long_value_is_cut_in_the_message(tmp_path: Path) -> None:
    _, problems = filled({"mode": "x" * 5000}, tmp_path)

    assert len(problems[0]) < 200


# ── secrets ───────────────────────────────────────────────────────────────────

HUSH = "correct horse battery staple"


def test_a_secret_comes_from_the_environment_a_file_or_systemd(tmp_path: Path) -> None:
    (tmp_path / "pw").write_text(f"{HUSH}\n")

    for raw, environ in [
        ({"env": "PW"}, {"PW": HUSH}),
        ({"file": "pw"}, {}),
        ({"credential": "pw"}, {"CREDENTIALS_DIRECTORY": str(tmp_path)}),
    ]:
        config = good({"password": raw}, tmp_path, environ)
        assert config.password is not None
        assert config.password.reveal() == HUSH


def test_a_secret_is_never_shown(tmp_path: Path) -> None:
    config = good({"password": {"env": "PW"}}, tmp_path, {"PW": HUSH})
    secret = config.password
    assert secret is not None

    for shown in (repr(secret), str(secret), f"{secret}", f"{secret!r:>40}", repr(config)):
        assert HUSH not in shown
        assert "env:PW" in shown
    with pytest.raises(TypeError):
        pickle.dumps(secret)
    with pytest.raises(TypeError):
        hash(secret)
    assert secret == Secret(HUSH, "elsewhere")
    assert secret != Secret("other", "env:PW")


@pytest.mark.parametrize(
    ("raw", "environ", "words"),
    [
        ({"env": "PW"}, {}, 'environment variable "PW" is not set'),
        ({"env": "PW"}, {"PW": ""}, 'environment variable "PW" is empty'),
        ({"file": "nowhere"}, {}, "cannot be read: No such file or directory"),
        ({"file": "empty"}, {}, "is empty"),
        ({"credential": "pw"}, {}, "systemd gave none"),
        ({"credential": "../pw"}, {"CREDENTIALS_DIRECTORY": "/run"}, "is no credential's name"),
        ({"evn": "PW"}, {}, "did you mean 'env'?"),
    ],
)
def test_a_missing_secret_is_an_error(
    tmp_path: Path, raw: dict[str, str], environ: dict[str, str], words: str
) -> None:
    (tmp_path / "empty").write_text("\n")

    found, problems = filled({"password": raw}, tmp_path, environ)

    assert found is None
    assert words in problems[0]


@pytest.mark.parametrize("raw", [HUSH, {"value": HUSH, "x": HUSH}, [HUSH], 5])
def test_a_secret_in_clear_is_refused_without_showing_it(tmp_path: Path, raw: object) -> None:
    found, problems = filled({"password": raw}, tmp_path)

    assert found is None
    assert '{env = "NAME"}' in problems[0]
    assert HUSH not in problems[0]


# ── options instead of a file ─────────────────────────────────────────────────


def sample_plugin() -> ServicePlugin:
    def build(config: Sample, context: ServiceContext) -> Service:
        if config.words == ["bad"]:
            raise ConfigError("found 'bad'", key="words")
        if config.words == ["worse"]:
            raise ValueError("no such word")
        return Service(context.name)

    return ServicePlugin("sample", "Sample", config=Sample, build=build, positional=("root",))


def test_options_are_checked_like_a_file_and_named_as_options(tmp_path: Path) -> None:
    with pytest.raises(SeveralConfigError) as caught:
        from_options(
            sample_plugin(),
            {"root": "no", "listen": ["x"], "limits": {"lines": 0}},
            folder=tmp_path,
        )

    shown = [str(each).partition(":")[0] for each in caught.value.errors]
    assert shown == ["ROOT", "--listen", "--limits-lines"]


def test_what_a_plugins_build_refuses_has_its_place() -> None:
    for words, message in [
        ("bad", "--words: found 'bad'"),
        ("worse", "cannot be set up: no such word"),
    ]:
        config = from_options(sample_plugin(), {"words": [words]})
        with pytest.raises(ConfigError) as caught:
            config.build()
        assert str(caught.value) == message


def test_a_strands_type_that_cannot_be_is_its_own_fault() -> None:
    class Odd(ServiceConfig, frozen=True, kw_only=True):
        listen: list[Listen] = listen_on("tcp://127.0.0.1:0")
        clash: Path | int = 5

    plugin = ServicePlugin("odd", "Odd", config=Odd, build=lambda config, context: Service("x"))

    with pytest.raises(ConfigError, match="the configuration of plugin 'odd' is broken"):
        from_options(plugin, {"clash": "x"})


def test_a_configuration_that_is_good_builds() -> None:
    config = from_options(sample_plugin(), {"words": ["fine"]})

    assert isinstance(config, NodeConfig)
    tree, built = config.build()
    assert list(built) == ["sample"]
    assert tree.children == tuple(built.values())
