#!/usr/bin/env bash
# Get IWSLT 2015 Thai to English as raw text: TED talks, about 90,000 pairs. If the files are there already, the script
# does nothing.
#
#   bash scripts/get_iwslt15.sh OUTPUT_DIR
#
# The script writes OUTPUT_DIR/{train,valid,test}.{th,en}. The validation text is tst2010 and tst2011, the test text is
# tst2012 and tst2013. If $IWSLT15_DIR names a folder, the script reads the text there: WIT3's archive th-en of 2015-01,
# unpacked (train.tags.th-en.th, IWSLT15.TED.tst2012.th-en.th.xml and so on). Otherwise it downloads that archive from
# wit3.fbk.eu. WIT3 has moved its archives before; if the address does not answer, get the archive by hand.
# Cite Cettolo et al. 2012 (WIT3).
set -euo pipefail
source "$(dirname "$0")/common.sh"

output=
while [[ $# -gt 0 ]]; do
  case $1 in
    -h | --help) usage ;;
    -*) die "unknown option $1; see --help" ;;
    *) output=$1 ;;
  esac
  shift
done
[[ -n $output ]] || usage 1
folder=${IWSLT15_DIR-}
[[ -z $folder || -d $folder ]] || die "IWSLT15_DIR=$folder is no folder (seen from $PWD)"

done_before=1
for file in {train,valid,test}.{th,en}; do [[ -f $output/$file ]] || done_before=; done
if [[ -n $done_before ]]; then exit 0; fi
mkdir -p "$output"
work=$(mktemp -d "$output/iwslt15.XXXXXX")
trap 'rm -rf "$work"' EXIT
if [[ -z $folder ]]; then
  url=https://wit3.fbk.eu/archive/2015-01/texts/th/en/th-en.tgz
  download "$url" "$work/th-en.tgz" IWSLT15_DIR
  tar -xzf "$work/th-en.tgz" -C "$work" 2>/dev/null || die "$url is no sound archive; give the text's folder as IWSLT15_DIR"
  folder=$work/th-en
fi

for language in th en; do
  for file in train.tags.th-en.$language IWSLT15.TED.tst201{0,1,2,3}.th-en.$language.xml; do
    [[ -f $folder/$file ]] || die "no $file in $folder"
  done
  # What is no line of a talk (its address, title, description, …) is in tags.
  sed '/^ *</d' "$folder/train.tags.th-en.$language" >"$work/train.$language"
  for split in "valid 2010 2011" "test 2012 2013"; do
    read -r name first second <<<"$split"
    for year in "$first" "$second"; do
      sed -n 's/^ *<seg id="[0-9]*">\(.*\)<\/seg>.*$/\1/p' "$folder/IWSLT15.TED.tst$year.th-en.$language.xml"
    done | sed 's/&lt;/</g; s/&gt;/>/g; s/&quot;/"/g; s/&amp;/\&/g' >"$work/$name.$language"
  done
done
for name in train valid test; do
  lines=$(wc -l <"$work/$name.th")
  [[ $lines -gt 0 && $lines == "$(wc -l <"$work/$name.en")" ]] ||
    die "$name.th has $lines lines, $name.en $(wc -l <"$work/$name.en") (from $folder)"
done
for name in train valid test; do
  mv "$work/$name.th" "$work/$name.en" "$output"
  say "$output/$name.{th,en}: $(wc -l <"$output/$name.en") lines"
done
