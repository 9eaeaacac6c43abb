"""The studies that ship with the service: one file each, ``

from search import

STUDY = StudySpec(...)``."""
