import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from search.study.seeds import data_order, derive

seeds = st.integers(0, 2**31 - 1)


def test_derived_seeds_stay_what_they_are() -> None:
    """Studies that exist hold them."""
    assert derive(0, "trial", 0) == 1725501518
    assert derive(7, "model") == 1918718580


def test_neighbours_get_seeds_of_their_own() -> None:
    derived = [derive(0, "trial", number) for number in range(1000)]
    derived += [derive(number, "trial", 0) for number in range(1, 1000)]

    assert len(set(derived)) == len(derived)
    assert all(0 <= seed < 2**31 for seed in derived)
    assert max(derived) > 2**30 > min(derived)


def test_names_are_told_apart() -> None:
    names = [(), ("a",), ("a", "b"), ("b", "a"), ("ab",), ("a", 1), ("a", 2)]

    assert len({derive(0, *name) for name in names}) == len(names)


@given(seeds, st.integers(1, 100), st.integers(1, 500))
def test_each_example_is_met_once_in_an_epoch(seed: int, epoch: int, size: int) -> None:
    order = data_order(seed, epoch, size)

    assert order.dtype == np.int32
    assert sorted(order) == list(range(size))


def test_the_order_depends_on_seed_and_epoch_alone() -> None:
    order = data_order(3, 5, 100).tolist()
    np.random.seed(1)  # a global state that must not matter

    assert data_order(3, 5, 100).tolist() == order
    assert data_order(3, 6, 100).tolist() != order
    assert data_order(4, 5, 100).tolist() != order
