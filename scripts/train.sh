#!/usr/bin/env bash
# fairseq-train that can be killed and run again: it goes on from the newest sound checkpoint and does nothing once done.
#
#   bash scripts/train.sh SAVE_DIR DATABIN [fairseq-train options, without --save-dir and --user-dir…]
#
# SAVE_DIR gets the checkpoints, train.log, `arguments` (what it was started with, and checksums of data, teacher and
# the model it starts from; others are refused) and, at the end, `done`. Without a GPU it adds --cpu.
set -euo pipefail
source "$(dirname "$0")/common.sh"
[[ ${1:-} == -h || ${1:-} == --help ]] && usage
[[ $# -ge 2 && $1 != -* && $2 != -* ]] || usage 1

save_dir=$1
shift
mkdir -p "$save_dir"
# Inherited by fairseq-train: one that outlived its parents still counts.
exec 8>"$save_dir/lock"
flock -w 10 8 || die "another training is at work in $save_dir; wait for it or end it"

# Checksums of what the arguments name: made anew from other text or by another teacher, it is another training.
databin_checksum() {
  [[ -d $1 ]] || die "data-bin $1: no such folder"
  { cat "$1"/dict.*.txt "$1"/train*.idx 2>/dev/null || true; } | cksum
}
checksums() {
  local data=$1 previous= word path
  for path in ${data//:/ }; do databin_checksum "$path"; done
  for word in "$@"; do
    case $previous in
      --teacher-path)
        for path in ${word//:/ }; do
          [[ -f $path ]] || die "teacher $path: no such file"
          cksum <"$path"
        done
        ;;
      --finetune-from-model)
        [[ -f $word ]] || die "--finetune-from-model $word: no such file"
        cksum <"$word"
        ;;
      --teacher-cache) { cat "$word"/*/manifest.json 2>/dev/null || true; } | cksum ;;
      --distilled-data) databin_checksum "$word" ;;
    esac
    previous=$word
  done
}
arguments=$(
  printf '%q ' "$@"
  checksums "$@" | tr '\n' ' '
)
if [[ -f $save_dir/arguments && $(cat "$save_dir/arguments") != "$arguments" ]]; then
  die "$save_dir was trained with other arguments, data or teacher (see $save_dir/arguments); remove the folder or take another"
fi
if [[ -f $save_dir/done ]]; then
  say "$save_dir: done before"
  exit 0
fi
echo "$arguments" >"$save_dir/arguments"

restore=() given=()
if compgen -G "$save_dir/checkpoint*.pt" >/dev/null; then
  newest=$(fairseq-kd last-checkpoint "$save_dir")
  if [[ -n $newest ]]; then
    say "$save_dir: going on from $(basename "$newest")"
    restore=(--restore-file "$newest")
    # fairseq refuses to be given both. The checkpoint holds what the start was.
    while [[ $# -gt 0 ]]; do
      case $1 in
        --finetune-from-model) shift ;;
        --finetune-from-model=*) ;;
        *) given+=("$1") ;;
      esac
      shift
    done
    set -- "${given[@]}"
  else
    die "$save_dir holds no sound checkpoint, see above; remove its checkpoint*.pt to start from the beginning"
  fi
fi
# What `fairseq-kd user-dir` prints, without importing fairseq for it, which takes seconds.
user_dir=$(python -c 'import importlib.util, os; print(os.path.dirname(importlib.util.find_spec("fairseq_kd").origin))' \
  2>/dev/null) || die "fairseq_kd is not installed for $(command -v python || echo python); run scripts/setup.sh"
device=()
if ! { command -v nvidia-smi && nvidia-smi -L; } >/dev/null 2>&1; then
  device=(--cpu)
  # glibc hands large freed tensors back to the system and faults every page in again at the next step. Keeping them
  # made a step 1.2 (cross-entropy) to 1.9 times (token_kd) as fast.
  export MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=17179869184 MALLOC_TOP_PAD_=268435456
fi

# --data-buffer-size 0: else fairseq fills a buffer from a daemon thread, and where training ends in the middle of an
# epoch (--max-update) the process aborts after its last checkpoint ("terminate called without an active exception").
say "$save_dir: training, see $save_dir/train.log"
# The log gets everything; the terminal one line a validation, as it comes (-u).
shown="s#^.* [|] \\(epoch [0-9]*\\) [|] valid on .* subset [|] \\(.*\\) [|] wps .*#${save_dir//[&\\#]/_}: \\1: \\2#p"
if ! fairseq-train --data-buffer-size 0 "$@" --user-dir "$user_dir" --save-dir "$save_dir" "${device[@]}" "${restore[@]}" 2>&1 |
  tee -a "$save_dir/train.log" | sed -un "$shown" >&2; then
  tail -n 3 "$save_dir/train.log" >&2
  die "training failed; see $save_dir/train.log"
fi
touch "$save_dir/done"
