"""Programs that people read and post with: slrn, tin, suck, rpost, leafnode, nntplib.

Each reads the same articles of our server; what it says of them is compared with the store.
"""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import sys
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from time import monotonic, time
from typing import TYPE_CHECKING

import pytest
import trustme
from news_articles import HOST, composed

from sennit.core.address import InternetAddress
from sennit.core.auth.checkers import MemoryUsers
from sennit.core.auth.portal import Portal, Realm
from sennit.core.endpoint.listen import serve
from sennit.core.reactor.base import current_reactor
from sennit.core.transport.tls import ServerTLS
from sennit.news.access import Access
from sennit.news.article import format_date, parse
from sennit.news.intake import Intake
from sennit.news.server import NNTPServerFactory
from sennit.news.store.memory import MemoryStore
from tools.peers import unpacked

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

pytestmark = pytest.mark.interop

GROUP = "local.test"
BODY = b".dot\r\n..\r\n" + b"x" * 900 + b"\r\n\xc3\xa9\r\n\r\n.\r\nend\r\n"
COUNT = 5


def program(name: str) -> str:
    """Where a program is; the test is skipped where it is not."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


class Ours:
    """Our server.

    Attributes:
        store: Its articles.
        port: Where it listens, on 127.0.0.1.
    """

    def __init__(self, store: MemoryStore, port: int) -> None:
        self.store = store
        self.port = port

    async def posted(self) -> bytes:
        """The body of the one article that was posted."""
        article = await self.store.article_at(GROUP, COUNT + 1)
        assert article is not None
        assert b"!.POSTED!" in (parse(article.octets).content(b"path") or b"")
        return article.body


@asynccontextmanager
async def ours(
    *, tls: ServerTLS | None = None, portal: Portal | None = None
) -> AsyncGenerator[Ours]:
    store = MemoryStore(host=HOST)
    await store.create_group(GROUP, description="Tests")
    await store.create_group("local.other", description="Others")
    intake = Intake(store, path_host=HOST)
    for number in range(1, COUNT + 1):
        fields: dict[str, str | None] = {
            "Message-ID": f"<{number}@example.net>",
            "Newsgroups": GROUP,
            "Date": format_date(time() - 60).decode(),
            "Subject": f"Article {number}",
        }
        await intake.take(composed(fields, body=BODY), "peer")
    access = Access(None) if portal else Access("*", "*")
    factory = NNTPServerFactory(store, intake, access=access, tls=tls, portal=portal)
    async with serve("tcp://127.0.0.1:0", factory) as running:
        address = running.addresses[0]
        assert isinstance(address, InternetAddress)
        yield Ours(store, address.port)


async def run(*words: str | Path, folder: Path, wrong: bool = False, **more: str) -> str:
    """Run a program to its end, while the server serves, and give what it printed."""

    def in_thread() -> str:
        done = subprocess.run(
            [str(word) for word in words],
            cwd=folder,
            env=environment(folder, more),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=15,
            check=False,
        )
        output = done.stdout.decode(errors="replace")
        assert wrong or done.returncode == 0, output
        return output

    return await current_reactor().defer_to_thread(in_thread)


def environment(folder: Path, more: Mapping[str, str]) -> dict[str, str]:
    return {
        "PATH": os.environ.get("PATH", "/usr/bin"),
        "HOME": str(folder),
        "TERM": "vt100",
        "NNTPSERVER": "127.0.0.1",
        "LC_ALL": "C.UTF-8",
        **more,
    }


async def test_suck_pulls_a_group(tmp_path: Path) -> None:
    suck = program("suck")
    for name in ("data", "temporary", "messages"):
        (tmp_path / name).mkdir()
    (tmp_path / "data/sucknewsrc").write_text(f"{GROUP} 1\n")
    async with ours() as server:
        await run(
            suck, "127.0.0.1", "-N", str(server.port), "-m", "-H",
            "-dd", "data", "-dt", "temporary", "-dm", "messages", folder=tmp_path,
        )  # fmt: skip
        fetched = sorted((tmp_path / "messages").iterdir())
        # It takes the number in its file for one that it has.
        assert len(fetched) == COUNT - 1
        for number, path in enumerate(fetched, start=2):
            article = await server.store.article_at(GROUP, number)
            assert article is not None
            assert path.read_bytes().replace(b"\n", b"\r\n") == article.octets


async def test_rpost_posts(tmp_path: Path) -> None:
    rpost = program("rpost")
    article = composed({"Newsgroups": GROUP}, body=BODY, proto=True)
    (tmp_path / "article").write_bytes(article.replace(b"\r\n", b"\n"))
    (tmp_path / "batch").write_text("article\n")
    async with ours() as server:
        await run(
            rpost, "127.0.0.1", "-N", str(server.port), "-b", "batch", "-p", tmp_path,
            folder=tmp_path,
        )  # fmt: skip
        assert await server.posted() == BODY


async def test_tin_reads_new_news(tmp_path: Path) -> None:
    tin = program("tin")
    (tmp_path / ".newsrc").write_text(f"{GROUP}:\n")
    async with ours() as server:
        words = ("-r", "-4", "-g", "127.0.0.1", "-p", str(server.port), "-f", tmp_path / ".newsrc")
        output = await run(tin, *words, "-Z", "-v", folder=tmp_path, wrong=True)
        assert f"{COUNT} unread" in output
        output = await run(tin, *words, "-S", "-c", "-v", "-s", tmp_path / "News", folder=tmp_path)
        assert f"Saved {COUNT} articles" in output
        for number in range(1, COUNT + 1):
            article = await server.store.article_at(GROUP, number)
            assert article is not None
            saved = (tmp_path / "News/local/test" / str(number)).read_bytes()
            assert saved.replace(b"\n", b"\r\n") == article.octets


SLRN = """
define tell (fp)
{
  () = fprintf (fp, "%s|%s\\n", extract_article_header ("Subject"),
                extract_article_header ("Message-ID"));
}
define group_mode_startup_hook ()
{
  variable fp = fopen ("told", "w");
  () = fprintf (fp, "%s %d\\n", current_newsgroup (), group_unread ());
  () = select_group ();
  do { tell (fp); call ("article_pagedn"); } while (header_down (1));
  () = fprintf (fp, "%s", article_as_string ());
  () = fclose (fp);
  quit (0);
}
"""


async def test_slrn_reads_a_group(tmp_path: Path) -> None:
    """In a terminal of its own, driven by a macro."""
    slrn = program("slrn")
    (tmp_path / "macro.sl").write_text(SLRN)
    (tmp_path / "slrnrc").write_text(
        'set username "ann"\nset hostname "example.net"\ninterpret "macro.sl"\n'
    )
    (tmp_path / "newsrc").write_text(f"{GROUP}:\n")
    async with ours() as server:
        words = ["--nntp", "-h", "127.0.0.1", "-p", str(server.port), "-n", "-f", "newsrc"]
        screen = await current_reactor().defer_to_thread(
            in_terminal, [slrn, *words, "-i", "slrnrc"], tmp_path
        )
    assert "XOVER support disabled" not in screen
    told = (tmp_path / "told").read_text().splitlines()
    assert told[0] == f"{GROUP} {COUNT}"
    assert told[1 : COUNT + 1] == [
        f"Article {number}|<{number}@example.net>" for number in range(1, COUNT + 1)
    ]
    assert told[told.index("") + 1 :] == BODY.decode().split("\r\n")[:-1]


def in_terminal(words: list[str], folder: Path) -> str:
    """Run a program in a terminal to its end, and give what it wrote on the screen."""
    master, terminal = pty.openpty()
    process = subprocess.Popen(
        words,
        cwd=folder,
        env=environment(folder, {}),
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
    )
    os.close(terminal)
    output = b""
    deadline = monotonic() + 10
    try:
        while (left := deadline - monotonic()) > 0:
            if select.select([master], [], [], left)[0]:
                try:
                    output += os.read(master, 4096)
                except OSError:  # it has closed the terminal
                    break
    finally:
        os.close(master)
        process.kill()
        process.wait(10)
    return output.decode(errors="replace")


async def test_leafnode_fetches_and_posts(tmp_path: Path) -> None:
    """fetchnews has its folders compiled in: it runs where others are mounted in their places."""
    fetchnews = unpacked("leafnode", "usr/sbin/fetchnews")
    if fetchnews is None:
        pytest.skip("leafnode is not unpacked")
    unshare = program("unshare")
    settings, spool = tmp_path / "settings", tmp_path / "spool"
    (settings / "leafnode").mkdir(parents=True)
    for name in ("failed.postings", "interesting.groups", "leaf.node", "out.going", "temp.files"):
        (spool / name).mkdir(parents=True)
    for number in range(1000):
        (spool / "message.id" / f"{number:03}").mkdir(parents=True)
    (spool / "interesting.groups" / GROUP).touch()
    body = BODY.replace(b"x" * 900, b"x" * 70)
    fields: dict[str, str | None] = {"Newsgroups": GROUP, "Message-ID": "<leaf@example.net>"}
    fields |= {"Path": None, "Date": format_date(time()).decode()}
    (spool / "out.going/1").write_bytes(composed(fields, body=body).replace(b"\r\n", b"\n"))
    if os.getuid() == 0:
        # It becomes the user `news`, to whom pytest's folder is closed.
        for path in (tmp_path, *tmp_path.rglob("*")):
            shutil.chown(path, "news", "news")
    async with ours() as server:
        (settings / "leafnode/config").write_text(
            f"server = 127.0.0.1\nport = {server.port}\nexpire = 20\n"
            "hostname = leaf.sennit.net\ninitialfetch = 100\n"
        )
        mounts = f"mount --bind {settings} /etc/news && mount --bind {spool} /var/spool/news"
        await run(
            unshare, "-m", "sh", "-c", f"{mounts} && exec {fetchnews} -vv -w", folder=tmp_path
        )
        assert await server.posted() == body
        for path in (spool / "local/test").iterdir():
            if path.name.isdigit():
                octets = path.read_bytes().replace(b"\n", b"\r\n")
                if b"<leaf@" not in octets:
                    assert octets.endswith(b"\r\n\r\n" + BODY)
        assert (
            len([path for path in (spool / "local/test").iterdir() if path.name.isdigit()]) > COUNT
        )


NNTPLIB = """
import ssl, sys, warnings
# It says that it is going; it is here to be talked with as long as it is there.
warnings.simplefilter("ignore", DeprecationWarning)
import nntplib
port, authority = int(sys.argv[1]), sys.argv[2]
news = nntplib.NNTP("127.0.0.1", port, readermode=True)
context = ssl.create_default_context(cafile=authority)
context.check_hostname = False
assert "STARTTLS" in news.getcapabilities()
news.starttls(context)
news.login("ann", "secret", usenetrc=False)
answer, count, first, last, name = news.group("local.test")
print(count, first, last, name)
answer, overviews = news.over((first, last))
for number, fields in overviews:
    print(number, fields["subject"], fields["message-id"], fields[":bytes"], fields[":lines"])
print(news.xhdr("subject", "2-3")[1])
print([each.group for each in news.list("local.*")[1]], news.description("local.test"))
body = news.body("<3@example.net>")[1].lines
sys.stdout.flush()
sys.stdout.buffer.write(b"\\r\\n".join(body) + b"\\r\\n")
sys.stdout.flush()
print(news.post(sys.argv[3].encode().decode("unicode_escape").encode("latin-1"))[:3])
news.quit()
"""


async def test_nntplib_reads_and_posts_over_tls(tmp_path: Path) -> None:
    python = sys.executable if find_spec("nntplib") else shutil.which("python3.11")
    if python is None:
        pytest.skip("no Python that has nntplib")
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    certificate.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "server.pem"))
    realm = Realm()

    @realm.provides(Access)
    def open_access(name: str) -> Access:
        return Access("*", "*", name=name)

    portal = Portal(realm, [MemoryUsers({"ann": "secret"})])
    (tmp_path / "client.py").write_text(NNTPLIB)
    article = composed({"Newsgroups": GROUP}, body=BODY, proto=True)
    async with ours(tls=ServerTLS(tmp_path / "server.pem"), portal=portal) as server:
        escaped = article.decode("latin-1").encode("unicode_escape").decode()
        output = await run(
            python, "client.py", str(server.port), "ca.pem", escaped, folder=tmp_path
        )
        assert await server.posted() == BODY
        article_at = await server.store.article_at(GROUP, 1)
        assert article_at is not None
    size = len(article_at.octets)
    assert output.splitlines()[:7] == [
        f"{COUNT} 1 {COUNT} {GROUP}",
        *(f"{n} Article {n} <{n}@example.net> {size} 7" for n in range(1, COUNT + 1)),
        "[('2', 'Article 2'), ('3', 'Article 3')]",
    ]
    assert "['local.other', 'local.test'] Tests" in output
    assert f"\n{BODY.decode()}" in output.replace("\r\r\n", "\r\n")
    assert output.endswith("240\n")
