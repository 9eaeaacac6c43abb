"""Lanes: many multilayer perceptrons trained in one compiled step.

`trainer` keeps the contract of `search.trainers.contract`; a `stack` holds some lanes' arrays on
the device and runs the `programs` on them; `network`, `losses`, `limits` and `optimizers` are the
maths over `variables`. `structure` says which trials can share a program, `calibrate` how many
lanes this machine wants.
"""
