"""What MkDocs does not do by itself for the site that ``make site`` builds: hooks of mkdocs.yml.

The pages are written for GitHub, where links lead to files of the repository and mermaid is drawn.
For the site

- README.md is put into the first page, and the other pages beside docs/ become pages;
- any other file that a page links to becomes a page with its text, a directory one with its files;
- links lead to these pages;
- a mermaid diagram becomes a drawing, because browsers would load mermaid from another host.
"""

import posixpath
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from mkdocs.structure.files import File

ROOT: Final = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from scripts.site_drawings import drawing  # noqa: E402 - MkDocs loads this file from its path

FIRST: Final = "index.md"
BESIDE: Final = ("CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "examples/README.md")
MARKER: Final = re.compile(r"<!-- README\.md -->.*?\n\n.*?\n\n", re.S)
"""Where the README goes, and the paragraph that stands there on GitHub."""
LINK: Final = re.compile(r"\]\(([^)\s#]+)(#[^)\s]*)?\)")
DIAGRAM: Final = re.compile(r"^```mermaid\n---\ntitle: (.+?)\n---\n.*?^```$", re.M | re.S)
CELL: Final = re.compile(r"<td><code>[^<]+</code></td>")
LANGUAGES: Final = {".py": "python", ".yaml": "yaml", ".proto": "protobuf", ".service": "ini"}


def on_files(files: Any, config: Any) -> Any:
    """Add the files outside docs/ that are pages, and those that pages link to."""
    for name in BESIDE:
        files.append(File.generated(config, name, content=(ROOT / name).read_text("utf-8")))
    pages = [ROOT / "README.md", *(ROOT / name for name in BESIDE), *ROOT.glob("docs/**/*.md")]
    for path in sorted(with_contents(linked(pages))):
        files.append(File.generated(config, address(path), content=listing(path)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """The text of a page, as the site has it."""
    uri = page.file.src_uri
    source = uri if uri in BESIDE else f"docs/{uri}"
    text = relink(markdown, source, uri)
    if uri == FIRST:
        readme = (ROOT / "README.md").read_text("utf-8").partition("\n")[2]
        text = MARKER.sub(
            lambda _: relink(readme, "README.md", uri) + "\n## Where to begin\n\n", text, count=1
        )
    return DIAGRAM.sub(lambda diagram: drawing(diagram[1]), text)


def on_page_content(html: str, **_: Any) -> str:
    """Let long names in tables be broken after an underscore."""
    return CELL.sub(lambda cell: cell[0].replace("_", "_<wbr>"), html)


def linked(pages: Iterable[Path]) -> set[str]:
    """The files and directories that have no page of their own, and that pages link to."""
    found = set()
    for page in pages:
        source = page.relative_to(ROOT).as_posix()
        for link, _ in LINK.findall(page.read_text("utf-8")):
            path = target(link, source)
            if path and address(path).startswith("files/"):
                found.add(path)
    return found


def with_contents(paths: set[str]) -> set[str]:
    return paths | {
        inner.relative_to(ROOT).as_posix()
        for path in paths
        if (ROOT / path).is_dir()
        for inner in (ROOT / path).iterdir()
    }


def target(link: str, source: str) -> str | None:
    """What a relative link on a page leads to, as a path in the repository."""
    path = posixpath.normpath(posixpath.join(posixpath.dirname(source), link))
    return path if "://" not in link and (ROOT / path).exists() else None


def address(path: str) -> str:
    """Where the site has a file of the repository."""
    if path == "README.md":
        return FIRST
    if path in BESIDE:
        return path
    return path.removeprefix("docs/") if path.startswith("docs/") else f"files/{path}.md"


def relink(text: str, source: str, uri: str) -> str:
    """The text with links that lead where the site has what they led to."""

    def moved(link: re.Match[str]) -> str:
        path = target(link[1], source)
        if path is None:
            return link[0]
        there = posixpath.relpath(address(path), posixpath.dirname(uri) or ".")
        return f"]({there}{link[2] or ''})"

    return LINK.sub(moved, text)


def listing(path: str) -> str:
    """The page of a file, or of a directory."""
    if (ROOT / path).is_dir():
        names = sorted(inner.name for inner in (ROOT / path).iterdir())
        entries = "".join(f"- [{name}]({posixpath.basename(path)}/{name}.md)\n" for name in names)
        return f"# {path}\n\n{entries}"
    file = ROOT / path
    language = LANGUAGES.get(file.suffix, file.name.lower() if not file.suffix else "text")
    return f"# {path}\n\n````{language}\n{file.read_text('utf-8')}````\n"
