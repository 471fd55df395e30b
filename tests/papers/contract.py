"""What proves that a row of the paper index works: the tests of whatever serves it.

Of kinds with a contract test, each thing must be among what that test is run on. Where the contract says nothing of the
formula (`BY_NAME`), tests of the formula are named in PROOFS too.
"""

from fnmatch import fnmatch

# Kind -> test files or directories, of which at least one test must be parametrised by the thing.
CONTRACTS = {
    "methods": ("tests/unlearning/test_methods.py", "tests/unlearning/methods"),
    "guards": ("tests/guards/test_contract.py",),
    "attacks": ("tests/attacks/test_contract.py",),
    "writers": ("tests/synthesis/test_contract.py",),
    "metrics": ("tests/metrics/test_contract.py",),
    "scorers": ("tests/scorers/test_contract.py",),
    "probes": ("tests/probes/test_contract.py",),
}
# Kinds of which each thing that serves a row has tests named in PROOFS.
BY_NAME = ("guards", "attacks", "writers", "metrics", "benchmarks", "parts")
_GUARDED, _COMBINED = "tests/guards/test_sampler.py", "tests/guards/test_combine.py"
# "kind name", * for any ending -> tests that must exist.
PROOFS = {
    "parts requests": (
        "tests/unlearning/test_requests.py::test_regmean_is_least_squares_on_all_inputs_at_once",
        "tests/unlearning/test_requests.py::test_requests_apart_begin_at_one_start_and_are_fused",
        "tests/cli/test_given.py::test_requests_in_turn_and_what_is_left_of_each",
    ),
    "benchmarks encoding/*": (
        "tests/benchmarks/worlds/test_generators.py::test_encoding_trains_as_many_wordings_as_it_says",
        "tests/benchmarks/worlds/test_generators.py::test_encoding_in_texts_asks_for_all_of_a_person_or_fact_by_fact",
    ),
    "benchmarks origin/*": (
        "tests/benchmarks/worlds/test_generators.py::test_origin_moves_people_and_not_the_full_model",
        "tests/benchmarks/worlds/test_generators.py::test_a_base_of_its_own_for_the_retrained_model",
    ),
    "guards eco": (
        "tests/guards/test_actions.py::test_corrupted_embeddings_are_those_made_by_hand",
        "tests/guards/test_detectors.py::test_the_logistic_regression_is_at_its_minimum",
        f"{_GUARDED}::test_a_guard_lowers_the_leak_and_keeps_the_rest",
    ),
    "guards curate": (
        "tests/guards/test_detectors.py::test_similarity_is_the_largest_cosine_to_the_store",
        f"{_GUARDED}::test_a_refusal_is_exact",
        f"{_GUARDED}::test_a_guard_lowers_the_leak_and_keeps_the_rest",
    ),
    "guards ucd": (
        f"{_COMBINED}::test_the_difference_moves_probabilities",
        f"{_GUARDED}::test_the_model_minus_itself_plus_the_clean_one_is_the_clean_one",
    ),
    "guards dd": (
        f"{_COMBINED}::test_the_difference_moves_probabilities",
        f"{_GUARDED}::test_a_guard_lowers_the_leak_and_keeps_the_rest",
    ),
    "guards dd-rank": (
        f"{_COMBINED}::test_the_most_preferred_tokens_are_not_said",
        f"{_GUARDED}::test_a_guard_lowers_the_leak_and_keeps_the_rest",
    ),
    "guards icul": (
        "tests/guards/test_actions.py::test_examples_stand_before_the_prompt",
        "tests/guards/test_actions.py::test_a_false_reply_is_never_the_true_one",
    ),
    "attacks relearn": (
        "tests/attacks/test_relearn.py::test_it_trains_on_what_is_not_measured",
        "tests/attacks/test_relearn.py::test_training_on_text_makes_it_likelier",
        "tests/attacks/test_relearn.py::test_a_step_of_each_optimiser_by_hand",
        "tests/attacks/test_relearn.py::test_at_its_defaults_it_brings_back_what_was_suppressed_and_nothing_of_the_retrained_model",
        "tests/attacks/test_lessons.py::test_similarity_is_of_edits",
        "tests/attacks/test_lessons.py::test_folds_of_a_topic_hold_whole_templates",
        "tests/attacks/test_trails.py::test_each_point_of_a_run_has_the_weights_of_a_run_that_ends_there",
        "tests/attacks/test_worst.py::test_both_ways_by_hand",
        "tests/attacks/test_ladder.py::test_relearning_half_brings_back_the_other_half_and_not_of_the_retrained_model",
    ),
    "attacks quantise": (
        "tests/attacks/test_quantise.py::test_against_a_second_implementation",
        "tests/attacks/test_quantise.py::test_each_block_is_rounded_by_what_it_reads_after_those_before_it",
        "tests/attacks/test_quantise.py::test_rounding_undoes_an_unlearning_whose_steps_are_smaller_than_its_own",
        "tests/attacks/test_rounding.py::test_gptq_against_a_second_implementation",
        "tests/attacks/test_rounding.py::test_awq_against_a_second_implementation",
        "tests/attacks/test_packages.py::test_it_is_the_file_that_a_converter_writes",
    ),
    "attacks key-tokens": ("tests/attacks/test_key_tokens.py::test_the_formula_by_brute_force",),
    "attacks decoder": (
        "tests/attacks/test_decoders.py::test_ridge_is_the_least_of_its_objective",
        "tests/attacks/test_decoders.py::test_it_finds_what_is_there_and_nothing_else",
    ),
    "writers corruption": (
        "tests/synthesis/test_templates.py::test_wrong_facts_are_of_the_same_kind_and_wrong",
        "tests/synthesis/test_templates.py::test_a_document_is_wrong_facts_between_unrelated_sentences",
    ),
    "writers alternates": (
        "tests/synthesis/test_generated.py::test_five_other_answers_for_each_question",
        "tests/synthesis/test_generated.py::test_they_feed_the_method",
    ),
    "metrics truth_ratio": ("tests/metrics/test_truth_ratio.py::test_truth_ratio_conventions_by_hand",),
    "metrics forget_quality": (
        "tests/metrics/test_retrained.py::test_forget_quality_is_the_share_of_splits_that_are_as_far_apart",
    ),
    "metrics model_utility": ("tests/metrics/test_utility.py::test_model_utility_equals_scipy",),
    "metrics forgetting": (
        "tests/metrics/test_utility.py::test_mean_logprob_and_probability",
        "tests/metrics/test_base.py::test_full_knows_and_retrained_does_not",
    ),
    "metrics knowmem": ("tests/metrics/test_forgetting.py::test_a_model_that_learned_the_world_in_muse_format",),
    "metrics verbmem": (
        "tests/metrics/test_forgetting.py::test_a_model_that_learned_the_world_in_muse_format",
        "tests/metrics/test_forgetting.py::test_the_true_continuation_is_cut_to_the_tokens_that_are_generated",
    ),
    "metrics privleak": ("tests/metrics/test_retrained.py::test_privleak_signs",),
    "metrics extraction": (
        "tests/metrics/test_memorisation.py::test_overlap_counts_grams_one_by_one",
        "tests/metrics/test_memorisation.py::test_answers_against_a_second_implementation",
    ),
    "metrics memorisation": (
        "tests/metrics/test_memorisation.py::test_extraction_strength_is_the_definition",
        "tests/metrics/test_base.py::test_memorisation_and_attacks_by_their_definitions",
    ),
    "benchmarks tofu/*": (
        "tests/benchmarks/test_tofu.py::test_published_splits",
        "tests/metrics/test_base.py::test_full_knows_and_retrained_does_not",
        "tests/metrics/test_utility.py::test_model_utility_equals_scipy",
        "tests/metrics/test_retrained.py::test_forget_quality_is_the_share_of_splits_that_are_as_far_apart",
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
    "benchmarks multi-hop": ("tests/benchmarks/worlds/test_multi_hop.py::test_multi_hop_paths",),
    "benchmarks frequency": ("tests/benchmarks/worlds/test_generators.py::test_frequency_counts_are_what_they_say",),
    "benchmarks corruption": ("tests/benchmarks/worlds/test_generators.py::test_corruption_puts_wrong_over_right",),
    "parts leak@k": (
        "tests/estimate/test_ustatistic.py::test_equals_the_mean_over_all_subsets",
        "tests/estimate/test_ustatistic.py::test_binary_scores_give_pass_at_k",
    ),
    "parts attack-ladder": (
        "tests/attacks/test_ladder.py::test_relearning_half_brings_back_the_other_half_and_not_of_the_retrained_model",
        "tests/attacks/test_ladder.py::test_numbers_are_those_of_the_samples_paired_by_prompt",
        "tests/attacks/test_lessons.py::test_what_texts_give_away",
    ),
    "parts memorised-stop": (
        "tests/metrics/test_memorisation.py::test_the_stop_rule_tells_a_model_that_knows_from_one_that_does_not",
    ),
    "parts rule": (
        "tests/unlearning/rule/test_rule.py::test_adds_the_distinct_leaks_most_frequent_first_and_at_most_cap",
        "tests/unlearning/rule/test_rule.py::test_stops_at_a_certified_target_or_at_the_yardstick",
    ),
}


def proofs_of(kind, name):
    """The tests named for one thing; none where the contract says it all."""
    return next((tests for pattern, tests in PROOFS.items() if fnmatch(f"{kind} {name}", pattern)), ())
