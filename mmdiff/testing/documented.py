"""Whether a YAML file says what its values are."""

from ..config import plugins


def undocumented(group: str, name: str) -> list[str]:
    """The lines of an option's file whose value has no comment; the first line must be one that says what it is."""
    package = plugins.offered_by(group, name)[0]
    lines = plugins.roots()[package].joinpath(group, f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    found = [] if lines[0].startswith("#") else [f"line 1: {lines[0]}"]
    in_defaults = False
    for number, line in enumerate(lines, 1):
        if line and not line.startswith((" ", "-")):
            in_defaults = line.startswith(("defaults:", "hydra:"))
        text = line.strip()
        if in_defaults or not text or text.startswith(("#", "_target_", "- ")) or text.endswith(":"):
            continue
        if "#" not in line:
            found.append(f"line {number}: {text}")
    return found
