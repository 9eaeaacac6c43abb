"""The keys of the artifacts that a study keeps in its store."""


def mistakes_key(name: str) -> str:
    """Return where the mistakes of a study's winner are kept among its artifacts."""
    return f"{name}/mistakes"


def health_key(study: str, number: int) -> str:
    """Return the artifact key of a trial's health."""
    return f"{health_prefix(study)}{number}"


def health_prefix(study: str) -> str:
    """Return what the keys of all health of a study begin with."""
    return f"{study}/health/"
