import pytest

from larpo_lib.batches import in_batches, kept_in

BATCHES = [[2, 0], [1], [4, 3]]


class Squares:
    """Squares of indices; somebody stops it after `left` batches."""

    def __init__(self, left=100):
        self.left = left
        self.made = []

    def __call__(self, batch):
        if not self.left:
            raise KeyboardInterrupt
        self.left -= 1
        self.made.append(list(batch))
        return [[index * index, 0.1 * index] for index in batch]


EXPECTED = {index: [index * index, 0.1 * index] for index in range(5)}


def test_without_a_file_batches_are_computed_one_after_the_other():
    assert in_batches(BATCHES, work := Squares(), str) == EXPECTED
    assert work.made == BATCHES


def test_a_stop_loses_the_batch_at_work_alone(tmp_path):
    path, told = tmp_path / "part.batches", []
    with pytest.raises(KeyboardInterrupt), kept_in(path, told.append):
        in_batches(BATCHES, Squares(2), str)
    assert told == [0.4, 0.2]
    with kept_in(path, told.append):
        assert in_batches(BATCHES, work := Squares(), str) == EXPECTED
    assert work.made == [[4, 3]]
    assert told[2:] == [0.4, 0.2, 0.4]
    assert not path.exists()


def test_a_line_that_a_kill_cut_off_is_computed_again(tmp_path):
    path = tmp_path / "part.batches"
    with pytest.raises(KeyboardInterrupt), kept_in(path, lambda _share: None):
        in_batches(BATCHES, Squares(2), str)
    path.write_bytes(path.read_bytes()[:-3])
    for left in (0, 100):  # what is written behind the torn line can be read
        work = Squares(left)
        try:
            with kept_in(path, lambda _share: None):
                assert in_batches(BATCHES, work, str) == EXPECTED
        except KeyboardInterrupt:
            continue
    assert work.made == [[1], [4, 3]]


def test_calls_and_other_batches_are_told_apart(tmp_path):
    path, told = tmp_path / "part.batches", []

    def two_calls():
        with kept_in(path, told.append):
            in_batches(BATCHES, Squares(), str)
            in_batches(BATCHES, lambda batch: ["second" for _ in batch], str)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        two_calls()
    assert sum(told) == pytest.approx(1.0)  # the second call is about the same items
    with kept_in(path, told.append):
        assert in_batches([[0, 1, 2, 3, 4]], work := Squares(), str) == EXPECTED
        assert in_batches(BATCHES, Squares(0), str) == dict.fromkeys(range(5), "second")
    assert work.made == [[0, 1, 2, 3, 4]]


def test_a_damaged_line_is_computed_again(tmp_path, caplog):
    path = tmp_path / "part.batches"
    with pytest.raises(KeyboardInterrupt), kept_in(path, lambda _share: None):
        in_batches(BATCHES, Squares(2), str)
    path.write_bytes(path.read_bytes().replace(b"[[4, 0.2]", b"[[5, 0.2]"))
    with kept_in(path, lambda _share: None):
        assert in_batches(BATCHES, work := Squares(), str) == EXPECTED
    assert work.made == [[2, 0], [4, 3]]
    assert caplog.messages == [f"{path}: a batch differs from its checksum, and is computed again"]


def test_what_is_kept_is_of_its_content_whatever_its_index(tmp_path):
    """An earlier call, computed again in other batches, may give the items of a later one other places."""
    path, words = tmp_path / "part.batches", ["a", "b", "c"]
    made = []

    def work(batch):
        if made == ["a", "b"]:
            made.clear()
            raise KeyboardInterrupt
        made.extend(words[i] for i in batch)
        return [words[i] * 2 for i in batch]

    with pytest.raises(KeyboardInterrupt), kept_in(path, lambda _share: None):
        in_batches([[0], [1], [2]], work, words.__getitem__)
    words.reverse()
    with kept_in(path, lambda _share: None):
        assert in_batches([[0], [1], [2]], work, words.__getitem__) == {0: "cc", 1: "bb", 2: "aa"}
    assert made == ["c"]
