"""Static files over connections that are kept: one of 1 KiB, and one of 1 MiB by sendfile.

nginx stands here twice: as it is by default, and with ``tcp_nopush``, as distributions
like to set it, which costs it more on the loopback.
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from http_servers import run_aiohttp, run_sennit, run_twisted

from tools import loads
from tools.benchmark import Benchmark, Ready, main

small = Benchmark(
    "file-1k", load=loads.requests(connections=64, seconds=3, path="/f"), references=["nginx"]
)
large = Benchmark(
    "file-1m", load=loads.requests(connections=8, seconds=3, path="/f"), references=["nginx"]
)
SIZES = {"file-1k": 1024, "file-1m": 1024 * 1024}


def _fill(folder: Path, benchmark: Benchmark) -> None:
    (folder / "f").write_bytes(b"x" * SIZES[benchmark.name])


def _declare(benchmark: Benchmark) -> None:
    @benchmark.server("sennit")
    def sennit(ready: Ready) -> None:
        from sennit.web import Site, StaticFiles

        with TemporaryDirectory() as folder:
            _fill(Path(folder), benchmark)
            run_sennit(ready, Site(StaticFiles(folder)))

    @benchmark.server("aiohttp", requires=["aiohttp"])
    def aiohttp_server(ready: Ready) -> None:
        from aiohttp import web

        with TemporaryDirectory() as folder:
            _fill(Path(folder), benchmark)
            run_aiohttp(ready, web.static("/", folder))

    @benchmark.server("twisted.web", requires=["twisted"])
    def twisted_web(ready: Ready) -> None:
        from twisted.web import static

        with TemporaryDirectory() as folder:
            _fill(Path(folder), benchmark)
            run_twisted(ready, static.File(folder))

    @benchmark.program("nginx", program="nginx")
    def nginx(port: int, folder: Path) -> list[str]:
        return _nginx(benchmark, port, folder, "off")

    @benchmark.program("nginx-nopush", program="nginx")
    def nginx_nopush(port: int, folder: Path) -> list[str]:
        return _nginx(benchmark, port, folder, "on")


def _nginx(benchmark: Benchmark, port: int, folder: Path, nopush: str) -> list[str]:
    """Nginx as it is by default, or with ``tcp_nopush``, which holds the head back for the file."""
    root = folder / "root"
    root.mkdir()
    _fill(root, benchmark)
    # Its worker may be another user than the owner of the folder.
    for each in (folder, root):
        each.chmod(0o755)
    config = folder / "nginx.conf"
    config.write_text(
        f"daemon off; master_process off; worker_processes 1; pid {folder}/pid;"
        f"error_log {folder}/error.log crit; events {{ worker_connections 1024; }}"
        "http { access_log off; keepalive_requests 100000000; "
        f"sendfile on; tcp_nopush {nopush};"
        f"client_body_temp_path {folder}/a; proxy_temp_path {folder}/b;"
        f"fastcgi_temp_path {folder}/c; uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e;"
        f"server {{ listen 127.0.0.1:{port}; root {root}; }} }}"
    )
    return ["nginx", "-p", str(folder), "-c", str(config)]


_declare(small)
_declare(large)
large.at_most("sennit", 1.3, of="nginx")

if __name__ == "__main__":
    main(small, large)
