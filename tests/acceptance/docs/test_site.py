"""`make docs`: the pages as a site that needs nothing from elsewhere, and whose links lead somewhere."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from tests.stack import ROOT

LOADED_BY_LINK = {"stylesheet", "icon", "preload", "modulepreload"}


class Loaded(HTMLParser):
    """What a browser loads by itself when it shows a page."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.feed(page.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect the addresses of scripts, pictures, frames and style sheets."""
        values = dict(attrs)
        if tag in {"script", "img", "iframe", "source", "video", "audio"} and values.get("src"):
            self.addresses.append(str(values["src"]))
        if tag == "link" and LOADED_BY_LINK & set((values.get("rel") or "").split()):
            self.addresses.append(str(values.get("href")))


def build(folder: Path, site: Path) -> subprocess.CompletedProcess[str]:
    """What `make docs` does, elsewhere."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--config-file", str(folder / "mkdocs.yml")]
    return subprocess.run([*command, "--site-dir", str(site)], capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("docs") / "site"
    done = build(ROOT, folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_every_page_is_built(site: Path) -> None:
    pages = {path.relative_to(ROOT / "docs").with_suffix(".html") for path in (ROOT / "docs").rglob("*.md")}
    built = {path.relative_to(site) for path in site.rglob("*.html")}
    assert built == pages | {Path("404.html")}


def test_no_page_loads_anything_from_elsewhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        loaded = Loaded(page).addresses
        assert len(loaded) >= 3, page
        for address in loaded:
            assert not re.match(r"(\w+:)?//", address), f"{page} loads {address}"
            if page.name != "404.html":  # its addresses are those of the server's root
                assert (page.parent / address.partition("?")[0]).is_file(), (
                    f"{page} loads {address}, which is not there"
                )
    for sheet in site.rglob("*.css"):
        assert not re.search(r"(url\(|@import )[\"']?(https?:)?//", sheet.read_text()), sheet


def test_diagrams_are_drawn_by_a_script_of_the_site(site: Path) -> None:
    page = (site / "signal.html").read_text()
    assert page.count('<pre class="mermaid">') == 4
    assert "assets/mermaid.min.js" in Loaded(site / "signal.html").addresses
    assert "globalThis.mermaid = " in (site / "assets" / "mermaid.min.js").read_text()


@pytest.mark.parametrize(
    ("link", "complaint"),
    [
        ("[gone](nowhere.md)", "nowhere.md"),
        ("[no such heading](guide.md#nowhere)", "#nowhere"),
        ("[no such heading here](#nowhere)", "#nowhere"),
        ("[outside](../src/oms/cli.py)", "src/oms/cli.py"),
    ],
)
def test_a_link_that_leads_nowhere_fails_the_build(tmp_path: Path, link: str, complaint: str) -> None:
    for name in ("docs", "tools"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "mkdocs.yml", tmp_path)
    with (tmp_path / "docs" / "index.md").open("a") as page:
        page.write(f"\n{link}\n")
    done = build(tmp_path, tmp_path / "site")
    assert done.returncode != 0
    assert complaint in done.stderr


def test_the_links_of_the_readme_lead_somewhere() -> None:
    """It is not a page of the site."""
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", (ROOT / "README.md").read_text())
    assert len(links) > 10
    assert [link for link in links if not re.match(r"\w+:", link) and not (ROOT / link).exists()] == []
