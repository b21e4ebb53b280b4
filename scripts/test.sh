#!/usr/bin/env bash
# Runs every test there is, and stops at the first kind that fails.
set -euo pipefail
cd "$(dirname "$0")/.."
# Where Rust is right after setup.sh has installed it.
PATH="$PATH:$HOME/.cargo/bin"

say() { printf 'test [%4d s]: %s\n' "$SECONDS" "$*"; }

scripts/setup.sh test
say "is everything formatted?"
cargo fmt --all --check
say "lints of all crates"
cargo clippy --release --workspace --all-targets -- -D warnings
say "building and running the tests of all crates"
# Alone, the tests of a crate run fewer, so that they are run often.
export APUS_CRASH_HISTORIES="${APUS_CRASH_HISTORIES:-10000}"
cargo nextest run --release --workspace

# nextest does not run the examples in documentation. Looking for them costs less than an empty run.
if grep -rqE --include='*.rs' '^\s*//[/!] ```(rust|no_run|should_panic)?$' -- accountd benches compute \
    containerd crates dashboard glance identity objectd proxy replicator ring-builder src tests; then
    say "examples in the documentation"
    cargo test --release --workspace --doc --quiet
fi

say "fuzzing the parsers, a minute for each"
scripts/fuzz.sh 60

if [ -x tests/run_external.sh ]; then
    say "tests by programs from outside"
    tests/run_external.sh
fi
say "all tests have passed"
