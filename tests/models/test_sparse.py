"""The sparse autoencoder: its formula a second time in NumPy, planted directions found again, files that are refused."""

import numpy as np
import pytest
import torch

from leakatk.errors import InputError, RunError
from leakatk.files.checksums import INDEX
from leakatk.models.sparse import (
    FILE,
    SparseAutoencoder,
    SparseSettings,
    fit_sparse,
    load_sparse,
    measure,
    objective,
    save_sparse,
)

WIDTH, PLANTED, ACTIVE = 16, 24, 2


@pytest.fixture(scope="module")
def planted():
    """(directions, states): each state is the sum of two of 24 directions in 16 dimensions, about an offset."""
    rng = np.random.default_rng(3)
    atoms = rng.normal(size=(PLANTED, WIDTH))
    atoms /= np.linalg.norm(atoms, axis=1, keepdims=True)
    codes = np.zeros((3000, PLANTED))
    for row in codes:
        row[rng.choice(PLANTED, size=ACTIVE, replace=False)] = rng.uniform(1, 2, size=ACTIVE)
    states = codes @ atoms + rng.normal(size=WIDTH)
    return atoms, torch.tensor(states, dtype=torch.float32)


SETTINGS = SparseSettings(
    features=32, top=ACTIVE, steps=800, batch=128, learning_rate=1e-2, auxk=1 / 32, dead_after=1000
)


@pytest.fixture(scope="module")
def trained(planted):
    return fit_sparse(planted[1], SETTINGS)


def some(features=9, top=3, seed=0):
    torch.manual_seed(seed)
    made = SparseAutoencoder(5, features, top)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(torch.randn_like(parameter))
    return made


def by_hand(sparse, state):
    """(features, what is said of the state), entry by entry."""
    encoder, offset, decoder, bias = (
        getattr(sparse, name).detach().double().numpy() for name in ("encoder", "encoder_bias", "decoder", "bias")
    )
    full = np.array([max(0.0, row @ (state - bias) + e) for row, e in zip(encoder, offset, strict=True)])
    kept = np.zeros_like(full)
    for place in sorted(range(len(full)), key=lambda i: -full[i])[: sparse.top]:
        kept[place] = full[place]
    return full, kept, sum(f * row for f, row in zip(kept, decoder, strict=True)) + bias


def test_the_formula_by_hand():
    sparse = some()
    states = torch.randn(4, 7, 5)
    features, said = sparse.encode(states), sparse(states)
    for place in np.ndindex(4, 7):
        _, kept, wanted = by_hand(sparse, states[place].double().numpy())
        np.testing.assert_allclose(features[place].detach(), kept, atol=1e-5)
        np.testing.assert_allclose(said[place].detach(), wanted, atol=1e-5)
    assert int((features > 0).sum(-1).max()) == 3


@pytest.mark.parametrize("auxk", [0.0, 0.5])
def test_the_loss_by_hand(auxk):
    """With auxk, silent features alone fit what is left over; nothing of it reaches the others."""
    sparse, states = some(), torch.randn(6, 5)
    dead = torch.tensor([True, False, True, False, False, True, True, False, False])
    loss, used = objective(sparse, states, dead, auxk)
    total, seen = 0.0, np.zeros(9, dtype=bool)
    decoder = sparse.decoder.detach().double().numpy()
    for state in states.double().numpy():
        full, kept, said = by_hand(sparse, state)
        left = state - said
        spare = np.zeros(5)
        silent = sorted((i for i in range(9) if dead[i]), key=lambda i: -full[i])[:3]
        for i in silent:
            spare = spare + full[i] * decoder[i]
        total += (left @ left + auxk * (left - spare) @ (left - spare)) / 6
        seen |= kept > 0
    assert loss.item() == pytest.approx(total, rel=1e-5)
    assert used.tolist() == seen.tolist()


def cosines(sparse, atoms):
    """For each planted direction the cosine of the nearest learned one."""
    return (atoms @ sparse.decoder.double().numpy().T).max(axis=1)


def test_planted_directions_are_found_again(planted, trained):
    atoms, states = planted
    assert np.mean(cosines(trained, atoms) > 0.95) > 0.85
    assert measure(trained, states).variance_explained > 0.95
    # Without training nothing is found: the check would fail.
    begun = fit_sparse(states, SparseSettings(features=32, top=ACTIVE, steps=1, learning_rate=1e-9))
    assert np.mean(cosines(begun, atoms) > 0.95) < 0.2


def test_what_silent_features_learn_is_theirs_alone():
    """Without auxk they get no gradient where they are not used; with it the gradients of the others stay as they are."""
    states, dead = torch.randn(6, 5), torch.zeros(9, dtype=torch.bool)
    used = objective(some(), states, dead, 0.0)[1]
    dead = ~used
    assert dead.any()
    slopes = {}
    for auxk in (0.0, 1 / 32):
        sparse = some()
        objective(sparse, states, dead, auxk)[0].backward()
        slopes[auxk] = sparse.decoder.grad
    assert slopes[0.0][dead].abs().max() == 0
    assert slopes[1 / 32][dead].abs().max() > 0
    torch.testing.assert_close(slopes[1 / 32][used], slopes[0.0][used])


def test_its_numbers_by_hand(planted):
    sparse, states = some(features=40, top=2), torch.randn(50, 5) + 2
    found = measure(sparse, states)
    error, used, seen = 0.0, 0, np.zeros(40, dtype=bool)
    rows = states.double().numpy()
    for row in rows:
        _, kept, said = by_hand(sparse, row)
        error += ((row - said) ** 2).sum()
        used += (kept > 0).sum()
        seen |= kept > 0
    assert found.variance_explained == pytest.approx(1 - error / ((rows - rows.mean(0)) ** 2).sum(), rel=1e-5)
    assert (found.used, found.dead, found.features, found.states) == (used / 50, 40 - seen.sum(), 40, 50)
    assert "features dead" in str(found)
    assert np.isnan(measure(sparse, torch.ones(3, 5)).variance_explained)


def test_directions_have_length_one_and_training_repeats(planted, trained):
    np.testing.assert_allclose(trained.decoder.norm(dim=1), 1, atol=1e-5)
    short = SparseSettings(features=32, top=2, steps=5)
    one, two = fit_sparse(planted[1], short), fit_sparse(planted[1], short)
    other = fit_sparse(planted[1], SparseSettings(features=32, top=2, steps=5, seed=1))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert not torch.equal(one.decoder, other.decoder)
    assert not any(parameter.requires_grad for parameter in one.parameters())
    assert fit_sparse(planted[1], SparseSettings(steps=1)).features == 32 * WIDTH


def test_it_is_saved_and_loaded(trained, tmp_path):
    found, about = load_sparse(save_sparse(trained, tmp_path / "sae", {"layer": 3}))
    states = torch.randn(9, WIDTH)
    assert torch.equal(found(states), trained(states))
    assert (found.top, about) == (ACTIVE, {"layer": 3})


def test_a_damaged_file_is_refused(trained, tmp_path):
    with pytest.raises(InputError, match=r"holds no sparse autoencoder"):
        load_sparse(tmp_path)
    file = save_sparse(trained, tmp_path / "sae") / FILE
    whole = file.read_bytes()
    for wrong in (whole[: len(whole) // 2], whole[:-1] + bytes([whole[-1] ^ 1]), b"no"):
        file.write_bytes(wrong)
        with pytest.raises(RunError, match=r"is damaged"):
            load_sparse(tmp_path / "sae")
    (file.parent / INDEX).unlink()
    with pytest.raises(InputError, match=r"no whole sparse autoencoder"):
        load_sparse(tmp_path / "sae")


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: SparseSettings(top=0), "are at least 1"),
        (lambda: SparseSettings(features=4, top=5), "top = 5 of 4 features"),
        (lambda: SparseSettings(learning_rate=0), "learning_rate is above 0"),
        (lambda: SparseAutoencoder(4, 4, 5), "top = 5 of 4 features"),
        (lambda: fit_sparse(torch.zeros(1, 3)), r"at least two states \(N, d\), got the shape \(1, 3\)"),
        (lambda: fit_sparse(torch.full((4, 3), float("nan"))), "infinite or no number"),
    ],
)
def test_what_cannot_be_trained(make, says):
    with pytest.raises(InputError, match=says):
        make()
