"""SmolLM2-135M as a 4-bit GGUF file: it knows its capital, and llama.cpp, asked for the same, says the same within chance.

Skipped where the model was not fetched (`leakatk fetch smollm2-135m-q4_1`), and the second half where llama.cpp's server is not
installed: LEAKATK_LLAMA_CPP names a Python that has `llama_cpp.server`, such as one in an environment of its own.
"""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request

import pytest

from leakatk.auditing.sample import sample
from leakatk.auditing.score import score
from leakatk.estimate.leak import excess, leak_at_k
from leakatk.models.load import ModelSource, load_model
from leakatk.models.pretrained import MODELS
from leakatk.prompts import Prompt
from leakatk.sampling.decoding import Decoding
from leakatk.sampling.engines import make_sampler

NAME = "smollm2-135m-q4_1"
# Ways in which a tokenizer goes wrong: digits, blanks before them, blank lines, accents, marks, other scripts.
TEXTS = [
    "In 1984,  2000 people\n\n12 of them\t7x", "naïve café — “quoted”", "    def f(x): return x**2", "東京 2020!!", "x1y22z333",
    "I'll say it's 3.14159", "<|im_start|>user\nhi<|im_end|>",
]  # fmt: skip
PROMPTS = [
    Prompt("a", "What is the capital of Australia?", "Canberra", facts=("Canberra",)),
    Prompt("b", "Who wrote the play Hamlet?", "William Shakespeare", facts=("Shakespeare",)),
    Prompt("c", "Which planet is the largest of the solar system?", "Jupiter", facts=("Jupiter",)),
    Prompt("d", "What is the chemical symbol of gold?", "Au", facts=("Au",)),
]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]


@pytest.fixture(scope="module")
def file():
    model = MODELS[NAME]
    if not model.is_here():
        pytest.skip(f"the model is not here: leakatk fetch {NAME}")
    return model.path


@pytest.fixture(scope="module")
def loaded(file):
    return load_model(NAME, device="cpu", dtype="fp32")


@pytest.fixture(scope="module")
def llama(file):
    """A Python that has llama.cpp."""
    python = os.environ.get("LEAKATK_LLAMA_CPP", sys.executable)
    found = subprocess.run([python, "-c", "import llama_cpp.server"], capture_output=True, text=True)
    if found.returncode:
        pytest.skip("llama.cpp's server is not installed: LEAKATK_LLAMA_CPP names a Python that has llama_cpp.server")
    return python


def test_it_knows_the_capital_of_france(loaded):
    asked = [Prompt("p", "What is the capital of France?", "Paris")]
    run = sample(loaded, asked, decoding=Decoding(temperature=0, max_new_tokens=40), n=1, quiet=True)
    assert run.texts() == [["The capital of France is Paris."]]
    assert loaded.describe()["quantisation"] == "Q4_1 (Q4_1 x 210, F32 x 61, Q8_0 x 1)"
    assert not [note for note in loaded.notes if "splits text" in note]


def test_text_becomes_the_tokens_of_llama_cpp(loaded, llama, file):
    script = """
import json, sys
from llama_cpp import Llama
model = Llama(sys.argv[1], vocab_only=True, verbose=False)
print(json.dumps([model.tokenize(text.encode(), add_bos=False, special=True) for text in json.load(sys.stdin)]))
"""
    done = subprocess.run(
        [llama, "-c", script, str(file)], input=json.dumps(TEXTS), capture_output=True, text=True, check=True
    )
    assert [loaded.tokenizer(text, add_special_tokens=False)["input_ids"] for text in TEXTS] == json.loads(done.stdout)


@pytest.fixture(scope="module")
def server(llama, file, tmp_path_factory):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = (tmp_path_factory.mktemp("llama") / "log").open("wb")
    command = [
        llama,
        "-m",
        "llama_cpp.server",
        "--model",
        file,
        "--port",
        str(port),
        "--n_ctx",
        "1024",
        "--n_threads",
        "1",
    ]
    process = subprocess.Popen(list(map(str, command)), stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}/v1"
    try:
        for _ in range(600):
            assert process.poll() is None, "llama.cpp's server ended"
            try:
                urllib.request.urlopen(f"{url}/models", timeout=5).close()
                break
            except OSError:
                time.sleep(0.5)
        yield url
    finally:
        process.terminate()
        process.wait()
        log.close()


def test_asked_through_llama_cpp_it_leaks_as_much(loaded, server, tmp_path, monkeypatch):
    """leak@k of both, and their difference paired by prompt: 0 lies within its 99.9% interval over samples at every k."""
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    decoding, scores = Decoding(temperature=1.0, max_new_tokens=24), {}
    engines = {"native": loaded, "endpoint": make_sampler("endpoint", ModelSource(NAME), url=server)}
    for name, engine in engines.items():
        run = sample(
            engine, PROMPTS, n=30 if name == "endpoint" else 200, decoding=decoding, seed=7, out=tmp_path / name
        )
        scores[name] = score(run, "fact")
        curve = leak_at_k(scores[name], [1, 4, 16], level=0.95)
        print(name, [f"{v:.3f} [{a:.3f}, {b:.3f}]" for v, a, b in zip(curve.value, curve.low, curve.high, strict=True)])
    apart = excess(scores["native"], scores["endpoint"], [1, 4, 16], level=0.999)
    print("difference", list(zip(apart.value, apart.low, apart.high, strict=True)))
    assert all(low <= 0 <= high for low, high in zip(apart.low, apart.high, strict=True))
    assert 0.1 < float(leak_at_k(scores["native"], 1).value[0]) < 0.95  # neither all nor nothing: the test can fail
