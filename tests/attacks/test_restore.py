import pytest
import torch
from torch import nn

from leakatk.attacks.restore import kept_weights


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(5, 4)
        self.body = nn.Linear(4, 4).to(torch.bfloat16)
        self.head = nn.Linear(4, 5, bias=False)
        self.head.weight = self.embed.weight
        self.register_buffer("table", torch.rand(3), persistent=False)
        self.body.bias.requires_grad_(False)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Small().eval()


def snapshot(model):
    """Bits, precision and wishes for gradients of everything a model holds."""
    named = [*model.named_parameters(remove_duplicate=False), *model.named_buffers()]
    return {name: (t.dtype, t.requires_grad, t.detach().clone().view(torch.uint8).tolist()) for name, t in named}


def change(model):
    model.train()
    model.float()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter)).requires_grad_(True)
        model.table.fill_(9)
    model.body.weight = nn.Parameter(torch.zeros(4, 4))
    model.head.weight.grad = torch.ones(5, 4)


def test_all_is_as_before_bit_for_bit(model):
    before, objects = snapshot(model), [id(parameter) for parameter in model.parameters()]
    with kept_weights(model):
        change(model)
        assert snapshot(model) != before
    assert snapshot(model) == before
    assert [id(parameter) for parameter in model.parameters()] == objects
    assert model.head.weight is model.embed.weight
    assert model.head.weight.grad is None
    assert not model.training


def stopped(model):
    with kept_weights(model):
        change(model)
        raise KeyboardInterrupt


def test_also_after_an_error(model):
    before = snapshot(model)
    with pytest.raises(KeyboardInterrupt):
        stopped(model)
    assert snapshot(model) == before


def test_again_and_again(model):
    before = snapshot(model)
    for _ in range(3):
        with kept_weights(model):
            change(model)
    assert snapshot(model) == before


def test_changed_modules_are_a_fault(model):
    with pytest.raises(ValueError, match="changed the modules"), kept_weights(model):
        model.extra = nn.Linear(2, 2)
