"""The swift command, every subcommand of it, as it is typed. tests/swift_clients.py runs this."""

import json
import os
import subprocess
import urllib.request
import uuid

import pytest

MIB = 1 << 20


def swift(*arguments, home=None, fails=False):
    """What a command says."""
    done = subprocess.run(["swift", *arguments], cwd=home, capture_output=True, text=True, check=False)
    assert (done.returncode != 0) == fails, f"{arguments}: {done.stdout}{done.stderr}"
    return done.stdout + done.stderr


@pytest.fixture
def box(tmp_path):
    """A container, and what is uploaded to it."""
    name = f"box-{uuid.uuid4().hex[:8]}"
    swift("post", name)
    (tmp_path / "small").write_bytes(b"hello\n")
    (tmp_path / "large").write_bytes(os.urandom(5 * MIB + 17))
    (tmp_path / "folder" / "deeper").mkdir(parents=True)
    for each in ["folder/a", "folder/deeper/b", "folder/ä ö"]:
        (tmp_path / each).write_text(each)
    yield name, tmp_path
    for each in [name, f"{name}_segments", f"{name}-copy"]:
        subprocess.run(["swift", "delete", each], capture_output=True, check=False)


def names(container, *options):
    return swift("list", container, *options).splitlines()


def download(container, name, home):
    swift("download", container, name, "-o", "back", home=home)
    return (home / "back").read_bytes()


def test_upload_list_stat_download_delete(box):
    name, home = box
    swift("upload", name, "small", "folder", "-m", "color:blue", "-H", "Content-Type: text/x-it", home=home)
    assert names(name) == ["folder/a", "folder/deeper/b", "folder/ä ö", "small"]
    assert names(name, "-p", "folder/", "-d", "/") == ["folder/a", "folder/deeper/", "folder/ä ö"]
    assert "6 " in swift("list", name, "-l")
    told = swift("stat", name, "small")
    for wanted in ["Meta Color: blue", "Content Type: text/x-it", "Content Length: 6"]:
        assert wanted in told
    assert "Objects: 4" in swift("stat", name)
    assert f"{name}" in swift("list")
    assert download(name, "small", home) == b"hello\n"
    (home / "all").mkdir()
    swift("download", name, "-D", "all", home=home)
    assert (home / "all" / "folder" / "ä ö").read_text() == "folder/ä ö"
    swift("delete", name, "small")
    assert "small" not in names(name)
    swift("stat", name, "small", fails=True)


@pytest.mark.parametrize("kind", ["--use-slo", "--use-dlo"])
def test_segments(box, kind):
    name, home = box
    swift("upload", name, "large", "-S", str(MIB), kind, home=home)
    assert len(names(f"{name}_segments")) == 6
    assert f"Content Length: {5 * MIB + 17}" in swift("stat", name, "large")
    assert download(name, "large", home) == (home / "large").read_bytes()
    # Segments of before go when the object is uploaded again.
    (home / "large").write_bytes(os.urandom(2 * MIB))
    swift("upload", name, "large", "-S", str(MIB), kind, home=home)
    assert len(names(f"{name}_segments")) == 2
    assert download(name, "large", home) == (home / "large").read_bytes()
    swift("delete", name, "large")
    assert names(f"{name}_segments") == []


@pytest.mark.parametrize("options", [[], ["-S", str(MIB)]])
def test_what_is_identical_is_not_sent_again(box, options):
    name, home = box
    swift("upload", name, "large", *options, home=home)
    before = swift("stat", name, "large")
    swift("upload", name, "large", "--skip-identical", *options, home=home)
    same = [line for line in before.splitlines() if "Timestamp" in line or "ETag" in line]
    after = swift("stat", name, "large")
    assert same and all(line in after for line in same)
    (home / "large").write_bytes(b"another")
    swift("upload", name, "large", "--skip-identical", *options, home=home)
    assert download(name, "large", home) == b"another"


def test_what_has_not_changed_is_not_sent_again(box):
    name, home = box
    swift("upload", name, "small", home=home)
    before = swift("stat", name, "small")
    swift("upload", name, "small", "--changed", home=home)
    timestamp = next(line for line in before.splitlines() if "Timestamp" in line)
    assert timestamp in swift("stat", name, "small")


def test_standard_input_becomes_an_object(box):
    name, home = box
    command = ["swift", "upload", name, "-", "--object-name", "piped"]
    subprocess.run(command, input=b"from a pipe", check=True, capture_output=True)
    assert download(name, "piped", home) == b"from a pipe"


def test_post(box):
    name, home = box
    swift("upload", name, "small", home=home)
    swift("post", name, "small", "-m", "color:red", "-H", "X-Delete-After: 1000")
    told = swift("stat", name, "small")
    assert "Meta Color: red" in told and "X-Delete-At" in told
    swift("post", name, "-r", ".r:*,.rlistings", "-w", "test2:tester2", "-m", "size:large")
    told = swift("stat", name)
    for wanted in ["Read ACL: .r:*,.rlistings", "Write ACL: test2:tester2", "Meta Size: large"]:
        assert wanted in told
    swift("post", "-m", "owner:me")
    assert "Meta Owner: me" in swift("stat")
    swift("post", "-m", "owner:")
    assert "Owner" not in swift("stat")


def test_copy(box):
    name, home = box
    swift("upload", name, "small", "-m", "color:blue", home=home)
    swift("copy", name, "small", "-d", f"/{name}-copy/other", "-m", "size:large")
    told = swift("stat", f"{name}-copy", "other")
    assert "Meta Color: blue" in told and "Meta Size: large" in told
    swift("copy", name, "small", "-d", f"/{name}-copy/fresh", "-M")
    assert "Color" not in swift("stat", f"{name}-copy", "fresh")
    assert download(f"{name}-copy", "fresh", home) == b"hello\n"


def test_links_and_versions(box):
    name, home = box
    swift("post", name, "-H", "X-Versions-Enabled: true")
    swift("upload", name, "small", home=home)
    (home / "small").write_bytes(b"second\n")
    swift("upload", name, "small", home=home)
    versions = [line.split()[-3:] for line in names(name, "--versions")]
    assert len(versions) >= 2, versions
    listed = json.loads(subprocess.run(
        ["swift", "list", name, "--versions", "--json"], check=True, capture_output=True, text=True
    ).stdout)
    old = next(each["version_id"] for each in listed if not each["is_latest"])
    swift("download", name, "small", "--version-id", old, "-o", "back", home=home)
    assert (home / "back").read_bytes() == b"hello\n"
    (home / "empty").write_bytes(b"")
    swift("upload", name, "empty", "--object-name", "link", "-H", f"X-Symlink-Target: {name}/small", home=home)
    assert download(name, "link", home) == b"second\n"
    for each in listed:
        swift("delete", name, "small", "--version-id", each["version_id"])
    swift("delete", name, "--versions")


def test_tempurl(box):
    name, home = box
    swift("upload", name, "small", home=home)
    swift("post", "-m", "Temp-URL-Key:secret")
    storage = next(
        line.split("=", 1)[1] for line in swift("auth").splitlines() if "OS_STORAGE_URL" in line
    )
    host, path = storage.split("/v1/", 1)
    for digest in ["sha1", "sha256", "sha512"]:
        signed = swift("tempurl", "GET", "600", f"/v1/{path}/{name}/small", "secret", "--digest", digest)
        with urllib.request.urlopen(host + signed.strip()) as answer:
            assert answer.read() == b"hello\n"


def test_bulk_deletion_of_many(box):
    name, home = box
    (home / "many").mkdir()
    for number in range(120):
        (home / "many" / f"{number:03}").write_text("x")
    swift("upload", name, "many", home=home)
    assert len(names(name)) == 120
    swift("delete", name, "-p", "many/0")
    assert len(names(name)) == 20
    swift("delete", name)
    swift("stat", name, fails=True)


def test_capabilities_auth_and_completion():
    told = swift("capabilities")
    for feature in ["slo", "tempurl", "bulk_delete", "symlink", "object_versioning", "staticweb"]:
        assert feature in told
    assert json.loads(swift("capabilities", "--json"))["swift"]["max_file_size"] == 5 * (1 << 30) + 2
    assert "OS_AUTH_TOKEN=AUTH_tk" in swift("auth")
    assert "upload" in swift("bash_completion")
