"""An engine whose answers are written in the test, and prompts for it."""

import math

from leakatk.auditing.audit import audit
from leakatk.auditing.settings import Gate
from leakatk.prompts import Generation, Prompt
from leakatk.sampling.decoding import Decoding

PROMPTS = [Prompt(f"p{i}", f"Where does person {i} live?", f"In Zorvik{i}.", facts=(f"Zorvik{i}",)) for i in range(10)]
CLEAN, LEAK = "I do not know.", "In Zorvik{i}."


class Scripted:
    """An engine whose sample j of prompt i is what `say(prompt, j, greedy)` gives: text, or (text, finish, reasoning)."""

    name = "scripted"

    def __init__(self, say, notes=()):
        self.say, self.notes = say, list(notes)

    def describe(self):
        return {"model": "scripted", "fingerprint": "scripted"}

    def sample(self, requests, decoding, *, seed):
        for request in requests:
            for j in request.samples:
                said = self.say(request.prompt, j, decoding.greedy)
                text, finish, reasoning = (said, "stop", "") if isinstance(said, str) else said
                text = text.replace("{i}", request.prompt.id[1])
                reasoning = reasoning.replace("{i}", request.prompt.id[1])
                yield [Generation(request.prompt.id, int(j), text, (), math.nan, finish, reasoning)]


def audited(say, tmp_path, *, prompts=PROMPTS, n=200, gate=None, name="run", **how):
    how = {"exact": False, "ks": [1, 16], "decoding": Decoding(max_new_tokens=40), "quiet": True} | how
    return audit(Scripted(say), prompts, out=tmp_path / name, n=n, gate=gate or Gate(16, 0.1), **how)
