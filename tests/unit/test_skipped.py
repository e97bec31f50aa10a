from skipped import skipped_line


def test_each_reason_is_counted_with_the_command_that_helps():
    services = "Skipped: no ceph-mon, radosgw on this machine; `make services` installs them"
    data = "Skipped: published test data gsm8k are absent; set LARPO_SHARED_DATA to their folder"
    assert skipped_line([services, data, services, "Skipped: only root can do it"]) == (
        "skipped: 2 tests: no ceph-mon, radosgw on this machine (run: make services && make test);"
        " 1 test: published test data gsm8k are absent (set LARPO_SHARED_DATA to their folder);"
        " 1 test: only root can do it"
    )
    assert skipped_line([]) == "skipped: no test"
