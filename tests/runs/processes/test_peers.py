import pytest

from worldgen.runs.processes.peers import is_lost_peer, lost_sentence


def test_what_a_process_is_told_whose_peer_is_gone_is_known():
    gloo = "[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]"
    assert is_lost_peer(RuntimeError(gloo)) and is_lost_peer(RuntimeError("NCCL communicator was aborted"))
    assert not is_lost_peer(RuntimeError("shapes differ")) and not is_lost_peer(ValueError(gloo))


@pytest.mark.parametrize("there", [True, False])
def test_the_sentence_says_where_to_go_on(tmp_path, there):
    (tmp_path / "checkpoints").mkdir()
    if there:
        (tmp_path / "checkpoints" / "last.ckpt").touch()
    said = lost_sentence("1 of 2 (SIGKILL)", str(tmp_path))
    assert said.startswith("Process 1 of 2 (SIGKILL) of this training has ended, and all others with it.")
    assert (f"--ckpt_path {tmp_path}" in said) == there and ("the last checkpoint, if any" in said) != there
