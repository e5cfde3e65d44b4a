#!/usr/bin/env bash
# Let a teacher translate the training rows of its data-bin, and make a data-bin of its translations for students.
# If the script was interrupted, run it again and it goes on.
#
#   bash scripts/generate_distilled_corpus.sh --model CKPT[:CKPT...] --data DATABIN --output DIR [--shards N [--shard I]]
#                                             [options]
#
# --shards N runs N decodes side by side on this machine. --shards N --shard I decodes share I, 0 to N - 1, and ends: for
# several machines that see DIR. When all have ended, run the script without --shard. All other options go to
# `fairseq-kd decode` (--beam, --nbest, --max-len-a, --max-len-b, --max-tokens, ..., and --source-lang and --target-lang
# where DATABIN holds several language pairs). The script writes train.SRC, train.TGT, signature.json and data-bin/ to DIR.
# The split train of data-bin/ is the distilled text, also of train1, train2, ... of DATABIN, which fairseq-train reads with
# train. Its other splits and its dictionaries are those of DATABIN. The folder data-bin/ appears only when it is whole, and
# is made again where the other splits of DATABIN have changed. Rows that the teacher did not translate (an empty source, or
# one longer than its positions) are empty lines in the text. data-bin/ has no such row; its left_out.json lists them, and
# --distilled-data leaves them out of training.
#
# --seq-inter (Kim & Rush 2016) asks the teacher for lists of 35 translations (--beam K, --nbest K) and takes from each
# list the translation closest to the gold target. The lists are in DIR/nbest. --reference FILE gives the text of the gold
# target, also .gz, .xz or .zst; the default is DATABIN's target side. --metric, --post-process, --tokenize and --smooth-method go to
# `fairseq-kd select`.
#
# For a student with other subwords than the teacher's, give --student-data DATABIN --student-spm FILE: its data-bin of the
# same text, and the sentencepiece model that cut it. Or give --vocab-size N: a sentencepiece model of N subwords is trained on
# gold and distilled text, and DIR/student gets it and the gold data-bin cut with it. The teacher's own text is then in
# DIR/teacher; train.SRC, train.TGT and data-bin/ have the student's subwords. --post-process says how the teacher's subwords
# are joined. --source decoded cuts the decoded source anew, for text that the student's data-bin does not hold.
#
# --input FILE translates raw text instead of a data-bin: text without translations, or any text by a CTranslate2 or Hugging
# Face folder as --model. The options --spm-model, --profile, --source-lang and --target-lang go to `fairseq-kd decode
# --input`; --data is then the folder with a checkpoint's dictionaries. --student-data and --student-spm are needed: they cut
# both sides, and give data-bin/ its dictionaries and the splits valid and test. The text is text.SRC and text.TGT, with the
# languages of the student's data-bin.
set -euo pipefail
source "$(dirname "$0")/common.sh"
[[ $# -gt 0 ]] || usage 1
whole_names "--model --data --input --output --shards --shard --beam --nbest --reference --student-data --student-spm \
  --vocab-size --post-process --source --seq-inter --metric --tokenize --smooth-method --subset" "$@"

model='' data='' output='' shards=1 shard='' options=() seq_inter='' beam='' nbest='' reference='' selection=()
student_data='' student_spm='' vocab_size='' post=() recut=() input='' subset=train
threads=$(nproc) # as OMP_NUM_THREADS says, of a list such as 4,2 the first
while (($#)); do
  case $1 in
    -h | --help) usage ;;
    --*=*) set -- "${1%%=*}" "${1#*=}" "${@:2}" ;;
    --subset) die "$1 is chosen by this script; for anything else there is fairseq-kd decode" ;;
    --model | --data | --input | --output | --shards | --shard | --beam | --nbest | --reference | --student-data | --student-spm | \
      --vocab-size)
      (($# > 1)) || die "$1 needs a value"
      name=${1#--}
      declare "${name//-/_}=$2"
      shift 2
      ;;
    --post-process)
      (($# > 1)) || die "$1 needs a value"
      post=("$1" "$2")
      shift 2
      ;;
    --source)
      (($# > 1)) || die "$1 needs a value"
      recut=("$1" "$2")
      shift 2
      ;;
    --seq-inter)
      seq_inter=1
      shift
      ;;
    --metric | --tokenize | --smooth-method)
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
[[ -n $model && -n $data$input && -n $output ]] || die "give --model, --data and --output; see --help"
[[ $shards =~ ^[1-9][0-9]*$ ]] || die "--shards $shards: give a whole number from 1"
[[ -z $shard || $shard =~ ^(0|[1-9][0-9]*)$ && $shard -lt $shards ]] || die "--shard $shard: give a number from 0 to $((shards - 1))"
student=''
if [[ -n $student_data$student_spm$vocab_size ]]; then
  student=1
  [[ -n $vocab_size && -z $student_data$student_spm || -z $vocab_size && -n $student_data && -n $student_spm ]] ||
    die "for a student's own subwords give --student-data and --student-spm, or --vocab-size alone"
  [[ ! -e $output/parts ]] || die "$output holds a corpus in the teacher's subwords; give another --output"
elif ((${#recut[@]})); then
  die "--source goes with --student-data"
fi
if [[ -n $input ]]; then
  [[ -n $student_data && ${#recut[@]} -eq 0 ]] ||
    die "--input needs --student-data and --student-spm, which cut its text, and takes no --source"
  subset=text recut=(--source decoded)
fi
teacher=$output${student:+/teacher}
decoded=$teacher
if [[ -n $seq_inter ]]; then
  beam=${beam:-${nbest:-35}} nbest=${nbest:-$beam} decoded=$output/nbest
  [[ $nbest != 1 ]] || die "--nbest 1: --seq-inter chooses from 2 or more"
  [[ -d $decoded || ! -e $output/parts ]] || die "$output holds another corpus; give another --output"
  # What `fairseq-kd select` would refuse after the decode.
  reason=$(python -m fairseq_kd.cli.select --nbest "$decoded" --output "$teacher" ${reference:+--reference "$reference"} \
    "${post[@]}" "${selection[@]}" 2>&1) || die "$(tail -n 1 <<<"$reason" | sed 's/^.*error: //')"
elif [[ -z $student && ${#post[@]} -gt 0 ]]; then
  die "--post-process goes with --seq-inter or a student's own subwords"
elif [[ -n $reference || ${#selection[@]} -gt 0 ]]; then
  die "${selection[0]:---reference} goes with --seq-inter"
fi

if [[ -n $input ]]; then
  [[ -z $seq_inter || -n $reference || " ${selection[*]} " == *" mbr-"* ]] ||
    die "--seq-inter with --input needs the gold target as --reference, or --metric mbr-chrf or mbr-bleu"
  decode=(fairseq-kd decode --model "$model" --input "$input" ${data:+--data "$data"})
else
  decode=(fairseq-kd decode --model "$model" --data "$data" --subset train)
fi
decode+=(--output "$decoded" ${beam:+--beam "$beam"} ${nbest:+--nbest "$nbest"} "${options[@]}")

dictionaries=("$data"/dict.*.txt)
[[ -n $input$student_data || ${#dictionaries[@]} -gt 1 || ! -f ${dictionaries[0]} ]] ||
  die "data-bin $data has one language alone (fairseq-preprocess --only-source), a student's data-bin needs two; give the text as --input with --student-data and --student-spm, or run fairseq-kd decode"

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

# Rows of one side of the split train of a data-bin, over train, train1, train2, ...
count_rows() {
  python -c 'import pathlib, sys
from fairseq_kd.data.databins.indexes import rows_of_split
print(rows_of_split(pathlib.Path(sys.argv[1]), "train", *sys.argv[2:]))' "$1" "$source" "$target" "$2"
}

# The gold text of all splits with subwords of the student's own, and their sentencepiece model.
make_student_data() {
  local folder=$output/student new=$output/student/data-bin.tmp split language arguments
  student_data=$folder/data-bin student_spm=$folder/spm.model
  arguments="--vocab-size $vocab_size ${post[*]} $(cksum <"$teacher/signature.json")"
  if [[ -d $student_data ]]; then
    [[ $(cat "$student_data/arguments" 2>/dev/null) == "$arguments" ]] ||
      die "$folder was made with other options or text; remove $output or take another"
    return
  fi
  fairseq-kd recut --data "$data" --source-lang "$source" --target-lang "$target" --vocab-size "$vocab_size" --more-text "$teacher/train.$target" --output "$folder" \
    "${post[@]}" >&2
  rm -rf "$new"
  local prefixes=()
  for split in "$folder"/subword/*."$source"; do
    split=$(basename "$split" ".$source")
    prefixes+=("$split=$folder/subword/$split")
  done
  mkdir "$new"
  for language in "$source" "$target"; do cp "$folder/dict.txt" "$folder/dict.$language.txt"; done
  python -m fairseq_kd.corpus.preparation.binarise "$new" "$folder" "$source" "$target" "${prefixes[@]}" || exit 1
  rm "$folder/dict.$source.txt" "$folder/dict.$target.txt"
  echo "$arguments" >"$new/arguments"
  python -m fairseq_kd.data.databins.checksums "$new"
  mv "$new" "$student_data"
}

binarise() {
  local new=$output/data-bin.tmp prefix=$output/$subset language found
  rm -rf "$new"
  mkdir "$new"
  left_out=$(python -m fairseq_kd.corpus.distilled.databin keep "$output" "$source" "$target" "$new" "$subset")
  [[ ! -e $new/kept.$target ]] || prefix=$new/kept
  python -m fairseq_kd.corpus.preparation.binarise "$new" "$data" "$source" "$target" "train=$prefix" || exit 1
  for language in "$source" "$target"; do
    found=$(count_rows "$new" "$language")
    [[ $found == "$((rows - left_out))" ]] ||
      die "$new has $found rows of $language, the text has $((rows - left_out)); run again"
  done
  rm -f "$new"/kept.*
  # Text loses a symbol like </s> within a source. A source that was cut anew is not the gold data's.
  [[ ${recut[*]} == *decoded* ]] ||
    python -m fairseq_kd.corpus.distilled.databin sources "$new" "$data" "$source" "$target"
  copy_splits "$data" "$new" "$source" "$target"
  cp "$output/signature.json" "$new"
  python -m fairseq_kd.data.databins.checksums "$new"
  rm -rf "$output/data-bin"
  mv "$new" "$output/data-bin"
  ((left_out == 0)) ||
    say "$output/data-bin: $left_out of $rows rows left out, which the teacher did not translate (left_out.json lists them)"
}

if [[ -n $shard ]]; then
  exec "${decode[@]}" --shards "$shards" --shard "$shard"
elif ((shards == 1)); then
  "${decode[@]}"
else
  decode_in_shards
fi
if [[ -n $seq_inter ]]; then
  # the mbr metrics compare candidates with each other and take no reference
  [[ " ${selection[*]} " == *" mbr-"* ]] || reference=${reference:-$data}
  fairseq-kd select --nbest "$decoded/$subset.nbest.tsv" ${reference:+--reference "$reference"} --output "$teacher" \
    --workers "$threads" "${post[@]}" "${selection[@]}"
fi

# Several runs may share the decode, but one makes the data-bin.
hold "$output"
languages=$(python -m fairseq_kd.corpus.signatures "$teacher" ${input:+"$student_data"} 2>&1) ||
  die "${languages#fairseq_kd: error: }"
read -r source target rows <<<"$languages"
if [[ -n $input ]]; then
  recut+=(--source-lang "$source" --target-lang "$target")
else
  rows=$(count_rows "$data" "$source")
fi
if [[ -n $vocab_size ]]; then
  make_student_data
fi
if [[ -n $student ]]; then
  fairseq-kd recut --decoded "$teacher" --student-data "$student_data" --spm-model "$student_spm" --output "$output" \
    "${post[@]}" "${recut[@]}" >&2
  data=$student_data
fi
for language in "$source" "$target"; do
  lines=$(wc -l <"$output/$subset.$language")
  ((lines == rows)) ||
    die "$output/$subset.$language has $lines lines, the ${input:-gold data} has $rows rows; delete $output"
done

# The data-bin carries the signature of the text it was made from. The other splits may have changed since. That of an
# earlier version has no left_out.json, and may hold rows that the teacher did not translate.
if ! cmp -s "$output/signature.json" "$output/data-bin/signature.json" ||
  { [[ ! -e $output/data-bin/left_out.json ]] && grep -q '^[[:space:]]*$' "$output/$subset.$target"; } ||
  ! same_splits "$data" "$output/data-bin" "$source" "$target"; then
  binarise
fi
say "$output/$subset.$source, $output/$subset.$target: $rows rows"
say "$output/data-bin: ready; train is distilled, the other splits and the dictionaries are those of $data"
