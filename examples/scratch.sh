# Sourced by the examples of single stores, after install.sh: a scratch folder, a mount point, servers, and their end.

work=$(mktemp -d)
mnt="$work/mnt"
mkdir "$mnt"
servers=()

clean_up() {
  cd /
  mountpoint -q "$mnt" && { rangefs umount "$mnt" || rangefs umount --lazy "$mnt" || true; }
  local pid
  for pid in "${servers[@]}"; do kill "$pid" 2>/dev/null || true; wait "$pid" 2>/dev/null || true; done
  rmdir "$mnt" && rm -rf "$work"
}
trap clean_up EXIT

# free_port : a port of loopback that nobody listens on now.
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# serve PORT COMMAND... : runs it in the background and waits until something answers on PORT.
serve() {
  local port=$1 pid; shift
  "$@" >"$work/server-$port.log" 2>&1 &
  pid=$!
  servers+=("$pid")
  for _ in $(seq 200); do
    (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && return
    kill -0 "$pid" 2>/dev/null || die "$1 ended: $(tail -n 1 "$work/server-$port.log")"
    sleep 0.1
  done
  die "$1 does not answer on port $port"
}

# show COMMAND : prints it, then runs it.
show() { printf '\n$ %s\n' "$*"; eval "$*"; }

# figures : what was read so far, and what was fetched for it.
figures() {
  rangefs status "$mnt" --json | python3 -c '
import json, sys
status = json.load(sys.stdin)
reads, upstream = status["reads"], status["upstream"]
hit, requests = reads["hit_bytes"], upstream["requests"]
print("   read {:,} bytes, {:,} of them from the cache".format(reads["bytes"], hit))
print("   fetched {:,} bytes, in {} requests".format(upstream["bytes"], requests))'
}
