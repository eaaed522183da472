import pytest

from compressor.decoders.rank import answer_kind


@pytest.mark.parametrize(
    ("question", "text", "held"),
    [
        ("How high did the water rise?", "It rose to 6.42 m.", True),
        ("How high did the water rise?", "In the night of 14 April 2026 the village was flooded.", False),
        ("How many came?", "Twelve came.", True),
        ("When did it open?", "It opened in April 2026.", True),
        ("What is the serial number of the crane's motor?", "The motor, QX-5521-b, was replaced.", True),
        ("What is the serial number of the crane's motor?", "The motor was replaced.", False),
        ("Which commit fixed the crash?", "fixed in 9f3c2ad1e7b0", True),
        ("Who wrote it?", "It was written by Petra Nylund.", True),
    ],
)
def test_an_answer_holds_what_the_question_asks_for(question, text, held):
    kind = answer_kind(question)
    assert kind is not None
    assert any(match.lastgroup != "day" for match in kind.finditer(text)) == held


def test_nothing_of_a_known_form_is_asked_with_why():
    assert answer_kind("Why did it end?") is None
