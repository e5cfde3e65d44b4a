#!/usr/bin/env bash
# Run each GPU path of the plugin once beside the CPU, and measure losses, training steps and decoding on the GPU: at most
# eight minutes on a machine with one GPU.
#
#   bash scripts/gpu_check.sh [--dry-run] [--only PART]... [--output DIR] [TEACHER DATABIN]
#
# Without a teacher the script makes a small language pair and trains a teacher on it. It writes table.md, table.json and
# table.png to results/gpu; work files go to runs/gpu. --dry-run takes every step on the CPU with tiny sizes; it writes
# to runs/gpu alone. --only measures one part: paths, losses, training or speeds. Give it again for another part. It needs
# --output, so that a part does not take the place of the whole table.
#
# The script uses .venv where that exists, else the python3 on the PATH, which needs torch and the packages of
# pyproject.toml's `dependencies`; it installs nothing. Without ctranslate2 the script leaves out what needs it, and the
# table says so. A path that fails is named, and the exit status is 1.
set -euo pipefail
source "$(dirname "$0")/common.sh"
dry='' output='' models=() parts=()
while (($#)); do
  case $1 in
    -h | --help) usage ;;
    --dry-run) dry=$1 ;;
    --output)
      (($# > 1)) || die "--output needs a folder"
      output=$(realpath -m -- "$2")
      shift
      ;;
    --only)
      (($# > 1)) || die "--only needs a part: paths, losses, training or speeds"
      parts+=("$1" "$2")
      shift
      ;;
    -*) usage 1 ;;
    *) models+=("$(realpath -- "$1")") ;;
  esac
  shift
done
((${#models[@]} == 0 || ${#models[@]} == 2)) || usage 1
[[ ${#parts[@]} -eq 0 || -n $output ]] || die "--only needs --output, the folder for that part's table"
cd "$root"
work=${output:-$root/runs/gpu}
python=python3
if [[ -x .venv/bin/python ]]; then python=$root/.venv/bin/python; fi
status=0
PYTHONSAFEPATH=1 PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH} "$python" -m fairseq_kd.benchmark.gpu ${dry:+"$dry"} --output "$work" \
  "${parts[@]}" "${models[@]}" || status=$?
if [[ -z $dry && -z $output && -f $work/table.md ]]; then
  mkdir -p results/gpu
  for file in table.md table.json table.png; do copy_whole "$work/$file" results/gpu; done
  say "wrote results/gpu/table.md, table.json and table.png"
fi
exit "$status"
