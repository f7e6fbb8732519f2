"""What MkDocs gets besides the pages in this folder: files elsewhere in the repository."""

import posixpath
import re
from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parent.parent
# What the site shows although it is elsewhere. On the site, it is in the folder `repository`.
OUTSIDE = [
    "ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "bench/README.md",
    "reports/published/**/index.html", "reports/published/**/figures/*",
]  # fmt: skip
REPOSITORY = "repository"
LINK = re.compile(r"(?<=\]\()(?!\w+:|#|/)([^)\s#]+)")


def on_files(files, config):
    """Add the files outside of `docs/`."""
    for path in (found for pattern in OUTSIDE for found in ROOT.glob(pattern)):
        name = path.relative_to(ROOT).as_posix()
        files.append(File.generated(config, f"{REPOSITORY}/{name}", abs_src_path=str(path)))
    return files


def on_page_markdown(markdown, page, config, files):
    """Let links lead to the same files on the site as in the repository."""
    here = posixpath.dirname(page.file.src_uri)

    def moved(link):
        if here.startswith(REPOSITORY):
            target = posixpath.normpath(posixpath.join(posixpath.relpath(here, REPOSITORY), link[1]))
        else:
            target = posixpath.normpath(posixpath.join("docs", here, link[1]))
        inside = target.removeprefix("docs/") if target.startswith("docs/") else f"{REPOSITORY}/{target}"
        return posixpath.relpath(inside, here)

    return LINK.sub(moved, markdown)
