import pytest
import torch

from leakatk.attacks import get_attack
from leakatk.attacks.activations import logits, texts
from leakatk.attacks.graft import last_parameters
from leakatk.errors import InputError
from leakatk.models.load import load_model
from leakatk.prompts import Known
from tests.tiny import save_tiny_model


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    place = tmp_path_factory.mktemp("graft")
    return [save_tiny_model(place / str(seed), seed=seed) for seed in (0, 1)]


def test_what_is_copied_is_the_last_layers_the_norm_and_the_output(two):
    mine, other = (load_model(one, device="cpu") for one in two)
    before = {name: value.clone() for name, value in mine.model.state_dict().items()}
    with torch.no_grad():
        for value in (other.model.model.norm.weight, mine.model.model.norm.weight):
            value.copy_(torch.rand_like(value))
    other.model.save_pretrained(two[1])
    get_attack("graft").apply(mine, Known(original=str(two[1])))
    after, theirs = mine.model.state_dict(), other.model.state_dict()
    for name in before:
        copied = "layers.1." in name or name == "model.norm.weight"  # the output layer is tied to the embeddings
        assert torch.equal(after[name], theirs[name] if copied else before[name]), name


def test_with_every_layer_it_is_the_original(two):
    mine, other = (load_model(one, device="cpu") for one in two)
    with torch.no_grad():
        mine.model.model.embed_tokens.weight.copy_(other.model.model.embed_tokens.weight)
    get_attack("graft:layers=2").apply(mine, Known(original=str(two[1])))
    given = texts(mine, [([5, 9, 33], [0, 1, 2])])
    assert torch.equal(logits(mine, given), logits(other, given))


def test_untied_embeddings_stay(two):
    model = load_model(two[0], device="cpu").model
    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.clone())
    found = last_parameters(model, 0)
    assert set(found) == {"model.norm.weight", "lm_head.weight"}
    with pytest.raises(InputError, match="2 layers"):
        last_parameters(model, 3)
