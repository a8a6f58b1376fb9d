#!/usr/bin/env bash
# Compile the hashed locks: `requirements/lock.sh`. With --check: fail when one is older than pyproject.toml or *.in say.
set -euo pipefail
cd "$(dirname "$0")/.."
compile() { # NAME [EXTRA...]; with what requirements/NAME.in adds, if it is there
  local name=$1; shift
  local extras=(); for extra in "$@"; do extras+=(--extra "$extra"); done
  local sources=(pyproject.toml); if [[ -f requirements/$name.in ]]; then sources+=("requirements/$name.in"); fi
  uv pip compile "${sources[@]}" "${extras[@]}" --quiet --python-version 3.11 --generate-hashes --no-emit-index-url \
    --no-annotate --override requirements/overrides.txt --custom-compile-command "requirements/lock.sh" \
    --output-file "requirements/$name.txt" > /dev/null
}
before=$(sha256sum requirements/*.txt)
compile gateway
compile platform platform
compile production platform
compile dev platform dev
if [[ ${1:-} == --check && $before != "$(sha256sum requirements/*.txt)" ]]; then
  echo "requirements/*.txt are older than pyproject.toml or requirements/*.in: run requirements/lock.sh and commit." >&2
  exit 1
fi
