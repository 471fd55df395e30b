"""What proves that a row of the paper index works: the tests of whatever serves it.

Of kinds with a contract test, each thing must be among what that test is run on. Of the others, PROOFS names the tests.
"""

from fnmatch import fnmatch

# Kind -> test files or directories, of which at least one test must be parametrised by the thing.
CONTRACTS = {
    "methods": ("tests/unlearning/test_methods.py", "tests/unlearning/methods"),
    "guards": ("tests/guards",),
    "attacks": ("tests/attacks",),
    "writers": ("tests/synthesis",),
    "metrics": ("tests/metrics",),
    "scorers": ("tests/scorers/test_contract.py",),
    "probes": ("tests/probes/test_contract.py",),
}
# "kind name", * for any ending -> tests that must exist.
PROOFS = {
    "benchmarks tofu/*": (
        "tests/benchmarks/test_tofu.py::test_published_splits",
        "tests/metrics/test_base.py::test_full_knows_and_retrained_does_not",
        "tests/metrics/test_utility.py::test_model_utility_equals_scipy",
        "tests/metrics/test_utility.py::test_forget_quality_is_the_share_of_splits_that_are_as_far_apart",
    ),
    "benchmarks muse/*": (
        "tests/benchmarks/test_muse.py::test_published_files",
        "tests/metrics/test_forgetting.py::test_a_model_that_learned_the_world_in_muse_format",
        "tests/metrics/test_retrained.py::test_privleak_signs",
    ),
    "benchmarks pistol/*": ("tests/benchmarks/test_rwku.py::test_pistol",),
    "benchmarks knowundo": ("tests/benchmarks/test_rwku.py::test_knowundo",),
    "benchmarks contracts": (
        "tests/benchmarks/worlds/test_contracts.py::test_topologies",
        "tests/benchmarks/worlds/test_contracts.py::test_contracts_neighbours_share_a_party",
    ),
    "benchmarks frequency": ("tests/benchmarks/worlds/test_generators.py::test_frequency_counts_are_what_they_say",),
    "benchmarks corruption": ("tests/benchmarks/worlds/test_generators.py::test_corruption_puts_wrong_over_right",),
    "parts leak@k": (
        "tests/estimate/test_ustatistic.py::test_equals_the_mean_over_all_subsets",
        "tests/estimate/test_ustatistic.py::test_binary_scores_give_pass_at_k",
    ),
    "parts rule": (
        "tests/unlearning/rule/test_rule.py::test_adds_the_distinct_leaks_most_frequent_first_and_at_most_cap",
        "tests/unlearning/rule/test_rule.py::test_stops_at_a_certified_target_or_at_the_yardstick",
    ),
}


def proofs_of(kind, name):
    """The tests named for one thing; none for a kind with a contract."""
    return next((tests for pattern, tests in PROOFS.items() if fnmatch(f"{kind} {name}", pattern)), ())
