"""Each sentence's source, reference and translations with their scores, in a file for other metrics.

The file is JSON Lines: a line is one JSON object, UTF-8. Text can hold tabs, quotation marks and U+2028, which break
tables with tabs and files read line by line; JSON escapes them, and every language reads it.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fairseq_kd.evaluate.scoring.scores import references_of_each
from fairseq_kd.evaluate.sentences import Sentences
from fairseq_kd.storage.files import whole_file

Values = Mapping[str, Sequence[float]]
# JSON need not escape these, but readers such as str.splitlines end a line at them.
LINE_ENDS = {ord(end): f"\\u{ord(end):04x}" for end in "\x85\u2028\u2029"}


def save_outputs(
    path: str | Path,
    sentences: Sentences,
    sources: Sequence[str],
    hypotheses: Mapping[str, Sequence[str]],
    comet: Values | None = None,
) -> dict[str, str]:
    """Write a line for each sentence, whole or not at all.

    A line has "row" (from 0), "source", "reference" and "beams", and "more_references" where the row has more. "beams"
    has for each beam size "hypothesis", sentence "bleu" and "chrf" in percent, and "comet" where it was measured. The
    scores are those of ``sacrebleu.sentence_bleu`` and ``sacrebleu.sentence_chrf`` against all references of the row,
    with the tokenizer and the case of the corpus scores.

    Args:
        path: the file.
        sentences: the references and how words are counted.
        sources: a detokenised line for each.
        hypotheses: detokenised lines by beam size.
        comet: COMET's score of each sentence by beam size.

    Returns:
        sacreBLEU's signatures of "bleu" and "chrf" of a sentence.
    """
    bleu, chrf = sentences.scoring.bleu(sentences=True), sentences.scoring.chrf()
    references = references_of_each(sentences.references, sentences.more_references)
    with whole_file(path) as handle:
        for row, (source, known) in enumerate(zip(sources, references, strict=True)):
            beams: dict[str, dict[str, Any]] = {}
            for beam, lines in hypotheses.items():
                beams[beam] = {
                    "hypothesis": lines[row],
                    "bleu": bleu.sentence_score(lines[row], known).score,
                    "chrf": chrf.sentence_score(lines[row], known).score,
                    **({"comet": comet[beam][row]} if comet else {}),
                }
            more = {"more_references": known[1:]} if len(known) > 1 else {}
            line = {"row": row, "source": source, "reference": known[0], **more, "beams": beams}
            handle.write(json.dumps(line, ensure_ascii=False).translate(LINE_ENDS) + "\n")
    # sacreBLEU's signature counts the references of the last sentence; -1 is its "var".
    counts = sorted({len(known) for known in references})
    bleu.num_refs = chrf.num_refs = counts[0] if len(counts) == 1 else -1
    return {"bleu": str(bleu.get_signature()), "chrf": str(chrf.get_signature())}
