#!/usr/bin/env bash
# From a fresh clone to a table of distilled students.
#
#   bash scripts/quickstart.sh                    a small synthetic language pair, no download, minutes on two CPU threads
#   bash scripts/quickstart.sh multi30k           the same on real text, Multi30k English to German
#   bash scripts/quickstart.sh NAME [snakemake options…]   configs/NAME.yaml; for a cluster add, for instance,
#                                                 --executor slurm --jobs 8 --default-resources slurm_partition=gpu
#
# Works in runs/NAME, writes results/NAME/table.{md,json,png} (the folder's name is `name` in the YAML). A NAME can be in a
# folder: kim_rush_2016/wmt14_en_de_2x500. Run again, it skips what is done; killed, it goes on.
set -euo pipefail
source "$(dirname "$0")/common.sh"
if [[ ${1:-} == -h || ${1:-} == --help ]]; then usage; fi

experiment=quickstart
if [[ $# -gt 0 && $1 != -* ]]; then
  experiment=$1
  shift
fi
[[ $experiment != study_* ]] || die "$experiment is a study; run scripts/study.sh ${experiment#study_}"
config=$root/configs/$experiment.yaml
[[ -f $config ]] || die "no configs/$experiment.yaml; there are: $(cd "$root/configs" && echo *.yaml */*.yaml)"
bash "$root/scripts/setup.sh"
PATH=$root/.venv/bin:$PATH

name=$(python -c 'import sys, yaml; print(yaml.safe_load(open(sys.argv[1]))["name"])' "$config")
started=$SECONDS
hold "$root/runs/$name"
run_workflow "$config" "$root/runs/$name" '' "$@"
publish "$root/runs/$name/table" "$root/results/$name"
cat "$root/results/$name/table.md"
say "wrote results/$name/table.md, table.json and pictures in $((SECONDS - started)) s"
