"""Small real models of other makers, with sentencepiece models of their own, trained in seconds on word-for-word
translations. They are what transformers saves, so that converters and tokenizers meet real files.
"""

import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import sentencepiece
import torch

LEXICON = {
    "a": ("ein", "un"),
    "the": ("das", "le"),
    "small": ("kleine", "petit"),
    "tall": ("große", "grand"),
    "house": ("Häuschen", "maison"),
    "tree": ("Bäumchen", "arbre"),
    "girl": ("Mädchen", "fille"),
    "frog": ("Fröschlein", "grenouille"),
    "sees": ("sieht", "voit"),
    "eats": ("isst", "mange"),
    "reads": ("liest", "lit"),
    "book": ("Büchlein", "livre"),
    "apple": ("Äpfelchen", "pomme"),
    "and": ("und", "et"),
    "today": ("heute", "aujourd’hui"),
    "slowly": ("langsam", "lentement"),
    "green": ("grüne", "vert"),
    "sleeps": ("schläft", "dort"),
}
"""English words with their German and French ones."""


def sentences(rows: int, seed: int = 1) -> list[tuple[str, str, str]]:
    """English sentences of 2 to 5 words with their German and French translations."""
    draw = random.Random(seed)
    made = []
    for _ in range(rows):
        words = draw.choices(sorted(LEXICON), k=draw.randint(2, 5))
        ends = draw.choice([".", "!", "?"])
        columns = [words, *zip(*(LEXICON[word] for word in words), strict=True)]
        made.append(tuple(" ".join(column).capitalize() + ends for column in columns))
    return made  # type: ignore[return-value]


def train_spm(folder: Path, name: str, lines: Sequence[str], size: int = 90, kind: str = "unigram") -> Path:
    """A sentencepiece model of ``size`` pieces in ``folder``/``name``."""
    text = folder / "spm.txt"
    text.write_text("\n".join(lines) + "\n", encoding="utf-8")
    prefix = folder / "spm-train"
    sentencepiece.SentencePieceTrainer.train(
        input=str(text), model_prefix=str(prefix), vocab_size=size, model_type=kind, minloglevel=2, num_threads=1,
        character_coverage=1.0, hard_vocab_limit=False,
    )  # fmt: skip
    prefix.with_suffix(".vocab").unlink()
    text.unlink()
    return prefix.with_suffix(".model").rename(folder / name)


def pieces(model: Path) -> list[str]:
    """The pieces of a sentencepiece model, without ``<unk>``, ``<s>`` and ``</s>``."""
    processor = sentencepiece.SentencePieceProcessor(model_file=str(model))
    return [processor.id_to_piece(i) for i in range(3, len(processor))]


def fit(model: Any, batches: Callable[[int], dict[str, torch.Tensor]], steps: int, zero: int | None = None) -> None:
    """A few steps of Adam, so that what the model says depends on its input and ends.

    Marian starts from a zero embedding, which is ``<pad>``'s in transformers; ``zero`` is its row.
    """
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
    model.train()
    for step in range(steps):
        if zero is not None:
            model.get_input_embeddings().weight.data[zero] = 0
        loss = model(**batches(step)).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    if zero is not None:
        model.get_input_embeddings().weight.data[zero] = 0
    model.eval()


SIZES: dict[str, Any] = {
    "d_model": 48,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 96,
    "decoder_ffn_dim": 96,
    "max_position_embeddings": 64,
    "init_std": 0.06,
    "dropout": 0.0,
    "attention_dropout": 0.0,
    "activation_dropout": 0.0,
    "encoder_layerdrop": 0.0,
    "decoder_layerdrop": 0.0,
}


def make_marian(folder: Path, tags: Sequence[str] = (">>deu<<", ">>fra<<"), steps: int = 150) -> None:
    """OPUS-MT's files: source.spm, target.spm, vocab.json and the weights."""
    from transformers import MarianConfig, MarianMTModel, MarianTokenizer

    rows = sentences(600)
    source = train_spm(folder, "source.spm", [row[0] for row in rows])
    target = train_spm(folder, "target.spm", [text for row in rows for text in row[1:]], 130)
    symbols = dict.fromkeys(["</s>", "<unk>", *tags, *pieces(source), *pieces(target), "<pad>"])
    (folder / "vocab.json").write_text(json.dumps({symbol: i for i, symbol in enumerate(symbols)}), encoding="utf-8")
    tokenizer = MarianTokenizer(str(source), str(target), str(folder / "vocab.json"))
    pad = len(symbols) - 1
    config = MarianConfig(
        vocab_size=len(symbols), pad_token_id=pad, eos_token_id=0, bos_token_id=0, decoder_start_token_id=pad,
        forced_eos_token_id=0, bad_words_ids=[[pad]], scale_embedding=True, static_position_embeddings=True,
        activation_function="swish",
        **SIZES,
    )  # fmt: skip
    torch.manual_seed(1)
    model = MarianMTModel(config)

    def batch(step: int) -> dict[str, torch.Tensor]:
        chosen = random.Random(step).sample(rows, 32)
        tag = step % len(tags) if tags else 0
        english = [f"{tags[tag]} {row[0]}" if tags else row[0] for row in chosen]
        return _inputs(tokenizer, english, [row[1 + tag] for row in chosen])

    fit(model, batch, steps, zero=pad)
    _save(folder, model, tokenizer)


def make_m2m(folder: Path, family: str, steps: int = 150) -> None:
    """The files of NLLB, M2M-100 or mBART-50, whose tags stand before the source and the target."""
    import transformers
    from transformers.models.m2m_100.tokenization_m2m_100 import FAIRSEQ_LANGUAGE_CODES

    rows = sentences(600)
    text, more = [text for row in rows for text in row], {}
    if family == "m2m100":
        spm = train_spm(folder, "sentencepiece.bpe.model", text, 200, "bpe")
        symbols = ["<s>", "<pad>", "</s>", "<unk>", *pieces(spm)]
        (folder / "vocab.json").write_text(json.dumps({s: i for i, s in enumerate(symbols)}), encoding="utf-8")
        # As the published files have them; the tokenizer alone would not tell the converter.
        tags = [f"__{code}__" for code in FAIRSEQ_LANGUAGE_CODES["m2m100"]]
        tokenizer: Any = transformers.M2M100Tokenizer(
            str(folder / "vocab.json"), str(spm), additional_special_tokens=tags
        )
        size, languages = len(symbols) + len(tokenizer.lang_code_to_id) + 8, ("en", "de", "fr")
        kind, config_class = transformers.M2M100ForConditionalGeneration, transformers.M2M100Config
    elif family == "nllb":
        train_spm(folder, "sentencepiece.bpe.model", text, 200, "bpe")
        tokenizer = transformers.NllbTokenizer.from_pretrained(folder, local_files_only=True)
        size, languages = len(tokenizer), ("eng_Latn", "deu_Latn", "fra_Latn")
        kind, config_class = transformers.M2M100ForConditionalGeneration, transformers.M2M100Config
    else:
        train_spm(folder, "sentencepiece.bpe.model", text, 200)
        tokenizer = transformers.MBart50Tokenizer(str(folder / "sentencepiece.bpe.model"), bos_token="<s>")
        size, languages = len(tokenizer), ("en_XX", "de_DE", "fr_XX")
        kind, config_class = transformers.MBartForConditionalGeneration, transformers.MBartConfig
        more = {"normalize_before": True, "normalize_embedding": True, "add_final_layer_norm": True}
    config = config_class(
        vocab_size=size, pad_token_id=1, bos_token_id=0, eos_token_id=2, decoder_start_token_id=2, scale_embedding=True,
        tokenizer_class=type(tokenizer).__name__, **more, **SIZES,
    )  # fmt: skip
    torch.manual_seed(1)
    model = kind(config)

    def batch(step: int) -> dict[str, torch.Tensor]:
        chosen, column = random.Random(step).sample(rows, 32), 1 + step % 2
        tokenizer.src_lang, tokenizer.tgt_lang = languages[0], languages[column]
        return _inputs(tokenizer, [row[0] for row in chosen], [row[column] for row in chosen])

    fit(model, batch, steps)
    _save(folder, model, tokenizer)


def _inputs(tokenizer: Any, source: list[str], target: list[str]) -> dict[str, torch.Tensor]:
    inputs = tokenizer(source, text_target=target, padding=True, return_tensors="pt")
    inputs["labels"][inputs["labels"] == tokenizer.pad_token_id] = -100
    return dict(inputs)


def _save(folder: Path, model: Any, tokenizer: Any) -> None:
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
