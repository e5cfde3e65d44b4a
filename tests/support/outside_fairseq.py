"""A small multilingual fairseq model and CTranslate2's conversion of it."""

import argparse
import random
from pathlib import Path
from typing import Any

import sentencepiece
import torch

from tests.support.outside import fit, pieces, sentences, train_spm


def make_fairseq(folder: Path, steps: int = 150) -> None:
    """A multilingual fairseq model with its dictionary and sentencepiece model, and CTranslate2's conversion of it."""
    from ctranslate2.converters import FairseqConverter
    from fairseq import options, tasks
    from fairseq.data import Dictionary

    rows = sentences(600)
    spm = train_spm(folder, "spm.model", [text for row in rows for text in row], 200)
    dictionary = Dictionary()
    for piece in pieces(spm):
        dictionary.add_symbol(piece, 1)
    dictionary.save(str(folder / "dict.txt"))
    (folder / "langs.txt").write_text("en\nde\nfr\n")
    parser = options.get_training_parser("translation_multi_simple_epoch")
    size = (
        "--encoder-layers 1 --decoder-layers 1 --encoder-embed-dim 48 --decoder-embed-dim 48 --encoder-ffn-embed-dim 96"
    )
    size += " --decoder-ffn-embed-dim 96 --encoder-attention-heads 4 --decoder-attention-heads 4 --dropout 0"
    words = [str(folder), "--task", "translation_multi_simple_epoch", "--arch", "transformer", *size.split()]
    words += ["--share-all-embeddings", "--max-source-positions", "64", "--max-target-positions", "64"]
    words += ["--lang-pairs", "en-de,en-fr", "--lang-dict", str(folder / "langs.txt"), "--encoder-langtok", "src"]
    words += ["--decoder-langtok", "--fixed-dictionary", str(folder / "dict.txt")]
    args = options.parse_args_and_arch(parser, words)
    task = tasks.setup_task(args)
    torch.manual_seed(1)
    model = task.build_model(args)
    processor, source = sentencepiece.SentencePieceProcessor(model_file=str(spm)), task.source_dictionary

    def ids(tag: str, line: str) -> list[int]:
        return [source.index(tag), *(source.index(p) for p in processor.encode(line, out_type=str)), source.eos()]

    def batch(step: int) -> dict[str, torch.Tensor]:
        chosen, column = random.Random(step).sample(rows, 32), 1 + step % 2
        source_ids = [ids("__en__", row[0]) for row in chosen]
        target = [ids(("__de__", "__fr__")[column - 1], row[column]) for row in chosen]
        lengths = torch.tensor([len(one) for one in source_ids])
        return {"source": _padded(source_ids), "lengths": lengths, "target": _padded(target)}

    fit(_Fairseq(model, source.eos()), batch, steps)
    checkpoint = {"args": args, "model": model.state_dict()}
    torch.save(checkpoint, folder / "multilingual.pt")
    converter = FairseqConverter(
        str(folder / "multilingual.pt"), str(folder), fixed_dictionary=str(folder / "dict.txt"),
        source_lang="en", target_lang="de",
    )  # fmt: skip
    converter.convert(str(folder / "ctranslate2"))
    (folder / "spm.model").rename(folder / "ctranslate2" / "spm.model")


class _Fairseq(torch.nn.Module):
    """A fairseq model whose call gives what :func:`fit` takes."""

    def __init__(self, model: Any, eos: int):
        super().__init__()
        self.model, self.eos = model, eos

    def forward(self, source: torch.Tensor, lengths: torch.Tensor, target: torch.Tensor) -> Any:
        before = torch.cat([torch.full_like(target[:, :1], self.eos), target[:, :-1]], 1)
        logits = self.model(source, lengths, before)[0]
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), target.flatten(), ignore_index=1)
        return argparse.Namespace(loss=loss)


def _padded(rows: list[list[int]]) -> torch.Tensor:
    """Rows of ids filled up with fairseq's ``<pad>``, which is 1."""
    return torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True, padding_value=1)
