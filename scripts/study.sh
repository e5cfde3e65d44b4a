#!/usr/bin/env bash
# Compare token-level, sentence-level and hybrid students while one thing varies, as configs/study_NAME.yaml describes it.
#
#   bash scripts/study.sh NAME [snakemake options…]
#
# The script runs the experiment of scripts/quickstart.sh once for each of the study's `points`, one after the other. The
# keys of a point replace those of the experiment. Each point has the folder runs/study_NAME/POINT. Parts that are equal at
# all points are made once, in runs/study_NAME/common: if only the student varies, for example, the text and the teacher.
# The script writes results/study_NAME/study.{md,json,png}, length.png and decoding.png. If it was interrupted, run it
# again and it goes on. On a cluster add, for example, --executor slurm --jobs 8 --default-resources slurm_partition=gpu
set -euo pipefail
source "$(dirname "$0")/common.sh"
[[ ${1:-} == -h || ${1:-} == --help ]] && usage
[[ $# -gt 0 && $1 != -* ]] || usage 1

config=$root/configs/study_$1.yaml
[[ -f $config ]] || die "no configs/study_$1.yaml; there are: $(cd "$root/configs" && echo study_*.yaml)"
runs=$root/runs/study_$1 results=$root/results/study_$1
shift
bash "$root/scripts/setup.sh"
PATH=$root/.venv/bin:$PATH

# One line each: title, label and scale of the axis, the points, the folders that all points share, and each point's runs.
mapfile -t plan < <(python - "$config" <<'END'
import sys

from fairseq_kd.report.experiment import read_experiment

config = read_experiment(sys.argv[1], complete=True, option="")
changed = {key for keys in config["points"].values() for key in keys}
print(config["title"], config["axis"]["label"], config["axis"]["scale"], sep="\n")
print(*config["points"])
# Each folder depends on these keys and on those of the folders before it.
made_from = {
    "raw": {"raw"}, "data": {"languages", "vocabulary"}, "teacher": {"training", "teacher"},
    "distilled": {"decoding", "distilled"}, "gold_distilled": set(), "samples": {"decoding"}, "caches": {"cache"},
}
common = []
for folder, keys in made_from.items():
    if keys & changed:
        break
    common.append(folder)
print(*common)
seeds = config["seeds"]
print("teacher", *(f"{name}.{seed}" for name, row in config["rows"].items() for seed in row.get("seeds", seeds)))
END
)
[[ ${#plan[@]} == 6 ]] || die "$config cannot be read, see above"
read -ra points <<<"${plan[3]}"
read -ra common <<<"${plan[4]}"
read -ra scored <<<"${plan[5]}"

started=$SECONDS files=() diagnoses=()
hold "$runs"
for point in "${points[@]}"; do
  mkdir -p "$runs/$point"
  # The stage scripts see that the work in them is done. A point's own marks of that are not shared.
  for folder in "${common[@]}"; do
    mkdir -p "$runs/common/$folder"
    [[ -e $runs/$point/$folder ]] || ln -s "../common/$folder" "$runs/$point/$folder"
  done
  say "${plan[1]}: $point"
  run_workflow "$config" "$runs/$point" "$point" "$@"
  for run in "${scored[@]}"; do files+=("$point=$runs/$point/scores/$run.json"); done
  diagnoses+=("$point=$runs/$point/scores/diagnosis.json")
done
fairseq-kd study "${files[@]}" --title "${plan[0]}" --axis "${plan[1]}" --scale "${plan[2]}" --teacher Teacher \
  --config "$config" --diagnosis "${diagnoses[@]}" --output "$runs/study"
publish "$runs/study" "$results"
say "wrote $results/study.md, study.json, study.png, length.png and decoding.png in $((SECONDS - started)) s"
