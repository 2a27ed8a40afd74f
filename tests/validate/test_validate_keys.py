import re

from hypothesis import example, given, settings
from hypothesis import strategies as st

from lookout.domain.records import Output
from stages.validate.output_keys import MAX_KEY_BYTES, find_fault, reason_key, safe_key, shown

TRICKY = st.sampled_from(
    [
        "", ".", "..", "_", "x", "x.json", "x.JSON", "x.json.json", "x.jpg", "x.jpg.json", "a\n", "\x00", "\udcff",
        "é", "e\u0301",
        "f" * 200, "f" * 201, "é" * 100 + "f", " ", "_/", "0" * 32, ".json", "a\\b",
    ]
)  # fmt: skip
KEYS = st.lists(TRICKY | st.text(max_size=5), min_size=1, max_size=6).map("/".join)


def test_plain_keys_stay_as_they_are():
    for key in ("IMG_0001.jpg", "a/b/c d.jpg", "\u7384\u95a2/x.png", "_x/y.jpg", "x_.jpg", "a/_/b.jpg", "noending"):
        assert safe_key(key) == key


def test_other_keys_become_a_digest_with_their_ending():
    for key in ("", "..", "../../etc/passwd.jpg", "a\nb.jpg", "f" * 201 + ".jpg", "_/abc.jpg", ".env.jpg", "a//b.jpg"):
        assert re.fullmatch(r"_/[0-9a-f]{32}(\.jpg)?", safe_key(key))
    assert safe_key("../x.jpg") == "_/2c9a3db36f3dd7eda3041ddb694af5fb.jpg"


def test_a_picture_named_as_a_reason_file_takes_no_reason_files_place():
    assert safe_key("x.json") != reason_key(safe_key("x"))
    assert not safe_key("x.json").endswith(".json")
    assert not safe_key("x.jpg.json/y.jpg").startswith("x.jpg.json/")


@settings(max_examples=300, deadline=None)
@given(st.lists(KEYS, unique=True, min_size=2, max_size=12))
@example(["x", "x.json", "x.json.json", "_/x", "_"])
@example(["a/x.jpg", "a/x.jpg.json/b.jpg"])
def test_no_two_files_of_any_keys_meet(keys):
    own = [safe_key(key) for key in keys]
    files = [*own, *map(reason_key, own)]
    assert len(set(files)) == 2 * len(keys)
    folders = {file[:at] for file in files for at in range(len(file)) if file[at] == "/"}
    reasons = {reason_key(safe) for safe in own}
    assert not folders & reasons


@settings(max_examples=300, deadline=None)
@given(KEYS)
def test_a_safe_key_is_plain_and_stable(key):
    safe = safe_key(key)
    assert find_fault(safe) is None
    assert safe == safe_key(key)
    assert len(reason_key(f"invalid/{safe}").encode()) <= 1024
    assert Output(key=f"invalid/{safe}", data=b"", content_type="").key


def test_faults_name_the_part():
    assert find_fault("a/b.jpg") is None
    assert "empty" in find_fault("a//b")
    assert '"a\\u202eb"' in find_fault("a\u202eb/c")
    assert "200 bytes" in find_fault("é" * 101)
    assert f"{MAX_KEY_BYTES} bytes" in find_fault("/".join(["f" * 199] * 5))


@given(st.text())
def test_shown_text_is_one_short_line(text):
    assert shown(text).isprintable()
