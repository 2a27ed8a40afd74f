"""The local cluster's images: kept once, replaced whole, written as containerd reads them; built when inputs change."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Collection
from pathlib import Path

import pytest

from k8s.local import recipes
from k8s.local.images import full_name
from k8s.local.recipes import PROJECT, ProjectImage
from k8s.local.site import ROOT, Refused, Site
from k8s.local.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "images")


@pytest.fixture
def program(tmp_path: Path) -> Path:
    program = tmp_path / "program"
    program.write_bytes(b"does something")
    return program


def written(store: Store, *names: str, without: Collection[str] = ()) -> dict[str, bytes]:
    """The files of the tar."""
    stream = io.BytesIO()
    store.write({name: {"name": name} for name in names}, stream, without)
    stream.seek(0)
    with tarfile.open(fileobj=stream) as tar:
        files = [(entry.name, tar.extractfile(entry)) for entry in tar]
    return {name: content.read() for name, content in files if content is not None}


def blob(files: dict[str, bytes], digest: str) -> bytes:
    content = files[f"blobs/{digest.replace(':', '/')}"]
    assert digest == f"sha256:{hashlib.sha256(content).hexdigest()}"
    return content


def take(store: Store, name: str, inputs: str, folder: Path, *layers: bytes) -> None:
    """Have the store take an image of these layers, written into the folder as buildah does."""
    folder.mkdir()
    with store.taking(name, inputs, folder):
        blobs = folder / "blobs" / "sha256"
        parts = []
        for content in (b"{}", *layers):
            hexadecimal = hashlib.sha256(content).hexdigest()
            (blobs / hexadecimal).write_bytes(content)
            parts.append({"mediaType": "any", "digest": f"sha256:{hexadecimal}", "size": len(content)})
        manifest = json.dumps({"schemaVersion": 2, "config": parts[0], "layers": parts[1:]}).encode()
        digest = hashlib.sha256(manifest).hexdigest()
        (blobs / digest).write_bytes(manifest)
        (folder / "index.json").write_text(json.dumps({"manifests": [{"digest": f"sha256:{digest}"}]}))


def test_an_image_of_programs_holds_these_and_how_they_are_run(store: Store, program: Path) -> None:
    store.put_programs("some:dev", "inputs", {"/bin/some": program}, {"Entrypoint": ["/bin/some"]})
    files = written(store, "some:dev")
    (entry,) = json.loads(files["index.json"])["manifests"]
    assert entry["annotations"] == {"name": "some:dev"}
    manifest = json.loads(blob(files, entry["digest"]))
    config = json.loads(blob(files, manifest["config"]["digest"]))
    assert config["config"] == {"Entrypoint": ["/bin/some"]}
    (layer,) = manifest["layers"]
    assert config["rootfs"]["diff_ids"] == [layer["digest"]]
    with tarfile.open(fileobj=io.BytesIO(blob(files, layer["digest"]))) as tar:
        (file,) = tar
        assert (file.name, file.mode, file.uid) == ("bin/some", 0o755, 0)
        content = tar.extractfile(file)
        assert content is not None
        assert content.read() == b"does something"


def test_the_same_program_makes_the_same_image(store: Store, program: Path, tmp_path: Path) -> None:
    store.put_programs("some:dev", "inputs", {"/some": program}, {})
    other = Store(tmp_path / "other")
    other.put_programs("some:dev", "inputs", {"/some": program}, {})
    assert store.images == other.images


def test_a_shared_layer_is_kept_and_written_once(store: Store, tmp_path: Path) -> None:
    take(store, "one", "1", tmp_path / "a", b"base", b"one")
    take(store, "two", "2", tmp_path / "b", b"base", b"two")
    names = [name for name in written(store, "one", "two") if name.startswith("blobs/")]
    assert len(names) == len(set(names)) == 2 + 1 + 3  # manifests, the same configuration, layers
    assert len(written(store, "one")) == 2 + 1 + 1 + 2


def test_what_the_reader_has_is_left_out(store: Store, tmp_path: Path) -> None:
    take(store, "one", "1", tmp_path / "a", b"base", b"one")
    base = f"sha256:{hashlib.sha256(b'base').hexdigest()}"
    assert set(written(store, "one")) - set(written(store, "one", without={base})) == {
        f"blobs/{base.replace(':', '/')}"
    }


def test_what_replaced_images_held_is_swept(store: Store, tmp_path: Path) -> None:
    take(store, "one", "1", tmp_path / "a", b"base", b"old")
    take(store, "one", "2", tmp_path / "b", b"base", b"new")
    take(store, "two", "1", tmp_path / "c", b"base", b"unwanted")
    store.sweep(["one"])
    kept = {path.read_bytes() for path in (tmp_path / "images" / "blobs" / "sha256").iterdir()}
    assert {b"base", b"new"} < kept
    assert not {b"old", b"unwanted"} & kept
    assert {name: image["inputs"] for name, image in store.images.items()} == {"one": "2"}


@pytest.mark.parametrize(
    ("name", "full"),
    [
        ("nats:2", "docker.io/library/nats:2"),
        ("minio/minio:dev", "docker.io/minio/minio:dev"),
        ("quay.io/argoproj/argocli:v3", "quay.io/argoproj/argocli:v3"),
        ("localhost:5000/some:dev", "localhost:5000/some:dev"),
    ],
)
def test_a_name_is_completed_as_kubernetes_does(name: str, full: str) -> None:
    assert full_name(name) == full


class TestInputs:
    @pytest.fixture
    def image(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ProjectImage:
        monkeypatch.setattr(recipes, "ROOT", tmp_path)
        (tmp_path / "code").mkdir()
        (tmp_path / "code" / "one.py").write_text("1")
        (tmp_path / "requirements").mkdir()
        (tmp_path / "requirements" / "some.txt").write_text("some==1")
        (tmp_path / "Dockerfile").write_text(
            "FROM x AS build\nCOPY requirements/some.txt /r/\nCOPY --chown=1 code /c\nFROM x\nCOPY --from=build /a /a\n"
        )
        return ProjectImage(name="some:dev", dockerfile="Dockerfile")

    def test_what_it_copies_is_found_and_what_comes_from_another_stage_is_not(self, image: ProjectImage) -> None:
        assert image.copied == ("requirements/some.txt", "code")
        assert [path.name for path in image.requirements] == ["some.txt"]

    def test_what_other_targets_copy_is_left_out(self, image: ProjectImage, tmp_path: Path) -> None:
        (tmp_path / "Dockerfile").write_text(
            "FROM x AS base\nCOPY shared /s\nFROM base AS one\nCOPY one /1\nFROM base AS two\nCOPY --from=one /1 /1\n"
            "FROM base AS three\nCOPY three /3\n"
        )
        copied = {target: ProjectImage(name="some:dev", target=target).copied for target in ("one", "two", "")}
        assert copied == {"one": ("one", "shared"), "two": ("shared", "one"), "": ("three", "shared")}

    def test_another_target_is_another_image(self, image: ProjectImage) -> None:
        assert ProjectImage(name="some:dev", target="build").inputs("base") != image.inputs("base")

    @pytest.mark.parametrize("path", ["code/one.py", "code/two.py", "Dockerfile", ".dockerignore"])
    def test_a_change_of_what_it_copies_is_a_change(self, image: ProjectImage, tmp_path: Path, path: str) -> None:
        before = image.inputs("base")
        with (tmp_path / path).open("a") as file:
            file.write("#")
        assert image.inputs("base") != before

    def test_another_base_is_a_change_and_nothing_else_is(self, image: ProjectImage, tmp_path: Path) -> None:
        before = image.inputs("base")
        (tmp_path / "elsewhere.py").write_text("1")
        (tmp_path / "code" / "__pycache__").mkdir()
        (tmp_path / "code" / "__pycache__" / "one.pyc").write_text("1")
        assert image.inputs("base") == before
        assert image.inputs("another") != before


@pytest.mark.parametrize("image", PROJECT, ids=lambda image: image.name)
def test_each_image_s_dockerfile_copies_what_is_there(image: ProjectImage) -> None:
    assert image.requirements or image.dockerfile.startswith("devkit/")
    assert all(list(ROOT.glob(path)) for path in image.copied)


@pytest.mark.parametrize("hidden", ["/var/lib/lookout", "/run/lookout", "/var/log/x"])
def test_a_folder_that_the_node_would_not_see_is_refused(hidden: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOOKOUT_CLUSTER", hidden)
    with pytest.raises(Refused, match="choose a folder elsewhere"):
        Site.from_environment()
