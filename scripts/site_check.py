"""Fail when the built site would load something from another host: ``site_check.py site``.

Looks at what browsers load by themselves: scripts, styles, fonts, images and frames. Links that a
reader clicks may lead anywhere.
"""

import re
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Final

LOADED: Final = {
    "audio": ["src"],
    "embed": ["src"],
    "iframe": ["src"],
    "img": ["src", "srcset"],
    "input": ["src"],
    "script": ["src"],
    "source": ["src", "srcset"],
    "track": ["src"],
    "video": ["src", "poster"],
    "object": ["data"],
    "image": ["href", "xlink:href"],
    "use": ["href", "xlink:href"],
    "link": ["href"],
}
"""Attributes of elements whose addresses are loaded without a click."""

HARMLESS_LINKS: Final = {"canonical", "next", "prev", "alternate", "author", "license", "search"}
ELSEWHERE: Final = re.compile(r"^\s*(?:\w+:)?//")
IN_STYLES: Final = re.compile(r"""(?:url\(\s*|@import\s+)["']?((?:\w+:)?//[^"')\s]+)""")


class Page(HTMLParser):
    """Collects what a page loads from other hosts."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self._is_style = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """One element and its attributes."""
        attributes = {name: value or "" for name, value in attrs}
        self._is_style = tag == "style"
        if "mermaid" in attributes.get("class", "").split():
            self.found.append("a diagram, for which the theme loads mermaid")
        self.found += IN_STYLES.findall(attributes.get("style", ""))
        if tag == "link" and HARMLESS_LINKS.issuperset(attributes.get("rel", "").split()):
            return
        self.found += [
            attributes[name]
            for name in LOADED.get(tag, [])
            if ELSEWHERE.match(attributes.get(name, ""))
        ]

    def handle_data(self, data: str) -> None:
        """What is between two tags."""
        if self._is_style:
            self.found += IN_STYLES.findall(data)


def loaded_by_page(html: str) -> list[str]:
    """What a page loads from other hosts."""
    page = Page()
    page.feed(html)
    page.close()
    return page.found


def loaded(site: Path) -> Iterator[str]:
    """What the files of a site load from other hosts, each as a line that names the file."""
    for file in sorted(site.rglob("*")):
        if file.suffix in {".html", ".svg"}:
            found = loaded_by_page(file.read_text("utf-8"))
        elif file.suffix == ".css":
            found = IN_STYLES.findall(file.read_text("utf-8"))
        else:
            continue
        yield from (f"{file.relative_to(site)} loads {each}" for each in found)


def main() -> int:
    """Print what is loaded from elsewhere, and return 1 if anything is."""
    site = Path(sys.argv[1])
    pages = len(list(site.rglob("*.html")))
    found = list(loaded(site))
    print(*found, f"{pages} pages in {site}/, {len(found)} resource(s) of other hosts", sep="\n")
    return 1 if found or not pages else 0


if __name__ == "__main__":
    sys.exit(main())
