"""A judge that says what it is told to."""

import torch

from worldgen.metrics.vlm.judge import Judge


def colors(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, 3, 1, 1, generator=generator).expand(-1, -1, 20, 24).contiguous()


class Parrot(Judge):
    """Says what it was taught: the first reply whose words are in the question."""

    name = "parrot"

    def __init__(self, **replies):
        self.replies, self.asked = replies, []

    def ask(self, frames, question):
        self.asked.append((len(frames), question))
        return next(reply for word, reply in self.replies.items() if word in question)
