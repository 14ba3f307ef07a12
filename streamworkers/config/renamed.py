"""Environment variables that have a new name; the old one works for one more release."""

from collections.abc import MutableMapping

# Old name: new name. Remove a line in the release after the one that renamed it.
RENAMED = {
    "STREAMWORKERS_LOAD_SETTLE_SECONDS": "STREAMWORKERS_LOAD_GRACE_SECONDS",
}


def rename_variables(environment: MutableMapping[str, str]) -> list[str]:
    """Give old variables their new names in place; returns one warning for each.

    Child processes inherit the new names, so that one command warns once.
    """
    warnings = []
    for old, new in RENAMED.items():
        value = environment.pop(old, "")
        if not value:
            continue
        if environment.get(new):
            warnings.append(f"{old} is ignored, because {new} is set; {old} will be removed in the next release")
        else:
            environment[new] = value
            warnings.append(f"{old} is now {new}; the old name will be removed in the next release")
    return warnings
