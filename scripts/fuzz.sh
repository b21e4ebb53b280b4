#!/usr/bin/env bash
# Builds the fuzz targets and runs each for so many seconds, or so many times: scripts/fuzz.sh [SECONDS | TIMESx] [TARGET…];
# `1000000x` is a million times. As many run at a time as there are cores. Ends with an error if anything was found; what
# did it is in fuzz/artifacts. What was learned stays in the target directory, so that the next run begins with it.
#
# FUZZ_JOBS says how many run at a time instead. FUZZ_SANITIZER names the sanitizer, or none: `leak` finds what is never
# given back; `address` also what unsafe code does wrong, twenty times slower where much memory is asked for.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH="$PATH:$HOME/.cargo/bin"

say() { printf 'fuzz [%4d s]: %s\n' "$SECONDS" "$*"; }

much="${1:-120}"
shift || true
targets=("$@")
jobs="${FUZZ_JOBS:-$(nproc)}"
case "$much" in
    *x) limit="-runs=${much%x}" each="${much%x} times" ;;
    *) limit="-max_total_time=$much" each="for $much s" ;;
esac
# With more files than these, what is known of a target is first cut down to those that add something.
corpus_files_max=5000

# Fuzzing needs switches of the compiler that are not stable; the compiler is the one of every other build.
export RUSTC_BOOTSTRAP=1
sanitizer="${FUZZ_SANITIZER:-leak}"
# Of its own: everything is compiled with other switches.
target_dir="${CARGO_TARGET_DIR:-$HOME/.cache/apus/target}/fuzz"
logs="$target_dir/logs"

if ! cargo fuzz --version >/dev/null 2>&1; then
    say "installing cargo-fuzz for this user (a minute or two)"
    env -u CARGO_TARGET_DIR -u RUSTC_BOOTSTRAP cargo install cargo-fuzz --locked
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
say "building (3 minutes the first time)"
cargo fuzz build --sanitizer "$sanitizer" --target-dir "$target_dir"

# Keeps of a directory of inputs those that reach what no other reaches.
cut_down() {
    local target="$1" corpus="$2" kept="$2.kept" old="$2.old"
    rm -rf "$kept" "$old"
    mkdir "$kept"
    "$target_dir/$host/release/$target" -merge=1 -max_len=65536 -timeout=20 "$kept" "$corpus" >"$logs/$target" 2>&1
    mv "$corpus" "$old"
    mv "$kept" "$corpus"
    rm -rf "$old"
}

fuzz() {
    local target="$1" corpus=("$target_dir/corpus/$1")
    mkdir -p "${corpus[0]}" "fuzz/artifacts/$target"
    if [ "$(find "${corpus[0]}" -type f | wc -l)" -gt "$corpus_files_max" ]; then
        cut_down "$target" "${corpus[0]}"
    fi
    if [ -d "fuzz/seeds/$target" ]; then
        corpus+=("fuzz/seeds/$target")
    fi
    exec "$target_dir/$host/release/$target" "$limit" -max_len=65536 -timeout=20 -print_final_stats=1 \
        -artifact_prefix="fuzz/artifacts/$target/" "${corpus[@]}" >"$logs/$target" 2>&1
}

# By process.
declare -A running=()
found=()

# Waits until a target ends, and says what came of it.
one_ends() {
    local pid status=0 target count speed
    wait -n -p pid "${!running[@]}" || status=$?
    target="${running[$pid]}"
    unset "running[$pid]"
    count="$(sed -n 's/^stat::number_of_executed_units: *//p' "$logs/$target")"
    speed="$(sed -n 's/^stat::average_exec_per_sec: *//p' "$logs/$target")"
    if [ "$status" = 0 ]; then
        say "$target: ${count:-?} executions, ${speed:-?} a second, nothing found"
        return
    fi
    found+=("$target")
    say "$target FAILED after ${count:-?} executions; the end of $logs/$target:"
    # Without what was learned until then.
    sed '/^#[0-9]/d' "$logs/$target" | tail -n 100
}

mkdir -p "$logs"
trap 'if [ "${#running[@]}" -gt 0 ]; then kill "${!running[@]}" 2>/dev/null || true; fi' EXIT
say "${#targets[@]} targets, each $each, $jobs at a time; their output is in $logs"
for target in "${targets[@]}"; do
    while [ "${#running[@]}" -ge "$jobs" ]; do
        one_ends
    done
    if [ "${#found[@]}" -gt 0 ]; then
        break
    fi
    : >"$logs/$target"
    fuzz "$target" &
    running[$!]="$target"
done
while [ "${#running[@]}" -gt 0 ]; do
    one_ends
done
for target in "${found[@]}"; do
    artifact="$(sed -n 's/.*Test unit written to //p' "$logs/$target" | tail -n 1)"
    say "$target failed; to see it again: $target_dir/$host/release/$target ${artifact:-(it left no input)}"
done
if [ "${#found[@]}" -gt 0 ]; then
    exit 1
fi
say "nothing was found"
