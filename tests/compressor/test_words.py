from compressor.words import words


def test_forms_of_a_word_are_one_word():
    for forms in (["discovery", "discovered", "discoveries"], ["die", "died", "dies"], ["Moving", "moved", "moves"]):
        assert len({tuple(words(form)) for form in forms}) == 1, forms


def test_question_words_and_articles_are_left_out():
    assert words("What is the name of the bridge?") == words("bridge")
    assert words("المدير") == words("مدير") == words("مديرها")


def test_words_that_only_look_empty_stay():
    assert len(words("the war in May")) == 2


def test_ids_stay_whole_and_can_be_found_by_their_parts():
    assert words("INV-2024-0017") == ["inv-2024-0017", "inv", "2024", "0017"]


def test_numbers_match_however_their_thousands_are_set():
    assert words("1,450.50") == words("1450.50")[:1]


def test_accents_and_vowel_marks_do_not_matter():
    assert words("Beyoncé") == words("BEYONCE")
    assert words("مُدِير") == words("مدير")


def test_scripts_without_spaces_become_pairs_of_characters():
    assert words("北京大学在哪里？") == ["北京", "京大", "大学"]
