"""mkdocs hook: the README is the front page, the files at the root of the repository are pages, the menu leads to it."""

import os
import re
import subprocess
from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parent.parent
PAGES = {"index.md": "README.md", "contributing.md": "CONTRIBUTING.md", "changelog.md": "CHANGELOG.md", "security.md": "SECURITY.md"}  # fmt: skip


def on_files(files, config):
    for page, name in PAGES.items():
        text = (ROOT / name).read_text(encoding="utf-8")
        text = re.sub(r"\]\(docs/", "](", text)  # links as GitHub shows them, from the root
        for other, source in PAGES.items():
            text = text.replace(f"]({source})", f"]({other})")
        files.append(File.generated(config, page, content=text))
    return files


def on_config(config):
    """A page that nobody has put into the menu stands at its end."""
    listed = set(re.findall(r"[\w-]+\.md", str(config["nav"])))
    others = sorted(path.name for path in Path(config["docs_dir"]).glob("*.md") if path.name not in listed)
    if others:
        config["nav"].append({"More": others})
    url = repository()
    if url:
        next(pages for title, pages in sections(config) if title == "Project").append({"Repository": url})
    return config


def sections(config):
    return [item for entry in config["nav"] for item in entry.items()]


def repository():
    """The address of the repository: that of the workflow which builds the site, else of this checkout; "" for none.

    A link in the menu, not mkdocs' repo_url, for which the theme asks a server about stars.
    """
    if os.environ.get("GITHUB_REPOSITORY"):
        return f"{os.environ.get('GITHUB_SERVER_URL', 'https://github.com')}/{os.environ['GITHUB_REPOSITORY']}"
    asked = ["git", "-C", str(ROOT), "config", "--get", "remote.origin.url"]
    try:
        found = subprocess.run(asked, capture_output=True, text=True, check=False).stdout
    except OSError:
        return ""
    return browsable(found.strip())


def browsable(remote):
    """https://HOST/OWNER/NAME of a remote as git names it, without a name or a key in it; "" for a path on this machine."""
    found = re.fullmatch(
        r"(?:https?://|ssh://)?(?:[^@/]+@)?([\w.-]+\.\w+)(?::\d+)?[:/]([\w.~/-]+?)(?:\.git)?/?", remote
    )
    return f"https://{found[1]}/{found[2]}" if found else ""
