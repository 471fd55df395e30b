import dataclasses
import subprocess
import sys
from dataclasses import dataclass

import pytest

from leakatk.errors import InputError, UnknownNameError
from leakatk.prompts import Prompt
from leakatk.synthesis import WRITERS, Writer, get_writer, pairs, usable, written
from leakatk.synthesis.base import WriterFacts

ADA = Prompt("a/1", "Where was Ada born?", "Ada was born in Zorvik.", facts=("Zorvik",))
BO = Prompt("b", "Who is Bo?", "A baker.")


@dataclass(frozen=True)
class Shout(Writer):
    """Only for prompts with facts. misplace: under an id of nobody."""

    name = "shout"
    facts = WriterFacts(name="shout", writes="shouts")
    misplace: bool = False

    def write(self, prompts, known):
        found = [p for p in prompts if p.facts]
        return [Prompt("x" if self.misplace else self.row_id(p, 1), p.question, p.answer.upper()) for p in found]


def test_what_is_left_out_is_said():
    made = written(Shout(), [ADA, BO])
    assert [row.id for row in made.rows] == ["a/1/shout/1"]
    assert made.left_out == ("b",)


def test_nothing_written_and_rows_of_nobody_are_errors():
    with pytest.raises(InputError, match="nothing to write"):
        written(Shout(), [BO])
    with pytest.raises(ValueError, match="belongs to no prompt"):
        written(Shout(misplace=True), [ADA])
    with pytest.raises(InputError, match="needs the model before unlearning"):
        written("alternates", [ADA])


def test_names_and_options():
    with pytest.raises(UnknownNameError, match="did you mean corruption"):
        get_writer("coruption")
    for spec in (
        "corruption:each=0",
        "corruption:context=-1",
        "alternates:count=0",
        "alternates:least=9",
        "alternates:shots=4",
    ):
        with pytest.raises(InputError):
            get_writer(spec)
    assert get_writer("corruption:context=1").label == "corruption:context=1"


@pytest.mark.parametrize("name", WRITERS)
def test_facts_are_stated(name):
    facts, kind = WRITERS[name].facts, WRITERS[name]
    assert facts.name == kind.name == name
    assert all((facts.summary, facts.paper, facts.formula, facts.reading, facts.writes))
    documented = kind.__doc__ or ""
    assert all(field.name in documented for field in dataclasses.fields(kind))


def test_what_is_of_use_says_something_else():
    texts = ["", "Ada was born in Zorvik.", "ADA was born in zorvik", "Ada was born in Lusk.", "ada was born in Lusk", "In Zorvik!",
             "Ada was born in Bex.", "Ada was born in Orlo."]  # fmt: skip
    assert usable(ADA, texts, 2) == ["Ada was born in Lusk.", "Ada was born in Bex."]


def test_pairs_are_one_forget_prompt_a_row():
    rows = [Prompt("a/1/alternates/1", "?", "In Lusk."), Prompt("a/1/alternates/2", "?", "In Bex.")]
    forget, alternates = pairs([ADA, BO], rows)
    assert [prompt.id for prompt in forget] == list(alternates) == ["a/1/alternates/1", "a/1/alternates/2"]
    assert all(dataclasses.replace(prompt, id=ADA.id) == ADA for prompt in forget)
    assert list(alternates.values()) == ["In Lusk.", "In Bex."]


def test_it_is_imported_without_torch():
    code = "import sys; import leakatk.synthesis; print('torch' in sys.modules or 'transformers' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
