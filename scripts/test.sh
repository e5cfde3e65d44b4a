#!/usr/bin/env bash
# Check style, types, spelling, shell scripts and the documentation, and run the tests. The script installs .venv first if
# it is missing.
#
#   bash scripts/test.sh [--all] [pytest options…]
#
# Without --all, tests that take more than five seconds each (marked slow) are left out: pytest gets -m "not slow". An -m of
# yours replaces this, so say "not slow" in it too.
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
# mypy and mkdocs take half a minute each. They run beside each other and say what they have to say at the end.
logs=$(mktemp -d) started=()
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$logs"' EXIT
mypy >"$logs/mypy" 2>&1 &
started+=($!)
if [[ -f .mkdocs.yml ]]; then
  NO_MKDOCS_2_WARNING=1 mkdocs build --quiet --strict -f .mkdocs.yml >"$logs/mkdocs" 2>&1 &
  started+=($!)
fi
shellcheck scripts/*.sh .ci/run
codespell
ruff check .
ruff format --check .
status=0
for check in "${started[@]}"; do wait "$check" || status=$?; done
cat "$logs"/*
((status == 0)) || die "mypy or mkdocs found a mistake, see above"
# Each worker gets one thread: workers that all use both cores wait for each other. A worker gets neighbouring tests, which
# share fixtures. Python keeps the modules that it has compiled, for the commands that the tests start.
OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE='' \
  pytest -n "$(env -u OMP_NUM_THREADS nproc)" --dist worksteal "${chosen[@]}" "$@"
