"""Engines by name: what each is made from, and how its options are given."""

import subprocess
import sys

import pytest

from leakatk.errors import InputError, ModelError, UnknownNameError
from leakatk.models.load import ModelSource, load_model
from leakatk.models.template import Template
from leakatk.registry import Registry
from leakatk.sampling.engines import Engine, make_sampler
from tests.tiny import save_tiny_model


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("model") / "tiny")


def test_a_path_a_source_and_a_model_are_the_same(model):
    source = ModelSource(str(model), template=Template(kind="plain"))
    made = [make_sampler("native", of).describe() for of in (model, str(model), source, source.load())]
    assert made[0] == made[1]
    assert made[2] == made[3]
    assert made[2] == {
        **made[0],
        "template": load_model(model, template=Template(kind="plain")).template.describe(source.load().tokenizer),
    }


def test_options_in_the_name_and_as_keywords(model):
    written = make_sampler("native:max_rows=64,tree=no", model)
    assert (written.max_rows, written.tree) == (64, False)
    both = make_sampler("native:max_rows=64", model, max_rows=32)
    assert (both.max_rows, both.tree) == (32, True)


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        ("nativ", UnknownNameError, "did you mean native"),
        (
            "native:rows=3",
            InputError,
            "Engine 'native' has no option 'rows'; its options: max_rows, tree; did you mean max_rows",
        ),
        ("native:tree", InputError, "write native:tree=VALUE"),
        ("native:tree=no,tree=yes", InputError, "Engine option .tree. is given twice"),
        ("native:max_rows=0", InputError, "at least 1"),
    ],
)
def test_what_does_not_exist_is_said(model, spec, error, message):
    with pytest.raises(error, match=message):
        make_sampler(spec, model)


def test_an_engine_that_loads_by_itself_gets_the_place(model, monkeypatch):
    class Elsewhere:
        takes_source = True

        def __init__(self, source, *, copies=1):
            self.source, self.copies = source, copies

    known = Registry[Engine]("engine")
    known.add("elsewhere", Engine(name="elsewhere", load=lambda: Elsewhere))
    monkeypatch.setattr("leakatk.sampling.engines.ENGINES", known)
    made = make_sampler("elsewhere:copies=3", str(model))
    assert (made.source, made.copies) == (ModelSource(str(model)), 3)
    with pytest.raises(ModelError, match="loads the model itself"):
        make_sampler("elsewhere", load_model(model))


def test_listing_imports_nothing_heavy():
    code = (
        "import sys; from leakatk.sampling.engines import ENGINES; list(ENGINES)\n"
        "sys.exit(any(name in sys.modules for name in ('torch', 'transformers', 'ray', 'vllm')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
