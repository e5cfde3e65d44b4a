#!/usr/bin/env bash
# Let a teacher translate the training rows of its data-bin, and make a data-bin of its translations for students.
# If the script was interrupted, run it again and it goes on.
#
#   bash scripts/generate_distilled_corpus.sh --model CKPT[:CKPT...] --data DATABIN --output DIR [--shards N] [options]
#
# --shards N runs N decodes side by side on this machine. All other options go to `fairseq-kd decode` (--beam, --nbest,
# --max-len-a, --max-len-b, --max-tokens, ...). The script writes train.SRC, train.TGT, signature.json and data-bin/ to DIR.
# The split train of data-bin/ is the distilled text; its other splits and its dictionaries are those of DATABIN. The
# folder data-bin/ appears only when it is whole.
#
# --seq-inter (Kim & Rush 2016) asks the teacher for lists of 35 translations (--beam K, --nbest K) and takes from each
# list the translation closest to the gold target. The lists are in DIR/nbest. --reference FILE gives the text of the gold
# target; the default is DATABIN's target side. --metric, --post-process, --tokenize and --smooth-method go to
# `fairseq-kd select`.
set -euo pipefail
source "$(dirname "$0")/common.sh"
[[ $# -gt 0 ]] || usage 1

model='' data='' output='' shards=1 options=() seq_inter='' beam='' nbest='' reference='' selection=()
threads=${OMP_NUM_THREADS:-$(nproc)}
while (($#)); do
  case $1 in
    -h | --help) usage ;;
    --*=*) set -- "${1%%=*}" "${1#*=}" "${@:2}" ;;
    --shard | --subset) die "$1 is chosen by this script; for anything else there is fairseq-kd decode" ;;
    --model | --data | --output | --shards | --beam | --nbest | --reference)
      (($# > 1)) || die "$1 needs a value"
      declare "${1#--}=$2"
      shift 2
      ;;
    --seq-inter)
      seq_inter=1
      shift
      ;;
    --metric | --post-process | --tokenize | --smooth-method)
      (($# > 1)) || die "$1 needs a value"
      selection+=("$1" "$2")
      shift 2
      ;;
    *)
      options+=("$1")
      shift
      ;;
  esac
done
[[ -n $model && -n $data && -n $output ]] || die "give --model, --data and --output; see --help"
[[ $shards =~ ^[1-9][0-9]*$ ]] || die "--shards $shards: give a whole number from 1"
decoded=$output
if [[ -n $seq_inter ]]; then
  beam=${beam:-${nbest:-35}} nbest=${nbest:-$beam} decoded=$output/nbest
  [[ $nbest != 1 ]] || die "--nbest 1: --seq-inter chooses from 2 or more"
  [[ -d $decoded || ! -e $output/parts ]] || die "$output holds another corpus; give another --output"
elif [[ -n $reference || ${#selection[@]} -gt 0 ]]; then
  die "${selection[0]:---reference} goes with --seq-inter"
fi

decode=(fairseq-kd decode --model "$model" --data "$data" --subset train --output "$decoded"
  ${beam:+--beam "$beam"} ${nbest:+--nbest "$nbest"} "${options[@]}")

# The first shard shows its progress. Each other shard writes to a log file of its own.
decode_in_shards() {
  local shard pids=()
  # Two processes that each spin on both cores are four times slower than on one each.
  export OMP_NUM_THREADS=$((threads > shards ? threads / shards : 1))
  export MKL_NUM_THREADS=$OMP_NUM_THREADS
  mkdir -p "$output/logs"
  trap 'kill $(jobs -p) 2>/dev/null || true' EXIT
  for ((shard = 1; shard < shards; shard++)); do
    FAIRSEQ_KD_VERBOSE=1 "${decode[@]}" --shards "$shards" --shard "$shard" 2>"$output/logs/shard-$shard.log" &
    pids[shard]=$!
  done
  "${decode[@]}" --shards "$shards" --shard 0
  for ((shard = 1; shard < shards; shard++)); do
    wait "${pids[shard]}" || die "shard $shard failed: $(tail -n 1 "$output/logs/shard-$shard.log")"
  done
  trap - EXIT
  fairseq-kd merge "$decoded"
}

# Rows of one side of the split train of a data-bin: fairseq's .idx starts with 9 bytes of name, 8 of version and 1 of
# type; then comes their number in 8 bytes.
count_rows() {
  od -An -j18 -N8 -t u8 "$1/train.$source-$target.$2.idx" 2>/dev/null | tr -d ' ' || true
}

binarise() {
  local new=$output/data-bin.tmp language file found
  rm -rf "$new"
  mkdir "$new"
  fairseq-preprocess --source-lang "$source" --target-lang "$target" --trainpref "$output/train" --destdir "$new" \
    --srcdict "$data/dict.$source.txt" --tgtdict "$data/dict.$target.txt" --workers "$(nproc)" \
    >"$output/preprocess.log" 2>&1 ||
    die "fairseq-preprocess failed: $(tail -n 1 "$output/preprocess.log") (all of it: $output/preprocess.log)"
  for language in "$source" "$target"; do
    found=$(count_rows "$new" "$language")
    [[ $found == "$rows" ]] || die "$new has ${found:-no} rows of $language, the gold data has $rows; run again"
  done
  for file in "$data"/*."$source-$target".*; do
    [[ ${file##*/} == train* ]] || cp "$file" "$new"
  done
  cp "$output/signature.json" "$new"
  rm -rf "$output/data-bin"
  mv "$new" "$output/data-bin"
}

if ((shards == 1)); then
  "${decode[@]}"
else
  decode_in_shards
fi
if [[ -n $seq_inter ]]; then
  # the mbr metrics compare candidates with each other and take no reference
  [[ " ${selection[*]} " == *" mbr-"* ]] || reference=${reference:-$data}
  fairseq-kd select --nbest "$decoded/train.nbest.tsv" ${reference:+--reference "$reference"} --output "$output" \
    --workers "$threads" "${selection[@]}"
fi

read -r source target < <(python -c 'import json, sys
made = json.load(open(sys.argv[1]))
print(made["source"], made["target"])' "$output/signature.json")
rows=$(count_rows "$data" "$source")
for language in "$source" "$target"; do
  lines=$(wc -l <"$output/train.$language")
  ((lines == rows)) || die "$output/train.$language has $lines lines, the gold data has $rows rows; delete $output"
done

# The data-bin carries the signature of the text it was made from.
if ! cmp -s "$output/signature.json" "$output/data-bin/signature.json"; then
  binarise
fi
say "$output/train.$source, $output/train.$target: $rows rows"
say "$output/data-bin: ready; train is distilled, the other splits and the dictionaries are those of $data"
