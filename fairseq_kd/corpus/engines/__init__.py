"""What turns source sentences into translations: one interface, and one module for each decoder behind it."""

from fairseq_kd.corpus.engines.choice import ENGINES, Choice, check_models, choose_engine
from fairseq_kd.corpus.engines.conversion import PRECISIONS
from fairseq_kd.corpus.engines.ctranslate2_engine import CTranslate2Engine
from fairseq_kd.corpus.engines.fairseq_engine import FairseqEngine
from fairseq_kd.corpus.engines.interface import NOT_TRANSLATED, DecodingOptions, Engine, Hypothesis, batches

__all__ = [
    "ENGINES",
    "NOT_TRANSLATED",
    "PRECISIONS",
    "CTranslate2Engine",
    "Choice",
    "DecodingOptions",
    "Engine",
    "FairseqEngine",
    "Hypothesis",
    "batches",
    "check_models",
    "choose_engine",
]
