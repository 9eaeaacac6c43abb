"""The names of the attributes that trials and studies carry in the store."""

# -- of a trial

SEED = "seed"  # that a trial is trained with
WORKER = "worker"  # that held it, as a person can find it
TRAINER = "trainer"  # the `search.trainers.contract.TrainerLabel` of what trained it
ATTEMPT = "attempt"  # from 2, of a trial that repeats another
REPEATS = "repeats"  # the number of the trial that it repeats
FAILURE = "failure"  # why a trial failed, in one line
END = "end"  # why a trial that did not fail needed no further epoch
KEPT_EPOCH = "kept_epoch"  # whose weights are its result
VERDICT = "verdict"  # a `search.health.verdict.Kind`
VERDICT_REASON = "verdict_reason"  # one sentence
OF_TRIALS = frozenset(
    (SEED, WORKER, TRAINER, ATTEMPT, REPEATS, FAILURE, END, KEPT_EPOCH, VERDICT, VERDICT_REASON)
)

FIXED = "fixed_params"  # Optuna's own, a system attribute: what a user or a repeat has fixed

# -- of a study

CONFIRMATION = "confirmation"  # the validation score of each run, by trial and seed
CONFIRMATION_SECONDS = "confirmation_seconds"
MACHINE = "machine"  # versions and hardware of the process that made the proof
PROOF = "proof"
OPENINGS = "openings"  # the trials for which the test split was opened, in order
