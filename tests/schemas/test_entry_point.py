"""A kernel's entry point: the kernel itself until it was compiled for one set of types, and never where there are several."""

from __future__ import annotations

import numpy as np
from numba import njit

from schemas.entry_point import entry_point


def test_it_is_the_dispatcher_until_one_set_of_types_is_known():
    kernel = njit(lambda a: a.sum() + 1)
    assert entry_point(kernel) is kernel
    assert kernel(np.arange(4)) == 7
    direct = entry_point(kernel)
    assert direct is not kernel
    assert direct(np.arange(5)) == 11


def test_a_kernel_compiled_for_several_types_keeps_looking_at_them():
    kernel = njit(lambda x: x / 2)
    assert (kernel(3), kernel(3.5)) == (1.5, 1.75)
    assert entry_point(kernel) is kernel


def test_a_kernel_compiled_for_a_constant_of_another_kernel_is_not_called_with_other_values():
    signed = njit(lambda x, plus: x if plus else -x)
    assert njit(lambda x: signed(x, False))(3) == -3
    assert len(signed.signatures) == 1
    assert entry_point(signed)(3, True) == 3


def test_a_function_that_is_not_compiled_is_called_as_it_is():
    def plain(x):
        return x

    assert entry_point(plain) is plain
