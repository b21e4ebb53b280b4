#!/usr/bin/env bash
# Tests by programs from outside, as far as they fit into every run: a sample of /usr/share through the swift
# client, with the process killed meanwhile. `tests/usr_share.py --help` tells how to run all of it.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH="$PATH:$HOME/.cargo/bin"

cargo build --release --workspace
python3 tests/usr_share.py --sample 3000 --kills 3 "$@"
