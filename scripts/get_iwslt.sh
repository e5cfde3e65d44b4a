#!/usr/bin/env bash
# Get TED talks of an IWSLT campaign as raw text, from WIT3's archives. If the files are there already, the script does
# nothing. If it was interrupted, run it again and it goes on.
#
#   bash scripts/get_iwslt.sh YEAR SOURCE TARGET OUTPUT_DIR [--lowercase]
#
# The script writes OUTPUT_DIR/{train,valid,test}.{SOURCE,TARGET}:
#
#   YEAR  pair   validation text              test text                              archive
#   2013  en fr  dev2010                      tst2010                                yours, as $IWSLT13_DIR
#   2014  de en  every 23rd training pair     dev2010, dev2012, tst2010 to tst2012   downloaded, or $IWSLT14_DIR
#   2015  th en  tst2010, tst2011             tst2012, tst2013                       yours, as $IWSLT15_DIR
#   2017  ar en  dev2010                      tst2010 to tst2015                     downloaded, or $IWSLT17_DIR
#
# Other pairs of a year get the same split, from your archive. Pairs with an empty side or more than 175 words are dropped
# from the training text. The split of 2014 is that of fairseq's prepare-iwslt14.sh, which also tokenises and lowercases the
# text. --lowercase does the latter. It is refused for text that was made without it, and so is another YEAR.
#
# WIT3 (https://wit3.fbk.eu) now gives one archive for all pairs of a year, through a browser alone. The folder that
# $IWSLT13_DIR and the like name can hold it unpacked, or the pair's archive (en-fr.tgz), or that unpacked (train.tags.en-fr.en
# and so on). 2014 de en comes from fairseq's copy, 2017 ar en from Hugging Face. The script prints the SHA-256 of what it
# downloads. It refuses another sum than the published one (2017) or than $SHA256. Cite Cettolo et al. 2012 (WIT3).
set -euo pipefail
source "$(dirname "$0")/raw_text.sh"

words=() lowercase=
while [[ $# -gt 0 ]]; do
  case $1 in
    -h | --help) usage ;;
    --lowercase) lowercase=--lowercase ;;
    -*) die "unknown option $1; see --help" ;;
    *) words+=("$1") ;;
  esac
  shift
done
((${#words[@]})) || usage 1
((${#words[@]} == 4)) || die "give YEAR SOURCE TARGET OUTPUT_DIR; see --help"
year=${words[0]} source=${words[1]} target=${words[2]} output=${words[3]}
[[ $year =~ ^201[3457]$ ]] || die "no split for the year '$year'; take 2013, 2014, 2015 or 2017"
pair=$source-$target variable=IWSLT${year#20}_DIR
folder=$(own_folder "$variable")
python=$(command -v python3 || command -v python) || die "python3 is missing; install it"

done_before=1
for file in {train,valid,test}."$source" {train,valid,test}."$target"; do [[ -f $output/$file ]] || done_before=; done
if [[ -n $done_before ]]; then
  same_options "$output" "$year${lowercase:+ $lowercase}"
  exit 0
fi

url='' sum=
case $year:$pair in
  2014:de-en) url=https://dl.fbaipublicfiles.com/fairseq/data/iwslt14/de-en.tgz ;;
  2017:ar-en)
    url=https://huggingface.co/datasets/IWSLT/iwslt2017/resolve/ebd7c60d9800c2a1be010a227e5f0a2363730f7a
    url+=/data/2017-01-trnted/texts/ar/en/ar-en.tgz
    # From that data set's dataset_infos.json.
    sum=f1b77caa115cf5cbd00e519b425e33615080c8735fd9dd59a0c811bacd10ab70
    ;;
esac
[[ -n $folder || -n $url ]] ||
  die "no address for $year $pair; get it from https://wit3.fbk.eu by hand and give its folder as $variable"

mkdir -p "$output"
work=$(mktemp -d "$output/iwslt.XXXXXX")
trap 'rm -rf "$work"' EXIT
archive=
if [[ -z $folder ]]; then
  mkdir -p "$output/archives"
  archive=$output/archives/$pair.tgz
  [[ -f $archive ]] || download "$url" "$archive" "$variable" "${SHA256:-$sum}"
  say "$archive: SHA-256 $(sha256sum "$archive" | cut -d ' ' -f 1)"
fi
first=train.tags.$pair.$source
text=$([[ -z $folder ]] || find -L "$folder" -type f -name "$first" -print -quit)
if [[ -z $text ]]; then
  [[ -n $archive ]] || archive=$(find -L "$folder" -type f \( -name "$pair.tgz" -o -name "$pair.zip" \) -print -quit)
  [[ -n $archive ]] || die "neither $first nor $pair.tgz in $folder"
  if [[ $archive == *.zip ]]; then
    PYTHONSAFEPATH=1 "$python" -m zipfile -e "$archive" "$work/archive" 2>/dev/null || die "$archive is no sound archive; remove it"
  else
    mkdir "$work/archive"
    tar -xzf "$archive" -C "$work/archive" 2>/dev/null || die "$archive is no sound archive; remove it"
  fi
  text=$(find "$work/archive" -type f -name "$first" -print -quit)
  [[ -n $text ]] || die "no $first in $archive"
fi

"$python" "$root/scripts/wit3.py" "$(dirname "$text")" "$year" "$source" "$target" "$work" ${lowercase:+"$lowercase"} \
  2>"$work/reason" || die "$(tail -n 1 "$work/reason")${archive:+ (from $archive)}"
echo "$year${lowercase:+ $lowercase}" >"$output/arguments"
for name in train valid test; do
  mv "$work/$name.$source" "$work/$name.$target" "$output"
  say "$output/$name.{$source,$target}: $(wc -l <"$output/$name.$target") lines"
done
