#!/usr/bin/env bash
# Removes a data directory that apus made, and nothing else.
set -euo pipefail
cd "$(dirname "$0")/.."

data="${1:?which data directory?}"
if [ ! -e "$data" ]; then
    echo "clean-data: there is no $data"
    exit 0
fi
# apus puts this file into every data directory and holds a lock on it while it runs.
if [ ! -f "$data/LOCK" ]; then
    echo "clean-data: $data was not made by apus; it stays"
    exit 1
fi
if ! flock --nonblock "$data/LOCK" true; then
    echo "clean-data: apus is running on $data; stop it first"
    exit 1
fi
rm -rf -- "$data"
echo "clean-data: removed $data"
