#!/usr/bin/env bash
# Run an experiment: train a teacher, distil students from it, score all models and print a table. `fairseq-kd run`,
# scripts/quickstart.sh and scripts/study.sh call this script.
#
#   bash scripts/run.sh [--output DIR] CONFIG [snakemake options…]
#
# CONFIG is a YAML file like those in configs/. The script works in DIR/runs/NAME and writes
# DIR/results/NAME/table.{md,json,png} and report.html. DIR is the current folder unless --output names another, and NAME is
# the file's key `name`, or else the name of the file.
#
# A file with `points` is a study. The script runs it once for each point, one after the other. The keys of a point replace
# those of the experiment. Each point has the folder DIR/runs/NAME/POINT. Parts that are equal at all points are made once,
# in DIR/runs/NAME/common: if only the student varies, for example, the text and the teacher. DIR/results/NAME gets
# study.{md,json,png}, length.png, decoding.png and report.html.
#
# The terminal shows a line for each running step; workflow.log in the folder of runs/ gets the output of all steps. If the
# script was interrupted, run it again and it goes on. On a SLURM cluster add --profile FOLDER, a copy of
# scripts/profiles/slurm that you have adapted.
set -euo pipefail
source "$(dirname "$0")/common.sh"
[[ ${1:-} == -h || ${1:-} == --help ]] && usage
output=.
if [[ ${1:-} == --output ]]; then
  (($# > 1)) || die "--output needs a value"
  output=$2
  shift 2
fi
[[ $# -gt 0 && $1 != -* ]] || usage 1
[[ -f $1 ]] || die "$1: no such file"
config=$(realpath -- "$1")
shift
mkdir -p "$output" 2>/dev/null || die "$output cannot be written; give another folder"
output=$(cd "$output" && pwd)

# One line each: the name; of a study also title, label and scale of the axis, the points, the folders that all points
# share, and then a line with the runs of each point.
mapfile -t plan < <(python - "$config" <<'END'
import sys
from pathlib import Path

from fairseq_kd.report.experiment.reader import read_experiment
from fairseq_kd.report.experiment.points import at_points, runs_at, shared_folders

path = Path(sys.argv[1])
config = read_experiment(path, complete=True, option="")
name = str(config.get("name", path.stem))
if "points" not in config:
    print(name)
    sys.exit()
print(name, config["title"].strip(), config["axis"]["label"].strip(), config["axis"]["scale"], sep="\n")
print(*config["points"])
print(*shared_folders(config))
for keys in at_points(config).values():
    print(*runs_at(keys))
END
)
[[ ${#plan[@]} == 1 || ${#plan[@]} -ge 7 ]] || die "$config cannot be read, see above"
name=${plan[0]} runs=$output/runs/${plan[0]} results=$output/results/${plan[0]} started=$SECONDS

experiment() {
  run_workflow "$config" "$runs" '' "$@"
  # Snakemake's options can ask for less than the table. One that is older than a step is of an earlier run.
  local newer=(-type f -newer "$runs/done/table" ! -name report)
  if (($#)) && [[ ! -f $runs/done/table || -n $(find "$runs/done" "$runs/scores" "${newer[@]}" 2>/dev/null) ]]; then
    say "made what was asked for, in $runs"
    return
  fi
  publish "$runs/table" "$results"
  cat "$results/table.md"
  say "wrote $results/table.md, table.json and pictures in $((SECONDS - started)) s"
  say "open $results/report.html in a browser: scores, pictures and all sentences"
}

study() {
  local point folder run points common scored files=() diagnoses=()
  read -ra points <<<"${plan[4]}"
  read -ra common <<<"${plan[5]}"
  for point in "${points[@]}"; do
    mkdir -p "$runs/$point"
    # The stage scripts see that the work in them is done. A point's own marks of that are not shared.
    for folder in "${common[@]}"; do
      mkdir -p "$runs/common/$folder"
      [[ -e $runs/$point/$folder ]] || ln -s "../common/$folder" "$runs/$point/$folder"
    done
    say "${plan[2]}: $point"
    run_workflow "$config" "$runs/$point" "$point" "$@"
    # With the space, a point below 0 does not look like an option.
    read -ra scored <<<"${plan[6 + ${#diagnoses[@]}]}"
    for run in "${scored[@]}"; do files+=(" $point=$runs/$point/scores/$run.json"); done
    diagnoses+=(" $point=$runs/$point/scores/diagnosis.json")
  done
  fairseq-kd study "${files[@]}" --title "${plan[1]}" --axis "${plan[2]}" --scale "${plan[3]}" --teacher Teacher \
    --config "$config" --diagnosis "${diagnoses[@]}" --output "$runs/study"
  fairseq-kd report "$runs/study/study.json" --output "$runs/study/report.html"
  publish "$runs/study" "$results"
  say "wrote $results/study.md, study.json, report.html, study.png, length.png and decoding.png in $((SECONDS - started)) s"
}

for word in "$@"; do
  [[ ${word#--config=} != name=* ]] ||
    die "--config ${word#--config=}: the run is in runs/$name; change the key in the file"
done
hold "$runs"
if [[ ${#plan[@]} == 1 ]]; then experiment "$@"; else study "$@"; fi
