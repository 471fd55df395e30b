"""CodeUnlearn: which codes go, by SciPy's table test, and what is left of a state without them, by hand."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import chi2_contingency

from leakatk.errors import InputError
from leakatk.guards.codes import WithoutCodes, enriched
from leakatk.models.layers import decoder_layers
from leakatk.models.token_stats import answer_pairs
from leakatk.prompts import Known
from tests.guards.conftest import FORGET, RETAIN

KNOWN = Known(forget=FORGET, retain=RETAIN)
SMALL = {"layer": 0, "codes": 48, "top": 3, "steps": 40, "enrichment": 0.5, "level": 0.4}


def test_enriched_codes_by_a_table_test():
    draw = np.random.default_rng(0)
    forget, retain = draw.integers(0, 30, 40), draw.integers(0, 30, 40)
    forget[0], retain[1], forget[2], retain[2] = 0, 0, 0, 0
    for least, level in ((0.0, 0.05), (1.0, 0.05), (0.0, 0.5)):
        wanted = []
        for i, (a, b) in enumerate(zip(forget, retain, strict=True)):
            if not a:
                continue
            p = chi2_contingency([[a, 100 - a], [b, 150 - b]], correction=False).pvalue
            ratio = math.log2((a / 100) / (b / 150)) if b else math.inf
            wanted += [i] if ratio > least and p < level else []
        assert enriched(forget, retain, 100, 150, least=least, level=level).tolist() == wanted
        assert wanted


def test_what_is_left_of_a_state_by_hand(loaded):
    action = WithoutCodes(**SMALL).fit(KNOWN, loaded)
    gone = set(action.gone.astype(int))
    [(asked, answer)] = answer_pairs(loaded, [FORGET[0].query], [FORGET[0].answer])
    ids = torch.tensor([[*asked, *answer]])
    kept = []
    module = decoder_layers(loaded.model)[0]
    with torch.inference_mode():
        plain = loaded.model(input_ids=ids, output_hidden_states=True).hidden_states[1][0].double().numpy()
        with action.hooks(loaded, FORGET):
            handle = module.register_forward_hook(
                lambda _, __, out: kept.append(out[0] if isinstance(out, tuple) else out)
            )
            loaded.model(input_ids=ids)
            handle.remove()
    found = kept[0].reshape(plain.shape).double().numpy()
    unit = action.book / np.linalg.norm(action.book, axis=1, keepdims=True)
    changed = 0
    for place, state in enumerate(plain):
        chosen = np.argsort(-(unit @ state), kind="stable")[:3]
        out = [i for i in chosen if i in gone] if place else []
        changed += bool(out)
        wanted = state - action.book[out].sum(0) if out else state
        np.testing.assert_allclose(found[place], wanted, rtol=1e-4, atol=1e-4)
        if not out:
            assert np.array_equal(found[place], state)
    assert 0 < changed < len(plain)


def test_what_makes_no_sense(loaded):
    with pytest.raises(InputError, match="level is the level of a test"):
        WithoutCodes(level=0.0)
    with pytest.raises(InputError, match="No code is used so much more often by forget texts"):
        WithoutCodes(**{**SMALL, "enrichment": 50.0, "level": 1e-12}).fit(KNOWN, loaded)
    with pytest.raises(InputError, match="use --engine native or generate"):
        WithoutCodes().fit(KNOWN, None)
