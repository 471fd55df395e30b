"""Upload to the Hugging Face hub by its own client: one commit, or one pull request; what goes wrong is one sentence."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Sequence
from pathlib import Path

from leakatk.errors import InputError, first_line
from leakatk.hush import hushed
from leakatk.models import hub


def check_repository(repository: str) -> None:
    """InputError for what the hub takes for no name of a repository."""
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", repository) or re.search(r"--|\.\.", repository):
        raise InputError(
            f"--to {repository!r}: write USER/NAME, in letters, digits, dashes, dots and underscores, such as ada/my-model."
        )


def upload(
    repository: str,
    files: Sequence[tuple[str, bytes | Path]],
    *,
    message: str,
    private: bool = True,
    pull_request: bool = False,
) -> str:
    """Send (path in the repository, content) pairs as one commit; the address of the commit or of the pull request.

    private: of a repository that is made now; one that is there stays as it is. The token is the client's (`hf auth login`,
    HF_TOKEN), the hub that of HF_ENDPOINT. InputError where it cannot be reached or says no: nothing was changed then.
    """
    if hub.offline():
        raise InputError("HF_HUB_OFFLINE is set, so nothing can be sent; unset it, or use --dry-run.")
    from huggingface_hub import CommitOperationAdd, HfApi
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError, OfflineModeIsEnabled

    client = HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None, library_name="leak-at-k")
    adds = [
        CommitOperationAdd(name, content if isinstance(content, bytes) else str(content)) for name, content in files
    ]
    try:
        with hushed(), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that a file of samples is no model: it is meant
            if not pull_request:
                client.create_repo(repository, private=private, exist_ok=True)
            done = client.create_commit(repository, adds, commit_message=message, create_pr=pull_request)
    except OfflineModeIsEnabled:
        raise InputError("The hub's client is offline (HF_HUB_OFFLINE); unset it, or use --dry-run.") from None
    except LocalTokenNotFoundError:
        raise InputError("The hub asks who you are; run `hf auth login`, or set HF_TOKEN.") from None
    except HfHubHTTPError as error:
        raise InputError(f"{_refused(repository, error)} Nothing was changed.") from None
    except (OSError, ValueError) as error:
        raise InputError(
            f"Cannot send to {repository} ({first_line(error)}); check the connection and HF_ENDPOINT."
        ) from None
    except Exception as error:  # of the transport underneath, whose errors share no root with Python's
        if type(error).__module__.split(".")[0] not in ("httpx", "httpcore", "httpx2", "hf_xet"):
            raise
        raise InputError(
            f"Cannot reach the hub for {repository} ({first_line(error) or type(error).__name__}); check the connection and HF_ENDPOINT."
        ) from None
    return str(done.pr_url if pull_request and done.pr_url else done.commit_url)


def _refused(repository: str, error: Exception) -> str:
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status == 401:
        return (
            f"The hub does not know you, or your token is no longer valid (401 for {repository}); run `hf auth login`."
        )
    if status == 403:
        return f"Your token may not write to {repository} (403); make one with write access, or give --pull-request."
    if status == 404:
        return f"{repository} was not found on the hub (404); check the name, or run `hf auth login` if it is private."
    said = getattr(error, "server_message", None) or first_line(error)
    return f"The hub refused the files for {repository} ({status}: {said!s:.300})."
