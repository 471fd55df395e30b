"""The training loop: what it computes does not depend on how it is cut up, and nothing is lost on the way."""

import copy
import json
import math
from dataclasses import replace

import pytest
import torch

from leakatk.errors import InputError, RunError, UtilityFloorError
from leakatk.files.writing import write_kept
from leakatk.models.load import load_model, save_model
from leakatk.prompts import Known, Prompt
from leakatk.sampling.decoding import Decoding
from leakatk.sampling.teacher_forcing import answer_logprob
from leakatk.unlearning import trainer as training
from leakatk.unlearning.methods import METHODS
from leakatk.unlearning.settings import Check, TrainSettings, stop_when
from leakatk.unlearning.stages import Repeat
from leakatk.unlearning.trainer import unlearn
from tests.unlearning.conftest import tiny_model
from tests.unlearning.plain import TINY, given_models, predicted

SHORT = TrainSettings(learning_rate=1e-3, max_steps=4, forget_batch=4, retain_batch=4)
NEVER_GONE = {"f1": 0.0, "bleu": 0.0, "distinct": 0.0}  # a method that ends once nothing is said goes on
NAMES = sorted(name for name in METHODS if METHODS[name].trains)  # the others: methods/test_editing.py


def method_for(name):
    """A registered method, with layers that a model of two layers has."""
    method, numbers = METHODS[name], {**TINY, **NEVER_GONE}
    return method.with_params(**{key: value for key, value in numbers.items() if key in method.params})


def alternates(forget):
    return {prompt.id: f"{prompt.question.split()[2]} lives elsewhere." for prompt in forget}


def known(method, loaded, forget, retain, place):
    """What a method must be given: other models of the same shape, margins."""
    paths = {}
    for i, name in enumerate(given_models(method)):
        paths[name] = str(place / name)
        save_model(replace(loaded, model=tiny_model(loaded.tokenizer, seed=7 + i)), place / name)
    return Known(auxiliary=paths, margins=predicted(forget, retain))


def weights(loaded):
    return {name: value.detach().clone() for name, value in loaded.model.state_dict().items()}


def same(left, right):
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


@pytest.mark.parametrize("name", NAMES)
def test_every_method_trains_and_resumes_bit_for_bit(loaded, base_model, tokenizer, forget, retain, tmp_path, name):
    method, start = method_for(name), weights(loaded)
    settings = replace(SHORT, checkpoint_every=1)
    options = {"settings": settings, "quiet": True, "alternates": alternates(forget)}
    options["known"] = known(method, loaded, forget, retain, tmp_path)
    done = unlearn(loaded, forget, retain, method, out=tmp_path / "whole", **options)
    rounds = method.params["rounds"] if any(isinstance(stage, Repeat) for stage in method.stages) else 1
    assert done.steps == 4 * len(method.trains) * rounds
    assert all(torch.isfinite(value).all() for value in loaded.model.state_dict().values())
    assert not same(weights(loaded), start)

    def interrupted(loaded, step):
        raise KeyboardInterrupt

    again = replace(loaded, model=copy.deepcopy(base_model))
    stopping = replace(settings, check_every=2)
    # The check is no part of what is trained, so a run that is stopped by it may be gone on with.
    with pytest.raises(KeyboardInterrupt):
        unlearn(
            again,
            forget,
            retain,
            method,
            out=tmp_path / "cut",
            on_check=interrupted,
            **{**options, "settings": stopping},
        )
    again = replace(loaded, model=copy.deepcopy(base_model))
    unlearn(
        again, forget, retain, method, out=tmp_path / "cut",
        on_check=lambda loaded, step: Check({}), **{**options, "settings": stopping},
    )  # fmt: skip
    assert same(weights(again), weights(loaded))


@pytest.mark.parametrize("name", ["npo", "graddiff", "rmu"])
def test_micro_batches_give_the_same_step(loaded, base_model, forget, retain, name):
    other = replace(loaded, model=copy.deepcopy(base_model))
    one = unlearn(loaded, forget, retain, method_for(name), settings=SHORT, quiet=True)
    four = unlearn(
        other, forget, retain, method_for(name), settings=replace(SHORT, gradient_accumulation=4), quiet=True
    )
    for left, right in zip(one.log, four.log, strict=True):
        assert left["forget"] == pytest.approx(right["forget"], rel=1e-4)
        assert left["grad_norm"] == pytest.approx(right["grad_norm"], rel=2e-3)


def test_the_reference_is_the_start_model(loaded, forget, retain):
    """At the first step NPO's log ratio is 0 for full tuning and for LoRA alike: its loss is 2/beta ln 2."""
    for tuning in ("full", "lora"):
        model = replace(loaded, model=copy.deepcopy(loaded.model))
        method = METHODS["npo"].with_params(beta=0.5)
        done = unlearn(model, forget, retain, method, settings=replace(SHORT, tuning=tuning), quiet=True)
        assert done.log[0]["forget"] == pytest.approx(4 * torch.log(torch.tensor(2.0)).item(), abs=1e-4)


def test_lora_trains_the_adapter_alone_and_saves_a_plain_model(loaded, forget, retain, tmp_path):
    before = weights(loaded)
    settings = replace(SHORT, tuning="lora", lora_targets=("q_proj",))
    unlearn(loaded, forget, retain, "graddiff", settings=settings, out=tmp_path / "out", quiet=True)
    after = weights(loaded)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert all("q_proj" in name for name in changed)
    saved = load_model(tmp_path / "out", template=loaded.template)
    decoding = Decoding(max_new_tokens=40)
    assert answer_logprob(saved, forget, decoding) == pytest.approx(answer_logprob(loaded, forget, decoding), abs=1e-3)
    record = json.loads((tmp_path / "out" / "unlearning.json").read_text())
    assert record["method"] == "graddiff"
    assert record["settings"]["tuning"] == "lora"


def test_only_the_named_parameters_are_trained(loaded, forget, retain):
    before = weights(loaded)
    unlearn(
        loaded, forget, retain, "graddiff", settings=replace(SHORT, parameters=r"layers\.1\.mlp\.down_proj"), quiet=True
    )
    changed = {name for name, value in weights(loaded).items() if not torch.equal(value, before[name])}
    assert changed == {"model.layers.1.mlp.down_proj.weight"}


def test_forgetting_lowers_the_answers_and_keeps_the_others(loaded, forget, retain):
    """From a model that knows both sets, SimNPO with its retain term makes the forget answers far less likely."""
    decoding = Decoding(max_new_tokens=40)
    learn = replace(SHORT, learning_rate=3e-3, max_steps=150, retain_batch=8)
    unlearn(loaded, forget, [*forget, *retain], "retrain", settings=learn, quiet=True)
    known = answer_logprob(loaded, forget, decoding).mean(), answer_logprob(loaded, retain, decoding).mean()
    method = METHODS["simnpo"].for_small_models()
    unlearn(
        loaded,
        forget,
        retain,
        method,
        settings=replace(SHORT, learning_rate=1e-3, max_steps=40, retain_batch=8),
        quiet=True,
    )
    left = answer_logprob(loaded, forget, decoding).mean(), answer_logprob(loaded, retain, decoding).mean()
    assert min(known) > -8
    assert left[0] < known[0] - 10
    assert left[1] > known[1] - 5


def test_a_utility_floor_stops_and_says_so(loaded, forget, retain, tmp_path):
    settings = replace(SHORT, check_every=2, utility_floor=0.5)

    def check(loaded, step):
        return Check({"utility": 0.9 if step < 4 else 0.2})

    with pytest.raises(UtilityFloorError, match=r"stopped at step 4: utility 0.200 fell below the floor 0.5"):
        unlearn(loaded, forget, retain, "ga", settings=settings, out=tmp_path / "out", on_check=check, quiet=True)
    assert not (tmp_path / "out" / "unlearning.json").exists()
    done = unlearn(
        loaded, forget, retain, "ga", settings=replace(settings, on_floor="stop"), on_check=check, quiet=True
    )
    assert done.below_floor


def test_the_stop_rule_ends_the_run(loaded, forget, retain):
    seen = iter([{"forget": 0.5, "utility": 1.0}, {"forget": 0.0, "utility": 0.9}, {"forget": 0.0, "utility": 0.97}])
    check = stop_when(lambda loaded: next(seen), forget_at_most=0.0, utility_at_least=0.95)
    done = unlearn(
        loaded, forget, retain, "npo", settings=replace(SHORT, max_steps=20, check_every=1), on_check=check, quiet=True
    )
    assert done.steps == 3
    assert "utility >= 0.95" in done.stopped


def test_another_run_is_refused_by_the_fields_that_differ(loaded, base_model, forget, retain, tmp_path):
    unlearn(loaded, forget, retain, "npo", settings=SHORT, out=tmp_path / "out", quiet=True)
    kept = (tmp_path / "out" / "model.safetensors").read_bytes()
    fresh = replace(loaded, model=copy.deepcopy(base_model))
    with pytest.raises(RunError, match="seed"):
        unlearn(fresh, forget, retain, "npo", settings=SHORT, out=tmp_path / "out", seed=1, quiet=True)
    with pytest.raises(RunError, match="method"):
        unlearn(fresh, forget, retain, "graddiff", settings=SHORT, out=tmp_path / "out", quiet=True)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("mine")
    with pytest.raises(RunError, match="no unlearning run"):
        unlearn(fresh, forget, retain, "npo", settings=SHORT, out=tmp_path / "mine", quiet=True)
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == kept


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"learning_rate": 0.0}, "learning_rate must be a number > 0"),
        ({"max_steps": None}, "either max_steps or epochs"),
        ({"forget_batch": 3, "gradient_accumulation": 2}, "no multiple of gradient_accumulation"),
        ({"tuning": "half"}, "tuning must be full or lora"),
        ({"warmup_epochs": -1.0}, "warmup_epochs must be at least 0"),
        ({"warmup_steps": 3, "warmup_epochs": 1.0}, "either warmup_steps or warmup_epochs"),
    ],
)
def test_settings_are_checked(changes, message):
    with pytest.raises(InputError, match=message):
        replace(SHORT, **changes)


# (preset, prompts an epoch, steps in all, steps of warm-up): open-unlearning's int(epochs x prompts / batch), on TOFU forget10
# and its retain set.
WARM_UPS = [("npo", 400, 125, 12), ("altpo", 400, 25, 12), ("me", 400, 63, 12), ("retrain", 3600, 563, 112)]


@pytest.mark.parametrize(("name", "prompts", "steps", "warm"), WARM_UPS)
def test_the_studys_optimiser_warms_up_for_one_epoch(name, prompts, steps, warm):
    method = METHODS[name]
    assert method.settings.total_steps(prompts, side=method.side) == steps
    assert method.settings.rising_steps(prompts, side=method.side) == warm


def test_every_published_preset_warms_up_and_no_small_one_in_epochs():
    own = {
        "ssu",
        "sure",
        "llmu",
        "memflex",
        "zju-ties",
        "mudman",
        "r2mu",
        "falcon",
        "align-then-unlearn",
        "safe",
        "unierase",
        "icu",
        "opt-out",
        "unstar",
    }  # an optimisation of their own, without a warm-up
    assert {METHODS[name].settings.warmup_epochs for name in METHODS if name not in own} == {1.0}
    assert {METHODS[name].settings.warmup_epochs for name in own} == {0.0}
    assert {METHODS[name].small_settings.warmup_epochs for name in METHODS} == {0.0}


def test_a_warm_up_is_at_most_half_of_the_run():
    assert replace(METHODS["npo"].settings, max_steps=4, epochs=None).rising_steps(400) == 2
    assert replace(SHORT, warmup_steps=3).rising_steps(400) == 3


def test_the_learning_rate_rises_and_falls(loaded, forget, retain):
    """Five prompts in batches of two, two epochs: five steps, of which int(1.6 x 5 / 2) = 4 would be warm-up, so half: two."""
    settings = TrainSettings(
        learning_rate=3e-3, epochs=2, warmup_epochs=1.6, schedule="linear", forget_batch=2, retain_batch=2
    )
    done = unlearn(loaded, forget, retain, "npo", settings=settings, quiet=True)
    expected = [1e-3, 2e-3, 3e-3, 2e-3, 1e-3]  # thirds, then down to where a sixth step would be 0
    assert [row["lr"] for row in done.log] == pytest.approx(expected)


def test_epochs_of_retrain_count_retain_batches(loaded, forget, retain):
    settings = TrainSettings(learning_rate=1e-3, epochs=2, forget_batch=2, retain_batch=3)
    done = unlearn(loaded, forget, retain, "retrain", settings=settings, quiet=True)
    assert done.steps == 6  # nine prompts in batches of three, twice


def test_a_run_from_before_positions_and_warm_up_is_the_same_run(loaded, base_model, forget, retain, tmp_path):
    """The small presets still do what they did: their directories open as they are."""
    method = METHODS["kl"].for_small_models()
    options = {"settings": SHORT, "out": tmp_path / "out", "quiet": True}
    unlearn(loaded, forget, retain, method, **options)
    marker = tmp_path / "out" / "run.json"
    record = json.loads(marker.read_text())
    assert "warmup_epochs" not in record["settings"]
    assert record["params"].pop("positions") == "answer"
    write_kept(marker, json.dumps(record))
    fresh = replace(loaded, model=copy.deepcopy(base_model))
    assert unlearn(fresh, forget, retain, method, **options).steps == 4
    assert same(weights(fresh), weights(loaded))
    with pytest.raises(RunError, match=r"made otherwise.*params"):
        unlearn(fresh, forget, retain, METHODS["kl"], **options)


def test_data_are_checked(loaded, forget, retain):
    with pytest.raises(InputError, match="empty"):
        unlearn(loaded, [], retain, "npo", settings=SHORT)
    with pytest.raises(InputError, match="share the id"):
        unlearn(loaded, [forget[0], forget[0]], retain, "npo", settings=SHORT)
    with pytest.raises(InputError, match="weights must be 5 numbers"):
        unlearn(loaded, forget, retain, "npo", settings=SHORT, weights=[1.0])


def test_every_item_is_drawn_once_an_epoch():
    from leakatk.unlearning.streams import drawn_rows

    drawn = [row for start in range(0, 12, 3) for row in drawn_rows(6, 3, start, 7, None)]
    assert sorted(drawn[:6]) == sorted(drawn[6:]) == list(range(6))
    assert drawn[:6] != drawn[6:]
    often = [row for start in range(0, 4000, 4) for row in drawn_rows(2, 4, start, 7, [3.0, 1.0])]
    assert 0.70 < often.count(0) / len(often) < 0.80


def test_a_token_that_elsewhere_pads_is_attended_to():
    """Llama 3's end of a message also stands within prompts; only columns that hold nothing are hidden."""
    from leakatk.unlearning.streams import Item, collate

    batch = collate([Item((5, 0, 6), (7, 0)), Item((5,), (7, 8, 0))], (0, 1), torch.device("cpu"))
    assert batch.attention_mask.tolist() == [[1, 1, 1, 1, 1, 0], [0, 0, 1, 1, 1, 1]]
    assert batch.labels.tolist() == [[7, 0, -100], [7, 8, 0]]


def test_weights_hash_tells_models_apart(loaded):
    before = training.weights_hash(loaded.model.state_dict())
    with torch.no_grad():
        next(loaded.model.parameters())[0, 0] += 1e-3
    assert training.weights_hash(loaded.model.state_dict()) != before


def test_long_answers_can_be_cut(loaded, retain):
    long = [Prompt("long", "Say it.", "and works " * 50)]
    done = unlearn(loaded, long, retain, "npo", settings=replace(SHORT, max_tokens=8), quiet=True)
    assert done.steps == 4


def test_a_finished_run_is_read_again_with_the_terms_it_lacked(loaded, base_model, forget, tmp_path):
    options = {"out": tmp_path / "out", "settings": SHORT, "quiet": True}
    unlearn(loaded, forget, [], "ga", **options)
    record = json.loads((tmp_path / "out" / "unlearning.json").read_text(), parse_constant=pytest.fail)
    assert record["log"][0]["retain"] is None
    again = unlearn(replace(loaded, model=copy.deepcopy(base_model)), forget, [], "ga", **options)
    assert again.steps == 4
    assert math.isnan(again.log[0]["retain"])


def test_each_tensor_gets_its_own_precision_back(loaded, forget, retain):
    """In a bfloat16 model the frequencies of rotary positions stay float32, as they are when it is read from disk."""
    model = loaded.model.to(torch.bfloat16)
    for name, buffer in model.named_buffers():
        if "inv_freq" in name:
            buffer.data = buffer.data.float() / 3  # no bfloat16 number
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    assert any(buffer.dtype == torch.float32 for buffer in before.values())
    unlearn(loaded, forget, retain, "npo", settings=replace(SHORT, max_steps=1), quiet=True)
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    after = dict(model.named_buffers())
    assert all(torch.equal(after[name], buffer) for name, buffer in before.items())
