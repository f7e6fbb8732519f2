"""Write a manifest of icon themes: a set of images of many sizes and modes, with classes of very different sizes.

    apt-get download oxygen-icon-theme tango-icon-theme && for one in *.deb; do dpkg -x "$one" themes; done
    python bench/icons.py themes/usr/share/icons icons.csv

An icon's label is its category. Its name is its group, because a theme has the same icon in many sizes.
"""

import argparse
import re
from pathlib import Path

import pandas as pd

SMALLEST = 22  # pixels; below, an icon is too small to be told


def main() -> None:
    """Find the icons in THEME/.../SIZExSIZE/CATEGORY/NAME.png and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("themes", type=Path)
    parser.add_argument("manifest", type=Path)
    options = parser.parse_args()
    rows = []
    for path in sorted(options.themes.rglob("*.png")):
        size, category = path.parent.parent.name, path.parent.name
        if re.fullmatch(r"(\d+)x\1", size) and int(size.partition("x")[0]) >= SMALLEST and not path.is_symlink():
            rows.append({"path": path.absolute(), "label": category, "group": path.stem})
    pd.DataFrame(rows).to_csv(options.manifest, index=False)
    print(f"{options.manifest}: {len(rows)} icons in {pd.DataFrame(rows)['label'].nunique()} categories")


if __name__ == "__main__":
    main()
