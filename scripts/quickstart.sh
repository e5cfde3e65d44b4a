#!/usr/bin/env bash
# Train a teacher and distil students from it, from a fresh clone to a table of scores.
#
#   bash scripts/quickstart.sh            a small synthetic language pair: no download, minutes on two CPU threads
#   bash scripts/quickstart.sh multi30k   real text, Multi30k English to German
#   bash scripts/quickstart.sh NAME [snakemake options…]
#                                         the experiment in configs/NAME.yaml; on a SLURM cluster add --profile FOLDER,
#                                         a copy of scripts/profiles/slurm that you have adapted;
#                                         --config KEY=VALUE replaces a key of the file for this run
#
# The script works in the clone's runs/NAME and writes results/NAME/table.{md,json,png} and report.html, a page for a browser.
# NAME is the key `name` of the YAML file. The argument can name a folder too: kim_rush_2016/wmt14_en_de_2x500. The terminal
# shows a line for each running step. runs/NAME/workflow.log gets the output of all steps. If the script was interrupted,
# run it again and it goes on.
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
FAIRSEQ_KD_COMMAND=$script exec bash "$root/scripts/run.sh" --output "$root" "$config" "$@"
