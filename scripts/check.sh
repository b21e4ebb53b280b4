#!/usr/bin/env bash
# What a change must pass before it is sent, without the longer tests.
set -euo pipefail
cd "$(dirname "$0")/.."
# Where Rust is right after setup.sh has installed it.
PATH="$PATH:$HOME/.cargo/bin"

say() { printf 'check [%4d s]: %s\n' "$SECONDS" "$*"; }

scripts/setup.sh test
say "is everything formatted?"
cargo fmt --all --check
say "lints of all crates"
cargo clippy --release --workspace --all-targets -- -D warnings
say "the rules of the house"
cargo nextest run --release --package tests --test tidy

if cargo deny --version >/dev/null 2>&1; then
    say "licences, bans and sources of dependencies"
    cargo deny --offline check licenses bans sources
else
    say "not checked: licences of dependencies (cargo install cargo-deny --locked)"
fi

if command -v shellcheck >/dev/null; then
    say "shell scripts"
    shellcheck scripts/*.sh .ci/run
else
    say "not checked: shell scripts (apt-get install shellcheck)"
fi
say "done"
