"""The parts of the MinIO store that need no server: names, pages of listings, policies."""

from __future__ import annotations

from urllib.parse import quote_plus

import pytest

from lookout.domain.errors import Corrupt, InputRejected
from lookout.object_store.minio.listing import current, versions, versions_of
from lookout.object_store.minio.names import check_object_key, full_bucket, servable_prefix
from lookout.object_store.minio.policies import Role, policy, roles

# --- names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "key",
    [
        "a",
        "a/b/c",
        "a b",
        " a",
        "..x",
        "...",
        "a\\b",
        "a\x01\n\r\tb",
        "日" * 85,
        "\U0010ffff",
        "k/" * 511 + "ab",
        "a/ /b",
    ],
)
def test_a_key_that_minio_keeps_is_allowed(key):
    check_object_key("images", key)


@pytest.mark.parametrize(
    "key",
    [
        *(
            "",
            " ",
            "\n",
            "/a",
            "a/",
            "a//b",
            ".",
            "..",
            "a/../b",
            "..\\x",
            "a\\.\\b",
            "a/ .. /b",
            ". ",
            "a\0b",
            "\udcff",
        ),
        *("x" * 256, "日" * 86, "k/" * 512 + "a", "a/xl.meta", "xl.meta/a", "a__XLDIR__", "a__XLDIR__/b"),
    ],
)
def test_a_key_that_minio_would_refuse_or_mix_up_is_refused(key):
    with pytest.raises(InputRejected):
        check_object_key("images", key)


@pytest.mark.parametrize(
    ("prefix", "bucket"), [("", "images"), ("site1-", "object-detect"), ("", "abc"), ("", "x" * 63)]
)
def test_a_bucket_has_its_prefix(prefix, bucket):
    assert full_bucket(prefix, bucket) == prefix + bucket


@pytest.mark.parametrize(
    ("prefix", "bucket"),
    [
        ("", ""),
        ("", "ab"),
        ("", "x" * 64),
        ("Site-", "images"),
        ("-", "images"),
        ("", "images-"),
        ("", "a.b"),
        ("", "é"),
    ],
)
def test_a_bucket_that_no_server_takes_is_refused(prefix, bucket):
    with pytest.raises(InputRejected):
        full_bucket(prefix, bucket)


@pytest.mark.parametrize(
    ("prefix", "served"),
    [
        ("", ""),
        ("a", "a"),
        ("a/b", "a/b"),
        ("a/", "a/"),
        (" /b", " /b"),
        ("..", ""),
        ("a/.", "a/"),
        ("a/..\\", "a/"),
        ("/", None),
        ("a//", None),
        ("../", None),
        ("a\0", None),
        ("\udcff", None),
    ],
)
def test_a_prefix_is_shortened_to_what_minio_takes(prefix, served):
    assert servable_prefix(prefix) == served


# --- listings --------------------------------------------------------------------------------------------------------


def page(*items: str, more: str = "") -> bytes:
    state = f"<IsTruncated>true</IsTruncated>{more}" if more else "<IsTruncated>false</IsTruncated>"
    inside = state + "".join(items)
    return f'<ListResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{inside}</ListResult>'.encode()


def version(key: str, name: str, second: int, *, latest: bool = False, kind: str = "Version") -> str:
    size = "<Size>3</Size><ETag>&quot;abc&quot;</ETag>" if kind == "Version" else ""
    return (
        f"<{kind}><Key>{quote_plus(key)}</Key><VersionId>{name}</VersionId><IsLatest>{str(latest).lower()}</IsLatest>"
        f"<LastModified>2026-01-01T00:00:0{second}.500Z</LastModified>{size}</{kind}>"
    )


def content(key: str) -> str:
    fields = f"<Key>{quote_plus(key)}</Key><LastModified>2026-01-01T00:00:01Z</LastModified><Size>1</Size>"
    return f"<Contents>{fields}</Contents>"


class Server:
    """Gives prepared pages and keeps what was asked."""

    def __init__(self, *pages: bytes) -> None:
        self.pages = list(pages)
        self.asked: list[dict[str, str]] = []

    def __call__(self, query):
        self.asked.append(dict(query))
        return self.pages.pop(0)


def test_an_empty_bucket_lists_nothing():
    assert list(current(Server(page()), "", "")) == []
    assert list(versions(Server(page()), "", "")) == []


def test_versions_and_markers_keep_the_servers_order():
    server = Server(
        page(
            version("a b/é\n", "m2", 9, latest=True, kind="DeleteMarker"),
            version("a b/é\n", "v1", 8),
            version("c", "v9", 7, latest=True),
        )
    )
    found = list(versions(server, "", ""))
    assert [(entry.key, entry.version, entry.is_marker, entry.is_latest) for entry in found] == [
        ("a b/é\n", "m2", True, True),
        ("a b/é\n", "v1", False, False),
        ("c", "v9", False, True),
    ]
    assert (found[1].size, found[1].etag, found[1].modified_at_s) == (3, "abc", 1_767_225_608.5)


def test_an_escaped_text_and_an_element_within_an_entry_are_read():
    item = (
        "<Contents><Owner><ID>x</ID></Owner><ETag>&#34;abc&#34;</ETag><Key>a&amp;b%26</Key><StorageClass/>"
        "<LastModified>2026-01-01T00:00:01Z</LastModified><Size>1</Size></Contents>"
    )
    body = b'<?xml version="1.0" encoding="UTF-8"?>\n' + page(item, "<EncodingType>url</EncodingType>") + b"\n"
    (found,) = current(Server(body), "", "")
    assert (found.key, found.etag, found.size) == ("a&b&", "abc", 1)


def test_pages_follow_each_other_by_what_the_server_says():
    server = Server(
        page(content("a"), more="<NextContinuationToken>token/+=</NextContinuationToken>"),
        page(content("b")),
    )
    assert [entry.key for entry in current(server, "", "")] == ["a", "b"]
    assert server.asked[1]["continuation-token"] == "token/+="
    server = Server(
        page(
            version("a", "v2", 2, latest=True),
            more="<NextKeyMarker>a%2Bb</NextKeyMarker><NextVersionIdMarker>v2</NextVersionIdMarker>",
        ),
        page(version("a", "v1", 1)),
    )
    assert [entry.version for entry in versions(server, "", "")] == ["v2", "v1"]
    assert (server.asked[1]["key-marker"], server.asked[1]["version-id-marker"]) == ("a+b", "v2")


def test_a_stretch_ends_with_its_last_key_and_asks_for_no_page_after_it():
    more = "<NextKeyMarker>c</NextKeyMarker><NextVersionIdMarker>v4</NextVersionIdMarker>"
    items = [version("a", "v1", 1, latest=True), version("b", "v3", 3, latest=True), version("b", "v2", 2)]
    server = Server(page(*items, version("c", "v4", 4, latest=True), more=more))
    assert [entry.version for entry in versions(server, "", "", "b")] == ["v1", "v3", "v2"]
    assert len(server.asked) == 1


def test_one_keys_versions_end_where_the_next_key_begins():
    server = Server(page(version("a", "v2", 2, latest=True), version("a", "v1", 1), version("a b", "v3", 3)))
    assert [entry.version for entry in versions_of(server, "a")] == ["v2", "v1"]


def test_a_prefix_that_no_key_can_have_asks_nothing():
    assert list(current(Server(), "../", "")) == []
    assert list(current(Server(), "a", "b")) == []


def test_a_prefix_that_minio_refuses_is_filtered_here():
    server = Server(page(content("..x"), content("a")))
    assert [entry.key for entry in current(server, "..", "")] == ["..x"]
    assert server.asked[0]["prefix"] == ""


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"<html>", b"busy", page(more="<Other/>")),
        page(content("a"), content("b"))[:-20],
        page("<Contents><Key>a</Key></Contents>"),
        page("<Contents><LastModified>2026-01-01T00:00:01Z</LastModified></Contents>"),
    ],
)
def test_a_page_that_cannot_be_read_is_corrupt(body):
    with pytest.raises(Corrupt):
        list(current(Server(body), "", ""))


# --- policies --------------------------------------------------------------------------------------------------------


DERIVED = {"StringEquals": {"aws:principaltype": ["AssumedRole"]}}
DENIALS = [
    {"Effect": "Deny", "Action": ["admin:*"]},
    {"Effect": "Deny", "Action": ["s3:*"], "Resource": ["arn:aws:s3:::*"], "Condition": DERIVED},
]


def test_a_role_without_buckets_may_do_nothing():
    assert policy(Role(name="none"), "") == {"Version": "2012-10-17", "Statement": DENIALS}


def test_an_uploader_may_only_put():
    assert policy(Role(name="uploader", puts=("images",)), "site1-")["Statement"] == [
        {"Effect": "Allow", "Action": ["s3:PutObject"], "Resource": ["arn:aws:s3:::site1-images/*"]},
        *DENIALS,
    ]


def test_an_uploader_may_put_no_key_that_could_be_the_folder_of_another():
    pictures = Role(name="uploader", puts=("images",), endings=(".jpg", ".JPG"))
    assert policy(pictures, "")["Statement"] == [
        {
            "Effect": "Allow",
            "Action": ["s3:PutObject"],
            "Resource": ["arn:aws:s3:::images/*.JPG", "arn:aws:s3:::images/*.jpg"],
        },
        {
            "Effect": "Deny",
            "Action": ["s3:PutObject"],
            "Resource": ["arn:aws:s3:::images/*.JPG/*", "arn:aws:s3:::images/*.jpg/*"],
        },
        *DENIALS,
    ]


def test_a_camera_may_look_for_folders_and_read_no_object():
    role = Role(name="camera", puts=("images",), endings=(".jpg",), transfers=True)
    assert policy(role, "")["Statement"] == [
        {"Effect": "Allow", "Action": ["s3:PutObject"], "Resource": ["arn:aws:s3:::images/*.jpg"]},
        {"Effect": "Deny", "Action": ["s3:PutObject"], "Resource": ["arn:aws:s3:::images/*.jpg/*"]},
        {"Effect": "Allow", "Action": ["s3:ListBucket"], "Resource": ["arn:aws:s3:::images"]},
        {
            "Effect": "Allow",
            "Action": ["s3:AbortMultipartUpload", "s3:GetObject"],
            "Resource": ["arn:aws:s3:::images/*"],
        },
        {
            "Effect": "Deny",
            "Action": ["s3:GetObject", "s3:GetObjectVersion"],
            "Resource": ["arn:aws:s3:::images/*.jpg"],
        },
        *DENIALS,
    ]


def test_a_stage_reads_what_it_reads_and_writes_its_own():
    statements = policy(Role(name="plot", reads=("threat-detect",), writes=("plot",)), "")["Statement"]
    assert statements[-2:] == DENIALS
    allowed = {action: set(item["Resource"]) for item in statements[:-2] for action in item["Action"]}
    both = {"arn:aws:s3:::plot/*", "arn:aws:s3:::threat-detect/*"}
    assert allowed["s3:GetObject"] == allowed["s3:GetObjectVersion"] == both
    assert allowed["s3:ListBucketVersions"] == {"arn:aws:s3:::plot", "arn:aws:s3:::threat-detect"}
    own = {"arn:aws:s3:::plot/*"}
    assert allowed["s3:PutObject"] == allowed["s3:DeleteObject"] == allowed["s3:DeleteObjectVersion"] == own
    assert all(item["Effect"] == "Allow" and "*" not in item["Action"] for item in statements[:-2])


def test_roles_are_one_a_stage_an_engine_and_an_uploader():
    made = roles("images", {"validate": ["images"], "plot": ["validate", "rules"]}, ["rules"])
    assert made == [
        Role(name="validate", reads=("images",), writes=("validate",)),
        Role(name="plot", reads=("validate", "rules"), writes=("plot",)),
        Role(name="engine", reads=("images",), writes=("rules", "validate", "plot"), puts=("images",)),
        Role(name="uploader", puts=("images",)),
        Role(name="camera", puts=("images",), transfers=True),
        Role(name="intake", reads=("images", "validate"), puts=("images",)),
    ]
