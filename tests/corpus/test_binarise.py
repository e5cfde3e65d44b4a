"""Text in subwords becomes a data-bin again: every symbol of the dictionary comes back."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from fairseq.data import Dictionary, data_utils

from fairseq_kd.corpus.coverage import Coverage
from fairseq_kd.corpus.preparation.binarise import binarise
from tests.support.commands import environment

ODD = ["12", "1", "|||", "#", "\\", "<0x0A>", "<mask>", "@-@", "▁", "<pad>"]
SPACES = ["a b", "a b c", "a", "b", "\u3000", "x\u00a0y", "\u2028", "\x85z"]


@pytest.mark.parametrize("symbols", [ODD, ODD + SPACES])
def test_every_symbol_comes_back(symbols: list[str], tmp_path: Path) -> None:
    path = tmp_path / "dict.src.txt"
    overwrite = {"<pad>": " #fairseq:overwrite"}
    path.write_text("".join(f"{one} 1{overwrite.get(one, '')}\n" for one in symbols), encoding="utf-8")
    dictionary = Dictionary.load(str(path))
    draw = np.random.RandomState(1)
    rows = [[4 + number for number in draw.randint(len(symbols), size=6)] for _ in range(50)]
    # What no text can tell apart: "a", "b" and "a b"
    apart = {dictionary.index(one) for one in ("a", "a b")} - {dictionary.unk()}
    rows = [row for row in rows if not any(one in apart for one in row[:-1])]
    text = tmp_path / "text"
    text.write_text("".join(dictionary.string(torch.tensor(row)) + "\n" for row in rows), encoding="utf-8")
    coverage = Coverage(dictionary.indices.__contains__)
    assert binarise(text, dictionary, tmp_path / "train", coverage) == len(rows) > 10
    found = data_utils.load_indexed_dataset(str(tmp_path / "train"))
    assert [row.tolist() for row in found] == [[*row, dictionary.eos()] for row in rows] and coverage.unknown == 0


STEPS = {"preparation.binarise": ("{0}", "{0}", "en", "de", "train=x"), "signatures": ("{0}", "{0}/none")}


@pytest.mark.parametrize("step", STEPS)
def test_an_error_is_one_line_with_one_prefix(step: str, tmp_path: Path) -> None:
    (tmp_path / "signature.json").write_text('{"source": "en", "target": "de", "rows": 1}')
    words = [sys.executable, "-m", f"fairseq_kd.corpus.{step}", *(word.format(tmp_path) for word in STEPS[step])]
    done = subprocess.run(words, capture_output=True, text=True, env=environment(forked=False))
    line = done.stderr.splitlines()[-1]
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    assert line.startswith("fairseq_kd: error: d") and line.count("fairseq_kd: error") == 1


WRITING = {
    "corpus.preparation.binarise": ("{out}", "{data}", "src", "tgt", "train={text}/train"),
    "corpus.distilled.databin": ("keep", "{text}", "src", "tgt", "{out}"),
    "corpus.distilled.databin sources": ("sources", "{out}", "{data}", "src", "tgt"),
    "data.databins.checksums": ("{out}",),
}


@pytest.mark.parametrize("step", WRITING)
def test_a_full_disk_is_one_line(step: str, tiny_text: Path, tiny_corpus: Path, tmp_path: Path) -> None:
    text, out = tmp_path / "text", tmp_path / "out"
    shutil.copytree(tiny_text, text)
    # A row that the teacher did not translate; the rest is copied.
    (text / "train.tgt").write_text((text / "train.tgt").read_text().partition("\n")[2] + "\n")
    out.mkdir()
    for number in range(60):
        (out / f"split{number}.bin").touch()
    words = [word.format(out=out, data=tiny_corpus, text=text) for word in WRITING[step]]
    # A file may hold 1,024 bytes: the limit's error is that of a full disk with another number.
    limited = ["bash", "-c", 'ulimit -f 1; exec "$@"', "bash", sys.executable, "-m", f"fairseq_kd.{step.split()[0]}"]
    done = subprocess.run([*limited, *words], capture_output=True, text=True, env=environment(forked=False))
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    assert done.stderr.splitlines()[-1].startswith("fairseq_kd: error: ") and "File too large" in done.stderr
