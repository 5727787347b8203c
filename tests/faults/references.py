"""What is not injected by a group because a test injects it, and which test provokes each alert of the runbook.

`tests/architecture/test_faults.py` checks that the tests exist, and that no alert is missing.
"""

from __future__ import annotations

from collections.abc import Mapping

ELSEWHERE: Mapping[str, tuple[str, ...]] = {
    "the gateway is killed between the commit and its answer, and delivers twice": (
        "tests/webhook_gateway/test_spill.py::test_a_spilled_event_leaves_the_broker_when_the_journal_has_it",
        "tests/journeys/test_disorder.py::test_duplicated_and_shuffled_deliveries_have_one_effect",
    ),
    "a relay is killed between confirm and mark": (
        "tests/webhook_gateway/test_outages.py::test_killing_the_relay_loses_nothing",
    ),
    "two relays; a worker whose lease has expired": (
        "tests/kit/test_relay.py::test_several_relays_publish_each_row_once",
        "tests/webhook_gateway/test_journal_relay.py::test_two_relays_publish_each_event_once",
        "tests/kit/test_jobs.py::test_a_worker_that_has_lost_its_lease_records_nothing",
        "tests/kit/test_jobs.py::test_the_job_of_a_worker_that_died_is_retried_after_its_lease",
    ),
    "an unroutable key": (
        "tests/kit/test_relay.py::test_an_unroutable_message_waits_until_a_queue_is_bound",
        "tests/kit/test_mandatory.py::test_an_event_is_published_once_its_first_queue_is_bound",
        "tests/webhook_gateway/test_journal_relay.py::test_an_event_without_a_queue_waits_for_one",
    ),
    "a consumer is killed before its commit, and between commit and acknowledgment": (
        "tests/faults/test_kill.py::test_a_killed_consumer_loses_and_repeats_nothing",
    ),
    "the same message on two consumers": (
        "tests/kit/test_subscribers.py::test_an_event_is_handled_once_however_often_it_is_delivered",
        "tests/kit/test_batches.py::test_a_lost_race_is_tried_again_as_a_batch",
    ),
    "a consumer is canceled while its connection lives": (
        "tests/kit/test_subscribers.py::test_a_subscriber_that_the_broker_has_canceled_is_attached_again",
    ),
    "connections cut in the middle of a statement": (
        "tests/webhook_gateway/test_outages.py::test_every_delivery_is_answered_while_connections_are_terminated",
    ),
    "both stores down: 503, and nothing is lost": (
        "tests/webhook_gateway/test_outages.py::test_with_both_down_the_answer_is_503",
    ),
    "a bad message first, in the middle, and always; replayed twice after the fix": (
        "tests/kit/test_hostile_messages.py::test_a_message_that_cannot_be_decoded_is_dead_lettered_and_harms_no_other",
        "tests/kit/test_dead_letters.py::test_more_bad_messages_than_the_prefetch_do_not_block_the_queue",
        "tests/kit/test_broker_dead_letters.py::test_a_message_that_crashes_its_consumers_is_dead_lettered_at_the_limit",
        "tests/kit/test_dead_letters.py::test_a_message_is_dead_lettered_after_the_last_attempt_and_can_be_replayed",
    ),
    "the provider acts and its answer is lost; it redirects to another address": (
        "tests/milady_integration/test_client.py::test_a_lost_response_ends_in_exactly_one_enrollment",
        "tests/milady_integration/test_client.py::test_a_redirect_is_not_followed",
        "tests/milady_integration/test_processes.py::test_an_outage_of_milady_ends_with_everybody_enrolled_once",
    ),
    "the mail server dies after it has stored a mail, and before": (
        "tests/notifications/test_delivery.py::test_a_server_that_dies_after_storing_gets_it_once",
        "tests/notifications/test_delivery.py::test_a_server_that_dies_before_storing_leaves_it_unknown",
    ),
    "Stripe's answer is lost": ("tests/checkout/test_retries.py::test_a_lost_answer",),
    "every order of the events of a purchase": (
        "tests/ledger/test_fold.py::test_every_permutation_has_the_same_verdicts",
        "tests/checkout/test_payments_any_order.py::test_any_order_and_batch_ends_in_the_same_rows",
    ),
    "an endpoint that is off for four days, by the test clock": (
        "tests/journeys/test_reconciliation.py::test_fifty_purchases_of_four_days_without_webhooks_are_restored_once",
    ),
    "consumers of two versions on one queue": (
        "tests/faults/test_previous_version.py::test_consumers_of_two_versions_lose_and_dead_letter_nothing",
    ),
    "a service restored from an older dump": (
        "tests/runbooks/test_runbooks.py::test_a_service_is_restored_and_catches_up",
    ),
    "clocks of a process and its database that differ are reported": (
        "tests/kit/test_dependencies.py::test_the_clocks_of_database_and_process_are_compared",
    ),
}
"""What is injected -> the tests that inject it."""

_GAUGES = "tests/kit/test_gauges.py"
_ENDPOINT = "tests/webhook_gateway/test_webhook_endpoint.py"
_DIFFERENCES = "tests/webhook_gateway/objects/test_differences.py"
_INVARIANT = "tests/reporting/test_invariant_runs.py::test_it_is_verified_in_other_processes_over_what_was_received"
_AGES = "tests/webhook_gateway/test_journal_relay.py::test_a_reconciler_that_was_never_started_is_measured"

ALERTS: Mapping[str, str] = {
    'bursar_queue_messages{queue=~".*[.]dead"}': f"{_GAUGES}::test_depths_of_queues_and_what_is_missing",
    "bursar_queue_messages": f"{_GAUGES}::test_depths_of_queues_and_what_is_missing",
    'bursar_queue_messages{queue="webhook-gateway.spill"}': (
        "tests/webhook_gateway/test_outages.py::test_with_the_database_down_events_are_published_and_journaled_later"
    ),
    'bursar_messages_total{outcome="rejected"}': (
        "tests/kit/test_hostile_messages.py::test_a_message_that_cannot_be_decoded_is_dead_lettered_and_harms_no_other"
    ),
    "bursar_unrecognized_events_total": (
        "tests/kit/test_subscribers.py"
        "::test_an_event_that_has_no_handler_here_is_retried_and_then_dead_lettered_with_the_reason"
    ),
    'bursar_oldest_due_seconds{table="outbox"}': f"{_GAUGES}::test_the_backlog_is_measured",
    "bursar_publish_failures_total": (
        "tests/kit/test_relay.py::test_an_unroutable_message_waits_until_a_queue_is_bound"
    ),
    'bursar_job_rows{state="failed"}': (
        "tests/kit/test_jobs.py::test_a_permanent_failure_is_given_up_at_once_and_recorded"
    ),
    'bursar_job_rows{state="due"}': f"{_GAUGES}::test_the_backlog_is_measured",
    "bursar_dependency_up": "tests/kit/test_dependencies.py::test_each_dependency_has_its_own_outcome_and_gauge",
    "bursar_pool_connections": f"{_GAUGES}::test_a_pool_without_a_free_connection_is_measured",
    'bursar_stripe_reconciled_total{outcome="restored"}': (
        "tests/webhook_gateway/test_reconciler.py::test_what_was_not_delivered_is_journaled_once_and_published"
    ),
    "bursar_stripe_endpoint_problem": (
        "tests/webhook_gateway/test_lost_webhooks.py::test_the_reconciler_restores_what_nobody_has_asked_for"
    ),
    'bursar_stripe_comparison_age_seconds{of="events"}': _AGES,
    'bursar_stripe_comparison_age_seconds{of="objects"}': _AGES,
    'bursar_stripe_objects_total{outcome="restored"}': (
        f"{_DIFFERENCES}::test_what_is_older_than_stripes_events_is_journaled_from_its_objects"
    ),
    "bursar_stripe_differences": (
        f"{_DIFFERENCES}::test_what_differs_is_found_with_both_sides_and_resolved_when_it_agrees"
    ),
    "bursar_invariant_breaks": _INVARIANT,
    "bursar_invariant_timestamp_seconds": _INVARIANT,
    "bursar_row_differences": (
        "tests/enrollment/test_verification.py::test_admins_ask_for_it_and_read_what_it_has_found"
    ),
    "bursar_erasures_overdue": (
        "tests/checkout/test_erasures_overdue.py"
        "::test_an_overdue_erasure_is_counted_until_every_service_has_confirmed_it"
    ),
    "bursar_last_webhook_timestamp_seconds": f"{_ENDPOINT}::test_the_time_of_the_last_webhook_is_measured",
}
"""Metric in docs/runbooks/alerts.md -> the test that provokes the alert."""
