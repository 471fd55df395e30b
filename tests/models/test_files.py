"""Model directories made to do harm, or damaged: each is one sentence, in bounded time and memory, and no code of theirs runs."""

import json
import os
import pickle
import shutil
import signal
import struct

import pytest

from leakatk.errors import ModelError
from leakatk.models.files import check_sizes, read_header
from leakatk.models.load import check_source, load_model
from tests.families import FAMILIES, Family, model_of, tokenizer_of

ARCHITECTURES = ("plain-llama", "plain-gpt2", "qwen", "plain-neox")


@pytest.fixture(scope="session")
def healthy(tmp_path_factory):
    """Architecture -> a directory of a random model."""
    made = {}

    def get(name):
        if name not in made:
            family: Family = FAMILIES[name]
            tokenizer = tokenizer_of(family.style, family)
            made[name] = tmp_path_factory.mktemp(name)
            model_of(family, tokenizer).save_pretrained(made[name])
            tokenizer.save_pretrained(made[name])
        return made[name]

    return get


@pytest.fixture(autouse=True)
def not_for_ever():
    """A hang is a failure, not a stuck suite."""
    if not hasattr(signal, "setitimer"):
        yield
        return

    def stop(*_):
        raise TimeoutError("the directory made the loader hang")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, 90)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def edited(name, **values):
    """A mutation that sets keys of a JSON file."""

    def change(path):
        content = json.loads((path / name).read_text())
        for key, value in values.items():
            content[key] = value
        (path / name).write_text(json.dumps(content))

    return change


def sized(**values):
    """A mutation of the config's sizes, under the names that GPT-2 has for them too."""
    theirs = {"num_hidden_layers": "n_layer", "hidden_size": "n_embd", "num_attention_heads": "n_head",
              "max_position_embeddings": "n_positions"}  # fmt: skip

    def change(path):
        content = json.loads((path / "config.json").read_text())
        for key, value in values.items():
            content[theirs.get(key, key) if content["model_type"] == "gpt2" else key] = value
        (path / "config.json").write_text(json.dumps(content))

    return change


def written(name, content):
    def change(path):
        (path / name).unlink(missing_ok=True)
        (path / name).write_bytes(content if isinstance(content, bytes) else content.encode())

    return change


def cut(name, share):
    def change(path):
        whole = (path / name).read_bytes()
        (path / name).write_bytes(whole[: int(len(whole) * share)])

    return change


def without(name):
    return lambda path: (path / name).unlink()


def linked(name, to):
    def change(path):
        (path / name).unlink(missing_ok=True)
        (path / name).symlink_to(to)

    return change


def pipe(name):
    def change(path):
        (path / name).unlink(missing_ok=True)
        os.mkfifo(path / name)

    return change


def folder(name):
    def change(path):
        (path / name).unlink(missing_ok=True)
        (path / name).mkdir()

    return change


def header(change_header):
    """A mutation of the safetensors header."""

    def change(path):
        whole = (path / "model.safetensors").read_bytes()
        [length] = struct.unpack("<Q", whole[:8])
        entries = json.loads(whole[8 : 8 + length])
        change_header(entries)
        text = json.dumps(entries).encode()
        (path / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + whole[8 + length :])

    return change


def first(entries):
    return next(value for key, value in entries.items() if key != "__metadata__")


class Evil:
    def __reduce__(self):
        return os.mkdir, ("pwned",)


EVIL_CODE = "import os\nos.mkdir('pwned')\nclass Evil: pass\n"


def remote_code(path):
    (path / "evil.py").write_text(EVIL_CODE)
    edited(
        "config.json", auto_map=dict.fromkeys(("AutoConfig", "AutoModelForCausalLM"), "evil.Evil"), model_type="evil"
    )(path)


def remote_tokenizer(path):
    (path / "evil.py").write_text(EVIL_CODE)
    edited("tokenizer_config.json", auto_map={"AutoTokenizer": ["evil.Evil", "evil.Evil"]}, tokenizer_class="Evil")(
        path
    )
    (path / "tokenizer.json").unlink()


def pickled(path):
    (path / "model.safetensors").unlink()
    (path / "pytorch_model.bin").write_bytes(pickle.dumps(Evil()))


def pickled_as_safetensors(path):
    (path / "model.safetensors").write_bytes(pickle.dumps(Evil()))


def sharded(weight_map):
    def change(path):
        (path / "model.safetensors").rename(path / "model-00001-of-00002.safetensors")
        index = {"metadata": {}, "weight_map": weight_map}
        (path / "model.safetensors.index.json").write_text(json.dumps(index))

    return change


def adapter(**values):
    """The directory becomes an adapter of a model elsewhere in it."""

    def change(path):
        base = path / "base"
        base.mkdir()
        for file in [f for f in path.iterdir() if f.is_file()]:
            file.rename(base / file.name)
        config = {
            "peft_type": "LORA",
            "task_type": "CAUSAL_LM",
            "base_model_name_or_path": str(base),
            "r": 4,
            "target_modules": ["q_proj"],
        }
        (path / "adapter_config.json").write_text(json.dumps(config | values))
        entry = {"dtype": "F32", "shape": [4, 2], "data_offsets": [0, 32]}
        text = json.dumps({"base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight": entry}).encode()
        (path / "adapter_model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + bytes(32))

    return change


DEEP = "[" * 200_000
LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "a" * 64 + "\nsize 2471645608\n"
HUGE = 10**400

# Name -> (what is done to a healthy directory, what the sentence must say).
HOSTILE = {
    # files
    "git-lfs weights": (written("model.safetensors", LFS), "git-lfs"),
    "git-lfs tokenizer": (written("tokenizer.json", LFS), "git-lfs"),
    "git-lfs config": (written("config.json", LFS), "git-lfs"),
    "cut weights": (cut("model.safetensors", 0.5), "model.safetensors is cut short"),
    "cut weights by one byte": (cut("model.safetensors", 0.99999), "model.safetensors is cut short"),
    "cut header": (cut("model.safetensors", 0.001), "model.safetensors"),
    "empty weights": (written("model.safetensors", b""), "model.safetensors is no whole"),
    "cut config": (cut("config.json", 0.5), "config.json is not valid JSON"),
    "empty config": (written("config.json", b""), "config.json is not valid JSON"),
    "cut tokenizer": (cut("tokenizer.json", 0.5), "Cannot load"),
    "no weights": (without("model.safetensors"), "no \\*.safetensors"),
    "no config": (without("config.json"), "no config.json"),
    "config of zeros": (written("config.json", bytes(1000)), "not valid JSON"),
    "config is a list": (written("config.json", "[1, 2]"), "holds list"),
    "config is a number": (written("config.json", "1e999"), "holds float"),
    "config is deep": (written("config.json", DEEP), "too deep|not valid JSON"),
    "generation config is deep": (written("generation_config.json", DEEP), "too deep|not valid JSON"),
    "tokenizer config is deep": (written("tokenizer_config.json", DEEP), "too deep|not valid JSON"),
    "tokenizer is deep": (written("tokenizer.json", DEEP), "Cannot load"),
    "config of thousands of digits": (written("config.json", '{"a": ' + "9" * 6000 + "}"), "not valid JSON"),
    "config is enormous": (written("config.json", b'{"a": "' + b"x" * (1 << 25) + b'"}'), "bytes"),
    "config is UTF-16": (written("config.json", "{}".encode("utf-16")), "."),
    "weights are a pipe": (pipe("model.safetensors"), "no regular file"),
    "config is a pipe": (pipe("config.json"), "no regular file"),
    "tokenizer is a pipe": (pipe("tokenizer.json"), "no regular file"),
    "template is a pipe": (pipe("chat_template.jinja"), "no regular file"),
    "config is a directory": (folder("config.json"), "no regular file"),
    "weights are a directory": (folder("model.safetensors"), "no regular file"),
    "weights are a loop of links": (linked("model.safetensors", "model.safetensors"), "cannot be read"),
    "config is a loop of links": (linked("config.json", "config.json"), "cannot be read"),
    "weights are a broken link": (linked("model.safetensors", "nowhere"), "cannot be read"),
    "weights without end": (linked("model.safetensors", "/dev/zero"), "no regular file"),
    # headers
    "header of 10^18 bytes": (written("model.safetensors", struct.pack("<Q", 10**18) + b"{}"), "no whole safetensors"),
    "header is a list": (written("model.safetensors", struct.pack("<Q", 2) + b"[]"), "damaged safetensors header"),
    "header is deep": (written("model.safetensors", struct.pack("<Q", len(DEEP)) + DEEP.encode()), "damaged safetensors header"),
    "shape of words": (header(lambda h: first(h).update(shape=["a"])), "damaged safetensors header"),
    "shape of 10^15": (header(lambda h: first(h).update(shape=[10**15, 10**15])), "."),
    "weights are whole numbers": (header(lambda h: [e.update(dtype="I32") for k, e in h.items() if k[0] != "_"]), "names no quantisation"),
    "offsets beyond the file": (header(lambda h: first(h).update(data_offsets=[0, 10**15])), "cut short"),
    "offsets that overlap": (header(lambda h: first(h).update(data_offsets=[1, 2])), "."),
    "unknown dtype": (header(lambda h: first(h).update(dtype="X9")), "."),
    "shard outside": (sharded({"a": "../../../etc/passwd"}), "which is missing"),
    "shard missing": (sharded({"a": "model-00002-of-00002.safetensors"}), "which is missing"),
    # configs
    "a million layers": (sized(num_hidden_layers=10**6), "num_hidden_layers|n_layer"),
    "a thousand layers": (sized(num_hidden_layers=1000), "num_hidden_layers|n_layer"),
    "no layers": (sized(num_hidden_layers=0), "num_hidden_layers|n_layer"),
    "minus one layer": (sized(num_hidden_layers=-1), "num_hidden_layers|n_layer"),
    "width of 10^9": (sized(hidden_size=10**9), "more than its weights hold"),
    "vocabulary of 10^9": (sized(vocab_size=10**9), "vocab_size"),
    "vocabulary of a googol": (sized(vocab_size=HUGE), "vocab_size"),
    "10^9 heads": (sized(num_attention_heads=10**9), "more than its weights hold"),
    "no heads": (sized(num_attention_heads=0), "."),
    "three heads": (sized(num_attention_heads=3), "."),
    "width is a word": (sized(hidden_size="wide"), "not a whole number"),
    "width is a fraction": (sized(hidden_size=64.5), "not a whole number"),
    "layers are a list": (sized(num_hidden_layers={"a": 1}), "."),
    "10^12 positions": (sized(max_position_embeddings=10**12), "position"),
    "an empty config": (lambda path: written("config.json", "{}")(path), "Cannot load"),
    "only a type": (lambda path: written("config.json", json.dumps({"model_type": "llama"}))(path), "."),
    "unknown type": (edited("config.json", model_type="nothing-there", architectures=["Nothing"]), "Cannot load"),
    "type is a list": (edited("config.json", model_type=["llama"]), "."),
    "bitsandbytes": (edited("config.json", quantization_config={"quant_method": "bitsandbytes", "load_in_4bit": True}), "quantised with bitsandbytes.*pip install it"),
    "gptq": (edited("config.json", quantization_config={"quant_method": "gptq", "bits": 4}), "quantised with gptq.*pip install it"),
    "awq": (edited("config.json", quantization_config={"quant_method": "awq", "bits": 4}), "quantised with awq.*pip install it"),
    "unknown quantisation": (edited("config.json", quantization_config={"quant_method": "squash"}), "squash"),
    "quantisation is a word": (edited("config.json", quantization_config="four bits"), "."),
    "end token is a word": (edited("generation_config.json", eos_token_id="</s>"), "."),
    "end token of a googol": (edited("generation_config.json", eos_token_id=HUGE), "."),
    "end token beyond the embedding": (edited("generation_config.json", eos_token_id=[10**6]), "no row of its embedding"),
    # tokenizers and templates
    "tokenizer is a list": (written("tokenizer.json", "[]"), "Cannot load"),
    "tokenizer of an unknown kind": (edited("tokenizer.json", model={"type": "Magic"}), "Cannot load"),
    "no tokenizer": (without("tokenizer.json"), "."),
    "endless template": (
        written("chat_template.jinja", "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"),
        "does not end",
    ),
    "template of 2 MB": (written("chat_template.jinja", b" " * (1 << 21)), "bytes, and at most"),
    "template that raises": (written("chat_template.jinja", "{{ raise_exception('no\nway') }}"), "no"),
    "template that calls itself": (written("chat_template.jinja", "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}"), "fails"),
    "template of another language": (written("chat_template.jinja", "<?php echo 1; ?> {%"), "fails"),
    # code
    "remote code": (remote_code, "Cannot load"),
    "remote tokenizer": (remote_tokenizer, "."),
    "pickle": (pickled, "pickle"),
    "pickle called safetensors": (pickled_as_safetensors, "no whole safetensors|damaged"),
    # adapters
    "adapter without its base": (adapter(base_model_name_or_path="/nowhere/at/all"), "no such model directory"),
    "adapter of a number": (adapter(base_model_name_or_path=7), "names no base model"),
    "adapter of itself": (adapter(base_model_name_or_path="."), "."),
    "adapter of rank 10^9": (adapter(r=10**9), "r is 1000000000"),
    "adapter of rank a half": (adapter(r=0.5), "r is 0.5"),
    "adapter of rank 10^9 in one layer": (adapter(rank_pattern={"q_proj": 10**9}), "rank_pattern holds no ranks"),
    "adapter of an unknown kind": (adapter(peft_type="MAGIC"), "Cannot load"),
    "adapter that imports": (adapter(megatron_config={"a": 1}, megatron_core="evil"), "imports code"),
    "adapter of other shapes": (adapter(), "."),
    "adapter for nothing": (adapter(target_modules=["nothing"]), "."),
}  # fmt: skip


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_directories(name, architecture, healthy, tmp_path, monkeypatch):
    monkeypatch.setattr("leakatk.models.rendering.SECONDS", 2.0)
    monkeypatch.setattr("leakatk.models.files.is_installed", lambda package: False)
    monkeypatch.chdir(tmp_path)
    place = shutil.copytree(healthy(architecture), tmp_path / "model")
    change, says = HOSTILE[name]
    change(place)
    with pytest.raises(ModelError, match=says) as caught:
        load_model(place, device="cpu")
    said = str(caught.value)
    assert "\n" not in said
    assert 20 < len(said) < 1200
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_healthy_one_loads(architecture, healthy):
    check_source(healthy(architecture))
    assert load_model(healthy(architecture), device="cpu").notes == []


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"vocab_size": 100}, "vocab_size is 100 at a width of 4"),
        ({"model_type": "gpt2", "n_positions": 100}, "n_positions is 100 at a width of 4"),
        ({"model_type": "llama", "max_position_embeddings": 100}, None),  # computed, not stored
    ],
)
def test_sizes_that_fit_alone_and_not_with_the_width(config, says, tmp_path):
    weights = [{"a": ("F32", (10, 4))}]
    if says is None:
        check_sizes(tmp_path, {"hidden_size": 4, **config}, weights)
        return
    with pytest.raises(ModelError, match=says):
        check_sizes(tmp_path, {"hidden_size": 4, **config}, weights)


def test_a_header_beyond_the_formats_limit_is_not_read(tmp_path, monkeypatch):
    whole = struct.pack("<Q", 20) + b"{}".ljust(20)
    (tmp_path / "a.safetensors").write_bytes(whole)
    assert read_header(tmp_path / "a.safetensors") == {}
    monkeypatch.setattr("leakatk.models.files.MOST_HEADER", 19)
    with pytest.raises(ModelError, match="no whole safetensors file"):
        read_header(tmp_path / "a.safetensors")
