"""Two processes under `accelerate launch` train the same model as one."""

import copy
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from leakatk.errors import InputError
from leakatk.prompts import save_prompts
from leakatk.unlearning import sharding
from leakatk.unlearning.methods import METHODS
from leakatk.unlearning.settings import TrainSettings
from leakatk.unlearning.trainer import unlearn

# One of each kind: summed losses, a reference, hidden states, two gradients combined, a dual weight kept between steps, stages.
NAMES = ("graddiff", "npo", "rmu", "blur-npo", "ngdiff", "pdu", "task-vector")
SETTINGS = TrainSettings(learning_rate=1e-3, max_steps=4, forget_batch=4, retain_batch=4)

SCRIPT = """
import sys
from pathlib import Path
from accelerate import PartialState
from leakatk.models.load import load_model
from leakatk.models.template import Template
from leakatk.prompts import load_prompts
from leakatk.unlearning import sharding
from leakatk.unlearning.methods import METHODS
from leakatk.unlearning.settings import Check, TrainSettings
from leakatk.unlearning.trainer import unlearn

place = Path(sys.argv[1])
shards, make = [], sharding.sharded
sharding.sharded = lambda *given: shards.append(make(*given)) or shards[-1]

for name in sys.argv[2].split(","):
    method = METHODS[name]
    method = method.with_params(layer=0) if "layer" in method.params else method
    for stops_at in (3, None):  # the first try dies after step 3 and its checkpoint of step 2; the second one goes on
        loaded = load_model(place / "model", device="cpu", template=Template(kind="plain"))

        def check(given, step):
            if step == stops_at:
                raise KeyboardInterrupt
            assert all(p.numel() for p in given.model.parameters())  # whole, whenever somebody looks
            return Check({"weights": sum(float(p.double().sum()) for p in given.model.parameters())})

        try:
            unlearn(
                loaded, load_prompts(place / "forget.jsonl"), load_prompts(place / "retain.jsonl"), method,
                settings=TrainSettings(
                    learning_rate=1e-3, max_steps=4, forget_batch=4, retain_batch=4, check_every=1, checkpoint_every=2
                ),
                out=place / name, seed=3, quiet=True, on_check=check,
            )
        except KeyboardInterrupt:
            assert stops_at
    assert PartialState().num_processes == 2
for model in shards:
    held = sum(p.to_local().numel() for p in model.parameters())
    assert held <= 0.6 * sum(p.numel() for p in model.parameters()), held
print("sharded", len(shards))
"""

WHOLE = ("--multi_gpu",)
SHARDS = ("--use_fsdp", "--fsdp_version", "2", "--fsdp_cpu_ram_efficient_loading", "false")


@pytest.mark.slow
@pytest.mark.parametrize("kind", [WHOLE, SHARDS], ids=["whole", "shards"])
def test_two_processes_equal_one(kind, loaded, base_model, tokenizer, forget, retain, tmp_path):
    base_model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    save_prompts(forget, tmp_path / "forget.jsonl")
    save_prompts(retain, tmp_path / "retain.jsonl")
    script = tmp_path / "run.py"
    script.write_text(SCRIPT)
    # Without a GPU `accelerate launch --cpu` starts one process; this starts two and keeps them on the CPU.
    launch = [sys.executable, "-m", "accelerate.commands.launch", *kind, "--num_processes", "2"]
    launch += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [*launch, str(script), str(tmp_path), ",".join(NAMES)],
        env=environment, cwd=Path.cwd(), capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert ("sharded 0" in done.stdout) == (kind is WHOLE)
    start = base_model.state_dict()
    for name in NAMES:
        loaded.model.load_state_dict(copy.deepcopy(start))
        method = METHODS[name]
        method = method.with_params(layer=0) if "layer" in method.params else method
        one = unlearn(loaded, forget, retain, method, settings=SETTINGS, seed=3, quiet=True)
        two = load_file(tmp_path / name / "model.safetensors")
        # Four steps of Adam move a weight by up to 4e-3; it turns rounding in gradients next to 0 into some 5e-5.
        for key, value in two.items():
            torch.testing.assert_close(
                value,
                loaded.model.state_dict()[key],
                rtol=0,
                atol=1e-4,
                msg=lambda text, at=(name, key): f"{at} {text}",
            )
        log = json.loads((tmp_path / name / "unlearning.json").read_text())["log"]
        for left, right in zip(one.log, log, strict=True):
            assert left["forget"] == pytest.approx(right["forget"], rel=1e-4)
            assert left["grad_norm"] == pytest.approx(right["grad_norm"], rel=2e-3)
        assert any(not torch.equal(start[key], value) for key, value in two.items())


def test_shards_are_refused_where_they_cannot_be(monkeypatch):
    assert not sharding.asked_for()
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    monkeypatch.setenv("FSDP_VERSION", "1")
    with pytest.raises(InputError, match="--fsdp_version 2"):
        sharding.asked_for()
    monkeypatch.setenv("FSDP_VERSION", "2")
    assert sharding.asked_for()
