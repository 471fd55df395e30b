"""Every public name has an example in its docstring, and it does what it shows."""

import doctest
import inspect

import pytest

import leakatk
from tests.docs.desk import furnish


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return furnish(tmp_path_factory.mktemp("desk"))


@pytest.mark.parametrize("name", [name for name in leakatk.__all__ if name != "__version__"])
def test_example(name, place, monkeypatch):
    monkeypatch.chdir(place)
    item = getattr(leakatk, name)
    module = inspect.getmodule(item)
    [example] = doctest.DocTestFinder(recurse=False).find(item, name, module=module, globs=vars(module).copy())
    assert example.examples, f"leakatk.{name} has no example"
    said = []
    failed, _ = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(example, out=said.append)
    assert not failed, "".join(said)
