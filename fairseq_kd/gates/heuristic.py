"""Gates that look at the input and learn nothing."""

from fairseq_kd.gates.batch import GateBatch, GateValues
from fairseq_kd.gates.inputs import at_same_places, certainty, edit_distance
from fairseq_kd.gates.registry import Gate, register_gate


@register_gate("teacher_entropy")
class TeacherEntropyGate(Gate):
    """g = exp(−H), H the teacher's entropy: the mean over the sentence's tokens, or each token's."""

    by_token_too = True

    def values(self, batch: GateBatch) -> GateValues:
        """g at the tokens of both losses."""
        assert batch.entropy is not None
        if self.by_token:
            by_token = certainty(batch.entropy)  # (tokens of the token-level loss,)
            return GateValues(at_same_places(by_token, batch.token_places, batch.sentence_places), by_token)
        return batch.of_sentences(certainty(batch.token_places.mean(batch.entropy)))


@register_gate("agreement")
class AgreementGate(Gate):
    """g = 1 − edit distance between the gold target and the teacher's output, over the length of the longer one."""

    def values(self, batch: GateBatch) -> GateValues:
        """g at the tokens of both losses."""
        return batch.of_sentences(1 - edit_distance(batch.gold, batch.distilled, batch.pad))
