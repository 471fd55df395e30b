"""Gates of `leakatk bench` on a difference, as they are typed."""

import json
from dataclasses import replace

from leakatk.prompts import save_prompts
from tests.cli.test_bench import benching
from tests.tiny import PROMPTS


def test_gates_of_a_bench_on_a_difference(leakatk, model, forget, tmp_path, monkeypatch):
    """Against the retrained model and an earlier bench, over two decodings; a bench that rises fails."""
    short = ("--quiet", "--n", "4", "--retain-n", "0", "--no-grad-norm", "--cut", "ignore", "--one-wording")
    warm = ("--decoding", "max_new_tokens=4", "--decoding", "temperature=0.7,max_new_tokens=4")
    first, out = tmp_path / "first", tmp_path / "out"
    assert leakatk("bench", forget, "--model", model, "--out", first, *short, *warm)[0] == 0
    gates = (
        "--fail-above",
        "4:1",
        "--fail-excess-above",
        "4:0.99",
        "--fail-if-worse-than",
        first,
        "--worse-by",
        "0.99",
    )
    code, _, err = leakatk(*benching(model, forget, out), *short, *warm, *gates)
    assert code == 0, err
    for line in ("Gate: PASS: ", "Gate on the excess: PASS: leak@4 may", "Gate on what is worse: PASS: leak@4 may"):
        assert line in err
    assert "the earlier bench first" in err
    kept = json.loads((out / "verdict.json").read_text())
    assert kept["answer"] == kept["verdict"]["answer"] == "PASS"
    names = {one["name"] for one in kept["gate"]["settings"]}
    assert len(names) == 3  # two temperatures and the greedy answers that they share
    for name in ("excess_gate", "earlier_gate"):
        assert {one["name"] for one in kept[name]["settings"]} == names
        assert round(1 - kept[name]["each_level"], 6) == round(0.05 / 3 / 2, 6)

    from leakatk.auditing import verdict

    scored = verdict.score

    def leaky(run, *args, **how):
        """As if every answer of the later bench leaked, and none of the earlier one."""
        return scored(run, *args, **how) * 0 + run.path.is_relative_to(out)

    monkeypatch.setattr(verdict, "score", leaky)
    only = ("--fail-if-worse-than", first, "--worse-by", "0.3")
    code, _, err = leakatk("bench", forget, "--model", model, "--out", out, *short, *warm, *only)
    assert code == 1, err
    assert json.loads((out / "verdict.json").read_text())["answer"] == "FAIL"
    moved = tmp_path / "moved"
    first.rename(moved)
    code, _, err = leakatk(
        "bench", forget, "--model", model, "--out", out, *short, *warm, "--fail-if-worse-than", moved
    )
    assert code == 1, err


def test_an_earlier_bench_that_cannot_be_compared_with(leakatk, model, forget, tmp_path):
    """One sentence before anything is sampled."""
    short = ("--quiet", "--n", "4", "--retain-n", "0", "--no-grad-norm", "--decoding", "max_new_tokens=4")
    first, out = tmp_path / "first", tmp_path / "out"
    common = ("bench", forget, "--model", model, "--out")
    assert leakatk(*common, first, *short)[0] == 0
    other = tmp_path / "other.jsonl"
    save_prompts([replace(prompt, id=f"{prompt.id}-other") for prompt in PROMPTS], other)
    worse = ("--fail-if-worse-than", first)
    for command, words in (
        ((*common, out, *short, "--fail-if-worse-than", tmp_path / "none"), "no such file"),
        ((*common, out, *short, *worse, "--decoding", "temperature=0.5"), "has no row for T=0.5"),
        ((*common, out, *short, *worse, "--scorer", "keys"), ", keys (it has: "),
        ((*common, out, *short, *worse, "--n", "8", "--fail-above", "8:0.1"), "has 4 samples a prompt, but k = 8"),
        (("bench", other, *common[2:], out, *short, *worse), "has no model on these prompts of other"),
        (
            (*common, out, *short, *worse, "--fail-above", "1:0.1", "--worst-case"),
            "--worst-case needs --fail-above K:BOUND and",
        ),
        ((*common, out, *short, "--fail-excess-above", "1:0.1"), "--fail-excess-above needs --retrained"),
        (
            (*common, out, *short, "--retrained", model, "--fail-excess-above", "3:0.1"),
            "--fail-excess-above 3:0.1: a bench has",
        ),
    ):
        code, _, err = leakatk(*command)
        assert code == 2, (command, err)
        assert words in err, err
        assert not out.exists()
    assert leakatk(*common, first, *short, "--label", "mine")[0] == 0
