#!/usr/bin/env bash
# Run fairseq-train so that it can be killed at any time. Run the script again, and the training goes on from the newest
# sound checkpoint. If the training is finished, the script does nothing.
#
#   bash scripts/train.sh SAVE_DIR DATABIN [fairseq-train options, without --save-dir and --user-dir…]
#
# The script writes to SAVE_DIR the checkpoints, train.log, `arguments`, `texts` and, at the end, `done`. `arguments` holds
# the arguments, and checksums of the data, of the teacher and of the model that the training starts from. `texts` holds
# checksums of the training and validation text. The script refuses others for the same SAVE_DIR, unless the training failed
# before its first checkpoint. Without a GPU it adds --cpu. Without --task it adds --task translation_kd: that trains as
# fairseq's `translation` does, but a resumed training has the batches of an unbroken one.
set -euo pipefail
source "$(dirname "$0")/common.sh"
[[ ${1:-} == -h || ${1:-} == --help ]] && usage
[[ $# -ge 2 && $1 != -* && $2 != -* ]] || usage 1

save_dir=$1
shift
# --optimizer and --no-save are names too, though longer ones begin with them
whole_names "--train-subset --valid-subset --disable-validation --checkpoint-suffix --save-dir --user-dir --no-save --no-save-optimizer-state \
  --teacher-path --teacher-spm --teacher-cache --distilled-data --finetune-from-model --restore-file --optimizer \
  --optimizer-overrides --reset-optimizer --reset-lr-scheduler --reset-dataloader --reset-meters --source-lang --target-lang --task \
  --max-update" "$@"
subset=train validated=valid saved=1 max_update=0 option=''
for word in "$@"; do
  case $option in
    --train-subset) subset=$word ;;
    --valid-subset) validated=$word ;;
    --max-update) max_update=$word ;;
  esac
  option=$word
  case $word in
    --train-subset=*) subset=${word#*=} ;;
    --valid-subset=*) validated=${word#*=} ;;
    --max-update=*) max_update=${word#*=} ;;
    --disable-validation) validated='' ;;
    --no-save) saved='' ;;
    --checkpoint-suffix*) die "--checkpoint-suffix: a training that is killed could not go on; leave it out" ;;
    --save-dir | --save-dir=*) die "--save-dir: train.sh gives it itself, from its first argument; leave it out" ;;
    --user-dir | --user-dir=*) die "--user-dir: train.sh gives the plugin's itself; leave it out" ;;
    --no-save-optimizer-state) say "--no-save-optimizer-state: a training that is killed cannot go on" ;;
  esac
done
mkdir -p "$save_dir" 2>/dev/null && [[ -w $save_dir ]] || die "$save_dir cannot be written; give another folder"
# fairseq-train inherits the lock: if it outlives this script, the folder stays locked.
exec 8>"$save_dir/lock"
lock 8 "another training is at work in $save_dir; wait for it or end it"

# The files that the arguments name count by their content: with other text or another teacher it is another training.
# paths_of WORD: what a word names, one path or several joined by ':', goes to the array paths.
paths_of() {
  paths=("$1")
  [[ -e $1 ]] || IFS=: read -ra paths <<<"$1"
}
databins=()
databin_checksum() {
  [[ -d $1 ]] || die "data-bin $1: no such folder"
  databins+=("$1")
  { cat "$1"/dict.*.txt "$1/$subset"*.idx 2>/dev/null || true; } | cksum
}
checksums() {
  local option='' word path paths
  paths_of "$1"
  for path in "${paths[@]}"; do databin_checksum "$path"; done
  for word in "$@"; do
    # --option=value is read as --option value
    [[ $word != --*=* ]] || { option=${word%%=*} word=${word#*=}; }
    paths_of "$word"
    case $option in
      --teacher-path | --teacher-spm)
        for path in "${paths[@]}"; do
          [[ -f $path ]] || die "${option/#--teacher-path/teacher} $path: no such file"
          cksum <"$path"
        done
        ;;
      --finetune-from-model | --restore-file)
        # fairseq's default for --restore-file means the newest of SAVE_DIR
        [[ $option == --restore-file && $word == checkpoint_last.pt ]] || {
          [[ -f $word ]] || die "$option $word: no such file"
          cksum <"$word"
        }
        ;;
      --teacher-cache) for path in "${paths[@]}"; do { cat "$path"/*/manifest.json 2>/dev/null || true; } | cksum; done ;;
      --distilled-data) for path in "${paths[@]}"; do databin_checksum "$path"; done ;;
    esac
    option=$word
  done
  # Text of the same lengths has the same index.
  for path in "${databins[@]}"; do
    { cat "$path/$subset"*.bin 2>/dev/null || true; } | cksum
    for word in ${validated//,/ }; do { cat "$path/$word".*.{idx,bin} 2>/dev/null || true; } | cksum; done
  done >"$save_dir/texts.tmp"
}
sums=$(checksums "$@" | tr '\n' ' ')
arguments=$(quoted "$@")$sums
# A folder of an earlier version has no `texts`, and words as the locale had them.
earlier=$(printf '%q ' "$@")$sums
if [[ -f $save_dir/arguments && $(cat "$save_dir/arguments") != @("$arguments"|"$earlier") ]] ||
  { [[ -f $save_dir/texts ]] && ! cmp -s "$save_dir/texts" "$save_dir/texts.tmp"; }; then
  rm "$save_dir/texts.tmp"
  die "$save_dir was trained with other arguments, data or teacher (see $save_dir/arguments); remove the folder or take another"
fi
if [[ -f $save_dir/done ]]; then
  mv "$save_dir/texts.tmp" "$save_dir/texts"
  say "$save_dir: done before"
  exit 0
fi
# fairseq-train takes the pair of whichever file it finds first, and cannot find a pair in names such as en-zh-CN.
if ! languages=$(
  python - "$@" 2>&1 <<'END'
import sys

from fairseq_kd.data.databins.files import choose_pair, first_folder, pairs_in

data, *words = sys.argv[1:]
options = {}
for word, value in zip(words, [*words[1:], ""]):
    name, _, joined = word.partition("=")
    options[name] = joined or value
given = tuple(options.get(long, options.get(short)) for long, short in (("--source-lang", "-s"), ("--target-lang", "-t")))
bilingual = options.get("--task", "translation") in ("translation", "translation_kd")
if bilingual and not all(given) and pairs_in(first_folder(data)):
    pair = choose_pair(data, given)
    if any(given) or any("-" in language for language in pair):
        print("--source-lang", pair[0], "--target-lang", pair[1])
END
); then
  [[ $languages != "fairseq_kd: error: "* ]] || die "${languages#fairseq_kd: error: }"
  languages=''
fi
read -ra languages <<<"$languages"
# Checkpoints without `arguments` were put there by somebody, or by fairseq-train.
begun=''
[[ ! -f $save_dir/arguments ]] || begun=1
restore=()
if compgen -G "$save_dir/checkpoint*.pt" >/dev/null; then
  newest=$(fairseq-kd last-checkpoint ${begun:+--finish --max-update "$max_update"} "$save_dir")
  [[ -n $newest ]] ||
    die "$save_dir holds no sound checkpoint, see above; remove its checkpoint*.pt to start from the beginning"
  if [[ $newest == *$'\n'ended ]]; then # killed before it wrote `done`
    mv "$save_dir/texts.tmp" "$save_dir/texts"
    touch "$save_dir/done"
    say "$save_dir: the training had reached --max-update"
    exit 0
  fi
  say "$save_dir: going on from $(basename "$newest")"
  restore=(--restore-file "$newest")
  # What the training started from, and what it forgot of that, counted at the start only.
  given=()
  while (($#)); do
    case "$1 ${2-}" in
      "--restore-file checkpoint_last.pt" | "--restore-file=checkpoint_last.pt "*) ;; # fairseq's default
      --finetune-from-model* | --restore-file* | --reset-*)
        [[ -n $begun ]] ||
          die "$save_dir holds checkpoints of another training, and ${1%%=*} begins a new one; take another folder, and give the checkpoint as --restore-file or --finetune-from-model"
        ;;
    esac
    case $1 in
      --finetune-from-model | --restore-file | --optimizer-overrides) shift ;;
      --finetune-from-model=* | --restore-file=* | --optimizer-overrides=*) ;;
      --reset-optimizer | --reset-lr-scheduler | --reset-dataloader | --reset-meters) ;;
      *) given+=("$1") ;;
    esac
    shift
  done
  set -- "${given[@]}"
fi
echo "$arguments" >"$save_dir/arguments"
mv "$save_dir/texts.tmp" "$save_dir/texts"
user_dir=$(python -c 'import importlib.util, os; print(os.path.dirname(importlib.util.find_spec("fairseq_kd").origin))' \
  2>/dev/null) || die "fairseq_kd is not installed for $(type -P python || echo python); run scripts/setup.sh"
task=(--task translation_kd)
for word in "$@"; do
  [[ $word != --task && $word != --task=* ]] || task=()
done
device=()
if ! { command -v nvidia-smi && nvidia-smi -L; } >/dev/null 2>&1; then
  device=(--cpu)
  # glibc returns large freed tensors to the system, and the next step has to fault every page in again. Keeping them made
  # fairseq's own step 1.4 times as fast, and the fused steps 1.05 times.
  export MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=17179869184 MALLOC_TOP_PAD_=268435456
fi

# With --data-buffer-size above 0, fairseq fills a buffer from a daemon thread. If training then ends in the middle of an
# epoch (--max-update), the process aborts after its last checkpoint ("terminate called without an active exception").
say "$save_dir: training, see $save_dir/train.log"
# The log gets everything. The terminal gets one line for each validation, at once (-u).
shown="s#^.* [|] \\(epoch [0-9]*\\) [|] valid on .* subset [|] \\(.*\\) [|] wps .*#${save_dir//[&\\#]/_}: \\1: \\2#p"
stopped='' unwritten='' training='' status=0 signals=(HUP INT TERM USR1)
trap 'unwritten=1; [[ -z $training ]] || kill "$training" 2>/dev/null || true' USR2
read -ra launcher <<<"${FAIRSEQ_KD_LAUNCHER-}"
exec 7> >(
  trap '' "${signals[@]}" # it shows what the training says until the end
  # Without its log, a table would have wrong figures of the training.
  tee --output-error=exit-nopipe -a "$save_dir/train.log" | sed -un "$shown" >&2 || ((!PIPESTATUS[0])) || kill -USR2 $$
)
display=$!
# In the background, so that a signal to this script alone ends the training at once; bash lets such a command ignore
# Ctrl-C, which would then leave the processes of other GPUs at work.
(
  trap - INT
  exec "${launcher[@]}" fairseq-train --data-buffer-size 0 "$@" "${languages[@]}" "${task[@]}" --user-dir "$user_dir" --save-dir "$save_dir" \
    "${device[@]}" "${restore[@]}" >&7 2>&1 7>&-
) &
training=$!
exec 7>&-
for signal in "${signals[@]}"; do
  # shellcheck disable=SC2064
  trap "stopped=$signal; kill \"\$training\" 2>/dev/null || true" "$signal" # it may have ended already
done
[[ -z $unwritten ]] || kill "$training" 2>/dev/null || true
wait "$training" || status=$?
[[ -z $stopped$unwritten ]] || wait "$training" || status=$?
wait "$display" || true
if [[ -n $stopped ]]; then
  say "$save_dir: stopped by SIG$stopped. Run it again to go on"
  exit $((128 + $(kill -l "$stopped")))
fi
[[ -z $unwritten ]] || die "$save_dir/train.log cannot be written, so the training was stopped; make room and run it again"
reason="$(tail -n 1 "$save_dir/train.log") (all of it: $save_dir/train.log)"
# Where it failed, those that somebody had put there before do not count.
newer=()
[[ -n $begun || $status == 0 ]] || newer=(-newer "$save_dir/arguments")
checkpoints=$(find "$save_dir/" -maxdepth 1 -name 'checkpoint*.pt' "${newer[@]}")
if [[ $saved && -z $checkpoints ]]; then
  # Nothing was trained, perhaps because of a wrong option, which may then be corrected.
  rm -f "$save_dir/arguments" "$save_dir/texts"
  ((status)) || die "the training ended without a checkpoint: $reason"
fi
((!status)) || die "training failed: $reason"
touch "$save_dir/done"
