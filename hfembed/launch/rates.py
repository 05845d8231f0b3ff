"""Rates: how fast each kind of hardware does what a run is made of.

The first group is measured by bench/estimate.py, which prints these lines; how far other machines are from it is
learned run by run (hfembed.launch.learned). GPUs not measured are set by their public figures, at the share that the
measured ones reach.
"""

from __future__ import annotations

from dataclasses import dataclass

TERA = 1e12


@dataclass(frozen=True)
class Rate:
    """What hardware does in a second: floating point operations of encoding, and of training.

    texts: the most it encodes, however short they are. sure: how far off a stage may be, as a factor.
    """

    encode: float
    train: float
    texts: float
    sure: float


# One core of a processor, by what it multiplies bf16 matrices with, which /proc/cpuinfo tells. Those with tiles (AMX),
# with vectors of 512 bits, and without either; the first two were measured, on two cores each.
CORES = {
    "amx_bf16": Rate(0.42 * TERA, 0.14 * TERA, 450, 1.5),
    "avx512_bf16": Rate(0.11 * TERA, 0.06 * TERA, 450, 1.5),
}
PLAIN_CORE = Rate(0.06 * TERA, 0.03 * TERA, 200, 2.0)
GPUS = {
    "T4": Rate(4 * TERA, 3 * TERA, 1_500, 2.5),
    "L4": Rate(25 * TERA, 12 * TERA, 2_500, 2.5),
    "A10G": Rate(30 * TERA, 15 * TERA, 2_500, 2.5),
    "L40S": Rate(80 * TERA, 40 * TERA, 3_000, 2.5),
    "A100": Rate(100 * TERA, 60 * TERA, 3_000, 2.5),
    "H200": Rate(200 * TERA, 120 * TERA, 3_000, 2.5),
    "RTX PRO 6000": Rate(110 * TERA, 60 * TERA, 3_000, 2.5),
}
OTHER_GPU = Rate(20 * TERA, 10 * TERA, 2_000, 4.0)

# Seconds on the measured machine, beyond what is encoded and trained.
LOAD_TORCH = 6.0
LOAD_MODEL = 1.0
READ_DOCUMENT = 1.5e-4
READ_CHARACTER = 1.0e-6
WRITE_QUERIES = 8.0e-4
SEARCH_ROW = 2.0e-4
BOOTSTRAP = 1.0
EXPORT = 5.0
EXPORT_PARAMETER = 2.5e-7
# Folding a map into the weights: what it takes whatever the corpus, and how often it encodes its texts.
FOLD, FOLD_SHARE = 8.0, 3.0
STRENGTH_MAPS = 6.0
PUSH = 8.0
# Bytes a second to and from the Hub; seconds until a bare machine has Python and torch.
NETWORK = 20e6
INSTALL = 120.0
# A request to a language model behind an endpoint.
ANSWER = 6.0
