#!/usr/bin/env bash
# Keep the first pairs of a training text, and put the others aside: as text without translations, for instance.
#
#   bash scripts/split_text.sh FOLDER --languages S T --keep N
#
# FOLDER/train.S and FOLDER/train.T keep their first N lines. FOLDER/rest.S and FOLDER/rest.T get the others. If that is done
# already, the script does nothing. It refuses text that was split with another N, and sides of different lengths.
set -euo pipefail
source "$(dirname "$0")/common.sh"
[[ ${1:-} == -h || ${1:-} == --help ]] && usage
[[ $# == 6 && $2 == --languages && $5 == --keep ]] || usage 1

folder=$1 languages=("$3" "$4") keep=$6
[[ $keep =~ ^[1-9][0-9]*$ ]] || die "--keep $keep: give a whole number from 1"
totals=()
for language in "${languages[@]}"; do
  train=$folder/train.$language rest=$folder/rest.$language
  [[ -f $train ]] || die "$train: no such file"
  lines=$(wc -l <"$train")
  if ((lines == keep)) && [[ -s $rest ]]; then
    lines=$((keep + $(wc -l <"$rest")))
  elif ((lines <= keep)); then
    die "$train has $lines lines, --keep $keep leaves none aside"
  # A killed run has set the lines aside and not cut the text yet.
  elif [[ -e $rest ]] && ! cmp -s "$rest" <(tail -n +"$((keep + 1))" "$train"); then
    die "$rest holds lines that another --keep set aside; put them behind $train and remove $rest"
  fi
  totals+=("$lines")
done
((totals[0] == totals[1])) ||
  die "$folder/train.$3 and rest have ${totals[0]} lines, train.$4 and rest ${totals[1]}: they must be parallel"
for language in "${languages[@]}"; do
  train=$folder/train.$language rest=$folder/rest.$language
  lines=$(wc -l <"$train")
  if ((lines == keep)); then continue; fi
  tail -n +"$((keep + 1))" "$train" >"$rest.tmp"
  mv "$rest.tmp" "$rest"
  head -n "$keep" "$train" >"$train.tmp"
  mv "$train.tmp" "$train"
  say "$rest: $((lines - keep)) lines"
done
