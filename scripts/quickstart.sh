#!/usr/bin/env bash
# From a fresh clone to a table of distilled students.
#
#   bash scripts/quickstart.sh                    a small synthetic language pair, no download, minutes on two CPU threads
#   bash scripts/quickstart.sh multi30k           the same on real text, Multi30k English to German
#   bash scripts/quickstart.sh NAME [snakemake options…]   configs/NAME.yaml; for a cluster add, for instance,
#                                                 --executor slurm --jobs 8 --default-resources slurm_partition=gpu
#
# Works in runs/NAME, writes results/NAME/table.{md,json,png} (the folder's name is `name` in the YAML). Run again, it
# skips what is done; killed, it goes on.
set -euo pipefail
source "$(dirname "$0")/common.sh"
if [[ ${1:-} == -h || ${1:-} == --help ]]; then usage; fi

experiment=quickstart
if [[ $# -gt 0 && $1 != -* ]]; then
  experiment=$1
  shift
fi
config=$root/configs/$experiment.yaml
[[ -f $config ]] || die "no configs/$experiment.yaml; there are: $(cd "$root/configs" && echo *.yaml)"
bash "$root/scripts/setup.sh"
PATH=$root/.venv/bin:$PATH

name=$(python -c 'import sys, yaml; print(yaml.safe_load(open(sys.argv[1]))["name"])' "$config")
runs=$root/runs/$name
mkdir -p "$runs"
started=$SECONDS
workflow=(snakemake --snakefile "$root/scripts/Snakefile" --configfile "$config" --directory "$runs")
# snakemake's own lock outlives a killed run; this one is let go when the last of its processes has ended.
exec 9>"$runs/lock"
flock -w 10 9 || die "another run is at work in runs/$name; wait for it or end it"
"${workflow[@]}" --unlock >/dev/null 2>&1 || true
"${workflow[@]}" --cores "$(nproc)" --rerun-incomplete --quiet rules host "$@" || die "stopped; the reason stands above, the logs in runs/$name. Run it again to go on"

results=$root/results/$name
mkdir -p "$results"
for path in "$runs"/table/*; do
  file=$(basename "$path")
  cp "$path" "$results/$file.tmp" && mv "$results/$file.tmp" "$results/$file"
done
cat "$results/table.md"
say "wrote results/$name/table.md, table.json and table.png in $((SECONDS - started)) s"
