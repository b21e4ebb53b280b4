#!/usr/bin/env bash
# Tests by programs from outside, as far as they fit into every run: the rule of versions, suffix hashes and tables of shard
# ranges beside Swift's own, its unit tests of storage servers over HTTP, its functional tests, its clients, and a sample of
# /usr/share through the swift client, with the process killed meanwhile. Their `--help` tells how to run more.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH="$PATH:$HOME/.cargo/bin"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$HOME/.cache/apus/target}"

cargo build --release --workspace
cargo build --release --workspace --example ondisk_twin
python3 tests/ondisk_twin.py
python3 tests/suffix_hashes.py --seed 1
python3 tests/shards_twin.py
python3 tests/swift_backend.py
python3 tests/swift_functional.py --jobs 2
python3 tests/swift_clients.py
python3 tests/usr_share.py --sample 3000 --kills 3 "$@"
