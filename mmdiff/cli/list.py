"""``mmdiff list KIND``: what can be chosen, with one line about each."""

from pathlib import Path

from ..config import plugins
from ..config.build import ConfigError
from ..data.labels import suggest

KINDS = {
    "adapters": "adapter", "texts": "adapter/text", "controls": "adapter/controls", "data": "data",
    "diffusion": "diffusion", "schedules": "diffusion/schedule",
    "reconstructions": "reconstruction", "latents": "reconstruction/latent", "losses": "reconstruction/losses",
    "adversaries": "adversary",
    "samplers": "sampler", "guidance": "guidance", "trainers": "trainer", "priors": "prior",
    "students": "few",
    "marks": "mark", "provenance": "provenance", "experiments": "experiment", "evaluations": "evaluation",
    "engines": "engine", "precisions": "precision", "devices": "accelerator",
    "published": "published",
}

KEYS = {"devices": "plan.device", "published": "plan.model"}
"""What chooses an option, where it is no group of the configuration."""


def main(arguments: list[str]) -> int:
    """Print the options of one kind, or of all."""
    for kind in arguments or KINDS:
        if kind not in KINDS:
            raise ConfigError(f"nothing called {kind!r} to list; {suggest(kind, list(KINDS))}")
        print(f"{kind} (choose with {KEYS.get(kind, KINDS[kind])}=NAME)")
        for name, text in options(KINDS[kind]).items():
            print(f"  {name:<22} {text}")
    return 0


def options(group: str) -> dict[str, str]:
    """Option names of a config group and the first comment line of each."""
    found: dict[str, str] = {}
    for folder in plugins.roots().values():
        root = folder.joinpath(group)
        if not isinstance(root, Path) or not root.is_dir():
            continue
        for path in sorted(root.rglob("*.yaml")):
            if group in ("adapter", "diffusion", "reconstruction") and path.parent != root:
                continue
            lines = path.read_text(encoding="utf-8").splitlines()
            comments = [line[1:].strip() for line in lines if line.startswith("#")]
            text = next((c for c in comments if not c.startswith("@")), "")
            found.setdefault(str(path.relative_to(root).with_suffix("")), text)
    return found
