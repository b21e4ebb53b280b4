#!/usr/bin/env bash
# Builds apus and serves with it; the arguments go to `apus serve`.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/setup.sh build
echo "run: building apus; what has not changed is not built again"
cargo build --release --bin apus
exec "${CARGO_TARGET_DIR:-target}/release/apus" serve "$@"
