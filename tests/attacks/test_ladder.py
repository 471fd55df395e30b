import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch

from leakatk.attacks import Alter, Ask, LadderSettings, Read, Reading, attack_ladder, get_attack
from leakatk.attacks.attacked import AttackedSampler
from leakatk.attacks.base import AttackFacts
from leakatk.attacks.ladder import check_reading
from leakatk.attacks.summary import stored
from leakatk.auditing.score import score
from leakatk.auditing.verdict import Gate
from leakatk.errors import InputError, LeakAtKError, RunError
from leakatk.estimate.leak import excess, leak_at_k
from leakatk.models.load import load_model
from leakatk.prompts import Known
from leakatk.report.ladder import said, tables
from leakatk.runs.store import Run
from leakatk.sampling.base import Request
from leakatk.sampling.decoding import Decoding

FEW = LadderSettings(n=16, decoding=Decoding(max_new_tokens=12), quiet=True)
FEW_KS = [1, 2, 4, 8, 16]
RELEARN = "relearn:steps=10,learning_rate=0.001"


def facts(name, kind):
    return AttackFacts(name=name, kind=kind, access="weights")


@dataclass(frozen=True)
class Silence(Alter):
    """All weights to zero; counts how often it is made."""

    name = "silence"
    facts = facts("silence", "alter")
    made: ClassVar[list] = []

    def apply(self, loaded, known):
        self.made.append(loaded.name)
        with torch.no_grad():
            for parameter in loaded.model.parameters():
                parameter.zero_()


@dataclass(frozen=True)
class First(Ask):
    """Asks for the first prompts alone."""

    name = "first"
    facts = facts("first", "ask")
    count: int = 3

    def prompts(self, loaded, known):
        return list(known.unseen[: self.count])


@dataclass(frozen=True)
class Length(Read):
    """A number of the prompt and of the model."""

    name = "length"
    facts = facts("length", "read")
    asked_of: ClassVar[list] = []

    def scores(self, loaded, known):
        self.asked_of.append(loaded.name)
        share = 0.5 if "retrained" in loaded.name else 1.0
        return np.array([np.nan if p.id == "Bo" else share * (p.id == "Ada") for p in known.unseen])


@pytest.fixture(scope="module")
def ladder(forgot, retrained, forget, retain, tmp_path_factory):
    out = tmp_path_factory.mktemp("ladder") / "out"
    known = Known(retain=tuple(retain))
    attacks = [RELEARN, "quantise", First(), Length()]
    return out, attack_ladder(forgot, forget, attacks, out=out, known=known, retrained=retrained, settings=FEW)


def rung(summary, name):
    return next(one for one in summary["rungs"] if one["name"] == name)["scorers"]["fact"]


def test_relearning_half_brings_back_the_other_half_and_not_of_the_retrained_model(ladder):
    _, summary = ladder
    before, after = rung(summary, "none"), rung(summary, get_attack(RELEARN).label)
    assert after["leak"]["value"][0] > before["leak"]["value"][0] + 0.1
    assert after["excess"]["low"][0] > 0  # nothing was to be learned about the others from what it was trained on
    assert after["excess"]["value"][0] > before["excess"]["value"][0] + 0.1
    assert after["retrained"]["value"][0] < before["retrained"]["value"][0] + 0.1


def test_numbers_are_those_of_the_samples_paired_by_prompt(ladder, forget):
    out, summary = ladder
    label = get_attack(RELEARN).label
    place = out / "relearn-steps=10,learning_rate=0.001"
    rows = {}
    for role in ("model", "retrained"):
        runs = [Run.open(place / f"fold-{i}" / role) for i in (1, 2)]
        found = {i: row for run in runs for i, row in zip(run.prompt_ids, score(run, "fact"), strict=True)}
        assert len(found) == sum(len(run.prompt_ids) for run in runs) == len(forget)
        rows[role] = np.array([found[prompt.id] for prompt in forget])
    each = 1 - 0.05 / 4  # four rungs are sampled
    assert summary["each_level"] == pytest.approx(each)
    block = rung(summary, label)
    for part, curve in (
        ("leak", leak_at_k(rows["model"], FEW_KS, level=each)),
        ("retrained", leak_at_k(rows["retrained"], FEW_KS, level=each)),
        ("excess", excess(rows["model"], rows["retrained"], FEW_KS, level=each)),
    ):
        for end in ("value", "low", "high"):
            np.testing.assert_allclose(block[part][end], getattr(curve, end))


def test_the_rung_without_an_attack_is_the_audit(ladder, forgot, forget, tmp_path):
    from leakatk.auditing.audit import audit

    out, summary = ladder
    how = {"n": FEW.n, "decoding": FEW.decoding, "paraphrases": False, "exact": False, "quiet": True}
    plain = audit(forgot, forget, out=tmp_path / "plain", **how)
    assert rung(summary, "none")["leak"]["value"] == plain["scorers"]["fact"]["curves"]["samples"]["value"]
    assert Run.open(out / "none" / "model").texts() == Run.open(tmp_path / "plain").texts()


def test_what_is_not_asked_is_counted(ladder, forget):
    _, summary = ladder
    block = rung(summary, "first")
    assert block["left_out"] == [prompt.id for prompt in forget[3:]]
    assert block["m"] == 3
    assert any("5 of 8 prompts are not asked" in sentence for sentence in said(summary))


def test_attacks_that_read_have_a_column_of_their_own(ladder):
    _, summary = ladder
    assert [one["name"] for one in summary["reads"]] == ["length"]
    [one] = summary["reads"]
    assert one["undefined"] == ["Bo"]
    assert one["model"]["value"] == pytest.approx(1 / 7)
    assert one["retrained"]["value"] == pytest.approx(0.5 / 7)
    assert one["excess"]["value"] == pytest.approx(0.5 / 7)
    assert one["excess"]["low"] <= one["excess"]["value"] <= one["excess"]["high"]
    assert "length" not in [one["name"] for one in summary["rungs"]]


def test_tables_say_what_the_intervals_are(ladder):
    _, summary = ladder
    leak, reads, worst = tables(summary)
    assert worst.title == "Worst case, scorer fact"
    assert worst.rows[0][1] == get_attack(RELEARN).label
    assert [row[0] for row in leak.rows] == ["as asked", get_attack(RELEARN).label, "quantise", "first"]
    assert leak.columns == (
        "attack",
        "leak@1",
        "leak@16",
        "retrained @1",
        "retrained @16",
        "excess @1",
        "excess @16",
        "it assumes",
    )
    assert "all 4 rows hold together (each at 98.75%)" in leak.caption
    assert leak.rows[1][1].value == rung(summary, leak.rows[1][0])["leak"]["value"][0]
    assert [row[0] for row in reads.rows] == ["length"]


def test_the_summary_is_on_disk(ladder):
    out, summary = ladder
    kept = json.loads((out / "attacks.json").read_text())
    assert kept["rungs"][1]["scorers"]["fact"]["leak"] == summary["rungs"][1]["scorers"]["fact"]["leak"]


def test_what_is_whole_is_not_attacked_again(forgot, retrained, forget, tmp_path):
    few = dataclasses.replace(FEW, n=2)
    Silence.made.clear()
    Length.asked_of.clear()

    def again(**changes):
        settings = dataclasses.replace(few, **changes)
        attacks = [Silence(), Length()]
        return attack_ladder(forgot, forget, attacks, out=tmp_path / "o", retrained=retrained, settings=settings)

    first = again()
    assert len(Silence.made) == len(Length.asked_of) == 2
    assert again() == first
    assert len(Silence.made) == len(Length.asked_of) == 2
    again(n=3)  # more samples need the attacked weights again, reading does not
    assert len(Silence.made) == 4
    assert len(Length.asked_of) == 2
    with pytest.raises(RunError, match="seed"):
        again(seed=1)


@dataclass(frozen=True)
class Fails(Silence):
    """Is stopped where it is told to be, on the folds of the prompts."""

    name = "fails"
    facts = facts("fails", "alter")
    stop: ClassVar[list] = []
    parts: ClassVar[list] = []

    @property
    def needs(self):
        return ("forget", "seen", "unseen", "retrained")

    def apply(self, loaded, known):
        assert known.retrained
        self.parts.append({prompt.id for prompt in known.unseen})
        if len(self.parts) in self.stop:
            raise KeyboardInterrupt
        super().apply(loaded, known)


def test_it_goes_on_where_it_was_stopped(forgot, retrained, forget, tmp_path):
    Fails.parts.clear()
    Fails.stop[:] = [2]
    few = dataclasses.replace(FEW, n=2)
    with pytest.raises(KeyboardInterrupt):
        attack_ladder(forgot, forget, [Fails()], out=tmp_path / "o", retrained=retrained, settings=few)
    assert not (tmp_path / "o" / "attacks.json").exists()
    summary = attack_ladder(forgot, forget, [Fails()], out=tmp_path / "o", retrained=retrained, settings=few)
    # the retrained model: the first fold, the second stopped, the second; then both of the model
    first, second = Fails.parts[:2]
    assert Fails.parts == [first, second, second, first, second]
    assert first | second == {prompt.id for prompt in forget}
    assert not first & second
    assert rung(summary, "fails")["m"] == len(forget)


def test_an_adapter_is_attacked_too(forgot, forget, tmp_path):
    peft = pytest.importorskip("peft")
    base = load_model(forgot)
    config = peft.LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM", init_lora_weights=False)
    peft.get_peft_model(base.model, config).save_pretrained(tmp_path / "adapter")
    loaded = load_model(tmp_path / "adapter")
    before = {name: value.clone() for name, value in loaded.model.state_dict().items()}
    few = dataclasses.replace(FEW, n=2)
    summary = attack_ladder(loaded, forget, ["relearn:steps=1", "quantise"], out=tmp_path / "o", settings=few)
    assert len(summary["rungs"]) == 3
    assert all(torch.equal(before[name], value) for name, value in loaded.model.state_dict().items())
    # the adapter's own weights are not rounded
    with AttackedSampler(loaded, get_attack("quantise"), Known(forget=tuple(forget))) as sampler:
        list(sampler.sample([Request(forget[0], [0])], FEW.decoding, seed=0))
        changed = {name for name, value in loaded.model.state_dict().items() if not torch.equal(before[name], value)}
    assert len(changed) == 2 * 7
    assert not any("lora_" in name for name in changed)


def test_weights_come_back_bit_for_bit(forgot, forget, tmp_path):
    loaded = load_model(forgot)
    before = {name: value.clone() for name, value in loaded.model.state_dict().items()}
    few = dataclasses.replace(FEW, n=2)
    attack_ladder(loaded, forget, [RELEARN, "quantise", Silence()], out=tmp_path / "o", settings=few)
    after = loaded.model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name].view(torch.uint8), after[name].view(torch.uint8)) for name in before)


def test_without_a_retrained_model_there_is_no_excess(forgot, forget, tmp_path):
    few = dataclasses.replace(FEW, n=2)
    summary = attack_ladder(forgot, forget, ["quantise"], out=tmp_path / "o", settings=few)
    assert "excess" not in rung(summary, "quantise")
    [table] = tables(summary)
    assert table.columns == ("attack", "leak@1", "leak@2", "it assumes")


def test_what_cannot_be_leaves_nothing_behind(forgot, forget, tmp_path):
    def refused(match, attacks=("quantise",), model=forgot, **changes):
        settings = dataclasses.replace(FEW, **changes)
        with pytest.raises(LeakAtKError, match=match):
            attack_ladder(model, forget, attacks, out=tmp_path / "o", settings=settings)
        assert not (tmp_path / "o").exists()

    refused("did you mean", ["relearm"])
    refused("no such model directory", model="./nowhere")
    refused("loads a model of its own", engine="ray")
    refused("undefined on every prompt", scorers=("choice",))


def test_an_audits_directory_is_refused(forgot, forget, tmp_path):
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(InputError, match="holds an audit"):
        attack_ladder(forgot, forget, ["quantise"], out=tmp_path, settings=FEW)


def test_a_gate_acts_on_the_attack_that_leaks_most(ladder, forgot, retrained, forget, retain):
    """On the runs that are there: the model alone leaks .14, and .38 once it relearned."""
    out, _ = ladder

    def answer(bound):
        settings = dataclasses.replace(FEW, gate=Gate(1, bound))
        known = Known(retain=tuple(retain))
        attacks = [RELEARN, "quantise", First(), Length()]
        return attack_ladder(forgot, forget, attacks, out=out, known=known, retrained=retrained, settings=settings)[
            "gate"
        ]

    found = answer(0.05)
    assert found["answer"] == "FAIL"
    assert found["worst"].startswith(get_attack(RELEARN).label)
    names = [one["name"] for one in found["settings"]]
    assert names[:2] == ["without an attack: T=1", "without an attack: greedy"]
    assert len(names) == 8  # two for each rung that is sampled
    assert found["each_level"] == pytest.approx(1 - 0.05 / 4)  # greedy answers have no sampling error
    relearned = next(one for one in found["settings"] if one["name"] == f"{get_attack(RELEARN).label}: T=1")
    assert relearned["prompts"] == len(forget)
    assert relearned["samples"] == len(forget) * FEW.n
    assert answer(1.0)["answer"] == "PASS"


@dataclass(frozen=True)
class Layers(Read):
    """A profile of two places, and a number of a fold; cross-fitted."""

    name = "layers"
    facts = facts("layers", "read")
    read_of: ClassVar[list] = []

    @property
    def needs(self):
        return ("forget", "seen", "unseen")

    def scores(self, loaded, known):
        return self.read(loaded, known).scores

    def read(self, loaded, known):
        self.read_of.append(loaded.name)
        share = 0.5 if "retrained" in loaded.name else 1.0
        first = np.array([share * len(p.id) for p in known.unseen])
        second = np.array([np.nan if p.id == "Bo" else -2.0 * share for p in known.unseen])
        return Reading(first / 10, {"layer 0": first, "layer 1": second}, {"folds": len(known.unseen)}, ("said once.",))


def test_a_profile_is_kept_and_paired_by_prompt(forgot, retrained, forget, tmp_path):
    Layers.read_of.clear()
    few = dataclasses.replace(FEW, n=2)

    def again():
        return attack_ladder(forgot, forget, [Layers()], out=tmp_path / "o", retrained=retrained, settings=few)

    first = again()
    assert len(Layers.read_of) == 4
    [one] = first["reads"]
    lengths = [len(p.id) for p in forget]
    assert one["profile"]["layer 0"]["model"]["value"] == pytest.approx(np.mean(lengths))
    assert one["profile"]["layer 0"]["excess"]["value"] == pytest.approx(np.mean(lengths) / 2)
    assert one["profile"]["layer 1"]["undefined"] == ["Bo"]
    assert one["profile"]["layer 1"]["excess"]["value"] == pytest.approx(-1)
    assert one["whole"] == {"folds": {"retrained": 4.0, "model": 4.0}}
    assert sum("said once." in note for note in first["notes"]) == 2  # of each model, not of each fold
    assert again() == first
    assert len(Layers.read_of) == 4


def test_the_original_must_be_there_before_anything_is_computed(forgot, forget, tmp_path):
    with pytest.raises(LeakAtKError, match="no such model directory"):
        attack_ladder(forgot, forget, ["patch"], out=tmp_path / "o", known=Known(original="./nowhere"), settings=FEW)
    with pytest.raises(InputError, match="--original MODEL"):
        attack_ladder(forgot, forget, ["patch"], out=tmp_path / "o", settings=FEW)
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize("profile", [{"x": np.zeros(2)}, {"x": np.array([np.inf, 0, 0])}])
def test_a_profile_that_is_none_is_refused(profile):
    with pytest.raises(ValueError, match="numbers at x"):
        check_reading(Layers(), Reading(np.zeros(3), profile), 3)


def test_a_gate_needs_its_samples():
    with pytest.raises(InputError, match="k = 64"):
        LadderSettings(n=4, gate=Gate(64, 0.1))


def test_above_an_audit_its_probes_are_rungs_and_the_worst_case_is_over_all(
    forgot, retrained, forget, retain, tmp_path
):
    from leakatk.auditing.audit import audit

    out = tmp_path / "audit"
    how = {"n": 8, "decoding": Decoding(max_new_tokens=12), "quiet": True}
    audit(forgot, forget, out=out, retrained=retrained, retain=retain, probes=["filler", "context"], exact=False, **how)
    gate = Gate(k=2, bound=0.0, worst_case=True)
    summary = attack_ladder(
        forgot, forget, ["quantise"], out=out / "attacks", retrained=retrained, audited=out,
        known=Known(retain=tuple(retain)), settings=LadderSettings(gate=gate, **how),
    )  # fmt: skip
    assert [one["name"] for one in summary["rungs"]] == ["none", "filler", "context", "quantise"]
    assert [one.get("gives_answer") for one in summary["rungs"]] == [None, False, True, None]
    assert summary["any"]["rungs"] == 3  # the context is the answer
    assert summary["each_level"] == pytest.approx(1 - 0.05 / 5)
    for part, place in (("leak", Path()), ("retrained", Path("reference"))):
        role = "model" if part == "leak" else "retrained"
        runs = [Run.open(out / place), Run.open(out / place / "probes" / "filler")]
        runs.append(Run.open(out / "attacks" / "quantise" / role))
        # one variant a prompt under these, in the order of the prompts
        most = np.max([score(run, "fact") for run in runs], axis=0)
        expected = leak_at_k(most, [1, 2, 4, 8], level=summary["each_level"])
        np.testing.assert_allclose(summary["any"]["scorers"]["fact"][part]["value"], expected.value)
        np.testing.assert_allclose(summary["any"]["scorers"]["fact"][part]["high"], expected.high)
    looked_at = [one["name"] for one in summary["gate"]["settings"]]
    assert looked_at[0].startswith("worst case over 3 rungs")
    assert not any(name.startswith("context") for name in looked_at)


def test_an_audit_of_something_else_is_no_rung(forgot, retrained, original, forget, tmp_path):
    from leakatk.auditing.audit import audit

    how = {"n": 2, "decoding": Decoding(max_new_tokens=4), "quiet": True}
    out = tmp_path / "audit"
    audit(forgot, forget, out=out, exact=False, **how)

    def climb(model=forgot, prompts=forget, other=None, **changes):
        settings = LadderSettings(**{**how, **changes})
        attack_ladder(model, prompts, ["quantise"], out=tmp_path / "a", retrained=other, audited=out, settings=settings)

    for changes, words in (
        ({"seed": 1}, "has another seed"),
        ({"n": 4}, "has another n"),
        ({"decoding": Decoding(max_new_tokens=5)}, "has another decoding"),
        ({"prompts": forget[:4]}, "has another prompts"),
        ({"other": retrained}, "no samples of the retrained model"),
        ({"model": original}, "samples of another model"),
    ):
        with pytest.raises(InputError, match=words):
            climb(**changes)


def test_what_is_stored_is_the_largest_excess_of_what_was_cross_fitted():
    def rung(name, value):
        most = value + 0.5  # at the last k, by which it is chosen
        block = {"excess": {"k": [1, 2], "value": [0.3, most], "low": [0.1, 0.8], "high": [0.5, 1.0]}}
        return {"name": name, "scorers": {"fact": block}}

    rungs = [rung("none", 0.4), rung("a", 0.0), rung("b", 0.25), rung("quantise", 0.375)]
    assert stored(["a", "b"], rungs) == {
        "rung": "b",
        "k": [1, 2],
        "value": [0.3, 0.75],
        "low": [0.1, 0.8],
        "high": [0.5, 1.0],
    }
    assert stored([], rungs) is None
    assert stored(["a"], [{"name": "a", "scorers": {"fact": {"m": 1}}}]) is None  # nothing to compare with


@dataclass(frozen=True)
class Picky(Ask):
    """Asks the models of this name alone."""

    name = "picky"
    facts = facts("picky", "ask")
    whom: str = "nobody"

    def prompts(self, loaded, known):
        return list(known.unseen) if self.whom in loaded.name else []


def test_an_attack_that_finds_nothing_to_ask_is_a_rung_that_no_gate_passes_over(blank, retrained, forget, tmp_path):
    """The model says nothing it should not; only what was not asked keeps the gate from saying so."""

    def laddered(attack):
        gate = Gate(1, 0.95, cut="ignore")
        few = dataclasses.replace(FEW, n=2, gate=gate, excess_gate=gate)
        place = tmp_path / attack.label.replace(":", "-").replace("=", "-")
        return attack_ladder(blank, forget[:4], [attack], out=place, retrained=retrained, settings=few)

    found = laddered(Picky())
    assert found["gate"]["answer"] == "CANNOT SAY"
    assert [one["name"] for one in found["gate"]["settings"] if one["answer"] == "CANNOT SAY"] == ["picky: not asked"]
    rung = found["rungs"][1]
    assert rung["not_asked"] == {"model": 4, "retrained": 4}
    block = next(iter(rung["scorers"].values()))
    assert block["left_out"] == [prompt.id for prompt in forget[:4]]
    assert "leak" not in block
    assert any(
        "Not asked: attack picky finds nothing to ask blank for any of 4 prompts" in note for note in found["notes"]
    )
    assert any("picky, fact: 4 of 4 prompts are not asked" in line for line in said(found))
    assert [row[0] for row in tables(found)[0].rows] == ["as asked", "picky, not asked"]
    one_sided = laddered(Picky(whom="blank"))
    rung = one_sided["rungs"][1]
    assert rung["not_asked"] == {"model": 0, "retrained": 4}
    assert len(next(iter(rung["scorers"].values()))["unpaired"]) == 4
    assert one_sided["gate"]["answer"] == "PASS"
    assert one_sided["excess_gate"]["answer"] == "CANNOT SAY", "nothing can be held against what it was not asked"
