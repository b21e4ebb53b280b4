#!/usr/bin/env bash
# Makes sure that what the build (setup.sh build) or the tests (setup.sh test) need is installed. What is
# missing is installed when this user may do that; otherwise it is named, and nothing is changed.
set -euo pipefail

purpose="${1:-build}"
say() { printf 'setup: %s\n' "$*"; }

# RocksDB is C++, and its bindings are made with libclang.
packages=(build-essential ca-certificates curl libclang-dev pkg-config)
if [ "$purpose" = test ]; then
    packages+=(python3 python3-venv)
fi

missing_packages() {
    local package
    for package in "${packages[@]}"; do
        if [ "$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null)" != installed ]; then
            echo "$package"
        fi
    done
}

install_packages() {
    local root=()
    if [ "$(id -u)" != 0 ]; then
        if ! sudo -n true 2>/dev/null; then
            say "these packages are missing, and this user may not install them: $*"
            say "please run: sudo apt-get install $*"
            exit 1
        fi
        root=(sudo)
    fi
    say "installing $* (a minute or two)"
    if ! "${root[@]}" apt-get -qq update; then
        say "the package lists could not be refreshed; going on with the old ones"
    fi
    "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends --yes "$@"
}

if command -v dpkg-query >/dev/null; then
    mapfile -t missing < <(missing_packages)
    if [ "${#missing[@]}" -gt 0 ]; then
        install_packages "${missing[@]}"
    fi
else
    say "this is neither Debian nor Ubuntu; a C++ compiler, make, libclang, pkg-config and Python must be there"
fi

PATH="$PATH:$HOME/.cargo/bin"
if ! command -v cargo >/dev/null; then
    say "installing Rust for this user with its official installer, https://sh.rustup.rs"
    installer="$(mktemp)"
    trap 'rm -f "$installer"' EXIT
    if ! curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs -o "$installer"; then
        say "the installer could not be fetched; install Rust as https://rustup.rs says, and run make again"
        exit 1
    fi
    # The toolchain itself is named in rust-toolchain.toml, and fetched when cargo first runs here.
    sh "$installer" -y --profile minimal --default-toolchain none
fi

if [ "$purpose" = test ] && ! cargo nextest --version >/dev/null 2>&1; then
    say "installing cargo-nextest, which runs the tests (about 5 minutes on two cores)"
    env -u CARGO_TARGET_DIR cargo install cargo-nextest --locked
fi

target="${CARGO_TARGET_DIR:-target}"
if ! compgen -G "$target/release/deps/librocksdb-*.rlib" >/dev/null; then
    say "building RocksDB and the rest for the first time takes about 15 minutes on two cores"
fi
