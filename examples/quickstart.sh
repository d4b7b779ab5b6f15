#!/usr/bin/env bash
# From a fresh clone on a fresh Debian 12 (as root or with sudo) to a mounted web server, and what was fetched of it.
set -euo pipefail
cd "$(dirname "$0")/.."
. examples/install.sh

prerequisites
virtual_environment .venv .
PATH="$PWD/.venv/bin:$PATH"

work=$(mktemp -d)
mnt="$work/mnt"
mkdir "$mnt"
demo=
clean_up() {
  cd /
  mountpoint -q "$mnt" && { rangefs umount "$mnt" || rangefs umount --lazy "$mnt" || true; }
  [ -z "$demo" ] || { kill "$demo" 2>/dev/null || true; wait "$demo" 2>/dev/null || true; }
  rmdir "$mnt" && rm -rf "$work"
}
trap clean_up EXIT

show() { printf '\n$ %s\n' "$*"; eval "$*"; }
figures() {
  rangefs status "$mnt" --json | python3 -c '
import json, sys
status = json.load(sys.stdin)
read, hit = status["reads"]["bytes"], status["reads"]["hit_bytes"]
fetched, requests = status["upstream"]["bytes"], status["upstream"]["requests"]
print(f"   read so far {read:>12,} bytes, {hit:,} of them from the cache")
print(f"   fetched     {fetched:>12,} bytes, in {requests} requests")'
}

say "A range server over a sample folder, mounted on $mnt"
rangefs demo "$mnt" >"$work/demo.log" 2>&1 &
demo=$!
for _ in $(seq 300); do
  mountpoint -q "$mnt" && rangefs status "$mnt" --json >/dev/null 2>&1 && break
  kill -0 "$demo" 2>/dev/null || die "the demo ended: $(tail -n 1 "$work/demo.log")"
  sleep 0.1
done
mountpoint -q "$mnt" || die "the demo did not mount within 30 s: $(tail -n 1 "$work/demo.log")"
cd "$mnt"

say "Ordinary tools"
show "ls -l . names"
show "cat README.txt"
show "grep -c 'chunk flight' logs/app.log"

say "A seek into a 24 MiB file fetches what is read, not the file"
figures
show "dd if=large.bin bs=64K skip=300 count=1 status=none | sha256sum"
figures

say "The whole of it, and the same again, past the kernel's own cache (iflag=direct): nothing is fetched twice"
show "dd if=large.bin bs=1M iflag=direct status=none | sha256sum"
figures
show "dd if=large.bin bs=1M iflag=direct status=none | sha256sum"
figures
show "grep large.bin SHA256SUMS"

cd /
say "Done. To mount your own: .venv/bin/rangefs mount https://host/path/ MOUNTPOINT"
