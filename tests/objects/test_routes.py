"""Routes: some buckets are read from elsewhere, the rest is one ordinary store that passes the shared suite."""

from __future__ import annotations

import pytest

from devkit.contracts.objects import ObjectStoreSuite, show
from lookout.domain.errors import InputRejected
from lookout.object_store.folder.store import FolderStore
from lookout.object_store.port import Publish
from lookout.object_store.routing import Routes
from lookout.sources.folder import FolderSource, observe_file


class TestRoutes(ObjectStoreSuite):
    @pytest.fixture
    def store(self, tmp_path) -> Routes:
        return Routes({"images": FolderSource()}, FolderStore(tmp_path / "objects", durable=False))


@pytest.fixture
def routes(tmp_path) -> Routes:
    return Routes({"images": FolderSource()}, FolderStore(tmp_path / "objects", durable=False))


@pytest.fixture
def picture(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(b"picture")
    return observe_file(tmp_path / "photos", "a.jpg", "images", 0.0).ref


def test_each_bucket_is_read_from_its_own_place(routes, picture):
    result = routes.put("validate", "a.jpg", b"result", "image/jpeg")
    assert (routes.get(picture), routes.get(result)) == (b"picture", b"result")
    assert routes.has([result, picture, result]) == [True, True, True]


def test_a_bucket_that_is_only_read_is_never_written(routes, picture, tmp_path):
    with pytest.raises(InputRejected, match="only read"):
        routes.put("images", "b.jpg", b"1", "image/jpeg")
    result = routes.put("validate", "a", b"1", "image/jpeg")
    with pytest.raises(InputRejected, match="only read"):
        routes.publish([show(result), Publish(bucket="images", key="a.jpg", ref=None)])
    assert list(routes.list("validate")) == []
    with pytest.raises(InputRejected, match="listed"):
        routes.list("images")
    routes.discard([picture, result])
    assert routes.has([picture, result]) == [True, False]
    assert (tmp_path / "photos" / "a.jpg").exists()
