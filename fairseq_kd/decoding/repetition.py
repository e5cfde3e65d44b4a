"""Keep fairseq's search from repeating n-grams."""

import torch


class RepeatBlocker(torch.nn.Module):
    """Takes the place of fairseq's ``NGramRepeatBlock``.

    fairseq 0.12's own has no effect without its CUDA extension: it compares the end of the buffer that holds the
    hypotheses, which is padding until the last step, and not the last tokens.
    """

    def __init__(self, size: int, free: int = 0):
        """Forbid the second occurrence of any ``size`` tokens in a row, from the token number ``free`` on."""
        super().__init__()
        self.size, self.free = size, free

    def forward(self, tokens: torch.Tensor, lprobs: torch.Tensor, bsz: int, beam_size: int, step: int) -> torch.Tensor:
        """The log-probabilities of the next tokens, those that would repeat an n-gram at -inf.

        Args:
            tokens: of shape (sentences x beam, buffer); ``</s>`` first, then ``step`` tokens, then padding.
            lprobs: of shape (sentences x beam, vocabulary); changed in place.
            bsz: number of sentences.
            beam_size: hypotheses of each.
            step: number of tokens that each hypothesis has.
        """
        if step < max(self.size, self.free):
            return lprobs
        written = tokens[:, 1 : step + 1]  # without the </s> in front, which --no-repeat-ngram-size 1 would forbid
        windows = written.unfold(1, self.size, 1)  # (hypotheses, n-grams, size)
        last = written[:, step - self.size + 1 :]  # the size - 1 tokens that the next one follows
        seen = (windows[:, :, :-1] == last.unsqueeze(1)).all(dim=2)
        hypotheses, places = seen.nonzero(as_tuple=True)
        lprobs[hypotheses, windows[hypotheses, places, -1]] = -torch.inf
        return lprobs
