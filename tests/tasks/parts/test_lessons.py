import re
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Trainer, seed_everything

from tests.physics.balls import shaken
from worldgen.cli.main import main
from worldgen.cli.train import PARTS
from worldgen.physics.graph import graph_of
from worldgen.physics.rigid_network import GraphRigid, load_rigid
from worldgen.simulation.ball_states import CROWD, play_balls
from worldgen.simulation.body_states import play_bodies
from worldgen.tasks.parts import lessons as made
from worldgen.tasks.parts.dynamics import frames_of, scenery_of
from worldgen.tasks.parts.lessons import LessonDataModule, bodies_of
from worldgen.tasks.parts.rigid import RigidTask, rigid_errors, scenery_of_bodies

ROOT = Path(__file__).resolve().parents[3]
STATES = ("position", "velocity", "rotation", "spin")


@pytest.fixture
def few(monkeypatch):
    monkeypatch.setattr(made, "GROUP", {"collide": 2, "bounce": 1})
    monkeypatch.setattr(made, "CROWDS", 2)


def steps(network, lessons):
    with torch.no_grad():
        return [network.corrected(lesson.blows) for lesson in lessons]


def test_lessons_that_were_kept_are_those_that_were_made(few, tmp_path, monkeypatch):
    data, network = LessonDataModule(groups=1, crowds=1, cache=tmp_path), shaken(GraphRigid(width=8)).float()
    first = data.open(network)
    monkeypatch.setattr(made, "make_lessons", None)
    again = data.open(network)
    assert len(again) == len(first) > 5
    for one, other in zip(first, again, strict=True):
        for name in ("struck", "size", *STATES):
            assert torch.equal(getattr(one, name), getattr(other, name))
    for one, other in zip(steps(network, first), steps(network, again), strict=True):
        for name in STATES:
            assert torch.equal(getattr(one, name), getattr(other, name))
    with pytest.raises(TypeError):  # closed form in other parts: it would look again
        data.open(GraphRigid(width=8, parts=4))


def test_what_is_killed_while_it_writes_leaves_no_lessons(few, tmp_path, monkeypatch):
    def half(kept, path):
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", half)
    with pytest.raises(KeyboardInterrupt):
        LessonDataModule(groups=1, crowds=0, cache=tmp_path).open(GraphRigid(width=8))
    assert not list(tmp_path.rglob("*"))


def test_lessons_are_of_scenes_and_of_so_many_crowds(few, tmp_path):
    network = GraphRigid(width=8)
    alone = LessonDataModule(groups=2, crowds=0, cache=tmp_path / "alone").open(network)
    mixed = LessonDataModule(groups=2, crowds=1, cache=tmp_path / "mixed").open(network)
    for one, other in zip(alone, mixed, strict=False):
        assert torch.equal(one.position, other.position)
    crowd = bodies_of(play_balls(CROWD, 1000, "train"))
    there = crowd.trajectory.position.flatten(0, 2)
    places = torch.cat([lesson.position for lesson in mixed[len(alone) :]])
    assert len(mixed) > len(alone)
    assert (places[:, None] == there).all(dim=-1).any(dim=1).any()


def test_balls_as_bodies_have_the_graph_of_balls():
    states = play_balls(CROWD, 3, "id")
    bodies, start = bodies_of(states), frames_of(states.trajectory, 0, 1)
    one, other = (graph_of(start, around) for around in (scenery_of(states), scenery_of_bodies(bodies)))
    for name in ("x", "edge_index", "edge_attr", "gravity"):
        assert torch.equal(getattr(one, name), getattr(other, name))
    assert bodies.family == (CROWD,) and bodies.split == "id"


def test_what_is_validated_on_was_not_learned_from(few):
    scenes, crowds = LessonDataModule(val_count=2).hold_out(GraphRigid(width=8))
    assert scenes.family == ("collide", "collide", "bounce", "bounce") and crowds.family == (CROWD,) * 2
    assert scenes.split == crowds.split == "id"
    here, learned = scenes.trajectory.position[0], play_bodies("collide", 0, "train").trajectory.position[0]
    assert not torch.equal(here, learned)
    assert torch.equal(here, play_bodies("collide", 0, "id").trajectory.position[0])


def train(task, data, folder, **more):
    trainer = Trainer(
        max_epochs=2, default_root_dir=folder, accelerator="cpu", logger=True, enable_progress_bar=False,
        enable_checkpointing=False, enable_model_summary=False, num_sanity_val_steps=0, **more,
    )  # fmt: skip
    trainer.fit(task, data)
    return trainer


def test_a_training_tells_both_kinds_of_scenes_beside_closed_form_and_exports(few, tmp_path):
    seed_everything(0)
    task = RigidTask(GraphRigid(width=8), lr=5e-3, warmup=2)
    data = LessonDataModule(groups=1, crowds=1, val_count=2, cache=tmp_path / "cache")
    trainer = train(task, data, tmp_path)
    told = trainer.callback_metrics
    for states, name in zip(data.held_out, ("id", "crowd"), strict=True):
        for end, dynamics in (("", task.network), ("_closed_form", task.network.closed)):
            off = 26 * rigid_errors(dynamics, states)[0].square().nanmean().sqrt()
            assert float(told[f"val/{name}{end}_px"]) == pytest.approx(float(off), rel=1e-4)
        assert told[f"val/{name}_px"] != told[f"val/{name}_closed_form_px"]
    alone = rigid_errors(task.network, data.held_out[0])[0][2:].square().nanmean().sqrt()
    assert float(told["val/id_bounce_px"]) == pytest.approx(26 * float(alone), rel=1e-4)
    again = load_rigid(f"{trainer.log_dir}/rigid")
    for name, value in again.state_dict().items():
        assert torch.equal(value, task.network.state_dict()[name])


def test_the_command_trains_and_goes_on_from_the_lessons_that_were_kept(few, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    command = [
        "pretrain", "rigid", "-c", f"{ROOT}/configs/tasks/rigid.yaml", "--data.groups=1", "--data.crowds=1",
        "--data.val_count=1", "--trainer.max_epochs=1", "--trainer.check_val_every_n_epoch=1",
        "--trainer.enable_progress_bar=false", "--model.network.init_args.width=8",
    ]  # fmt: skip
    main(command)
    told = capsys.readouterr().out
    assert "steps are done. Run folder: outputs/rigid/version_0" in told
    assert "val/crowd_closed_form_px" in told
    run = tmp_path / "outputs" / "rigid" / "version_0"
    assert load_rigid(run / "rigid").width == 8
    monkeypatch.setattr(made, "make_lessons", None)
    (checkpoint,) = run.glob("checkpoints/epoch=0*.ckpt")
    main([*command, "--trainer.max_epochs=2", f"--ckpt_path={checkpoint}"])
    assert "steps are done" in capsys.readouterr().out


def test_the_order_of_lessons_is_that_of_the_seed(few, tmp_path):
    def order(seed):
        data = LessonDataModule(groups=1, crowds=1, cache=tmp_path, seed=seed)
        data.lessons = data.open(GraphRigid(width=8))
        return [data.lessons.index(lesson) for lesson in data.train_dataloader()]

    assert order(0) == order(0) != order(1)
    assert sorted(order(0)) == list(range(len(order(0))))


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="data.groups and data.val_count must be at least 1, and"):
        LessonDataModule(groups=0)
    with pytest.raises(ValueError, match="at least 0; got 1, 24, -1 and 0.0005"):
        LessonDataModule(groups=1, crowds=-1)


@pytest.mark.parametrize(
    "words", ["--data.groups 0", "--data.crowds -1", "--model.network.init_args.parts 0", "--model.lr -1"]
)
def test_numbers_that_cannot_be_meant_are_refused_before_anything_is_made(words):
    name, value = words.split()
    with pytest.raises(ValueError, match=f"^{re.escape(name)} must be from"):
        PARTS["rigid"].check(["-c", f"{ROOT}/configs/tasks/rigid.yaml", name, value])
