"""Attributes: published confusion matrices give the derived numbers, agreement with scikit-learn, linear readers."""

import numpy as np
import pytest

from metrics.attributes import (
    LinearReader,
    agreement,
    attribute_report,
    balanced_accuracy,
    confusion,
    joint,
    macro_f1,
    majority,
    mutual_information,
    near_agreement,
)

# Oh et al., Speech2Face (CVPR 2019), rows original, columns reconstructed from speech; prevalences of the same work.
GENDER = joint([[.94, .06], [.06, .94]], [37.4, 62.6])
ETHNICITY = joint([[.50, .03, .10, .38], [.27, .11, .13, .49], [.27, .13, .13, .48], [.30, .04, .05, .61]],
                  [28.9, 12.1, 8.7, 50.2])  # Asian, black, India, white
AGE = joint([[0, .38, .38, .23, 0, 0, 0], [0, .26, .38, .24, .09, .02, .01], [0, .21, .32, .32, .10, .03, .02],
             [0, .09, .32, .33, .18, .05, .02], [0, .07, .24, .27, .30, .08, .05], [0, .05, .12, .33, .28, .16, .05],
             [0, .08, .14, .20, .14, .10, .35]], [2.2, 29.4, 27.5, 18.8, 12.2, 6.5, 3.4])  # decades 10 to 70


def test_published_matrices_give_the_derived_numbers():
    assert agreement(GENDER) == pytest.approx(0.94) and majority(GENDER) == pytest.approx(0.626)
    assert mutual_information(GENDER) == pytest.approx(0.64, abs=0.01)
    assert agreement(ETHNICITY) == pytest.approx(0.476, abs=0.002)  # rows are rounded: they add up to 1.00 or 1.01
    assert majority(ETHNICITY) == pytest.approx(0.502, abs=0.001)
    assert balanced_accuracy(ETHNICITY) == pytest.approx(0.338, abs=0.003)
    assert mutual_information(ETHNICITY) == pytest.approx(0.05, abs=0.005)
    assert agreement(AGE) == pytest.approx(0.287, abs=0.002) and majority(AGE) == pytest.approx(0.294, abs=0.001)
    assert near_agreement(AGE) == pytest.approx(0.714, abs=0.003)
    assert majority(AGE, 1) == pytest.approx(0.757, abs=0.001)
    assert mutual_information(AGE) == pytest.approx(0.14, abs=0.007)


def test_agreement_with_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    random = np.random.default_rng(0)
    truth, answers = random.choice(list("abcd"), 400, p=[.5, .3, .15, .05]), random.choice(list("abcd"), 400)
    table = confusion(truth, answers, "abcd")
    np.testing.assert_array_equal(table, metrics.confusion_matrix(truth, answers))
    assert agreement(table) == pytest.approx(metrics.accuracy_score(truth, answers))
    assert balanced_accuracy(table) == pytest.approx(metrics.balanced_accuracy_score(truth, answers))
    assert macro_f1(table) == pytest.approx(metrics.f1_score(truth, answers, average="macro"))
    assert mutual_information(table) == pytest.approx(metrics.mutual_info_score(truth, answers) / np.log(2))


def test_independent_answers_have_no_information_and_perfect_ones_the_entropy():
    assert mutual_information(np.outer([.2, .8], [.5, .5])) == 0
    assert mutual_information(np.diag([.25, .25, .25, .25])) == pytest.approx(2)
    assert mutual_information(joint([[1, 0], [0, 1]], [1, 1])) == 1


def test_a_report_has_all_it_needs_to_be_read():
    truth = np.array([20, 30, 40, 30] * 25)
    answers = np.array([30, 30, 30, 40] * 25)
    report = attribute_report(truth, answers, np.arange(100), name="age", judge="j", rounds=50, ordered=True)
    found = {result.name: result.value for result in report.results}
    assert report.classes == (20, 30, 40) and found["age_agreement"] == 0.25 and found["age_within_one"] == 1
    assert found["age_majority"] == 0.5 and found["age_majority_within_one"] == 1
    assert found["age_balanced_accuracy"] == pytest.approx(1 / 6)
    assert all(result.low <= result.value + 1e-9 and result.n == 100 for result in report.results)


def test_a_reader_reads_what_is_linear_in_an_embedding():
    random = np.random.default_rng(1)
    embeddings = random.standard_normal((600, 10))
    labels = np.where(embeddings[:, 0] + 0.1 * random.standard_normal(600) > 1.0, "rare", "frequent")
    reader = LinearReader(embeddings[:400], labels[:400])
    table = confusion(labels[400:], reader.labels(embeddings[400:]), ["frequent", "rare"])
    assert balanced_accuracy(table) > 0.85
    numbers = embeddings @ random.standard_normal((10, 2)) + 3
    assert LinearReader(embeddings, numbers, ridge=1e-9).values(embeddings) == pytest.approx(numbers, abs=1e-5)
    with pytest.raises(ValueError, match='all 3 faces have the label "m"'):
        LinearReader(embeddings[:3], ["m", "m", "m"])


def test_bad_labels():
    with pytest.raises(ValueError, match="x are no classes; these are: a, b"):
        confusion(["a", "x"], ["a", "b"], "ab")
    with pytest.raises(ValueError, match="2 truths and 1 answers"):
        confusion(["a", "b"], ["a"], "ab")
