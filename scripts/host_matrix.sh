#!/usr/bin/env bash
# Build each supported host in a folder of its own, run the tests there, and write a table of what ran and what failed.
#
#   bash scripts/host_matrix.sh                                  every host, the whole suite: hours
#   bash scripts/host_matrix.sh stock-3.10 fixed-3.13 -- tests/networks tests/stored
#                                                                two hosts, these tests; the words after -- go to pytest
#
# A host is FAIRSEQ-PYTHON or FAIRSEQ-PYTHON:TORCH, for instance stock-3.10:2.4.1. FAIRSEQ is stock (fairseq 0.12.2 from
# PyPI), main (a checkout of its main branch in the folder $FAIRSEQ_MAIN) or fixed (fairseq-fixed 0.12.3.1). PYTHON is a version
# whose command is on the PATH. The environments, a log for each host and table.md are in $HOSTS_DIR, by default runs/hosts.
# A host that is built already is used as it is. The table goes into docs/reference/hosts.md by hand.
set -euo pipefail
source "$(dirname "$0")/common.sh"
[[ ${1:-} == -h || ${1:-} == --help ]] && usage
cd "$root"

hosts=()
while (($#)) && [[ $1 != -- ]]; do
  hosts+=("$1")
  shift
done
if (($#)); then shift; fi
tests=("$@")
((${#tests[@]})) || tests=(tests)
((${#hosts[@]})) || hosts=(stock-3.10 stock-3.10:2.4.1 main-3.10 fixed-3.11 fixed-3.12 fixed-3.13)
folder=${HOSTS_DIR:-runs/hosts}
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)

# build NAME FAIRSEQ PYTHON TORCH: make the environment $folder/NAME.
build() {
  local python=$folder/$1/bin/python installer=pip
  command -v "python$3" >/dev/null || die "$1: no python$3 found; put it on the PATH"
  "python$3" -m venv --clear "$folder/$1"
  [[ $2 == fixed ]] || installer="pip<24.1" # later ones refuse the metadata of omegaconf 2.0.6
  install() { "$python" -m pip --disable-pip-version-check install -q "$@"; }
  install --upgrade "$installer" "setuptools<81" wheel "cython>=3" numpy
  install "torch${4:+==$4}"
  "$python" -c 'import torch; print("torch==" + torch.__version__.split("+")[0])' >"$folder/$1/torch.txt"
  case $2 in
    stock) install -c "$folder/$1/torch.txt" fairseq==0.12.2 ;;
    main) install --no-build-isolation -c "$folder/$1/torch.txt" "${FAIRSEQ_MAIN:?$1: name a checkout of fairseq with FAIRSEQ_MAIN}" ;;
    fixed) install --no-build-isolation -c "$folder/$1/torch.txt" fairseq-fixed==0.12.3.1 ;;
    *) die "$1: $2 is no fairseq; choose stock, main or fixed" ;;
  esac
  # The checkout itself, for its command fairseq-kd, with all that the tests import.
  install --no-build-isolation -c "$folder/$1/torch.txt" -e '.[report,test,docs,hf]'
  touch "$folder/$1/.built"
}

# row NAME: a line of the table from a host's log.
row() {
  "$folder/$1/bin/python" -W ignore - "$folder/$1.log" "${tests[*]}" 2>/dev/null <<'PYTHON'
import datetime, platform, re, sys
import fairseq, torch
from importlib.metadata import distributions
from pathlib import Path

log = Path(sys.argv[1]).read_text(errors="replace")
packages = [d.metadata["Name"] + " " + d.version for d in distributions() if d.metadata["Name"] in ("fairseq", "fairseq-fixed")]
ended = re.findall(r"^.*\d+ (?:passed|failed|errors?).* in [\d.]+s.*$", log, re.M)  # commands may write after it
counts = re.findall(r"\d+ (?:passed|failed|errors?|skipped)", ended[-1] if ended else "")
failed = re.findall(r"^(?:FAILED|ERROR) (\S+)", log, re.M)
print(
    f"| {datetime.date.today()} | {platform.python_version()} | {' '.join(packages)} | {torch.__version__} | "
    f"`{sys.argv[2]}` | {', '.join(counts) or 'did not end'} | {', '.join(f'`{name}`' for name in failed) or 'none'} |"
)
PYTHON
}

for host in "${hosts[@]}"; do
  [[ $host =~ ^(stock|main|fixed)-(3\.[0-9]+)(:([0-9.]+))?$ ]] || die "$host: give FAIRSEQ-PYTHON or FAIRSEQ-PYTHON:TORCH"
  name=${host/:/-torch-} kind=${BASH_REMATCH[1]} version=${BASH_REMATCH[2]} torch=${BASH_REMATCH[4]:-}
  if [[ ! -f $folder/$name/.built ]]; then
    say "$name: building"
    (build "$name" "$kind" "$version" "$torch") >"$folder/$name.build.log" 2>&1 ||
      { say "$name: cannot be built; see $folder/$name.build.log"; continue; }
  fi
  say "$name: running ${tests[*]}"
  OMP_NUM_THREADS=1 "$folder/$name/bin/python" -m pytest -q -W ignore -p no:cacheprovider -rfE --tb=short "${tests[@]}" \
    >"$folder/$name.log" 2>&1 || true
  row "$name" | tee -a "$folder/table.md"
done
