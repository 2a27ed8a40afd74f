"""MinIO and a plain model agree after any order of calls."""

from __future__ import annotations

from typing import ClassVar

import pytest
from hypothesis import HealthCheck, settings

from devkit.contracts.objects_machine import BUCKET, ObjectStoreMachine
from lookout.object_store.minio import MinioStore
from tests.services.minio_kit import Minio

pytestmark = pytest.mark.services


@pytest.fixture(scope="module", autouse=True)
def on_a_server(minio):
    MinioStoreMachine.minio = Minio(minio)


class MinioStoreMachine(ObjectStoreMachine):
    hides_staged = False
    minio: ClassVar[Minio]

    def make_store(self) -> MinioStore:
        return self.minio.store(BUCKET)


TestMinioStoreMachine = MinioStoreMachine.TestCase
TestMinioStoreMachine.settings = settings(
    max_examples=30,
    stateful_step_count=20,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
