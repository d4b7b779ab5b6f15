#!/usr/bin/env bash
# Install what the tests need, then run them all: format, lint, types, tests. Arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."
. examples/install.sh

prerequisites
wanted=()
have nginx || wanted+=(nginx-light)
[ -e /usr/lib/nginx/modules/ngx_http_dav_ext_module.so ] || wanted+=(libnginx-mod-http-dav-ext)
have apache2 || have httpd || wanted+=(apache2-bin)
have lighttpd || wanted+=(lighttpd)
have curl || wanted+=(curl)
have git || wanted+=(git)
have strace || wanted+=(strace)
have sqlite3 || wanted+=(sqlite3)
have getfattr || wanted+=(attr)
have rsync || wanted+=(rsync)
have mount || wanted+=(mount)
have ip || wanted+=(iproute2)
if [ ${#wanted[@]} != 0 ]; then
  have apt-get dpkg-query || die "install these (Debian's names), then run it again: ${wanted[*]}"
  packages "${wanted[@]}"
fi
virtual_environment .venv '.[test]'
PATH="$PWD/.venv/bin:$PATH"
azurite .venv

say "Format, lint, types"
ruff format --check .
ruff check .
mypy
say "Tests"
exec python -m pytest "$@"
