"""The policies of eviction, one a file; their names stand in `options.NAMES` as well."""

from pinfer.eviction.options import KVOptions
from pinfer.eviction.policies import h2o, lazy, none, raas, random, sink, value
from pinfer.eviction.policy import Policy

POLICIES: dict[str, type[Policy]] = {
    "raas": raas.Policy,
    "random": random.Policy,
    "value": value.Policy,
    "sink": sink.Policy,
    "h2o": h2o.Policy,
    "lazy": lazy.Policy,
    "none": none.Policy,
}


def get_policy(options: KVOptions) -> Policy:
    """The policy that the options name."""
    return POLICIES[options.policy](options)
