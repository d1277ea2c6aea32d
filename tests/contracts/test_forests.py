"""Every trainer in the table passes the exam that third parties inherit."""

from gpuseg.forests import TRAINERS
from gpuseg.testing import ForestExam


class TestSklearn(ForestExam):
    forest = "sklearn"


def test_every_trainer_is_examined() -> None:
    assert {exam.forest for exam in ForestExam.__subclasses__()} >= set(TRAINERS)
