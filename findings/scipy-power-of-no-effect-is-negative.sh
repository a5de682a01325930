#!/usr/bin/env bash
# scipy 1.17.1
# Source: scipy.stats.ncf and scipy.stats.nct, by which the power of a study is computed: chance that F or t passes its limit under an effect.
# Guess: with noncentrality 0 the noncentral F is the central one (its documentation allows nc >= 0), so power at no effect is the level;
# and the lower tail of a noncentral t goes to 0 as the effect grows.
# Behaviour: ncf.sf at nc = 0 is minus ncf.cdf, a negative probability, while nc = 1e-6 is right; nct.cdf is nan for some shifts between
# others where it is 1e-20 and less, so that a power of two tails is nan there.
# Exits 0 while it is so.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check "scipy==1.17.1"
"$folder/venv/bin/python" - <<'PYTHON' 2>/dev/null
import math

from scipy import stats

limit = stats.f.isf(0.05, 1, 5)
none, hardly = stats.ncf.sf(limit, 1, 5, 0), stats.ncf.sf(limit, 1, 5, 1e-6)
print(f"F of 1 and 5 at its 5 % limit: ncf.sf with nc = 0 {none:.4f}, nc = 1e-6 {hardly:.4f}, central {stats.f.sf(limit, 1, 5):.4f}")
tails = {shift: stats.nct.cdf(-2.5, 8, shift) for shift in (6.0, 8.0, 8.5, 10.0)}
print("lower tail of t of 8 at -2.5:", ", ".join(f"shift {shift:g} {tail:.2g}" for shift, tail in tails.items()))
wrong = none < -0.9 and abs(hardly - 0.05) < 1e-4
raise SystemExit(not (wrong and tails[8.0] < 1e-15 and math.isnan(tails[8.5])))
PYTHON
