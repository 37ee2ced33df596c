"""What is said when a part of the package is used without its extra."""

OWN = ("inngest_connect", "inngest")


def missing_extra(what: str, extra: str, error: ModuleNotFoundError) -> ModuleNotFoundError:
    """The same error with the command that installs what is missing; a missing own module stays."""
    if error.name is None or error.name.partition(".")[0] in OWN:
        return error
    return ModuleNotFoundError(
        f"{what} needs {error.name!r}, which is not installed; "
        f'pip install "inngest-connect[{extra}]"',
        name=error.name,
    )
