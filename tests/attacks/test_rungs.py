import pytest

from leakatk.attacks.rungs import LadderSettings, rungs_of
from leakatk.errors import InputError
from leakatk.prompts import Known
from tests.attacks.test_base import KNOWN, PROMPTS


def test_rungs():
    rungs = rungs_of(["quantise", "relearn:steps=3"], KNOWN, LadderSettings(folds=3))
    assert [rung.name for rung in rungs] == ["none", "quantise", "relearn:steps=3"]
    assert [len(rung.parts) for rung in rungs] == [1, 1, 3]
    assert rungs[0].parts[0].unseen == PROMPTS
    assert str(rungs[2].place(1)) == "relearn-steps=3/fold-2"
    assert str(rungs[1].place(0)) == "quantise"


@pytest.mark.parametrize(
    ("attacks", "known", "said"),
    [
        ([], KNOWN, "at least one attack"),
        (["quantise", "quantise:bits=4"], KNOWN, "given twice"),
        (["relearn:on=retain"], Known(forget=PROMPTS), "needs retain prompts"),
        (["relearn"], Known(forget=PROMPTS[:1]), "folds"),
        (["decoder"], Known(forget=PROMPTS[:3]), "wrong answers"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_computed(attacks, known, said):
    with pytest.raises(InputError, match=said):
        rungs_of(attacks, known, LadderSettings())


def test_settings_are_checked():
    with pytest.raises(InputError, match="k = 8"):
        LadderSettings(n=4, ks=(1, 8))
    with pytest.raises(InputError):
        LadderSettings(level=1.5)
