"""Lanes: many multilayer perceptrons trained in one compiled step.

A *lane* is what the contract of `search.trainers.contract` numbers: room for one trial. Trials of
equal *structure* share compiled programs; on one data set they are a *group*, and share batches
and steps. A *stack* holds the arrays of some of a group's trials, each in a *place* of its own on
the arrays' first axis, and runs the programs on all of them at once.

`trainer` keeps the contract; `stack` has the arrays and `groups` what trials share; `programs` are
what is compiled, of the maths in `network`, `losses`, `limits` and `optimizers` over `variables`.
`techniques` has a row for each technique that a program is compiled for only where its study names
it, and `gates` the numbers that differ from lane to lane. `structure` says which trials can share a
program, `calibrate` how many lanes this machine wants.
"""
