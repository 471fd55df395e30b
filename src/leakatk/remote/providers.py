"""Providers of deployed models and their own clients: OpenAI and what speaks its protocol, Azure, Anthropic, Amazon Bedrock.

A request is made once, in OpenAI's form (`leakatk.sampling.asking`), and translated here. What a provider's API has no field for is
refused as a server would refuse it, so that a field which changes the answers is an error and one that is off is left out.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from leakatk.errors import InputError, ModelError, UnknownNameError, first_line
from leakatk.remote.client import OPENAI, Failure, Limits, Server, ask, connect, hidden_in, printable, seconds_of, shown
from leakatk.remote.replies import Said, parse
from leakatk.remote.transport import BadReplyError, bounded_client

_SECRET = re.compile(r"auth|key|token|secret|cookie|password|credential", re.IGNORECASE)
_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")


@dataclass(frozen=True)
class Provider:
    """key_env: the variable with its key.  url_env: that with its address.  url: its address where none is given.  extra: of this
    package, that brings its client.  lacks: fields of a request that its API does not have.  chats: it completes no plain text."""

    key_env: str
    url_env: str
    url: str
    extra: str
    lacks: frozenset[str] = frozenset()
    chats: bool = False


_OTHERS = frozenset({"seed", "min_p", "repetition_penalty", "repeat_penalty", "chat_template_kwargs"})
PROVIDERS = {
    "openai": Provider("OPENAI_API_KEY", "OPENAI_BASE_URL", OPENAI, "endpoint"),
    "azure": Provider("AZURE_OPENAI_API_KEY", "AZURE_OPENAI_ENDPOINT", "", "endpoint"),
    "anthropic": Provider(
        "ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL", "https://api.anthropic.com", "anthropic", _OTHERS, True
    ),
    "bedrock": Provider("", "AWS_ENDPOINT_URL_BEDROCK_RUNTIME", "", "bedrock", _OTHERS | {"top_k"}, True),
}


@dataclass(frozen=True)
class Service:
    """Where a model is asked, and how.

    api: one of `PROVIDERS`.  url: its address; "" is the provider's own.  key_env: variable with the key; "" is the provider's
    own.  api_version: of Azure.  region: of Bedrock; "" is what AWS's own settings say.  headers: further ones of each request,
    a value "env:NAME" being read from that variable.
    """

    api: str = "openai"
    url: str = ""
    key_env: str = ""
    api_version: str = ""
    region: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.api not in PROVIDERS:
            raise UnknownNameError("api of an endpoint", self.api, PROVIDERS)
        if self.api_version and self.api != "azure":
            raise InputError(f"endpoint:api_version goes with api=azure, not with {self.api}.")
        if self.region and self.api != "bedrock":
            raise InputError(f"endpoint:region goes with api=bedrock, not with {self.api}.")

    @property
    def provider(self) -> Provider:
        return PROVIDERS[self.api]

    @property
    def address(self) -> str:
        """What is asked; "" where the provider's own client finds it."""
        return self.url or os.environ.get(self.provider.url_env, "") or self.provider.url

    def connect(self, *, timeout: float, model: str) -> Server:
        """The server, ready to be asked by `ask_by`. ModelError without its client or key, InputError for what it cannot use."""
        if self.api in ("openai", "azure"):
            if self.api == "azure" and not (self.address and self.api_version):
                raise InputError(
                    "Azure needs the resource's address and the version of its API: --url https://NAME.openai.azure.com and "
                    "--engine endpoint:api=azure,api_version=2024-10-21."
                )
            return connect(
                self.address if self.api == "azure" else self.url, key_env=self.key_env or self.provider.key_env,
                timeout=timeout, who="The endpoint engine", extra="endpoint", option="--url URL", model=model,
                headers=filled(self.headers), azure=self.api_version,
            )  # fmt: skip
        return _anthropic(self, timeout, model) if self.api == "anthropic" else _bedrock(self, timeout, model)


def headers_from(given: str | Mapping[str, str]) -> dict[str, str]:
    """ "X-Team=research;X-Key=env:KEY" -> its parts. InputError for another form, or a secret that is written out."""
    if isinstance(given, str):
        parts = [part.partition("=") for part in given.split(";") if part.strip()]
    else:
        parts = [(name, "=", value) for name, value in given.items()]
    found: dict[str, str] = {}
    for name, equals, value in ((name.strip(), equals, value.strip()) for name, equals, value in parts):
        if not equals or not _NAME.fullmatch(name) or not value or not all(" " <= one <= "~" for one in value):
            raise InputError(f"Header {name!r}: write NAME=VALUE, in plain letters, such as X-Team=research.")
        if _SECRET.search(name) and not value.startswith("env:"):
            raise InputError(
                f"Header {name} looks like a secret, which results and shell histories would keep; put it into a variable and "
                f"write {name}=env:VARIABLE."
            )
        found[name] = value
    return found


def filled(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers with the variables read. InputError for one that is not set."""
    found = {}
    for name, value in headers.items():
        if value.startswith("env:"):
            variable = value.removeprefix("env:")
            value = os.environ.get(variable, "").strip()
            if not value or not all(" " <= one <= "~" for one in value):
                raise InputError(
                    f"Header {name} is to be read from {variable}, which is not set, or holds what no header can."
                )
        found[name] = value
    return found


def ask_by(
    server: Server, body: Mapping[str, Any], limits: Limits, most: float, *, chat: bool = True
) -> Said | Failure:
    """`leakatk.remote.client.ask`, whatever the provider: one request in OpenAI's form."""
    if server.api in ("openai", "azure"):
        return ask(server, body, limits, most, chat=chat)
    fields = {**body, **body.get("extra_body", {})}
    if lacking := sorted(PROVIDERS[server.api].lacks & fields.keys()):
        limits.give_back(most)  # nothing is sent
        return Failure(f"the API of {server.api} has no field '{lacking[0]}'", 400, param=lacking[0])
    answer = (_ask_anthropic if server.api == "anthropic" else _ask_bedrock)(server, fields)
    if isinstance(answer, Failure):
        if not answer.foreign:  # a broken one may have been paid for
            limits.settle(most, 0.0)
        return answer
    server.answered = True
    limits.count(most, *answer.tokens)
    return answer


def _turns(fields: Mapping[str, Any]) -> tuple[str, list[dict[str, Any]]]:
    """(system message, the others)."""
    system = [message["content"] for message in fields["messages"] if message["role"] == "system"]
    return "\n\n".join(system), [message for message in fields["messages"] if message["role"] != "system"]


def _key(service: Service) -> str:
    name = service.key_env or service.provider.key_env
    key = os.environ.get(name, "").strip()
    if any(not "!" <= character <= "~" for character in key):
        raise InputError(f"{name} holds a space, a line break or another character that no key has; set it again.")
    if not key and not service.url:
        raise ModelError(f"The endpoint engine needs {name}, or --url URL for your own server.")
    return key


# --- Anthropic ---------------------------------------------------------------------------------------------------


def _anthropic(service: Service, timeout: float, model: str) -> Server:
    try:
        import anthropic
    except ImportError:
        raise ModelError("Anthropic's API needs its client: pip install 'leak-at-k[anthropic]'.") from None
    key, headers = _key(service), filled(service.headers)
    secrets = hidden_in(service.address, key, *headers.values())
    client = anthropic.Anthropic(
        api_key=key or "none", base_url=service.address, max_retries=0, timeout=timeout, default_headers=headers,
        http_client=bounded_client(anthropic, timeout),
    )  # fmt: skip
    url = shown(service.address)
    named = service.key_env or service.provider.key_env
    return Server(client, url, secrets, f"{named}, the model name {model!r} and --url {url}", api="anthropic")


def _ask_anthropic(server: Server, fields: Mapping[str, Any]) -> Said | Failure:
    import anthropic

    system, messages = _turns(fields)
    request: dict[str, Any] = {"model": fields["model"], "messages": messages, "max_tokens": _most(fields)}
    request |= {"system": system} if system else {}
    request |= {"stop_sequences": fields["stop"]} if fields.get("stop") else {}
    # In the body as it is sent: newer clients have no parameters of these names. Off, the filters are not sent: some models
    # refuse a top_p beside a temperature, and without them the API filters nothing.
    off = {"top_p": 1.0, "top_k": 0}
    named = ("temperature", "top_p", "top_k")
    request["extra_body"] = {name: fields[name] for name in named if fields.get(name, off.get(name)) != off.get(name)}
    try:
        raw = server.client.messages.with_raw_response.create(**request)
        server.headers = {str(name).lower(): server.mask(str(value)) for name, value in raw.headers.items()}
        found = server.mask(
            parse(raw.http_response.content.decode("utf-8", "replace"), server.headers.get("content-type", ""))
        )
        return said_by_anthropic(found)
    except (anthropic.AuthenticationError, anthropic.PermissionDeniedError, anthropic.NotFoundError) as error:
        raise ModelError(f"The endpoint refused ({error.status_code}): check {server.check}.") from None
    except anthropic.APIStatusError as error:
        what = f"HTTP {error.status_code}: {printable(server.mask(str(error.message)))}"
        return Failure(what, error.status_code, retry_after=seconds_of(error.response.headers.get("retry-after")))
    except (anthropic.APIError, BadReplyError, ValueError) as error:
        return _broken(server, error, error if isinstance(error, BadReplyError) else error.__cause__ or error)


def said_by_anthropic(body: Mapping[str, Any]) -> Said:
    """What a message of Anthropic's says. BadReplyError for another shape."""
    blocks = body.get("content")
    if not isinstance(blocks, list) or not all(isinstance(block, dict) for block in blocks):
        raise BadReplyError("sends an answer without content")
    usage = body.get("usage") if isinstance(body.get("usage"), dict) else {}
    return Said(
        text="".join(str(block.get("text", "")) for block in blocks if block.get("type") == "text"),
        reasoning="\n\n".join(str(block.get("thinking", "")) for block in blocks if block.get("type") == "thinking"),
        finish="length" if body.get("stop_reason") in ("max_tokens", "model_context_window_exceeded") else "stop",
        model=str(body.get("model") or ""),
        tokens=_counted(usage or {}, "input_tokens", "output_tokens"),
    )


# --- Amazon Bedrock ----------------------------------------------------------------------------------------------


def _bedrock(service: Service, timeout: float, model: str) -> Server:
    try:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError
    except ImportError:
        raise ModelError("Amazon Bedrock needs its client: pip install 'leak-at-k[bedrock]'.") from None
    headers = filled(service.headers)
    try:
        session = boto3.session.Session(region_name=service.region or None)
        if session.region_name is None:
            raise InputError(
                "Bedrock needs a region: --engine endpoint:api=bedrock,region=eu-central-1, or AWS_REGION."
            )
        keys = session.get_credentials()
        if keys is None:
            raise ModelError(
                "Bedrock finds no AWS credentials; set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
            )
        client = session.client(
            "bedrock-runtime", endpoint_url=service.address or None,
            config=Config(connect_timeout=min(timeout, 5), read_timeout=timeout, retries={"total_max_attempts": 1}),
        )  # fmt: skip
    except (BotoCoreError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise ModelError(f"Bedrock cannot be asked: {printable(first_line(error))}.") from None

    def add(request: Any, **_: Any) -> None:
        for name, value in headers.items():
            request.headers[name] = value

    client.meta.events.register("before-sign.bedrock-runtime.Converse", add)
    frozen = keys.get_frozen_credentials()
    url = shown(client.meta.endpoint_url)
    secrets = hidden_in(url, frozen.secret_key or "", frozen.token or "", *headers.values())
    return Server(
        client, url, secrets, f"the AWS credentials, the region, and access to the model {model!r}", api="bedrock"
    )


def _ask_bedrock(server: Server, fields: Mapping[str, Any]) -> Said | Failure:
    from botocore.exceptions import BotoCoreError, ClientError

    system, messages = _turns(fields)
    settings: dict[str, Any] = {"maxTokens": _most(fields), "temperature": fields["temperature"]}
    settings |= {"topP": fields["top_p"]} if fields.get("top_p", 1.0) != 1.0 else {}
    settings |= {"stopSequences": fields["stop"]} if fields.get("stop") else {}
    turns = [{"role": message["role"], "content": [{"text": message["content"]}]} for message in messages]
    more = {"system": [{"text": system}]} if system else {}
    try:
        found = server.client.converse(modelId=fields["model"], messages=turns, inferenceConfig=settings, **more)
        about = found.get("ResponseMetadata", {})
        server.headers = {
            str(name).lower(): server.mask(str(value)) for name, value in about.get("HTTPHeaders", {}).items()
        }
        return said_by_bedrock(server.mask(found), fields["model"])
    except ClientError as error:
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        code = str(error.response.get("Error", {}).get("Code", ""))
        if status in (401, 403, 404):
            raise ModelError(f"The endpoint refused ({status}): check {server.check}.") from None
        said = error.response.get("Error", {}).get("Message", "")
        what = f"HTTP {status}: {printable(server.mask(f'{code}: {said}'))}"
        return Failure(what, 429 if code.startswith("Throttling") else status, code)
    except (BotoCoreError, BadReplyError, ValueError) as error:
        return _broken(server, error, error)


def said_by_bedrock(body: Mapping[str, Any], model: str) -> Said:
    """What an answer of Bedrock's Converse API says. BadReplyError for another shape."""
    output = body.get("output")
    message = output.get("message") if isinstance(output, dict) else None
    blocks = message.get("content") if isinstance(message, dict) else None
    if not isinstance(blocks, list):
        raise BadReplyError("sends an answer without a message")
    thoughts = [
        block["reasoningContent"].get("reasoningText", {}).get("text", "")
        for block in blocks
        if "reasoningContent" in block
    ]
    usage = body.get("usage") if isinstance(body.get("usage"), dict) else {}
    return Said(
        text="".join(str(block.get("text", "")) for block in blocks),
        reasoning="\n\n".join(filter(None, thoughts)),
        finish="length" if body.get("stopReason") in ("max_tokens", "model_context_window_exceeded") else "stop",
        model=model,
        tokens=_counted(usage or {}, "inputTokens", "outputTokens"),
    )


def _most(fields: Mapping[str, Any]) -> int:
    return int(fields.get("max_tokens") or fields["max_completion_tokens"])


def _counted(usage: Mapping[str, Any], *names: str) -> tuple[float, float]:
    counts = [float(usage[name]) if isinstance(usage.get(name), int) else math.nan for name in names]
    return counts[0], counts[1]


def _broken(server: Server, error: Exception, cause: BaseException) -> Failure:
    """No connection, a time-out, a body of another shape."""
    if isinstance(cause, BadReplyError):
        if cause.final:
            raise ModelError(
                f"The server at {server.url} cannot be used: it {printable(server.mask(str(cause)))}."
            ) from None
        return Failure(f"it {printable(server.mask(str(cause)))}", foreign=True)
    return Failure(f"{type(error).__name__} ({printable(server.mask(first_line(cause)))})", foreign=True)
