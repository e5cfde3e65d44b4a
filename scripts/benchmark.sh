#!/usr/bin/env bash
# Measure speed and memory of the fused loss, the training step, the decoding engines and sampling, beside fairseq's own
# in the same run.
#
#   bash scripts/benchmark.sh [TEACHER DATABIN]
#
# Without arguments the script takes the teacher and the data that scripts/quickstart.sh multi30k has made. It works in
# runs/benchmark, prints a table and writes results/benchmark/table.{md,json,png}. It takes about forty minutes on two
# cores; let nothing else run meanwhile.
set -euo pipefail
source "$(dirname "$0")/common.sh"
[[ ${1:-} == -h || ${1:-} == --help ]] && usage
[[ $# -eq 0 || $# -eq 2 ]] || usage 1
if [[ $# -eq 2 ]]; then
  teacher=$(realpath -- "$1") data=$(realpath -- "$2")
else
  teacher=$root/runs/multi30k_en_de/teacher/checkpoint_best.pt data=$root/runs/multi30k_en_de/data/data-bin
  [[ -f $teacher ]] || die "no $teacher; run scripts/quickstart.sh multi30k first, or give a teacher and its data-bin"
fi
cd "$root"
bash scripts/setup.sh
PATH=$root/.venv/bin:$PATH
fairseq-kd benchmark --teacher "$teacher" --data "$data" --output runs/benchmark
mkdir -p results/benchmark
for file in table.md table.json table.png; do copy_whole "runs/benchmark/$file" results/benchmark; done
say "wrote results/benchmark/table.md, table.json and table.png"
