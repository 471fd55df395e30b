import numpy as np
import pytest

from leakatk.attacks import get_attack
from leakatk.attacks.likeness import kept_neighbours, linear_cka, nearest
from leakatk.errors import InputError
from leakatk.models.load import load_model
from leakatk.prompts import Known


def by_gram_matrices(x, y):
    """Linear CKA as a cosine of centred Gram matrices (m, m)."""
    m = len(x)
    centre = np.eye(m) - np.ones((m, m)) / m
    k, g = centre @ x @ x.T @ centre, centre @ y @ y.T @ centre
    return np.sum(k * g) / np.sqrt(np.sum(k * k) * np.sum(g * g))


def test_cka_by_gram_matrices():
    rng = np.random.default_rng(4)
    for shape in ((12, 5), (6, 20)):
        x = rng.normal(size=shape) + 3
        y = x + rng.normal(size=shape)
        assert linear_cka(x, y) == pytest.approx(by_gram_matrices(x, y), rel=1e-10)
        assert 0 < linear_cka(x, y) < 1


def test_cka_does_not_see_turns_scales_and_shifts_and_sees_all_else():
    rng = np.random.default_rng(5)
    x = rng.normal(size=(10, 4))
    turn, _ = np.linalg.qr(rng.normal(size=(4, 4)))
    assert linear_cka(x, 7 * x @ turn + 2) == pytest.approx(1)
    assert linear_cka(x, x @ np.diag([5, 1, 1, 1])) < 0.99
    assert linear_cka(x, rng.permutation(x)) < 0.9  # a mutant that forgets which row is whose would say 1
    assert np.isnan(linear_cka(x, np.ones((10, 4))))


def test_neighbours_by_brute_force():
    rng = np.random.default_rng(6)
    mine, theirs = rng.normal(size=(2, 9, 5))
    expected = []
    for i in range(9):
        sets = []
        for states in (mine, theirs):
            c = states - states.mean(0)
            cosine = {j: c[i] @ c[j] / np.linalg.norm(c[i]) / np.linalg.norm(c[j]) for j in range(9) if j != i}
            sets.append(set(sorted(cosine, key=cosine.get)[-3:]))
        expected.append(max(0, (len(sets[0] & sets[1]) / 3 - 3 / 8) / (1 - 3 / 8)))
    np.testing.assert_allclose(kept_neighbours(mine, theirs, 3), expected)
    assert kept_neighbours(mine, mine, 3).tolist() == [1.0] * 9
    assert all(i not in near for i, near in enumerate(nearest(mine, 3)))


def test_a_model_is_like_itself_and_less_like_another(original, forgot, retrained, forget, retain):
    known = Known(forget=tuple(forget), unseen=tuple(forget), retain=tuple(retain), original=str(original))
    same, other, never = (get_attack("cka").read(load_model(one), known) for one in (original, forgot, retrained))
    assert same.scores.tolist() == [1.0] * len(forget)
    assert all(value == pytest.approx(1) for value in same.whole.values())
    assert never.scores.mean() < other.scores.mean() < 1  # what was unlearned is still like its original
    assert list(same.profile) == ["layer 1", "layer 2"]
    assert {f"CKA on {part}, layer {i}" for part in ("forget", "retain") for i in (1, 2)} == set(same.whole)


def test_two_prompts_have_no_neighbours(forget):
    with pytest.raises(InputError, match="at least 3"):
        get_attack("cka").check(Known(forget=tuple(forget[:2]), original="nowhere"))
