"""The commands around Lightning: ``fit``, ``validate``, ``test``, ``pretrain``, ``cache`` and ``probe``.

Their options are the keys of yaml. Words are checked before torch is imported; help is read off the source.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module

from worldgen.cli.words.help import example_lines, group_help, in_columns, summary, usage
from worldgen.cli.words.keys import Keys
from worldgen.cli.words.options import did_you_mean, either
from worldgen.cli.words.source import Parameter, locate, signature

_PROBE = "worldgen.study.probes.probe"
_PROBING = (
    "worldgen probe --encoder worldgen.encoders.vjepa2.VJEPA2 --encoder.checkpoint assets/nano/vjepa2 "
    "--train data/train --test data/test --out probes"
)
_TRAINER = "lightning.pytorch.trainer.trainer.Trainer"
_CLIPS, _CAPTIONS = "worldgen.data.datamodule.ClipDataModule", "worldgen.data.captions.CaptionDataModule"
NANO = "-c configs/base.yaml -c configs/size/nano.yaml -c configs/data/mujoco.yaml"
_HANDED = ("model", "dataloaders", "train_dataloaders", "val_dataloaders", "datamodule")


@dataclass(frozen=True)
class Training:
    """A command of Lightning's: what is trained on which data.

    Args:
        command: As people type it.
        subcommand: Of Lightning: fit, validate or test.
        task: Class path of the task.
        data: Class path of its clips.
        summary: What the command does.
        example: One that works.
        more: Its own options, by what they mean.
        then: What to do with the run folder ``{run}`` next.
    """

    command: str
    subcommand: str
    task: str
    data: str
    summary: str
    example: str
    more: tuple[tuple[str, str], ...] = ()
    then: str = ""

    def check(self, words: Sequence[str]) -> None:
        """Refuse what cannot be meant; see `Keys.check_words`."""
        own = [name.removeprefix("--").split()[0] for name, _ in self.more]
        taken = signature(f"{_TRAINER}.{self.subcommand}")
        own += [name for name in taken.parameters if name not in _HANDED] if taken else []
        sections = {"model": self.task, "data": self.data, "trainer": _TRAINER}
        plain = ("config", "seed_everything", "optimizer", "lr_scheduler", *own)
        Keys(self.command, {**sections, **dict.fromkeys(plain)}).check_words(words)

    def run(self, words: Sequence[str]) -> None:
        """Print the help, or check the words and let Lightning do it."""
        if self.answers(words):
            return
        from worldgen.runs.train import run_lightning

        (room, task), (data_room, data) = (path.rpartition(".")[::2] for path in (self.task, self.data))
        task, data = getattr(import_module(room), task), getattr(import_module(data_room), data)
        run_lightning(task, data, [self.subcommand, *words], self.then)

    def answers(self, words: Sequence[str]) -> bool:
        """Whether help was asked for, and printed; other words are checked."""
        for word in words:
            if word == "-h" or word == "--help" or word.startswith("--help."):
                print(self.help(word[7:]))
                return True
        if not words:
            raise ValueError(f"worldgen {self.command} needs yaml files: {self.example}")
        self.check(words)
        return False

    def help(self, topic: str) -> str:
        """The help, or that of ``model``, ``data``, ``trainer`` or a class path."""
        paths = {"model": self.task, "data": self.data, "trainer": _TRAINER}
        if topic:
            return class_help(paths.get(topic, topic), f"--{topic}." if topic in paths else "")
        rows = [
            ("-c FILE", "Yaml; each goes over those before, configs/ablations/ last."),
            ("--model.KEY VALUE", _names(self.task)),
            ("--data.KEY VALUE", _names(self.data)),
            ("--trainer.KEY VALUE", "max_steps, max_time, devices, precision, val_check_interval, ..."),
            *self.more,
            ("--print_config", "Print everything that is set, and do nothing."),
            ("--help.model", "What keys mean; also --help.data, .trainer, .CLASS_PATH."),
        ]
        lines = [
            *usage(f"{self.command} -c FILE [-c FILE ...] [--KEY VALUE ...]"),
            "",
            *summary(self.summary),
            "",
        ]
        return "\n".join([*lines, *in_columns(rows), *example_lines(self.example)])


def class_help(path: str, prefix: str) -> str:
    """What the arguments of a class or function mean, with kinds and defaults."""
    known = signature(path)
    if known is None:
        where = "its source does not list its arguments" if locate(path) else "there is no such class"
        raise ValueError(f"--help.{path} takes model, data, trainer or a class path; {where}.")
    rows = [
        (prefix + name, f"{_described(one)} ({one.annotation})") for name, one in known.parameters.items()
    ]
    return "\n".join([path, "", *summary(known.doc), "", *in_columns(rows)])


def _described(parameter: Parameter) -> str:
    return parameter.text + ("" if parameter.default in (None, "None") else f" [{parameter.default}]")


def _underscored(word: str) -> str:
    name, equals, value = word.partition("=")
    return (name.replace("-", "_").replace("__", "--", 1) if word.startswith("--") else name) + equals + value


def _names(path: str) -> str:
    known = signature(path)
    return ", ".join(known.parameters) if known else ""


def _generator(command: str, text: str, checkpoint: str, example: str) -> Training:
    more = (("--ckpt_path FILE", checkpoint),)
    return Training(
        command, command, _GENERATOR, _CLIPS, text, f"worldgen {command} {NANO}{example}", more, _EVALUATE
    )


def _part(name: str, task: str, data: str, text: str, then: str) -> Training:
    more = (("--ckpt_path FILE", _RESUME),)
    example = f"worldgen pretrain {name} -c configs/tasks/{name}.yaml"
    return Training(f"pretrain {name}", "fit", task, data, text, example, more, then)


_GENERATOR = "worldgen.tasks.generator.WorldGenerator"
_EVALUATE = "worldgen evaluate run {run} --data data/test --out report/"
_RESUME = "Go on from a checkpoint, in its own run folder: RUN/checkpoints/last.ckpt."
_TRIED = "Checkpoint of a run: RUN/checkpoints/last.ckpt."
_LAST = " --data.{} data/val --ckpt_path outputs/generator/version_0/checkpoints/last.ckpt"
TRAININGS = {
    "fit": _generator(
        "fit", "Train a world generator, as yaml files say. A killed run goes on.", _RESUME, ""
    ),
    "validate": _generator("validate", "Validate a checkpoint on data.val.", _TRIED, _LAST.format("val")),
    "test": _generator("test", "Test a checkpoint on data.test.", _TRIED, _LAST.format("test")),
}
_SLOT = "worldgen fit ... --model.conditioner.{}.init_args.checkpoint {{run}}/{}"
PARTS = {
    "codec": _part(
        "codec",
        "worldgen.tasks.parts.codec.CodecTask",
        _CLIPS,
        "Train the codec: pixels to latents, and back.",
        "worldgen fit ... --model.codec.init_args.checkpoint {run}/codec",
    ),
    "decoder": _part(
        "decoder",
        "worldgen.tasks.parts.decoder.DecoderTask",
        _CLIPS,
        "Tune a codec's decoder by how its videos look.",
        "worldgen evaluate codec {run}/codec --data data/test --out report/",
    ),
    "t5": _part(
        "t5",
        "worldgen.tasks.parts.t5.T5Task",
        _CAPTIONS,
        "Train a T5 encoder on captions.",
        _SLOT.format("text", "t5"),
    ),
    "vjepa": _part(
        "vjepa",
        "worldgen.tasks.parts.vjepa.VJEPATask",
        _CLIPS,
        "Train a V-JEPA 2 on clips.",
        _SLOT.format("video", "vjepa2"),
    ),
    "imagebind": _part(
        "imagebind",
        "worldgen.tasks.parts.imagebind.ImageBindTask",
        _CLIPS,
        "Train an ImageBind on clips with their senses.",
        _SLOT.format("multimodal", "imagebind"),
    ),
    "dynamics": _part(
        "dynamics",
        "worldgen.tasks.parts.dynamics.DynamicsTask",
        "worldgen.data.trajectories.TrajectoryDataModule",
        "Train a network of how balls move and strike.",
        "",
    ),
    "rigid": _part(
        "rigid",
        "worldgen.tasks.parts.rigid.RigidTask",
        "worldgen.tasks.parts.lessons.LessonDataModule",
        "Train a network of what closed form lacks of blows.",
        "",
    ),
    "readout": _part(
        "readout",
        "worldgen.tasks.parts.readout.ReadoutTask",
        _CLIPS,
        "Train a network that reads where things are.",
        "worldgen fit ... --model.codec.init_args.reader.init_args.checkpoint {run}/readout",
    ),
    "sound": _part(
        "sound",
        "worldgen.tasks.parts.sound.SoundTask",
        _CLIPS,
        "Train a generator of sound from frames.",
        "worldgen generate RUN ... --sound {run}",
    ),
    "voice": _part(
        "voice",
        "worldgen.tasks.parts.voice.VoiceTask",
        _CAPTIONS,
        "Train a voice on another's speech of captions.",
        "worldgen narrate data/test --voice {run}/voice --out told/",
    ),
    "control": _part(
        "control",
        "worldgen.tasks.parts.control.ControlTask",
        _CLIPS,
        "Train a control of a generator that stands still.",
        "worldgen generate RUN ... --control {run}/control --control-from VIDEO",
    ),
    "super_resolution": _part(
        "super_resolution",
        "worldgen.tasks.parts.super_resolution.SuperResolutionTask",
        _CLIPS,
        "Train a stage that doubles size or rate.",
        "worldgen generate RUN ... --stages {run}/super_resolution",
    ),
}
"""What `pretrain` trains."""
_SAMPLED = (
    ("--sample N", "Of verify: clips that are computed again. [16]"),
    ("--tolerance X", "Of verify: relative rms difference that is none. [0.001]"),
)
_PLAN = "Say how large the cache of a fit will be, without writing it; takes what fit takes."
_VERIFY = "Compare the checksums of a fit's cache, and compute a sample of it again; takes what fit takes."
CACHES = {
    name: Training(f"cache {name}", "", _GENERATOR, _CLIPS, text, f"worldgen cache {name} {NANO}", _SAMPLED)
    for name, text in (("plan", _PLAN), ("verify", _VERIFY))
}


def plan_cache(words: Sequence[str]) -> None:
    """Say how large the cache of a fit will be."""
    if not CACHES["plan"].answers(words):
        from worldgen.runs import plan_cache

        plan_cache.plan_cache(words)


def verify_cache(words: Sequence[str]) -> None:
    """Compare the cache of a fit with what would be computed now."""
    if not CACHES["verify"].answers(words):
        from worldgen.runs import plan_cache

        plan_cache.verify_cache(words)


def pretrain(words: Sequence[str]) -> None:
    """Train a part."""
    if not words or words[0] in ("-h", "--help"):
        rows = [(name, part.summary) for name, part in PARTS.items()]
        print(group_help("pretrain", "Train a part of the model.", rows, PARTS["codec"].example))
    else:
        part_of(words).run(words[1:])


def check_pretrain(words: Sequence[str]) -> None:
    """Refuse a part that there is not, and words that it does not take."""
    part_of(words).check(words[1:])


def part_of(words: Sequence[str]) -> Training:
    name = words[0] if words else ""
    if name not in PARTS:
        near = did_you_mean(name, PARTS)
        raise ValueError(
            f"worldgen pretrain takes {either(PARTS)}; got {name}{near if 'Did' in near else '.'}"
        )
    return PARTS[name]


def check_probe(words: Sequence[str]) -> None:
    """Refuse options that there are not."""
    known = signature(_PROBE)
    assert known is not None
    Keys("probe", dict.fromkeys(known.parameters)).check_words(words)


def probe(words: Sequence[str]) -> None:
    """Probe an encoder, whose class and arguments are options too."""
    known = signature(_PROBE)
    assert known is not None
    if not words or words[0] in ("-h", "--help"):
        rows = [("--" + name.replace("_", "-"), _described(one)) for name, one in known.parameters.items()]
        lines = usage(
            "probe --encoder CLASS [--encoder.KEY VALUE ...] --train PATH --test PATH --out PATH [options]"
        )
        print("\n".join([*lines, "", *summary(known.doc), "", *in_columns(rows), *example_lines(_PROBING)]))
        return
    check_probe(words)
    from jsonargparse import ArgumentParser, Namespace

    from worldgen.study.probes import probe

    parser = ArgumentParser(exit_on_error=False, allow_abbrev=False)
    parser.add_function_arguments(probe)
    given = parser.parse_args([_underscored(word) for word in words])
    made = parser.instantiate_classes(given)
    assert isinstance(made, Namespace)
    probe(**made.as_dict())
