"""What is wrong with an audit is said before anything is sampled."""

import pytest

from leakatk.auditing.checking import Runs, check, check_defined
from leakatk.auditing.settings import AuditSettings
from leakatk.errors import InputError
from leakatk.prompts import Prompt
from tests.auditing.scripted import CLEAN, PROMPTS, Scripted, audited


class Never(Scripted):
    """Cannot be asked a prompt that gives the beginning of its answer, and must not be sampled."""

    def __init__(self):
        super().__init__(None)

    def check(self, prompts):
        if any(prompt.query.begin for prompt in prompts):
            raise InputError("cannot begin")

    def sample(self, *_, **__):
        raise AssertionError("sampled")


def settings(**how):
    return AuditSettings(n=2, scorers=("fact",), **how)


@pytest.mark.parametrize(
    ("prompts", "how", "words"),
    [
        ([PROMPTS[0], PROMPTS[0]], {}, "p0"),
        (PROMPTS, {"expand": 10}, "cannot expand"),
        (PROMPTS, {"probes": ("prefix",)}, "cannot begin"),
        (PROMPTS, {"probes": ("trigger", "trigger")}, "given twice"),
    ],
)
def test_before_anything_is_sampled(prompts, how, words):
    with pytest.raises(InputError, match=words):
        check(Never(), prompts, settings(**how))


def test_scorers_are_chosen_by_the_prompts():
    checked = check(Never(), PROMPTS, AuditSettings(n=2))
    assert checked.settings.scorers
    assert list(checked.scorers) == list(checked.settings.scorers)
    assert checked.retrained is None


def test_a_scorer_without_anything_to_score():
    bare = [Prompt("a", "Who?", "Nobody.")]
    with pytest.raises(InputError, match="choice is undefined on every prompt"):
        check_defined(["choice"], bare)


def test_the_retrained_models_run_must_have_the_prompts_and_the_probes(tmp_path):
    audited(lambda *_: CLEAN, tmp_path, prompts=PROMPTS[:2], n=16, scorers=["fact"])
    run = tmp_path / "run"
    with pytest.raises(InputError, match=r"lacks 8 of 10 prompts .the first: 'p2'"):
        check(Never(), PROMPTS, settings(), retrained=run)
    with pytest.raises(InputError, match="was not asked with probe trigger; audit the retrained model"):
        check(Never(), PROMPTS[:2], settings(probes=("trigger",)), retrained=run)
    checked = check(Never(), PROMPTS[:2], settings(), retrained=run)
    assert isinstance(checked.retrained, Runs)
    assert checked.retrained.plain.path == run


def test_a_run_without_the_other_wordings_will_do(tmp_path):
    audited(lambda *_: CLEAN, tmp_path, prompts=PROMPTS[:1], n=16, scorers=["fact"])
    prompt = Prompt("p0", PROMPTS[0].question, PROMPTS[0].answer, facts=PROMPTS[0].facts, paraphrases=("Else?",))
    checked = check(Never(), [prompt], settings(), retrained=tmp_path / "run")
    assert checked.notes[0].startswith("No excess in other wordings: ")
    assert dict(checked.retrained.probes) == {}
