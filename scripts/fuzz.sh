#!/usr/bin/env bash
# Builds the fuzz targets and runs each for so many seconds, or so many times: scripts/fuzz.sh [SECONDS | TIMESx] [TARGET…];
# `1000000x` is a million times. What was learned stays in fuzz/corpus, and what broke one is in fuzz/artifacts. Ends with an error if anything did.
#
# FUZZ_SANITIZER names the sanitizer, or none. `leak` finds what is never given back; `address` also what unsafe code does
# wrong, twenty times slower where much memory is asked for.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH="$PATH:$HOME/.cargo/bin"

say() { printf 'fuzz [%4d s]: %s\n' "$SECONDS" "$*"; }

much="${1:-120}"
shift || true
targets=("$@")

# Fuzzing needs switches of the compiler that are not stable; the compiler is the one of every other build.
export RUSTC_BOOTSTRAP=1
sanitizer="${FUZZ_SANITIZER:-leak}"
# Of its own: everything is compiled with other switches.
target_dir="${CARGO_TARGET_DIR:-$HOME/.cache/apus/target}/fuzz"

if ! cargo fuzz --version >/dev/null 2>&1; then
    say "installing cargo-fuzz for this user"
    cargo install cargo-fuzz --locked
fi
if [ "${#targets[@]}" = 0 ]; then
    mapfile -t targets < <(cargo fuzz list)
fi
# RocksDB is C++ and not what is fuzzed: the one that the ordinary build has made is linked again, if it is the only one.
if [ -z "${ROCKSDB_LIB_DIR:-}" ]; then
    mapfile -t built < <(compgen -G "${target_dir%/fuzz}/release/build/librocksdb-sys-*/out/librocksdb.a")
    if [ "${#built[@]}" = 1 ]; then
        export ROCKSDB_LIB_DIR="${built[0]%/*}" ROCKSDB_STATIC=1
    fi
fi
host="$(rustc -vV | sed -n 's/^host: //p')"
say "building"
cargo fuzz build --sanitizer "$sanitizer" --target-dir "$target_dir"
for target in "${targets[@]}"; do
    corpus=("fuzz/corpus/$target")
    mkdir -p "${corpus[0]}"
    if [ -d "fuzz/seeds/$target" ]; then
        corpus+=("fuzz/seeds/$target")
    fi
    case "$much" in
        *x) limit="-runs=${much%x}"; say "$target, ${much%x} times" ;;
        *) limit="-max_total_time=$much"; say "$target, for $much s" ;;
    esac
    mkdir -p "fuzz/artifacts/$target"
    "$target_dir/$host/release/$target" "$limit" -max_len=65536 -timeout=20 -print_final_stats=1 \
        -artifact_prefix="fuzz/artifacts/$target/" "${corpus[@]}"
done
say "nothing was found"
