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
    assert in_batches(BATCHES, work := Squares()) == EXPECTED
    assert work.made == BATCHES


def test_a_stop_loses_the_batch_at_work_alone(tmp_path):
    path, told = tmp_path / "part.batches", []
    with pytest.raises(KeyboardInterrupt), kept_in(path, told.append):
        in_batches(BATCHES, Squares(2))
    assert told == [0.4, 0.2]
    with kept_in(path, told.append):
        assert in_batches(BATCHES, work := Squares()) == EXPECTED
    assert work.made == [[4, 3]]
    assert told[2:] == [0.4, 0.2, 0.4]
    assert not path.exists()


def test_a_line_that_a_kill_cut_off_is_computed_again(tmp_path):
    path = tmp_path / "part.batches"
    with pytest.raises(KeyboardInterrupt), kept_in(path, lambda _share: None):
        in_batches(BATCHES, Squares(2))
    path.write_bytes(path.read_bytes()[:-3])
    for left in (0, 100):  # what is written behind the torn line can be read
        work = Squares(left)
        try:
            with kept_in(path, lambda _share: None):
                assert in_batches(BATCHES, work) == EXPECTED
        except KeyboardInterrupt:
            continue
    assert work.made == [[1], [4, 3]]


def test_calls_and_other_batches_are_told_apart(tmp_path):
    path, told = tmp_path / "part.batches", []

    def two_calls():
        with kept_in(path, told.append):
            in_batches(BATCHES, Squares())
            in_batches(BATCHES, lambda batch: ["second" for _ in batch])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        two_calls()
    assert sum(told) == pytest.approx(1.0)  # the second call is about the same items
    with kept_in(path, told.append):
        assert in_batches([[0, 1, 2, 3, 4]], work := Squares()) == EXPECTED
        assert in_batches(BATCHES, Squares(0)) == dict.fromkeys(range(5), "second")
    assert work.made == [[0, 1, 2, 3, 4]]


def test_a_damaged_line_is_computed_again(tmp_path, caplog):
    path = tmp_path / "part.batches"
    with pytest.raises(KeyboardInterrupt), kept_in(path, lambda _share: None):
        in_batches(BATCHES, Squares(2))
    path.write_bytes(path.read_bytes().replace(b"[[4, 0.2]", b"[[5, 0.2]"))
    with kept_in(path, lambda _share: None):
        assert in_batches(BATCHES, work := Squares()) == EXPECTED
    assert work.made == [[2, 0], [4, 3]]
    assert caplog.messages == [f"{path}: a batch differs from its checksum, and is computed again"]
