"""CTranslate2 models made from the folders of Hugging Face models, without running code that a folder brings along."""

import logging
import re
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from fairseq_kd.decoding.ctranslate2.conversion import CannotConvert, import_ctranslate2, load_translator, reasons_of
from fairseq_kd.decoding.ctranslate2.converted_folder import sign
from fairseq_kd.decoding.ctranslate2.kept_folder import kept
from fairseq_kd.errors import UserError
from fairseq_kd.storage.files import file_hash
from fairseq_kd.storage.structured import MAPPING, Unreadable, read_json

logger = logging.getLogger(__name__)

PICKLES = "pytorch_model*.bin"
WEIGHTS = ("model*.safetensors", PICKLES)
TOKENIZER = ("*.json", "*.spm", "*.model", "*.txt")
"""What a conversion depends on beside the weights."""

PROFILES = {"MarianTokenizer": "opus-mt", "NllbTokenizer": "nllb", "M2M100Tokenizer": "m2m100"}
PROFILES |= {"MBart50Tokenizer": "mbart50", "NllbTokenizerFast": "nllb", "MBart50TokenizerFast": "mbart50"}
"""The ready profile for a tokenizer's class in transformers."""

TOLERANCE = 0.01
"""The most by which a log-probability of the conversion may differ."""


def is_hugging_face(folder: Path) -> bool:
    """Whether a folder is what transformers' ``save_pretrained`` writes."""
    return "model_type" in _json(folder / "config.json")


def ready_profile(folder: Path) -> str | None:
    """The ready profile that goes with a Hugging Face folder, by its tokenizer's class; None: there is none."""
    config, tokenizer = _json(folder / "config.json"), _json(folder / "tokenizer_config.json")
    named = PROFILES.get(str(tokenizer.get("tokenizer_class"))) or PROFILES.get(str(config.get("tokenizer_class")))
    return named or {"marian": "opus-mt", "m2m_100": "m2m100"}.get(str(config.get("model_type")))


def import_transformers() -> ModuleType:
    """The package.

    A torchaudio that does not load (fairseq asks for it, and PyPI's does not fit every torch) keeps transformers from
    importing its models, so it then counts as not installed.

    Raises:
        UserError: transformers is not installed, or does not load on this machine.
    """
    try:
        import_module("torchaudio")
    except ImportError:
        pass
    except Exception:  # whatever a library that does not fit raises: an OSError as a rule
        for name in [name for name in sys.modules if name.split(".")[0] == "torchaudio"]:
            del sys.modules[name]
        sys.modules["torchaudio"] = None  # type: ignore[assignment]
    try:
        return import_module("transformers")
    except ImportError as error:
        raise UserError(
            f"a Hugging Face model needs transformers, which cannot be imported ({error}); "
            "run pip install 'transformers>=4.56,<5' protobuf, or give a CTranslate2 folder"
        ) from None


def kept_hugging_face(folder: Path) -> Path:
    """The float32 CTranslate2 model made from a Hugging Face folder, kept beside the conversions of checkpoints.

    Args:
        folder: with config.json, the weights and the tokenizer's files.

    Raises:
        CannotConvert: CTranslate2 does not take the architecture, or the converted model gives other probabilities.
        UserError: transformers is missing, the folder is damaged or brings code along, or nothing can be written.
    """
    transformers, ctranslate2 = import_transformers(), import_ctranslate2()
    _refuse_code(folder)
    files = sorted({path for pattern in (*WEIGHTS, *TOKENIZER) for path in folder.glob(pattern)})
    if not any(path.match(pattern) for path in files for pattern in WEIGHTS):
        raise UserError(f"{folder}: there are no weights (model.safetensors or pytorch_model.bin)")
    hashes = {path.name: file_hash(path) for path in files}
    name = [hashes, ctranslate2.__version__, transformers.__version__]
    return kept(name, str(folder), lambda new: _write(folder, new))


def _refuse_code(folder: Path) -> None:
    """Refuse what would run code of the folder: modules that its configuration names, and pickles that call functions.

    transformers would ask a person at the terminal whether to run such modules.
    """
    for name in ("config.json", "tokenizer_config.json"):
        if "auto_map" in _json(folder / name):
            raise UserError(f"{folder / name}: names Python code of its own (auto_map), which is never run")
    if any(folder.glob("model*.safetensors")):
        return
    for path in sorted(folder.glob(PICKLES)):
        try:
            torch.load(path, map_location="meta", weights_only=True)
        except Exception as error:
            unsafe = re.search(r"GLOBAL ([\w.]+)", str(error))
            reason = f"its pickle asks for {unsafe[1]}" if unsafe else "it is damaged or no file of weights"
            raise UserError(f"{path}: refused and not run: {reason}; save the model as safetensors") from None


def _write(folder: Path, new: Path) -> None:
    """Convert into the empty folder ``new`` and compare both models' probabilities."""
    threads = torch.get_num_threads()
    converter = _converter(folder)
    try:
        converter.convert(str(new), quantization="float32", force=True)
    except OSError as error:
        if error.errno is not None:  # the disk's; transformers' own errors have no number
            raise
        raise UserError(f"{folder}: {error}") from None
    except Exception as error:  # whatever the converter meets in a model that it does not know
        raise reasons_of(error) from None
    finally:
        torch.set_num_threads(threads)
    _compare(converter, new)
    sign(new, {})


def _converter(folder: Path) -> Any:
    """CTranslate2's converter, kept from the network and from remote code, which notes what the model says."""
    base: Any = import_ctranslate2().converters.TransformersConverter

    class LocalConverter(base):
        source: list[str]
        target: list[str]
        expected: torch.Tensor

        def load_model(self, model_class: Any, path: str, **options: Any) -> Any:
            options |= {"dtype": torch.float32, "local_files_only": True, "weights_only": True}
            self.model = model_class.from_pretrained(path, **options).eval()
            return self.model

        def load_tokenizer(self, tokenizer_class: Any, path: str, **options: Any) -> Any:
            options |= {"local_files_only": True, "trust_remote_code": False}
            tokenizer = tokenizer_class.from_pretrained(path, **options)
            # Before the converter works in place in the tensors
            self.source, self.target, self.expected = _says(self.model, tokenizer)
            return tokenizer

    return LocalConverter(str(folder))


def _says(model: Any, tokenizer: Any) -> tuple[list[str], list[str], torch.Tensor]:
    """A random pair of tokens, and the model's log-probabilities of the target and its ``</s>``."""
    draw = torch.Generator().manual_seed(1)
    config = model.config
    special = {*tokenizer.all_special_ids, config.pad_token_id, config.eos_token_id}
    common = [i for i in range(min(config.vocab_size, len(tokenizer))) if i not in special]
    source, target = ([common[i] for i in torch.randint(len(common), (9,), generator=draw)] for _ in range(2))
    start = config.decoder_start_token_id
    start = config.eos_token_id if start is None else start
    with torch.no_grad():
        logits = model(
            input_ids=torch.tensor([[*source, config.eos_token_id]]), decoder_input_ids=torch.tensor([[start, *target]])
        ).logits[0]
        if config.model_type == "marian":  # which has no <pad> in CTranslate2, nor in Marian itself
            logits[:, config.pad_token_id] = -torch.inf
        expected = logits.log_softmax(1)[range(len(target) + 1), [*target, config.eos_token_id]]
    words = tokenizer.convert_ids_to_tokens([*source, config.eos_token_id]), tokenizer.convert_ids_to_tokens(target)
    return (*words, expected)


def _compare(converter: Any, folder: Path) -> None:
    if _json(folder / "config.json").get("decoder_start_token") is None:
        raise CannotConvert("it starts translations with their tag, as mBART-25; such models are not taken")
    try:
        translator = load_translator(folder, device="cpu", compute_type="float32", intra_threads=1)
    except RuntimeError as error:
        raise CannotConvert(f"ctranslate2 cannot load what its converter wrote ({error})") from None
    (found,) = translator.score_batch([converter.source], [converter.target])
    # Not (… < …), which NaN on both sides would fail: that is a model's fault, not the conversion's.
    if (torch.tensor(found.log_probs) - converter.expected).abs().max() > TOLERANCE:
        raise CannotConvert("the converted model gives other probabilities")


def _json(path: Path) -> dict[str, Any]:
    try:
        return read_json(path, MAPPING, ours=False)
    except (OSError, Unreadable):
        return {}
