#!/usr/bin/env bash
# Check style, types, spelling, shell scripts and the documentation, and run the tests. The script installs .venv first if
# it is missing.
#
#   bash scripts/test.sh [--all] [pytest options…]
#
# Without --all, tests that take more than ten seconds each (marked slow) are left out.
# Add --cov for a report of the lines that the tests run; it takes longer. The report covers the tests' own processes and
# not the commands that they start.
set -euo pipefail
source "$(dirname "$0")/common.sh"
[[ ${1:-} == -h || ${1:-} == --help ]] && usage
chosen=(-m "not slow")
if [[ ${1:-} == --all ]]; then
  chosen=()
  shift
fi
cd "$root"
bash scripts/setup.sh
PATH=$root/.venv/bin:$PATH
shellcheck scripts/*.sh .ci/run
codespell
ruff check .
ruff format --check .
mypy
if [[ -f .mkdocs.yml ]]; then
  NO_MKDOCS_2_WARNING=1 mkdocs build --quiet --strict -f .mkdocs.yml
fi
# Each worker gets one thread: workers that all use both cores wait for each other.
OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 pytest -n "$(nproc)" "${chosen[@]}" "$@"
