"""A new ledger in etcd beside a store that holds results is not taken for a new deployment."""

from __future__ import annotations

from pathlib import Path

from tests.cli.shell import CALM, PHOTOS
from tests.services.cli_kit import Site


def test_a_new_ledger_beside_results_is_refused_until_it_is_begun_anew(
    tmp_path: Path, store_settings: dict[str, str], ledger_settings: dict[str, str]
) -> None:
    site = Site(root=tmp_path, environment=store_settings | ledger_settings)
    site.begin()
    site.store.put("images", CALM, (PHOTOS / CALM).read_bytes(), "image/jpeg")
    site.work()
    was = site.objects()
    other = {"LOOKOUT_LEDGER": f"{site.environment['LOOKOUT_LEDGER']}-other"}
    for _ in range(2):
        said = site.lookout("run", "--json", code=65, env=other).err
        assert "ledger restore" in said
        assert "ledger new" in said
    site.lookout("ledger", "new", env=other)
    site.work(env=other)
    assert site.objects() == was
