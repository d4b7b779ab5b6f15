#!/usr/bin/env bash
# catalog+…: a list of files on two web servers, mounted as one tree, each held to what the list says of it.
set -euo pipefail
cd "$(dirname "$0")/.."
. examples/install.sh

prerequisites
virtual_environment .venv .
PATH="$PWD/.venv/bin:$PATH"
. examples/scratch.sh

say "Two web servers, and a list of files on them"
mkdir "$work/one" "$work/two"
echo "from the first server" >"$work/one/a.txt"
seq 500000 >"$work/two/numbers"
one=$(free_port); serve "$one" python3 -m http.server --bind 127.0.0.1 --directory "$work/one" "$one"
two=$(free_port); serve "$two" python3 -m http.server --bind 127.0.0.1 --directory "$work/two" "$two"
sum=$(sha256sum "$work/two/numbers" | cut -d' ' -f1)
cat >"$work/files.jsonl" <<LIST
{"path": "texts/a.txt", "url": "http://127.0.0.1:$one/a.txt"}
{"path": "data/numbers", "url": ["http://127.0.0.1:$one/missing", "http://127.0.0.1:$two/numbers"], "sha256": "$sum"}
{"path": "data/another", "url": "http://127.0.0.1:$two/numbers", "sha256": "$(printf '0%.0s' $(seq 64))"}
LIST
show "cat $work/files.jsonl"

say "Mounted"
show "rangefs mount catalog+file://$work/files.jsonl $mnt --cache-dir $work/cache"
show "find $mnt -type f | sed s:$mnt/::"
show "cat $mnt/texts/a.txt"

say "The first mirror is gone, the second one has it, and the hash is right"
show "sha256sum <$mnt/data/numbers"

say "A file that is not what the list says is not served"
show "cat $mnt/data/another" || true
say "Done"
