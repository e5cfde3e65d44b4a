#!/usr/bin/env bash
# Join the training rows of several data-bins in one data-bin, for example gold and distilled text. If the joined data-bin
# is there already, the script does nothing.
#
#   bash scripts/join_databins.sh OUTPUT_DIR DATABIN DATABIN [DATABIN…]
#
# The split train of OUTPUT_DIR/data-bin has the rows of the first DATABIN, then those of the next. Its other splits and its
# dictionaries are those of the first. All need the same languages and the same dictionaries. An epoch over joined rows is
# as long as an epoch over each DATABIN in turn. The folder data-bin/ appears only when it is whole.
set -euo pipefail
source "$(dirname "$0")/common.sh"
[[ ${1:-} == -h || ${1:-} == --help ]] && usage
[[ $# -gt 0 ]] || usage 1
for word in "$@"; do [[ $word != -* ]] || die "unknown option $word; see --help"; done
(($# >= 3)) || die "give OUTPUT_DIR and two or more data-bins; see --help"

output=$1
shift
for data in "$@"; do [[ -d $data ]] || die "data-bin $data: no such folder"; done
pair=$(cd "$1" && echo train.*-*.*.idx)
pair=${pair%%.idx*} pair=${pair#train.} pair=${pair%%.*}
source=${pair%%-*} target=${pair#*-}
for data in "$@"; do
  for language in "$source" "$target"; do
    [[ -f $data/train.$pair.$language.idx ]] || die "data-bin $data: no train.$pair.$language.idx"
    # The counts behind the symbols may differ.
    cmp -s <(cut -d ' ' -f 1 "$1/dict.$language.txt") <(cut -d ' ' -f 1 "$data/dict.$language.txt") ||
      die "$data/dict.$language.txt has other symbols than $1/dict.$language.txt"
  done
done
made_from=$(for data in "$@"; do cat "$data"/dict.*.txt "$data"/train."$pair".*.{idx,bin} | cksum; done)
if [[ $(cat "$output/data-bin/joined" 2>/dev/null) == "$made_from" ]]; then
  say "$output/data-bin: done before"
  exit 0
fi

new=$output/data-bin.tmp
rm -rf "$new"
mkdir -p "$new"
for file in "$1"/dict.*.txt "$1"/*."$pair".*; do
  [[ ${file##*/} == train* ]] || cp "$file" "$new"
done
python - "$new" "$pair" "$@" <<'END' 2>"$output/join.log" || die "cannot join $* ($(tail -n 1 "$output/join.log"))"
import sys

from fairseq.data import indexed_dataset

new, pair, *databins = sys.argv[1:]
for language in pair.split("-"):
    name = f"train.{pair}.{language}"
    kept = [indexed_dataset.MMapIndexedDataset.Index(f"{data}/{name}.idx") for data in databins]
    builder = indexed_dataset.MMapIndexedDatasetBuilder(f"{new}/{name}.bin", dtype=kept[0].dtype)
    for data in databins:
        builder.merge_file_(f"{data}/{name}")
    builder.finalize(f"{new}/{name}.idx")
    rows = sum(len(index) for index in kept)
    found = len(indexed_dataset.MMapIndexedDataset(f"{new}/{name}"))
    assert found == rows, f"{found} rows of {rows}"
END
echo "$made_from" >"$new/joined"
rm -rf "$output/data-bin"
mv "$new" "$output/data-bin"
rm -f "$output/join.log"
say "$output/data-bin: ready; train is that of $*"
