"""Finds registered versions of this project, by name, alias, number and comparison."""

import re
from collections.abc import Collection, Sequence
from typing import Literal, NamedTuple

import mlflow
from mlflow.entities.model_registry import ModelVersion

from mlproject.errors import UserError, did_you_mean
from mlproject.tracking import store
from mlproject.tracking.registry import CHAMPION, is_ours

PAGE_SIZE = 1000  # results in an answer
OUR_VERSIONS = "tags.`dataset.digest` LIKE '%'"  # leaves out most versions of others before they are sent

Which = Literal["champions", "aliased", "all"]
Selection = list[tuple[ModelVersion, str]]  # versions, each with an alias or ""


class _Registry(NamedTuple):
    """The versions and aliases of this project in the registry: by model, and then by number or alias."""

    versions: dict[str, dict[int, ModelVersion]]
    aliases: dict[str, dict[str, int]]

    def alias_of(self, name: str, number: int) -> str:
        """An alias of a version; "" when it has none."""
        return next((alias for alias, aliased_number in self.aliases[name].items() if aliased_number == number), "")


def select(selectors: Sequence[str], comparisons: Sequence[str], parameter: str, which: Which) -> Selection:
    """Find the versions that `models.final_models` reads; the arguments are the same.

    Args:
        selectors: `name`, `name@alias` or `name/version`; none for all champions.
        comparisons: If given, only versions of these comparisons are found.
        parameter: The name of the selectors in error messages.
        which: The versions that are found when there are no selectors.

    Returns:
        The versions in the order of the selectors, each once.

    Raises:
        UserError: A selector or a comparison selected nothing.
    """
    names = {re.split("[@/]", selector)[0] for selector in selectors}
    registry = _read_registry(names)
    if not names <= registry.aliases.keys():
        registry = _read_registry()  # the message names all models
    if selectors:
        selected = [_find_version(parameter, selector, registry) for selector in selectors]
    elif which == "champions":
        selected = [
            (name, numbers[CHAMPION], CHAMPION) for name, numbers in registry.aliases.items() if CHAMPION in numbers
        ]
    else:
        selected = [
            (name, number, registry.alias_of(name, number))
            for name, numbers_by_alias in registry.aliases.items()
            for number in sorted(registry.versions[name] if which == "all" else set(numbers_by_alias.values()))
        ]
    unique: dict[tuple[str, int], str] = {}  # a version that is selected twice has the alias of its first selector
    for name, number, alias in selected:
        unique.setdefault((name, number), alias)
    return _filter_by_comparison(
        [(registry.versions[name][number], alias) for (name, number), alias in unique.items()], comparisons
    )


def comparison_key(version: ModelVersion) -> tuple[str | None, ...]:
    """What versions share that are compared with each other.

    Args:
        version: A version of this project.

    Returns:
        Its comparison, and whether its data are "real" or "synthetic"; None for a tag that it lacks.
    """
    return version.tags.get("comparison"), version.tags.get("data")


def _read_registry(names: Collection[str] = ()) -> _Registry:
    """The versions and aliases of the models with these names, or of all models."""
    client = mlflow.MlflowClient()
    quoted_names = ", ".join(f"'{name}'" for name in sorted(names) if "'" not in name)
    name_filter = f"name IN ({quoted_names})" if quoted_names else ""
    versions: dict[str, dict[int, ModelVersion]] = {}
    query = " and ".join(filter(None, (name_filter, OUR_VERSIONS)))
    for version in store.iterate_pages(client.search_model_versions, filter_string=query, max_results=PAGE_SIZE):
        if is_ours(version):
            versions.setdefault(version.name, {})[int(version.version)] = version
    # Models are queried after versions, because another machine may register a model's first version in between.
    models = store.iterate_pages(client.search_registered_models, filter_string=name_filter, max_results=PAGE_SIZE)
    models_by_name = {model.name: model for model in models}
    aliases = {
        name: {
            alias: int(number)
            for alias, number in models_by_name[name].aliases.items()
            if int(number) in versions[name]
        }
        for name in sorted(versions.keys() & models_by_name.keys())  # a model may be deleted in between
    }
    return _Registry(versions, aliases)


def _find_version(parameter: str, selector: str, registry: _Registry) -> tuple[str, int, str]:
    """The name, number and alias (or "") of the version that a selector names."""
    versions, aliases = registry
    name, at, alias = selector.partition("@")
    name, slash, number = (name, "", "") if at else selector.partition("/")
    if name not in aliases:
        known = f"{did_you_mean([name], aliases)}accepted: {', '.join(aliases) or 'none'}"
        raise UserError(f"{parameter}={selector!r}: no such model; {known}, or more after `mlproject tune EXPERIMENT`")
    numbers_accepted = [f"{name}/{accepted}" for accepted in sorted(versions[name])]
    if slash:
        if not number.isdecimal() or int(number) not in versions[name]:
            raise UserError(f"{parameter}={selector!r}: no such version; accepted: {', '.join(numbers_accepted)}")
        return name, int(number), registry.alias_of(name, int(number))
    alias = alias or CHAMPION
    if alias not in aliases[name]:
        accepted = ", ".join([f"{name}@{existing}" for existing in aliases[name]] + numbers_accepted)
        raise UserError(f"{parameter}={selector!r}: no version has the alias {alias!r}; accepted: {accepted}")
    return name, aliases[name][alias], alias


def _filter_by_comparison(selection: Selection, comparisons: Sequence[str]) -> Selection:
    """The versions of these comparisons, or all of them when none is named."""
    existing = sorted({version.tags.get("comparison", "") for version, _ in selection} - {""})
    for comparison in comparisons:
        if comparison not in existing:
            raise UserError(
                f"comparison={comparison!r}: no model belongs to it; accepted: {', '.join(existing) or 'none'}"
            )
    return [
        (version, alias)
        for version, alias in selection
        if not comparisons or version.tags.get("comparison") in comparisons
    ]
