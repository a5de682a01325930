import pytest
import torch

from worldgen.tasks.parts.t5 import SENTINELS, corrupt_spans, train_tokenizer

CAPTIONS = [
    f"a {color} {material} ball drops onto the floor"
    for color in ("red", "green", "blue")
    for material in ("rubber", "wooden")
]


@pytest.mark.parametrize("length", [1, 2, 5, 18, 40])
def test_span_corruption_hides_a_share_and_loses_nothing(length):
    tokens = list(range(100, 100 + length))
    source, target = corrupt_spans(tokens, 0.3, 2.0, 512, torch.Generator().manual_seed(length))
    spans, current = {}, None
    for token in target[:-1]:
        if token >= 512 - SENTINELS:
            current = token
            spans[current] = []
        else:
            spans[current].append(token)
    restored = [inner for token in source[:-1] for inner in spans.get(token, [token])]
    assert restored == tokens
    assert sum(map(len, spans.values())) == max(1, round(0.3 * length))
    assert source[-1] == target[-1] == 1


def test_spans_depend_on_the_generator():
    drawn = {
        tuple(corrupt_spans(list(range(20)), 0.3, 2.0, 512, torch.Generator().manual_seed(s))[0])
        for s in range(9)
    }
    assert len(drawn) > 3


def test_tokenizer_has_t5s_special_tokens_and_writes_any_text():
    tokenizer = train_tokenizer(CAPTIONS, 320)
    assert len(tokenizer) == 320
    assert tokenizer.convert_tokens_to_ids(["<pad>", "</s>", "<unk>", "<extra_id_0>"]) == [0, 1, 2, 319]
    ids = tokenizer("a red Würfel 🎲")["input_ids"]
    assert ids[-1] == 1 and tokenizer.unk_token_id not in ids
    assert tokenizer.decode(ids, skip_special_tokens=True).strip() == "a red Würfel 🎲"
    assert len(tokenizer(" ball")["input_ids"]) == 2  # frequent words are one token
