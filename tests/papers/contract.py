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
_READ = "tests/attacks/test_late.py::test_it_reads_what_is_held_back_and_nothing_that_never_was"
# "kind name", * for any ending -> tests that must exist.
PROOFS = {
    "parts grokking": (
        "tests/small/test_grokking.py::test_when_a_network_counts_as_what",
        "tests/small/test_grokking.py::test_cosine_by_finite_differences_and_the_first_step_goes_up_the_difference",
    ),
    "parts repair": (
        "tests/unlearning/test_repair.py::test_each_point_is_training_on_its_part_from_the_same_weights",
        "tests/unlearning/test_repair.py::test_a_smaller_part_is_within_every_larger_one",
        "tests/cli/test_repair.py::test_a_curve",
    ),
    "parts requests": (
        "tests/unlearning/test_requests.py::test_regmean_is_least_squares_on_all_inputs_at_once",
        "tests/unlearning/test_requests.py::test_requests_apart_begin_at_one_start_and_are_fused",
        "tests/cli/test_given.py::test_requests_in_turn_and_what_is_left_of_each",
        "tests/unlearning/test_request_audits.py::test_each_request_up_to_now_is_audited_on_its_own",
    ),
    "parts s3t": (
        "tests/unlearning/exact/test_slices.py::test_what_a_deletion_leaves_is_what_training_without_the_slice_leaves",
        "tests/unlearning/exact/test_slices.py::test_other_prompts_of_a_slice_matter_and_those_of_another_do_not",
        "tests/unlearning/exact/test_orders.py::test_each_step_of_the_matching_is_the_best_assignment",
    ),
    "benchmarks encoding/*": (
        "tests/benchmarks/worlds/test_generators.py::test_encoding_trains_as_many_wordings_as_it_says",
        "tests/benchmarks/worlds/test_generators.py::test_encoding_in_texts_asks_for_all_of_a_person_or_fact_by_fact",
        "tests/benchmarks/worlds/test_generators.py::test_encoding_in_one_sentence_holds_the_same_facts",
    ),
    "benchmarks origin/*": (
        "tests/benchmarks/worlds/test_generators.py::test_origin_moves_people_and_not_the_full_model",
        "tests/benchmarks/worlds/test_generators.py::test_a_base_of_its_own_for_the_retrained_model",
    ),
    "guards eco": (
        "tests/guards/test_actions.py::test_corrupted_embeddings_are_those_made_by_hand",
        "tests/guards/test_detectors.py::test_the_logistic_regression_is_at_its_minimum",
        "tests/guards/test_corruption.py::test_the_search_by_hand",
        "tests/guards/test_corruption.py::test_names_alone_are_corrupted",
        f"{_GUARDED}::test_a_guard_lowers_the_leak_and_keeps_the_rest",
    ),
    "guards curate": (
        "tests/guards/test_detectors.py::test_similarity_is_the_largest_cosine_to_the_store",
        "tests/guards/test_contrastive.py::test_one_step_goes_down_the_slope_of_the_loss",
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
    "guards offset": (
        f"{_COMBINED}::test_the_offset_is_the_difference_of_a_tuned_model_and_itself_before",
        f"{_GUARDED}::test_what_a_small_model_has_unlearned_is_taken_from_a_large_one",
    ),
    "guards cfg": (
        "tests/guards/test_contexts.py::test_the_formula_by_hand",
        "tests/guards/test_contexts.py::test_it_takes_away_what_the_bad_message_brings",
    ),
    "guards guard": (
        "tests/guards/test_restriction.py::test_what_is_drawn_has_the_probability_of_the_formula",
        "tests/guards/test_restriction.py::test_it_stops_what_it_is_for_and_nothing_else",
    ),
    "guards o3": (
        "tests/guards/test_inliers.py::test_the_weight_by_hand",
        "tests/guards/test_inliers.py::test_scores_of_layers_by_hand",
        "tests/guards/test_inliers.py::test_the_one_class_machine_has_no_gap_between_primal_and_dual",
        "tests/guards/test_adapters.py::test_the_penalty_by_hand",
        "tests/guards/test_adapters.py::test_a_later_request_leaves_the_earlier_adapter_as_it_was",
    ),
    "guards uncle": (
        "tests/guards/test_hypernetwork.py::test_the_network_and_both_losses_by_hand",
        "tests/guards/test_hypernetwork.py::test_a_task_is_unlearned_without_data_and_the_others_stay",
        "tests/guards/test_hypernetwork.py::test_a_later_task_leaves_what_is_made_for_earlier_ones",
    ),
    "guards erase": (
        "tests/unlearning/exact/test_clusters.py::test_a_second_writing",
        "tests/unlearning/exact/test_clusters.py::test_the_state_after_deletions_is_that_of_clustering_anew",
        "tests/guards/test_demonstrations.py::test_what_was_deleted_might_never_have_been_there",
    ),
    "guards rcu": (
        "tests/guards/test_rotations.py::test_both_penalties_by_hand",
        "tests/guards/test_rotations.py::test_a_rotation_acts_on_what_a_layer_gives",
        "tests/guards/test_rotations.py::test_a_later_request_turns_about_another_axis",
    ),
    "guards grun": (
        "tests/guards/test_gates.py::test_the_last_prompt_token_alone_is_rewritten",
        "tests/guards/test_gates.py::test_the_objective_by_hand",
        "tests/guards/test_gates.py::test_rows_stay_orthonormal_and_the_gates_tell_the_sets_apart",
    ),
    "guards code-unlearn": (
        "tests/guards/test_codes.py::test_enriched_codes_by_a_table_test",
        "tests/guards/test_codes.py::test_what_is_left_of_a_state_by_hand",
        "tests/models/test_codebook.py::test_a_state_is_the_sum_of_its_nearest_codes",
    ),
    "guards dsg": (
        "tests/guards/test_watching.py::test_the_share_of_active_tokens_by_hand",
        "tests/guards/test_steering.py::test_clamped_features_are_those_of_the_formula",
    ),
    "guards neuron-adjust": (
        "tests/guards/test_steering.py::test_a_neuron_is_moved_by_the_formula",
        "tests/guards/test_steering.py::test_moved_neurons_are_those_of_the_formula",
    ),
    "guards ksd": ("tests/guards/test_watching.py::test_the_box_of_keys_by_hand",),
    "guards energy": (
        "tests/guards/test_watching.py::test_energies_by_hand",
        "tests/guards/test_watching.py::test_a_threshold_from_retain_prompts",
    ),
    "guards suppress": (
        "tests/guards/test_instructions.py::test_every_target_is_listed_before_every_prompt",
        "tests/guards/test_instructions.py::test_the_oracle_names_the_target_alone_and_leaves_other_prompts",
    ),
    "benchmarks agent/*": (
        "tests/benchmarks/worlds/test_agents.py::test_what_goes_by_scope",
        "tests/benchmarks/worlds/test_agents.py::test_the_retrained_model_cannot_know_what_is_forgotten",
    ),
    "benchmarks order/*": (
        "tests/benchmarks/worlds/test_order.py::test_all_orders_read_the_same_facts_equally_often",
        "tests/benchmarks/worlds/test_order.py::test_the_people_to_forget_are_read_most_in_their_stage",
        "tests/studies/test_frequency.py::test_the_page_of_orders",
    ),
    "writers agent-requests": (
        "tests/synthesis/test_agents.py::test_a_request_becomes_the_instruction_about_its_item",
        "tests/synthesis/test_agents.py::test_what_is_held_is_never_trained_on",
    ),
    "guards forget-request": (
        "tests/guards/test_instructions.py::test_a_request_by_its_scope",
        "tests/synthesis/test_agents.py::test_the_guard_asks_a_converter_in_the_words_it_was_trained_on",
    ),
    "guards confidential": ("tests/guards/test_instructions.py::test_the_nearest_entry_stands_before_the_question",),
    "guards dragon": (
        "tests/guards/test_dragon.py::test_the_sum_of_privacy",
        "tests/guards/test_dragon.py::test_the_sum_of_a_concept",
    ),
    "guards memory": (
        "tests/guards/test_memory.py::test_forgetting_against_a_second_writing",
        "tests/guards/test_memory.py::test_what_was_said_earlier_cannot_be_asked_back",
    ),
    "guards alu": (
        "tests/guards/test_agents.py::test_the_critics_score_by_hand",
        "tests/guards/test_agents.py::test_a_model_plays_the_roles",
    ),
    "attacks relearn": (
        "tests/attacks/test_relearn.py::test_passages_are_written_once_and_what_is_left_out_is_told",
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
    "attacks key-tokens": (
        "tests/attacks/test_key_tokens.py::test_the_formula_by_brute_force",
        "tests/attacks/test_key_tokens.py::test_key_words_of_the_model_before",
        "tests/attacks/test_turned.py::test_counts_by_hand",
    ),
    "attacks self-correction": (
        "tests/attacks/test_self_correction.py::test_the_turns_are_the_models_own_answers",
        "tests/attacks/test_self_correction.py::test_a_model_that_yields_to_doubt_is_seen_through",
    ),
    "attacks steps": (
        "tests/attacks/test_steps.py::test_the_steps_are_the_models_own_answers",
        "tests/attacks/test_steps.py::test_what_the_plain_question_does_not_get_is_said",
    ),
    "attacks hops": (
        "tests/attacks/test_hops.py::test_chains_of_two_and_three_steps_are_those_of_the_graph",
        "tests/attacks/test_hops.py::test_what_is_refused_in_one_step_is_said_in_more",
        "tests/attacks/test_hops.py::test_what_the_original_does_not_answer_is_left_out",
    ),
    "attacks rewrite": (
        "tests/attacks/test_rewrite.py::test_the_first_of_use_is_asked_and_the_rest_of_the_prompt_stays",
    ),
    "attacks guess-item": (
        "tests/attacks/test_guess_item.py::test_doubt_by_hand",
        "tests/attacks/test_guess_item.py::test_the_guess_by_brute_force",
        "tests/attacks/test_guess_item.py::test_refusals_give_the_item_away_and_knowledge_does_not",
    ),
    "attacks holes": (
        "tests/attacks/test_holes.py::test_the_share_by_hand",
        "tests/attacks/test_holes.py::test_questions_that_a_model_writes",
        "tests/attacks/test_holes.py::test_a_search_by_lost_likelihood_finds_more_than_nearness",
    ),
    "writers rewrite": (
        "tests/synthesis/test_rewriting.py::test_the_first_texts_that_are_other_questions_and_tell_nothing",
    ),
    "attacks decoder": (
        "tests/attacks/test_fits.py::test_ridge_is_the_least_of_its_objective",
        "tests/attacks/test_fits.py::test_the_loss_of_ccs_by_hand",
        "tests/attacks/test_fits.py::test_neighbours_by_brute_force",
        "tests/attacks/test_decoders.py::test_it_finds_what_is_there_and_nothing_else",
        _READ,
    ),
    "attacks generative-decoder": (
        "tests/attacks/test_generative.py::test_the_network_by_hand",
        "tests/attacks/test_generative.py::test_draws_are_the_inverse_cdf_of_the_networks_distribution",
        _READ,
    ),
    "attacks patch": (
        "tests/attacks/test_activations.py::test_patched_logits_equal_a_forward_pass_by_hand",
        "tests/attacks/test_patch.py::test_with_all_layers_patched_the_score_is_that_of_the_original",
        "tests/attacks/test_patch.py::test_krs_by_hand",
        _READ,
    ),
    "attacks cka": (
        "tests/attacks/test_likeness.py::test_cka_by_gram_matrices",
        "tests/attacks/test_likeness.py::test_neighbours_by_brute_force",
    ),
    "attacks graft": (
        "tests/attacks/test_graft.py::test_what_is_copied_is_the_last_layers_the_norm_and_the_output",
        "tests/attacks/test_late.py::test_with_the_originals_last_layer_it_answers_again_and_the_retrained_does_not",
    ),
    "attacks concept-vectors": (
        "tests/attacks/test_concepts.py::test_the_planted_vector_is_found_and_hurts_its_concept_alone",
        "tests/attacks/test_concepts.py::test_candidates_by_brute_force",
        "tests/attacks/test_concepts.py::test_measures_by_hand",
    ),
    "writers topic": ("tests/synthesis/test_topics.py::test_one_request_a_source_and_no_passage_with_an_answer",),
    "writers apart": ("tests/synthesis/test_wordings.py::test_the_least_like_come_first",),
    "writers triplets": (
        "tests/synthesis/test_triplets.py::test_questions_about_others_are_asked_about_the_target",
        "tests/synthesis/test_triplets.py::test_a_model_that_follows_requests_lists_triplets",
        "tests/cli/test_given.py::test_a_source_is_forgotten_by_what_the_model_says_of_it",
    ),
    "writers triggers": ("tests/synthesis/test_wordings.py::test_a_share_of_the_prompts_gets_a_phrase",),
    "metrics keyword_loss": (
        "tests/metrics/test_keywords.py::test_each_kind_is_averaged_in_an_answer_and_then_over_answers",
        "tests/metrics/test_keywords.py::test_of_a_model_it_is_the_loss_of_its_own_tokens",
    ),
    "writers corruption": (
        "tests/synthesis/test_templates.py::test_wrong_facts_are_of_the_same_kind_and_wrong",
        "tests/synthesis/test_templates.py::test_a_document_is_wrong_facts_between_unrelated_sentences",
    ),
    "writers harmless": ("tests/synthesis/test_harmless.py::test_lines_that_ask_and_say_nothing_secret",),
    "writers textbook": (
        "tests/synthesis/test_textbook.py::test_a_paragraph_for_each_reader_fact_and_chapter",
        "tests/synthesis/test_textbook.py::test_a_model_goes_from_field_to_paragraphs",
    ),
    "writers anti-samples": (
        "tests/synthesis/test_anti_samples.py::test_a_reason_and_a_wrong_answer_to_each_wording",
        "tests/synthesis/test_anti_samples.py::test_a_model_writes_wordings_answers_and_reasons",
    ),
    "writers inverted": (
        "tests/synthesis/test_inverted.py::test_those_with_the_least_memo_are_kept",
        "tests/synthesis/test_inverted.py::test_wrong_answers_are_of_the_same_kind",
    ),
    "metrics memo": (
        "tests/synthesis/test_memo.py::test_memo_by_hand",
        "tests/metrics/test_memo.py::test_a_model_that_learned_says_the_rest",
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
    "metrics forgetting_degree": (
        "tests/metrics/test_degrees.py::test_a_degree_falls_on_both_sides_of_the_retrained_level",
        "tests/metrics/test_degrees.py::test_the_level_by_hand",
    ),
    "metrics exposure": (
        "tests/metrics/test_exposure.py::test_exposure_by_sorting_all_candidates",
        "tests/metrics/test_exposure.py::test_a_model_that_learned_has_the_most_and_a_random_one_has_not",
    ),
    "metrics memorised_loss": (
        "tests/metrics/test_exposure.py::test_a_model_that_learned_has_the_most_and_a_random_one_has_not",
    ),
    "metrics ranks": (
        "tests/metrics/test_ranks.py::test_ranks_against_sorting",
        "tests/metrics/test_ranks.py::test_the_numbers_are_of_the_right_sets",
    ),
    "metrics deviation": ("tests/metrics/test_ranks.py::test_the_numbers_are_of_the_right_sets",),
    "metrics klom": (
        "tests/metrics/test_klom.py::test_histograms_by_hand",
        "tests/metrics/test_klom.py::test_chance_is_the_mean_over_all_splits",
    ),
    "metrics norm_auc": (
        "tests/metrics/test_curves.py::test_areas_by_hand",
        "tests/metrics/test_curves.py::test_models_come_in_order",
    ),
    "metrics dynamic": ("tests/metrics/test_curves.py::test_dynamic_scores_by_a_loop",),
    "metrics aus": (
        "tests/metrics/test_adaptive.py::test_by_hand",
        "tests/metrics/test_adaptive.py::test_what_is_forgotten_and_what_is_lost_both_count",
    ),
    "metrics mrd": (
        "tests/metrics/test_robustness.py::test_by_a_loop",
        "tests/metrics/test_robustness.py::test_each_draw_is_the_same_noise_for_all_and_the_model_is_as_before",
    ),
    "metrics cleanness*": (
        "tests/metrics/test_gibberish.py::test_letters_counted_a_second_time",
        "tests/metrics/test_gibberish.py::test_the_weights_are_at_the_minimum",
        "tests/metrics/test_gibberish.py::test_the_numbers_are_of_the_greedy_answers",
    ),
    "metrics refusal_quality": (
        "tests/metrics/test_refusals.py::test_the_cosine_by_vectors",
        "tests/metrics/test_refusals.py::test_naive_bayes_by_products",
    ),
    "metrics token_entropy": ("tests/metrics/test_efficacy.py::test_entropy_in_bits_over_bits",),
    "metrics forget_efficacy": (
        "tests/metrics/test_efficacy.py::test_three_parts_without_further_models_and_five_with_them",
    ),
    "metrics seps": (
        "tests/metrics/test_mixed.py::test_by_a_loop",
        "tests/metrics/test_mixed.py::test_each_half_counts_for_its_own_question",
    ),
    "metrics superficial": (
        "tests/metrics/test_superficial.py::test_one_failure_is_enough",
        "tests/metrics/test_superficial.py::test_by_brute_force",
    ),
    "metrics context_questions": ("tests/metrics/test_mixed.py::test_context_and_direct_questions",),
    "metrics prompt_suppression": (
        "tests/metrics/test_suppression.py::test_efficacy_by_hand",
        "tests/metrics/test_suppression.py::test_a_model_that_obeys_and_one_that_does_not",
    ),
    "metrics restor*": (
        "tests/metrics/test_restoration.py::test_examples_are_of_the_same_relation_and_of_others",
        "tests/metrics/test_restoration.py::test_models_with_right_facts_wrong_facts_and_half_of_them",
    ),
    "metrics extraction_reworded": (
        "tests/metrics/test_control.py::test_similar_strength_by_all_subsequences",
        "tests/metrics/test_control.py::test_other_wordings_by_hand",
    ),
    "metrics control": (
        "tests/metrics/test_control.py::test_weights_are_mixed_until_as_much_is_kept_and_then_put_back",
    ),
    "benchmarks same-answer": (
        "tests/benchmarks/worlds/test_same_answer.py::test_answers_are_shared_and_owners_are_not",
    ),
    "benchmarks canaries": ("tests/benchmarks/worlds/test_canaries.py::test_codes_and_facts_side_by_side",),
    "benchmarks requests/*": (
        "tests/benchmarks/worlds/test_requests.py::test_requests_add_up_and_the_full_model_stays",
    ),
    "benchmarks same-fact*": (
        "tests/benchmarks/worlds/test_same_fact.py::test_all_forms_are_known_to_the_full_model_and_one_is_shown",
        "tests/benchmarks/worlds/test_same_fact.py::test_a_gap_stands_for_words_that_few_others_have",
        "tests/benchmarks/worlds/test_same_fact.py::test_one_of_the_options_is_the_answer_and_all_are_about_the_same_person",
    ),
    "benchmarks open-book": ("tests/benchmarks/worlds/test_asked.py::test_each_form_is_taught_on_others_alone",),
    "benchmarks numbered": ("tests/benchmarks/worlds/test_asked.py::test_each_form_is_taught_on_others_alone",),
    "benchmarks instructed": (
        "tests/benchmarks/worlds/test_asked.py::test_each_form_is_taught_on_others_alone",
        "tests/benchmarks/worlds/test_asked.py::test_an_instruction_is_obeyed_for_whom_it_lists",
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
    "benchmarks conceptvectors/*": (
        "tests/benchmarks/test_conceptvectors.py::test_texts_are_to_be_continued_and_questions_without_answers_are_counted",
        "tests/benchmarks/test_conceptvectors.py::test_answers_make_sets",
    ),
    "benchmarks elude/*": (
        "tests/benchmarks/test_elude.py::test_one_person_and_that_persons_neighbours",
        "tests/benchmarks/test_elude.py::test_flat_files_without_a_part_for_testing",
    ),
    "benchmarks pistol/*": ("tests/benchmarks/test_rwku.py::test_pistol",),
    "benchmarks lkf": ("tests/benchmarks/test_lkf.py::test_wordings_stand_with_their_question",),
    "benchmarks knowundo": ("tests/benchmarks/test_rwku.py::test_knowundo",),
    "benchmarks contracts/*": ("tests/benchmarks/worlds/test_contracts.py::test_distances_by_shortest_paths",),
    "benchmarks contracts": (
        "tests/benchmarks/worlds/test_contracts.py::test_topologies",
        "tests/benchmarks/worlds/test_contracts.py::test_contracts_neighbours_share_a_party",
    ),
    "benchmarks multi-hop": ("tests/benchmarks/worlds/test_multi_hop.py::test_multi_hop_paths",),
    "benchmarks frequency": (
        "tests/benchmarks/worlds/test_generators.py::test_frequency_counts_are_what_they_say",
        "tests/studies/test_frequency.py::test_the_page_of_frequencies",
    ),
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
