"""Smaller numbers for a page's command: what is asked stays, k never passes n, and no page prints them."""

import re

import pytest

from tests.docs.desk import PAGES, blocks, commands
from tests.docs.smaller import smaller, smaller_code

AUDIT = "leakatk audit models/mine --forget forget.jsonl"


@pytest.mark.parametrize(
    ("line", "ours"),
    [
        (AUDIT, f"{AUDIT} --n 25"),
        (f"{AUDIT} --n 1024 --fail-above 64:0.05", f"{AUDIT} --n 128 --fail-above 8:0.05"),
        (f"{AUDIT} --n 200 --k 1,64", f"{AUDIT} --n 25 --k 1,8"),
        (f"{AUDIT} --n 20", f"{AUDIT} --n 20"),
        (f"{AUDIT} --attack relearn", f"{AUDIT} --attack relearn:steps=5 --n 25"),
        (
            "leakatk attack m --attack relearn:curve=10+50+200,rates=1+3 --n 16",
            "leakatk attack m --attack relearn:curve=5+10+15,rates=1+3 --n 16",
        ),
        ("leakatk unlearn m --method npo", "leakatk unlearn m --method npo --steps 4"),
        (
            "leakatk unlearn m --method rule --n 32",
            "leakatk unlearn m --method rule --n 32 --steps 4 --rounds 1 --max-new-tokens 16",
        ),
        ("leakatk score runs/mine --k 1,16,128", "leakatk score runs/mine --k 1,2,16"),
        ("leakatk plan --k 128 --half-width 0.01", "leakatk plan --k 128 --half-width 0.01"),
        ("leakatk bench tofu/forget10 --protocol paper", "leakatk bench tofu/forget10 --protocol paper"),
        (f"{AUDIT} --guard dsg:layer=0.3", f"{AUDIT} --guard dsg:layer=0.3,steps=20 --n 25"),
    ],
)
def test_a_command_keeps_what_it_asks_for(line, ours):
    done = smaller(line)
    assert sorted(done.split(" --")[1:]) == sorted(ours.split(" --")[1:])
    assert done.split(" --")[0] == ours.split(" --")[0]


def test_code_has_at_most_so_many():
    assert (
        smaller_code("audit(n=200, k=4); train(max_steps=100, steps=5)")
        == "audit(n=8, k=4); train(max_steps=2, steps=5)"
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_page_prints_the_numbers_of_a_test(page):
    """A gate lets a few in a hundred through; no unlearning takes a handful of steps, no audit eight samples."""
    for line in commands(page):
        for bound in re.findall(r"--fail-above \d+:([\d.]+)", line):
            assert 0 < float(bound) <= 0.1, line
        for name, least in (("--n", 16), ("--steps", 10), ("--max-new-tokens", 32)):
            for value in re.findall(rf"{name} (\d+)", line):
                assert int(value) >= least, line
    for block in blocks(page, "python"):
        assert not re.search(r"\bmax_steps=\d\b", block), block
