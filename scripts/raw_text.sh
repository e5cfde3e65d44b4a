# shellcheck shell=bash
# The scripts get_*.sh source this file: it holds what they share to bring raw text, and common.sh.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
# download URL FILE VARIABLE [SHA256]: get a whole file, or end with an error that names the variable for a folder of the
# text. A download that broke off goes on. With a sum, a file with another one is refused.
download() {
  local reason status=0 sum get=(curl -sSfL --retry 3 --connect-timeout 20 -o "$2.part")
  command -v curl >/dev/null || die "curl is missing; install it, or give the text's folder as $3"
  reason=$("${get[@]}" -C - "$1" 2>&1) || status=$?
  if ((status == 33)); then # the server has no way to go on
    rm -f "$2.part"
    status=0
    reason=$("${get[@]}" "$1" 2>&1) || status=$?
  fi
  ((status == 0)) || die "cannot download $1 ($(tail -n 1 <<<"$reason")); give the text's folder as $3"
  sum=$(sha256sum "$2.part" | cut -d ' ' -f 1)
  if [[ $sum != "${4:-$sum}" ]]; then
    rm -f "$2.part"
    die "$1 has the SHA-256 $sum instead of $4; run again, or give the text's folder as $3"
  fi
  mv "$2.part" "$2"
}
# same_options FOLDER OPTIONS: end where the text in FOLDER was made with other options. An earlier version did not record them.
same_options() {
  local made
  [[ -f $1/arguments ]] || return 0
  made=$(cat "$1/arguments")
  [[ $made == "$2" ]] ||
    die "$1 was made with $made, not with $2; remove its text or take another folder"
}
# own_folder VARIABLE: the folder of text that a variable of the user's names; nothing where the variable is empty.
own_folder() {
  [[ -z ${!1-} || -d ${!1} ]] || die "$1=${!1} is no folder (seen from $PWD)"
  echo "${!1-}"
}
# own_text FOLDER NAME: the text of a file of the user's folder (as train.en), unpacked.
own_text() {
  if [[ -f $1/$2.gz ]]; then
    gzip -dc "$1/$2.gz" 2>/dev/null || die "$1/$2.gz is no sound gzip file"
  elif [[ -f $1/$2 ]]; then
    cat "$1/$2"
  else
    die "neither $2.gz nor $2 in $1"
  fi
}
# shellcheck disable=SC2154  # $output and $folder are of the scripts that call it
# source_file NAME URL VARIABLE [SHA256]: the path of an archive: the user's $folder has it, or it is downloaded to
# $output/archives once.
source_file() {
  local file
  if [[ -n $folder ]]; then
    file=$(find -L "$folder" -type f -name "$1" -print -quit)
    [[ -n $file ]] || die "no $1 in $folder"
  else
    file=$output/archives/$1
    mkdir -p "$output/archives"
    [[ -f $file ]] || download "$2" "$file" "$3" "${4-}"
  fi
  echo "$file"
}
# shellcheck disable=SC2154  # so are $work and $output
# parallel SPLIT SOURCE TARGET ORIGIN: compare the numbers of lines of both sides of a split in $work; sets $lines.
parallel() {
  local other
  lines=$(wc -l <"$work/$1.$2") other=$(wc -l <"$work/$1.$3")
  [[ $lines -gt 0 && $lines == "$other" ]] || die "$1.$2 has $lines lines, $1.$3 $other (from $4)"
}
# shellcheck disable=SC2154
# place SPLIT SOURCE TARGET ORIGIN: move both sides of a split from $work to $output, if they are parallel.
place() {
  local lines
  parallel "$@"
  mv "$work/$1.$2" "$work/$1.$3" "$output"
  say "$output/$1.{$2,$3}: $lines lines"
}
# test_set NAME SOURCE TARGET SPLIT VARIABLE: a test set of sacreBLEU's to $work; sacreBLEU compares its archive's MD5.
test_set() {
  { sacrebleu -t "$1" -l "$2-$3" --echo src >"$work/$4.$2" && sacrebleu -t "$1" -l "$2-$3" --echo ref >"$work/$4.$3"; } \
    2>"$work/reason" || die "sacrebleu -t $1 -l $2-$3: $(tail -n 1 "$work/reason"); give the text's folder as $5"
}
