"""A nearly full disk: a cluster is refused with the figures, and the kubelet never deletes an image for the disk."""

from __future__ import annotations

import shutil
from collections import namedtuple
from pathlib import Path

import pytest
import yaml

from k8s.local.program_settings import write_configuration
from k8s.local.site import FREE_SPACE, Refused, Site

_Usage = namedtuple("_Usage", "total used free")


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(cluster=tmp_path / "cluster", cache=tmp_path)


def test_too_little_space_is_refused_and_enough_is_not(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.cluster.mkdir()
    monkeypatch.setattr(shutil, "disk_usage", lambda path: _Usage(FREE_SPACE, 1, FREE_SPACE - 1))
    with pytest.raises(Refused, match=r"cluster: the disk has 6\.0 GiB free, and a cluster needs 6 GiB\. Free some"):
        site.check_space()
    monkeypatch.setattr(shutil, "disk_usage", lambda path: _Usage(FREE_SPACE, 0, FREE_SPACE))
    site.check_space()


def test_no_image_is_deleted_and_no_pod_is_evicted_for_the_disk(site: Site) -> None:
    write_configuration(site)
    kubelet = yaml.safe_load((site.config / "kubelet.yaml").read_text())
    assert set(kubelet["evictionHard"]) == {"memory.available"}  # what is not named is not watched
    assert kubelet["imageGCHighThresholdPercent"] == 100
