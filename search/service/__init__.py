"""A study at work: one process or many, from the first trial to the report."""
