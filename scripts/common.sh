# Sourced by the stage scripts: one-line errors, and the repository's environment in front of the PATH.
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
script=$(basename "$0")
die() { echo "$script: error: $*" >&2; exit 1; }
say() { echo "$script: $*" >&2; }
if [[ -x $root/.venv/bin/fairseq-kd ]]; then PATH=$root/.venv/bin:$PATH; fi
# The script's own header comment is its manual.
usage() { sed -n '2,/^[^#]/{/^#/s/^# \{0,1\}//p}' "$0"; exit "${1:-0}"; }
