#!/usr/bin/env bash
# Get WMT14 English to German as raw text: about 4.5 million training pairs, newstest2013 to validate, newstest2014 to
# test. If the script was interrupted, run it again and it goes on. If the files are there, it does nothing.
#
#   bash scripts/get_wmt14.sh OUTPUT_DIR [--max-words 50]
#
# The script writes OUTPUT_DIR/{train,valid,test}.{en,de}. If $WMT14_DIR names a folder, it reads the text there:
# {train,valid,test}.{en,de}, plain or with .gz. Otherwise it downloads Europarl v7, Common Crawl and News Commentary v9
# from statmt.org (1.6 GB, kept in OUTPUT_DIR/archives), and lets sacreBLEU download both test sets (wmt13, wmt14/full). It
# refuses archives with other SHA-256 sums than those that TensorFlow Datasets publishes for them.
# It drops each training pair with more than --max-words words on either side. It refuses another --max-words for the same
# OUTPUT_DIR.
set -euo pipefail
source "$(dirname "$0")/raw_text.sh"

output='' words=50
while [[ $# -gt 0 ]]; do
  case $1 in
    -h | --help) usage ;;
    --max-words) words=${2-} && shift ;;
    -*) die "unknown option $1; see --help" ;;
    *) output=$1 ;;
  esac
  shift || die "an option lacks its value; see --help"
done
[[ -n $output ]] || usage 1
[[ $words =~ ^[1-9][0-9]*$ ]] || die "--max-words $words: give a whole number from 1"
folder=$(own_folder WMT14_DIR)
[[ ! -f $output/train.en || ! -f $output/train.de ]] || same_options "$output" "--max-words $words"
python=$(command -v python3 || command -v python) || die "python3 is missing; install it"

mkdir -p "$output"
work=$(mktemp -d "$output/wmt14.XXXXXX")
trap 'rm -rf "$work"' EXIT

# corpus URL STEM SHA256: the pairs of an archive, in whatever folder of it, added to the training text
corpus() {
  local archive language
  archive=$(source_file "$(basename "$1")" "$1" WMT14_DIR "$3")
  for language in en de; do
    tar -xzOf "$archive" --wildcards --no-anchored "$2.de-en.$language" >>"$work/all.$language" 2>/dev/null ||
      die "$archive has no $2.de-en.$language; remove it and run again"
  done
}

for split in "valid wmt13" "test wmt14/full" train; do
  read -r name set <<<"$split"
  if [[ -f $output/$name.en && -f $output/$name.de ]]; then continue; fi
  if [[ -n $folder ]]; then
    for language in en de; do own_text "$folder" "$name.$language" >"$work/$name.$language"; done
  elif [[ $name == train ]]; then
    corpus http://statmt.org/wmt13/training-parallel-europarl-v7.tgz europarl-v7 \
      0224c7c710c8a063dfd893b0cc0830202d61f4c75c17eb8e31836103d27d96e7
    corpus http://statmt.org/wmt13/training-parallel-commoncrawl.tgz commoncrawl \
      c7a74e2ea01ac6c920123108627e35278d4ccb5701e15428ffa34de86fa3a9e5
    corpus http://statmt.org/wmt14/training-parallel-nc-v9.tgz news-commentary-v9 \
      cb8953f292298e6877ae433c98912b927cb0766b303f4540512ddd286c748485
    mv "$work/all.en" "$work/train.en"
    mv "$work/all.de" "$work/train.de"
  else
    test_set "$set" en de "$name" WMT14_DIR
  fi
  if [[ $name == train ]]; then
    status=0
    PYTHONSAFEPATH=1 "$python" - "$words" "$work"/train.{en,de} "$work"/short.{en,de} 2>"$work/reason" <<'END' || status=$?
import sys

limit, paths = int(sys.argv[1]), sys.argv[2:]
with open(paths[0], "rb") as en, open(paths[1], "rb") as de, open(paths[2], "wb") as own, open(paths[3], "wb") as other:
    try:
        for pair in zip(en, de, strict=True):
            if all(len(line.split()) <= limit for line in pair):
                own.write(pair[0])
                other.write(pair[1])
    except ValueError:
        sys.exit(3)
END
    ((status != 3)) || die "train.en and train.de are not parallel"
    ((status == 0)) || die "$python failed: $(tail -n 1 "$work/reason")"
    mv "$work/short.en" "$work/train.en"
    mv "$work/short.de" "$work/train.de"
    echo "--max-words $words" >"$output/arguments"
  fi
  place "$name" en de "${folder:-statmt.org}"
done
