#!/usr/bin/env bash
# Keep the first pairs of a training text, and put the others aside: as text without translations, for instance.
#
#   bash scripts/split_text.sh FOLDER --languages S T --keep N
#
# FOLDER/train.S and FOLDER/train.T keep their first N lines. FOLDER/rest.S and FOLDER/rest.T get the others. If that is done
# already, the script does nothing.
set -euo pipefail
source "$(dirname "$0")/common.sh"
[[ ${1:-} == -h || ${1:-} == --help ]] && usage
[[ $# == 6 && $2 == --languages && $5 == --keep ]] || usage 1

folder=$1 languages=("$3" "$4") keep=$6
[[ $keep =~ ^[1-9][0-9]*$ ]] || die "--keep $keep: give a whole number from 1"
for language in "${languages[@]}"; do
  train=$folder/train.$language rest=$folder/rest.$language
  [[ -f $train ]] || die "$train: no such file"
  lines=$(wc -l <"$train")
  if ((lines == keep)) && [[ -s $rest ]]; then continue; fi
  ((lines > keep)) || die "$train has $lines lines, --keep $keep leaves none aside"
  tail -n +"$((keep + 1))" "$train" >"$rest"
  head -n "$keep" "$train" >"$train.tmp"
  mv "$train.tmp" "$train"
  say "$rest: $((lines - keep)) lines"
done
