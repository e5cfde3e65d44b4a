#!/usr/bin/env bash
# Turn raw parallel text into a data-bin that fairseq-train reads. If the data-bin is there already, the script does
# nothing.
#
#   bash scripts/prepare_data.sh --source-lang S --target-lang T --train PREFIX --valid PREFIX --test PREFIX
#     (--vocab-size N | --spm-model FILE [--dictionaries FOLDER]) --output DIR
#
# The options are those of `fairseq-kd prepare`, which cuts the text into subwords and writes one dictionary for both
# languages to DIR. It makes DIR/data-bin too, with one row for each row of subwords and the bytes of fairseq-preprocess. The
# folder appears only when it is whole. The text may be compressed: PREFIX.S.gz, .xz or .zst. A run that was killed goes on
# where it was. DIR/data-bin/arguments records the arguments; for the same DIR the script refuses other arguments, other text
# or another sentencepiece model. With --dictionaries the data-bin gets dict.S.txt and dict.T.txt of FOLDER, those of a teacher,
# for instance, whose sentencepiece model cuts the text.
set -euo pipefail
source "$(dirname "$0")/common.sh"
[[ $# -gt 0 ]] || usage 1

whole_names "--train --valid --test --spm-model --dictionaries --output --source-lang --target-lang --data-bin" "$@"

output='' source='' target='' dictionaries='' spm='' prefixes=() own=()
words=("$@")
for ((i = 0; i < $#; i++)); do
  case ${words[i]} in
    --dictionaries=*)
      dictionaries=${words[i]#*=}
      continue
      ;;
    --dictionaries)
      dictionaries=${words[i + 1]-}
      [[ -n $dictionaries ]] || die "--dictionaries needs a value"
      i=$((i + 1))
      continue
      ;;
    -h | --help) usage ;;
    --data-bin | --data-bin=*) die "--data-bin: prepare_data.sh makes it in --output; leave it out" ;;
    --train | --valid | --test) prefixes+=("${words[i + 1]-}") ;;
    --train=* | --valid=* | --test=*) prefixes+=("${words[i]#*=}") ;;
    --spm-model) spm=${words[i + 1]-} ;;
    --spm-model=*) spm=${words[i]#*=} ;;
    --output) output=${words[i + 1]-} ;;
    --source-lang) source=${words[i + 1]-} ;;
    --target-lang) target=${words[i + 1]-} ;;
    --output=*) output=${words[i]#*=} ;;
    --source-lang=*) source=${words[i]#*=} ;;
    --target-lang=*) target=${words[i]#*=} ;;
  esac
  own+=("${words[i]}")
done
[[ -n $output && -n $source && -n $target ]] || die "give --output, --source-lang and --target-lang; see --help"

for language in ${dictionaries:+"$source" "$target"}; do
  [[ -f $dictionaries/dict.$language.txt ]] || die "--dictionaries $dictionaries: no dict.$language.txt in it"
done
[[ -z $dictionaries || " $* " == *" --spm-model"* ]] || die "--dictionaries goes with --spm-model"

# text_of FILE: its bytes, or those of the compressed file that `fairseq-kd prepare` takes in its place.
text_of() {
  local ending
  for ending in '' .gz .xz .zst; do
    [[ ! -e $1$ending ]] || { cat "$1$ending" && return; }
  done
}
# With the text's checksums: the same names with other text are another data-bin.
sums=$(
  for prefix in "${prefixes[@]}"; do
    { { text_of "$prefix.$source" && text_of "$prefix.$target"; } 2>/dev/null || true; } | cksum
  done | tr '\n' ' '
  [[ -z $dictionaries ]] || cat "$dictionaries/dict.$source.txt" "$dictionaries/dict.$target.txt" | cksum | tr '\n' ' '
)
making=() # what makes the data-bin: it is the same with any number of processes
for ((i = 0; i < $#; i++)); do
  case ${words[i]} in
    --workers) i=$((i + 1)) ;;
    --workers=* | --verbose) ;;
    *) making+=("${words[i]}") ;;
  esac
done
arguments=$(quoted "${making[@]}")$sums
earlier=$(printf '%q ' "$@")$sums # of a version that wrote all words, as the locale had them
end_if_done() {
  [[ -d $output/data-bin ]] || return 0
  [[ $(cat "$output/data-bin/arguments" 2>/dev/null) == @("$arguments"|"$earlier") ]] ||
    die "$output was prepared with other arguments or text (see $output/data-bin/arguments); remove the folder or take another"
  [[ -z $spm ]] || cmp -s "$spm" "$output/spm.model" ||
    die "$output was prepared with another model than $spm; remove the folder or take another"
  rm -rf "$output/data-bin.new"
  say "$output/data-bin: done before"
  exit 0
}
end_if_done

new=$output/data-bin.new
if [[ -z $dictionaries ]]; then
  fairseq-kd prepare "$@" --data-bin "$new"
  hold "$output"
  end_if_done # by another run
else
  fairseq-kd prepare "${own[@]}"
  hold "$output"
  end_if_done
  rm -rf "$new"
  mkdir "$new"
  text=$output/subword
  python -m fairseq_kd.corpus.preparation.binarise "$new" "$dictionaries" "$source" "$target" \
    "train=$text/train" "valid=$text/valid" "test=$text/test" || exit 1
  python -m fairseq_kd.data.databins.checksums "$new"
fi
for split in train valid test; do
  for language in "$source" "$target"; do
    wanted=$(wc -l <"$output/subword/$split.$language")
    index=$new/$split.$source-$target.$language.idx
    # fairseq's .idx: 9 bytes of name, 8 of version, 1 of type, then the number of rows in 8 bytes.
    found=$(od -An -j18 -N8 -t u8 "$index" 2>/dev/null | tr -d ' ') || true
    [[ $found == "$wanted" ]] || die "$index has ${found:-no} rows, $output/subword/$split.$language has $wanted; run again"
  done
done
echo "$arguments" >"$new/arguments"
mv "$new" "$output/data-bin"
say "$output/data-bin: ready"
