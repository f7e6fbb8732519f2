"""p-values adjusted for the number of tests that are made at once."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """Adjust p-values by Holm's step-down method, which controls the family-wise error rate.

    If every hypothesis with an adjusted p-value below .05 is rejected, the probability of one or more false rejections
    is at most .05. Source: Holm, Scand. J. Stat. 6 (1979) 65-70.

    Args:
        p_values: float, (tests,), 0..1.

    Returns:
        float64, (tests,), the adjusted p-values in the order given.
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    return np.asarray(np.minimum(stepped, 1)[np.argsort(order)], dtype=np.float64)


def benjamini_hochberg(p_values: ArrayLike) -> NDArray[np.float64]:
    """Adjust p-values by Benjamini and Hochberg's method, which controls the false discovery rate.

    If every hypothesis with an adjusted p-value below .05 is rejected, the expected share of false rejections among
    them is at most 5 %, for tests that are independent or depend on each other positively (Benjamini and Yekutieli, Ann.
    Stat. 29 (2001) 1165-1188). Source: Benjamini and Hochberg, J. R. Stat. Soc. B 57 (1995) 289-300, as implemented in SciPy.

    Args:
        p_values: float, (tests,), 0..1.

    Returns:
        float64, (tests,), the adjusted p-values in the order given.
    """
    return np.asarray(stats.false_discovery_control(np.asarray(p_values, dtype=np.float64)), dtype=np.float64)
