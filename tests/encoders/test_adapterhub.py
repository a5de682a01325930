import pytest
import torch
from torch.testing import assert_close

from tests.encoders.networks import made, t5, train, vjepa2
from worldgen.encoders.adapterhub import Bottleneck, Prefix


@pytest.mark.parametrize("adapter", [Bottleneck(), Prefix()])
def test_what_is_no_change_of_weights_cannot_be_merged(adapter):
    network = made(t5)
    adapter.attach(network)
    with pytest.raises(ValueError, match="must be a change of weights to be merged"):
        adapter.merge(network)


def test_the_encoder_inside_v_jepa_runs_a_bottleneck_too():
    network = made(vjepa2)
    Bottleneck(reduction=4.0).attach(network)
    train(network, Bottleneck())
    frames = torch.randn(2, 4, 3, 32, 32)
    whole = network(pixel_values_videos=frames, skip_predictor=True).last_hidden_state
    assert_close(network.encoder(frames).last_hidden_state, whole, atol=0, rtol=0)
