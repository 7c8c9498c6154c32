"""The gate, against figures worked out by hand."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from training.daily.gate import Judged, Rules, decide
from training.evaluate import coverage
from training.metrics import calibration_error

OLD = datetime(2026, 1, 20, tzinfo=UTC)
FIGURES: dict[str, float | None] = {
    "auc": 0.80, "ndcg_at_10": 0.50, "calibration_error": 0.02, "coverage_at_100": 0.60
}  # fmt: skip
CHAMPION = Judged(figures=FIGURES, as_of=OLD)


def challenger(days: int = 1, **figures: float | None) -> Judged:
    return Judged(figures=FIGURES | figures, as_of=OLD + timedelta(days=days))


def failed(judged: Judged, rules: Rules, champion: Judged | None = CHAMPION) -> list[str]:
    return [check.name for check in decide(champion, judged, rules).checks if not check.passed]


@pytest.mark.parametrize(
    ("judged", "names"),
    [
        (challenger(), []),
        (challenger(auc=0.795), []),  # at the limit
        (challenger(auc=0.7949), ["auc"]),
        (challenger(ndcg_at_10=0.49), []),
        (challenger(ndcg_at_10=0.4899), ["ndcg_at_10"]),
        (challenger(calibration_error=0.03), []),
        (challenger(calibration_error=0.0301), ["calibration_error"]),
        (challenger(calibration_error=0.0), []),
        (challenger(coverage_at_100=0.55), []),
        (challenger(coverage_at_100=0.54), ["coverage_at_100"]),
        (challenger(days=0), ["fresher"]),
        (challenger(days=0, auc=0.9), ["fresher"]),
        (challenger(auc=None), ["auc"]),
        (challenger(ndcg_at_10=None), ["ndcg_at_10"]),
        (challenger(auc=float("nan")), ["auc"]),
    ],
)
def test_non_inferior_means_as_good_and_fresher(judged: Judged, names: list[str]) -> None:
    assert failed(judged, Rules()) == names


@pytest.mark.parametrize(
    ("judged", "names"),
    [
        (challenger(auc=0.81), []),
        (challenger(auc=0.8099), ["auc"]),
        (challenger(days=0, auc=0.81), []),  # better is enough
        (challenger(auc=0.9, coverage_at_100=0.1), ["coverage_at_100"]),
    ],
)
def test_superior_means_better_by_the_margin(judged: Judged, names: list[str]) -> None:
    assert failed(judged, Rules(mode="superior")) == names


def test_margin_and_tolerances_are_choices() -> None:
    assert failed(challenger(auc=0.805), Rules(mode="superior", margin=0.005)) == []
    assert failed(challenger(coverage_at_100=0.1), Rules(tolerances={"coverage_at_100": 0.5})) == []
    assert failed(challenger(auc=0.7999), Rules(tolerances={"auc": 0.0})) == ["auc"]


def test_what_neither_can_say_is_not_judged() -> None:
    silent = Judged(figures={"auc": 0.8}, as_of=OLD)
    assert failed(Judged(figures={"auc": 0.8}, as_of=OLD + timedelta(days=1)), Rules(), silent) == []
    assert failed(challenger(), Rules(), silent) == []  # the champion has no figure to be worse than


def test_without_a_champion_a_challenger_must_only_be_judged() -> None:
    assert failed(challenger(), Rules(mode="superior"), None) == []
    assert failed(challenger(auc=None), Rules(), None) == ["auc"]


def test_the_reason_names_every_failed_figure_its_values_and_the_tolerance() -> None:
    verdict = decide(CHAMPION, challenger(auc=0.7, coverage_at_100=0.5), Rules())
    assert not verdict.passed
    assert verdict.reason == (
        "auc 0.7000 against 0.8000: at most 0.005 less is tolerated; "
        "coverage_at_100 0.5000 against 0.6000: at most 0.05 less is tolerated"
    )


@pytest.mark.parametrize("wrong", [{"margin": 0.0}, {"tolerances": {"recall": 0.1}}, {"tolerances": {"auc": -0.1}}])
def test_rules_that_mean_nothing_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"margin|recall|auc"):
        Rules(**wrong)  # type: ignore[arg-type]


def test_calibration_error_of_two_bins() -> None:
    labels, said = np.array([0, 1, 1, 1]), np.array([0.1, 0.3, 0.8, 0.8], np.float32)
    assert calibration_error(labels, said, bins=2) == pytest.approx((2 * (0.5 - 0.2) + 2 * (1 - 0.8)) / 4, abs=1e-6)
    assert calibration_error(np.zeros(0, int), np.zeros(0, np.float32)) == 0.0


def test_coverage_is_the_share_of_the_catalogue_that_somebody_sees() -> None:
    scores = np.array([[3.0, 2.0, 1.0, 0.0], [2.0, 3.0, 0.0, 1.0]], np.float32)
    assert coverage(scores, k=1) == 0.5
    assert coverage(scores, k=9) == 1.0
    assert coverage(np.zeros((0, 4), np.float32)) is None
