"""What an unlearning run keeps: two checkpoints, a damaged one passed over for the one before, one process at a time."""

import copy
import os
import shutil
from pathlib import Path

import pytest
import torch

from leakatk.errors import RunError
from leakatk.files.checksums import INDEX
from leakatk.models.loaded import LoadedModel
from leakatk.prompts import Prompt
from leakatk.small.architecture import SmallConfig
from leakatk.small.fit import Phase
from leakatk.small.train import Stage, Training, train
from leakatk.unlearning.methods import METHODS
from leakatk.unlearning.rule.rule import rule
from leakatk.unlearning.rule.settings import RuleSettings
from leakatk.unlearning.settings import Check, TrainSettings
from leakatk.unlearning.trainer import Unlearned, unlearn
from leakatk.workdir import claim

SETTINGS = TrainSettings(
    learning_rate=1e-3, max_steps=9, forget_batch=2, retain_batch=2, checkpoint_every=2, check_every=1
)
Prompts = list[Prompt]


@pytest.fixture(params=["npo", "rmu", "pdu"])  # with a reference, with hidden states, with a state between steps
def run(request: pytest.FixtureRequest, loaded: LoadedModel, forget: Prompts, retain: Prompts):  # type: ignore[no-untyped-def]
    """Train a copy of the model into a directory, as far as `stop`; gives the model and the record."""
    method = METHODS[request.param]
    method = method.with_params(layer=0) if "layer" in method.params else method

    def go(out: Path, stop: int = 0) -> tuple[torch.nn.Module, Unlearned]:
        def check(_: LoadedModel, step: int) -> Check:
            if step == stop:
                raise KeyboardInterrupt
            return Check({})

        mine = LoadedModel(copy.deepcopy(loaded.model), loaded.tokenizer, loaded.template, "tiny", "none")
        done = unlearn(mine, forget, retain, method, out=out, settings=SETTINGS, quiet=True, on_check=check)
        return mine.model, done

    return go


def interrupted(run, out: Path, stop: int = 7) -> list[Path]:  # type: ignore[no-untyped-def]
    with pytest.raises(KeyboardInterrupt):
        run(out, stop)
    return sorted((out / "checkpoints").iterdir())


def same(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    return all(torch.equal(x, b.state_dict()[name]) for name, x in a.state_dict().items())


def bend(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) * 3 // 4] ^= 4
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3])


PARTS = ("weights.safetensors", "optimizer.safetensors", "progress.json")


def test_a_damaged_half_falls_back_to_the_one_before_bit_for_bit(run, tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    wanted, record = run(tmp_path / "whole")
    before, last = interrupted(run, tmp_path / "out")
    assert (before.name, last.name) == ("step-00000004", "step-00000006")  # two are kept
    for number, (part, how) in enumerate([(p, h) for p in PARTS for h in (bend, cut, Path.unlink)]):
        place = shutil.copytree(tmp_path / "out", tmp_path / str(number))
        how(place / "checkpoints" / last.name / part)
        model, done = run(place)
        assert same(model, wanted), (part, how)
        assert str(done.log) == str(record.log)
        (note,) = done.notes
        assert "step-00000006 is damaged and was passed over, training goes on from step-00000004" in note
        assert note in capsys.readouterr().err
        assert run(place)[1].notes == [note]  # kept with the finished model


def test_two_damaged_ones_start_over_and_are_not_taken_later(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    wanted, _ = run(tmp_path / "whole")
    for folder in interrupted(run, tmp_path / "out"):
        bend(folder / PARTS[0])
    left = interrupted(run, tmp_path / "out", stop=3)
    assert [folder.name for folder in left] == ["step-00000002"]
    model, done = run(tmp_path / "out")
    assert same(model, wanted)
    assert done.notes == []


def test_an_older_checkpoint_without_checksums_is_taken_with_a_note(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    wanted, _ = run(tmp_path / "whole")
    before, last = interrupted(run, tmp_path / "out")
    shutil.rmtree(before)
    for index in (tmp_path / "out").rglob(INDEX):
        index.unlink()
    model, done = run(tmp_path / "out")
    assert same(model, wanted)
    assert done.notes == [
        f"{last} has no run.checksums (an older version wrote it): damage to its files may go unnoticed."
    ]


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json", "unlearning.json"])
def test_a_damaged_finished_model_is_said_and_made_again(run, tmp_path: Path, name: str) -> None:  # type: ignore[no-untyped-def]
    wanted, _ = run(tmp_path / "out")
    bend(tmp_path / "out" / name)
    with pytest.raises(RunError, match=rf"{name} is damaged: .*restore it from a copy, or delete it and run the same"):
        run(tmp_path / "out")
    (tmp_path / "out" / name).unlink()
    model, _ = run(tmp_path / "out")
    assert same(model, wanted)
    assert not (tmp_path / "out" / "checkpoints").exists()


def test_one_process_at_a_time(run, loaded, forget, retain, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    refused = rf"is being written by process {os.getpid()} on "
    few = TrainSettings(learning_rate=1e-3, max_steps=1, forget_batch=2, retain_batch=2)
    phase = Phase(steps=1, learning_rate=1e-3, batch_size=2)
    pairs = tuple((p.question, p.answer) for p in forget)
    plan = Training(
        (Stage("base", pairs, phase),),
        SmallConfig(hidden=32, layers=1, heads=2, mlp=64, vocabulary=300),
        "base",
        "base",
    )
    with claim(tmp_path):
        with pytest.raises(RunError, match=refused):
            run(tmp_path)
        with pytest.raises(RunError, match=refused):
            rule(
                loaded,
                forget,
                retain,
                "npo",
                score=lambda p, t: [],
                settings=RuleSettings(n=1, k=1),
                train=few,
                out=tmp_path,
            )
        with pytest.raises(RunError, match=refused):
            train(plan, tmp_path, quiet=True)
    run(tmp_path)  # refusing left nothing behind, and the lock ends with its holder
    with pytest.raises(RunError, match="holds no small models"):
        train(plan, tmp_path, quiet=True)


def test_what_a_killed_run_left_half_written_goes(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    interrupted(run, tmp_path)
    for name in (".saving", "checkpoints/.step-00000008.99999999.tmp"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").write_text("half")
    (tmp_path / ".unlearning.json.99999999.tmp").write_text("half")
    interrupted(run, tmp_path, stop=7)
    left = [path.name for path in tmp_path.rglob(".*")]
    assert left == []


def test_a_directory_of_another_kind_is_left_as_it_is(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(RunError, match="holds no unlearning run"):
        run(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_damaged_start_of_small_models_is_refused(tmp_path: Path) -> None:
    phase, pairs = Phase(steps=1, learning_rate=1e-3, batch_size=2), (("Who?", "Bo."), ("Where?", "Oslo."))
    stages = (Stage("base", pairs, phase), Stage("full", pairs, phase, "base"))
    plan = Training(stages, SmallConfig(hidden=32, layers=1, heads=2, mlp=64, vocabulary=300), "full", "base")
    train(plan, tmp_path, quiet=True)
    shutil.rmtree(tmp_path / "full")
    bend(tmp_path / "base" / "model.safetensors")
    with pytest.raises(RunError, match=r"damaged: .*delete it and run the same command again"):
        train(plan, tmp_path, quiet=True)
