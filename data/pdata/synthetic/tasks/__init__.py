"""The synthetic tasks, by name, for 2 to 12 steps. Only the steps of `chain` are dependent."""

from pdata.synthetic.problem import Generator
from pdata.synthetic.tasks import cases, chain, records, sums

TASKS: dict[str, Generator] = {
    "records": records.make,
    "sums": sums.make,
    "cases": cases.make,
    "chain": chain.make,
}
LEVELS = range(2, 13)
