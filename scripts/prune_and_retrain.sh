#!/usr/bin/env bash
# Prune a model in steps and train it on after each step (See, Luong & Manning 2016). Each step starts from the one before.
# If the script was interrupted, run it again and it goes on.
#
#   bash scripts/prune_and_retrain.sh --model CKPT --data DATABIN --output DIR --sparsities "0.4 0.6 0.8" \
#       [--scheme class-blind] -- fairseq-train options, as for scripts/train.sh…
#
# The step to sparsity S writes the pruned model to DIR/S/pruned.pt and trains it in DIR/S/retrained, with
# --task translation_kd and --keep-zeros. The next step starts from the best checkpoint of that training, or from the last
# checkpoint where the training does not validate. --scheme is the option of `fairseq-kd prune`.
set -euo pipefail
source "$(dirname "$0")/common.sh"
[[ $# -gt 0 ]] || usage 1

model='' data='' output='' sparsities='' scheme=class-blind
while (($#)); do
  case $1 in
    -h | --help) usage ;;
    --)
      shift
      break
      ;;
    --*=*) set -- "${1%%=*}" "${1#*=}" "${@:2}" ;;
    --model | --data | --output | --sparsities | --scheme)
      (($# > 1)) || die "$1 needs a value"
      declare "${1#--}=$2"
      shift 2
      ;;
    *) die "unknown option $1; fairseq-train's options come after --" ;;
  esac
done
[[ -n $model && -n $data && -n $output && -n $sparsities ]] ||
  die "give --model, --data, --output and --sparsities; see --help"
whole_names --finetune-from-model "$@"
for word in "$@"; do
  [[ ${word%%=*} != --finetune-from-model ]] ||
    die "--finetune-from-model: each step starts from its pruned model; leave it out"
done
read -ra steps <<<"$sparsities"
for step in "${steps[@]}"; do
  [[ $step =~ ^0?\.[0-9]*[1-9][0-9]*$ ]] || die "--sparsities: $step is no number between 0 and 1"
done
printf '%s\n' "${steps[@]}" | LC_ALL=C sort -g -u -C || die "--sparsities $sparsities: each has to be higher than the one before"

for step in "${steps[@]}"; do
  pruned=$output/$step/pruned.pt retrained=$output/$step/retrained
  report=$(fairseq-kd prune --model "$model" --sparsity "$step" --scheme "$scheme" --output "$pruned")
  say "$pruned: $(grep ' prunable, ' <<<"$report")"
  bash "$(dirname "$0")/train.sh" "$retrained" "$data" --task translation_kd --keep-zeros \
    --finetune-from-model "$pruned" "$@"
  model=$retrained/checkpoint_best.pt
  [[ -f $model ]] || model=$retrained/checkpoint_last.pt
done

python - "$output" "${steps[@]}" <<'END'
import os, sys

from fairseq_kd.storage.settings import read_settings

output, steps = sys.argv[1], sys.argv[2:]
print("| sparsity | parameters | non-zero | sparse file, bytes | model |\n| ---: | ---: | ---: | ---: | --- |")
for step in steps:
    report = read_settings(f"{output}/{step}/pruned.pt.json", "prune")
    best = f"{output}/{step}/retrained/checkpoint_best.pt"
    model = best if os.path.exists(best) else best.replace("_best", "_last")
    figures = " | ".join(f"{report[key]:,}" for key in ("parameters", "nonzero", "sparse_bytes"))
    print(f"| {step} | {figures} | {model} |")
END
say "score each with: fairseq-kd evaluate --model MODEL --data $data --name SPARSITY --output FILE.json; then fairseq-kd table"
