"""Files of one's own, their columns and limits, and the other things that a command is given to work on."""

import csv
import hashlib
import json
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from leakatk.benchmarks.catalog import load_benchmark
from leakatk.cli import inputs
from leakatk.cli.inputs import template_args
from leakatk.errors import InputError
from leakatk.models.template import Template
from leakatk.prompts import Prompt
from leakatk.runs.store import Run
from leakatk.scorers.base import get_scorer
from tests.tiny import PROMPTS

SHORT = ("--n", "2", "--max-new-tokens", "3", "--scorer", "rouge-l", "--quiet")
MAPPED = ("--column", "question=Q", "--column", "answer=A")


@pytest.fixture
def frage(tmp_path):
    with (tmp_path / "frage.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("Q", "A"), *((p.question, p.answer) for p in PROMPTS)])
    return tmp_path / "frage.csv"


def test_an_audit_of_parquet_and_of_csv_with_columns_of_their_own(leakatk, model, frage, tmp_path):
    pq.write_table(
        pa.table({"Q": [p.question for p in PROMPTS], "A": [p.answer for p in PROMPTS]}), tmp_path / "q.parquet"
    )
    for i, file in enumerate((frage, tmp_path / "q.parquet")):
        out = tmp_path / f"run{i}"
        code, _, err = leakatk("audit", model, "--forget", file, *MAPPED, "--retain", frage, "--out", out, *SHORT)
        assert code == 0, err
        assert [(p.question, p.answer) for p in Run.open(out).prompts] == [(p.question, p.answer) for p in PROMPTS]
    code, _, err = leakatk("audit", "--config", tmp_path / "run0" / "config.toml", "--quiet")
    assert code == 0, err  # the mapping is among the options written back


def test_a_misspelt_column_is_2_in_every_command_that_takes_one(leakatk, frage, tmp_path):
    wrong = ("--column", "question=QQ", "--column", "answer=A")
    for words in (
        ("audit", "m", "--forget", frage, "--out", tmp_path / "o"),
        ("unlearn", "m", "--forget", frage, "--retain", frage, "--method", "npo", "--out", tmp_path / "o"),
        ("bench", frage, "--model", "m", "--out", tmp_path / "o"),
        ("benchmark", "check", frage),
    ):
        code, _, err = leakatk(*words, *wrong)
        assert code == 2
        assert "expected a column named QQ, found Q, A" in err
        code, _, err = leakatk(*words, "--column", "qestion=Q")
        assert (code, "did you mean question" in err) == (2, True)
    code, _, err = leakatk("audit", "m", "--benchmark", "world", "--out", tmp_path / "o", *MAPPED)
    assert (code, "--column only goes with files of your own" in err) == (2, True)
    code, _, err = leakatk("bench", "world", "--model", "m", "--out", tmp_path / "o", *MAPPED)
    assert (code, "--column only goes with files of your own" in err) == (2, True)
    assert not (tmp_path / "o").exists()


def test_a_limited_audit_says_so_wherever_it_is_looked_at(leakatk, model, forget, tmp_path):
    command = ("audit", model, "--forget", forget, "--retain", forget, "--out", tmp_path / "run", *SHORT)
    code, _, err = leakatk(*command, "--limit", "2", "--retain-limit", "1")
    assert code == 0, err
    assert "Only 2 of 3 forget prompts, --limit; 1 of 3 retain prompts, --retain-limit" in err
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert "2 of 3 forget prompts" in results["benchmark"]
    assert "1 of 3 retain prompts" in results["benchmark"]
    assert "2 of 3 forget prompts" in Run.open(tmp_path / "run").manifest.benchmark
    assert len(Run.open(tmp_path / "run" / "retain").prompts) == 1
    assert "2 of 3 forget prompts" in (tmp_path / "run" / "report.html").read_text()
    code, _, err = leakatk(*command[:4], *command[6:], "--retain-limit", "1")
    assert (code, "no retain prompts" in err) == (2, True)


def test_a_limit_that_leaves_nothing_out_says_nothing(leakatk, model, forget, tmp_path):
    code, _, err = leakatk("audit", model, "--forget", forget, "--out", tmp_path / "run", *SHORT, "--limit", "3")
    assert (code, "Only" in err) == (0, False), err
    assert json.loads((tmp_path / "run" / "results.json").read_text())["benchmark"] == "forget.jsonl"


def test_a_limited_benchmark_says_so_in_every_row(leakatk, model, forget, tmp_path):
    from leakatk.bench.results import read_rows

    command = ("bench", forget, "--model", model, "--n", "2", "--decoding", "max_new_tokens=3", "--quiet")
    code, _, err = leakatk(*command, "--out", tmp_path / "part", "--limit", "2")
    assert code == 0, err
    assert "Only 2 of 3 forget prompts" in err
    assert all("2 of 3 forget prompts" in row["origin"] for row in read_rows(tmp_path / "part"))


def test_unlearning_a_part_says_so_and_how_to_audit_it(leakatk, model, frage, tmp_path):
    common = (
        "unlearn",
        model,
        "--forget",
        frage,
        "--retain",
        frage,
        *MAPPED,
        "--method",
        "npo",
        "--steps",
        "1",
        "--quiet",
    )
    code, out, err = leakatk(*common, "--out", tmp_path / "m", "--limit", "2", "--json")
    assert code == 0, err
    assert "2 of 3 forget prompts" in json.loads(out)["prompts"]
    assert "--limit 2 --column question=Q --column answer=A" in err


def test_columns_of_their_own_reach_the_unseen(leakatk, model, forget, frage, tmp_path, monkeypatch):
    reached = []
    monkeypatch.setattr("leakatk.cli.rule.run_calibrated", lambda *_, unseen, **__: reached.extend(unseen) or {})
    rule = ("--method", "rule", "--base", "npo", "--reference", model, "--original", model, "--unseen")
    common = ("unlearn", model, "--forget", frage, "--retain", frage, *MAPPED, *rule)
    code, _, err = leakatk(*common, frage, "--out", tmp_path / "a")
    assert code == 0, err
    code, _, err = leakatk(*common, forget, "--out", tmp_path / "b")  # the usual names still hold
    assert code == 0, err
    assert [(p.question, p.answer) for p in reached] == 2 * [(p.question, p.answer) for p in PROMPTS]


def test_what_is_drawn_is_the_same_for_every_seed_and_order_and_grows():
    prompts = [Prompt(f"author-{i // 20}-{i}", "?", "a") for i in range(400)]
    few, more = inputs.drawn(prompts, 40), inputs.drawn(prompts, 80)
    assert {p.id for p in few} < {p.id for p in more}
    assert {p.id for p in inputs.drawn(prompts[::-1], 40)} == {p.id for p in few}
    assert [p.id for p in few] == [p.id for p in prompts if p in few]
    assert len({p.id.split("-")[1] for p in few}) > 10, "the first forty are of two authors"
    with pytest.raises(InputError, match="no retain prompts"):
        inputs.limited(prompts, [], None, 3)


def test_caps_reach_the_judge():
    assert inputs.with_caps("rouge-l", 1.0, 5) == "rouge-l"
    judge = get_scorer(inputs.with_caps("judge:model=x", 2.5, 7))
    assert (judge.max_cost, judge.max_requests) == (2.5, 7)


def test_data_is_found_by_the_environment(monkeypatch, tmp_path):
    (tmp_path / "tofu").mkdir()
    monkeypatch.setenv("LEAKATK_DATA", str(tmp_path))
    assert inputs.data_of("tofu/forget10", None) == str(tmp_path / "tofu")
    assert inputs.data_of("tofu/forget10", "mine") == "mine"
    assert inputs.data_of("muse/news", None) is None
    monkeypatch.delenv("LEAKATK_DATA")
    assert inputs.data_of("tofu/forget10", None) is None


@pytest.mark.parametrize(
    ("engine", "url", "how", "found"),
    [
        ("native", "", {}, ("native", {})),
        ("native", "http://h/v1", {}, ("endpoint", {"url": "http://h/v1"})),
        ("vllm", "https://h", {}, ("vllm", {"url": "https://h"})),
        ("endpoint:concurrency=2", "http://h", {}, ("endpoint:concurrency=2", {"url": "http://h", "max_cost": 1.5})),
        ("native", "http://h", {"changed_server": True, "ignored_fields": True},
         ("endpoint", {"url": "http://h", "accept_changed_server": True, "accept_ignored_fields": True})),
    ],
)  # fmt: skip
def test_an_address_asks_for_the_endpoint_engine(engine, url, how, found):
    max_cost = found[1].get("max_cost")
    assert inputs.engine_caps(engine, url, max_cost, None, **how) == found
    if found[0].startswith("endpoint"):
        capped = inputs.engine_caps(engine, url, 0.0, 7, **how)[1]
        assert (capped["max_cost"], capped["max_requests"]) == (0.0, 7), "a cap of nothing is a cap"
    else:
        assert inputs.engine_caps(engine, url, 2.0, 7, **how) == found, "the judge's caps"


@pytest.mark.parametrize(
    ("url", "how", "words"),
    [
        ("localhost:8000", {}, "give the whole address"),
        ("ftp://h", {}, "give the whole address"),
        ("", {"changed_server": True}, "go with --url"),
        ("", {"ignored_fields": True}, "go with --url"),
    ],
)
def test_what_a_server_needs(url, how, words):
    with pytest.raises(InputError, match=words):
        inputs.engine_caps("native", url, None, None, **how)


def source(template="auto", system="", args=()):
    return inputs.source("m", device="cpu", dtype="fp32", template=template, system=system, args=args)


def test_a_template_by_its_name():
    assert source().template == Template("auto")
    assert source("chat", "Be brief.", (("a", 1),)).template == Template("chat", "Be brief.", args=(("a", 1),))
    assert source("plain").template == Template("plain")
    assert source("text").template == Template("plain", plain="{question}")
    assert (source().path, source().device, source().dtype) == ("m", "cpu", "fp32")
    with pytest.raises(InputError, match="--template 'chatt': use one of auto, chat, plain, text"):
        source("chatt")
    for template in ("plain", "text"):
        with pytest.raises(InputError, match=f"--template {template} uses none"):
            source(template, args=(("a", 1),))


@pytest.mark.parametrize(
    ("scorer", "caps", "found"),
    [
        ("judge", (2.5, None), "judge:max_cost=2.5"),
        ("judge:items=3", (None, 0), "judge:items=3,max_requests=0"),
        ("judge", (None, None), "judge"),
        ("rouge-l:part=f1", (2.5, 7), "rouge-l:part=f1"),
    ],
)
def test_caps_are_options_of_what_costs_money(scorer, caps, found):
    assert inputs.with_caps(scorer, *caps) == found


def test_prompts_are_of_a_benchmark_or_of_files(forget):
    for benchmark, file in (("", None), ("world", forget)):
        with pytest.raises(InputError, match="either --benchmark NAME or --forget FILE"):
            inputs.prompts_of(benchmark, file, None, None)
    with pytest.raises(InputError, match="--data only goes with --benchmark"):
        inputs.prompts_of("", forget, None, "data")
    assert inputs.prompts_of("", forget, None, None) == ("forget.jsonl", PROMPTS, [])
    name, items, kept = inputs.prompts_of("world", None, forget, None)
    world = load_benchmark("world")
    assert (name, items, kept) == ("world", list(world.forget), PROMPTS), "own retain prompts stand in for its own"
    assert inputs.prompts_of("world", None, None, None)[2] == list(world.retain)
    held = inputs.prompts_of("world", None, None, None, held=True)[2]
    assert held == list(world.retain_held) != list(world.retain)
    name, items, kept = inputs.prompts_of("world", None, None, None, limit=2, retain_limit=3)
    assert (len(items), len(kept)) == (2, 3)
    assert name == (
        f"world (2 of {len(world.forget):,} forget prompts, --limit; 3 of {len(world.retain):,} retain prompts, --retain-limit)"
    )


def test_what_is_drawn_has_the_smallest_hashes():
    prompts = [Prompt(f"id{i}", "?", "a") for i in range(50)]
    rank = sorted(prompts, key=lambda p: hashlib.sha256(p.id.encode()).hexdigest())
    for most in (1, 7, 50, 99):
        assert inputs.drawn(prompts, most) == [p for p in prompts if p in rank[:most]]


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ([], ()),
        (["enable_thinking=false"], (("enable_thinking", False),)),
        (["b=1", "a=x y", "c="], (("a", "x y"), ("b", 1), ("c", ""))),
        (['words=["w1", "w2"]', "n=1.5", "e==="], (("e", "=="), ("n", 1.5), ("words", ["w1", "w2"]))),
        (["s=null", 't="true"', "u=[1"], (("s", None), ("t", "true"), ("u", "[1"))),
    ],
)
def test_values_are_json_where_they_can_be(given: list[str], found: tuple[tuple[str, Any], ...]) -> None:
    assert template_args(given) == found


@pytest.mark.parametrize("given", [["enable_thinking"], ["=x"], ["a b=1"], ["a=1", "a=2"], [""]])
def test_what_is_no_argument(given: list[str]) -> None:
    with pytest.raises(InputError, match="--template-arg"):
        template_args(given)


@pytest.mark.parametrize(
    ("engine", "url", "scorers", "engine_gets", "scorers_get"),
    [
        ("native", "http://x/v1", [], True, False),
        ("endpoint:api=anthropic", "", [], True, False),
        ("native", "", ["judge:model=m"], False, True),
    ],
)
def test_prices_go_to_what_is_paid(engine, url, scorers, engine_gets, scorers_get):
    found = inputs.prices_of(engine, url, scorers, 0.5, None)
    assert (found.engine, found.scorers) == (
        {"price_in": 0.5} if engine_gets else {},
        {"price_in": 0.5} if scorers_get else {},
    )
    _, options = inputs.engine_caps(engine, url, None, None, prices=found.engine)
    assert options.get("price_in") == (0.5 if engine_gets else None)
    for name in scorers:
        assert inputs.with_caps(name, None, None, found.scorers) == "judge:model=m,price_in=0.5"


@pytest.mark.parametrize(
    ("engine", "url", "scorers", "says"),
    [("native", "", ["fact"], "cost money"), ("native", "http://x/v1", ["judge:model=m"], "of one model")],
)
def test_prices_of_nothing_and_of_two(engine, url, scorers, says):
    assert inputs.prices_of(engine, url, scorers, None, None) == inputs.Prices({}, {})
    with pytest.raises(InputError, match=says):
        inputs.prices_of(engine, url, scorers, 1.0, 2.0)


def test_headers_go_to_a_server():
    _, options = inputs.engine_caps("native", "http://x/v1", None, None, headers=["X-Team=a=b"])
    assert options["headers"] == {"X-Team": "a=b"}
    for wrong, says in ((["X-Team"], "NAME=VALUE"), (["A=1", "A=2"], "given twice")):
        with pytest.raises(InputError, match=says):
            inputs.engine_caps("endpoint", "", None, None, headers=wrong)
    with pytest.raises(InputError, match="a server that is asked"):
        inputs.engine_caps("native", "", None, None, headers=["A=1"])
