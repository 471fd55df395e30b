"""The house: who may import whom, no circles, few modules at the root, no long files."""

import ast
from pathlib import Path

import pytest

import leakatk

PACKAGE = Path(leakatk.__file__).parent

# Each room imports from its own and from those above it alone. A module named beside its room stands at a level of its own.
LEVELS = """
errors
text hush registry arrays
files output
progress workdir
prompts
models.reasoning
remote models
sampling.decoding
estimate
scorers
probes
benchmarks synthesis.base synthesis.select synthesis.templates
runs
report
sampling
auditing synthesis
metrics
unlearning
small guards attacks
bench
papers
cli __main__
"""
ROOT_MODULES = 12
LONGEST = 400
# Files above that length, and why each stays whole.
LONG: dict[str, str] = {}
# Rooms that must work where torch is not installed: the metric half.
WITHOUT_TORCH = (
    "estimate",
    "probes",
    "runs",
    "report",
    "benchmarks",
    "synthesis.base",
    "synthesis.select",
    "synthesis.templates",
    "remote",
    "files",
)

LEVEL = {name: level for level, line in enumerate(LEVELS.split("\n")) for name in line.split()}
FILES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
    if path != PACKAGE / "__init__.py"
}


def level_of(module):
    """The level of the longest name that it begins with."""
    parts = module.split(".")
    names = [".".join(parts[:count]) for count in range(len(parts), 0, -1)]
    return next((LEVEL[name] for name in names if name in LEVEL), None)


def imports_of(path, *, top_only=False):
    """The modules of this package that a file imports, within functions and for types alone too unless top_only."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in tree.body if top_only else ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            module = name.removeprefix("leakatk.") if name.startswith("leakatk.") else ""
            while module and module not in FILES:
                module = module.rpartition(".")[0]
            if module:
                yield module


IMPORTS = {module: set(imports_of(path)) - {module} for module, path in FILES.items()}


@pytest.mark.parametrize("module", FILES)
def test_a_room_imports_from_the_rooms_before_it(module):
    mine = level_of(module)
    assert mine is not None, f"{module} stands in no room of LEVELS"
    later = sorted(other for other in IMPORTS[module] if level_of(other) > mine)
    assert not later, f"{module} imports {', '.join(later)}, of a later room"


def test_no_circles():
    """Depth first: a module that is met again while its own imports are followed closes a circle."""
    done, path = set(), []

    def follow(module):
        if module in path:
            raise AssertionError(" -> ".join([*path[path.index(module) :], module]))
        if module not in done:
            path.append(module)
            for other in sorted(IMPORTS[module]):
                follow(other)
            path.pop()
            done.add(module)

    for module in FILES:
        follow(module)


def test_few_modules_stand_at_the_root():
    found = [module for module, path in FILES.items() if path.parent == PACKAGE]
    assert len(found) <= ROOT_MODULES, found


@pytest.mark.parametrize("module", FILES)
def test_no_file_is_long_without_a_reason(module):
    lines = FILES[module].read_text(encoding="utf-8").count("\n")
    if module in LONG:
        assert lines > LONGEST, f"{module} has {lines} lines: take it out of LONG"
        assert LONG[module]
    else:
        assert lines <= LONGEST, f"{module} has {lines} lines: split it, or say in LONG why it stays whole"


def reaches(module, seen=None):
    """Every module that importing this one imports."""
    seen = set() if seen is None else seen
    if module not in seen:
        seen.add(module)
        for other in imports_of(FILES[module], top_only=True):
            reaches(other, seen)
    return seen


@pytest.mark.parametrize("room", WITHOUT_TORCH)
def test_the_metric_half_loads_no_torch(room):
    for module in FILES:
        if module == room or module.startswith(room + "."):
            for other in reaches(module):
                tree = ast.parse(FILES[other].read_text(encoding="utf-8"))
                heavy = [
                    name.split(".")[0]
                    for node in tree.body
                    for name in (
                        [alias.name for alias in node.names]
                        if isinstance(node, ast.Import)
                        else [node.module or ""]
                        if isinstance(node, ast.ImportFrom)
                        else []
                    )
                ]
                assert not {"torch", "transformers", "peft", "accelerate"} & set(heavy), f"{module} loads {other}"


TESTS = Path(__file__).parent
# Source files whose tests stand together in a file of another name.
TESTED_IN = {
    "benchmarks.worlds.encoding": "benchmarks/worlds/test_generators.py",
    "benchmarks.worlds.origin": "benchmarks/worlds/test_generators.py",
    "cli.preset": "cli/test_unlearn.py",
    "guards.inside": "guards/test_watching.py",
    "report.ladder_chart": "report/test_ladder.py",
    "unlearning.batches": "unlearning/test_passes.py",
    "unlearning.inserted": "unlearning/test_hooks.py",
    "unlearning.loop": "unlearning/test_trainer.py",
    "unlearning.losses.distill": "unlearning/test_losses.py",
    "unlearning.losses.outputs": "unlearning/test_methods.py",
    "unlearning.losses.states": "unlearning/test_methods.py",
    "unlearning.losses.targets": "unlearning/test_losses.py",
    "unlearning.losses.terms": "unlearning/test_methods.py",
    "unlearning.losses.token": "unlearning/test_losses.py",
    "unlearning.methods.distillation": "unlearning/test_methods.py",
    "unlearning.methods.preference": "unlearning/test_methods.py",
    "unlearning.methods.schedules": "unlearning/test_methods.py",
    "unlearning.record": "unlearning/test_trainer.py",
    "unlearning.sharding": "unlearning/test_processes.py",
}


@pytest.mark.parametrize("module", FILES)
def test_a_file_has_tests_of_its_name(module):
    path = FILES[module]
    if path.stem == "__init__" or path.read_text(encoding="utf-8").count("\n") <= 60:
        return
    if module in TESTED_IN:
        assert (TESTS / TESTED_IN[module]).exists()
        assert not list((TESTS / module.replace(".", "/")).parent.glob(f"test_{path.stem}.py")), (
            "take it out of TESTED_IN"
        )
    else:
        assert list(TESTS.rglob(f"test_{path.stem}.py")), f"{module}: no test_{path.stem}.py"


def test_no_test_imports_a_private_name():
    for path in TESTS.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("leakatk"):
                private = [alias.name for alias in node.names if alias.name.startswith("_")]
                assert not [name for name in private if not name.startswith("__")], (path, private)
