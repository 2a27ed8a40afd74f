"""MinIO passes the suite that every object store passes."""

from __future__ import annotations

import pytest

from devkit.contracts.objects import BUCKET, ObjectStoreSuite
from tests.services.minio_kit import Minio

pytestmark = pytest.mark.services


@pytest.fixture(scope="module")
def minio(minio):
    return Minio(minio)


class TestMinioStore(ObjectStoreSuite):
    hides_staged = False
    lists_below_objects = False
    refused_keys = frozenset({"..\\x"})

    @pytest.fixture
    def store(self, minio):
        return minio.store(BUCKET)
