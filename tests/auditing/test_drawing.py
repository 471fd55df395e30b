"""What is drawn, in which order, and that the model is given back before the retrained one is asked."""

from leakatk.auditing.checking import check
from leakatk.auditing.drawing import draw
from leakatk.auditing.settings import AuditSettings
from leakatk.prompts import Prompt
from leakatk.sampling.decoding import Decoding
from tests.auditing.scripted import CLEAN, PROMPTS, Scripted

KEPT = [Prompt("r0", "Where was Di born?", "In Lusk.")]


class Logged(Scripted):
    def __init__(self, name, log):
        super().__init__(lambda *_: CLEAN, notes=[f"{name} speaks"])
        self.name, self.log = name, log

    def sample(self, requests, decoding, *, seed):
        self.log.append((self.name, len(requests), decoding.greedy, len(requests[0].samples)))
        yield from super().sample(requests, decoding, seed=seed)

    def close(self):
        self.log.append((self.name, "closed"))


def drawn(out, log, **how):
    how = {"n": 3, "scorers": ("rouge-l",), "probes": ("trigger",), "decoding": Decoding(max_new_tokens=5)} | how
    checked = check(Logged("m", log), PROMPTS[:2], AuditSettings(**how), retain=KEPT, retrained=Logged("other", log))
    return draw(checked, out, quiet=True)


def test_the_order_and_the_places(tmp_path):
    log = []
    found = drawn(tmp_path, log)
    assert log == [
        ("m", 2, False, 3), ("m", 2, True, 1), ("m", 1, True, 1), ("m", 2, False, 3), ("m", 2, True, 1), ("m", "closed"),
        ("other", 2, False, 3), ("other", 2, False, 3), ("other", "closed"),
    ]  # fmt: skip
    there = {str(path.parent.relative_to(tmp_path)) for path in tmp_path.rglob("manifest.json")}
    assert there == {
        ".", "greedy", "retain", "probes/trigger", "probes/trigger/greedy", "reference", "reference/probes/trigger"
    }  # fmt: skip
    assert [way.name for way in found.ways] == ["", "trigger"]
    assert found.retrained.probes["trigger"].path == tmp_path / "reference" / "probes" / "trigger"
    assert list(found.notes) == ["m speaks", "Retrained model: other speaks"]
    assert (found.truths, found.trees) == ({}, {})


def test_again_asks_nothing(tmp_path):
    drawn(tmp_path, [])
    log = []
    drawn(tmp_path, log)
    assert log == [("m", "closed"), ("other", "closed")]


def test_without_greedy_answers_one_sample_stands_for_them(tmp_path):
    log = []
    found = drawn(tmp_path, log, greedy=False)
    assert not any(entry[2] for entry in log if entry[1] != "closed")
    assert found.ways[0].greedy is None
    assert found.retained.n == 1
