"""Plan of a sweep: every cell once, commands that their own parsers accept, and one sentence for what is wrong."""

import itertools
import re
import shlex
import tomllib
from pathlib import Path

import pytest

from leakatk.cli.sweep import check, commands
from leakatk.cli.sweep_plan import plan_sweep, read_sweep
from leakatk.errors import InputError, UnknownNameError
from tests.cli.test_help import parse

UNLEARN, BENCH = commands()
PARAMS = {"npo": ("beta",), "rule": ()}


def given(**changes):
    return {
        "methods": ["npo", "npo:beta=0.2,lr=1e-4", "npo > rule:rounds=2"],
        "seeds": [0, 3],
        "benchmark": "world",
        "models": {
            "small": {"model": "runs/{seed}/full", "retrained": "runs/{seed}/retrained"},
            "large": {"model": "m"},
        },
        "settings": {"short": {"steps": 20}, "long": {"steps": 200, "stop_greedy": True}},
        "unlearn": {"batch": 4},
        "bench": {"n": 16, "metric": ["exposure", "aus"], "grad_norm": False, "fail_above": "16:0.05"},
        **changes,
    }


def plan(**changes):
    return plan_sweep(given(**changes), Path("out"), UNLEARN, BENCH, PARAMS)


def words(sweep, task):
    return " ".join(sweep.tasks[task].words)


def test_every_cell_is_there_once():
    sweep = plan()
    wanted = set(itertools.product(("small", "large"), given()["methods"], ("short", "long"), (0, 3)))
    wanted |= set(itertools.product(("small", "large"), ("",), ("",), (0, 3)))
    found = [(cell.model, cell.method, cell.setting, cell.seed) for cell in sweep.cells]
    assert sorted(found) == sorted(wanted)
    assert len({(cell.label, cell.seed) for cell in sweep.cells}) == len(found), "labels tell all apart but for seeds"
    assert sweep.cells[1].label == "small, npo, short"
    # Models x seeds: an original; x settings: npo, npo with beta, and RULE, which shares its first part with npo.
    assert len(sweep.tasks) == 4 + 8 * 3 + 8 * 3


def test_commands_are_parsed_by_their_own_parsers():
    sweep = plan()
    for task in sweep.tasks.values():
        parse(f"leakatk {shlex.join(task.words)}")
        parse(f"leakatk {shlex.join(task.sized)}")
    check(sweep)


def test_the_words_of_a_cell():
    sweep = plan()
    cell = next(
        one
        for one in sweep.cells
        if (one.model, one.method, one.setting, one.seed) == ("small", "npo:beta=0.2,lr=1e-4", "long", 3)
    )
    first, bench = (sweep.tasks[name] for name in cell.tasks)
    assert words(sweep, first.name) == (
        f"unlearn runs/3/full --method npo --param beta=0.2 --lr 1e-4 --benchmark world --seed 3 --batch 4 --steps 200 --stop-greedy "
        f"--quiet --out {first.place}"
    )
    assert words(sweep, bench.name) == (
        f"bench world --model {first.place} --retrained runs/3/retrained --label small, npo:beta=0.2,lr=1e-4, long --role model "
        "--seed 3 --n 16 --metric exposure --metric aus --no-grad-norm --fail-above 16:0.05 --quiet --out out/results"
    )
    assert bench.needs == (first.name,)
    assert bench.verdict
    assert not first.verdict
    original = next(one for one in sweep.cells if one.model == "small" and not one.method and one.seed == 3)
    assert bench.after == original.tasks, "the retrained model is measured by one at a time"


def test_a_chain_starts_from_the_model_before_and_shares_it():
    sweep = plan()
    cells = {(one.model, one.method, one.setting, one.seed): one for one in sweep.cells}
    alone, chain = (cells["small", method, "short", 0] for method in ("npo", "npo > rule:rounds=2"))
    assert chain.tasks[0] == alone.tasks[0]
    second = sweep.tasks[chain.tasks[1]]
    assert second.needs == (alone.tasks[0],)
    assert words(sweep, second.name).startswith(
        f"unlearn {sweep.tasks[alone.tasks[0]].place} --method rule --rounds 2 --base npo --benchmark world"
    )


def test_a_control_is_measured_as_one():
    sweep = plan(methods=["npo > rule:control=yes"], settings={}, seeds=[0])
    cell = next(one for one in sweep.cells if one.method)
    model, control = (words(sweep, name) for name in cell.tasks[-2:])
    assert "--role model" in model
    assert f"--model {cell.measured[0]}/control" in control
    assert "--label small, npo > rule:control=yes, control --role control" in control


def test_other_options_are_another_task():
    first, again, other = plan(), plan(), plan(unlearn={"batch": 8})
    assert set(first.tasks) == set(again.tasks)
    assert not {name for name in first.tasks if "bench" not in name} & set(other.tasks)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"models": {}}, "needs a model"),
        ({"models": {"a": {"model": "m", "retraind": "r"}}}, "retrained"),
        ({"models": {"a": {"retrained": "r"}}}, "needs model and benchmark"),
        ({"benchmark": ""}, "needs model and benchmark"),
        ({"methods": []}, "needs methods as a list"),
        ({"methods": "npo"}, "needs methods as a list"),
        ({"methods": ["npo", "npo"]}, "twice"),
        ({"seeds": [True]}, "needs seeds as a list"),
        ({"unlearn": {"stepz": 3}}, "steps"),
        ({"unlearn": {"seed": 3}}, "set by the sweep itself"),
        ({"bench": {"grad_norm": "no"}}, "true or false"),
        ({"bench": {"n": [[1]]}}, "a text or a number"),
        ({"methods": ["npo:bet=2"]}, "beta"),
        ({"settings": {"a": 3}}, "tables with names"),
    ],
)
def test_what_is_wrong_is_one_sentence(changes, said):
    with pytest.raises((InputError, UnknownNameError), match=said):
        plan(**changes)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"bench": {"n": "many"}}, "--n"),
        ({"methods": ["nop"]}, "npo"),
        ({"methods": ["rule"]}, "RULE needs a method to wrap"),
    ],
)
def test_what_a_parser_refuses_is_refused_before_anything_runs(changes, said):
    with pytest.raises((InputError, UnknownNameError), match=said):
        check(plan(**changes))


def test_the_file(tmp_path):
    path = tmp_path / "s.toml"
    path.write_text("methods = 3\nseed = [1]\n")
    with pytest.raises(UnknownNameError, match="seeds"):
        read_sweep(path)
    path.write_text("methods = [")
    with pytest.raises(InputError, match="not valid TOML"):
        read_sweep(path)


def test_the_file_of_the_documentation_is_one():
    """What docs/sweep.md shows is planned and parsed as it stands."""
    page = Path(__file__).resolve().parents[2] / "docs" / "sweep.md"
    [text] = re.findall(r"^```toml\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)
    sweep = plan_sweep(tomllib.loads(text), Path("out"), UNLEARN, BENCH, {"npo": ("beta",)})
    check(sweep)
    assert len(sweep.cells) == 3 * (1 + 4 * 2)
    assert any(task.words[1] == "runs/world-2/full" for task in sweep.tasks.values())
