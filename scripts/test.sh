#!/usr/bin/env bash
# Lint, types and all tests, in about 6 minutes on two cores. Sets .venv up first if needed.
#
#   bash scripts/test.sh [pytest options…]
set -euo pipefail
source "$(dirname "$0")/common.sh"
[[ ${1:-} == -h || ${1:-} == --help ]] && usage
cd "$root"
bash scripts/setup.sh
PATH=$root/.venv/bin:$PATH
for file in scripts/*.sh; do bash -n "$file"; done
ruff check .
ruff format --check .
mypy
# One thread a worker: several that each use all cores wait for each other.
OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 pytest -n "$(nproc)" "$@"
