#!/usr/bin/env bash
# Compile the hashed locks: `requirements/lock.sh`. With --check: fail when one is older than pyproject.toml says.
set -euo pipefail
cd "$(dirname "$0")/.."
compile() { # NAME [EXTRA...]
  local name=$1; shift
  local extras=(); for extra in "$@"; do extras+=(--extra "$extra"); done
  uv pip compile pyproject.toml "${extras[@]}" --quiet --python-version 3.11 --generate-hashes --no-emit-index-url \
    --no-annotate --override requirements/overrides.txt --custom-compile-command "requirements/lock.sh" \
    --output-file "requirements/$name.txt" > /dev/null
}
before=$(sha256sum requirements/*.txt)
compile gateway
compile platform platform
compile dev platform dev
if [[ ${1:-} == --check && $before != "$(sha256sum requirements/*.txt)" ]]; then
  echo "requirements/*.txt are older than pyproject.toml: run requirements/lock.sh and commit." >&2
  exit 1
fi
