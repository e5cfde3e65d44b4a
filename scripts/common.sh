# shellcheck shell=bash
# The stage scripts source this file: it puts .venv in front of the PATH and holds the functions that they share.
# It lies in the scripts/ of a clone or of an installed package; $root is the clone or the package.
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# What the user typed, where that was not this script: `fairseq-kd run`, for instance. The scripts that it calls go by
# their own names.
script=${FAIRSEQ_KD_COMMAND:-$(basename "$0")}
unset FAIRSEQ_KD_COMMAND
die() { echo "$script: error: $*" >&2; exit 1; }
say() { echo "$script: $*" >&2 || true; } # the terminal may be gone
# A user without an entry in the system's list, as in containers: Python's libraries ask for a name and a home.
if ! getent passwd "$UID" >/dev/null 2>&1; then
  export USER=${USER:-$UID} HOME=${HOME:-${TMPDIR:-/tmp}/fairseq-kd-$UID}
  mkdir -p "$HOME" 2>/dev/null || true
fi
# A verb of fairseq-kd names the Python that runs it, and has put that Python's commands on the PATH.
if [[ -z ${FAIRSEQ_KD_PYTHON:-} && -x $root/.venv/bin/fairseq-kd ]]; then
  PATH=$root/.venv/bin:$PATH
fi
# Modules in the working folder do not count, such as the fairseq in a clone of it. (Python 3.10 has no such switch.)
python() { PYTHONSAFEPATH=1 command "${FAIRSEQ_KD_PYTHON:-python}" "$@"; }
# usage [STATUS]: print the script's header comment, which is its manual, and end.
usage() {
  local typed="bash scripts/${0##*/}"
  [[ $script == "${0##*/}" ]] || typed=$script
  sed -n "2,/^[^#]/{/^#/{s/^# \{0,1\}//;s#bash scripts/${0##*/}#$typed#g;p}}" "$0"
  exit "${1:-0}"
}

# quoted WORD...: shell words on one line, the same in every locale. (In most, %q leaves an ü as it is.)
quoted() { LC_ALL=C printf '%q ' "$@"; }
# whole_names NAMES WORD...: end where a word is the beginning of one of these options. Python would take it for the option, but
# a script that reads the option itself would not see it.
whole_names() {
  local word name names=$1
  for word in "${@:2}"; do
    word=${word%%=*}
    [[ $word == --?* && " $names " != *" $word "* ]] || continue
    for name in $names; do [[ $name != "$word"* ]] || die "$word: write $name in full"; done
  done
}
# lock DESCRIPTOR REASON: end with the reason where another process holds the lock. Some shared file systems have no locks.
lock() {
  local status=0 told
  told=$(flock -w 10 "$1" 2>&1) || status=$?
  ((status != 1)) || die "$2"
  ((status == 0)) || say "goes on without a lock, so start nothing else in this folder meanwhile (${told##*: })"
}
# hold FOLDER: lock a folder until this script and all that it started have ended. (Snakemake's own lock stays behind when a
# run is killed; the system drops this one with the last process.)
hold() {
  mkdir -p "$1" 2>/dev/null && [[ -w $1 ]] || die "$1 cannot be written; give another folder"
  exec 9>"$1/lock"
  lock 9 "another run is at work in $1; wait for it or end it"
}
# keep_a_cache FOLDER: where the user's cache cannot be written, Snakemake and fairseq-kd take one in FOLDER. (Snakemake
# copies its files there and stops where it cannot.)
keep_a_cache() {
  local cache=${XDG_CACHE_HOME:-~/.cache}/snakemake
  if ! mkdir -p "$cache" 2>/dev/null || [[ ! -w $cache ]]; then
    say "${cache%/*} cannot be written; the cache is $1/cache"
    export XDG_CACHE_HOME=$1/cache FAIRSEQ_KD_CACHE=${FAIRSEQ_KD_CACHE:-$1/cache/fairseq_kd}
  fi
}
# end_leftovers FOLDER: cancel the SLURM jobs of a run that was killed, and wait for their end: they still write to FOLDER, and
# hold its locks. FOLDER/workflow.log has the names of each run's jobs. Without squeue there is no SLURM.
end_leftovers() {
  local names jobs
  [[ -f $1/workflow.log ]] || return 0
  names=$(sed -n 's/^SLURM run ID: *//p' "$1/workflow.log" | tail -n 9 | paste -sd ,)
  [[ -n $names ]] && command -v squeue >/dev/null || return 0
  jobs=$(squeue --noheader --format=%A --name="$names") || die "squeue does not answer; jobs of an earlier run may be at work"
  [[ -n $jobs ]] || return 0
  mapfile -t jobs <<<"$jobs"
  say "ending the SLURM jobs of a run that was killed: ${jobs[*]}"
  scancel "${jobs[@]}" || true # some may just have ended
  while [[ -n $(squeue --noheader --format=%A --name="$names") ]]; do sleep 1; done
}
# run_workflow CONFIG FOLDER POINT [snakemake options…]: run an experiment, or one point of a study, in a locked folder. The
# terminal shows each step's progress; FOLDER/workflow.log gets the output of Snakemake and of all steps. nproc would count
# OMP_NUM_THREADS, which is about the threads of one step.
run_workflow() {
  local folder=$2 point=${3:+point=$3} word passed=() reason reasons display signal status
  local command=(snakemake --snakefile "$root/scripts/Snakefile" --configfile "$1")
  command+=(${point:+--config "$point"} --directory "$folder")
  keep_a_cache "$folder"
  shift 3
  # Snakemake forgets a --config when another comes, so that of the user takes the point along.
  for word in "$@"; do
    case $word in
      --config | -C) passed+=(--config ${point:+"$point"}) ;;
      --config=*) passed+=(--config ${point:+"$point"} "${word#*=}") ;;
      *) passed+=("$word") ;;
    esac
  done
  set -- "${passed[@]}"
  "${command[@]}" --unlock >/dev/null 2>&1 || true
  # Snakemake scales each job down to --cores, on a cluster too, whose nodes have more processors than this machine. Its own
  # parser tells whether an option or a profile names an executor.
  python -c 'if True:
    import sys
    from snakemake.cli import parse_args
    given = parse_args(sys.argv[1:])[1]
    sys.exit(given.executor in (None, "local") and given.cores is None)' "$@" >/dev/null 2>&1 ||
    command+=(--cores "$(env -u OMP_NUM_THREADS nproc)")
  command+=(--rerun-incomplete "$@")
  case " $* " in
    # Snakemake is asked for its plan.
    *" -n"* | *" -pn "* | *" -qn "* | *" --dry-run "* | *" --dryrun "* | *" --dag "* | *" --rulegraph "* | *" --filegraph "* | \
      *" -S "* | *" --summary "* | *" -D "* | *" --detailed-summary "* | *" --list"* | *" --lint "*) exec "${command[@]}" ;;
  esac
  end_leftovers "$folder"
  # The display runs beside this script, which can then pass a signal on and tell how to go on.
  exec {reasons}< <(exec python "$root/scripts/progress" "$folder" "${command[@]}")
  display=$!
  trap : INT
  for signal in HUP TERM USR1; do
    # shellcheck disable=SC2064
    trap "kill -$signal \"\$display\" 2>/dev/null || true" "$signal"
  done
  while wait "$display" && status=0 || status=$?; kill -0 "$display" 2>/dev/null; do :; done
  trap - HUP INT TERM USR1
  reason=$(cat <&"$reasons")
  exec {reasons}<&-
  case $status in
    0) return ;;
    129 | 130 | 138 | 143) say "stopped by SIG$(kill -l "$status") (all output: $folder/workflow.log). Run it again to go on"; exit "$status" ;;
  esac
  die "stopped: ${reason:-the display of the run was killed} (all output: $folder/workflow.log). Run it again to go on"
}
# other_splits FOLDER SOURCE TARGET: the files of a data-bin's splits, by their names in this direction, to the array splits.
# It lacks train, and train1, train2, ... that fairseq-train reads with it. Files of the other direction
# (valid.TARGET-SOURCE.*) have their names changed; where both are there, those of this direction count.
other_splits() {
  local name=train number=0 way file
  local -A train_parts=()
  declare -gA splits=()
  while ((number == 0)) || [[ -e $1/$name.$2-$3.$2.idx || -e $1/$name.$3-$2.$2.idx ]]; do
    train_parts[$name]=1 number=$((number + 1)) name=train$number
  done
  for way in "$3-$2" "$2-$3"; do
    for file in "$1"/*."$way".*; do
      name=${file##*/}
      [[ ! -e $file || -n ${train_parts[${name%%."$way".*}]-} ]] || splits[${name/.$way./.$2-$3.}]=$file
    done
  done
}
# same_splits FROM TO SOURCE TARGET: whether what copy_splits would copy is in TO, and no other split but train.
same_splits() {
  local name count
  other_splits "$2" "$3" "$4"
  count=${#splits[@]}
  other_splits "$1" "$3" "$4"
  ((count == ${#splits[@]})) || return 1
  for name in "${!splits[@]}"; do cmp -s "${splits[$name]}" "$2/$name" || return 1; done
}
# copy_splits FROM TO SOURCE TARGET: copy a data-bin's dictionaries and the files that other_splits finds.
copy_splits() {
  local name
  other_splits "$1" "$3" "$4"
  for name in "${!splits[@]}"; do cp "${splits[$name]}" "$2/$name"; done
  # byte for byte: fairseq-preprocess writes a dictionary anew, without its #fairseq:overwrite
  cp "$1/dict.$3.txt" "$1/dict.$4.txt" "$2"
}
# copy_whole FILE FOLDER: copy a file into a folder, whole or not at all.
copy_whole() {
  local new=$2/${1##*/}
  if ! { cp "$1" "$new.tmp" && mv "$new.tmp" "$new"; }; then
    rm -f "$new.tmp"
    die "$new cannot be written, see above; run it again to go on"
  fi
}
# publish FROM TO: copy a folder's files, each whole or not at all. Pictures that not all tables and studies have stay only if
# they are new.
publish() {
  local path file
  mkdir -p "$2"
  for file in risks.png gate.png pruning.png decoding.png; do [[ -e $1/$file ]] || rm -f "$2/$file"; done
  for path in "$1"/*; do copy_whole "$path" "$2"; done
}
