#!/usr/bin/env bash
# Make a ready model the teacher of an experiment: the folder FOLDER gets links to its files.
#
#   bash scripts/take_teacher.sh FOLDER MODEL [--dictionaries DIR] [--spm-model FILE] [--languages S T]
#
# A MODEL that ends in .pt is a fairseq checkpoint. FOLDER gets checkpoint_best.pt and spm.model, and with
# --languages dict.S.txt and dict.T.txt. The dictionaries and spm.model lie beside the checkpoint, unless the options name
# others. Any other MODEL is a CTranslate2 or Hugging Face folder; it becomes FOLDER/model, and there are no options.
set -euo pipefail
source "$(dirname "$0")/common.sh"
[[ ${1:-} == -h || ${1:-} == --help ]] && usage
[[ $# -ge 2 ]] || usage 1

folder=$1 model=$2 dictionaries='' spm='' languages=()
shift 2
while (($#)); do
  case $1 in
    --dictionaries) dictionaries=${2-} && shift ;;
    --spm-model) spm=${2-} && shift ;;
    --languages) languages=("${2-}" "${3-}") && shift 2 ;;
    *) die "unknown option $1; see --help" ;;
  esac
  shift || die "an option lacks its value; see --help"
done
mkdir -p "$folder"
# link FILE NAME: a file or folder that is no link was made by somebody, and stays.
link() {
  [[ ! -e $folder/$2 || -L $folder/$2 ]] || die "$folder/$2 is there already and no link; take another folder"
  ln -sfn "$(realpath -- "$1")" "$folder/$2"
}
if [[ $model != *.pt ]]; then
  [[ -d $model ]] || die "ready teacher $model: no such folder; a fairseq checkpoint ends in .pt"
  for option in ${dictionaries:+--dictionaries} ${spm:+--spm-model} ${languages:+--languages}; do
    die "$option goes with a fairseq checkpoint; the folder $model has its own files"
  done
  link "$model" model
  say "$folder/model is $model"
  exit 0
fi
[[ -z $dictionaries || ${#languages[@]} -gt 0 ]] || die "--dictionaries goes with --languages S T, which name its files"
[[ -f $model ]] || die "ready teacher $model: no such file"
dictionaries=${dictionaries:-$(dirname "$model")} spm=${spm:-$(dirname "$model")/spm.model}
[[ -f $spm ]] || die "ready teacher $model: no sentencepiece model $spm; name it by the key spm"
for language in "${languages[@]}"; do
  [[ -f $dictionaries/dict.$language.txt ]] ||
    die "ready teacher $model: no dict.$language.txt in $dictionaries; name its folder by the key dictionaries"
  link "$dictionaries/dict.$language.txt" "dict.$language.txt"
done
link "$spm" spm.model
link "$model" checkpoint_best.pt
say "$folder/checkpoint_best.pt is $model"
