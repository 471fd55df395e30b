"""Templates that do not end, or write without end, are found in a process of their own."""

from uuid import uuid4

import pytest

from leakatk.errors import ModelError
from leakatk.models import rendering
from leakatk.models.template import Template
from tests.families import FAMILIES, tokenizer_of

NEW = "{{# {} #}}"  # what a template is remembered by is its text: another comment, another template
ENDLESS = {
    "loops": "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "grows": "{% for a in range(99999) %}{{ messages[0]['content'] * 1000 }}{% endfor %}",
    "one long text": "{{ 'a' * 3000000 }}",
    "memory": "{{ ('a' * 99999999999) | length }}",
    "power": "{{ (9 ** (9 ** 9)) | string | length }}",
    "doubles": "{% set ns = namespace(t='abcdefgh') %}{% for a in range(60) %}{% set ns.t = ns.t + ns.t %}{% endfor %}{{ ns.t }}",
}


@pytest.mark.parametrize("name", ENDLESS)
@pytest.mark.parametrize("family", ["qwen", "llama-2", "gemma"])
def test_endless_templates_are_refused(name, family, monkeypatch):
    monkeypatch.setattr(rendering, "SECONDS", 1.0)
    tokenizer = tokenizer_of(FAMILIES[family].style, FAMILIES[family])
    tokenizer.chat_template = NEW.format(uuid4()) + ENDLESS[name] + FAMILIES[family].template
    with pytest.raises(ModelError, match=r"The chat template (does not end|writes more|takes more memory)"):
        Template().prompt_ids(tokenizer, "Who?")


def test_a_large_but_finite_template_is_used():
    tokenizer = tokenizer_of("bytes", FAMILIES["qwen"])
    tokenizer.chat_template = "{# " + "x" * 200_000 + " #}" + FAMILIES["qwen"].template
    assert "Who?" in Template().text(tokenizer, "Who?")


def test_a_template_is_tried_with_its_arguments():
    """Not once it is rendered in this process, which a template without end would never leave."""
    tokenizer = tokenizer_of("bytes", FAMILIES["qwen"])
    tokenizer.chat_template = "{{ 'a' * length }}" + FAMILIES["qwen"].template
    with pytest.raises(ModelError, match="The chat template writes more than"):
        Template(args=(("length", 3_000_000),)).prompt_ids(tokenizer, "Who?")


def test_it_is_tried_once(monkeypatch):
    tokenizer = tokenizer_of("bytes", FAMILIES["qwen"])
    tokenizer.chat_template = NEW.format(uuid4()) + FAMILIES["qwen"].template
    started = []
    real = rendering.subprocess.run
    monkeypatch.setattr(rendering.subprocess, "run", lambda *a, **k: started.append(1) or real(*a, **k))
    for question in ("Who?", "When?", "Where?"):
        Template().pair(tokenizer, question, "Ada.")
    assert len(started) == 1
