#!/usr/bin/env bash
# Get the text of one of the four tasks of f-DISTILL (Wen et al. 2023) as raw text. If the files are there already, the
# script does nothing. If it was interrupted, run it again and it goes on.
#
#   bash scripts/get_fdistill.sh TASK OUTPUT_DIR [--pairs 100000] [--source-words N]
#
# The script writes OUTPUT_DIR/{train,valid,test}.{SOURCE,TARGET}:
#
#   TASK                  SOURCE    TARGET   rows in the paper (train/valid/test)   your folder
#   wmt16_en_ro           en        ro       100,000 / 1,999 / 1,999                $WMT16_DIR
#   dart                  records   en       30,526 / 2,768 / 4,159                 $DART_DIR
#   xsum                  document  summary  204,045 / 11,332 / 11,334              $XSUM_DIR
#   commonsense_dialogue  context   reply    51,831 / 6,619 / 6,610                 $COMMONSENSE_DIALOGUE_DIR
#
# wmt16_en_ro   Europarl v8 and SETIMES v2; --pairs of them are drawn with a fixed seed, because the paper does not say
#               which. newsdev2016 and newstest2016 come by sacreBLEU (wmt16/dev, wmt16).
# dart          v1.1.1. A source is "subject : relation : object | …". For training and validation each sentence of a
#               set of records is a pair. The test set has a row for each set of records; its second and third sentences
#               are test.en.2 and test.en.3, with an empty line where there are none.
# xsum          The archive of the authors of XSum, split by their list.
# commonsense_dialogue
#               Each turn is a reply to the context and all turns before it, joined by " | ".
#
# --source-words keeps the first N words of each source. A folder of yours can hold the files of the official addresses (for
# wmt16_en_ro with {valid,test}.{en,ro} beside them), or {train,valid,test}.{SOURCE,TARGET}, plain or with .gz, and further
# references test.TARGET.2 and test.TARGET.3. Of such ready text all pairs are taken, unless --pairs is given. SHA-256 sums are
# compared where one is published: by TensorFlow Datasets for wmt16_en_ro, by Hugging Face for xsum. For the other two none
# is published; their addresses name a commit.
set -euo pipefail
source "$(dirname "$0")/raw_text.sh"

words=() pairs='' limit=0
while [[ $# -gt 0 ]]; do
  case $1 in
    -h | --help) usage ;;
    --pairs) pairs=${2-} && shift ;;
    --source-words) limit=${2-} && shift ;;
    -*) die "unknown option $1; see --help" ;;
    *) words+=("$1") ;;
  esac
  shift || die "an option lacks its value; see --help"
done
((${#words[@]})) || usage 1
((${#words[@]} == 2)) || die "give TASK OUTPUT_DIR; see --help"
task=${words[0]} output=${words[1]}
[[ -z $pairs || $pairs =~ ^[1-9][0-9]*$ ]] || die "--pairs $pairs: give a whole number from 1"
[[ $limit =~ ^[0-9]+$ ]] || die "--source-words $limit: give a whole number, or 0 for all"
case $task in
  wmt16_en_ro) source=en target=ro variable=WMT16_DIR ;;
  dart) source=records target=en variable=DART_DIR ;;
  xsum) source=document target=summary variable=XSUM_DIR ;;
  commonsense_dialogue) source=context target=reply variable=COMMONSENSE_DIALOGUE_DIR ;;
  *) die "no task '$task'; take wmt16_en_ro, dart, xsum or commonsense_dialogue" ;;
esac
[[ -z $pairs || $task == wmt16_en_ro ]] || die "--pairs goes with wmt16_en_ro; leave it out"
folder=$(own_folder "$variable")
python=$(command -v python3 || command -v python) || die "python3 is missing; install it"

done_before=1
for split in train valid test; do [[ -f $output/$split.$source && -f $output/$split.$target ]] || done_before=; done
options="${pairs:+--pairs $pairs }--source-words $limit"
if [[ -n $done_before ]]; then
  same_options "$output" "$options"
  exit 0
fi

mkdir -p "$output"
work=$(mktemp -d "$output/fdistill.XXXXXX")
trap 'rm -rf "$work"' EXIT
# convert ARGUMENTS…: read the archives; what is wrong with them is this script's last line
convert() {
  "$python" "$root/scripts/fdistill_texts.py" "$task" "$work" "$limit" "$@" 2>"$work/reason" ||
    die "$(tail -n 1 "$work/reason")"
}
# shorten SPLIT…: text that did not come from an archive gets what --source-words and --pairs ask for
shorten() {
  [[ $limit == *[1-9]* || -n $pairs ]] || return 0
  convert ready "${pairs:-0}" "$@"
}
origin=${folder:-the official addresses}

raw=https://raw.githubusercontent.com
if [[ -n $folder && (-f $folder/train.$source || -f $folder/train.$source.gz) ]]; then
  for split in train valid test; do
    for side in "$source" "$target"; do own_text "$folder" "$split.$side" >"$work/$split.$side"; done
    parallel "$split" "$source" "$target" "$origin"
  done
  shorten train valid test
  for more in "test.$target".{2,3}; do
    [[ -f $folder/$more || -f $folder/$more.gz ]] || continue
    own_text "$folder" "$more" >"$work/$more"
    parallel test "$target" "${more#test.}" "$origin"
  done
elif [[ $task == wmt16_en_ro ]]; then
  europarl=$(source_file training-parallel-ep-v8.tgz \
    http://data.statmt.org/wmt16/translation-task/training-parallel-ep-v8.tgz WMT16_DIR \
    8917bd3bef3bc894c8519ca1f8a4c7c330aad08a1263655a9d99ee13d532e3c7)
  setimes=$(source_file en-ro.tmx.gz "https://opus.nlpl.eu/download.php?f=SETIMES/v2/tmx/en-ro.tmx.gz" WMT16_DIR \
    56bfaa2a8c8bdfccb7b50cc926067e2291347d807004e81faab8762ddbf26302)
  if [[ -n $folder ]]; then
    for split in valid test; do
      for side in en ro; do own_text "$folder" "$split.$side" >"$work/$split.$side"; done
    done
  else
    test_set wmt16/dev en ro valid WMT16_DIR
    test_set wmt16 en ro test WMT16_DIR
  fi
  shorten valid test
  convert "$europarl" "$setimes" "${pairs:-100000}"
elif [[ $task == xsum ]]; then
  list=$(source_file XSum-TRAINING-DEV-TEST-SPLIT-90-5-5.json \
    "$raw/EdinburghNLP/XSum/7b95485c3e861d7caff76a8b4c6b3fd3bf7ee9b1/XSum-Dataset/XSum-TRAINING-DEV-TEST-SPLIT-90-5-5.json" \
    XSUM_DIR 9c0c5d8f048a90bd68b19a34e4c30577ed270d3247b2119fa06a04ef46292068)
  articles=$(source_file XSUM-EMNLP18-Summary-Data-Original.tar.gz \
    http://bollin.inf.ed.ac.uk/public/direct/XSUM-EMNLP18-Summary-Data-Original.tar.gz XSUM_DIR \
    10b48aa187fc9c904b30f76ca97e2da0de8d3a1238acc26acadef93e2001af90)
  convert "$list" "$articles"
else
  files=()
  for split in train valid test; do
    if [[ $task == dart ]]; then
      name=dart-v1.1.1-full-${split/valid/dev}.json
      url=$raw/Yale-LILY/dart/34b3c872da4811523e334f1631e54ca8105dffab/data/v1.1.1/$name
    else
      name=$split.json url=$raw/alexa/Commonsense-Dialogues/53b55325ee010279ce4ad5ca019fa2878e4f5b57/data/$split.json
    fi
    file=$(source_file "$name" "$url" "$variable")
    files+=("$file")
  done
  convert "${files[@]}"
fi
echo "$options" >"$output/arguments"
for more in "$work"/test."$target".[23]; do [[ ! -f $more ]] || mv "$more" "$output"; done
for split in valid test train; do place "$split" "$source" "$target" "$origin"; done
