"""Gates that look at the input and learn nothing."""

from fairseq_kd.gates.batch import GateBatch, GateValues
from fairseq_kd.gates.inputs import at_same_places, edit_distance, uncertainty
from fairseq_kd.gates.registry import Gate, register_gate


@register_gate("teacher_entropy")
class TeacherEntropyGate(Gate):
    """g = 1 − exp(−H), H the teacher's entropy on the gold target: the mean over a sentence, or each token's."""

    by_token_too = True

    def values(self, batch: GateBatch) -> GateValues:
        """g of the batch's distilled and gold tokens."""
        assert batch.entropy is not None
        if self.by_token:
            by_gold_token = uncertainty(batch.entropy)  # (gold tokens,)
            return GateValues(at_same_places(by_gold_token, batch.gold_places, batch.distilled_places), by_gold_token)
        return batch.of_sentences(uncertainty(batch.gold_places.mean(batch.entropy)))


@register_gate("agreement")
class AgreementGate(Gate):
    """g = edit distance between the gold target and the teacher's output, over the length of the longer one."""

    def values(self, batch: GateBatch) -> GateValues:
        """g of the batch's distilled and gold tokens."""
        return batch.of_sentences(edit_distance(batch.gold, batch.distilled, batch.pad))
