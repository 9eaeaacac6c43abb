"""The keys of the artifacts that a study keeps in its store."""


def study_prefix(study: str) -> str:
    """Return what the keys of all files of a study begin with."""
    return f"{study}/"


def health_key(study: str, number: int) -> str:
    """Return the artifact key of a trial's health."""
    return f"{health_prefix(study)}{number}"


def health_prefix(study: str) -> str:
    """Return what the keys of all health of a study begin with."""
    return f"{study_prefix(study)}health/"


def mistakes_key(study: str) -> str:
    """Return where the mistakes of a study's winner are kept."""
    return f"{study_prefix(study)}mistakes"


def importance_key(study: str) -> str:
    """Return where is kept how much a study's winner depends on each column."""
    return f"{study_prefix(study)}importance"


def model_key(study: str, trial: int, seed: int) -> str:
    """Return the artifact key of a model that was trained to confirm a trial."""
    return f"{model_prefix(study)}{trial}/{seed}"


def model_prefix(study: str) -> str:
    """Return what the keys of all models of a study begin with."""
    return f"{study_prefix(study)}model/"


def report_key(study: str, name: str) -> str:
    """Return the artifact key of a file of a study's report."""
    return f"{study_prefix(study)}report/{name}"


def file_name(key: str) -> str:
    """Return the name of the file that a report's key is of."""
    return key.rpartition("/")[2]
