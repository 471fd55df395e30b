"""Losses and gradients of the presets against the code they come from, on two tiny models and four answers a stream.

methods.json holds what open-unlearning's trainers (d3d7cf9, `compute_loss` of src/trainer/unlearn/*.py) and, for me, idknll
and idk-ap, closer-look-LLM-unlearning (b622294, trainer/losses.py) gave on the inputs of `peer_inputs`: run one answer at a
time and averaged over the four ("loss", the gradient's norm and its projections on three directions), and on the four at
once, padded ("padded", the loss). "all": forget and retain term, weighted as published; "forget", "retain": that term alone.
None of their code is here.
"""

import json
import math
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch

from leakatk.unlearning.losses import hidden
from leakatk.unlearning.methods import METHODS
from leakatk.unlearning.step import Step
from leakatk.unlearning.streams import Item, collate
from leakatk.unlearning.teachers import Teachers
from tests.golden import peer_inputs

GOLDEN = json.loads(Path(__file__).with_name("methods.json").read_text())
# What the peers are run with where it is not our default: RMU's numbers depend on the model.
CHANGED = {"rmu": {"layer": 1, "coefficient": 6.5}}
PARTS = [(name, part) for name in GOLDEN for part in ("all", "forget", "retain") if part in GOLDEN[name]]
ROUNDING = {"me": 3e-5}  # its code adds 1e-12 to each probability, of which the smallest here are 1e-10
# Their loss subtracts lambda * epsilon, a constant, from the retain term.
CONSTANT = {("pdu", "all"): 100 * 0.3, ("pdu", "retain"): 100 * 0.3}


class Ids:
    """The part of `Streams` that a step needs, on ids."""

    def __init__(self):
        self.made = {name: [Item(q, a) for q, a in pairs] for name, pairs in peer_inputs.ids().items()}

    def items(self, stream):
        return self.made[stream]

    def batch(self, stream, rows, device):
        return collate([self.made[stream][row] for row in rows], rows, device)


class Peer:
    """A preset on the golden inputs; terms() gives its forget and retain loss, unweighted."""

    def __init__(self, name):
        self.method = METHODS[name].with_params(**CHANGED.get(name, {}))
        self.model, reference = peer_inputs.model(0), peer_inputs.model(1)
        self.streams, self.cpu, self.state = Ids(), torch.device("cpu"), {}
        self.teachers = Teachers(self.streams, self.cpu, nullcontext)
        every = range(4)
        self.teachers.collect(
            reference,
            lambda: self._terms(reference, every),
            {"forget": every, "retain": every},
            batch_size=4,
            weights={"reference": None},
        )
        assert self.teachers.complete
        self.state.clear()

    def _terms(self, model, rows, number=0):
        step = Step(
            model, self.streams, {"forget": tuple(rows), "retain": tuple(rows)}, self.teachers, self.cpu,
            number=number, state=self.state,
        )  # fmt: skip
        losses = self.method.trains[0].losses(step, self.method.params).values()
        return [torch.zeros(()) if loss is None else loss for loss in losses]

    def terms(self, rows=range(4), number=0):
        return self._terms(self.model, rows, number)

    def weighted(self, part, rows=range(4)):
        forget, retain = self.terms(rows)
        p = self.method.params
        forget, retain = p["forget_weight"] * forget, p["retain_weight"] * retain
        return {"all": forget + retain, "forget": forget, "retain": retain}[part]


@pytest.fixture(autouse=True)
def same_control_vector(monkeypatch):
    monkeypatch.setattr(hidden, "random_direction", lambda size, seed: peer_inputs.direction())


@pytest.mark.parametrize(("name", "part"), PARTS)
def test_loss_and_gradient_are_the_peers(name, part):
    peer, golden = Peer(name), GOLDEN[name][part]
    loss = peer.weighted(part)
    loss.backward()
    found = peer_inputs.summary(peer.model)
    near = ROUNDING.get(name, 1e-5)
    assert loss.item() - CONSTANT.get((name, part), 0.0) == pytest.approx(golden["loss"], rel=near)
    assert found["norm"] == pytest.approx(golden["norm"], rel=near)
    # Projections may be small beside the norm that they are part of.
    assert found["projections"] == pytest.approx(golden["projections"], abs=near * golden["norm"])


def token_mean(values, counts):
    return sum(v * n for v, n in zip(values, counts, strict=True)) / sum(counts)


def answers_mean(values, counts):
    return sum(values) / len(values)


def broadcast(values, counts):
    """open-unlearning's RMU: the mean of the sums times the mean of 1/count."""
    sums = [v * n for v, n in zip(values, counts, strict=True)]
    return sum(sums) / len(sums) * sum(1 / n for n in counts) / len(counts)


# How four answers meet in one padded micro-batch of theirs; ours is always the mean of means.
FORGET = {"npo": answers_mean, "simnpo": answers_mean, "idkdpo": answers_mean, "rmu": broadcast, "idknll": token_mean}
RETAIN = {"rmu": broadcast, "idk-ap": answers_mean}
# Their means run over padding, ours do not: no reweighting makes one of the other.
COUNT_PADDING = {("kl", "all"), ("kl", "retain"), ("undial", "all"), ("me", "all"), ("me", "forget")}


@pytest.mark.parametrize(("name", "part"), [pair for pair in PARTS if pair not in COUNT_PADDING])
def test_padded_batches_differ_by_how_answers_are_averaged_alone(name, part):
    """Ours, answer by answer, weighed as they weigh a padded batch: their loss."""
    peer = Peer(name)
    lengths = {side: [len(answer) for _, answer in peer_inputs.ids()[side]] for side in ("forget", "retain", "refusal")}
    counts = lengths["refusal" if name in ("idknll", "idk-ap") else "forget"]
    counts = [n - 1 for n in counts] if name == "ce-u" else counts
    each = [[value.item() for value in peer.terms([row])] for row in range(4)]
    forget = peer.method.params["forget_weight"] * FORGET.get(name, token_mean)([f for f, _ in each], counts)
    retain = peer.method.params["retain_weight"] * RETAIN.get(name, token_mean)([r for _, r in each], lengths["retain"])
    expected = {"all": forget + retain, "forget": forget, "retain": retain}[part] - CONSTANT.get((name, part), 0.0)
    assert expected == pytest.approx(GOLDEN[name][part]["padded"], rel=2e-5)


def test_the_dual_weight_moves_as_the_peers_does():
    """Four micro-batches of one answer after the warm-up."""
    peer = Peer("pdu")
    found = [peer.method.params["lambda_0"]]
    for row in range(4):
        with torch.no_grad():
            peer.terms([row], number=peer.method.params["warmup_steps"])
        found.append(peer.state["lambda"])
    assert found == pytest.approx(GOLDEN["pdu"]["duals"], rel=1e-6)
    assert not math.isclose(found[-1], found[0])


def test_the_golden_inputs_know_the_answers():
    """Forget losses that vanish would agree with anything."""
    for name, part in PARTS:
        assert GOLDEN[name][part]["norm"] > 1e-3, (name, part)
