"""Known answers: which replies, counts and silences are a broken model's, and which a crowd's."""

import pytest

from exporters.watchdog.judge import CALM_S, DEATHS, SILENT_S, Health, Reloads, names_a_dead_stub

DEAD = "Stub process 'candidates_0_0' is not healthy."


@pytest.mark.parametrize(
    ("error", "dead"),
    [
        (DEAD, True),
        ("Failed to process the request(s), message: Stub process is unhealthy and it will be restarted.", True),
        ("Exceeds maximum queue size", False),
        ("Request timeout expired", False),
        ("Request for unknown model: 'candidates' has no available versions", False),
        ("failed to connect to all addresses", False),
        ("candidates: index is not trained", False),
        ("", False),
    ],
)
def test_only_triton_itself_says_that_a_stub_is_dead(error: str, dead: bool) -> None:
    assert names_a_dead_stub(error) is dead


def test_a_stub_is_dead_after_two_answers_that_say_so_and_nobody_was_answered_between() -> None:
    health = Health()
    for number in range(DEATHS):
        assert health.verdict(float(number), vouched=True) == "unknown"
        health.asked(float(number))
        health.replied(DEAD)
    assert health.verdict(2.0, vouched=False) == "dead"

    health.looked(answered=1, failed=0, now=3.0)  # the old process answered somebody after all
    assert health.verdict(3.0, vouched=True) == "well"


def test_a_crowd_is_no_death() -> None:
    health = Health(answered=10)
    for second in range(60):
        health.asked(float(second))
        health.replied("Exceeds maximum queue size")
    assert health.verdict(60.0, vouched=True) == "unknown"
    health.asked(60.0)
    health.looked(
        answered=11, failed=60, now=60.0 + 20 * SILENT_S
    )  # ours is still in the queue, somebody else's was answered
    assert health.verdict(60.0 + 20 * SILENT_S, vouched=True) == "well"


def test_a_question_behind_others_that_all_fail_need_not_come_back() -> None:
    health = Health()
    health.asked(10.0)
    health.looked(answered=0, failed=1, now=11.0)
    assert health.verdict(12.5, vouched=True) == "unknown"
    health.looked(answered=0, failed=2, now=12.0)
    assert health.verdict(12.5, vouched=False) == "unknown"
    assert health.verdict(12.5, vouched=True) == "dead"
    health.looked(answered=1, failed=3, now=13.0)  # a crowd: some are refused, some are answered
    assert health.verdict(13.0, vouched=True) == "well"


def test_silence_is_a_hang_only_where_others_are_answered() -> None:
    health = Health()
    health.asked(10.0)
    assert health.verdict(10.0 + SILENT_S - 0.1, vouched=True) == "unknown"
    assert health.verdict(10.0 + SILENT_S, vouched=False) == "unknown"  # the server or the machine stands still
    assert health.verdict(10.0 + SILENT_S, vouched=True) == "hung"
    health.looked(answered=1, failed=0, now=17.0)
    assert health.verdict(18.0, vouched=True) == "well"


def test_an_answer_of_before_the_question_is_no_alibi() -> None:
    health = Health()
    health.looked(answered=5, failed=0, now=9.0)
    health.asked(10.0)
    assert health.verdict(10.0 + SILENT_S, vouched=True) == "hung"


def test_pauses_between_reloads_double_until_it_was_well_for_a_while() -> None:
    reloads = Reloads()
    assert reloads.due(0.0)
    pauses = []
    for _ in range(8):
        reloads.reloaded(now=100.0)
        pauses.append(reloads.pause_s)
        assert not reloads.due(100.0 + reloads.pause_s - 0.1)
        assert reloads.due(100.0 + reloads.pause_s)
    assert pauses == [5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 300.0, 300.0]
    assert reloads.given_up
    reloads.well(100.0 + CALM_S - 1)
    assert reloads.given_up
    reloads.well(100.0 + CALM_S)
    assert reloads.due(100.0 + CALM_S)
    assert not reloads.given_up
