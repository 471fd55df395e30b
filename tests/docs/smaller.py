"""What a test runs in place of a page's command or code: the same with smaller numbers.

A page prints what a reader should type. Samples, k, steps, rounds and lengths that are small for the sake of a test stand
here alone.
"""

import re

SHARE = 8  # samples and k are divided by this
DEFAULT = "25"  # samples, in place of the default of 200
ROUND = {"--n": "16", "--rounds": "1", "--max-new-tokens": "16"}  # of RULE
STEPS = "4"
ATTACK_STEPS = 5
EXAMPLE = {"n": 8, "max_steps": 2, "steps": 20, "features": 64, "top": 4}  # the most, of names in Python


def smaller(line):
    """A `leakatk` command with the numbers of a test; what it asks for, and its files, stay."""
    command = line.split()[1]
    if command in ("audit", "attack", "bench"):
        if command != "bench" or "--protocol" not in line:  # a protocol's numbers are its own
            line = with_option(line, "--n", DEFAULT)
        line = re.sub(
            r"(--n )(\d+)", lambda found: found[1] + fewer(found[2]) if int(found[2]) > 25 else found[0], line
        )
        line = re.sub(r"(--fail-(?:excess-)?above )(\d+)", lambda found: found[1] + fewer(found[2]), line)
    if command in ("audit", "score"):
        line = re.sub(r"(--k )(\S+)", lambda found: found[1] + ",".join(map(fewer, found[2].split(","))), line)
    if command in ("unlearn", "finetune", "repair"):
        line = with_option(line, "--steps", STEPS)
    if "--method rule" in line:
        for name, value in ROUND.items():
            line = with_option(line, name, value)
    line = re.sub(
        r"--guard (dsg\S*)", lambda found: f"--guard {found[1]}{',' if ':' in found[1] else ':'}steps=20", line
    )
    return re.sub(r"--attack relearn(:\S+)?", lambda found: "--attack relearn" + short(found[1]), line)


def fewer(number):
    return str(max(1, int(number) // SHARE))


def with_option(line, name, value):
    return line if f"{name} " in line else f"{line} {name} {value}"


def short(options):
    """Of relearning: five steps; a curve over fewer of them."""
    given = (options or ":")[1:]
    if "curve=" in given:
        return ":" + re.sub(r"curve=([\d+]+)", lambda found: "curve=" + "+".join(points(found[1])), given)
    kept = [option for option in given.split(",") if option and not option.startswith("steps=")]
    return ":" + ",".join([f"steps={ATTACK_STEPS}", *kept])


def points(curve):
    """As many points as were there, up to the fewest steps."""
    return [str(ATTACK_STEPS * (i + 1)) for i, _ in enumerate(curve.split("+"))]


def smaller_code(block):
    """A Python block with at most so many samples, steps and features."""
    for name, most in EXAMPLE.items():
        block = re.sub(rf"\b({name}=)(\d+)\b", lambda found, most=most: f"{found[1]}{min(int(found[2]), most)}", block)
    return block
