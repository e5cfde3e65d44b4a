#!/usr/bin/env bash
# Compare token-level, sentence-level and hybrid students while one thing varies, as configs/study_NAME.yaml describes it.
#
#   bash scripts/study.sh NAME [snakemake options…]
#
# The script runs the experiment of scripts/quickstart.sh once for each of the study's `points`, one after the other. The
# keys of a point replace those of the experiment. Each point has the folder runs/study_NAME/POINT. Parts that are equal at
# all points are made once, in runs/study_NAME/common: if only the student varies, for example, the text and the teacher.
# The script writes results/study_NAME/study.{md,json,png}, length.png and decoding.png. If it was interrupted, run it
# again and it goes on. On a SLURM cluster add --profile FOLDER, a copy of scripts/profiles/slurm that you have adapted.
set -euo pipefail
source "$(dirname "$0")/common.sh"
[[ ${1:-} == -h || ${1:-} == --help ]] && usage
[[ $# -gt 0 && $1 != -* ]] || usage 1

config=$root/configs/study_$1.yaml
[[ -f $config ]] || die "no configs/study_$1.yaml; there are: $(cd "$root/configs" && echo study_*.yaml)"
shift
bash "$root/scripts/setup.sh"
FAIRSEQ_KD_COMMAND=$script exec bash "$root/scripts/run.sh" --output "$root" "$config" "$@"
