"""A server asked with a key that must not be told, through the client and through the engine."""

from __future__ import annotations

import math
from typing import Any

from leakatk.models.load import ModelSource
from leakatk.prompts import Prompt
from leakatk.remote.client import Limits, ask, connect
from leakatk.sampling.base import Request
from leakatk.sampling.decoding import Decoding
from leakatk.sampling.endpoint import EndpointSampler
from tests.hostile_servers import RawServer

KEY = "sk-very-secret-0123456789"


BODY = {"model": "toy", "messages": [{"role": "user", "content": "Where was Ada born?"}], "max_tokens": 8}


def asked(server: RawServer, *, timeout: float = 60.0, url: str = "") -> Any:
    made = connect(
        url or server.url,
        key_env="OPENAI_API_KEY",
        timeout=timeout,
        who="It",
        extra="endpoint",
        option="--url URL",
        model="toy",
    )
    try:
        return ask(made, BODY, Limits(), math.nan)
    finally:
        made.close()


def draw(url: str, **options: Any) -> list[Any]:
    options = {"backoff": 0.001, "timeout": 60.0, "tries": 3, **options}
    sampler = EndpointSampler(ModelSource("toy"), url=url, **options)
    requests = [Request(Prompt("p", "Where was Ada born?", "Zorvik"), [0])]
    return [one for batch in sampler.sample(requests, Decoding(max_new_tokens=8), seed=0) for one in batch]
