"""Fail when fewer than the given percentage of branches, or of statements, was covered.

``coverage report`` mixes both into one figure; the project promises each.
"""

import json
import sys
from pathlib import Path


def main() -> int:
    report, statements, branches = Path(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])
    totals = json.loads(report.read_text())["totals"]
    statement_share = 100 * totals["covered_lines"] / totals["num_statements"]
    branch_share = 100 * totals["covered_branches"] / totals["num_branches"]
    print(  # noqa: T201 - its output is its purpose
        f"statements {statement_share:.1f} % (at least {statements:g}), "
        f"branches {branch_share:.1f} % (at least {branches:g})"
    )
    return 0 if statement_share >= statements and branch_share >= branches else 1


if __name__ == "__main__":
    sys.exit(main())
