#!/usr/bin/env bash
# Join the training rows of several data-bins in one data-bin, for example gold and distilled text. If the joined data-bin
# is there already, the script does nothing.
#
#   bash scripts/join_databins.sh OUTPUT_DIR DATABIN DATABIN [DATABIN…] [--source-lang S --target-lang T]
#
# The split train of OUTPUT_DIR/data-bin has the rows of the first DATABIN, then those of the next; train1, train2, … of a
# DATABIN count as its train. Its other splits and its dictionaries are those of the first. All need the same languages and
# the same dictionaries. An epoch over joined rows is as long as an epoch over each DATABIN in turn. The folder data-bin/
# appears only when it is whole. --source-lang and --target-lang (-s, -t) choose a pair where the first holds several.
set -euo pipefail
source "$(dirname "$0")/common.sh"
[[ ${1:-} == -h || ${1:-} == --help ]] && usage
[[ $# -gt 0 ]] || usage 1
source='' target='' words=()
while (($#)); do
  case $1 in
    --*=*) set -- "${1%%=*}" "${1#*=}" "${@:2}" ;;
    -s | --source-lang | -t | --target-lang)
      (($# > 1)) || die "$1 needs a value"
      if [[ $1 == -s || $1 == --source-lang ]]; then source=$2; else target=$2; fi
      shift 2
      ;;
    -*) die "unknown option $1; see --help" ;;
    *)
      words+=("$1")
      shift
      ;;
  esac
done
((${#words[@]} >= 3)) || die "give OUTPUT_DIR and two or more data-bins; see --help"

output=${words[0]}
set -- "${words[@]:1}"
for data in "$@"; do [[ -d $data ]] || die "data-bin $data: no such folder"; done
# The pair, and then a line for each data-bin: the beginnings of the names of its training files, such as train.en-de.
found=$(python - "$source" "$target" "$@" 2>&1 <<'END'
import sys
from pathlib import Path

from fairseq_kd.data.databins.files import choose_pair, parts_of

source, target, *databins = sys.argv[1:]
pair = choose_pair(databins[0], (source or None, target or None))
print(*pair)
for data in databins:
    print(*(parts_of(Path(data), "train", *pair) or [f"train.{'-'.join(pair)}."]))
END
) || die "${found#fairseq_kd: error: }"
{
  read -r source target
  made_from=$(for data in "$@"; do
    read -r -a parts
    files=("$data"/dict.*.txt)
    for part in "${parts[@]}"; do
      for language in "$source" "$target"; do
        [[ -f $data/$part$language.idx ]] || die "data-bin $data: no $part$language.idx"
      done
      files+=("$data/$part"*.{idx,bin})
    done
    for language in "$source" "$target"; do
      # The counts behind the symbols may differ.
      cmp -s <(cut -d ' ' -f 1 "$1/dict.$language.txt") <(cut -d ' ' -f 1 "$data/dict.$language.txt") ||
        die "$data/dict.$language.txt has other symbols than $1/dict.$language.txt"
    done
    cat "${files[@]}" | cksum
  done)
} <<<"$found"
hold "$output"
if [[ $(cat "$output/data-bin/joined" 2>/dev/null) == "$made_from" ]] &&
  same_splits "$1" "$output/data-bin" "$source" "$target"; then
  say "$output/data-bin: done before"
  exit 0
fi

new=$output/data-bin.tmp
rm -rf "$new"
mkdir -p "$new"
copy_splits "$1" "$new" "$source" "$target"
python - "$new" "$source" "$target" "$@" <<'END' 2>"$output/join.log" || die "cannot join $* ($(tail -n 1 "$output/join.log"))"
import sys
from pathlib import Path

from fairseq.data.indexed_dataset import MMapIndexedDataset

from fairseq_kd.data.databins.databin import read_dictionary, read_side
from fairseq_kd.data.databins.row_files import open_row_files

new, source, target, *databins = sys.argv[1:]
for language in (source, target):
    name = f"{new}/train.{source}-{target}.{language}"
    symbols = len(read_dictionary(f"{databins[0]}/dict.{language}.txt"))
    sides = [read_side(Path(data), "train", (source, target), language) for data in databins]
    with open_row_files(Path(name), symbols) as files:
        for side in sides:
            files.add_each(side[row].numpy() for row in range(len(side)))
    rows = sum(map(len, sides))
    found = len(MMapIndexedDataset(name))
    assert found == rows, f"{found} rows of {rows}"
END
echo "$made_from" >"$new/joined"
python -m fairseq_kd.data.databins.checksums "$new"
rm -rf "$output/data-bin"
mv "$new" "$output/data-bin"
rm -f "$output/join.log"
say "$output/data-bin: ready; train is that of $*"
