"""Packages of other people that add options: adapters, data, samplers, schedules, whatever a config group holds.

    [project.entry-points."mmdiff.configs"]
    weather = "mmdiff_weather.configs"           # a package of YAML, laid out as mmdiff's own

Hydra finds their YAML through one search-path plug-in, after mmdiff's own, and classes of the package that holds it
(here ``mmdiff_weather``) may be built because it is installed.
"""

import warnings
from functools import cache
from importlib.metadata import entry_points
from importlib.resources import files
from importlib.resources.abc import Traversable

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin

GROUP = "mmdiff.configs"
BUILT_IN = "mmdiff.configs"


@cache
def installed() -> dict[str, str]:
    """Packages of YAML by the name of their plug-in; one that cannot be imported is left out, with a warning."""
    found = {point.name: point.value for point in sorted(entry_points(group=GROUP))}
    return {name: package for name, package in found.items() if _works(name, package)}


def _works(name: str, package: str) -> bool:
    try:
        if files(package).joinpath("__init__.py").is_file():
            return True
        problem = f"{package} has no __init__.py"
    except Exception as error:                                        # whatever the import of foreign code raises
        problem = str(error)
    warnings.warn(f"the mmdiff plug-in {name!r} is left out: {problem}", stacklevel=2)
    return False


def packages() -> tuple[str, ...]:
    """Packages whose classes may be built: those that hold the YAML."""
    return tuple(dict.fromkeys(value.rpartition(".")[0] or value for value in installed().values()))


def roots() -> dict[str, Traversable]:
    """Folders of YAML by their package, mmdiff's own first."""
    return {package: files(package) for package in (BUILT_IN, *installed().values())}


def offered_by(group: str, name: str) -> list[str]:
    """The packages of YAML that have an option; more than one is a clash, and the first is what Hydra takes."""
    return [package for package, root in roots().items() if root.joinpath(group, f"{name}.yaml").is_file()]


class PluginConfigs(SearchPathPlugin):
    """Adds every plug-in's YAML to Hydra's search path."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        for name, package in installed().items():
            search_path.append(provider=f"mmdiff plug-in {name}", path=f"pkg://{package}")


Plugins.instance().register(PluginConfigs)
