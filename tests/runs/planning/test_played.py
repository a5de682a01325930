import torch
import torch.nn.functional as F

from worldgen.runs.planning.played import Kernels, LiveBytes


def test_what_is_alive_at_once_is_counted_and_what_was_there_before_is_not():
    before = torch.zeros(1000, device="meta")
    counted = LiveBytes()
    with torch.device("meta"), counted:
        first = torch.zeros(10, 10)
        assert counted.live == 400
        second = first + first
        del second
        third = torch.cat([first, before[:100].view(10, 10)])
        view = third[:5]
        del first
    assert counted.live == 800 and counted.peak == 400 + 800
    del third
    assert counted.live == 800  # a view keeps it
    del view
    assert counted.live == 0


def test_attention_keeps_no_weights_and_products_may_be_lowered():
    with torch.device("meta"):
        query = torch.zeros(1, 2, 512, 8)
        layer = torch.nn.Linear(8, 8)
        peaks = {}
        for lowered in (False, True):
            counted = LiveBytes()
            with Kernels(lowered), counted:
                F.scaled_dot_product_attention(query, query, query)
                out = layer(query)
            peaks[lowered] = counted.peak
            assert out.dtype == (torch.bfloat16 if lowered else torch.float32)
    weights = 2 * 512 * 512 * 2
    assert all(peak < weights for peak in peaks.values())
