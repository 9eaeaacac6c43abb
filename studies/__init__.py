"""The studies that ship with the service: one file each, ``STUDY = StudySpec(...)``."""
