"""The certificates of the local cluster: made once, and completed when a later version has another part."""

from __future__ import annotations

from pathlib import Path

from k8s.local.certificates import make_certificates
from k8s.local.site import Site


def test_a_part_that_a_later_version_added_gets_a_certificate_of_the_authority_that_is_there(tmp_path: Path) -> None:
    site = Site(cluster=tmp_path, cache=tmp_path)
    make_certificates(site)
    added = [site.pki / "kube-router.crt", site.pki / "kube-router.key", site.config / "kube-router.kubeconfig"]
    made = [path for folder in (site.pki, site.config) for path in folder.iterdir() if path.suffix != ".srl"]
    before = {path: path.read_bytes() for path in made}
    for path in added:
        path.unlink()
    make_certificates(site)
    after = {path: path.read_bytes() for path in before}
    assert {path for path in before if after[path] != before[path]} == set(added)
