"""The synthetic tasks, by name, for 2 to 12 steps. The steps of `chain` alone need one another."""

from pdata.synthetic.problem import Generator, Order, Problem, Step
from pdata.synthetic.tasks import cases, chain, records, sums

TASKS: dict[str, Generator] = {
    "records": records.make,
    "sums": sums.make,
    "cases": cases.make,
    "chain": chain.make,
}
LEVELS = range(2, 13)

__all__ = ["LEVELS", "TASKS", "Generator", "Order", "Problem", "Step"]
