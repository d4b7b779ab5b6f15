# shellcheck shell=bash
# Sourced by examples/quickstart.sh and tests/run.sh: install what is missing, once, and say in one line what can't be.
# Works on Debian and Ubuntu by itself; elsewhere it names what to install.

say() { printf '%s\n' "== $*"; }
die() { printf '%s\n' "$0: $*" >&2; exit 1; }

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

# packages NAME... : Debian packages, whichever are missing. No service of theirs is started.
packages() {
  local name missing=()
  for name in "$@"; do
    dpkg-query -W -f='${Status}' "$name" 2>/dev/null | grep -q 'ok installed' || missing+=("$name")
  done
  [ ${#missing[@]} = 0 ] && return
  [ "$(id -u)" = 0 ] || have sudo || die "installing ${missing[*]} needs root: run this as root, or have sudo"
  say "Installing ${missing[*]}"
  local log; log=$(mktemp)
  # Debian asks this program before it starts a service; ours says no, and one that was there comes back.
  as_root sh -c '
    policy=/usr/sbin/policy-rc.d
    [ -e $policy ] && mv $policy $policy.before-rangefs
    trap "rm -f $policy; [ -e $policy.before-rangefs ] && mv $policy.before-rangefs $policy; true" EXIT
    trap "exit 130" INT TERM HUP
    printf "#!/bin/sh\nexit 101\n" >$policy && chmod 755 $policy
    export DEBIAN_FRONTEND=noninteractive
    apt-get update && apt-get install -y --no-install-recommends "$@"
  ' sh "${missing[@]}" >"$log" 2>&1 || { tail -n 5 "$log" >&2; die "could not install ${missing[*]}: see $log"; }
  rm -f "$log"
}

# have PROGRAM... : are all of them here?
have() {
  local name
  for name in "$@"; do command -v "$name" >/dev/null || [ -x "/usr/sbin/$name" ] || return 1; done
}

# python_at_least_311 : is the python3 on PATH one that rangefs runs on?
python_at_least_311() { python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

# What building pyfuse3 and running a mount take. Python's headers and venv module may come with a Python that is not
# Debian's, so they are looked for, not their packages.
python_is_complete() { python3 -c '
import ensurepip, os, sys, sysconfig, venv
sys.exit(not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))' 2>/dev/null; }

# prerequisites : FUSE, a compiler and a complete Python 3.11 or later.
prerequisites() {
  local wanted=()
  have fusermount3 || wanted+=(fuse3)
  have gcc || wanted+=(gcc libc6-dev)
  have pkg-config || wanted+=(pkg-config)
  have pkg-config && pkg-config --exists fuse3 || wanted+=(libfuse3-dev)
  have python3 || wanted+=(python3)
  if have python3; then python_is_complete || wanted+=(python3-venv python3-dev); else wanted+=(python3-venv python3-dev); fi
  if [ ${#wanted[@]} != 0 ]; then
    have apt-get dpkg-query || die "install these (Debian's names), then run it again: ${wanted[*]}"
    packages "${wanted[@]}"
  fi
  python_at_least_311 || die "needs Python 3.11 or later as python3 (here: $(python3 --version 2>&1))"
  python_is_complete || die "$(command -v python3) has no venv module or no Python.h: install its -venv and -dev packages"
  [ -e /dev/fuse ] || as_root modprobe fuse 2>/dev/null || true
  [ -e /dev/fuse ] || die "there is no /dev/fuse: in a container, start it with --device /dev/fuse --cap-add SYS_ADMIN"
  [ "$(id -u)" = 0 ] || [ -w /dev/fuse ] || die "/dev/fuse can't be opened by $(id -un): run as root, or chmod 666 /dev/fuse"
}

# virtual_environment FOLDER WHAT : a virtual environment with WHAT ("." or ".[test]") of the current folder in it.
virtual_environment() {
  local folder=$1 what=$2 stamp version
  version="$what $PWD $(python3 -c 'import sys; print(sys.version)' | tr '\n' ' ') $(cksum <pyproject.toml)"
  stamp="$folder/installed-$(printf %s "$what" | tr -c 'a-z' '-')"
  [ -x "$folder/bin/python" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$version" ] && return
  say "Installing rangefs into $folder"
  python3 -m venv "$folder" || die "could not make $folder: remove it and try again"
  "$folder/bin/python" -m pip install -qq --disable-pip-version-check -e "$what" ||
    die "pip could not install $what: see above"
  printf %s "$version" >"$stamp"
}

# azurite FOLDER : Microsoft's emulator of Azure's stores, from npm, with its programs in FOLDER/bin.
azurite() {
  have azurite-blob && return
  have node npm || { have apt-get dpkg-query || die "install Node.js and npm, then run it again"; packages nodejs npm; }
  say "Installing Azurite into $1"
  npm install --silent --no-audit --no-fund --fetch-timeout=60000 --global --prefix "$1" azurite >/dev/null || die "npm could not install azurite"
}
