#!/usr/bin/env bash
# Builds apus and serves with it; the arguments go to `apus serve`.
set -euo pipefail
cd "$(dirname "$0")/.."
# Where Rust is right after setup.sh has installed it.
PATH="$PATH:$HOME/.cargo/bin"

scripts/setup.sh build
echo "run: building apus; what has not changed is not built again"
# The same selection as the tests build, so that neither compiles again what the other has.
cargo build --release --workspace
exec "${CARGO_TARGET_DIR:-target}/release/apus" serve "$@"
