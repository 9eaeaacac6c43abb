"""``python -m search``: list the commands."""

COMMANDS = {
    "search.run": "create or continue a study: search, confirm, report",
    "search.worker": "one more worker on a study or a whole store, from any machine",
    "search.status": "how far a study is, and who works on it",
    "search.report": "write a study's report again from the store",
    "search.replay": "train a trial again and compare its score with the recorded one",
    "search.findings": "compare the arms of an experiment, with intervals",
    "search.dashboard": "show a store's studies in the browser",
    "search.data": "fetch and verify a data set",
}

if __name__ == "__main__":
    for module, does in COMMANDS.items():
        print(f"python -m {module:14} {does}")
    print("\nEach of them explains itself with --help.")
