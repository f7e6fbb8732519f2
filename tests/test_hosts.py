"""A search over hosts of their own, which are network namespaces: one dies, one is cut off for a while, and one joins late."""

import hosts
import pytest


@pytest.mark.slow
def test_a_search_survives_its_hosts_and_uses_those_that_come_back(tmp_path, process_kept):
    if reason := hosts.why_not():
        pytest.skip(reason)
    hosts.run(tmp_path)
