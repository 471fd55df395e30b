"""Which guard can act in which engine; the engine over several models is tested with the guards that combine."""

import pytest

from leakatk.errors import InputError
from leakatk.guards import get_guard
from leakatk.guards.engines import check_engine, combined
from leakatk.guards.sampler import fitted
from leakatk.sampling.engines import make_sampler
from leakatk.sampling.native import NativeSampler
from tests.guards.conftest import RETAIN, drawn


def test_what_needs_no_weights_acts_anywhere():
    elsewhere = make_sampler("endpoint", "words", url="http://localhost:1/v1")
    check_engine(elsewhere, get_guard("curate"))
    check_engine(elsewhere, get_guard("icul"))
    for name in ("eco", "ucd"):
        with pytest.raises(InputError, match="which engine endpoint does not show"):
            check_engine(elsewhere, get_guard(name))


def test_a_model_less_itself_plus_the_clean_one_is_the_clean_one(loaded, known, made):
    """The guarded model stands for the dirty one: at alpha 1 what remains is the clean model, whatever it is."""
    from leakatk.models.load import load_model

    engine = combined(NativeSampler(loaded), fitted(get_guard("ucd"), known, loaded), known)
    clean = drawn(NativeSampler(load_model(made.clean, device="cpu")), RETAIN, n=3)
    assert {key: one.text for key, one in drawn(engine, RETAIN, n=3).items()} == {
        key: one.text for key, one in clean.items()
    }
