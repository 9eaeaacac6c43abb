"""Lanes: many multilayer perceptrons trained in one compiled step.

`trainer` keeps the contract of `search.trainers.contract`; a `stack` holds some lanes' arrays on the device
and runs the `programs` on them; `network` and `optimizers` are the maths, `backend` is all that
differs between TensorFlow and JAX. `structure` says which trials can share a program, `calibrate`
how many lanes this machine wants.
"""
