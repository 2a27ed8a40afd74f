"""MinIO as the object store: the one package that imports minio, and knows no ledger and no stage."""

from lookout.object_store.minio import deferred_admin
from lookout.object_store.minio.access import Access
from lookout.object_store.minio.store import MinioStore

deferred_admin.defer()

__all__ = ["Access", "MinioStore"]
