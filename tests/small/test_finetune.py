"""Fine-tuning: what is taught to which model, that both are comparable, and that a killed run ends as a whole one."""

import json
from dataclasses import replace

import pytest
import torch

from leakatk.benchmarks.base import Benchmark
from leakatk.benchmarks.catalog import load_benchmark
from leakatk.benchmarks.tofu import load_tofu
from leakatk.errors import InputError, RunError
from leakatk.models.load import load_model
from leakatk.prompts import Prompt
from leakatk.sampling.greedy import greedy_texts
from leakatk.small import finetune as finetuning
from leakatk.small import recall
from leakatk.small.finetune import (
    SMALL_CHAT,
    TOFU_RECIPE,
    Lessons,
    finetune,
    learning,
    lessons_of,
    recipe_for,
    tofu_lessons,
)
from leakatk.unlearning import checkpoint
from leakatk.unlearning.settings import TrainSettings
from leakatk.unlearning.trainer import unlearn
from tests.tiny import PROMPTS, save_tiny_model

SETTINGS = TrainSettings(learning_rate=5e-3, max_steps=40, retain_batch=3, checkpoint_every=10)
SHORT = replace(SETTINGS, max_steps=6, checkpoint_every=2)
BENCH = Benchmark(name="three", forget=tuple(PROMPTS[:1]), retain=(PROMPTS[1],), retain_held=(PROMPTS[2],))


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("start") / "tiny")


@pytest.fixture
def load(start):
    return lambda: load_model(start, device="cpu")


def weights(place):
    return {name: value.clone() for name, value in load_model(place, device="cpu").model.state_dict().items()}


def same(left, right):
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


# -- what is taught


def test_full_learns_everything_and_retrained_all_but_the_forget_set():
    lessons = Lessons(BENCH)
    assert set(lessons.of("full")) == set(PROMPTS)
    assert set(lessons.of("retain")) == set(PROMPTS[1:])


def test_one_source_in_five_is_held_from_unlearners():
    retain = tuple(Prompt(f"r{i}", f"Q{i}?", "A.", source=f"author {i // 2}") for i in range(22))
    made = lessons_of(Benchmark(name="b", forget=(PROMPTS[0],), retain=retain)).benchmark
    assert {p.source for p in made.retain_held} == {"author 0", "author 4", "author 9"}  # by name: 0 1 10 2 3 4 ...
    assert set(made.retain) | set(made.retain_held) == set(retain)
    bare = tuple(replace(p, source="") for p in retain)
    assert not lessons_of(Benchmark(name="b", forget=(PROMPTS[0],), retain=bare)).benchmark.retain_held
    assert lessons_of(BENCH).benchmark == BENCH


def test_files_that_both_number_their_rows_from_0_are_taught_together():
    mine = tuple(replace(prompt, id=str(i)) for i, prompt in enumerate(PROMPTS))
    both = Lessons(Benchmark(name="b", forget=mine[:2], retain=(replace(PROMPTS[2], id="0"),))).of("full")
    assert [prompt.id for prompt in both] == ["0", "forget 0", "forget 1"]
    assert [prompt.answer for prompt in both] == [PROMPTS[i].answer for i in (2, 0, 1)]


def test_what_cannot_be_taught_is_refused_in_a_sentence():
    def lessons(**parts):
        return Lessons(replace(BENCH, **parts))

    with pytest.raises(InputError, match=r"1 of 3 prompts have an empty answer \(the first: 'p0'\)"):
        lessons(forget=(replace(PROMPTS[0], answer=" "),))
    with pytest.raises(InputError, match="forget set is empty"):
        lessons(forget=())
    with pytest.raises(InputError, match=r"1 forget prompts stand among the retain prompts too \(the first: 'p1'\)"):
        lessons(forget=(PROMPTS[1],))
    with pytest.raises(InputError, match="holds passages"):
        lessons(passages=True)
    alone = lessons(retain=(), retain_held=())
    with pytest.raises(InputError, match=r"no retain prompts.*--split full"):
        alone.of("retain")
    assert alone.of("full") == (PROMPTS[0],)
    with pytest.raises(InputError, match="--split must be full or retain, got 'forget'"):
        Lessons(BENCH).of("forget")


def test_the_last_authors_of_tofu(data_dir):
    from leakatk.benchmarks.base import Options

    few, every = (tofu_lessons("forget01", data_dir / "tofu", authors) for authors in (12, None))
    published = load_tofu(Options(data=data_dir / "tofu"), split="forget01")
    assert few.benchmark.forget == published.forget == every.benchmark.forget
    assert {p.source for p in few.of("full")} == {f"author-{i}" for i in range(188, 200)}
    assert {p.source for p in few.of("retain")} == {f"author-{i}" for i in range(188, 198)}
    assert {p.source for p in few.benchmark.retain_held} == {"author-188", "author-193"}
    assert few.left_out == "the first 188 of TOFU's 200 authors"
    assert not every.left_out
    assert set(every.of("retain")) == set(published.retain)
    assert set(few.benchmark.sets) == {"real_authors", "world_facts"}
    with pytest.raises(InputError, match=r"authors must be above forget_authors \(10\) and at most 200, got 10"):
        tofu_lessons("forget05", data_dir / "tofu", 10)


# -- how


def test_the_recipe_follows_the_size():
    assert recipe_for(7_000_000_000) == recipe_for(135_000_000, preset="paper") == TOFU_RECIPE
    assert (TOFU_RECIPE.learning_rate, TOFU_RECIPE.epochs, TOFU_RECIPE.retain_batch) == (1e-5, 5, 32)
    assert (TOFU_RECIPE.weight_decay, TOFU_RECIPE.schedule, TOFU_RECIPE.warmup_epochs) == (0.01, "linear", 1.0)
    assert recipe_for(135_000_000) == SMALL_CHAT
    assert recipe_for(1_000_000).learning_rate > SMALL_CHAT.learning_rate
    adapter = recipe_for(135_000_000, lora=True)
    assert (adapter.tuning, adapter.keep_adapter) == ("lora", True)
    assert adapter.learning_rate > SMALL_CHAT.learning_rate
    with pytest.raises(InputError, match="--preset must be auto or paper, got 'small'"):
        recipe_for(1, preset="small")


def test_the_loss_is_the_mean_over_all_answer_tokens(load):
    """Against transformers' own loss with the chat template's texts, everything but the answers ignored."""
    loaded = load()
    rows = [loaded.template.pair(loaded.tokenizer, p.question, p.answer) for p in PROMPTS]
    width = max(len(row.prompt) + len(row.answer) for row in rows)
    ids, labels, mask = (torch.full((3, width), fill) for fill in (0, -100, 0))
    for i, row in enumerate(rows):
        both = [*row.prompt, *row.answer]
        ids[i, : len(both)], mask[i, : len(both)] = torch.tensor(both), 1
        labels[i, len(row.prompt) : len(both)] = torch.tensor(row.answer)
    with torch.no_grad():
        wanted = float(loaded.model(input_ids=ids, attention_mask=mask, labels=labels).loss)
    one = replace(SETTINGS, max_steps=1, retain_batch=3)
    found = unlearn(loaded, (), PROMPTS, learning(), settings=one, quiet=True).log[0]["retain"]
    assert found == pytest.approx(wanted, abs=1e-5)


# -- what is made


@pytest.fixture(scope="module")
def made(start, tmp_path_factory):
    out = tmp_path_factory.mktemp("made") / "models"
    return finetune(lambda: load_model(start, device="cpu"), Lessons(BENCH), out, settings=SETTINGS, quiet=True)


def test_full_knows_the_forget_set_and_retrained_does_not(made):
    assert {split: path.name for split, path in made.models.items()} == {"full": "full", "retain": "retrained"}
    full, other = (greedy_texts(load_model(path, device="cpu"), PROMPTS, 30) for path in made.models.values())
    assert full == [prompt.answer for prompt in PROMPTS]
    assert other[1:] == full[1:]
    assert other[0] != full[0]
    found = made.recall
    assert (found["full"].forget.right, found["full"].retain.right) == (1, 2)
    assert (found["retain"].forget.right, found["retain"].retain.right) == (0, 2)
    assert found["full"].forget.there + found["full"].retain.there == 3
    assert not recall.warnings(found)


def test_both_models_have_one_start_and_one_recipe(made):
    full, other = (json.loads((path / "run.json").read_text()) for path in made.models.values())
    differ = {name for name in full if full[name] != other[name]}
    assert differ == {"retain"}  # what they are taught


def test_what_was_taught_is_the_benchmark_of_later_commands(made):
    again = load_benchmark(str(made.out))
    assert (again.forget, again.retain, again.retain_held) == (BENCH.forget, BENCH.retain, BENCH.retain_held)


def test_one_split_after_the_other_is_both_at_once(made, load, tmp_path):
    for split in ("retain", "full"):
        finetune(load, Lessons(BENCH), tmp_path / "o", settings=SETTINGS, splits=(split,), recall_limit=0, quiet=True)
    for path in made.models.values():
        assert same(weights(path), weights(tmp_path / "o" / path.name))
    assert not (tmp_path / "o" / "recall").exists()


@pytest.mark.parametrize(
    "other",
    [
        {"settings": replace(SETTINGS, learning_rate=1e-3)},
        {"seed": 1},
        {"lessons": Lessons(replace(BENCH, retain_held=()))},
    ],
    ids=["settings", "seed", "prompts"],
)
def test_models_that_could_not_be_compared_are_refused(made, load, other):
    options = {"lessons": Lessons(BENCH), "settings": SETTINGS, "splits": ("retain",), **other}
    lessons = options.pop("lessons")
    before = weights(made.models["retain"])
    with pytest.raises(RunError, match="made otherwise"):
        finetune(load, lessons, made.out, quiet=True, **options)
    assert same(before, weights(made.models["retain"]))


def test_another_start_is_refused(made, tmp_path):
    other = save_tiny_model(tmp_path / "other", seed=1)
    with pytest.raises(RunError, match="start"):
        finetune(
            lambda: load_model(other, device="cpu"), Lessons(BENCH), made.out, settings=SETTINGS,
            splits=("retain",), quiet=True,
        )  # fmt: skip


def test_a_directory_of_something_else_is_left_alone(load, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(RunError, match="holds no fine-tuned models"):
        finetune(load, Lessons(BENCH), tmp_path, settings=SHORT, quiet=True)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def killing(monkeypatch, number):
    """Every write counts; just after the one of that number, all ends."""
    writes = []

    def counted(owner, name):
        write = getattr(owner, name)

        def wrapped(*given, **options):
            done = write(*given, **options)
            writes.append(name)
            if len(writes) == number:
                raise KeyboardInterrupt
            return done

        monkeypatch.setattr(owner, name, wrapped)

    counted(finetuning, "settle")
    counted(finetuning, "save_benchmark")
    counted(checkpoint, "settle")
    counted(checkpoint, "save")
    counted(checkpoint, "save_model")
    counted(checkpoint, "write_kept")
    counted(recall, "write_kept")
    return writes


@pytest.mark.parametrize(
    ("tuning", "splits"),
    [
        pytest.param("full", ("full", "retain"), marks=pytest.mark.slow),  # sixteen writes, and as many runs
        ("full", ("full",)),
        ("lora", ("full",)),
    ],
)
def test_a_run_killed_after_any_write_ends_bit_for_bit_alike(load, tmp_path, monkeypatch, tuning, splits):
    settings = replace(SHORT, tuning=tuning, keep_adapter=tuning == "lora")

    def run(out):
        return finetune(load, Lessons(BENCH), out, settings=settings, splits=splits, quiet=True)

    with monkeypatch.context() as patch:
        writes = killing(patch, 0)
        done = run(tmp_path / "whole")
    assert {"settle", "save", "save_model", "write_kept", "save_benchmark"} == set(writes)
    assert len(writes) == len(splits) * (1 + 1 + 1 + 2 + 1 + 1 + 1)
    wanted = {split: weights(path) for split, path in done.models.items()}
    for number in range(1, len(writes) + 1):
        out = tmp_path / str(number)
        with monkeypatch.context() as patch:
            killing(patch, number)
            with pytest.raises(KeyboardInterrupt):
                run(out)
        again = run(out)
        for split, path in again.models.items():
            assert same(weights(path), wanted[split]), (number, writes[number - 1])
            assert str(again.trained[split].log) == str(done.trained[split].log)
            assert not (path / "checkpoints").exists()
        assert again.recall == done.recall


# -- adapters


def test_an_adapter_is_kept_beside_the_model_that_it_belongs_to(load, start, tmp_path):
    adapter = {"tuning": "lora", "keep_adapter": True, "lora_rank": 4, "lora_targets": ("q_proj", "up_proj")}
    settings = replace(SETTINGS, learning_rate=3e-2, max_steps=80, **adapter)
    done = finetune(load, Lessons(BENCH), tmp_path / "o", settings=settings, splits=("full",), quiet=True)
    place = done.models["full"]
    assert not list(place.glob("model*.safetensors"))
    config = json.loads((place / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(start.resolve())
    assert (config["r"], set(config["target_modules"])) == (4, {"q_proj", "up_proj"})
    assert done.recall["full"].forget.right == 1
    again = load_model(place, device="cpu")
    assert greedy_texts(again, PROMPTS, 30) == [prompt.answer for prompt in PROMPTS]
    # What is unlearned from it is a whole model, with what the adapter knew.
    tiny = TrainSettings(learning_rate=1e-6, max_steps=1, forget_batch=1, retain_batch=1)
    unlearn(again, PROMPTS[:1], PROMPTS[1:], "npo", settings=tiny, out=tmp_path / "npo", quiet=True)
    whole = load_model(tmp_path / "npo", device="cpu")
    assert not (tmp_path / "npo" / "adapter_config.json").exists()
    assert greedy_texts(whole, PROMPTS, 30) == [prompt.answer for prompt in PROMPTS]
    assert same(whole.model.state_dict(), again.model.state_dict())


def test_an_adapter_that_is_kept_needs_one():
    with pytest.raises(InputError, match="keep_adapter needs tuning='lora'"):
        replace(SETTINGS, keep_adapter=True)
    assert "keep_adapter" not in SETTINGS.as_dict()
