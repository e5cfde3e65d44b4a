# Sourced by the stage scripts: one-line errors, and the repository's environment in front of the PATH.
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
script=$(basename "$0")
die() { echo "$script: error: $*" >&2; exit 1; }
say() { echo "$script: $*" >&2; }
if [[ -x $root/.venv/bin/fairseq-kd ]]; then PATH=$root/.venv/bin:$PATH; fi
# The script's own header comment is its manual.
usage() { sed -n '2,/^[^#]/{/^#/s/^# \{0,1\}//p}' "$0"; exit "${1:-0}"; }

# download URL FILE VARIABLE: the file, whole, or an end that names the variable by which the text can be given instead.
download() {
  local reason
  command -v curl >/dev/null || die "curl is missing; install it, or give the text's folder as $3"
  reason=$(curl -sSfL --retry 3 --connect-timeout 20 -o "$2.part" "$1" 2>&1) ||
    die "cannot download $1 ($(tail -n 1 <<<"$reason")); give the text's folder as $3"
  mv "$2.part" "$2"
}
# hold FOLDER: for as long as this script and what it starts are at work, no other takes the folder. (snakemake's own lock
# outlives a killed run; this one is let go when the last of its processes has ended.)
hold() {
  mkdir -p "$1"
  exec 9>"$1/lock"
  flock -w 10 9 || die "another run is at work in $1; wait for it or end it"
}
# run_workflow CONFIG FOLDER POINT [snakemake options…]: an experiment, or one point of a study, in a held folder.
run_workflow() {
  local folder=$2 words=(snakemake --snakefile "$root/scripts/Snakefile" --configfile "$1")
  words+=(${3:+--config "point=$3"} --directory "$folder")
  shift 3
  "${words[@]}" --unlock >/dev/null 2>&1 || true
  "${words[@]}" --cores "$(nproc)" --rerun-incomplete --quiet rules host "$@" ||
    die "stopped; the reason stands above, the logs in $folder. Run it again to go on"
}
# publish FROM TO: copies a folder's files, each whole or not at all.
publish() {
  local path file
  mkdir -p "$2"
  for path in "$1"/*; do
    file=$(basename "$path")
    cp "$path" "$2/$file.tmp" && mv "$2/$file.tmp" "$2/$file"
  done
}
