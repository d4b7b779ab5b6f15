#!/usr/bin/env bash
# az:// from Azurite, Microsoft's own emulator (from npm): blobs put by REST, read as files, the key in the environment.
set -euo pipefail
cd "$(dirname "$0")/.."
. examples/install.sh

prerequisites
virtual_environment .venv '.[azure]'
PATH="$PWD/.venv/bin:$PATH"
azurite .venv
. examples/scratch.sh

say "A container with a few blobs. The account and its key are those that Azurite gives to everyone"
port=$(free_port)
export AZURE_STORAGE_ACCOUNT=devstoreaccount1
export AZURE_STORAGE_KEY='Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=='
serve "$port" azurite-blob --location "$work/azurite" --blobHost 127.0.0.1 --blobPort "$port" \
  --silent --disableTelemetry --skipApiVersionCheck
python - "http://127.0.0.1:$port" <<'PYTHON'
"""Puts the samples by REST, signed with the account's key ("Authorize with Shared Key")."""
import base64, hashlib, hmac, os, sys, urllib.request
from email.utils import formatdate

account, key = os.environ["AZURE_STORAGE_ACCOUNT"], base64.b64decode(os.environ["AZURE_STORAGE_KEY"])

def put(target, body=b"", **more):
    fields = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2021-12-02", **more}
    path, _, query = target.partition("?")
    kind = "application/octet-stream"
    lines = ["PUT", "", "", str(len(body)) if body else "", "", kind, *[""] * 6]
    lines += [f"{name}:{fields[name]}" for name in sorted(fields)]
    lines += [f"/{account}{path}", *(pair.replace("=", ":") for pair in sorted(query.split("&")) if pair)]
    signature = base64.b64encode(hmac.digest(key, "\n".join(lines).encode(), hashlib.sha256)).decode()
    fields |= {"Authorization": f"SharedKey {account}:{signature}", "Content-Type": kind}
    urllib.request.urlopen(urllib.request.Request(sys.argv[1] + target, body, fields, method="PUT")).close()

put(f"/{account}/sample?restype=container")
for name, body in (
    ("notes%2Ftwo%20words.txt", b"hello from a container\n"),
    ("notes%2F100%25%20%2B%20%23%3F.txt", b"100% of it\n"),
    ("a%2F..%2Fx", b"reachable all the same\n"),
    ("data%2Fblob.bin", os.urandom(8_000_000)),
):
    put(f"/{account}/sample/{name}", body, **{"x-ms-blob-type": "BlockBlob"})
PYTHON

say "Mounted. (A real account needs no --endpoint-url, and no key after: az login)"
show "rangefs mount az://devstoreaccount1/sample $mnt --endpoint-url http://127.0.0.1:$port --cache-dir $work/cache"
show "find $mnt | sed s:$mnt/::"
show "tail -n +1 $mnt/notes/*"
show "cat $mnt/a/%%%2E%2E/x"

say "A read in the middle of a large blob fetches a part of it"
show "dd if=$mnt/data/blob.bin bs=4K skip=1000 count=1 status=none | wc -c"
figures

say "What is not there is told in Azure's own words"
show "rangefs mount az://devstoreaccount1/nowhere $work --endpoint-url http://127.0.0.1:$port" || true
say "Done"
