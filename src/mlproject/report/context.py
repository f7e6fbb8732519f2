"""The subject of a part of the report: its name, the start of its file names, and the kind of its data."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class ReportContext:
    """The subject of a part of the report: one comparison, or one model.

    Attributes:
        key: the start of file names and page anchors (a-z, 0-9, hyphens and full stops only).
        name: the name of the comparison, or the title of the model.
        data_label: what a reader must know about the data, such as "synthetic data"; "" for real data.
    """

    key: str
    name: str
    data_label: str

    @property
    def title(self) -> str:
        """The name together with the data label, as it is drawn inside figures."""
        return with_data_label(self.name, self.data_label)

    def file_name(self, content: str) -> str:
        """The name, without suffix, of the file that holds this content: "coarse-vs-fine.accuracy"."""
        return f"{self.key}.{content}"

    def numbered(self, number: int, total: int) -> "ReportContext":
        """The context of part `number` of `total`, so that the parts have file names of their own."""
        return self if total == 1 else replace(self, key=f"{self.key}.{number}")


def data_label_of(data: str) -> str:
    """The label that the report prints about the data.

    Args:
        data: the model's tag `data`: "real", "synthetic", or "" when it was not recorded.

    Returns:
        "" for real data, else words such as "synthetic data".
    """
    if data == "real":
        return ""
    return f"{data} data" if data else "data of unrecorded origin"


def with_data_label(title: str, data_label: str) -> str:
    """A heading or a title followed by the data label: "Accuracy (synthetic data)"."""
    return f"{title} ({data_label})" if data_label else title


def after_data_label(text: str, data_label: str) -> str:
    """A caption or an alternative text that starts with the data label: "Synthetic data. The bars show …"."""
    return f"{data_label[0].upper()}{data_label[1:]}. {text}" if data_label else text


def slugs(names: Sequence[str]) -> list[str]:
    """Distinct, safe parts of file names, one for each text.

    Args:
        names: any texts, which may be equal or contain any characters.

    Returns:
        Texts of a-z, 0-9 and single hyphens, of about 60 characters at most, in the order of `names`.
    """
    taken: list[str] = []
    for name in names:
        slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:60].strip("-") or "unnamed"
        number, candidate = 1, slug
        while candidate in taken:
            number += 1
            candidate = f"{slug}-{number}"
        taken.append(candidate)
    return taken
