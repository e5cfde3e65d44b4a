#!/usr/bin/env bash
# Get Multi30k, task 1, as plain text: 29,000 captions for training, 1,014 for validation and 1,000 for testing. If the
# files are there already, the script does nothing.
#
#   bash scripts/get_multi30k.sh OUTPUT_DIR [--source-lang en] [--target-lang de]
#
# The script writes OUTPUT_DIR/{train,valid,test}.{en,de}. If $MULTI30K_DIR names a folder, it reads the text there:
# train.en, val.en, test_2016_flickr.en and so on, plain or with .gz. Otherwise it downloads the text from the public
# repository multi30k/dataset on GitHub. The languages are en, de and fr.
# The text is for non-commercial research. Cite Elliott et al. 2016 (Multi30K) and, for French, Elliott et al. 2017.
set -euo pipefail
source "$(dirname "$0")/raw_text.sh"

output='' source=en target=de
while [[ $# -gt 0 ]]; do
  case $1 in
    -h | --help) usage ;;
    --source-lang) source=${2-} && shift ;;
    --target-lang) target=${2-} && shift ;;
    -*) die "unknown option $1; see --help" ;;
    *) output=$1 ;;
  esac
  shift || die "an option lacks its value; see --help"
done
[[ -n $output ]] || usage 1
for language in "$source" "$target"; do
  [[ $language =~ ^(en|de|fr)$ ]] || die "no language '$language' in Multi30k task 1; take two of en, de, fr"
done

url=https://raw.githubusercontent.com/multi30k/dataset/a3d2e0d26b56f3846f66a952536ffed4e401d05a/data/task1/raw
folder=$(own_folder MULTI30K_DIR)

mkdir -p "$output"
work=$(mktemp -d "$output/multi30k.XXXXXX")
trap 'rm -rf "$work"' EXIT

# fetch NAME FILE: the text of NAME (as train.en), unpacked, to FILE
fetch() {
  if [[ -z $folder ]]; then
    download "$url/$1.gz" "$2.gz" MULTI30K_DIR
    gzip -dc "$2.gz" >"$2" 2>/dev/null || die "$url/$1.gz is no sound gzip file"
  else
    own_text "$folder" "$1" >"$2"
  fi
}

for language in "$source" "$target"; do
  for split in "train train 29000" "valid val 1014" "test test_2016_flickr 1000"; do
    read -r name stem rows <<<"$split"
    file=$name.$language
    if [[ -f $output/$file && $(wc -l <"$output/$file") == "$rows" ]]; then continue; fi
    fetch "$stem.$language" "$work/$file"
    found=$(wc -l <"$work/$file")
    [[ $found == "$rows" ]] || die "$stem.$language has $found lines instead of $rows (from ${folder:-$url})"
    mv "$work/$file" "$output/$file"
    say "$output/$file: $rows lines"
  done
done
