"""Paillier encryption of whole arrays (EUROCRYPT 1999, with g = n + 1), keys and ciphertexts those of `phe`.

A ciphertext of m is (1 + m * n) * rho mod n**2 with rho an n-th residue. What rho is:

    encrypt       h_s**e, h_s = h**n, h = -x**2, e short (Damgard, Jurik, Nielsen, 2010, section 4.2)
    rerandomise   h_s**e', e' of 128 bits more than n: within 2**-128 of uniform in the group that h_s generates
    without h_s   r**n for rerandomise, an own h_s for encrypt: keys that come from `phe` have none

Assumptions: composite residuosity modulo n**2 for all of it; for short exponents (224, 256, 320 bits for keys of 2048,
3072, 4096) also that h_s**e cannot be told from a uniform power of h_s, where exponents of twice the security level are
what discrete logarithms ask for. Re-randomised answers need no such assumption towards the key owner, who knows every
exponent that it chose and could test guesses; it proves with its key that h_s is an n-th residue (`_Proof`). Owners are
semi-honest: nothing here proves that n has two prime factors, or that a ciphertext was formed in the group of h_s.

Exponents are secret and used in constant time (`engine.kernels.montgomery`); inverses and the last steps of decryption
are Python integers, whose time depends a little on the values.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from engine import randomness
from engine.errors import Misuse
from engine.he import packing
from engine.he.additive import Bytes, Numbers, Places
from engine.he.packing import Lanes
from engine.he.primes import has_small_factor, random_below, random_prime
from engine.he.secret import Secret
from engine.kernels.lists import check_lists
